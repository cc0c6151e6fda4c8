/* points_chart: a long series as few buckets, from the roll-ups where they do. Pool threads. */
#ifndef SERVER_POINTS_CHART_H
#define SERVER_POINTS_CHART_H

#include "common/err.h"
#include "server/store/bucket.h"

#include <sqlite3.h>
#include <stdbool.h>

/* A series between two steps. Zero it to start; end with points_chart_deinit. */
struct points_chart {
    struct chart_chunk *chunks;
    size_t n, capacity; /* chunks */
    size_t total;       /* points */
    int64_t series;
    uint64_t from, to;
};
/* Looks at what there is, without the points. to 0: to the end. Errors: ERR_DB, ERR_NOMEM. */
int points_chart_open(struct points_chart *c, sqlite3 *db, int64_t series, uint64_t from,
                      uint64_t to, struct err *e);
/* Calls fn for at most max_buckets buckets of equally many points (a roll-up's bucket is never cut,
 * so up to one of its buckets more; the last has what is left). fn false: ERR_NOMEM. */
typedef bool (*points_bucket_fn)(void *ctx, const struct bucket *b);
int points_chart_buckets(const struct points_chart *c, sqlite3 *db, size_t max_buckets,
                         points_bucket_fn fn, void *ctx, struct err *e);
void points_chart_deinit(struct points_chart *c);

#endif
