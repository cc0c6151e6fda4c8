/* recompute: see recompute.h. A dynamic programme over positions: of all ways to a position only
 * those are followed that no other way beats in both bytes held and MACs. Gradients that cross take
 * part as a bound: one search for each of their sizes, over the positions where no larger one
 * crosses. */
#include "worker/nets/recompute.h"

#include "common/mem.h"

#include <string.h>

/* ---- ways ------------------------------------------------------------------------------------ */
struct way { /* of covering the intervals before a position */
    size_t held;
    uint64_t macs;
    size_t from, before; /* position where the last segment begins; way to it */
    bool again;
};
struct front { /* held ascends, macs descends */
    struct way *ways;
    size_t count, capacity;
};

static int front_reserve(struct front *f, struct err *e)
{
    if (f->count < f->capacity) return 0;
    const size_t capacity = f->capacity == 0 ? 16 : 2 * f->capacity;
    struct way *ways = mem_realloc_array(f->ways, capacity, sizeof ways[0]);
    if (ways == NULL) return err_set(e, ERR_NOMEM, "recomputation, %zu ways", capacity);
    f->ways = ways;
    f->capacity = capacity;
    return 0;
}

/* Number of ways that hold no more. */
static size_t front_place(const struct front *f, size_t held)
{
    size_t low = 0, high = f->count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (f->ways[middle].held <= held) low = middle + 1;
        else high = middle;
    }
    return low;
}

static int front_add(struct front *f, struct way w, struct err *e)
{
    size_t at = front_place(f, w.held);
    if (at > 0 && f->ways[at - 1].macs <= w.macs) return 0;
    if (at > 0 && f->ways[at - 1].held == w.held) at--;
    size_t end = at; /* those from here on that are beaten */
    while (end < f->count && f->ways[end].macs >= w.macs) end++;
    if (front_reserve(f, e) != 0) return (int)e->code;
    memmove(f->ways + at + 1, f->ways + end, (f->count - end) * sizeof w);
    f->ways[at] = w;
    f->count = f->count + 1 - (end - at);
    return 0;
}

/* ---- one search ------------------------------------------------------------------------------ */
struct search {
    const struct recompute_problem *p;
    struct front *fronts; /* [n + 1] */
    size_t crossing_max;
    size_t bytes_max; /* without gradients that cross */
};

static bool usable(const struct search *s, size_t position)
{
    return s->p->crossing_bytes[position] <= s->crossing_max;
}

/* Goes on from every way to `from` by one segment. */
static int extend(const struct search *s, size_t from, size_t to, bool again, struct err *e)
{
    const struct recompute_piece *piece = again ? recompute_again(s->p, from, to)
                                                : &s->p->keep[from];
    const struct front *f = &s->fronts[from];
    if (piece->peak_bytes > s->bytes_max) return 0;
    for (size_t i = 0; i < f->count && f->ways[i].held <= s->bytes_max - piece->peak_bytes; i++) {
        const struct way w = { f->ways[i].held + piece->held_bytes, f->ways[i].macs + piece->macs,
                               from, i, again };
        if (front_add(&s->fronts[to], w, e) != 0) return (int)e->code;
    }
    return 0;
}

static int run(const struct search *s, struct err *e)
{
    int rc = front_add(&s->fronts[0], (struct way){ 0 }, e);
    for (size_t to = 1; rc == 0 && to <= s->p->n; to++) {
        if (!usable(s, to)) continue;
        if (usable(s, to - 1)) rc = extend(s, to - 1, to, false, e);
        for (size_t from = 0; rc == 0 && from < to; from++)
            if (usable(s, from)) rc = extend(s, from, to, true, e);
    }
    return rc;
}

/* The way to the end with the fewest MACs, as segments. */
static void read_back(const struct search *s, struct recompute_choice *out)
{
    size_t to = s->p->n, at = s->fronts[to].count - 1, count = 0;
    out->macs = s->fronts[to].ways[at].macs;
    while (to > 0) {
        const struct way *w = &s->fronts[to].ways[at];
        out->segments[count++] = (struct recompute_segment){ w->from, to, w->again };
        to = w->from;
        at = w->before;
    }
    for (size_t i = 0; i < count / 2; i++) {
        const struct recompute_segment keep = out->segments[i];
        out->segments[i] = out->segments[count - 1 - i];
        out->segments[count - 1 - i] = keep;
    }
    out->n_segments = count;
    out->bytes = recompute_bytes(s->p, out);
}

static bool better(const struct recompute_choice *a, const struct recompute_choice *b)
{
    return b->n_segments == 0 || a->macs < b->macs || (a->macs == b->macs && a->bytes < b->bytes);
}

static void take(struct recompute_choice *to, const struct recompute_choice *from)
{
    struct recompute_segment *own = to->segments;
    memcpy(own, from->segments, from->n_segments * sizeof own[0]);
    *to = *from;
    to->segments = own;
}

/* With gradients of at most crossing_max. out: what was best so far. */
static int search_below(const struct recompute_problem *p, size_t crossing_max, size_t bytes_max,
                        struct recompute_choice *spare, struct recompute_choice *out, struct err *e)
{
    if (2 * crossing_max > bytes_max) return 0;
    struct search s = { p, mem_calloc(p->n + 1, sizeof s.fronts[0]), crossing_max,
                        bytes_max - 2 * crossing_max };
    if (s.fronts == NULL) return err_set(e, ERR_NOMEM, "recomputation");
    const int rc = run(&s, e);
    if (rc == 0 && s.fronts[p->n].count > 0) {
        read_back(&s, spare);
        if (better(spare, out)) take(out, spare);
    }
    for (size_t i = 0; i <= p->n; i++) mem_free(s.fronts[i].ways);
    mem_free(s.fronts);
    return rc;
}

/* Whether an earlier position has a gradient of the same size: one search does for both. */
static bool seen(const struct recompute_problem *p, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (p->crossing_bytes[k] == p->crossing_bytes[i]) return true;
    return false;
}

int recompute_search(const struct recompute_problem *p, size_t bytes_max,
                     struct recompute_choice *out, struct err *e)
{
    struct recompute_choice spare = { .segments = mem_calloc(p->n, sizeof spare.segments[0]) };
    if (spare.segments == NULL) return err_set(e, ERR_NOMEM, "recomputation");
    out->n_segments = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i <= p->n; i++)
        if (!seen(p, i)) rc = search_below(p, p->crossing_bytes[i], bytes_max, &spare, out, e);
    mem_free(spare.segments);
    if (rc == 0 && out->n_segments == 0)
        rc = err_set(e, ERR_OUT_OF_PLAN, "no recomputation fits %zu bytes", bytes_max);
    return rc;
}

/* ---- the least ------------------------------------------------------------------------------- */
size_t recompute_bytes(const struct recompute_problem *p, const struct recompute_choice *c)
{
    size_t held = 0, most = 0, crossing = 0;
    for (size_t i = 0; i < c->n_segments; i++) {
        const struct recompute_segment *s = &c->segments[i];
        const struct recompute_piece *piece = s->again ? recompute_again(p, s->begin, s->end)
                                                       : &p->keep[s->begin];
        if (held + piece->peak_bytes > most) most = held + piece->peak_bytes;
        held += piece->held_bytes;
        if (p->crossing_bytes[s->end] > crossing) crossing = p->crossing_bytes[s->end];
    }
    return most + 2 * crossing;
}

/* Fewest bytes held on a way to every position that never needs more than s->bytes_max; that the
 * end is reached. */
static bool reaches(const struct search *s, size_t *held)
{
    held[0] = 0;
    for (size_t to = 1; to <= s->p->n; to++) {
        held[to] = SIZE_MAX;
        for (size_t from = 0; usable(s, to) && from < to; from++)
            for (int again = from + 1 < to; again < 2; again++) {
                const struct recompute_piece *piece = again ? recompute_again(s->p, from, to)
                                                            : &s->p->keep[from];
                if (held[from] > s->bytes_max || piece->peak_bytes > s->bytes_max - held[from])
                    continue;
                if (held[from] + piece->held_bytes < held[to])
                    held[to] = held[from] + piece->held_bytes;
            }
    }
    return held[s->p->n] != SIZE_MAX;
}

/* Fewest bytes with gradients of at most crossing_max; `enough` when it takes no less. */
static size_t least_below(const struct recompute_problem *p, size_t crossing_max, size_t enough,
                          size_t *held)
{
    if (2 * crossing_max >= enough) return enough;
    struct search s = { .p = p,
                        .crossing_max = crossing_max,
                        .bytes_max = enough - 2 * crossing_max };
    size_t low = 0, high = s.bytes_max;
    if (!reaches(&s, held)) return enough;
    while (low < high) {
        s.bytes_max = low + (high - low) / 2;
        if (reaches(&s, held)) high = s.bytes_max;
        else low = s.bytes_max + 1;
    }
    return low + 2 * crossing_max;
}

int recompute_least(const struct recompute_problem *p, size_t *bytes, struct err *e)
{
    size_t *held = mem_calloc(p->n + 1, sizeof held[0]), enough = SIZE_MAX / 2;
    if (held == NULL) return err_set(e, ERR_NOMEM, "recomputation");
    for (size_t i = 0; i <= p->n; i++)
        if (!seen(p, i)) enough = least_below(p, p->crossing_bytes[i], enough, held);
    mem_free(held);
    *bytes = enough;
    return 0;
}
