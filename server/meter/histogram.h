/* histogram: counts of observations by size, for GET /metrics. No allocation, no lock: its owner
 * says which thread it belongs to. */
#ifndef SERVER_HISTOGRAM_H
#define SERVER_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS_MAX 16

/* Zero it and set bounds, upper and ascending, of static memory; what is larger than the last is
 * counted behind it. */
struct histogram {
    const double *bounds; /* seconds */
    size_t n_bounds;      /* <= HISTOGRAM_BUCKETS_MAX */
    uint64_t counts[HISTOGRAM_BUCKETS_MAX + 1];
    double sum;
};
/* 1 ms to 10 s: answers, turns of the loop, commits. */
extern const double histogram_short_bounds[];
extern const size_t histogram_short_count;
/* 10 us to 100 ms: what the loop does without waiting. */
extern const double histogram_tiny_bounds[];
extern const size_t histogram_tiny_count;
/* 0.1 s to 1 week: waits in the queue. */
extern const double histogram_long_bounds[];
extern const size_t histogram_long_count;

void histogram_add(struct histogram *h, double seconds); /* what is below 0 counts as 0 */
uint64_t histogram_total(const struct histogram *h);

#endif
