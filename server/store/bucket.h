/* bucket: neighbouring points of a series as one: ends, least, largest, mean, last. What a chart is
 * made of, and what roll-ups keep. Any thread. */
#ifndef SERVER_BUCKET_H
#define SERVER_BUCKET_H

#include "common/series.h"

/* As it stands in a blob: native little-endian, no holes. NaN counts for n and last alone; min, max
 * and mean are NaN when nothing else is there. Infinite values count like others, so a mean over
 * both infinities is NaN. */
struct bucket {
    uint64_t step0, step1; /* of its first and last point */
    int64_t time_ms;       /* of its last point */
    double min, max, last, mean;
    uint32_t n, numbers; /* points; those that are not NaN */
};
_Static_assert(sizeof(struct bucket) == 64, "buckets stand in files");

struct bucket bucket_of_point(const struct point *p);
/* Puts next, whose points come after those of b, to b; b->n 0 = nothing yet. */
void bucket_join(struct bucket *b, const struct bucket *next);

#endif
