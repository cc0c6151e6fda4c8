/* rate_limit: a bucket of turns for each caller. It fills at a steady rate and holds so many at
 * most. Bounded: when all buckets are in use the one that is fullest is given up, to its owner's
 * gain. Loop thread. */
#ifndef SERVER_RATE_LIMIT_H
#define SERVER_RATE_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RATE_CALLERS_MAX 256
#define RATE_NAME_MAX 64

struct rate_bucket {
    char name[RATE_NAME_MAX]; /* "" = free */
    double turns;
    int64_t at_ms; /* when turns was right */
};
struct rate_limit {
    double per_s, burst;
    struct rate_bucket buckets[RATE_CALLERS_MAX];
};
struct rate_state {
    int64_t limit, remaining;
    int64_t full_s; /* seconds until all turns are back, rounded up */
};
/* Takes a turn of name; false: there is none. *out says what is left either way. now_ms: any clock
 * that never goes back. */
bool rate_limit_take(struct rate_limit *l, const char *name, int64_t now_ms,
                     struct rate_state *out);

#endif
