/* bench_neurons: forward and backward of one layer of neurons alone, as a training step calls them,
 * parameter gradients included. Run by bench/compare_spikingjelly.sh beside
 * bench/peers/spikingjelly_neuron.py, which takes the same arguments; prints one JSON object whose
 * value is the median in nanoseconds an input. least is what memory alone takes, measured between
 * the same passes: x read and spikes written; x and ds read and dx written, the same arrays by the
 * same threads, with no more arithmetic than that takes.
 * usage: bench_neurons MODEL TIME_STEPS [THREADS [LOG2_ELEMENTS]] */
#include "bench/timing.h"
#include "common/arena.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/spec_table.h"
#include "worker/neurons/neuron.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Cells of a sample: 2048, so that 2^22 inputs are 32 samples of 64 time-steps. */
enum { CHANNELS = 128, SIDE = 4, CELLS = CHANNELS * SIDE * SIDE, RUNS = 11, WARM = 2 };

struct bench {
    struct kernel_ctx kc;
    struct spec_neuron spec;
    struct neuron n;
    struct tensor_view x, spikes, ds, dx;
    float *w[NEURON_PARAMS_MAX], *dw[NEURON_PARAMS_MAX]; /* packed */
    double *total, *partial;
    size_t samples, parameters;
    struct arena memory; /* as the trainer has it, huge pages included */
};

static void *take(struct bench *b, size_t bytes)
{
    void *p = arena_take(&b->memory, bytes);
    if (p == NULL) {
        (void)fprintf(stderr, "bench_neurons: its arena is too small\n");
        exit(75);
    }
    return p;
}

/* Packed values are written in blocks of 16. */
#define PACKED_BYTES(p) (mem_align((p)->floats, 16) * sizeof(float))

static size_t partial_bytes(const struct bench *b)
{
    return neuron_group(&b->n, b->samples) * neuron_sums(&b->n) * sizeof(double);
}

/* Uniform in [low, high), the same on every run. */
static void fill(struct tensor_view *v, float low, float high)
{
    float *p = v->data;
    for (size_t i = 0; i < v->desc.elements; i++) {
        const uint64_t r = (i + 1) * 0x9E3779B97F4A7C15u;
        p[i] = low + (high - low) * ((float)(r >> 40) * 0x1p-24f);
    }
}

static int model_index(const char *name)
{
    size_t count;
    const struct spec_neuron_model *m = spec_neuron_models(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(m[i].name, name) == 0) return (int)i;
    return -1;
}

static void take_parameters(struct bench *b)
{
    const struct philox_key key = philox_key(1, PHILOX_INIT);
    for (size_t i = 0; i < b->n.n_params; i++) {
        const struct neuron_param *p = &b->n.params[i];
        float *values = take(b, p->values * sizeof values[0]);
        b->w[i] = take(b, PACKED_BYTES(p));
        b->dw[i] = take(b, PACKED_BYTES(p));
        neuron_init(&b->n, i, key, (uint32_t)i, values);
        neuron_pack(&b->n, i, values, b->w[i]);
        b->parameters += p->values;
    }
    if (b->n.n_params == 0) return;
    b->total = take(b, neuron_sums(&b->n) * sizeof b->total[0]);
    b->partial = take(b, partial_bytes(b));
}

/* What is taken below and for the parameters, each rounded up by the arena. */
static size_t memory_bytes(const struct bench *b)
{
    size_t bytes = 0;
    const struct tensor_view *tensors[] = { &b->x, &b->spikes, &b->ds, &b->dx };
    for (size_t i = 0; i < 4; i++) bytes += mem_align(tensor_bytes(&tensors[i]->desc), ARENA_ALIGN);
    bytes += threads_count(b->kc.threads) * b->kc.scratch_per_thread;
    for (size_t i = 0; i < b->n.n_params; i++)
        bytes += 3 * mem_align(PACKED_BYTES(&b->n.params[i]), ARENA_ALIGN);
    return bytes + mem_align(neuron_sums(&b->n) * sizeof(double), ARENA_ALIGN) +
           mem_align(partial_bytes(b), ARENA_ALIGN);
}

/* b->spec is set. */
static int make(struct bench *b, size_t t, size_t elements, enum isa isa, struct threads *threads,
                struct err *e)
{
    b->samples = elements / (t * CELLS);
    b->x.desc = tensor_make(TENSOR_F32, b->samples, t, CHANNELS, SIDE, SIDE);
    b->spikes.desc = tensor_make(TENSOR_BITS, b->samples, t, CHANNELS, SIDE, SIDE);
    b->ds.desc = tensor_gradient(&b->spikes.desc, false);
    b->dx.desc = tensor_gradient(&b->x.desc, false);
    b->n = neuron_make(&b->spec, &b->x.desc, isa);
    b->kc = (struct kernel_ctx){ .k = kernels_get(isa), .threads = threads };
    b->kc.scratch_per_thread = mem_align(neuron_scratch_bytes(&b->n), 64);
    if (arena_init(&b->memory, memory_bytes(b), e) != 0) return (int)e->code;
    struct tensor_view *tensors[] = { &b->x, &b->spikes, &b->ds, &b->dx };
    for (size_t i = 0; i < 4; i++) tensors[i]->data = take(b, tensor_bytes(&tensors[i]->desc));
    b->kc.scratch = take(b, threads_count(threads) * b->kc.scratch_per_thread);
    fill(&b->x, 0.0f, 1.5f);
    fill(&b->ds, -1.0f, 1.0f);
    take_parameters(b);
    return 0;
}

static void pass(struct bench *b)
{
    struct neuron_io io = { .x = b->x, .spikes = b->spikes };
    for (size_t i = 0; i < b->n.n_params; i++) io.w[i] = b->w[i];
    neuron_forward(&b->kc, &b->n, &io);
    io.ds = b->ds;
    io.dx = b->dx;
    neuron_backward(&b->kc, &b->n, &io, (struct span){ 0, b->samples }, b->total, b->partial);
    const struct neuron_run run = neuron_run_make(&b->n, io.w, (float *)(void *)b->kc.scratch);
    for (size_t i = 0; i < b->n.n_params; i++) neuron_gradient(&run, b->total, i, b->dw[i]);
}

/* ---- memory alone ---------------------------------------------------------------------------- */
typedef int32_t line __attribute__((vector_size(64), may_alias)); /* of a cache */

static const line *lines_of(const struct tensor_view *v, size_t sample)
{
    return (const line *)((const float *)v->data + sample * v->desc.sample);
}

/* Reads x of a sample and writes its spikes: a word of 64 inputs. */
static void stream_forward(void *ctx, size_t sample, size_t thread)
{
    (void)thread;
    const struct bench *b = ctx;
    const line *x = lines_of(&b->x, sample);
    uint64_t *spikes = (uint64_t *)b->spikes.data + sample * b->spikes.desc.sample;
    for (size_t i = 0; i < b->x.desc.sample / 64; i++) {
        const line all = x[4 * i] | x[4 * i + 1] | x[4 * i + 2] | x[4 * i + 3];
        spikes[i % b->spikes.desc.sample] = (uint64_t)(uint32_t)(all[0] | all[15]);
    }
}

/* Reads x and ds of a sample and writes dx. */
static void stream_backward(void *ctx, size_t sample, size_t thread)
{
    (void)thread;
    const struct bench *b = ctx;
    const line *x = lines_of(&b->x, sample), *ds = lines_of(&b->ds, sample);
    line *dx = (line *)((float *)b->dx.data + sample * b->dx.desc.sample);
    for (size_t i = 0; i < b->x.desc.sample / 16; i++) dx[i] = x[i] ^ ds[i];
}

static void stream(struct bench *b)
{
    threads_run(b->kc.threads, b->samples, stream_forward, b);
    threads_run(b->kc.threads, b->samples, stream_backward, b);
}

/* ---- times ----------------------------------------------------------------------------------- */
/* Both in nanoseconds an input, in turn: the median of passes, and memory's best. */
static void measure(struct bench *b, double *median, double *least)
{
    double ns[RUNS], best = 1e30;
    const double inputs = (double)(b->samples * b->x.desc.t * CELLS);
    for (int i = -WARM; i < RUNS; i++) {
        const int64_t begin = clock_mono_ns();
        pass(b);
        const int64_t middle = clock_mono_ns();
        stream(b);
        const double streamed = (double)(clock_mono_ns() - middle);
        if (i < 0) continue;
        ns[i] = (double)(middle - begin);
        if (streamed < best) best = streamed;
    }
    *median = timing_median(ns, RUNS) / inputs;
    *least = best / inputs;
}

int main(int argc, char **argv)
{
    const int model = argc > 2 ? model_index(argv[1]) : -1;
    const size_t t = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    const size_t count = argc > 3 ? strtoul(argv[3], NULL, 10) : 2;
    const size_t log2 = argc > 4 ? strtoul(argv[4], NULL, 10) : 22;
    struct bench b = { 0 };
    struct err e = { 0 };
    struct threads *threads;
    enum isa isa;
    if (model < 0 || t == 0 || log2 > 30 || ((size_t)1 << log2) < t * CELLS ||
        kernels_choose(&isa, &e) != 0 || threads_create(&threads, count, &e) != 0) {
        (void)fprintf(stderr,
                      "usage: bench_neurons MODEL TIME_STEPS [THREADS [LOG2_ELEMENTS]]; "
                      "at least 2048 inputs a time-step %s\n",
                      e.text);
        return 64;
    }
    spec_default_neuron(&b.spec, model);
    if (make(&b, t, (size_t)1 << log2, isa, threads, &e) != 0) {
        (void)fprintf(stderr, "bench_neurons: %s\n", e.text);
        return 75;
    }
    double median, least;
    measure(&b, &median, &least);
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    (void)printf("{\"value\": %.4f, \"least\": %.4f, \"peak_rss_bytes\": %" PRId64
                 ", \"parameters\": %zu}\n",
                 median, least, (int64_t)usage.ru_maxrss * 1024, b.parameters);
    arena_deinit(&b.memory);
    threads_destroy(threads);
    return 0;
}
