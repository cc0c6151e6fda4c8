/* The search over segments against all choices there are, on made-up costs. */
#include "worker/nets/recompute.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define INTERVALS 6

struct costs {
    struct recompute_piece keep[INTERVALS], again[INTERVALS * (INTERVALS + 1)];
    size_t crossing[INTERVALS + 1];
};

static struct recompute_piece piece(int held_max, int macs_max)
{
    struct recompute_piece p = { .held_bytes = (size_t)(rand() % held_max) };
    p.peak_bytes = p.held_bytes + (size_t)(rand() % 40);
    p.macs = macs_max > 0 ? (uint64_t)(rand() % macs_max) : 0;
    return p;
}

static struct recompute_problem random_problem(struct costs *c, size_t n)
{
    for (size_t p = 0; p < n; p++) {
        c->keep[p] = piece(40, 0);
        for (size_t q = p + 1; q <= n; q++) c->again[p * (n + 1) + q] = piece(12, 9);
        c->crossing[p + 1] = (size_t)(rand() % 4) * 5;
    }
    c->crossing[0] = c->crossing[n] = 0;
    return (struct recompute_problem){ n, c->keep, c->again, c->crossing };
}

struct brute {
    const struct recompute_problem *p;
    size_t bytes_max;
    struct recompute_choice at;
    struct recompute_segment segments[INTERVALS];
    bool found;
    uint64_t macs;
    size_t least; /* bytes of any choice */
};

static void judge(struct brute *b)
{
    uint64_t macs = 0;
    const size_t bytes = recompute_bytes(b->p, &b->at);
    for (size_t i = 0; i < b->at.n_segments; i++) {
        const struct recompute_segment *s = &b->segments[i];
        if (s->again) macs += recompute_again(b->p, s->begin, s->end)->macs;
    }
    if (bytes < b->least) b->least = bytes;
    if (bytes > b->bytes_max || (b->found && macs >= b->macs)) return;
    b->found = true;
    b->macs = macs;
}

static void all_choices(struct brute *b, size_t from)
{
    if (from == b->p->n) {
        judge(b);
        return;
    }
    const size_t at = b->at.n_segments++;
    b->segments[at] = (struct recompute_segment){ from, from + 1, false };
    all_choices(b, from + 1);
    for (size_t to = from + 1; to <= b->p->n; to++) {
        b->segments[at] = (struct recompute_segment){ from, to, true };
        all_choices(b, to);
    }
    b->at.n_segments--;
}

static struct brute try_all(const struct recompute_problem *p, size_t bytes_max)
{
    struct brute b = { .p = p, .bytes_max = bytes_max, .least = SIZE_MAX };
    b.at.segments = b.segments;
    all_choices(&b, 0);
    return b;
}

/* Goal: on 300 made-up nets, at limits from too small to plenty, the search finds the fewest MACs
 * that fit, refuses exactly what no choice fits, and knows the fewest bytes. */
Test(recompute, finds_what_trying_all_finds, .timeout = 60)
{
    srand(11);
    size_t refused = 0, chosen = 0;
    for (int round = 0; round < 300; round++) {
        struct costs costs;
        const size_t n = 1 + (size_t)rand() % INTERVALS;
        const struct recompute_problem p = random_problem(&costs, n);
        for (size_t limit = 0; limit < 160; limit += 7) {
            struct recompute_segment segments[INTERVALS];
            struct recompute_choice c = { .segments = segments };
            struct err e = { 0 };
            struct brute b = try_all(&p, limit);
            size_t least;
            cr_assert_eq(recompute_least(&p, &least, &e), 0);
            cr_assert_eq(least, b.least);
            const int rc = recompute_search(&p, limit, &c, &e);
            refused += rc != 0;
            chosen += rc == 0 && c.macs > 0;
            cr_assert_eq(rc, b.found ? 0 : (int)ERR_OUT_OF_PLAN, "round %d, limit %zu", round,
                         limit);
            if (rc != 0) continue;
            cr_assert(c.macs == b.macs && c.bytes <= limit, "round %d, limit %zu: %llu MACs", round,
                      limit, (unsigned long long)c.macs);
            cr_assert_eq(recompute_bytes(&p, &c), c.bytes);
        }
    }
    cr_assert_gt(refused, 100);
    cr_assert_gt(chosen, 100);
}

/* Goal: an allocation that fails anywhere is ERR_NOMEM and leaks nothing. */
Test(recompute, allocation_failures_are_reported, .timeout = 20)
{
    struct costs costs;
    srand(3);
    const struct recompute_problem p = random_problem(&costs, INTERVALS);
    for (size_t k = 1; k < 200; k++) {
        struct recompute_segment segments[INTERVALS];
        struct recompute_choice c = { .segments = segments };
        struct err e = { 0 };
        size_t least;
        mem_fail_after(k);
        int rc = recompute_least(&p, &least, &e);
        if (rc == 0) rc = recompute_search(&p, 1000, &c, &e);
        mem_fail_after(0);
        if (rc == 0) {
            cr_assert_gt(k, 5);
            return;
        }
        cr_assert_eq(rc, (int)ERR_NOMEM);
    }
    cr_assert_fail("never succeeded");
}
