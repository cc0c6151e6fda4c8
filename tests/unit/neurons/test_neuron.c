/* Neurons: engine loops against the plain double twin, the twin against finite differences, and
 * equal bits over instruction sets and threads. */
#include "common/mem.h"
#include "worker/neurons/neuron.h"
#include "worker/neurons/reference_neurons.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- a layer of cells with every tensor that the drivers know -------------------------------- */
struct world {
    struct neuron n;
    struct spec_neuron spec;
    struct threads *threads;
    struct kernel_ctx kc;
    struct neuron_io io;
    float w[3][64 * 64 + 16];
    double *total, *partial;
};

static int model_of(const char *name)
{
    size_t count;
    const struct spec_neuron_model *m = spec_neuron_models(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(m[i].name, name) == 0) return (int)i;
    cr_assert_fail("no model %s", name);
    return -1;
}

static struct spec_neuron spec_of(const char *name)
{
    struct spec_neuron s = { .model = model_of(name), .v_threshold = 1.0, .v_reset = 0.1,
                             .decay_input = true };
    s.surrogate.params[0] = 2.0;
    s.params[0] = 1.7;
    if (strcmp(name, "sliding_psn") == 0 || strcmp(name, "masked_psn") == 0)
        s.params[0] = 3.0; /* k */
    return s;
}

static bool is_serial(const struct spec_neuron *s)
{
    size_t count;
    return spec_neuron_models(&count)[s->model].serial;
}

static double number(size_t i) /* in [-1, 1), the same on every run */
{
    uint64_t x = (i + 1) * 0x9E3779B97F4A7C15u;
    x ^= x >> 31;
    x *= 0xBF58476D1CE4E5B9u;
    return (double)(x >> 11) * 0x1p-52 - 1.0;
}

static struct tensor_view view(enum tensor_kind kind, size_t b, size_t t, size_t c, size_t h,
                               size_t w)
{
    struct tensor_view v = { .desc = tensor_make(kind, b, t, c, h, w) };
    v.data = mem_calloc(v.desc.elements + 64, tensor_element_bytes(kind));
    cr_assert(v.data != NULL);
    return v;
}

static void fill(struct tensor_view *v, size_t seed, double scale, double offset)
{
    const struct tensor_desc *d = &v->desc;
    size_t i = seed * 1000003;
    for (size_t b = 0; b < d->b; b++)
        for (size_t t = 0; t < d->t_stored; t++)
            for (size_t c = 0; c < d->c; c++)
                for (size_t y = 0; y < d->h; y++)
                    for (size_t x = 0; x < d->w; x++)
                        tensor_set(d, v->data, b, t, c, y, x,
                                   (float)(number(i++) * scale + offset));
}

static enum isa best_isa(void)
{
    enum isa isa;
    struct err e = { 0 };
    cr_assert_eq(kernels_choose(&isa, &e), 0);
    return isa;
}

/* B=3 samples of [C, 2, 3] images. */
static struct world *world_make(struct spec_neuron spec, size_t t, size_t c, bool repeat,
                                size_t threads, enum isa isa)
{
    struct world *k = calloc(1, sizeof *k);
    struct err e = { 0 };
    k->spec = spec;
    const struct tensor_desc shape = tensor_make(TENSOR_F32, 3, t, c, 2, 3);
    k->n = neuron_make(&k->spec, &shape, isa);
    cr_assert_eq(threads_create(&k->threads, threads, &e), 0);
    k->kc = (struct kernel_ctx){ .threads = k->threads };
    k->kc.scratch_per_thread = mem_align(neuron_scratch_bytes(&k->n), 64);
    k->kc.scratch = aligned_alloc(64, threads * k->kc.scratch_per_thread);
    const enum tensor_kind kind = repeat ? TENSOR_REPEAT : TENSOR_F32;
    k->io = (struct neuron_io){
        .x = view(kind, 3, t, c, 2, 3),           .dx = view(kind, 3, t, c, 2, 3),
        .spikes = view(TENSOR_BITS, 3, t, c, 2, 3), .v0 = view(TENSOR_F32, 3, 1, c, 2, 3),
        .u = view(TENSOR_F32, 3, t, c, 2, 3),     .v = view(TENSOR_F32, 3, t, c, 2, 3),
        .ds = view(TENSOR_F32, 3, t, c, 2, 3),    .dv = view(TENSOR_F32, 3, t, c, 2, 3),
        .dv0 = view(TENSOR_F32, 3, 1, c, 2, 3),   .w = { k->w[0], k->w[1], k->w[2] },
    };
    k->w[2][0] = 0.4f; /* lambda */
    fill(&k->io.x, 1, 1.2, 0.4);
    fill(&k->io.v0, 2, 0.4, 0.0);
    fill(&k->io.ds, 3, 1.0, 0.0);
    fill(&k->io.dv, 4, 0.5, 0.0);
    for (size_t i = 0; i < t * t + 16; i++) k->w[0][i] = (float)number(77 + i);
    for (size_t i = 0; i < t; i++) k->w[1][i] = (float)(0.3 * number(990 + i));
    k->total = calloc(neuron_sums(&k->n) + 1, sizeof(double));
    k->partial = calloc((neuron_sums(&k->n) + 1) * 3, sizeof(double));
    return k;
}

static void world_run(struct world *k)
{
    neuron_forward(&k->kc, &k->n, &k->io);
    neuron_backward(&k->kc, &k->n, &k->io, (struct span){ 0, 3 }, k->total, k->partial);
}

static void world_free(struct world *k)
{
    struct tensor_view *views[] = { &k->io.x, &k->io.spikes, &k->io.v0, &k->io.u, &k->io.v,
                                    &k->io.ds, &k->io.dv, &k->io.dx, &k->io.dv0 };
    for (size_t i = 0; i < 9; i++) mem_free(views[i]->data);
    threads_destroy(k->threads);
    free(k->kc.scratch);
    free(k->total);
    free(k->partial);
    free(k);
}

/* ---- the twin -------------------------------------------------------------------------------- */
struct twin {
    struct reference_neuron r;
    double *memory;
};

/* All cells of all samples as the twin's n cells: [T][n]. */
static double *gather(const struct tensor_view *v, double *out)
{
    const struct tensor_desc *d = &v->desc;
    double *at = out;
    for (size_t t = 0; t < d->t; t++)
        for (size_t b = 0; b < d->b; b++)
            for (size_t c = 0; c < d->c; c++)
                for (size_t y = 0; y < d->h; y++)
                    for (size_t x = 0; x < d->w; x++)
                        *at++ = (double)tensor_get(d, v->data, b, t, c, y, x);
    return out;
}

static struct twin twin_run(const struct world *k)
{
    const size_t t = k->n.t, n = 3 * k->io.x.desc.c * 6;
    const size_t weights = t * t + 16; /* or k <= 16 of them */
    struct twin tw = { .memory = calloc(10 * t * n + 2 * weights + 4 * t, sizeof(double)) };
    double *m = tw.memory;
    double *w0 = m, *w1 = w0 + weights, *dw0 = w1 + t, *dw1 = dw0 + weights;
    double *a = dw1 + t;
    for (size_t i = 0; i < weights; i++) w0[i] = (double)k->w[0][i];
    for (size_t i = 0; i < t; i++) w1[i] = (double)k->w[1][i];
    const bool serial = is_serial(&k->spec);
    const bool learns = neuron_sums(&k->n) > 0;
    tw.r = (struct reference_neuron){
        .spec = &k->spec, .t = t, .n = n, .w = { learns ? w0 : NULL, w1 },
        .lambda = (double)k->w[2][0],
        .x = gather(&k->io.x, a), .v0 = gather(&k->io.v0, a + t * n),
        .s = a + 2 * t * n, .u = a + 3 * t * n, .v = a + 4 * t * n,
        .ds = gather(&k->io.ds, a + 5 * t * n),
        .dv = serial ? gather(&k->io.dv, a + 6 * t * n) : NULL,
        .dx = a + 7 * t * n, .dv0 = a + 8 * t * n, .dw = { dw0, dw1 },
    };
    reference_neuron_forward(&tw.r);
    reference_neuron_backward(&tw.r);
    return tw;
}

static void close_to(const char *what, const double *want, const struct tensor_view *got,
                     double tol)
{
    const struct tensor_desc *d = &got->desc;
    const size_t n = d->t_stored * d->b * d->c * d->h * d->w;
    double *values = calloc(n * (d->t / d->t_stored), sizeof values[0]);
    gather(got, values);
    for (size_t i = 0; i < n; i++)
        cr_assert(fabs(values[i] - want[i]) <= tol * (1.0 + fabs(want[i])), "%s[%zu]: %g, twin %g",
                  what, i, values[i], want[i]);
    free(values);
}

static void check_with_lambda(struct spec_neuron spec, size_t t, size_t c, float lambda)
{
    struct world *k = world_make(spec, t, c, false, 2, ISA_GENERIC);
    k->w[2][0] = lambda;
    world_run(k);
    struct twin tw = twin_run(k);
    close_to("s", tw.r.s, &k->io.spikes, 0.0);
    close_to("u", tw.r.u, &k->io.u, 1e-5);
    close_to("dx", tw.r.dx, &k->io.dx, 2e-5);
    if (k->n.ops->membrane) {
        close_to("v", tw.r.v, &k->io.v, 1e-5);
        close_to("dv0", tw.r.dv0, &k->io.dv0, 2e-5);
    }
    float dw[64 * 64];
    const float *w[3] = { k->w[0], k->w[1], k->w[2] };
    const struct neuron_run r = neuron_run_make(&k->n, w, NULL);
    for (size_t i = 0; i < k->n.n_params; i++) {
        if (k->n.params[i].buffer) continue;
        neuron_gradient(&r, k->total, i, dw);
        for (size_t j = 0; j < k->n.params[i].values; j++)
            cr_assert(fabs((double)dw[j] - tw.r.dw[i][j]) <= 1e-4 * (1.0 + fabs(tw.r.dw[i][j])),
                      "dw%zu[%zu]: %g, twin %g", i, j, (double)dw[j], tw.r.dw[i][j]);
    }
    free(tw.memory);
    world_free(k);
}

static void check_against_twin(struct spec_neuron spec, size_t t, size_t c)
{
    check_with_lambda(spec, t, c, 0.4f);
}

/* Goal: every reset, detach and decay variant of the serial models computes what the twin does, for
 * channel counts that fill one to five blocks of 16. */
Test(neuron, serial_models_match_the_double_twin, .timeout = 60)
{
    static const char *const names[] = { "if", "lif", "plif" };
    static const size_t channels[] = { 3, 16, 37, 64, 70 };
    for (size_t m = 0; m < 3; m++)
        for (unsigned variant = 0; variant < 8; variant++) {
            struct spec_neuron s = spec_of(names[m]);
            s.soft_reset = variant & 1;
            s.detach_reset = (variant & 2) != 0;
            s.decay_input = (variant & 4) == 0;
            check_against_twin(s, 1 + variant, channels[(variant + m) % 5]);
        }
}

/* Goal: PSN with T below, at and above the tile of 4 steps computes what the twin does. */
Test(neuron, psn_matches_the_double_twin, .timeout = 60)
{
    static const size_t steps[] = { 1, 3, 4, 6, 16 };
    static const size_t channels[] = { 64, 5, 37, 130, 20 };
    for (size_t i = 0; i < 5; i++) check_against_twin(spec_of("psn"), steps[i], channels[i]);
}

/* Goal: sliding PSN of every order around T and around the tile computes what the twin does, and a
 * long sequence too, whose sums are taken in pieces. */
Test(neuron, sliding_psn_matches_the_double_twin, .timeout = 60)
{
    static const size_t steps[] = { 1, 3, 4, 7, 50 };
    static const size_t channels[] = { 64, 5, 37, 130, 20 };
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 1; k <= 9; k += i == 3 ? 1 : 4) {
            struct spec_neuron s = spec_of("sliding_psn");
            s.params[0] = (double)k;
            check_against_twin(s, steps[i], channels[i]);
        }
}

/* Goal: masked PSN computes what the twin does while its mask fades in and as a band, of any order
 * and with T that is no multiple of the tile. */
Test(neuron, masked_psn_matches_the_double_twin, .timeout = 60)
{
    static const size_t steps[] = { 1, 4, 7, 16 };
    static const float lambdas[] = { 0.0f, 0.3f, 1.0f };
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 1; k <= 9; k += 2)
            for (size_t j = 0; j < 3; j++) {
                struct spec_neuron s = spec_of("masked_psn");
                s.params[0] = (double)k;
                check_with_lambda(s, steps[i], 37, lambdas[j]);
            }
}

/* Goal: lambda follows the paper's code: epoch/(epochs - 1) times the rate, up to 1; a rate of 0 or
 * a single epoch leaves it where it began. */
Test(neuron, lambda_grows_over_the_epochs, .timeout = 5)
{
    static const struct {
        double start, rate;
        uint64_t epoch, epochs;
        float want;
    } cases[] = {
        { 0, 8, 0, 100, 0 },      { 0, 8, 1, 100, (float)(8.0 / 99.0) },
        { 0, 8, 13, 100, 1 },     { 0, 8, 12, 100, (float)(96.0 / 99.0) },
        { 0, 8, 99, 100, 1 },     { 0, 8, 0, 1, 0 },
        { 0.5, 1, 5, 11, 0.75f }, { 0.25, 0, 9, 10, 0.25f },
        { 1, 8, 0, 10, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec_neuron s = spec_of("masked_psn");
        s.params[1] = cases[i].start;
        s.params[2] = cases[i].rate;
        const struct tensor_desc shape = tensor_make(TENSOR_F32, 1, 4, 16, 1, 1);
        const struct neuron n = neuron_make(&s, &shape, ISA_GENERIC);
        float lambda = -1.0f, *const buffers[NEURON_PARAMS_MAX] = { NULL, NULL, &lambda };
        n.ops->schedule(&n, cases[i].epoch, cases[i].epochs, buffers);
        cr_expect_eq(lambda, cases[i].want, "case %zu: %g", i, (double)lambda);
    }
}

/* Goal: sums over many cells are taken in double: float ones drift by some 2e-4 here, where every
 * addition rounds the same way. */
static void check_long_sums(const char *model)
{
    enum { T = 2, SIDE = 96 };
    struct world *k = world_make(spec_of(model), T, 64, false, 1, best_isa());
    struct tensor_view x = view(TENSOR_F32, 1, T, 64, SIDE, SIDE), ds = x;
    ds.data = mem_calloc(ds.desc.elements, sizeof(float));
    for (size_t i = 0; i < x.desc.elements; i++) {
        ((float *)x.data)[i] = 1.1f;
        ((float *)ds.data)[i] = 0.7f;
    }
    struct neuron_io io = { .x = x, .ds = ds, .w = { k->w[0], k->w[1] } };
    neuron_backward(&k->kc, &k->n, &io, (struct span){ 0, 1 }, k->total, k->partial);
    struct twin tw = twin_run(k); /* any cells: one of them below is like all of these */
    const double cells = 64.0 * SIDE * SIDE;
    double one[T], s[T], u[T], v[T], dx[T], up[T] = { (double)0.7f, (double)0.7f };
    for (size_t t = 0; t < T; t++) one[t] = (double)1.1f;
    struct reference_neuron r = tw.r;
    r.n = 1;
    r.x = one;
    r.s = s;
    r.u = u;
    r.v = v;
    r.ds = up;
    r.dx = dx;
    reference_neuron_forward(&r);
    reference_neuron_backward(&r);
    const size_t weights = neuron_sums(&k->n) - (is_serial(&k->spec) ? 0 : 1);
    for (size_t i = 0; i < weights; i++) {
        const bool bias = strcmp(model, "psn") == 0 && i >= T * T;
        const double want = cells * (bias ? r.dw[1][i - T * T] : r.dw[0][i]);
        if (strcmp(model, "sliding_psn") == 0 && i + T < (size_t)k->spec.params[0]) continue;
        cr_expect(fabs(k->total[i] - want) <= 3e-6 * fabs(want), "%s %zu: %.9g, in double %.9g",
                  model, i, k->total[i], want);
    }
    free(tw.memory);
    mem_free(x.data);
    mem_free(ds.data);
    world_free(k);
}

Test(neuron, sums_over_many_cells_are_double, .timeout = 30)
{
    check_long_sums("psn");
    check_long_sums("sliding_psn");
}

/* ---- equal bits ------------------------------------------------------------------------------ */
static void same_bits(const struct world *a, const struct world *b)
{
    const struct tensor_view *x[] = { &a->io.spikes, &a->io.dx, &a->io.u, &a->io.v, &a->io.dv0 };
    const struct tensor_view *y[] = { &b->io.spikes, &b->io.dx, &b->io.u, &b->io.v, &b->io.dv0 };
    for (size_t i = 0; i < 5; i++)
        cr_assert_eq(memcmp(x[i]->data, y[i]->data, tensor_bytes(&x[i]->desc)), 0, "tensor %zu", i);
    cr_assert_eq(memcmp(a->total, b->total, neuron_sums(&a->n) * sizeof(double)), 0, "sums");
}

/* Goal: instruction set and thread count change no bit of any output of any model. */
Test(neuron, isa_and_threads_change_no_bit, .timeout = 60)
{
    static const char *const names[] = { "if", "lif", "plif", "psn", "sliding_psn", "masked_psn" };
    for (size_t m = 0; m < 6; m++)
        for (int repeat = 0; repeat < 2; repeat++) {
            struct world *plain = world_make(spec_of(names[m]), 7, 70, repeat, 1, ISA_GENERIC);
            world_run(plain);
            for (enum isa isa = ISA_GENERIC; isa <= best_isa(); isa++)
                for (size_t threads = 1; threads <= 3; threads++) {
                    struct world *k = world_make(spec_of(names[m]), 7, 70, repeat, threads, isa);
                    world_run(k);
                    same_bits(plain, k);
                    world_free(k);
                }
            world_free(plain);
        }
}

/* Goal: a repeated input gives the spikes of the same input given T times, and its dx is their sum
 * over t. */
Test(neuron, repeat_input_equals_its_twin, .timeout = 30)
{
    static const char *const names[] = { "if", "lif", "plif", "psn", "sliding_psn", "masked_psn" };
    for (size_t m = 0; m < 6; m++) {
        struct world *once = world_make(spec_of(names[m]), 5, 20, true, 1, ISA_GENERIC);
        struct world *each = world_make(spec_of(names[m]), 5, 20, false, 1, ISA_GENERIC);
        const struct tensor_desc *d = &each->io.x.desc, *r = &once->io.x.desc;
        for (size_t t = 0; t < 5; t++)
            for (size_t i = 0; i < 3 * 20 * 6; i++)
                tensor_set(
                    d, each->io.x.data, i / 120, t, i / 6 % 20, i % 6 / 3, i % 3,
                    tensor_get(r, once->io.x.data, i / 120, 0, i / 6 % 20, i % 6 / 3, i % 3));
        world_run(once);
        world_run(each);
        cr_assert_eq(memcmp(once->io.spikes.data, each->io.spikes.data,
                            tensor_bytes(&once->io.spikes.desc)), 0);
        for (size_t i = 0; i < 3 * 20 * 6; i++) {
            float sum = 0.0f;
            for (size_t t = 0; t < 5; t++)
                sum += tensor_get(d, each->io.dx.data, i / 120, t, i / 6 % 20, i % 6 / 3, i % 3);
            cr_assert_float_eq(tensor_get(r, once->io.dx.data, i / 120, 0, i / 6 % 20, i % 6 / 3,
                                          i % 3), sum, 1e-6f);
        }
        world_free(once);
        world_free(each);
    }
}

/* Goal: padding channels never spike, even where their potential is above the threshold. */
Test(neuron, padding_channels_stay_silent, .timeout = 10)
{
    static const char *const names[] = { "if", "lif", "plif", "psn", "sliding_psn", "masked_psn" };
    for (size_t m = 0; m < 6; m++) {
        struct spec_neuron s = spec_of(names[m]);
        s.v_reset = 50.0; /* fires at every step */
        struct world *k = world_make(s, 4, 5, false, 1, best_isa());
        for (size_t t = 0; t < 4; t++) k->w[1][t] = 100.0f;
        mem_free(k->io.v0.data);
        k->io.v0.data = NULL;
        neuron_forward(&k->kc, &k->n, &k->io);
        cr_assert_eq(tensor_count(&k->io.spikes.desc, k->io.spikes.data, 0, 3), 3 * 4 * 5 * 6);
        world_free(k);
    }
}

/* Goal: one cell traced alone has the bits it has inside the layer. */
Test(neuron, cell_has_the_bits_of_the_layer, .timeout = 10)
{
    struct world *k = world_make(spec_of("plif"), 6, 20, false, 1, best_isa());
    mem_free(k->io.v0.data);
    k->io.v0.data = NULL; /* a monitor knows no initial state */
    neuron_forward(&k->kc, &k->n, &k->io);
    const float *w[3] = { k->w[0], k->w[1], k->w[2] };
    const struct neuron_run r = neuron_run_make(&k->n, w, (float *)(void *)k->kc.scratch);
    float x[6], u[6], v[6];
    for (size_t t = 0; t < 6; t++) x[t] = tensor_get(&k->io.x.desc, k->io.x.data, 2, t, 17, 1, 2);
    neuron_cell(&r, &(struct neuron_draws){ 0 }, 17, 1, 2, x, u, v);
    for (size_t t = 0; t < 6; t++) {
        cr_assert_eq(u[t], tensor_get(&k->io.u.desc, k->io.u.data, 2, t, 17, 1, 2));
        cr_assert_eq(v[t], tensor_get(&k->io.v.desc, k->io.v.data, 2, t, 17, 1, 2));
    }
    world_free(k);
}

/* ---- the twin's gradients -------------------------------------------------------------------- */
/* L = sum ds*s + sum dv*v with smooth spikes. */
static double twin_loss(struct reference_neuron *r)
{
    double sum = 0.0;
    reference_neuron_forward(r);
    for (size_t i = 0; i < r->t * r->n; i++)
        sum += r->ds[i] * r->s[i] + (r->dv != NULL ? r->dv[i] * r->v[i] : 0.0);
    return sum;
}

static void check_slope(struct reference_neuron *r, double *value, double gradient,
                        const char *what)
{
    const double eps = 1e-6, old = *value;
    *value = old + eps;
    const double up = twin_loss(r);
    *value = old - eps;
    const double down = twin_loss(r);
    *value = old;
    const double slope = (up - down) / (2.0 * eps);
    cr_assert(fabs(slope - gradient) <= 1e-6 * (1.0 + fabs(slope)), "%s: %.9g, slope %.9g", what,
              gradient, slope);
}

/* Goal: the twin's backward pass is the derivative of its forward pass, with smooth spikes and the
 * reset not detached. */
Test(reference_neurons, gradients_match_finite_differences, .timeout = 30)
{
    static const char *const names[] = { "if", "lif", "plif", "psn", "sliding_psn", "masked_psn" };
    enum { T = 5, N = 3 };
    for (size_t m = 0; m < 6; m++)
        for (unsigned variant = 0; variant < 4; variant++) {
            struct spec_neuron spec = spec_of(names[m]);
            spec.soft_reset = variant & 1;
            spec.decay_input = (variant & 2) == 0;
            double x[T * N], v0[N], s[T * N], u[T * N], v[T * N], ds[T * N], dv[T * N], dx[T * N];
            double dv0[N], w0[T * T], w1[T], dw0[T * T], dw1[T];
            for (size_t i = 0; i < T * N; i++) {
                x[i] = number(i) + 0.5;
                ds[i] = number(500 + i);
                dv[i] = number(600 + i);
            }
            for (size_t i = 0; i < N; i++) v0[i] = 0.3 * number(700 + i);
            for (size_t i = 0; i < T * T; i++) w0[i] = 0.5 * number(800 + i);
            for (size_t i = 0; i < T; i++) w1[i] = 0.1 * number(900 + i);
            const bool learns = m >= 2, serial = is_serial(&spec);
            const size_t weights = serial ? 1 : m == 4 ? 3 : T * T, biases = m == 4 ? 1 : T;
            struct reference_neuron r = {
                .spec = &spec, .t = T, .n = N, .primitive = true, .w = { learns ? w0 : NULL, w1 },
                .lambda = 0.3,
                .x = x, .v0 = v0, .s = s, .u = u, .v = v, .ds = ds, .dv = serial ? dv : NULL,
                .dx = dx, .dv0 = dv0, .dw = { dw0, dw1 },
            };
            reference_neuron_forward(&r);
            reference_neuron_backward(&r);
            for (size_t i = 0; i < T * N; i++) check_slope(&r, &x[i], dx[i], "dx");
            for (size_t i = 0; serial && i < N; i++) check_slope(&r, &v0[i], dv0[i], "dv0");
            for (size_t i = 0; learns && i < weights; i++)
                check_slope(&r, &w0[i], dw0[i], "dw");
            for (size_t i = 0; !serial && i < biases; i++) check_slope(&r, &w1[i], dw1[i], "db");
        }
}
