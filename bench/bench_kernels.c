/* bench_kernels: times the heavy loops of the Fashion-MNIST network (examples/kernels-fashion-lif.json)
 * for every instruction set of this CPU. Median of several; prints a table. usage: bench_kernels
 * [THREADS] */
#include "common/clock.h"
#include "common/mem.h"
#include "worker/kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS 7
#define SAMPLES 32
#define STEPS 4
#define SCRATCH_BYTES ((size_t)4 << 20)
#define SPIKE_RATE 0.2

struct setting {
    struct conv_shape conv;
    struct tensor_desc xd, yd, gd, dxd;
    void *x;
    float *y, *dy, *dx, *w, *wt, *dw;
};

static void *take(size_t bytes)
{
    void *p = aligned_alloc(64, mem_align(bytes + 256, 64));
    if (p == NULL) {
        (void)fprintf(stderr, "bench_kernels: out of memory\n");
        exit(75); /* tidy: child */
    }
    memset(p, 0, mem_align(bytes + 256, 64));
    return p;
}

static float number(size_t i)
{
    const uint64_t x = (i + 1) * 0x9E3779B97F4A7C15u;
    return (float)(x >> 40) * 0x1p-23f - 1.0f;
}

static void fill_floats(float *p, size_t n)
{
    for (size_t i = 0; i < n; i++) p[i] = number(i);
}

static void fill_spikes(const struct tensor_desc *d, uint64_t *x)
{
    for (size_t i = 0; i < d->elements; i++)
        for (int bit = 0; bit < 64; bit++)
            if (number(i * 64 + (size_t)bit) * 0.5 + 0.5 < SPIKE_RATE) x[i] |= (uint64_t)1 << bit;
}

/* The second convolution: 128 channels of spikes on 14 x 14 pixels. */
static struct setting setting_make(void)
{
    struct setting s = { .conv = { 128, 14, 14, 128, 14, 14, 3, 3, 1, 1, 1, 1, 1, 1, 1 } };
    s.xd = tensor_make(TENSOR_BITS, SAMPLES, STEPS, 128, 14, 14);
    s.yd = tensor_make(TENSOR_F32, SAMPLES, STEPS, 128, 14, 14);
    s.gd = tensor_gradient(&s.yd, true);
    s.dxd = tensor_gradient(&s.xd, false);
    s.x = take(tensor_bytes(&s.xd));
    s.y = take(tensor_bytes(&s.yd));
    s.dy = take(tensor_bytes(&s.gd));
    s.dx = take(tensor_bytes(&s.dxd));
    s.w = take(conv_weight_floats(&s.conv) * sizeof(float));
    s.dw = take(conv_weight_floats(&s.conv) * sizeof(float));
    s.wt = take(conv_weight_t_floats(&s.conv) * sizeof(float));
    fill_spikes(&s.xd, s.x);
    fill_floats(s.w, conv_weight_floats(&s.conv));
    for (size_t b = 0; b < SAMPLES; b++)
        for (size_t i = 0; i < STEPS * 128 * 14 * 14; i++)
            tensor_set(&s.gd, s.dy, b, i % STEPS, i / STEPS % 128, i / 512 % 14, i / 7168 % 14, number(i));
    return s;
}

static void setting_drop(struct setting *s)
{
    void *all[] = { s->x, s->y, s->dy, s->dx, s->w, s->dw, s->wt };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]); /* aligned_alloc's */
}

static void forward(const struct kernel_ctx *kc, struct setting *s)
{
    conv_forward(kc, &s->conv, &s->xd, s->x, s->w, NULL, &s->yd, s->y, (struct span){ 0, STEPS });
}

static void backward_data(const struct kernel_ctx *kc, struct setting *s)
{
    conv_transpose(kc, &s->conv, s->w, s->wt);
    conv_backward_data(kc, &s->conv, &s->gd, s->dy, s->wt, 1, &s->dxd, s->dx, (struct span){ 0, STEPS });
}

static void backward_weights(const struct kernel_ctx *kc, struct setting *s)
{
    conv_backward_weights(kc, &s->conv, &s->xd, s->x, &s->gd, s->dy, (struct span){ 0, SAMPLES }, s->dw);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_ms(const struct kernel_ctx *kc, struct setting *s,
                        void (*run)(const struct kernel_ctx *, struct setting *))
{
    double ms[RUNS];
    run(kc, s);
    for (int i = 0; i < RUNS; i++) {
        const int64_t begin = clock_mono_ns();
        run(kc, s);
        ms[i] = (double)(clock_mono_ns() - begin) / 1e6;
    }
    qsort(ms, RUNS, sizeof ms[0], by_value);
    return ms[RUNS / 2];
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const struct kernel_ctx *, struct setting *);
    } loops[] = { { "forward", forward }, { "backward, data", backward_data }, { "backward, weights", backward_weights } };
    const size_t threads = argc > 1 ? strtoul(argv[1], NULL, 10) : 2;
    struct setting s = setting_make();
    struct err e = { 0 };
    enum isa best;
    const double gflop = 2e-9 * 128 * 128 * 9 * 14 * 14 * SAMPLES * STEPS;
    if (kernels_choose(&best, &e) != 0) return 64;
    (void)printf("convolution 128 x 14 x 14 -> 128, 3 x 3, %d samples x %d steps, spikes at %.0f %%, %zu threads\n\n",
                 SAMPLES, STEPS, 100 * SPIKE_RATE, threads);
    (void)printf("| instruction set | loop | ms | GFLOP/s |\n|---|---|---|---|\n");
    for (int isa = 0; isa <= (int)best; isa++) {
        struct kernel_ctx kc = { .k = kernels_get((enum isa)isa), .scratch_per_thread = SCRATCH_BYTES };
        if (kc.k == NULL || threads_create(&kc.threads, threads, &e) != 0) continue;
        kc.scratch = take(threads * SCRATCH_BYTES);
        for (size_t i = 0; i < sizeof loops / sizeof loops[0]; i++) {
            const double ms = median_ms(&kc, &s, loops[i].run);
            (void)printf("| %s | %s | %.2f | %.1f |\n", isa_name((enum isa)isa), loops[i].name, ms, gflop / ms * 1e3);
        }
        threads_destroy(kc.threads);
        free(kc.scratch);
    }
    setting_drop(&s);
    return 0;
}
