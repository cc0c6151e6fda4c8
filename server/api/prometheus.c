/* prometheus: GET /metrics: counters of the loop as Prometheus reads them (docs/operations.md). No
 * query is made: what is not in memory comes from /proc and from the size of two files. */
#include "server/api/api_internal.h"

#include "build_id.h"
#include "server/http/http_stats.h"
#include "server/meter/exposition.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATUS_TEXT_MAX 12
#define LABELS_MAX 9 /* pairs of name and value, and NULL */

/* ---- the process ---------------------------------------------------------------------------- */
static double resident_bytes(void)
{
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL) return 0;
    if (fscanf(f, "%ld %ld", &pages, &resident) != 2) resident = 0;
    (void)fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

/* The kernel tells the number as the folder's size from 6.2 on; before, they are counted. */
static double open_fds(void)
{
    struct stat st;
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0) return (double)st.st_size;
    DIR *dir = opendir("/proc/self/fd");
    double n = -3; /* ".", ".." and this folder */
    while (dir != NULL && readdir(dir) != NULL) n++;
    if (dir != NULL) (void)closedir(dir);
    return n > 0 ? n : 0;
}

static void add_process(struct exposition *x, const struct api *a)
{
    struct rusage u = { 0 };
    struct rlimit fds = { 0 };
    (void)getrusage(RUSAGE_SELF, &u);
    (void)getrlimit(RLIMIT_NOFILE, &fds);
    const double cpu_s = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
    exposition_one(x, "process_cpu_seconds_total", "counter", "User and system time.", cpu_s);
    exposition_one(x, "process_resident_memory_bytes", "gauge", "Resident memory.",
                   resident_bytes());
    exposition_one(x, "process_open_fds", "gauge", "Open file descriptors.", open_fds());
    exposition_one(x, "process_max_fds", "gauge", "File descriptors allowed.",
                   (double)fds.rlim_cur);
    exposition_one(x, "process_start_time_seconds", "gauge", "Start since 1970.",
                   (double)a->started_ms / 1000.0);
    const char *const build[LABELS_MAX] = { "version", SPIKED_VERSION, "build", SPIKED_BUILD };
    exposition_family(x, "spiked_build_info", "gauge", "1, labelled with version and build.");
    exposition_sample(x, build, 1);
}

/* ---- experiments and what workers send ------------------------------------------------------ */
static void add_queue(struct exposition *x, const struct queue_stats *q)
{
    exposition_family(x, "spiked_experiments", "gauge", "Experiments by state.");
    for (int i = 0; i < STATE_COUNT; i++) {
        const char *const labels[LABELS_MAX] = { "state", state_name((enum experiment_state)i) };
        exposition_sample(x, labels, (double)q->states[i]);
    }
    exposition_one(x, "spiked_slots", "gauge", "Workers that may run at once.", (double)q->slots);
    exposition_one(x, "spiked_slots_busy", "gauge", "Slots that experiments take.",
                   (double)q->slots_busy);
    exposition_family(x, "spiked_queue_wait_seconds", "histogram",
                      "From queued to claimed, of first attempts.");
    exposition_histogram(x, NULL, q->wait_s);
    exposition_family(x, "spiked_claim_seconds", "histogram",
                      "Time of the loop to choose the next experiment.");
    exposition_histogram(x, NULL, q->claim_s);
    exposition_one(x, "spiked_points_ingested_total", "counter", "Points taken from workers.",
                   (double)q->points);
}

static double wal_bytes(const char *database)
{
    char *path = mem_printf("%s-wal", database);
    struct stat st = { 0 };
    if (path == NULL || stat(path, &st) != 0) st.st_size = 0;
    mem_free(path);
    return (double)st.st_size;
}

static void add_stores(struct exposition *x, const struct queue_stats *q)
{
    const char *const names[2] = { "spiked", "metrics" };
    const struct store_stats *const stores[2] = { &q->main, &q->metrics };
    const char *const paths[2] = { q->main_path, q->metrics_path };
    const char *const labels[2][LABELS_MAX] = { { "database", names[0] },
                                                { "database", names[1] } };
    exposition_family(x, "spiked_writer_batch_seconds", "histogram",
                      "A transaction of the changes that waited together, commit included.");
    for (int i = 0; i < 2; i++) exposition_histogram(x, labels[i], &stores[i]->batch_s);
    exposition_family(x, "spiked_writer_jobs_total", "counter", "Changes written.");
    for (int i = 0; i < 2; i++) exposition_sample(x, labels[i], (double)stores[i]->jobs);
    exposition_family(x, "spiked_writer_waiting", "gauge", "Changes that wait for the writer.");
    for (int i = 0; i < 2; i++) exposition_sample(x, labels[i], (double)stores[i]->waiting);
    exposition_family(x, "spiked_wal_bytes", "gauge", "Size of the write-ahead log.");
    for (int i = 0; i < 2; i++) exposition_sample(x, labels[i], wal_bytes(paths[i]));
}

static void add_disk(struct exposition *x, const struct disk_floor *d)
{
    const char *const labels[2][LABELS_MAX] = { { "folder", "state" }, { "folder", "files" } };
    const struct disk_look *const looks[2] = { &d->state, &d->files };
    exposition_family(x, "spiked_disk_free_bytes", "gauge", "Free where state and files lie.");
    for (int i = 0; i < 2; i++) exposition_sample(x, labels[i], (double)looks[i]->free_bytes);
    exposition_family(x, "spiked_disk_total_bytes", "gauge", "Of these file systems.");
    for (int i = 0; i < 2; i++) exposition_sample(x, labels[i], (double)looks[i]->total_bytes);
    exposition_one(x, "spiked_disk_room", "gauge",
                   "0: enough, 1: nothing new is taken or started, 2: nor points.",
                   (double)d->room);
}

/* ---- HTTP and streams ----------------------------------------------------------------------- */
/* What no route matched has a pattern and a method of its own, whatever was asked. */
static void route_labels(size_t i, const char *labels[LABELS_MAX])
{
    const bool known = i < api_routes_count;
    labels[0] = "method";
    labels[1] = known ? api_routes[i].method : "other";
    labels[2] = "route";
    labels[3] = known ? api_routes[i].pattern : "unmatched";
    labels[4] = NULL;
}

static void add_statuses(struct exposition *x, size_t route, const struct http_route_stats *s)
{
    const char *labels[LABELS_MAX];
    char status[STATUS_TEXT_MAX];
    route_labels(route, labels);
    labels[4] = "status";
    labels[5] = status;
    labels[6] = NULL;
    for (size_t i = 0; i < HTTP_STATUSES_MAX && s->statuses[i].count > 0; i++) {
        (void)snprintf(status, sizeof status, "%u", s->statuses[i].status);
        if (s->statuses[i].status == 0) (void)snprintf(status, sizeof status, "other");
        exposition_sample(x, labels, (double)s->statuses[i].count);
    }
}

static void add_http(struct exposition *x, const struct http_stats *h)
{
    exposition_family(x, "spiked_http_requests_total", "counter",
                      "Answers by the route's pattern and status.");
    for (size_t i = 0; i <= h->n_routes; i++) add_statuses(x, i, &h->routes[i]);
    exposition_family(x, "spiked_http_request_duration_seconds", "histogram",
                      "From a request's headers to its answer; of a stream to its first byte.");
    for (size_t i = 0; i <= h->n_routes; i++) {
        const char *labels[LABELS_MAX];
        route_labels(i, labels);
        if (histogram_total(&h->routes[i].seconds) > 0)
            exposition_histogram(x, labels, &h->routes[i].seconds);
    }
    exposition_one(x, "spiked_http_connections", "gauge",
                   "Open connections, without streams and workers.", (double)h->connections);
}

static void add_streams(struct exposition *x, const struct sse_stats *s)
{
    exposition_one(x, "spiked_sse_streams", "gauge", "Open event streams.", (double)s->streams);
    exposition_one(x, "spiked_events_published_total", "counter", "Events since the start.",
                   (double)s->published);
    exposition_one(x, "spiked_event_ring_bytes", "gauge", "Events kept for those that come again.",
                   (double)s->ring_bytes);
}

void api_prometheus(struct request *r)
{
    const struct api *a = api_of(r);
    const struct queue_stats queue = queue_stats_of(a->queue);
    const struct http_stats http = http_stats_of(r->http);
    const struct sse_stats streams = sse_hub_stats(a->hub);
    struct exposition x = { 0 };
    add_process(&x, a);
    exposition_family(&x, "spiked_loop_lag_seconds", "histogram",
                      "How late the loop comes to what is due.");
    exposition_histogram(&x, NULL, &a->lag->seconds);
    add_queue(&x, &queue);
    add_stores(&x, &queue);
    add_disk(&x, queue.disk);
    add_http(&x, &http);
    add_streams(&x, &streams);
    exposition_one(&x, "spiked_pool_reads", "gauge", "Reads of databases under way in the pool.",
                   (double)queue.reads);
    if (x.text != NULL)
        respond_text(r, 200, "text/plain; version=0.0.4; charset=utf-8", x.text, x.length);
    else api_problem(r, ERR_NOMEM, "metrics");
    mem_free(x.text);
}
