/* bench_gemm: dense products of our own against OpenBLAS and against the multiply-adds that this
 * machine can do, on the shapes of training steps: convolutions as implicit products (no image of
 * patches is written) and linear layers. OpenBLAS gets
 * its matrices ready made, patches too, and a part of the rows a thread. Both take turns; medians;
 * prints a table. Run by bench/run.sh.
 * usage: bench_gemm [THREADS] */
#include "bench/blas.h"
#include "bench/limits.h"
#include "bench/timing.h"
#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define RUNS 7

/* A convolution of `side` x `side` images, or a linear layer (side 1, one tap). */
struct shape {
    const char *name;
    size_t images, side, c, k, taps; /* taps: of one axis */
};
static const struct shape shapes[] = {
    { "conv 128 > 128, 14 x 14, 256 images", 256, 14, 128, 128, 3 },
    { "the same, 1 image", 1, 14, 128, 128, 3 },
    { "conv 64 > 64, 32 x 32, 128 images", 128, 32, 64, 64, 3 },
    { "conv 256 > 256, 8 x 8, 32 images", 32, 8, 256, 256, 3 },
    { "conv 512 > 512, 4 x 4, 64 images", 64, 4, 512, 512, 3 },
    { "conv 3 > 64, 32 x 32, 16 images", 16, 32, 3, 64, 3 },
    { "linear 2048 > 2048, 2048 rows", 2048, 1, 2048, 2048, 1 },
    { "linear 6272 > 2048, 512 rows", 512, 1, 6272, 2048, 1 },
    { "linear 784 > 1000, 256 rows", 256, 1, 784, 1000, 1 },
};

/* c[m][n] = a[m][k] b[k][n]. */
struct product {
    size_t m, n, k, parts;
    float *a, *b, *c;
};
struct bench {
    const struct kernel_ctx *kc;
    struct conv_shape conv;
    struct tensor_view x, y, dx;
    float *w, *wt, *dw;
    struct product blas;
};

/* In [-1, 1), the same on every run. */
static float *take_floats(size_t n)
{
    float *p = timing_take(n * sizeof p[0]);
    for (size_t i = 0; i < n; i++) p[i] = (float)(i * 2654435761u % 2048) / 1024.0f - 1.0f;
    return p;
}

/* One time-step: the images are the samples. The gradient of y lies as y does. */
static struct bench bench_make(const struct shape *s, const struct kernel_ctx *kc)
{
    struct bench b = { .kc = kc };
    const size_t pad = s->taps / 2;
    b.conv = (struct conv_shape){ s->c, s->side, s->side, s->k, s->side, s->side, s->taps, s->taps,
                                  1,    1,       pad,     pad,  1,       1,       1 };
    b.x.desc = tensor_make(TENSOR_F32, s->images, 1, s->c, s->side, s->side);
    b.y.desc = tensor_make(TENSOR_F32, s->images, 1, s->k, s->side, s->side);
    b.dx.desc = tensor_gradient(&b.x.desc, false);
    b.x.data = take_floats(b.x.desc.elements);
    b.y.data = take_floats(b.y.desc.elements);
    b.dx.data = take_floats(b.dx.desc.elements);
    const size_t linear = b.x.desc.c_stored * b.y.desc.c_stored;
    const size_t weights = s->taps > 1 ? conv_weight_floats(&b.conv) : linear;
    b.w = take_floats(weights);
    b.dw = take_floats(weights);
    b.wt = take_floats(s->taps > 1 ? conv_weight_t_floats(&b.conv, KERNEL_PATH_DENSE) : 1);
    return b;
}

static void bench_drop(struct bench *b)
{
    void *all[] = { b->x.data, b->y.data, b->dx.data, b->w, b->wt, b->dw };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]); /* aligned_alloc's */
}

/* ---- our own --------------------------------------------------------------------------------- */
static const struct span step = { 0, 1 };

static void forward(struct bench *b)
{
    if (b->conv.r > 1)
        conv_forward(b->kc, &b->conv, &b->x.desc, b->x.data, b->w, NULL, &b->y.desc, b->y.data,
                     step);
    else linear_forward(b->kc, &b->x.desc, b->x.data, b->w, NULL, &b->y.desc, b->y.data, step);
}

static void backward_data(struct bench *b)
{
    if (b->conv.r > 1) {
        conv_transpose(b->kc, &b->conv, b->w, b->wt);
        conv_backward_data(b->kc, &b->conv, &b->y.desc, b->y.data, b->wt, 1, &b->dx.desc,
                           b->dx.data, step);
    } else
        linear_backward_data(b->kc, &b->y.desc, b->y.data, b->w, &b->x.desc, &b->dx.desc,
                             b->dx.data, step);
}

static void backward_weights(struct bench *b)
{
    const struct span all = { 0, b->x.desc.b };
    if (b->conv.r > 1)
        conv_backward_weights(b->kc, &b->conv, &b->x.desc, b->x.data, &b->y.desc, b->y.data, all,
                              b->dw);
    else linear_backward_weights(b->kc, &b->x.desc, b->x.data, &b->y.desc, b->y.data, all, b->dw);
}

/* ---- OpenBLAS -------------------------------------------------------------------------------- */
static void blas_part(void *ctx, size_t part, size_t thread)
{
    (void)thread;
    const struct product *p = ctx;
    const size_t from = p->m * part / p->parts, to = p->m * (part + 1) / p->parts;
    blas_gemm(to - from, p->n, p->k, p->a + from * p->k, p->k, p->b, p->n, 0, 0, p->c + from * p->n,
              p->n);
}

static void blas(struct bench *b)
{
    threads_run(b->kc->threads, b->blas.parts, blas_part, &b->blas);
}

/* ---- measuring ------------------------------------------------------------------------------- */
enum pass { FORWARD, DATA, WEIGHTS, PASSES };
static const struct {
    const char *name;
    void (*own)(struct bench *);
} passes[PASSES] = {
    [FORWARD] = { "forward", forward },
    [DATA] = { "gradient of data", backward_data },
    [WEIGHTS] = { "gradient of weights", backward_weights },
};

static struct product product_make(const struct shape *s, enum pass pass, size_t parts)
{
    const size_t pixels = s->images * s->side * s->side, taps = s->taps * s->taps;
    struct product p = { .parts = parts };
    p.m = pass == WEIGHTS ? taps * s->c : pixels;
    p.n = pass == DATA ? s->c : s->k;
    p.k = pass == WEIGHTS ? pixels : taps * (pass == DATA ? s->k : s->c);
    p.a = take_floats(p.m * p.k);
    p.b = take_floats(p.k * p.n);
    p.c = take_floats(p.m * p.n);
    return p;
}

/* Medians of both in seconds, taken in turn after one run of each to warm up. */
static void compare(struct bench *b, void (*own)(struct bench *), double seconds[2])
{
    double s[2][RUNS];
    own(b);
    blas(b);
    for (size_t i = 0; i < 2 * RUNS; i++) {
        const int64_t begin = clock_mono_ns();
        (i % 2 == 0 ? own : blas)(b);
        s[i % 2][i / 2] = (double)(clock_mono_ns() - begin) * 1e-9;
    }
    for (size_t i = 0; i < 2; i++) seconds[i] = timing_median(s[i], RUNS);
}

static void print_row(const struct shape *s, enum pass pass, const double seconds[2], double peak)
{
    const double work = 2.0 * (double)(s->images * s->side * s->side * s->taps * s->taps) *
                        (double)(s->c * s->k);
    const double own = work / seconds[0], other = work / seconds[1];
    (void)printf("| %s | %s | %.2f | %.0f | %.0f %% | %.2f | %.0f | %.0f %% | %.2f |\n", s->name,
                 passes[pass].name, seconds[0] * 1e3, own * 1e-9, 100 * own / peak,
                 seconds[1] * 1e3, other * 1e-9, 100 * other / peak, seconds[1] / seconds[0]);
    (void)fflush(stdout);
}

static void print_shape(const struct shape *s, const struct kernel_ctx *kc, double peak)
{
    struct bench b = bench_make(s, kc);
    for (enum pass pass = FORWARD; pass < PASSES; pass++) {
        if (pass == DATA && s->c < 16) continue; /* a network's first layer has none */
        double seconds[2];
        b.blas = product_make(s, pass, threads_count(kc->threads));
        compare(&b, passes[pass].own, seconds);
        print_row(s, pass, seconds, peak);
        free(b.blas.a); /* aligned_alloc's */
        free(b.blas.b);
        free(b.blas.c);
    }
    bench_drop(&b);
}

int main(int argc, char **argv)
{
    const size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 2;
    struct err e = { 0 };
    struct threads *threads;
    struct limits most;
    enum isa isa;
    if (count == 0 || kernels_choose(&isa, &e) != 0 || threads_create(&threads, count, &e) != 0) {
        (void)fprintf(stderr, "usage: bench_gemm [THREADS] %s\n", e.text);
        return 64;
    }
    struct kernel_ctx kc = { .k = kernels_get(isa),
                             .threads = threads,
                             .scratch_per_thread = (size_t)4 << 20,
                             .path = KERNEL_PATH_DENSE };
    kc.scratch = timing_take(count * kc.scratch_per_thread);
    blas_init();
    limits_measure(isa, threads, &most);
    (void)printf(
        "dense products, %zu threads, %s against OpenBLAS as on %s; peak of multiply-adds "
        "%.0f G/s; medians of %d;\nG/s of the whole product: taps outside the image, which "
        "we leave out, and all of them where Winograd needs fewer\n\n| shape | product | ours ms | "
        "G/s | of peak | OpenBLAS ms | G/s | of "
        "peak | faster |\n|---|---|---|---|---|---|---|---|---|\n",
        count, isa_name(isa), blas_core(), most.flops * 1e-9, RUNS);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        print_shape(&shapes[i], &kc, most.flops);
    threads_destroy(threads);
    free(kc.scratch);
    return 0;
}
