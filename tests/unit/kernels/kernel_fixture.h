/* kernel_fixture: tensors with fixed numbers, contexts for every instruction set, comparisons. */
#ifndef TESTS_KERNEL_FIXTURE_H
#define TESTS_KERNEL_FIXTURE_H

#include "common/mem.h"
#include "worker/kernels/kernels.h"
#include "worker/kernels/reference.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCRATCH_BYTES ((size_t)4 << 20)

/* In [-1, 1), the same on every run. */
static inline float fixed_number(size_t i)
{
    uint64_t x = (i + 1) * 0x9E3779B97F4A7C15u;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 32;
    return (float)(x >> 40) * 0x1p-23f - 1.0f;
}

static inline void *take(size_t elements, size_t bytes)
{
    void *p = aligned_alloc(64, mem_align(elements * bytes + 256, 64));
    cr_assert(p != NULL);
    memset(p, 0, mem_align(elements * bytes + 256, 64));
    return p;
}

static inline struct tensor_view view_make(struct tensor_desc d)
{
    return (struct tensor_view){ d, take(d.elements, tensor_element_bytes(d.kind)) };
}

/* An element before its scale: spikes fire at about `rate`, counts are 0 to 4. */
static inline float element_of(enum tensor_kind kind, float f, double rate)
{
    if (kind == TENSOR_COUNT8) return floorf((f + 1.0f) * 2.5f);
    if (kind == TENSOR_BITS) return f * 0.5f + 0.5f < (float)rate ? 1.0f : 0.0f;
    return f;
}

/* Every logical element. */
static inline void view_fill(struct tensor_view *v, size_t seed, double rate)
{
    const struct tensor_desc *d = &v->desc;
    size_t i = seed * 7919;
    for (size_t b = 0; b < d->b; b++)
        for (size_t t = 0; t < d->t_stored; t++)
            for (size_t c = 0; c < d->c; c++)
                for (size_t y = 0; y < d->h; y++)
                    for (size_t x = 0; x < d->w; x++)
                        tensor_set(d, v->data, b, t, c, y, x,
                                   element_of(d->kind, fixed_number(i++), rate));
}

static inline struct tensor_view view_filled(struct tensor_desc d, size_t seed, double rate)
{
    struct tensor_view v = view_make(d);
    view_fill(&v, seed, rate);
    return v;
}

/* What layers below give spikes: dropout's 1/(1-p), average pooling's 1/n. */
static inline float scale_of(enum tensor_kind kind)
{
    return kind == TENSOR_BITS ? 1.25f : kind == TENSOR_COUNT8 ? 0.25f : 1.0f;
}

static inline float *numbers(size_t n, size_t seed)
{
    float *p = take(n, sizeof(float));
    for (size_t i = 0; i < n; i++) p[i] = fixed_number(seed * 104729 + i);
    return p;
}

static inline struct kernel_ctx context_make(enum isa isa, size_t threads, bool exact)
{
    struct kernel_ctx kc = { .k = kernels_get(isa),
                             .scratch_per_thread = SCRATCH_BYTES,
                             .exact = exact };
    struct err e = { 0 };
    cr_assert_eq(threads_create(&kc.threads, threads, &e), 0, "%s", e.text);
    kc.scratch = take(threads * SCRATCH_BYTES, 1);
    return kc;
}

static inline void context_drop(struct kernel_ctx *kc)
{
    threads_destroy(kc->threads);
    free(kc->scratch);
}

/* Whether this CPU runs it. */
static inline bool isa_here(enum isa isa)
{
    enum isa best;
    struct err e = { 0 };
    return kernels_get(isa) != NULL && kernels_choose(&best, &e) == 0 && isa <= best;
}

/* Largest |a - b| over logical elements, relative to the largest |b|; 0 = equal bits. */
static inline double difference(const struct tensor_view *a, const struct tensor_view *b)
{
    const struct tensor_desc *d = &b->desc;
    double worst = 0, scale = 1e-30;
    for (size_t n = 0; n < d->b; n++)
        for (size_t t = 0; t < d->t_stored; t++)
            for (size_t c = 0; c < d->c; c++)
                for (size_t y = 0; y < d->h; y++)
                    for (size_t x = 0; x < d->w; x++) {
                        const double u = (double)tensor_get(&a->desc, a->data, n, t, c, y, x);
                        const double v = (double)tensor_get(d, b->data, n, t, c, y, x);
                        cr_assert(isfinite(u) && isfinite(v));
                        worst = fmax(worst, fabs(u - v));
                        scale = fmax(scale, fabs(v));
                    }
    return worst / scale;
}

static inline bool same_floats(const float *a, const float *b, size_t n)
{
    return memcmp(a, b, n * sizeof a[0]) == 0;
}

/* Runs the body once for each instruction set here and 1, 2 and 3 threads, as `kc`. */
#define EACH_CONTEXT(kc, exact)                                                                \
    for (int isa_##kc = 0; isa_##kc < ISA_COUNT; isa_##kc++)                                   \
        for (size_t threads_##kc = isa_here((enum isa)isa_##kc) ? 1 : 4; threads_##kc <= 3;    \
             threads_##kc++)                                                                   \
            for (struct kernel_ctx kc = context_make((enum isa)isa_##kc, threads_##kc, exact), \
                                   *once_##kc = &kc;                                           \
                 once_##kc != NULL; context_drop(&kc), once_##kc = NULL)

#endif
