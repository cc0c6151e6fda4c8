/* load_faults: a worker that dies, and clients that never finish what they say. See load.h. */
#include "common/clock.h"
#include "tests/load/load.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEATHS 5
#define FDS_KEPT 300       /* for everything else of this process */
#define SLOW_UID 61000     /* whoever is slow is not who waits: connections are limited by user */
#define SLOW_SAME_USER 200 /* without root it is; below that limit */

static int64_t worker_pid(const struct load *l, int64_t id, int attempt)
{
    char path[80];
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%" PRId64 "/attempts", id);
    struct answer a = http_get(&l->s, path);
    const int64_t pid = json_get_int(cJSON_GetArrayItem(json_get(a.json, "items"), attempt - 1),
                                     "pid", 0);
    answer_free(&a);
    cr_assert_gt(pid, 1, "no worker of experiment %" PRId64, id);
    return pid;
}

static void row_killed_worker(struct load *l)
{
    struct samples ms = { 0 };
    const int64_t id = load_submit(l, "sleep");
    for (int i = 1; i <= DEATHS; i++) {
        const int64_t until = clock_mono_ms() + 20000;
        while (experiment_int(&l->s, id, NULL, "attempt") < i && clock_mono_ms() < until)
            sleep_ms(10);
        cr_assert(wait_state(&l->s, id, "running", 20));
        const int64_t killed_ns = clock_mono_ns();
        cr_assert(kill((pid_t)worker_pid(l, id, i), SIGKILL) == 0);
        for (bool seen = false; !seen && clock_mono_ms() < until + 20000;) {
            cJSON *x = experiment(&l->s, id);
            seen = strcmp(json_get_string(x, "state", ""), "running") != 0 ||
                   json_get_int(x, "attempt", 0) > i;
            cJSON_Delete(x);
            sleep_ms(1);
        }
        samples_add(&ms, (double)(clock_mono_ns() - killed_ns) * 1e-9);
    }
    load_row(l, "kill -9 of a worker, seen", samples_at(&ms, 1), "s", LOAD_AT_MOST, 1, 5,
             "the slowest of %d", DEATHS);
    samples_deinit(&ms);
    load_cancel(l, id);
    cr_assert(wait_state(&l->s, id, "cancelled", 20));
}

/* ---- slow clients --------------------------------------------------------------------------- */
struct slow {
    int port;
    size_t n;
    int *fds;
    size_t opened, closed; /* at the end: by the daemon */
    atomic_bool stop;
};

static bool say_little(int fd) { return send(fd, "X", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1; }

/* A byte of a header a second, for ever; whom the daemon sends away comes again. Sockets belong to
 * the file system's user, which a thread has for itself. */
static void *drip(void *arg)
{
    struct slow *s = arg;
    static const char head[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    if (geteuid() == 0) (void)setfsuid(SLOW_UID);
    while (!atomic_load(&s->stop)) {
        for (size_t i = 0; i < s->n && !atomic_load(&s->stop); i++) {
            if (s->fds[i] >= 0 && say_little(s->fds[i])) continue;
            if (s->fds[i] >= 0) {
                s->closed++;
                (void)close(s->fds[i]);
            }
            s->fds[i] = swarm_connect(s->port, NULL);
            if (s->fds[i] < 0) continue;
            s->opened++;
            (void)send(s->fds[i], head, sizeof head - 1, MSG_NOSIGNAL);
        }
        for (int i = 0; i < 50 && !atomic_load(&s->stop); i++) sleep_ms(20);
    }
    return NULL;
}

static size_t next_fresh(void *ctx, size_t connection, char *out, size_t room)
{
    (void)ctx;
    (void)connection;
    return swarm_request(out, room, "GET", "/api/v1/queue", "", NULL);
}

/* Others come with a connection each, as browsers do; p99 over all that were due, those without an
 * answer among them. */
static double p99_of_others(struct load *l, const char *unix_path, size_t *failed)
{
    struct samples ms = { 0 };
    *failed = 0;
    const int64_t until = clock_mono_ms() + (l->small ? 1500 : 5000);
    while (clock_mono_ms() < until) {
        struct swarm w = { .port = l->s.port,
                           .unix_path = unix_path,
                           .connections = 1,
                           .rate = 100,
                           .seconds = 0.05,
                           .next = next_fresh };
        swarm_run(&w);
        for (size_t i = 0; i < w.ms.n; i++) samples_add(&ms, w.ms.values[i]);
        if (w.good == 0) samples_add(&ms, 5000);
        *failed += w.good == 0;
        swarm_deinit(&w);
    }
    const double p99 = samples_at(&ms, 0.99);
    samples_deinit(&ms);
    return p99;
}

static void row_slow_clients(struct load *l)
{
    struct rlimit fds = { 0 };
    (void)getrlimit(RLIMIT_NOFILE, &fds);
    struct slow s = { .port = l->s.port, .n = (size_t)l->slow_sockets };
    if (s.n > fds.rlim_cur - FDS_KEPT) s.n = fds.rlim_cur - FDS_KEPT;
    if (geteuid() != 0 && s.n > SLOW_SAME_USER) s.n = SLOW_SAME_USER;
    s.fds = mem_calloc(s.n, sizeof s.fds[0]);
    for (size_t i = 0; i < s.n; i++) s.fds[i] = -1;
    pthread_t thread;
    cr_assert(pthread_create(&thread, NULL, drip, &s) == 0);
    sleep_ms(l->small ? 1000 : 4000);
    size_t failed, failed_tcp;
    const double taken = load_metric(l, "process_open_fds");
    const double p99 = p99_of_others(l, l->socket, &failed);
    const double p99_tcp = p99_of_others(l, NULL, &failed_tcp);
    atomic_store(&s.stop, true);
    (void)pthread_join(thread, NULL);
    for (size_t i = 0; i < s.n; i++)
        if (s.fds[i] >= 0) (void)close(s.fds[i]);
    mem_free(s.fds);
    load_row(l, "slow clients, others over TCP, p99", p99_tcp, "ms", LOAD_AT_MOST, 50, 3000,
             "%zu slow sockets, %.0f descriptors of the daemon, %zu of the others unanswered", s.n,
             taken, failed_tcp);
    load_row(l, "slow clients, others on the socket, p99", p99, "ms", LOAD_AT_MOST, 50, 3000,
             "%zu unanswered", failed);
}

void rows_of_faults(struct load *l)
{
    static const char *const arguments[] = { "--retry-delay-ms", "10", NULL };
    load_start(l, arguments);
    row_killed_worker(l);
    row_slow_clients(l);
    load_end(l);
}
