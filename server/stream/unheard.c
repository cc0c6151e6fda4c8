/* unheard: see unheard.h. */
#include "server/stream/unheard.h"

static size_t place_of(const struct unheard *u, int64_t experiment)
{
    size_t i = 0;
    while (i < u->n && u->last[i].experiment != experiment) i++;
    return i;
}

static size_t make_room(struct unheard *u)
{
    size_t oldest = 0;
    if (u->n < UNHEARD_MAX) return u->n++;
    for (size_t i = 1; i < u->n; i++)
        if (u->last[i].before < u->last[oldest].before) oldest = i;
    if (u->last[oldest].before > u->forgotten) u->forgotten = u->last[oldest].before;
    return oldest;
}

void unheard_add(struct unheard *u, int64_t experiment, uint64_t before)
{
    size_t i = place_of(u, experiment);
    if (i == u->n) i = make_room(u);
    u->last[i].experiment = experiment;
    u->last[i].before = before;
}

bool unheard_since(const struct unheard *u, int64_t experiment, uint64_t seq)
{
    const size_t i = place_of(u, experiment);
    return seq < (i < u->n ? u->last[i].before : u->forgotten);
}
