/* load: what the rows of the load table share: the daemon under load, how long and how much, and
 * the table itself. A row asserts what must be right whatever the speed (nothing lost, nothing
 * twice); speed is compared with the goal of the design and printed. */
#ifndef TESTS_LOAD_H
#define TESTS_LOAD_H

#include "tests/load/swarm.h"
#include "tests/support/service.h"

#define LOAD_BOUNDS_MAX 24

struct load {
    struct service s;
    char socket[160];    /* the API's */
    double seconds;      /* of a row that takes as long as one likes */
    bool small;          /* make test: less of everything, and modest goals that must be met */
    int64_t experiments; /* in a full list */
    int64_t burst;       /* submissions at once; at most the limit of queued ones */
    int64_t chart_points;
    int64_t streams;
    int64_t slow_sockets;
    int reached, missed;
};
enum load_better { LOAD_AT_LEAST, LOAD_AT_MOST };
/* A figure against its goal, and in the small version against a modest one that must be met. note:
 * printf, what the figure was measured on; may be "". */
void load_row(struct load *l, const char *what, double figure, const char *unit,
              enum load_better better, double goal, double modest, const char *note, ...)
    __attribute__((format(printf, 8, 9)));
/* What is not measured, and why. */
void load_row_absent(struct load *l, const char *what, const char *why);
/* Arguments that let one user submit as fast as it goes. */
#define LOAD_SUBMIT_FREELY "--submit-rate", "100000", "--submit-burst", "1000000"
/* Starts a daemon on a folder of its own with further arguments, NULL-terminated. */
void load_start(struct load *l, const char *const *arguments);
void load_end(struct load *l);

/* ---- what processes cost -------------------------------------------------------------------- */
double process_cpu_s(pid_t pid);
double process_rss_mib(pid_t pid);
/* A sample of GET /metrics; fails the test when it is not there. */
double load_metric(const struct load *l, const char *sample);
/* Buckets of a histogram without labels of its own, to take the difference of two moments. */
struct load_histogram {
    double bounds[LOAD_BOUNDS_MAX], counts[LOAD_BOUNDS_MAX], sum; /* cumulative */
    size_t n;
};
struct load_histogram load_histogram(const struct load *l, const char *family);
/* Upper bound of the bucket that share of the observations between the two lies below. */
double load_quantile(const struct load_histogram *before, const struct load_histogram *after,
                     double share);
double load_mean(const struct load_histogram *before, const struct load_histogram *after);

/* ---- experiments ---------------------------------------------------------------------------- */
/* Submits experiments of that name over the socket, each with an Idempotency-Key of its own, from
 * `clients` connections; fails the test unless each is answered by 201 and an id of its own. */
struct load_burst {
    struct samples ms;
    double per_s;
    int64_t first_id, last_id;
};
struct load_burst load_submit_many(struct load *l, const char *name, int64_t n, size_t clients,
                                   const char *key);
int64_t load_submit(struct load *l, const char *name);
void load_queue(struct load *l, const char *what); /* "pause", "resume" */
void load_cancel(struct load *l, int64_t id);

/* ---- rows ----------------------------------------------------------------------------------- */
void rows_at_rest(struct load *l);        /* load_rest.c: idle, healthz, submit to process */
void rows_of_submissions(struct load *l); /* load_many.c: durable submissions, the burst */
void rows_of_a_full_list(struct load *l); /* load_many.c: list, claim, kill -9 of the daemon */
void rows_of_points(struct load *l);      /* load_points.c: ingest, chart, raster, to a watcher */
void rows_of_streams(struct load *l);     /* load_streams.c */
void rows_of_faults(struct load *l);      /* load_faults.c: a worker dies, slow clients */

#endif
