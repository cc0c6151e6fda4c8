/* Stories of stopping: cancel, politely and hard, pause and resume, several at once. */
#include "common/clock.h"
#include "common/mem.h"
#include "tests/support/service.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ONE "/api/v1/experiments/1"

static void post(const struct service *s, const char *path, const char *body, long status)
{
    struct answer a = http_post(s, path, body);
    cr_assert(a.status == status, "%s: %ld %s", path, a.status, a.body);
    answer_free(&a);
}

static void expect_asked(const struct service *s, int64_t id)
{
    cJSON *x = experiment(s, id);
    cr_assert_str_eq(json_get_string(x, "reason", ""), "user_request");
    cr_assert_str_eq(json_get_string(x, "message", "?"), "");
    cJSON_Delete(x);
}

/* Goal: a running worker is asked and ends; a queued experiment never starts; its end is final. */
Test(stopping, cancel_ends_running_and_queued)
{
    struct service s = { .extra = { "--max-running", "1" } };
    service_start(&s);
    char *spec = small_spec(2000, NULL);
    (void)submit(&s, spec);
    (void)submit(&s, spec);
    cr_assert(wait_step(&s, 1, 5, 30));
    post(&s, "/api/v1/experiments/2/cancel", "{}", 202);
    cr_assert(wait_state(&s, 2, "cancelled", 5));
    cr_assert(experiment_int(&s, 2, NULL, "attempt") == 0);
    post(&s, ONE "/cancel", "{\"grace_s\": 20}", 202);
    cr_assert(wait_state(&s, 1, "cancelled", 10));
    expect_asked(&s, 1);
    expect_asked(&s, 2);
    post(&s, ONE "/cancel", "{}", 409);
    mem_free(spec);
    service_end(&s);
}

/* Goal: a worker that does not react is killed when its grace time is over, not before. */
Test(stopping, cancel_kills_a_worker_that_does_not_react)
{
    struct service s = { 0 };
    service_start(&s);
    char *spec = small_spec(2000, NULL);
    (void)submit(&s, spec);
    cr_assert(wait_step(&s, 1, 5, 30));
    const pid_t worker = service_worker(&s);
    cr_assert(worker > 0 && kill(worker, SIGSTOP) == 0);
    const int64_t begin = clock_mono_ms();
    post(&s, ONE "/cancel", "{\"grace_s\": 2}", 202);
    cr_assert(wait_state(&s, 1, "cancelled", 8));
    cr_assert(clock_mono_ms() - begin >= 1900, "%lld ms", (long long)(clock_mono_ms() - begin));
    expect_asked(&s, 1);
    mem_free(spec);
    service_end(&s);
}

/* Goal: a paused experiment has no process and goes on where it was. */
Test(stopping, pause_and_resume)
{
    struct service s = { 0 };
    service_start(&s);
    char *spec = small_spec(60, NULL);
    (void)submit(&s, spec);
    cr_assert(wait_step(&s, 1, 30, 30));
    post(&s, ONE "/pause", "{}", 202);
    cr_assert(wait_state(&s, 1, "paused", 15));
    expect_asked(&s, 1);
    for (int i = 0; service_worker(&s) != 0 && i < 100; i++) sleep_ms(50);
    cr_assert(service_worker(&s) == 0);
    post(&s, ONE "/resume", "{}", 202);
    cr_assert(wait_state(&s, 1, "succeeded", 60));
    struct answer a = http_get(&s, ONE "/attempts");
    const cJSON *second = cJSON_GetArrayItem(json_get(a.json, "items"), 1);
    cr_assert(json_get_int(second, "resume_step", 0) >= 30, "%s", a.body);
    answer_free(&a);
    mem_free(spec);
    service_end(&s);
}

static void act(const struct service *s, int64_t id, const char *action, const char *body)
{
    char path[80];
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%lld/%s", (long long)id, action);
    post(s, path, body, 202);
}

/* An experiment whose worker is halted before it has said hello; 0 when it was too quick. */
static int64_t halt_while_starting(const struct service *s, const char *spec, pid_t *worker)
{
    const int64_t id = submit(s, spec);
    while ((*worker = service_worker(s)) == 0) sleep_ms(1);
    cr_assert(kill(*worker, SIGSTOP) == 0);
    if (wait_state(s, id, "starting", 0)) return id;
    act(s, id, "cancel", "{}");
    cr_assert(kill(*worker, SIGKILL) == 0 && wait_state(s, id, "cancelled", 10));
    while (service_worker(s) != 0) sleep_ms(5);
    return 0;
}

/* Goal: a pause that is asked for before the worker has said hello has its grace time from then
 * on. It had none: the experiment went back to running, and began again when the worker stopped. */
Test(stopping, pause_while_starting, .timeout = 120)
{
    struct service s = { 0 };
    service_start(&s);
    char *spec = small_spec(2000, NULL);
    pid_t worker = 0;
    int64_t id = 0;
    for (int tries = 0; id == 0 && tries < 10; tries++) id = halt_while_starting(&s, spec, &worker);
    cr_assert(id != 0, "every worker had said hello before it could be halted");
    act(&s, id, "pause", "{\"grace_s\": 20}");
    cr_assert(kill(worker, SIGCONT) == 0);
    cr_assert(wait_state(&s, id, "stopping", 20));
    cr_assert(kill(worker, SIGSTOP) == 0);
    sleep_ms(1000);
    cr_assert(wait_state(&s, id, "stopping", 0));
    cr_assert(kill(worker, SIGCONT) == 0);
    cr_assert(wait_state(&s, id, "paused", 20));
    mem_free(spec);
    service_end(&s);
}

/* Goal: as many workers as allowed run at once, and not one more. */
Test(stopping, slots_are_filled_and_kept)
{
    struct service s = { .extra = { "--max-running", "2" } };
    service_start(&s);
    char *spec = small_spec(3, NULL);
    for (int i = 0; i < 4; i++) (void)submit(&s, spec);
    int64_t most = 0;
    for (;;) {
        struct answer a = http_get(&s, "/api/v1/queue");
        const int64_t running = json_get_int(a.json, "running", 0),
                      queued = json_get_int(a.json, "queued", 0);
        answer_free(&a);
        if (running > most) most = running;
        cr_assert(running <= 2);
        if (running + queued == 0) break;
        sleep_ms(30);
    }
    cr_assert(most == 2);
    for (int64_t id = 1; id <= 4; id++) cr_assert(wait_state(&s, id, "succeeded", 5));
    mem_free(spec);
    service_end(&s);
}

/* A client that asks as fast as it can on one connection that is kept open, until that ends. */
struct asker {
    int port;
    atomic_int answers;
};

static void *keep_asking(void *ctx)
{
    static const char request[] = "GET /api/v1/experiments HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct asker *a = ctx;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)a->port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    char answer[65536];
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
        while (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0 &&
               recv(fd, answer, sizeof answer, 0) > 0)
            atomic_fetch_add(&a->answers, 1);
    (void)close(fd);
    return NULL;
}

/* Goal: requests that come while the daemon stops, of people and of workers, do it no harm. */
Test(stopping, reported_1_requests_while_the_daemon_stops, .timeout = 60)
{
    enum { ASKERS = 4, ROUNDS = 3 };
    struct service s = { .extra = { "--max-running", "2" } };
    service_start(&s);
    char *spec = small_spec(2000, NULL);
    (void)submit(&s, spec);
    (void)submit(&s, spec);
    for (int round = 0; round < ROUNDS; round++) {
        struct asker askers[ASKERS];
        pthread_t threads[ASKERS];
        for (int i = 0; i < ASKERS; i++) {
            askers[i] = (struct asker){ .port = s.port };
            cr_assert_eq(pthread_create(&threads[i], NULL, keep_asking, &askers[i]), 0);
        }
        for (int i = 0; i < ASKERS; i++)
            while (atomic_load(&askers[i].answers) < 20) sleep_ms(5);
        service_stop(&s);
        for (int i = 0; i < ASKERS; i++) (void)pthread_join(threads[i], NULL);
        service_restart(&s);
    }
    for (int64_t id = 1; id <= 2; id++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/api/v1/experiments/%lld/cancel", (long long)id);
        post(&s, path, "{\"grace_s\": 5}", 202);
        cr_assert(wait_state(&s, id, "cancelled", 15));
    }
    mem_free(spec);
    service_end(&s);
}
