/* load_points: points of workers: as many as come, with the API in use meanwhile; long series; a
 * large file of records; the way of a point to a watcher. See load.h. */
#include "common/clock.h"
#include "tests/load/load.h"
#include "tests/load/sse_reader.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORKERS 16
#define SERIES 10
#define RECORDS_BYTES ((off_t)10 << 30)
#define CHART_PATH "/api/v1/experiments/%" PRId64 "/metrics/train/loss?max_points=1000"

/* ---- ingest --------------------------------------------------------------------------------- */
static size_t next_page(void *ctx, size_t connection, char *out, size_t room)
{
    static const char *const paths[] = { "/api/v1/experiments?limit=50", "/api/v1/experiments/1",
                                         "/api/v1/queue", "/api/v1/experiments/1/metrics" };
    int64_t *n = ctx;
    (void)connection;
    return swarm_request(out, room, "GET", paths[(*n)++ % 4], "", NULL);
}

static void *ask_pages(void *arg)
{
    swarm_run(arg);
    return NULL;
}

static void wait_for_running(struct load *l, double n)
{
    const int64_t until = clock_mono_ms() + 30000;
    while (load_metric(l, "spiked_experiments{state=\"running\"}") < n && clock_mono_ms() < until)
        sleep_ms(100);
    cr_assert_eq(load_metric(l, "spiked_experiments{state=\"running\"}"), n);
}

static void row_ingest(struct load *l)
{
    char name[60];
    int64_t asked = 0;
    const double offered = l->small ? 20000 : 220000;
    (void)snprintf(name, sizeof name, "steady %.0f 100000", offered / SERIES / WORKERS);
    struct load_burst b = load_submit_many(l, name, WORKERS, 4, "ingest");
    wait_for_running(l, WORKERS);
    sleep_ms(1000);
    struct swarm w = { .port = l->s.port,
                       .connections = 2,
                       .seconds = l->seconds,
                       .rate = 50,
                       .next = next_page,
                       .ctx = &asked };
    const struct load_histogram before = load_histogram(l, "spiked_loop_lag_seconds");
    const double points = load_metric(l, "spiked_points_ingested_total");
    const double cpu_s = process_cpu_s(l->s.pid);
    pthread_t thread;
    const int64_t began_ns = clock_mono_ns();
    cr_assert(pthread_create(&thread, NULL, ask_pages, &w) == 0);
    (void)pthread_join(thread, NULL);
    const double took_s = (double)(clock_mono_ns() - began_ns) * 1e-9;
    const double per_s = (load_metric(l, "spiked_points_ingested_total") - points) / took_s;
    const double cpu = (process_cpu_s(l->s.pid) - cpu_s) / took_s;
    const struct load_histogram after = load_histogram(l, "spiked_loop_lag_seconds");
    load_row(l, "points ingested, 16 workers", per_s, "/s", LOAD_AT_LEAST, 200000, 5000,
             "%.0f/s offered for %.0f s, %d series, 5 messages/s each; daemon %.2f cores, %.0f MiB",
             offered, took_s, SERIES, cpu, process_rss_mib(l->s.pid));
    load_row(l, "HTTP meanwhile, p99", samples_at(&w.ms, 0.99), "ms", LOAD_AT_MOST, 20, 5000,
             "50 requests/s, median %.1f ms, %" PRId64 " refused or lost", samples_at(&w.ms, 0.5),
             w.refused + w.broken + w.unanswered);
    load_row(l, "loop lag meanwhile, p99 below", 1000 * load_quantile(&before, &after, 0.99), "ms",
             LOAD_AT_MOST, 5, 3000, "mean %.2f ms", 1000 * load_mean(&before, &after));
    for (int64_t id = b.first_id; id <= b.last_id; id++) load_cancel(l, id);
    for (int64_t id = b.first_id; id <= b.last_id; id++)
        cr_assert(wait_state(&l->s, id, "cancelled", 30));
    samples_deinit(&b.ms);
    swarm_deinit(&w);
}

/* ---- a long series -------------------------------------------------------------------------- */
struct one_path {
    char path[160];
};

static size_t next_of_path(void *ctx, size_t connection, char *out, size_t room)
{
    const struct one_path *p = ctx;
    (void)connection;
    return swarm_request(out, room, "GET", p->path, "", NULL);
}

static struct samples ask_often(const struct load *l, struct one_path *p)
{
    struct swarm w = { .unix_path = l->socket,
                       .connections = 1,
                       .rate = 20,
                       .seconds = l->small ? 1 : 3,
                       .next = next_of_path,
                       .ctx = p };
    swarm_run(&w);
    cr_assert(w.good > 0 && w.refused == 0 && w.broken == 0 && w.unanswered == 0, "%s", p->path);
    return w.ms;
}

static void row_chart(struct load *l)
{
    char name[40];
    struct one_path p;
    (void)snprintf(name, sizeof name, "fill %" PRId64, l->chart_points);
    const int64_t began_ms = clock_mono_ms();
    const int64_t id = load_submit(l, name);
    cr_assert(wait_state(&l->s, id, "succeeded", 120));
    const double took_s = (double)(clock_mono_ms() - began_ms) / 1000;
    (void)snprintf(p.path, sizeof p.path, CHART_PATH, id);
    struct answer a = http_get(&l->s, p.path);
    const cJSON *buckets = json_get(a.json, "buckets");
    cr_assert(a.status == 200 && cJSON_GetArraySize(buckets) >= 500 &&
                  cJSON_GetArraySize(buckets) <= 1000,
              "%.200s", a.body);
    answer_free(&a);
    struct samples ms = ask_often(l, &p);
    load_row(l, "chart of 1000 buckets, p99", samples_at(&ms, 0.99), "ms", LOAD_AT_MOST, 20, 5000,
             "%" PRId64 " points, written in %.1f s; median %.1f ms", l->chart_points, took_s,
             samples_at(&ms, 0.5));
    samples_deinit(&ms);
}

/* ---- a large file of records ---------------------------------------------------------------- */
/* The worker writes a raster, the file is made 10 GiB long with a hole, the worker writes another:
 * at the end of a file of that size. */
static void row_raster(struct load *l)
{
    struct one_path p;
    char path[300];
    struct stat st = { 0 };
    const int64_t id = load_submit(l, "records");
    cJSON *x = experiment(&l->s, id);
    (void)snprintf(path, sizeof path, "%s/state/files/%s/records.bin", l->s.folder,
                   json_get_string(x, "uid", ""));
    cJSON_Delete(x);
    const int64_t until = clock_mono_ms() + 20000;
    while ((stat(path, &st) != 0 || st.st_size == 0) && clock_mono_ms() < until) sleep_ms(20);
    cr_assert(truncate(path, RECORDS_BYTES) == 0, "%s", path);
    cr_assert(wait_state(&l->s, id, "succeeded", 30));
    (void)snprintf(p.path, sizeof p.path,
                   "/api/v1/experiments/%" PRId64 "/monitors/2/raster/last?format=bin", id);
    struct answer a = http_get(&l->s, p.path);
    cr_assert(a.status == 200 && a.length == 90000, "%ld, %zu bytes", a.status, a.length);
    answer_free(&a);
    struct samples ms = ask_often(l, &p);
    load_row(l, "raster of 600 steps x 1200 neurons, p99", samples_at(&ms, 0.99), "ms",
             LOAD_AT_MOST, 50, 3000,
             "a whole record at the end of a file of 10 GiB (with a hole);"
             " median %.1f ms",
             samples_at(&ms, 0.5));
    samples_deinit(&ms);
    load_row_absent(l, "raster, a window of a larger record",
                    "the API gives whole records only (at most 1 MiB each)");
}

/* ---- from a worker to a watcher ------------------------------------------------------------- */
static void take_event(void *ctx, const struct sse_event *ev)
{
    struct samples *ms = ctx;
    struct err e = { 0 };
    cJSON *json = NULL;
    const int64_t now = clock_mono_ns();
    if (strcmp(ev->name, "experiment.points") != 0) return;
    if (json_parse(ev->data, strlen(ev->data), &json, &e) != 0) return;
    const cJSON *point, *list = json_get(json_get(json, "series"), "train/loss");
    cJSON_ArrayForEach(point, list) {
        const cJSON *made_ns = cJSON_GetArrayItem(point, 2);
        if (cJSON_IsNumber(made_ns)) samples_add(ms, ((double)now - made_ns->valuedouble) * 1e-6);
    }
    cJSON_Delete(json);
}

static void row_to_watcher(struct load *l)
{
    struct samples ms = { 0 };
    char topics[80];
    const int64_t id = load_submit(l, "steady 50 100000");
    cr_assert(wait_state(&l->s, id, "running", 20));
    (void)snprintf(topics, sizeof topics, "experiment:%" PRId64, id);
    struct sse_reader r;
    cr_assert(sse_open(&r, l->s.port, topics, NULL, take_event, &ms));
    const int64_t until = clock_mono_ms() + (l->small ? 2000 : 10000);
    while (clock_mono_ms() < until) {
        struct pollfd p = { .fd = r.fd, .events = POLLIN };
        if (poll(&p, 1, 100) > 0) cr_assert(sse_read(&r), "the stream ended");
    }
    sse_close(&r);
    cr_assert_gt(ms.n, 20);
    load_row(l, "point from a worker to a watcher, p95", samples_at(&ms, 0.95), "ms", LOAD_AT_MOST,
             300, 2000,
             "from its making, at 50 steps/s, 200 ms of gathering included; median %.0f"
             " ms",
             samples_at(&ms, 0.5));
    samples_deinit(&ms);
    load_cancel(l, id);
    cr_assert(wait_state(&l->s, id, "cancelled", 20));
}

void rows_of_points(struct load *l)
{
    static const char *const arguments[] = { "--max-running", "16", NULL };
    load_start(l, arguments);
    row_to_watcher(l);
    row_chart(l);
    row_raster(l);
    row_ingest(l);
    load_end(l);
}
