/* bench_neurons: forward and backward of one layer of neurons alone, as a training step calls them,
 * parameter gradients included. Run by bench/compare_spikingjelly.sh beside
 * bench/peers/spikingjelly_neuron.py, which takes the same arguments; prints one JSON object whose
 * value is the median in nanoseconds an input.
 * usage: bench_neurons MODEL TIME_STEPS [THREADS [LOG2_ELEMENTS]] */
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
};

static void *take(size_t bytes)
{
    const size_t size = mem_align(bytes + 256, 64);
    void *p = aligned_alloc(64, size);
    if (p == NULL) {
        (void)fprintf(stderr, "bench_neurons: out of memory\n");
        exit(75);
    }
    memset(p, 0, size);
    return p;
}

static struct tensor_view take_tensor(struct tensor_desc d)
{
    return (struct tensor_view){ d, take(tensor_bytes(&d)) };
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
        float *values = take(p->values * sizeof values[0]);
        b->w[i] = take(p->floats * sizeof values[0]);
        b->dw[i] = take(p->floats * sizeof values[0]);
        neuron_init(&b->n, i, key, (uint32_t)i, values);
        neuron_pack(&b->n, i, values, b->w[i]);
        b->parameters += p->values;
        free(values); /* aligned_alloc's */
    }
    if (b->n.n_params == 0) return;
    b->total = take(neuron_sums(&b->n) * sizeof b->total[0]);
    b->partial = take(neuron_group(&b->n, b->samples) * neuron_sums(&b->n) * sizeof b->partial[0]);
}

/* b->spec is set. */
static void make(struct bench *b, size_t t, size_t elements, enum isa isa, struct threads *threads)
{
    b->samples = elements / (t * CELLS);
    b->x = take_tensor(tensor_make(TENSOR_F32, b->samples, t, CHANNELS, SIDE, SIDE));
    b->spikes = take_tensor(tensor_make(TENSOR_BITS, b->samples, t, CHANNELS, SIDE, SIDE));
    b->ds = take_tensor(tensor_gradient(&b->spikes.desc, false));
    b->dx = take_tensor(tensor_gradient(&b->x.desc, false));
    fill(&b->x, 0.0f, 1.5f);
    fill(&b->ds, -1.0f, 1.0f);
    b->n = neuron_make(&b->spec, &b->x.desc, isa);
    b->kc = (struct kernel_ctx){ .k = kernels_get(isa), .threads = threads };
    b->kc.scratch_per_thread = mem_align(neuron_scratch_bytes(&b->n), 64);
    b->kc.scratch = take(threads_count(threads) * b->kc.scratch_per_thread);
    take_parameters(b);
}

static void drop(struct bench *b)
{
    void *all[] = { b->x.data,     b->spikes.data, b->ds.data, b->dx.data,
                    b->kc.scratch, b->total,       b->partial };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]); /* aligned_alloc's */
    for (size_t i = 0; i < b->n.n_params; i++) {
        free(b->w[i]); /* aligned_alloc's */
        free(b->dw[i]);
    }
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

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_ns(struct bench *b)
{
    double ns[RUNS];
    for (int i = -WARM; i < RUNS; i++) {
        const int64_t begin = clock_mono_ns();
        pass(b);
        if (i >= 0) ns[i] = (double)(clock_mono_ns() - begin);
    }
    qsort(ns, RUNS, sizeof ns[0], by_value);
    return ns[RUNS / 2] / (double)(b->samples * b->x.desc.t * CELLS);
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
    make(&b, t, (size_t)1 << log2, isa, threads);
    const double ns = median_ns(&b);
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    (void)printf("{\"value\": %.4f, \"peak_rss_bytes\": %" PRId64 ", \"parameters\": %zu}\n", ns,
                 (int64_t)usage.ru_maxrss * 1024, b.parameters);
    drop(&b);
    threads_destroy(threads);
    return 0;
}
