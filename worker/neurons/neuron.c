/* neuron: the table of models and the walk of a model over whole tensors. Called by
 * layers/neuron_layer on the main thread; rows (forward) and samples (backward) are the pool's
 * items, so neither thread count nor order of work can change a bit. */
#include "worker/neurons/neuron.h"

#include <assert.h>
#include <string.h>

#define NEURON_GROUP_BYTES ((size_t)8 << 20) /* of per-sample sums held at once */
#define NEURON_GROUP_MIN ((size_t)8)         /* so that a few threads always have work */

#define NEURON(id, ...)                                                                           \
    extern const struct neuron_ops neuron_##id##_ops_generic, neuron_##id##_ops_avx2,             \
        neuron_##id##_ops_avx512;
#include "common/spec_neurons.def"
#undef NEURON

/* One row a model, one column an instruction set that this build has. */
static const struct neuron_ops *const neuron_table[][ISA_COUNT] = {
#if defined(__x86_64__)
#define NEURON(id, ...)                                                                           \
    { &neuron_##id##_ops_generic, &neuron_##id##_ops_avx2, &neuron_##id##_ops_avx512 },
#else
#define NEURON(id, ...) { &neuron_##id##_ops_generic, NULL, NULL },
#endif
#include "common/spec_neurons.def"
#undef NEURON
};

struct neuron neuron_make(const struct spec_neuron *spec, size_t t, enum isa isa)
{
    assert(spec->model >= 0 &&
           (size_t)spec->model < sizeof neuron_table / sizeof neuron_table[0]);
    return (struct neuron){
        .ops = neuron_table[spec->model][isa],
        .spec = spec,
        .surrogate = surrogate_make(&spec->surrogate, isa),
        .t = t,
        .v_threshold = (float)spec->v_threshold,
        .v_reset = spec->soft_reset ? 0.0f : (float)spec->v_reset,
        .soft = spec->soft_reset,
        .detach = spec->detach_reset,
        .decay_input = spec->decay_input,
    };
}

size_t neuron_sums(const struct neuron *n) { return n->ops->sums == NULL ? 0 : n->ops->sums(n); }

/* The model's own scratch, after the one-cell planes x, u and v of neuron_cell. */
static size_t cell_floats(const struct neuron *n) { return 3 * n->t * 16; }

size_t neuron_scratch_bytes(const struct neuron *n)
{
    return (cell_floats(n) + n->ops->scratch_floats(n)) * sizeof(float);
}

struct neuron_run neuron_run_make(const struct neuron *n, const float *const w[], float *scratch)
{
    struct neuron_run r = { .n = n, .scratch = scratch };
    for (size_t i = 0; i < NEURON_PARAMS_MAX; i++) r.w[i] = w[i];
    if (n->ops->prepare != NULL) n->ops->prepare(n, w, r.k);
    return r;
}

void neuron_cell(const struct neuron_run *r, const float *x, float *u, float *v)
{
    const size_t t_count = r->n->t;
    struct neuron_run inner = *r;
    inner.scratch = r->scratch + cell_floats(r->n);
    float *xs = r->scratch, *us = xs + t_count * 16, *vs = us + t_count * 16;
    memset(xs, 0, cell_floats(r->n) * sizeof xs[0]);
    for (size_t t = 0; t < t_count; t++) xs[t * 16] = x[t];
    uint64_t spike;
    struct neuron_cells c = { .rows = 1, .pixels = 1, .channels = 1, .spikes = &spike };
    c.x = (struct neuron_plane){ .data = xs, .time = 16 };
    c.u = (struct neuron_plane){ .data = us, .time = 16 };
    c.v = (struct neuron_plane){ .data = vs, .time = 16 };
    r->n->ops->forward(&inner, &c);
    for (size_t t = 0; t < t_count; t++) {
        if (u != NULL) u[t] = us[t * 16];
        if (v != NULL) v[t] = vs[t * 16];
    }
}

/* ---- whole tensors --------------------------------------------------------------------------- */
struct neuron_walk {
    const struct kernel_ctx *kc;
    const struct neuron *n;
    const struct neuron_io *io; /* image descriptors */
    struct neuron_run run;      /* scratch is set by thread */
    size_t first;               /* sample of item 0 */
    double *partial;            /* [item][sums] */
};

static struct neuron_plane plane_of(const struct tensor_view *v, size_t b, size_t y)
{
    if (v->data == NULL) return (struct neuron_plane){ 0 };
    const struct tensor_desc *d = &v->desc;
    return (struct neuron_plane){
        .data = (float *)v->data + tensor_at(d, b, 0, y, 0, 0),
        .time = d->t_stored == 1 && d->t > 1 ? 0 : d->time,
        .row = d->row,
        .pixel = d->pixel,
        .block32 = d->block32,
    };
}

static struct neuron_cells cells_of(const struct neuron_io *io, size_t b, size_t y, size_t rows)
{
    const struct tensor_desc *x = &io->x.desc, *s = &io->spikes.desc;
    struct neuron_cells c = {
        .rows = rows,
        .pixels = x->w,
        .channels = x->c,
        .x = plane_of(&io->x, b, y),
        .v0 = plane_of(&io->v0, b, y),
        .u = plane_of(&io->u, b, y),
        .v = plane_of(&io->v, b, y),
        .ds = plane_of(&io->ds, b, y),
        .dv = plane_of(&io->dv, b, y),
        .dx = plane_of(&io->dx, b, y),
        .dv0 = plane_of(&io->dv0, b, y),
    };
    if (io->spikes.data == NULL) return c;
    c.spikes = (uint64_t *)io->spikes.data + s->origin + b * s->sample + y * s->row;
    c.spikes_time = s->time;
    c.spikes_row = s->row;
    c.spikes_pixel = s->pixel;
    return c;
}

static struct neuron_run run_on(const struct neuron_walk *k, size_t thread)
{
    struct neuron_run r = k->run;
    r.scratch = (float *)(void *)(k->kc->scratch + thread * k->kc->scratch_per_thread) +
                cell_floats(k->n);
    return r;
}

static struct neuron_io image_io(const struct neuron_io *io)
{
    struct neuron_io i = *io;
    struct tensor_view *views[] = { &i.x, &i.spikes, &i.v0, &i.u, &i.v,
                                    &i.ds, &i.dv, &i.dx, &i.dv0 };
    for (size_t k = 0; k < sizeof views / sizeof views[0]; k++)
        views[k]->desc = tensor_image(&views[k]->desc);
    return i;
}

static void forward_row(void *ctx, size_t item, size_t thread)
{
    const struct neuron_walk *k = ctx;
    struct neuron_run r = run_on(k, thread);
    const size_t h = k->io->x.desc.h;
    struct neuron_cells c = cells_of(k->io, item / h, item % h, 1);
    k->n->ops->forward(&r, &c);
}

void neuron_forward(const struct kernel_ctx *kc, const struct neuron *n, const struct neuron_io *io)
{
    assert(kc->scratch_per_thread >= neuron_scratch_bytes(n));
    const struct neuron_io image = image_io(io);
    struct neuron_walk k = { .kc = kc, .n = n, .io = &image };
    k.run = neuron_run_make(n, io->w, NULL);
    threads_run(kc->threads, image.x.desc.b * image.x.desc.h, forward_row, &k);
}

static void backward_sample(void *ctx, size_t item, size_t thread)
{
    const struct neuron_walk *k = ctx;
    struct neuron_run r = run_on(k, thread);
    struct neuron_cells c = cells_of(k->io, k->first + item, 0, k->io->x.desc.h);
    const size_t sums = neuron_sums(k->n);
    if (sums != 0) {
        c.sums = k->partial + item * sums;
        memset(c.sums, 0, sums * sizeof c.sums[0]);
    }
    k->n->ops->backward(&r, &c);
}

size_t neuron_group(const struct neuron *n, size_t samples)
{
    const size_t sums = neuron_sums(n);
    if (sums == 0) return samples;
    size_t group = NEURON_GROUP_BYTES / (sums * sizeof(double));
    if (group < NEURON_GROUP_MIN) group = NEURON_GROUP_MIN;
    return group < samples ? group : samples;
}

void neuron_backward(const struct kernel_ctx *kc, const struct neuron *n,
                     const struct neuron_io *io, struct span b, double *total, double *partial)
{
    assert(kc->scratch_per_thread >= neuron_scratch_bytes(n));
    const struct neuron_io image = image_io(io);
    const size_t sums = neuron_sums(n), group = neuron_group(n, io->x.desc.b);
    struct neuron_walk k = { .kc = kc, .n = n, .io = &image, .partial = partial };
    k.run = neuron_run_make(n, io->w, NULL);
    if (sums != 0) memset(total, 0, sums * sizeof total[0]);
    for (k.first = b.begin; k.first < b.end; k.first += group) {
        const size_t count = b.end - k.first < group ? b.end - k.first : group;
        threads_run(kc->threads, count, backward_sample, &k);
        for (size_t i = 0; i < count * sums; i++) total[i % sums] += partial[i];
    }
}
