/* bench_psn: where the own loops of PSN meet OpenBLAS: whole passes of a layer against nothing but
 * the matrix products that they hold, for numbers of time-steps T. Prints a table. Run by
 * bench/run.sh.
 * usage: bench_psn [THREADS] */
#include "bench/blas.h"
#include "bench/timing.h"
#include "common/clock.h"
#include "common/mem.h"
#include "worker/neurons/neuron.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 8, CHANNELS = 128, SIDE = 4, CELLS = CHANNELS * SIDE * SIDE, RUNS = 5 };
enum { WIDE = 256 }; /* cells of one product: h of a tile stays in the cache */

struct bench {
    struct kernel_ctx kc;
    struct spec_neuron cell;
    struct neuron n;
    struct tensor_view x, y, dy, dx;
    float *w, *bias, *wt;    /* [T][T], [T], [T][T] */
    double *total, *partial; /* sums of the own backward pass */
    float *h, *dw;           /* of every thread: [T][WIDE], [T][T] */
};

static float *take_floats(size_t n)
{
    float *p = timing_take(n * sizeof p[0]);
    for (size_t i = 0; i < n; i++) p[i] = (float)(i * 2654435761u % 2048) / 1024.0f - 1.0f;
    return p;
}

static struct tensor_view take_tensor(struct tensor_desc d)
{
    if (d.kind == TENSOR_F32) return (struct tensor_view){ d, take_floats(d.elements) };
    return (struct tensor_view){ d, timing_take(tensor_bytes(&d)) };
}

static struct bench bench_make(size_t t, enum isa isa, struct threads *threads)
{
    struct bench b = { 0 };
    const size_t count = threads_count(threads);
    size_t models;
    const struct spec_neuron_model *m = spec_neuron_models(&models);
    while (strcmp(m[b.cell.model].name, "psn") != 0) b.cell.model++;
    b.cell.surrogate.params[0] = 2.0;
    b.x = take_tensor(tensor_make(TENSOR_F32, SAMPLES, t, CHANNELS, SIDE, SIDE));
    b.y = take_tensor(tensor_make(TENSOR_BITS, SAMPLES, t, CHANNELS, SIDE, SIDE));
    b.dy = take_tensor(tensor_gradient(&b.y.desc, false));
    b.dx = take_tensor(tensor_gradient(&b.x.desc, false));
    b.n = neuron_make(&b.cell, &b.x.desc, isa);
    b.kc = (struct kernel_ctx){ .k = kernels_get(isa), .threads = threads };
    b.kc.scratch_per_thread = mem_align(neuron_scratch_bytes(&b.n), 64);
    b.kc.scratch = timing_take(count * b.kc.scratch_per_thread);
    b.w = take_floats(t * t);
    b.wt = take_floats(t * t);
    b.bias = take_floats(t);
    b.total = timing_take(neuron_sums(&b.n) * sizeof(double));
    b.partial = timing_take(neuron_group(&b.n, SAMPLES) * neuron_sums(&b.n) * sizeof(double));
    b.h = take_floats(count * t * WIDE);
    b.dw = take_floats(count * t * t);
    return b;
}

static void bench_drop(struct bench *b)
{
    void *all[] = { b->x.data, b->y.data, b->dy.data, b->dx.data, b->kc.scratch, b->w, b->wt,
                    b->bias, b->total, b->partial, b->h, b->dw };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]); /* aligned_alloc's */
}

/* ---- the own loops: everything that a layer does --------------------------------------------- */
static void own_forward(struct bench *b)
{
    const struct neuron_io io = { .x = b->x, .spikes = b->y, .w = { b->w, b->bias } };
    neuron_forward(&b->kc, &b->n, &io);
}

static void own_backward(struct bench *b)
{
    const struct neuron_io io = { .x = b->x, .ds = b->dy, .dx = b->dx, .w = { b->w, b->bias } };
    neuron_backward(&b->kc, &b->n, &io, (struct span){ 0, SAMPLES }, b->total, b->partial);
}

/* ---- OpenBLAS: the products alone, no spikes, surrogates or sums ----------------------------- */
static float *tile_of(const struct tensor_view *v, size_t sample, size_t cell)
{
    return (float *)v->data + sample * v->desc.sample + cell;
}

static void blas_forward_sample(void *ctx, size_t sample, size_t thread)
{
    struct bench *b = ctx;
    const size_t t = b->n.t;
    for (size_t i = 0; i < CELLS; i += WIDE)
        blas_gemm(t, WIDE, t, b->w, t, tile_of(&b->x, sample, i), b->x.desc.time, 0, 0,
                  b->h + thread * t * WIDE, WIDE);
}

static void blas_backward_sample(void *ctx, size_t sample, size_t thread)
{
    struct bench *b = ctx;
    const size_t t = b->n.t;
    float *h = b->h + thread * t * WIDE, *dw = b->dw + thread * t * t;
    for (size_t i = 0; i < CELLS; i += WIDE) {
        const float *x = tile_of(&b->x, sample, i);
        blas_gemm(t, WIDE, t, b->w, t, x, b->x.desc.time, 0, 0, h, WIDE);
        blas_gemm(t, t, WIDE, h, WIDE, x, b->x.desc.time, 1, i > 0, dw, t);
        blas_gemm(t, WIDE, t, b->wt, t, h, WIDE, 0, 0, tile_of(&b->dx, sample, i),
                  b->dx.desc.time);
    }
}

static void blas_forward(struct bench *b)
{
    threads_run(b->kc.threads, SAMPLES, blas_forward_sample, b);
}

static void blas_backward(struct bench *b)
{
    threads_run(b->kc.threads, SAMPLES, blas_backward_sample, b);
}

/* ---- measuring ------------------------------------------------------------------------------- */
/* Medians of both, taken in turn after one run to warm up. */
static void compare(struct bench *b, const char *pass, void (*own)(struct bench *),
                    void (*blas)(struct bench *))
{
    double ms[2][RUNS];
    own(b);
    blas(b);
    for (size_t i = 0; i < 2 * RUNS; i++) {
        const int64_t begin = clock_mono_ns();
        (i % 2 == 0 ? own : blas)(b);
        ms[i % 2][i / 2] = (double)(clock_mono_ns() - begin) / 1e6;
    }
    const double ours = timing_median(ms[0], RUNS), theirs = timing_median(ms[1], RUNS);
    (void)printf("| %zu | %s | %.2f | %.2f | %.2f |\n", b->n.t, pass, ours, theirs, ours / theirs);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    static const size_t steps[] = { 8, 16, 32, 64, 128, 256, 512 };
    const size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 2;
    struct err e = { 0 };
    struct threads *threads;
    enum isa isa;
    if (count == 0 || kernels_choose(&isa, &e) != 0 || threads_create(&threads, count, &e) != 0) {
        (void)fprintf(stderr, "usage: bench_psn [THREADS] %s\n", e.text);
        return 64;
    }
    blas_init();
    (void)printf("PSN, %d samples of %d cells, %zu threads, %s against OpenBLAS %s, medians of %d\n"
                 "\n| T | pass | own, all of it ms | OpenBLAS, products alone ms | ratio |\n"
                 "|---|---|---|---|---|\n",
                 SAMPLES, CELLS, count, isa_name(isa), blas_core(), RUNS);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct bench b = bench_make(steps[i], isa, threads);
        compare(&b, "forward", own_forward, blas_forward);
        compare(&b, "backward", own_backward, blas_backward);
        bench_drop(&b);
    }
    threads_destroy(threads);
    return 0;
}
