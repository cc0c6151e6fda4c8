/* Stories of the daemon as a service: what it tells systemd, how soon it ends, how another build
 * takes its place while a worker trains; and that systemd understands the unit. */
#include "tests/chaos/chaos_rounds.h"

#include "common/clock.h"
#include "common/mem.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what systemd hears ---------------------------------------------------------------------- */
static int open_listener(const struct service *s, char *variable, size_t size)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const struct timeval patience = { .tv_sec = 20 };
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%.90s/notify", s->folder);
    (void)snprintf(variable, size, "NOTIFY_SOCKET=%s", a.sun_path);
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
              setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    return fd;
}

/* The next message; it must begin with this. */
static void expect_message(int fd, const char *begin)
{
    char text[400] = "";
    const ssize_t n = recv(fd, text, sizeof text - 1, 0);
    cr_assert(n > 0, "nothing comes, '%s' should", begin);
    cr_expect(strncmp(text, begin, strlen(begin)) == 0, "'%s', not '%s'", text, begin);
}

/* Goal: ready is said once the API answers, the watchdog is fed by the loop in half the time it
 * has, the status says something, the end is announced; workers do not inherit the socket. */
Test(systemd, the_daemon_says_how_it_stands, .timeout = 60)
{
    static struct service s;
    char variable[160];
    service_prepare(&s);
    const int fd = open_listener(&s, variable, sizeof variable);
    s.env[0] = variable;
    s.env[1] = "WATCHDOG_USEC=300000";
    service_restart(&s);
    expect_message(fd, "READY=1\nSTATUS=0 of ");
    const int64_t began = clock_mono_ms();
    for (int i = 0; i < 4; i++) expect_message(fd, "WATCHDOG=1\nSTATUS=");
    cr_expect_geq(clock_mono_ms() - began, 300, "it is fed without a clock");
    service_stop(&s);
    char text[400] = "";
    while (strncmp(text, "STOPPING=1", 10) != 0) {
        const ssize_t n = recv(fd, text, sizeof text - 1, 0);
        cr_assert(n > 0, "the end is not announced");
        text[n] = '\0';
    }
    (void)close(fd);
    s.env[0] = NULL;
    service_end(&s);
}

/* ---- the end --------------------------------------------------------------------------------- */
static void *read_log(void *ctx)
{
    struct answer a = http_get(ctx, "/api/v1/experiments/1/logs");
    answer_free(&a);
    return NULL;
}

/* Goal: a disk that does not answer a read keeps no daemon from ending in order: what was answered
 * is there afterwards, and the worker trains on. */
Test(systemd, a_read_that_hangs_does_not_delay_the_end, .timeout = 90)
{
    static struct chaos c;
    chaos_open(&c, 1, 1);
    service_restart(&c.s);
    char *spec = small_spec(20, "\"seed\": 5");
    const int64_t id = submit(&c.s, spec);
    cr_assert(wait_step(&c.s, id, 5, 60));
    const pid_t worker = service_worker(&c.s);
    atomic_store(&c.faults->hang, 1);
    pthread_t reader;
    cr_assert(pthread_create(&reader, NULL, read_log, &c.s) == 0);
    for (int i = 0; i < 500 && atomic_load(&c.faults->reads_hung) == 0; i++) sleep_ms(10);
    cr_assert_gt(atomic_load(&c.faults->reads_hung), 0, "no read hangs");
    const int64_t last = submit(&c.s, spec), began = clock_mono_ms();
    service_stop(&c.s);
    const int64_t took = clock_mono_ms() - began;
    cr_expect(took < 7000, "%lld ms", (long long)took); /* 5 s, and a busy machine */
    (void)pthread_join(reader, NULL);
    atomic_store(&c.faults->hang, 0);
    cr_expect(worker > 0 && kill(worker, 0) == 0, "the worker is gone");
    service_restart(&c.s);
    cJSON *x = experiment(&c.s, last);
    cr_expect_eq(json_get_int(x, "id", 0), last);
    cJSON_Delete(x);
    cr_assert(kill(worker, SIGKILL) == 0);
    for (int64_t i = 1; i <= last; i++) (void)client_act(&c.client, i, "cancel");
    cr_assert(wait_state(&c.s, id, "cancelled", 60) && wait_state(&c.s, last, "cancelled", 60));
    mem_free(spec);
    chaos_close(&c);
}

/* Goal: an upgrade while a worker trains: the daemon ends, another build starts on the same state
 * directory and takes over the same worker, which loses no step. */
Test(systemd, another_build_takes_over_the_worker, .timeout = 120)
{
    static struct service s;
    service_start(&s);
    char *spec = small_spec(4, "\"seed\": 5");
    const int64_t id = submit(&s, spec);
    cr_assert(wait_step(&s, id, 5, 60));
    const pid_t worker = service_worker(&s);
    service_stop(&s);
    cr_assert(worker > 0 && kill(worker, 0) == 0, "the worker ended with the daemon");
    s.program = "build/chaos/spiked";
    service_restart(&s);
    cr_assert(wait_state(&s, id, "succeeded", 90));
    cr_expect_eq(experiment_int(&s, id, NULL, "attempt"), 1);
    mem_free(spec);
    service_end(&s);
}

/* ---- the unit -------------------------------------------------------------------------------- */
static int shell(const char *line)
{
    const int rc = system(line);
    cr_assert(WIFEXITED(rc));
    return WEXITSTATUS(rc);
}

/* Goal: `make install` puts everything in its place; systemd finds no fault with the unit, and
 * little that it could do to the machine. */
Test(systemd, the_unit_is_understood, .timeout = 60)
{
    char folder[] = "/tmp/spiked-unit-XXXXXX";
    cr_assert(mkdtemp(folder) != NULL);
    char *line = mem_printf("make -s -o all install DESTDIR=%s/root PREFIX=/usr >%s/said 2>&1",
                            folder, folder);
    cr_assert_eq(shell(line), 0, "see %s/said", folder);
    mem_free(line);
    line = mem_printf(
        "cd %s/root && test -x usr/bin/spiked && test -x usr/bin/spiked-worker &&"
        " test -f usr/lib/sysusers.d/spiked.conf && test -f etc/spiked/spiked.conf &&"
        " grep -q '^ExecStart=/usr/bin/spiked serve' usr/lib/systemd/system/spiked.service",
        folder);
    cr_expect_eq(shell(line), 0);
    mem_free(line);
    line = mem_printf(
        "cd %s && sed \"s|/usr/bin/spiked|$PWD/root/usr/bin/spiked|; s|^User=.*|User=root|;"
        " s|^Group=.*|Group=root|\" root/usr/lib/systemd/system/spiked.service"
        " >spiked.service && root/usr/bin/spiked check-config --config"
        " root/etc/spiked/spiked.conf --state-dir state --data-dir data >/dev/null",
        folder);
    cr_expect_eq(shell(line), 0);
    mem_free(line);
    if (shell("command -v systemd-analyze >/dev/null") != 0) {
        shell("echo 'skipped: systemd-analyze is not installed'");
    } else {
        line = mem_printf(
            "cd %s && systemd-analyze verify ./spiked.service >verify 2>&1 &&"
            " ! grep spiked.service: verify && systemd-analyze security --offline=true"
            " --threshold=30 ./spiked.service >security 2>&1",
            folder);
        cr_expect_eq(shell(line), 0, "see %s", folder);
        mem_free(line);
    }
    line = mem_printf("rm -r %s", folder);
    cr_expect_eq(shell(line), 0);
    mem_free(line);
}
