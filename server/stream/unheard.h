/* unheard: up to which event points of an experiment were left out, for those who come back. Of
 * UNHEARD_MAX experiments exactly; of others it may say so of points that were told. Loop thread.
 */
#ifndef SERVER_UNHEARD_H
#define SERVER_UNHEARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNHEARD_MAX 64

/* Zero it to start. */
struct unheard {
    struct {
        int64_t experiment;
        uint64_t before; /* left out before the event of this number */
    } last[UNHEARD_MAX];
    size_t n;
    uint64_t forgotten; /* the largest `before` that had to go */
};
void unheard_add(struct unheard *u, int64_t experiment, uint64_t before);
/* Whether somebody whose last event was seq may lack points. */
bool unheard_since(const struct unheard *u, int64_t experiment, uint64_t seq);

#endif
