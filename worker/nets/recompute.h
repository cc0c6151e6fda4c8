/* recompute: which parts of a net are computed again in the backward pass rather than kept (design
 * 5.4): exact search over pieces whose cost in bytes is known. Pure; used by net_segments when a
 * net is built, main thread.
 *
 * A net is cut into n intervals at n + 1 positions. A choice is a row of segments that covers them:
 * an interval that is kept, or any number of neighbours that are computed again. Segment s needs
 *     bytes held by the segments before it + its own peak,
 * and a choice the largest of these, and twice the largest gradient that crosses one of its
 * positions: two of them are alive at once. */
#ifndef WORKER_RECOMPUTE_H
#define WORKER_RECOMPUTE_H

#include "common/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct recompute_piece {
    size_t held_bytes; /* from its forward pass to its backward pass */
    size_t peak_bytes; /* in its backward pass, the held ones among them */
    uint64_t macs;     /* computed again */
};
struct recompute_problem {
    size_t n;
    const struct recompute_piece *keep;  /* [n] */
    const struct recompute_piece *again; /* [n][n + 1]: from position p to q > p */
    const size_t *crossing_bytes;        /* [n + 1]: gradient at a position; ends: 0 */
};
struct recompute_segment {
    size_t begin, end; /* positions */
    bool again;
};
struct recompute_choice {
    struct recompute_segment *segments; /* n at most; the caller's */
    size_t n_segments;
    uint64_t macs;
    size_t bytes;
};

static inline const struct recompute_piece *recompute_again(const struct recompute_problem *p,
                                                            size_t begin, size_t end)
{
    return &p->again[begin * (p->n + 1) + end];
}
/* What a choice needs, by the rule above. */
size_t recompute_bytes(const struct recompute_problem *p, const struct recompute_choice *c);
/* The fewest bytes of any choice. */
int recompute_least(const struct recompute_problem *p, size_t *bytes, struct err *e);
/* A choice with the fewest MACs of all that need at most bytes_max.
 * Errors: ERR_OUT_OF_PLAN, there is none; ERR_NOMEM. */
int recompute_search(const struct recompute_problem *p, size_t bytes_max,
                     struct recompute_choice *out, struct err *e);

#endif
