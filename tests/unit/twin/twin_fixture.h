/* twin_fixture: the two stages of the numerical proof for one network of a test: the twin against
 * finite differences, the engine against the twin. */
#ifndef TEST_TWIN_FIXTURE_H
#define TEST_TWIN_FIXTURE_H

#include "tests/twin/match.h"
#include "tests/twin/slopes.h"
#include "tests/twin/twin_case.h"
#include "worker/kernels/kernel_trace.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define SLOPES_TOLERANCE 1e-6

/* More work, and a line for each figure: `make prove` sets SPIKED_PROVE. */
static inline bool fixture_prove(void) { return getenv("SPIKED_PROVE") != NULL; }

static inline void check_slopes(const struct twin_case *c, const struct slopes_plan *plan,
                                int64_t hidden)
{
    struct twin_case smooth = *c;
    smooth.primitive = true;
    struct twin_world *w = twin_world_make(&smooth, hidden);
    slopes_prepare(w->tw, w->up);
    const struct slopes s = slopes_take(w->tw, w->up, plan);
    if (fixture_prove())
        fprintf(stderr, "slopes %.1e of %zu, %s, %s\n", s.worst, s.taken, c->name, s.what);
    cr_assert_gt(s.taken, 0);
    cr_assert(s.worst <= SLOPES_TOLERANCE, "%s: %.2e at %s", c->name, s.worst, s.what);
    twin_world_free(w);
}

static inline enum isa fixture_best_isa(void)
{
    enum isa isa;
    struct err e = { 0 };
    cr_assert_eq(kernels_choose(&isa, &e), 0);
    return isa;
}

/* How the engine is held against the twin. */
struct engine_plan {
    double margin;    /* of every potential from its threshold */
    double tolerance; /* see match_compare */
    int64_t hidden;   /* see twin_world_make */
    bool brief;       /* numerics exact in the first ways only, but for `make prove` */
};

/* Below a sanitizer all is brief. */
static inline bool is_brief(const struct engine_plan *plan)
{
    return (plan->brief && !fixture_prove()) || getenv("SPIKED_SANITIZED") != NULL;
}

static inline void check_near(const struct twin_case *c, const struct twin_world *w, struct net *n,
                              const struct match_engine *e, double tolerance)
{
    const struct match m = match_compare(w, n, tolerance);
    if (fixture_prove())
        fprintf(stderr, "engine %.3f of %zu, %s, %s, exact %d, %s\n", m.worst, m.compared, c->name,
                isa_name(e->isa), e->exact, m.what);
    cr_assert_gt(m.compared, 0);
    cr_assert(m.worst <= 1.0, "%s, %s, exact %d: %.2f limits at %s", c->name, isa_name(e->isa),
              e->exact, m.worst, m.what);
}

/* What ran in the forced event form, in all cases of a test. */
static struct kernel_trace fixture_events;

/* Ways to run that change no bit. The first three are those of a brief plan. */
enum { ENGINE_WAYS = 5, ENGINE_WAYS_BRIEF = 3 };
static inline struct match_engine engine_way(size_t i)
{
    static const struct match_engine ways[ENGINE_WAYS] = {
        { .threads = 1 },
        { .threads = 3,
          .span_steps = 1,
          .path = KERNEL_PATH_DENSE,
          .recompute = NET_RECOMPUTE_LEAST },
        { .threads = 2, .path = KERNEL_PATH_EVENT, .trace = &fixture_events },
        { .threads = 2, .span_steps = 2, .recompute = NET_RECOMPUTE_LEAST },
        { .threads = 8, .path = KERNEL_PATH_DENSE },
    };
    return ways[i];
}

/* Every instruction set in all those ways: near the twin, and the same bits. */
static inline void check_numerics(const struct twin_case *c, const struct twin_world *w, bool exact,
                                  const struct engine_plan *plan)
{
    struct net *first = NULL;
    for (enum isa isa = ISA_GENERIC; isa <= fixture_best_isa(); isa++)
        for (size_t i = 0; i < (is_brief(plan) ? ENGINE_WAYS_BRIEF : ENGINE_WAYS); i++) {
            struct match_engine e = engine_way(i);
            e.isa = isa;
            e.shards = c->in.b % 2 == 0 ? 2 : 1;
            e.exact = exact;
            struct net *n = match_run(c, w, &e);
            if (first == NULL) check_near(c, w, n, &e, plan->tolerance);
            if (first == NULL) {
                first = n;
                continue;
            }
            const char *differs = match_bits(first, n);
            cr_assert_null(differs, "%s: %s of %s, %zu threads, exact %d", c->name, differs,
                           isa_name(isa), e.threads, exact);
            net_destroy(n);
        }
    net_destroy(first);
}

static inline struct twin_world *settled_world(const struct twin_case *c,
                                               const struct engine_plan *plan)
{
    struct twin_world *w = twin_world_make(c, plan->hidden);
    const double distance = twin_world_settle(w, plan->margin);
    cr_assert(distance >= plan->margin, "%s: a potential %.1e from its threshold", c->name,
              distance);
    slopes_prepare(w->tw, w->up);
    twin_commit(w->tw);
    return w;
}

static inline void check_engine(const struct twin_case *c, const struct engine_plan *plan)
{
    struct twin_world *w = settled_world(c, plan);
    check_numerics(c, w, true, plan);
    if (!is_brief(plan)) check_numerics(c, w, false, plan);
    twin_world_free(w);
}

/* Ends a test whose networks have convolutions behind spikes, of shapes that the event kernels
 * take: those alone ran. */
static inline void check_events_ran(void)
{
    const uint64_t *calls = fixture_events.calls;
    cr_assert_gt(calls[KERNEL_conv_forward_events_bits], 0);
    cr_assert_gt(calls[KERNEL_conv_backward_weights_events_bits], 0);
    cr_assert_eq(calls[KERNEL_conv_forward_bits], 0);
    cr_assert_eq(calls[KERNEL_conv_backward_weights_bits], 0);
}

/* A wrong sign of one gradient, in the engine or the twin, must be seen. */
static inline void flip(float *at, size_t n)
{
    for (size_t i = 0; i < n; i++) at[i] = -at[i];
}

static inline void check_signs(const struct twin_case *c, const struct engine_plan *plan)
{
    struct twin_world *w = settled_world(c, plan);
    const struct match_engine e = {
        .isa = fixture_best_isa(), .threads = 1, .shards = 1, .exact = true
    };
    const struct tensor_desc *d;
    size_t floats;
    struct net *n = match_run(c, w, &e);
    check_near(c, w, n, &e, plan->tolerance);
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        if (p->role == NET_BUFFER) continue;
        flip(net_gradients(n, &floats) + p->offset, p->floats);
        cr_assert(match_compare(w, n, plan->tolerance).worst > 1.0, "%s: the sign of %s", c->name,
                  p->name);
        flip(net_gradients(n, &floats) + p->offset, p->floats);
    }
    float *dx = (float *)net_input_gradient(n, &d);
    flip(dx, d->elements);
    cr_assert(match_compare(w, n, plan->tolerance).worst > 1.0, "%s: the sign of dx", c->name);
    net_destroy(n);
    twin_world_free(w);
}

#endif
