/* Serial neurons with all their options: engine loops against the plain double twin, the twin
 * against finite differences, equal bits over instruction sets, threads and kinds of input. */
#include "common/mem.h"
#include "worker/neurons/neuron.h"
#include "worker/neurons/reference_neurons.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 3, HEIGHT = 2, WIDTH = 3, PIXELS = HEIGHT * WIDTH };

/* ---- every serial model, with numbers that use every term ------------------------------------ */
static const struct spec_neuron_model *model_of(const struct spec_neuron *s)
{
    size_t count;
    return &spec_neuron_models(&count)[s->model];
}

static void set(struct spec_neuron *s, const char *name, double value)
{
    const struct spec_neuron_model *m = model_of(s);
    for (size_t i = 0; i < m->n_params; i++)
        if (strcmp(m->params[i].name, name) == 0) s->params[i] = value;
}

static struct spec_neuron spec_of(int model)
{
    struct spec_neuron s = { .model = model, .v_threshold = 0.9, .v_reset = 0.1,
                             .decay_input = true };
    s.surrogate.params[0] = 2.0; /* atan */
    const struct spec_neuron_model *m = model_of(&s);
    for (size_t i = 0; i < m->n_params; i++) s.params[i] = m->params[i].fallback;
    set(&s, "tau", 1.7);
    set(&s, "a", 0.3);
    set(&s, "b", 0.2);
    set(&s, "v_rest", -0.05);
    set(&s, "w_rest", 0.05);
    set(&s, "tau_adaptation", 3.0);
    set(&s, "theta_rh", 4.0); /* so that no soft reset lets a potential run away */
    return s;
}

/* Calls f for every serial model. */
static void each_model(void (*f)(int model))
{
    size_t count, serial = 0;
    const struct spec_neuron_model *m = spec_neuron_models(&count);
    for (size_t i = 0; i < count; i++) {
        if (!m[i].serial) continue;
        f((int)i);
        serial++;
    }
    cr_assert_geq(serial, 13);
}

/* Options of a number: resets, detached or not, scopes, learned threshold, refractory steps. */
enum { VARIANTS = 24 };
static struct spec_neuron variant_of(int model, unsigned v)
{
    struct spec_neuron s = spec_of(model);
    s.soft_reset = v & 1;
    s.detach_reset = (v & 2) != 0;
    s.decay_input = (v & 4) == 0;
    s.scope = (enum spec_scope)(v % 3);
    s.learn_threshold = v / 3 % 2 == 1;
    s.refractory_steps = v % 5 == 4 ? 2 : v % 7 == 6 ? 1 : 0;
    set(&s, "scale_reset", v / 2 % 2);
    set(&s, "act", v % 3);
    set(&s, "threshold_related", v / 4 % 2);
    return s;
}

static double number(size_t i) /* in [-1, 1), the same on every run */
{
    uint64_t x = (i + 1) * 0x9E3779B97F4A7C15u;
    x ^= x >> 31;
    x *= 0xBF58476D1CE4E5B9u;
    return (double)(x >> 11) * 0x1p-52 - 1.0;
}

/* First values of a parameter: slopes and thresholds positive, gates and w around 0. */
static double first_value(const char *name, size_t i)
{
    if (strcmp(name, "k") == 0) return 1.1 + 0.4 * number(i);
    if (strcmp(name, "v_threshold") == 0) return 0.8 + 0.3 * number(i);
    return number(i);
}

/* ---- a layer of cells with every tensor that the drivers know -------------------------------- */
struct world {
    struct neuron n;
    struct spec_neuron spec;
    struct threads *threads;
    struct kernel_ctx kc;
    struct neuron_io io;
    float *w[NEURON_PARAMS_MAX], *plain[NEURON_PARAMS_MAX]; /* packed; PyTorch's order */
    double *total, *partial;
};

static struct tensor_view view(enum tensor_kind kind, size_t t, size_t c)
{
    struct tensor_view v = { .desc = tensor_make(kind, SAMPLES, t, c, HEIGHT, WIDTH) };
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
                for (size_t yx = 0; yx < PIXELS; yx++)
                    tensor_set(d, v->data, b, t, c, yx / WIDTH, yx % WIDTH,
                               (float)(number(i++) * scale + offset));
}

static void make_params(struct world *k)
{
    for (size_t i = 0; i < k->n.n_params; i++) {
        const struct neuron_param *p = &k->n.params[i];
        k->w[i] = calloc(p->floats + 16, sizeof(float));
        k->plain[i] = calloc(p->values, sizeof(float));
        for (size_t j = 0; j < p->values; j++)
            k->plain[i][j] = (float)first_value(p->name, 7000 * i + j);
        neuron_pack(&k->n, i, k->plain[i], k->w[i]);
        k->io.w[i] = k->w[i];
    }
}

static struct world *world_make(struct spec_neuron spec, size_t t, size_t c, bool repeat,
                                size_t threads, enum isa isa)
{
    struct world *k = calloc(1, sizeof *k);
    struct err e = { 0 };
    k->spec = spec;
    const struct tensor_desc shape = tensor_make(TENSOR_F32, SAMPLES, t, c, HEIGHT, WIDTH);
    k->n = neuron_make(&k->spec, &shape, isa);
    cr_assert_eq(threads_create(&k->threads, threads, &e), 0);
    k->kc = (struct kernel_ctx){ .threads = k->threads };
    k->kc.scratch_per_thread = mem_align(neuron_scratch_bytes(&k->n), 64);
    k->kc.scratch = aligned_alloc(64, threads * k->kc.scratch_per_thread);
    const enum tensor_kind kind = repeat ? TENSOR_REPEAT : TENSOR_F32;
    k->io = (struct neuron_io){
        .x = view(kind, t, c), .dx = view(kind, t, c), .spikes = view(TENSOR_BITS, t, c),
        .v0 = view(TENSOR_F32, 1, c), .w0 = view(TENSOR_F32, 1, c), .u = view(TENSOR_F32, t, c),
        .v = view(TENSOR_F32, t, c), .w_trace = view(TENSOR_F32, t, c),
        .ds = view(TENSOR_F32, t, c), .dv = view(TENSOR_F32, t, c),
        .dv0 = view(TENSOR_F32, 1, c), .dw0 = view(TENSOR_F32, 1, c),
    };
    if (k->n.ops->analog) k->io.y = view(TENSOR_F32, t, c);
    fill(&k->io.x, 1, 1.2, 0.4);
    fill(&k->io.v0, 2, 0.4, 0.0);
    fill(&k->io.w0, 5, 0.3, 0.0);
    fill(&k->io.ds, 3, 1.0, 0.0);
    fill(&k->io.dv, 4, 0.5, 0.0);
    make_params(k);
    k->total = calloc(neuron_sums(&k->n) + 1, sizeof(double));
    k->partial = calloc((neuron_sums(&k->n) + 1) * SAMPLES, sizeof(double));
    return k;
}

static void world_run(struct world *k)
{
    neuron_forward(&k->kc, &k->n, &k->io);
    neuron_backward(&k->kc, &k->n, &k->io, (struct span){ 0, SAMPLES }, k->total, k->partial);
}

static void world_free(struct world *k)
{
    struct tensor_view *views[] = { &k->io.x,  &k->io.spikes, &k->io.y,  &k->io.v0, &k->io.w0,
                                    &k->io.u,  &k->io.v,      &k->io.w_trace, &k->io.ds,
                                    &k->io.dv, &k->io.dx,     &k->io.dv0, &k->io.dw0 };
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) mem_free(views[i]->data);
    for (size_t i = 0; i < NEURON_PARAMS_MAX; i++) {
        free(k->w[i]);
        free(k->plain[i]);
    }
    threads_destroy(k->threads);
    free(k->kc.scratch);
    free(k->total);
    free(k->partial);
    free(k);
}

/* ---- the twin -------------------------------------------------------------------------------- */
/* Arrays of the twin for t steps of n cells; parameters as the world has them. */
struct twin {
    struct reference_neuron r;
    double *arrays, *w[NEURON_PARAMS_MAX];
};

static struct twin twin_make(const struct world *k, size_t n)
{
    const size_t t = k->n.t;
    struct twin tw = { .arrays = calloc(11 * t * n, sizeof(double)) };
    double *a = tw.arrays;
    tw.r = (struct reference_neuron){
        .spec = &k->spec, .t = t, .n = n, .channels = k->n.c, .pixels = k->n.h * k->n.w,
        .x = a, .v0 = a + t * n, .w0 = a + 2 * t * n, .s = a + 3 * t * n, .u = a + 4 * t * n,
        .v = a + 5 * t * n, .ds = a + 6 * t * n, .dv = a + 7 * t * n, .dx = a + 8 * t * n,
        .dv0 = a + 9 * t * n, .y = a + 10 * t * n,
    };
    tw.r.dw0 = calloc(n, sizeof(double));
    for (size_t i = 0; i < k->n.n_params; i++) {
        const size_t values = k->n.params[i].values;
        tw.w[i] = calloc(2 * values, sizeof(double));
        for (size_t j = 0; j < values; j++) tw.w[i][j] = (double)k->plain[i][j];
        tw.r.w[i] = tw.w[i];
        tw.r.dw[i] = tw.w[i] + values;
    }
    return tw;
}

static void twin_free(struct twin *tw)
{
    free(tw->arrays);
    free(tw->r.dw0);
    for (size_t i = 0; i < NEURON_PARAMS_MAX; i++) free(tw->w[i]);
}

/* All cells of all samples as the twin's n cells: [T][n]. */
static void gather(const struct tensor_view *v, double *out)
{
    const struct tensor_desc *d = &v->desc;
    for (size_t t = 0; t < d->t; t++)
        for (size_t b = 0; b < d->b; b++)
            for (size_t c = 0; c < d->c; c++)
                for (size_t yx = 0; yx < PIXELS; yx++)
                    *out++ = (double)tensor_get(d, v->data, b, t, c, yx / WIDTH, yx % WIDTH);
}

static void close_to(const struct world *k, unsigned variant, const char *what, const double *want,
                     const struct tensor_view *got, double tol)
{
    const struct tensor_desc *d = &got->desc;
    const size_t n = d->t * d->b * d->c * PIXELS;
    double *values = calloc(n, sizeof values[0]);
    gather(got, values);
    for (size_t i = 0; i < n; i++)
        cr_assert(fabs(values[i] - want[i]) <= tol * (1.0 + fabs(want[i])),
                  "%s, variant %u: %s[%zu]: %g, twin %g", model_of(&k->spec)->name, variant, what,
                  i, values[i], want[i]);
    free(values);
}

static void check_gradients(const struct world *k, unsigned variant, const struct twin *tw)
{
    const struct neuron_run r = neuron_run_make(&k->n, k->io.w, NULL);
    for (size_t i = 0; i < k->n.n_params; i++) {
        const struct neuron_param *p = &k->n.params[i];
        float *packed = calloc(p->floats, sizeof(float)), *dw = calloc(p->values, sizeof(float));
        neuron_gradient(&r, k->total, i, packed);
        neuron_unpack(&k->n, i, packed, dw);
        double used = 0, all = 0; /* padding channels have none */
        for (size_t j = 0; j < p->values; j++) {
            const double want = tw->r.dw[i][j];
            cr_assert(fabs((double)dw[j] - want) <= 1e-4 * (1.0 + fabs(want)),
                      "%s, variant %u: %s[%zu]: %g, twin %g", model_of(&k->spec)->name, variant,
                      p->name, j, (double)dw[j], want);
            used += fabs((double)dw[j]);
        }
        for (size_t j = 0; j < p->floats; j++) all += fabs((double)packed[j]);
        cr_assert(fabs(all - used) <= 1e-6 * used, "%s: padding has a gradient", p->name);
        free(packed);
        free(dw);
    }
}

static void check_against_twin(int model, unsigned variant, size_t t, size_t c)
{
    struct world *k = world_make(variant_of(model, variant), t, c, false, 2, ISA_GENERIC);
    world_run(k);
    struct twin tw = twin_make(k, SAMPLES * c * PIXELS);
    gather(&k->io.x, (double *)tw.r.x);
    gather(&k->io.v0, (double *)tw.r.v0);
    gather(&k->io.w0, (double *)tw.r.w0);
    gather(&k->io.ds, (double *)tw.r.ds);
    gather(&k->io.dv, (double *)tw.r.dv);
    reference_neuron_forward(&tw.r);
    reference_neuron_backward(&tw.r);
    close_to(k, variant, "u", tw.r.u, &k->io.u, 2e-5);
    close_to(k, variant, "s", tw.r.s, &k->io.spikes, 0.0);
    close_to(k, variant, "v", tw.r.v, &k->io.v, 2e-5);
    if (k->n.ops->analog) close_to(k, variant, "y", tw.r.y, &k->io.y, 2e-5);
    close_to(k, variant, "dx", tw.r.dx, &k->io.dx, 5e-5);
    close_to(k, variant, "dv0", tw.r.dv0, &k->io.dv0, 5e-5);
    close_to(k, variant, "dw0", tw.r.dw0, &k->io.dw0, 5e-5);
    check_gradients(k, variant, &tw);
    twin_free(&tw);
    world_free(k);
}

static void check_variants(int model)
{
    static const size_t channels[] = { 3, 16, 37, 64, 70 };
    for (unsigned v = 0; v < VARIANTS; v++)
        check_against_twin(model, v, 1 + v % 8, channels[(v + (unsigned)model) % 5]);
}

/* Goal: every serial model computes what the twin does, for all resets, scopes, learned thresholds
 * and refractory steps, and for channel counts that fill one to five blocks of 16. */
Test(serial, models_match_the_double_twin, .timeout = 120) { each_model(check_variants); }

/* ---- equal bits ------------------------------------------------------------------------------ */
static void same_bits(const struct world *a, const struct world *b, const char *name)
{
    const struct tensor_view *x[] = { &a->io.spikes, &a->io.y,       &a->io.dx,  &a->io.u,
                                      &a->io.v,      &a->io.w_trace, &a->io.dv0, &a->io.dw0 };
    const struct tensor_view *y[] = { &b->io.spikes, &b->io.y,       &b->io.dx,  &b->io.u,
                                      &b->io.v,      &b->io.w_trace, &b->io.dv0, &b->io.dw0 };
    for (size_t i = 0; i < sizeof x / sizeof x[0]; i++)
        if (x[i]->data != NULL)
            cr_assert_eq(memcmp(x[i]->data, y[i]->data, tensor_bytes(&x[i]->desc)), 0,
                         "%s: tensor %zu", name, i);
    cr_assert_eq(memcmp(a->total, b->total, neuron_sums(&a->n) * sizeof(double)), 0, "%s: sums",
                 name);
}

static enum isa best_isa(void)
{
    enum isa isa;
    struct err e = { 0 };
    cr_assert_eq(kernels_choose(&isa, &e), 0);
    return isa;
}

static void check_bits(int model)
{
    for (unsigned v = 0; v < 6; v++) {
        const bool repeat = v % 2 == 1;
        const struct spec_neuron spec = variant_of(model, v + 3);
        struct world *plain = world_make(spec, 7, 70, repeat, 1, ISA_GENERIC);
        world_run(plain);
        for (enum isa isa = ISA_GENERIC; isa <= best_isa(); isa++)
            for (size_t threads = 1; threads <= 3; threads++) {
                struct world *k = world_make(spec, 7, 70, repeat, threads, isa);
                world_run(k);
                same_bits(plain, k, model_of(&spec)->name);
                world_free(k);
            }
        world_free(plain);
    }
}

/* Goal: instruction set and thread count change no bit of any output of any model. */
Test(serial, isa_and_threads_change_no_bit, .timeout = 120) { each_model(check_bits); }

static void check_cell(int model)
{
    for (unsigned v = 0; v < 6; v++) {
        struct world *k = world_make(variant_of(model, v), 6, 20, false, 1, best_isa());
        struct neuron_io io = k->io; /* a monitor knows no initial state */
        io.v0.data = io.w0.data = NULL;
        neuron_forward(&k->kc, &k->n, &io);
        const struct neuron_run r =
            neuron_run_make(&k->n, k->io.w, (float *)(void *)k->kc.scratch);
        float x[6], u[6], traced[6];
        for (size_t t = 0; t < 6; t++)
            x[t] = tensor_get(&k->io.x.desc, k->io.x.data, 2, t, 17, 1, 2);
        neuron_cell(&r, &(struct neuron_draws){ 0 }, 17, 1, 2, x, u, traced);
        for (size_t t = 0; t < 6; t++) {
            cr_assert_eq(u[t], tensor_get(&k->io.u.desc, k->io.u.data, 2, t, 17, 1, 2));
            cr_assert_eq(traced[t], tensor_get(&k->io.v.desc, k->io.v.data, 2, t, 17, 1, 2));
        }
        world_free(k);
    }
}

/* Goal: one cell traced alone has the bits it has inside the layer, whatever parameters are its
 * own. */
Test(serial, cell_has_the_bits_of_the_layer, .timeout = 30) { each_model(check_cell); }

static void check_padding(int model)
{
    struct spec_neuron spec = spec_of(model);
    struct world *k = world_make(spec, 40, 5, false, 1, best_isa());
    struct neuron_io io = k->io;
    io.v0.data = io.w0.data = NULL;
    float *x = k->io.x.data; /* padding that runs away, as a quadratic neuron's may */
    for (size_t i = 0; i < k->io.x.desc.elements; i++)
        if (i % 16 >= 5) x[i] = 1e30f;
    neuron_forward(&k->kc, &k->n, &io);
    neuron_backward(&k->kc, &k->n, &io, (struct span){ 0, SAMPLES }, k->total, k->partial);
    const struct tensor_view *clean[] = { &k->io.dx, &k->io.y };
    for (size_t v = 0; v < 2; v++)
        for (size_t i = 0; clean[v]->data != NULL && i < clean[v]->desc.elements; i++)
            cr_assert(i % 16 < 5 || ((const float *)clean[v]->data)[i] == 0.0f, "%s: tensor %zu",
                      model_of(&spec)->name, v);
    for (size_t i = 0; i < neuron_sums(&k->n); i++) cr_assert(isfinite(k->total[i]));
    world_free(k);
}

/* Goal: nothing that padding channels hold reaches an output, a gradient or a sum. */
Test(serial, padding_channels_reach_nothing, .timeout = 30) { each_model(check_padding); }

/* Goal: counts leave 0 in the bytes of padding channels, whatever was there: sums go over them. */
Test(serial, padding_of_counts_is_cleared, .timeout = 10)
{
    size_t count, kind = 0;
    const struct spec_surrogate_kind *kinds = spec_surrogate_kinds(&count);
    while (kinds[kind].firing != SPEC_FIRES_COUNT) kind++;
    const struct spec_neuron spec = { .v_threshold = 0.3, .soft_reset = true, /* IF */
                                      .surrogate = { (int)kind, { 4.0 } } };
    struct world *k = world_make(spec, 4, 20, false, 1, best_isa());
    struct neuron_io io = k->io;
    io.v0.data = NULL;
    io.spikes = view(TENSOR_COUNT8, 4, 20);
    uint8_t *counts = io.spikes.data;
    memset(counts, 0xff, io.spikes.desc.elements);
    neuron_forward(&k->kc, &k->n, &io);
    for (size_t i = 0; i < io.spikes.desc.elements; i++)
        cr_assert_leq(counts[i], i % 64 < 20 ? 4 : 0, "byte %zu", i);
    cr_assert_gt(tensor_count(&io.spikes.desc, counts, 0, SAMPLES), 0);
    mem_free(counts);
    world_free(k);
}

/* Goal: a refractory cell keeps its potential for exactly the steps asked for. */
Test(serial, refractory_cells_rest, .timeout = 10)
{
    for (int64_t rest = 0; rest <= 3; rest++) {
        struct spec_neuron spec = { .v_threshold = 1.0, .refractory_steps = rest }; /* IF */
        spec.surrogate.params[0] = 2.0;
        struct world *k = world_make(spec, 12, 16, false, 1, best_isa());
        for (size_t i = 0; i < k->io.x.desc.elements; i++) ((float *)k->io.x.data)[i] = 1.5f;
        struct neuron_io io = k->io;
        io.v0.data = NULL;
        neuron_forward(&k->kc, &k->n, &io);
        for (size_t t = 0; t < 12; t++)
            cr_assert_eq(tensor_get(&io.spikes.desc, io.spikes.data, 1, t, 3, 1, 1),
                         t % (size_t)(rest + 1) == 0 ? 1.0f : 0.0f, "rest %d, step %zu", (int)rest,
                         t);
        world_free(k);
    }
}

/* ---- the twin's gradients -------------------------------------------------------------------- */
/* L = sum dy*y + sum dv*v with smooth spikes. */
static double twin_loss(struct reference_neuron *r)
{
    double sum = 0.0;
    reference_neuron_forward(r);
    for (size_t i = 0; i < r->t * r->n; i++) sum += r->ds[i] * r->y[i] + r->dv[i] * r->v[i];
    return sum;
}

static void check_slopes(struct reference_neuron *r, const double *values, const double *gradients,
                         size_t n, const char *what)
{
    const double eps = 1e-6;
    double *at = (double *)values;
    for (size_t i = 0; i < n; i++) {
        const double old = at[i], gradient = gradients[i];
        at[i] = old + eps;
        const double up = twin_loss(r);
        at[i] = old - eps;
        const double down = twin_loss(r);
        at[i] = old;
        const double slope = (up - down) / (2.0 * eps);
        cr_assert(fabs(slope - gradient) <= 2e-6 * (1.0 + fabs(slope)),
                  "%s: %s[%zu]: %.9g, slope %.9g", model_of(r->spec)->name, what, i, gradient,
                  slope);
    }
}

static void check_derivative(int model)
{
    enum { T = 5, C = 2 };
    for (unsigned v = 0; v < VARIANTS; v++) {
        struct spec_neuron spec = variant_of(model, v);
        spec.detach_reset = false;
        struct world *k = world_make(spec, T, C, false, 1, ISA_GENERIC);
        const size_t n = C * PIXELS;
        struct twin tw = twin_make(k, n);
        struct reference_neuron *r = &tw.r;
        r->primitive = true;
        for (size_t i = 0; i < T * n; i++) {
            ((double *)r->x)[i] = number(i) + 0.5;
            ((double *)r->ds)[i] = number(500 + i);
            ((double *)r->dv)[i] = number(900 + i);
        }
        for (size_t i = 0; i < n; i++) {
            ((double *)r->v0)[i] = 0.3 * number(1700 + i);
            ((double *)r->w0)[i] = 0.3 * number(1800 + i);
        }
        reference_neuron_forward(r);
        reference_neuron_backward(r);
        check_slopes(r, r->x, r->dx, T * n, "dx");
        check_slopes(r, r->v0, r->dv0, n, "dv0");
        check_slopes(r, r->w0, r->dw0, n, "dw0");
        for (size_t i = 0; i < k->n.n_params; i++)
            check_slopes(r, r->w[i], r->dw[i], k->n.params[i].values, k->n.params[i].name);
        twin_free(&tw);
        world_free(k);
    }
}

/* Goal: the twin's backward pass is the derivative of its forward pass, with smooth spikes and the
 * reset not detached, in all variants. */
Test(reference_serial, gradients_match_finite_differences, .timeout = 120)
{
    each_model(check_derivative);
}

/* ---- traits ---------------------------------------------------------------------------------- */
static void decay_counts_where_the_row_says_so(int model)
{
    size_t count;
    const bool leak = (spec_neuron_models(&count)[model].traits & SPEC_LEAK) != 0;
    struct spec_neuron spec = spec_of(model);
    struct world *k[2];
    for (int i = 0; i < 2; i++) {
        spec.decay_input = i == 0;
        k[i] = world_make(spec, 3, 20, false, 1, ISA_GENERIC);
        world_run(k[i]);
    }
    const size_t bytes = k[0]->io.dx.desc.elements * sizeof(float);
    cr_expect_eq(memcmp(k[0]->io.dx.data, k[1]->io.dx.data, bytes) != 0, leak, "%s",
                 model_of(&spec)->name);
    for (int i = 0; i < 2; i++) world_free(k[i]);
}

/* Goal: decay_input changes something in exactly the models whose row has SPEC_LEAK, since the
 * parser refuses it in all others. */
Test(serial, decay_input_is_of_models_that_leak, .timeout = 20)
{
    each_model(decay_counts_where_the_row_says_so);
}
