/* bench_kernels: times the heavy loops of the network of examples/kernels-fashion-lif.json, layer
 * by layer, and of grouped convolutions, for every instruction set of this CPU, and sets them
 * against the time that their multiply-adds, their additions of spikes' rows or their memory would
 * take at the limits of this machine (limits.h). Medians; prints a table. Then, for the best
 * instruction set, the sums over spikes at that network's batch and 10 % spikes. Run by
 * bench/run.sh.
 * usage: bench_kernels [THREADS [SAMPLES [PERCENT]]]; PERCENT of the inputs spike. SPIKED_PATH
 * forces the form of convolutions, SPIKED_ISA one instruction set. */
#include "bench/blas.h"
#include "bench/limits.h"
#include "bench/timing.h"
#include "common/clock.h"
#include "common/mem.h"
#include "worker/neurons/neuron.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS_MAX 7
#define ENOUGH_MS 1500.0 /* a slow loop is not run more often */
#define STEPS 4
#define BATCH 128 /* of the network, for the sums over spikes alone */
#define BATCH_RATE 0.1f
#define SCRATCH_BYTES ((size_t)4 << 20)

/* A layer with its tensors: x -> y, and the gradients dy -> dx, dw. */
struct layer {
    const char *name;
    struct conv_shape conv;
    struct spec_neuron cell;
    struct tensor_view x, y, dy, dx;
    float *w, *wt, *dw;
    double giga; /* multiply-accumulates times 2, or cell-steps, of one pass; in 10^9 */
    double inside; /* share of them whose tap is not outside the image */
};
struct job {
    const struct kernel_ctx *kc;
    enum isa isa;
    struct layer *layer;
};

/* In [-1, 1), the same on every run. */
static float number(size_t i)
{
    const uint64_t x = (i + 1) * 0x9E3779B97F4A7C15u;
    return (float)(x >> 40) * 0x1p-23f - 1.0f;
}

static float *take_floats(size_t n)
{
    float *p = timing_take(n * sizeof p[0]);
    for (size_t i = 0; i < n; i++) p[i] = 0.05f * number(i);
    return p;
}

static struct tensor_view take_tensor(struct tensor_desc d)
{
    return (struct tensor_view){ d, timing_take(tensor_bytes(&d)) };
}

static float spike_rate = 0.2f;

/* Every logical value: floats, or spikes at spike_rate. */
static struct tensor_view take_filled(struct tensor_desc d)
{
    struct tensor_view v = take_tensor(d);
    for (size_t i = 0; i < d.b * d.t_stored * d.c * d.h * d.w; i++) {
        const size_t pixel = i % (d.h * d.w), c = i / (d.h * d.w) % d.c;
        const size_t image = i / (d.h * d.w * d.c);
        const float f = number(i);
        const float spike = f * 0.5f + 0.5f < spike_rate ? 1.0f : 0.0f;
        tensor_set(&d, v.data, image / d.t_stored, image % d.t_stored, c, pixel / d.w,
                   pixel % d.w, d.kind == TENSOR_BITS ? spike : f);
    }
    return v;
}

/* ---- the layers ------------------------------------------------------------------------------ */
/* 3 x 3 taps, 128 channels out; as many groups. */
static struct layer conv_make(const char *name, enum tensor_kind kind, size_t samples, size_t c,
                              size_t side, size_t groups)
{
    struct layer l = { .name = name,
                       .conv = { c, side, side, 128, side, side, 3, 3, 1, 1, 1, 1, 1, 1, groups } };
    const enum tensor_kind out = kind == TENSOR_REPEAT ? TENSOR_REPEAT : TENSOR_F32;
    l.x = take_filled(tensor_make(kind, samples, STEPS, c, side, side));
    l.y = take_tensor(tensor_make(out, samples, STEPS, 128, side, side));
    l.dy = take_filled(tensor_gradient(&l.y.desc, true));
    l.dx = take_tensor(tensor_gradient(&l.x.desc, false));
    l.w = take_floats(conv_weight_floats(&l.conv));
    l.dw = take_floats(conv_weight_floats(&l.conv));
    l.wt = take_floats(conv_weight_t_floats(&l.conv, KERNEL_PATH_WINOGRAD));
    l.giga = 2e-9 * 9 * 128 * (double)(c / groups * side * side * samples * l.x.desc.t_stored);
    const double taps = 3 - 2 / (double)side; /* of one axis */
    l.inside = taps * taps / 9;
    return l;
}

static struct layer linear_make(const char *name, size_t samples, size_t c, size_t side,
                                size_t outputs)
{
    struct layer l = { .name = name };
    const struct tensor_desc image = tensor_make(TENSOR_BITS, samples, STEPS, c, side, side);
    l.x = take_filled(tensor_flatten(&image));
    l.y = take_tensor(tensor_make(TENSOR_F32, samples, STEPS, outputs, 1, 1));
    l.dy = take_filled(tensor_gradient(&l.y.desc, false));
    l.dx = take_tensor(tensor_gradient(&l.x.desc, false));
    l.w = take_floats(l.x.desc.c_stored * l.y.desc.c_stored);
    l.dw = take_floats(l.x.desc.c_stored * l.y.desc.c_stored);
    l.giga = 2e-9 * (double)(c * side * side * outputs * samples * STEPS);
    l.inside = 1;
    return l;
}

static int model_index(const char *name)
{
    size_t count;
    const struct spec_neuron_model *m = spec_neuron_models(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(m[i].name, name) == 0) return (int)i;
    return 0;
}

static struct layer neuron_layer_make(const char *name, size_t samples, size_t c, size_t side)
{
    struct layer l = { .name = name };
    l.cell = (struct spec_neuron){ .model = model_index("lif"), .v_threshold = 1.0,
                                   .decay_input = true };
    l.cell.params[0] = 2.0; /* tau */
    l.cell.surrogate.params[0] = 2.0;
    l.x = take_filled(tensor_make(TENSOR_F32, samples, STEPS, c, side, side));
    l.y = take_tensor(tensor_make(TENSOR_BITS, samples, STEPS, c, side, side));
    l.dy = take_filled(tensor_gradient(&l.y.desc, false));
    l.dx = take_tensor(tensor_gradient(&l.x.desc, true));
    l.giga = 1e-9 * (double)(c * side * side * samples * STEPS);
    return l;
}

static void layer_drop(struct layer *l)
{
    void *all[] = { l->x.data, l->y.data, l->dy.data, l->dx.data, l->w, l->wt, l->dw };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]); /* aligned_alloc's */
}

/* ---- the loops ------------------------------------------------------------------------------- */
static const struct span all_steps = { 0, STEPS };

static void conv_forward_loop(const struct job *j)
{
    struct layer *l = j->layer;
    conv_forward(j->kc, &l->conv, &l->x.desc, l->x.data, l->w, NULL, &l->y.desc, l->y.data,
                 all_steps);
}

static void conv_data_loop(const struct job *j)
{
    struct layer *l = j->layer;
    conv_transpose(j->kc, &l->conv, l->w, l->wt);
    conv_backward_data(j->kc, &l->conv, &l->dy.desc, l->dy.data, l->wt, 1, &l->dx.desc,
                       l->dx.data, all_steps);
}

static void conv_weights_loop(const struct job *j)
{
    struct layer *l = j->layer;
    conv_backward_weights(j->kc, &l->conv, &l->x.desc, l->x.data, &l->dy.desc, l->dy.data,
                          (struct span){ 0, l->x.desc.b }, l->dw);
}

static void linear_forward_loop(const struct job *j)
{
    struct layer *l = j->layer;
    linear_forward(j->kc, &l->x.desc, l->x.data, l->w, NULL, &l->y.desc, l->y.data, all_steps);
}

static void linear_data_loop(const struct job *j)
{
    struct layer *l = j->layer;
    linear_backward_data(j->kc, &l->dy.desc, l->dy.data, l->w, &l->x.desc, &l->dx.desc,
                         l->dx.data, all_steps);
}

static void linear_weights_loop(const struct job *j)
{
    struct layer *l = j->layer;
    linear_backward_weights(j->kc, &l->x.desc, l->x.data, &l->dy.desc, l->dy.data,
                            (struct span){ 0, l->x.desc.b }, l->dw);
}

/* The same by OpenBLAS, by columns of dx. */
#define BLAS_COLUMNS 448

static void blas_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct layer *l = ctx;
    const size_t k = l->dy.desc.c, at = item * BLAS_COLUMNS, left = l->dx.desc.c_stored - at;
    blas_gemm(l->dy.desc.b * STEPS, left < BLAS_COLUMNS ? left : BLAS_COLUMNS, k,
              (const float *)l->dy.data, l->dy.desc.time, l->w + at * l->y.desc.c_stored,
              l->y.desc.c_stored, 1, 0, (float *)l->dx.data + at, l->dx.desc.time);
}

static void blas_data_loop(const struct job *j)
{
    threads_run(j->kc->threads, (j->layer->dx.desc.c_stored + BLAS_COLUMNS - 1) / BLAS_COLUMNS,
                blas_item, j->layer);
}

static void neuron_forward_loop(const struct job *j)
{
    struct layer *l = j->layer;
    const struct neuron n = neuron_make(&l->cell, &l->x.desc, j->isa);
    const struct neuron_io io = { .x = l->x, .spikes = l->y };
    neuron_forward(j->kc, &n, &io);
}

static void neuron_backward_loop(const struct job *j)
{
    struct layer *l = j->layer;
    const struct neuron n = neuron_make(&l->cell, &l->x.desc, j->isa);
    const struct neuron_io io = { .x = l->x, .spikes = l->y, .ds = l->dy, .dx = l->dx };
    neuron_backward(j->kc, &n, &io, (struct span){ 0, l->x.desc.b }, NULL, NULL);
}

/* ---- measuring ------------------------------------------------------------------------------- */
/* One run to warm up, then the median of some. */
static double median_ms(const struct job *j, void (*loop)(const struct job *))
{
    double ms[RUNS_MAX], spent = 0;
    size_t n = 0;
    loop(j);
    while (n < RUNS_MAX && spent < ENOUGH_MS) {
        const int64_t begin = clock_mono_ns();
        loop(j);
        ms[n] = (double)(clock_mono_ns() - begin) / 1e6;
        spent += ms[n++];
    }
    return timing_median(ms, n);
}

/* What a loop does, and what it reads or writes at least once. */
enum work { FMAS, EVENTS, TILES, NOTHING };
enum { X = 1, Y = 2, DY = 4, DX = 8, W = 16 };

enum { CONV1, CONV2, DEPTHWISE, GROUPED, NEURON1, NEURON2, LINEAR1, LINEAR2, LAYERS };
static const struct {
    int layer;
    const char *name;
    void (*loop)(const struct job *);
    enum work work;
    int touched;
} loops[] = {
    { CONV1, "forward", conv_forward_loop, FMAS, X | Y | W },
    { CONV1, "backward, weights", conv_weights_loop, FMAS, X | DY | W },
    { CONV2, "forward", conv_forward_loop, EVENTS, X | Y | W },
    { CONV2, "backward, data", conv_data_loop, TILES, DX | DY | W },
    { CONV2, "backward, weights", conv_weights_loop, EVENTS, X | DY | W },
    { DEPTHWISE, "forward", conv_forward_loop, FMAS, X | Y },
    { DEPTHWISE, "backward, data", conv_data_loop, FMAS, DX | DY },
    { DEPTHWISE, "backward, weights", conv_weights_loop, FMAS, X | DY },
    { GROUPED, "forward", conv_forward_loop, EVENTS, X | Y },
    { GROUPED, "backward, data", conv_data_loop, FMAS, DX | DY },
    { GROUPED, "backward, weights", conv_weights_loop, EVENTS, X | DY },
    { NEURON1, "forward", neuron_forward_loop, NOTHING, X | Y },
    { NEURON1, "backward", neuron_backward_loop, NOTHING, X | DY | DX },
    { NEURON2, "forward", neuron_forward_loop, NOTHING, X | Y },
    { NEURON2, "backward", neuron_backward_loop, NOTHING, X | DY | DX },
    { LINEAR1, "forward", linear_forward_loop, EVENTS, X | Y | W },
    { LINEAR1, "backward, data", linear_data_loop, FMAS, DX | DY | W },
    { LINEAR1, "the same by OpenBLAS", blas_data_loop, FMAS, DX | DY | W },
    { LINEAR1, "backward, weights", linear_weights_loop, EVENTS, X | DY | W },
    { LINEAR2, "forward", linear_forward_loop, EVENTS, X | Y | W },
    { LINEAR2, "backward, data", linear_data_loop, FMAS, DX | DY | W },
    { LINEAR2, "backward, weights", linear_weights_loop, EVENTS, X | DY | W },
};

static double bytes_of(const struct layer *l, int touched)
{
    size_t bytes = 0;
    if (touched & X) bytes += tensor_bytes(&l->x.desc);
    if (touched & Y) bytes += tensor_bytes(&l->y.desc);
    if (touched & DY) bytes += tensor_bytes(&l->dy.desc);
    if (touched & DX) bytes += tensor_bytes(&l->dx.desc);
    if (touched & W && l->conv.c == 0)
        bytes += l->x.desc.c_stored * l->y.desc.c_stored * sizeof(float);
    return (double)bytes;
}

/* Seconds of the arithmetic alone; 0 where there is none, or no limit is known. */
static double least_arithmetic(const struct layer *l, enum work work, enum kernel_path path,
                               const struct limits *most)
{
    const double tiles = (double)((l->conv.w + 3) / 4 * 4) / (double)l->conv.w; /* of one axis */
    if (work == EVENTS && (path == KERNEL_PATH_DENSE || spike_rate > 0.6f)) work = FMAS;
    if (work == EVENTS) return 0.5e9 * l->giga * l->inside * (double)spike_rate / most->adds;
    if (work == NOTHING || most->flops == 0) return 0;
    if (work == TILES) return 1e9 * l->giga * tiles * tiles / 4 / most->flops; /* F(4x4, 3x3) */
    return 1e9 * l->giga * l->inside / most->flops;
}

static void print_limits(enum isa isa, const struct limits *most)
{
    (void)printf(
        "\n%s: %.2f GHz; multiply-adds %.0f G/s, one vector of additions a cycle %.1f G/s, "
        "memory %.0f (triad) and %.0f GB/s (copy)\n\n"
        "| instruction set | layer | loop | ms | G/s | least ms | reached | bound by |\n"
        "|---|---|---|---|---|---|---|---|\n",
        isa_name(isa), most->cycles * 1e-9, most->flops * 1e-9, most->adds * 1e-9,
        most->bandwidth * 1e-9, most->copy * 1e-9);
}

static void print_rows(enum isa isa, const struct kernel_ctx *kc, struct layer layers[LAYERS])
{
    static const char *const bounds[] = { "multiply-adds", "additions", "multiply-adds of tiles",
                                          "" };
    struct limits most;
    limits_measure(isa, kc->threads, &most);
    print_limits(isa, &most);
    for (size_t i = 0; i < sizeof loops / sizeof loops[0]; i++) {
        const struct job j = { kc, isa, &layers[loops[i].layer] };
        const double ms = median_ms(&j, loops[i].loop);
        const double sums = least_arithmetic(j.layer, loops[i].work, kc->path, &most);
        const double memory = bytes_of(j.layer, loops[i].touched) / most.bandwidth;
        const double least = 1e3 * (sums > memory ? sums : memory);
        (void)printf("| %s | %s | %s | %.2f | %.2f | %.2f | %.0f %% | %s |\n", isa_name(isa),
                     j.layer->name, loops[i].name, ms, j.layer->giga / ms * 1e3, least,
                     100 * least / ms, sums > memory ? bounds[loops[i].work] : "memory");
        (void)fflush(stdout);
    }
}

/* ---- sums over spikes ------------------------------------------------------------------------ */
/* What the batch of the network, at 10 % spikes, takes of the additions of one vector a cycle. */
static void print_event_shares(enum isa isa, const struct kernel_ctx *kc)
{
    static const struct {
        int layer;
        const char *name;
        void (*loop)(const struct job *);
    } sums[] = {
        { 0, "forward", conv_forward_loop },
        { 0, "backward, weights", conv_weights_loop },
        { 1, "forward", linear_forward_loop },
        { 1, "backward, weights", linear_weights_loop },
    };
    spike_rate = BATCH_RATE;
    struct layer layers[] = {
        conv_make("conv 128 > 128, 14 x 14", TENSOR_BITS, BATCH, 128, 14, 1),
        linear_make("linear 6272 > 2048", BATCH, 128, 7, 2048),
    };
    struct limits most;
    limits_measure(isa, kc->threads, &most);
    (void)printf("\nSums over spikes at %.0f %%, %d samples, %s:\n\n"
                 "| layer | loop | ms | share of one vector of additions a cycle |\n"
                 "|---|---|---|---|\n",
                 100 * (double)spike_rate, BATCH, isa_name(isa));
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++) {
        const struct job j = { kc, isa, &layers[sums[i].layer] };
        const double ms = median_ms(&j, sums[i].loop);
        const double least = 1e3 * least_arithmetic(j.layer, EVENTS, kc->path, &most);
        (void)printf("| %s | %s | %.2f | %.0f %% |\n", j.layer->name, sums[i].name, ms,
                     100 * least / ms);
        (void)fflush(stdout);
    }
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) layer_drop(&layers[i]);
}

int main(int argc, char **argv)
{
    const size_t threads = argc > 1 ? strtoul(argv[1], NULL, 10) : 2;
    const size_t samples = argc > 2 ? strtoul(argv[2], NULL, 10) : 8;
    struct err e = { 0 };
    enum isa best;
    enum kernel_path path;
    if (argc > 3) spike_rate = strtof(argv[3], NULL) / 100;
    if (threads == 0 || samples == 0 || kernels_choose(&best, &e) != 0 ||
        kernels_choose_path(NULL, &path, &e) != 0) {
        (void)fprintf(stderr, "usage: bench_kernels [THREADS [SAMPLES [PERCENT]]] %s\n", e.text);
        return 64;
    }
    blas_init();
    struct layer layers[LAYERS] = {
        [CONV1] = conv_make("conv 1 > 128, 28 x 28", TENSOR_REPEAT, samples, 1, 28, 1),
        [CONV2] = conv_make("conv 128 > 128, 14 x 14", TENSOR_BITS, samples, 128, 14, 1),
        [DEPTHWISE] = conv_make("depthwise 128, 28 x 28", TENSOR_BITS, samples, 128, 28, 128),
        [GROUPED] = conv_make("conv 4 groups of 32, 14 x 14", TENSOR_BITS, samples, 128, 14, 4),
        [NEURON1] = neuron_layer_make("LIF 128 x 28 x 28", samples, 128, 28),
        [NEURON2] = neuron_layer_make("LIF 128 x 14 x 14", samples, 128, 14),
        [LINEAR1] = linear_make("linear 6272 > 2048", samples, 128, 7, 2048),
        [LINEAR2] = linear_make("linear 2048 > 10", samples, 2048, 1, 10),
    };
    (void)printf("%zu samples, %d time-steps, %zu threads, spikes at %.0f %%; G/s: 10^9 "
                 "floating-point operations\nof the dense product (GFLOP/s), for LIF 10^9 "
                 "cell-steps; median of up to %d runs; OpenBLAS runs as on %s\n",
                 samples, STEPS, threads, 100 * (double)spike_rate, RUNS_MAX, blas_core());
    const int first = getenv("SPIKED_ISA") != NULL ? (int)best : 0;
    for (int isa = first; isa <= (int)best; isa++) {
        struct kernel_ctx kc = { .k = kernels_get((enum isa)isa),
                                 .scratch_per_thread = SCRATCH_BYTES, .path = path };
        if (kc.k == NULL) continue;
        if (threads_create(&kc.threads, threads, &e) != 0) return err_exit_code(e.code);
        kc.scratch = timing_take(threads * SCRATCH_BYTES);
        print_rows((enum isa)isa, &kc, layers);
        if (isa == (int)best) print_event_shares(best, &kc);
        threads_destroy(kc.threads);
        free(kc.scratch);
    }
    for (int i = 0; i < LAYERS; i++) layer_drop(&layers[i]);
    return 0;
}
