/* load_many: submissions by the thousand, and what a full list costs: reading it, claiming from it,
 * coming back with it after a death under load. See load.h. */
#include "common/clock.h"
#include "tests/load/load.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define CLIENTS 64
#define LIST_PATH "/api/v1/experiments?limit=50"
#define KILL_CLIENTS 16

static int64_t total_of(const struct load *l)
{
    struct answer a = http_get(&l->s, "/api/v1/experiments?limit=1");
    const int64_t n = json_get_int(a.json, "total", -1);
    answer_free(&a);
    return n;
}

/* The default limit of queued experiments a user is what the burst fills. */
void rows_of_submissions(struct load *l)
{
    static const char *const arguments[] = { LOAD_SUBMIT_FREELY, NULL };
    load_start(l, arguments);
    load_queue(l, "pause");
    struct load_burst b = load_submit_many(l, "quick 1", l->burst, CLIENTS, "burst");
    const int64_t stored = total_of(l);
    load_row(l, "POST experiments, durable, 64 clients", b.per_s, "/s", LOAD_AT_LEAST, 1000, 50,
             "with Idempotency-Key, on the socket");
    load_row(l, "the same, p99", samples_at(&b.ms, 0.99), "ms", LOAD_AT_MOST, 50, 3000,
             "median %.1f ms", samples_at(&b.ms, 0.5));
    load_row(l, "submissions of a burst stored, of each 100",
             100.0 * (double)stored / (double)l->burst, "", LOAD_AT_LEAST, 100, 100,
             "%" PRId64 " of %" PRId64 ", every id once", stored, l->burst);
    cr_assert_eq(stored, l->burst, "%" PRId64, stored);
    samples_deinit(&b.ms);
    load_end(l);
}

/* ---- the list ------------------------------------------------------------------------------- */
static size_t next_list(void *ctx, size_t connection, char *out, size_t room)
{
    (void)ctx;
    (void)connection;
    return swarm_request(out, room, "GET", LIST_PATH, "", NULL);
}

static void row_list(struct load *l)
{
    struct swarm w = { .port = l->s.port,
                       .connections = 4,
                       .seconds = l->seconds < 5 ? 2 : 5,
                       .rate = 50,
                       .next = next_list };
    struct answer a = http_get(&l->s, LIST_PATH);
    cr_assert(json_get_int(a.json, "total", 0) == l->experiments, "%.200s", a.body);
    cr_assert_eq(cJSON_GetArraySize(json_get(a.json, "items")), 50);
    answer_free(&a);
    swarm_run(&w);
    cr_assert(w.refused == 0 && w.broken == 0 && w.unanswered == 0);
    load_row(l, "GET experiments?limit=50, p99", samples_at(&w.ms, 0.99), "ms", LOAD_AT_MOST, 20,
             200, "%" PRId64 " experiments, 50/s, median %.1f ms", l->experiments,
             samples_at(&w.ms, 0.5));
    swarm_deinit(&w);
}

/* ---- claims --------------------------------------------------------------------------------- */
/* Sum of all states that mean an end, or a worker. */
static double begun(const struct load *l)
{
    return load_metric(l, "spiked_queue_wait_seconds_count");
}

static void row_claim(struct load *l)
{
    const struct load_histogram before = load_histogram(l, "spiked_claim_seconds");
    const int64_t began_ms = clock_mono_ms();
    const double first = begun(l);
    load_queue(l, "resume");
    sleep_ms(l->small ? 1000 : 5000);
    load_queue(l, "pause");
    const double n = begun(l) - first, took_s = (double)(clock_mono_ms() - began_ms) / 1000;
    const struct load_histogram after = load_histogram(l, "spiked_claim_seconds");
    cr_assert_gt(n, 0);
    load_row(l, "claim, time of the loop, p99 below", 1000 * load_quantile(&before, &after, 0.99),
             "ms", LOAD_AT_MOST, 1, 100,
             "%" PRId64 " queued, mean %.3f ms; whole turns of a worker"
             " that does next to nothing: %.0f/s in one slot",
             l->experiments, 1000 * load_mean(&before, &after), n / took_s);
}

/* ---- death under load ----------------------------------------------------------------------- */
struct hammer {
    struct load *l;
    int64_t next, acknowledged, first_status;
};

static size_t next_hammer(void *ctx, size_t connection, char *out, size_t room)
{
    struct hammer *h = ctx;
    static const char spec[] =
        "{\"version\": 1, \"name\": \"sleep\", \"dataset\": {\"name\": \"glyphs\"}, \"network\":"
        " {\"layers\": [{\"type\": \"flatten\"}, {\"type\": \"linear\", \"out_features\": 10}]}}";
    char key[60];
    if (connection % 2 == 0) return swarm_request(out, room, "GET", LIST_PATH, "", NULL);
    (void)snprintf(key, sizeof key, "Idempotency-Key: hammer-%" PRId64 "\r\n", h->next++);
    return swarm_request(out, room, "POST", "/api/v1/experiments", key, spec);
}

static void hammered(void *ctx, size_t connection, int status, const char *body, size_t length)
{
    struct hammer *h = ctx;
    (void)body;
    (void)length;
    if (connection % 2 == 1 && status == 201) h->acknowledged++;
    if (status / 100 != 2 && h->first_status == 0) h->first_status = status;
}

static void *hammer(void *arg)
{
    struct hammer *h = arg;
    struct swarm w = { .unix_path = h->l->socket,
                       .connections = KILL_CLIENTS,
                       .next = next_hammer,
                       .answered = hammered,
                       .ctx = h };
    swarm_run(&w); /* until the daemon is gone */
    swarm_deinit(&w);
    return NULL;
}

static void expect_same_attempt(struct load *l, int64_t id)
{
    cr_assert(wait_state(&l->s, id, "running", 10));
    cr_assert_eq(experiment_int(&l->s, id, NULL, "attempt"), 1, "it was run twice");
}

/* A worker runs, submissions come from all sides: SIGKILL. Everything acknowledged is there, the
 * worker is the same one. */
static void row_killed_daemon(struct load *l)
{
    struct hammer h = { .l = l };
    pthread_t thread;
    struct answer a = http_call(&l->s, "PATCH", "/api/v1/experiments/1", "{}", NULL);
    answer_free(&a);
    load_queue(l, "resume");
    const int64_t runs = load_submit(l, "sleep");
    char path[60];
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%" PRId64, runs);
    a = http_call(&l->s, "PATCH", path, "{\"priority\": 100}", NULL);
    cr_assert(a.status == 200, "%s", a.body);
    answer_free(&a);
    cr_assert(wait_state(&l->s, runs, "running", 20));
    load_queue(l, "pause");
    const int64_t before = total_of(l);
    cr_assert(pthread_create(&thread, NULL, hammer, &h) == 0);
    sleep_ms(1000);
    service_kill(&l->s);
    (void)pthread_join(thread, NULL);
    const int64_t dead_ms = clock_mono_ms();
    service_restart(&l->s);
    const double ready_s = (double)(clock_mono_ms() - dead_ms) / 1000;
    const int64_t after = total_of(l);
    cr_assert_eq(h.first_status, 0, "status %" PRId64 " under load", h.first_status);
    /* What was under way may be stored without an answer; what was answered must be. */
    cr_assert(after >= before + h.acknowledged && after <= before + h.acknowledged + KILL_CLIENTS,
              "%" PRId64 " before, %" PRId64 " acknowledged, %" PRId64 " after", before,
              h.acknowledged, after);
    load_row(l, "kill -9 of the daemon under load, ready again", ready_s, "s", LOAD_AT_MOST, 2, 10,
             "%" PRId64 " experiments, %" PRId64 " acknowledged meanwhile, none lost", after,
             h.acknowledged);
    expect_same_attempt(l, runs);
    load_cancel(l, runs);
    cr_assert(wait_state(&l->s, runs, "cancelled", 20));
}

void rows_of_a_full_list(struct load *l)
{
    static const char *const arguments[] = { "--max-queued-per-user", "1000000", LOAD_SUBMIT_FREELY,
                                             NULL };
    load_start(l, arguments);
    load_queue(l, "pause");
    struct load_burst b = load_submit_many(l, "quick 1", l->experiments, CLIENTS, "fill");
    (void)printf("# filled with %" PRId64
                 " experiments at %.0f/s; memory %.0f MiB, %.2f KiB each\n",
                 l->experiments, b.per_s, process_rss_mib(l->s.pid),
                 1024 * (process_rss_mib(l->s.pid) - 10) / (double)l->experiments);
    samples_deinit(&b.ms);
    row_list(l);
    row_claim(l);
    row_killed_daemon(l);
    load_end(l);
}
