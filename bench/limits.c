/* limits: see limits.h. Every thread of the pool does the same at once; the best of some runs. */
#include "bench/limits.h"

#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS 5
#define ROUNDS ((size_t)1 << 20)
#define ARRAY_FLOATS ((size_t)16 << 20) /* of each array; 64 MiB: beyond the last cache */

static const size_t lanes_of[ISA_COUNT] = { [ISA_GENERIC] = 4, [ISA_AVX2] = 8, [ISA_AVX512] = 16 };

struct meter {
    void (*loop)(struct meter *m, size_t thread);
    size_t threads;
    float *a, *b, *c;
};

static void meter_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    struct meter *m = ctx;
    m->loop(m, item);
}

/* Seconds of the fastest run. */
static double best_of(struct meter *m, struct threads *threads,
                      void (*loop)(struct meter *, size_t))
{
    double best = 1e9;
    m->loop = loop;
    m->threads = threads_count(threads);
    for (int i = 0; i < RUNS; i++) {
        const int64_t begin = clock_mono_ns();
        threads_run(threads, m->threads, meter_item, m);
        const double s = (double)(clock_mono_ns() - begin) * 1e-9;
        if (s < best) best = s;
    }
    return best;
}

/* ---- arithmetic ------------------------------------------------------------------------------ */
#define ADDS_A_ROUND 16

/* A chain of operations of one cycle each, none of which can begin before the last is done. */
static void chain(struct meter *m, size_t thread)
{
    (void)m;
    size_t x = thread;
    for (size_t i = 0; i < 4 * ROUNDS; i++)
#pragma GCC unroll 16
        for (int k = 0; k < ADDS_A_ROUND; k++) {
            x ^= i;
            __asm__ volatile("" : "+r"(x)); /* the compiler may not know x */
        }
}

#if defined(__x86_64__)
#define FMAS_A_ROUND 12 /* independent ones: more than latency times units */
#define FMA(r) "vfmadd231ps %%" r "0, %%" r "1, %%" r
#define TWELVE(r)                                                                            \
    FMA(r)                                                                                   \
    "2\n" FMA(r) "3\n" FMA(r) "4\n" FMA(r) "5\n" FMA(r) "6\n" FMA(r) "7\n" FMA(r) "8\n" FMA( \
        r) "9\n" FMA(r) "10\n" FMA(r) "11\n" FMA(r) "12\n" FMA(r) "13\n"
#define CLOBBERED                                                                            \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
        "xmm11", "xmm12", "xmm13"

static void fma_avx2(struct meter *m, size_t thread)
{
    (void)m;
    (void)thread;
    __asm__ volatile("vzeroall" : : : CLOBBERED);
    for (size_t i = 0; i < ROUNDS; i++) __asm__ volatile(TWELVE("ymm") : : : CLOBBERED);
    __asm__ volatile("vzeroupper" : : : CLOBBERED);
}

static void fma_avx512(struct meter *m, size_t thread)
{
    (void)m;
    (void)thread;
    __asm__ volatile("vzeroall" : : : CLOBBERED);
    for (size_t i = 0; i < ROUNDS; i++) __asm__ volatile(TWELVE("zmm") : : : CLOBBERED);
    __asm__ volatile("vzeroupper" : : : CLOBBERED);
}
#endif

/* ---- memory ---------------------------------------------------------------------------------- */
static void copy_part(struct meter *m, size_t thread)
{
    const size_t n = ARRAY_FLOATS / m->threads;
    memcpy(m->a + thread * n, m->b + thread * n, n * sizeof m->a[0]);
}

static void triad_part(struct meter *m, size_t thread)
{
    const size_t n = ARRAY_FLOATS / m->threads, at = thread * n;
    for (size_t i = at; i < at + n; i++) m->a[i] = m->b[i] + 0.5f * m->c[i];
}

static float *take_array(void)
{
    float *p = aligned_alloc(64, ARRAY_FLOATS * sizeof p[0]);
    if (p == NULL) {
        (void)fprintf(stderr, "bench_kernels: out of memory\n");
        exit(75);
    }
    memset(p, 0, ARRAY_FLOATS * sizeof p[0]);
    return p;
}

void limits_measure(enum isa isa, struct threads *threads, struct limits *out)
{
    struct meter m = { .a = take_array(), .b = take_array(), .c = take_array() };
    const double n = (double)threads_count(threads), lanes = (double)lanes_of[isa];
    *out = (struct limits){ 0 };
    out->cycles = (double)(4 * ROUNDS * ADDS_A_ROUND) / best_of(&m, threads, chain);
    out->adds = n * lanes * out->cycles;
#if defined(__x86_64__)
    const double fmas = (double)(ROUNDS * FMAS_A_ROUND) * n * lanes * 2;
    if (isa == ISA_AVX2) out->flops = fmas / best_of(&m, threads, fma_avx2);
    if (isa == ISA_AVX512) out->flops = fmas / best_of(&m, threads, fma_avx512);
#endif
    out->copy = 2.0 * sizeof(float) * (double)ARRAY_FLOATS / best_of(&m, threads, copy_part);
    out->bandwidth = 3.0 * sizeof(float) * (double)ARRAY_FLOATS / best_of(&m, threads, triad_part);
    free(m.a);
    free(m.b);
    free(m.c);
}
