/* neuron: the table of models and the walk of a model over whole tensors. Called by
 * layers/neuron_layer on the main thread; rows (forward) and samples (backward) are the pool's
 * items, so neither thread count nor order of work can change a bit. */
#include "worker/neurons/neuron.h"

#include "common/mem.h"
#include "worker/kernels/kernel_trace.h"

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

static void add_param(struct neuron *n, struct neuron_param p)
{
    assert(n->n_params < NEURON_PARAMS_MAX);
    p.values = 1;
    for (size_t d = 0; d < p.n_dims; d++) p.values *= p.dims[d];
    if (!p.cells) p.floats = p.values;
    p.sums = neuron_sums(n);
    n->params[n->n_params++] = p;
}

static void add_params(struct neuron *n)
{
    struct neuron_param own[NEURON_PARAMS_MAX] = { 0 };
    const size_t count = n->ops->params == NULL ? 0 : n->ops->params(n, own);
    for (size_t i = 0; i < count; i++) add_param(n, own[i]);
    if (n->learn_threshold) add_param(n, neuron_cell_param(n, "v_threshold", 0));
}

static size_t scope_floats(const struct neuron *n)
{
    const size_t channels = mem_align(n->c, 16);
    if (n->scope == SPEC_SCOPE_LAYER) return 1;
    return n->scope == SPEC_SCOPE_CHANNEL && !n->flat ? channels : n->h * n->w * channels;
}

struct neuron neuron_make(const struct spec_neuron *spec, const struct tensor_desc *x, enum isa isa)
{
    assert(spec->model >= 0 &&
           (size_t)spec->model < sizeof neuron_table / sizeof neuron_table[0]);
    const struct tensor_desc image = tensor_image(x);
    size_t count;
    const bool shares = (spec_neuron_models(&count)[spec->model].traits & SPEC_SERIAL) != 0;
    struct neuron n = {
        .ops = neuron_table[spec->model][isa],
        .spec = spec,
        .surrogate = surrogate_make(&spec->surrogate, isa),
        .t = image.t, .c = image.c, .h = image.h, .w = image.w,
        .flat = x->flat_h * x->flat_w > 1,
        .v_threshold = (float)spec->v_threshold,
        .v_reset = spec->soft_reset || !shares ? 0.0f : (float)spec->v_reset,
        .soft = spec->soft_reset,
        .detach = spec->detach_reset,
        .decay_input = spec->decay_input,
        .refractory = shares ? (float)spec->refractory_steps : 0.0f,
        .learn_threshold = shares && spec->learn_threshold,
        .scope = spec->scope,
    };
    assert(n.surrogate.firing == SPEC_FIRES_STEP || n.ops->plain ||
           n.ops->analog);
    n.v_init = shares && spec->n_v_init > 0 ? (float)spec->v_init : n.v_reset;
    n.scope_floats = scope_floats(&n);
    add_params(&n);
    return n;
}

/* ---- parameters ------------------------------------------------------------------------------ */
struct neuron_param neuron_cell_param(const struct neuron *n, const char *name, size_t steps)
{
    struct neuron_param p = { .name = name, .cells = true };
    if (steps > 0) p.dims[p.n_dims++] = steps;
    p.floats = n->scope_floats * (steps > 0 ? steps : 1);
    if (n->scope == SPEC_SCOPE_LAYER) return p;
    if (n->flat) {
        p.dims[p.n_dims++] = n->c * n->h * n->w;
        return p;
    }
    p.dims[p.n_dims++] = n->c;
    if (n->scope == SPEC_SCOPE_CHANNEL) return p;
    p.dims[p.n_dims++] = n->h;
    p.dims[p.n_dims++] = n->w;
    return p;
}

/* Position in the packed parameter of PyTorch's value j. */
static size_t packed_at(const struct neuron *n, const struct neuron_param *p, size_t j)
{
    if (!p->cells || n->scope == SPEC_SCOPE_LAYER) return j;
    const size_t channels = mem_align(n->c, 16), pixels = n->scope_floats / channels;
    const size_t each = n->c * pixels; /* values of a step */
    const size_t step = j / each, c = j % each / pixels, yx = j % pixels;
    return step * n->scope_floats + yx * channels + c;
}

void neuron_pack(const struct neuron *n, size_t i, const float *values, float *packed)
{
    const struct neuron_param *p = &n->params[i];
    memset(packed, 0, mem_align(p->floats, 16) * sizeof packed[0]);
    for (size_t j = 0; j < p->values; j++) packed[packed_at(n, p, j)] = values[j];
}

void neuron_unpack(const struct neuron *n, size_t i, const float *packed, float *values)
{
    const struct neuron_param *p = &n->params[i];
    for (size_t j = 0; j < p->values; j++) values[j] = packed[packed_at(n, p, j)];
}

void neuron_init(const struct neuron *n, size_t i, struct philox_key key, uint32_t number,
                 float *values)
{
    if (!n->learn_threshold || i + 1 < n->n_params) {
        n->ops->init(n, i, key, number, values);
        return;
    }
    for (size_t j = 0; j < n->params[i].values; j++) values[j] = n->v_threshold;
}

void neuron_gradient(const struct neuron_run *r, const double *sums, size_t i, float *dw)
{
    const struct neuron *n = r->n;
    const struct neuron_param *p = &n->params[i];
    if (!n->learn_threshold || i + 1 < n->n_params) {
        n->ops->gradient(r, sums, i, dw);
        return;
    }
    for (size_t j = 0; j < p->floats; j++) dw[j] = (float)sums[p->sums + j];
}

size_t neuron_sums(const struct neuron *n)
{
    size_t sums = 0;
    for (size_t i = 0; i < n->n_params; i++)
        if (!n->params[i].buffer) sums += n->params[i].floats;
    return sums;
}

size_t neuron_states(const struct neuron *n)
{
    if (n->ops->states == 0) return 0;
    return n->ops->states + (n->refractory > 0.0f ? 1 : 0);
}

/* Gradients of the states, but for the steps that a cell still rests, and sums of parameters. */
size_t neuron_flows(const struct neuron *n)
{
    if (n->ops->states == 0) return 0;
    return n->ops->states + n->ops->sums + (n->learn_threshold ? 1 : 0);
}

size_t neuron_carried(const struct neuron *n)
{
    return n->ops->history != NULL ? n->ops->history(n) : neuron_states(n);
}

const char *neuron_no_stream(const struct neuron_run *r)
{
    const struct neuron_ops *ops = r->n->ops;
    if (ops->states > 0) return NULL;
    if (ops->stream == NULL) return "its weights reach over all time-steps";
    return ops->no_stream != NULL ? ops->no_stream(r) : NULL;
}

/* ---- one cell -------------------------------------------------------------------------------- */
/* The model's own scratch, after the one-cell planes x, u and v of neuron_cell. */
static size_t cell_floats(const struct neuron *n) { return 3 * n->t * 16; }

size_t neuron_scratch_bytes(const struct neuron *n)
{
    return (cell_floats(n) + n->ops->scratch_floats(n)) * sizeof(float);
}

struct neuron_run neuron_run_make(const struct neuron *n, const float *const w[], float *scratch)
{
    struct neuron_run r = { .n = n, .scratch = scratch };
    for (size_t i = 0; i < n->n_params; i++) r.w[i] = w[i];
    if (n->ops->prepare != NULL) n->ops->prepare(n, w, r.k);
    return r;
}

/* In its own lane of its own block, so that it finds its own parameters. */
void neuron_cell(const struct neuron_run *r, const struct neuron_draws *draws, size_t c, size_t y,
                 size_t x, const float *in, float *u, float *v)
{
    const size_t t_count = r->n->t, lane = c % 16;
    struct neuron_run inner = *r;
    inner.scratch = r->scratch + cell_floats(r->n);
    float *xs = r->scratch, *us = xs + t_count * 16, *vs = us + t_count * 16;
    memset(xs, 0, cell_floats(r->n) * sizeof xs[0]);
    for (size_t t = 0; t < t_count; t++) xs[t * 16 + lane] = in[t];
    struct neuron_cells cell = { .rows = 1, .pixels = 1, .channels = lane + 1,
                                 .row0 = y, .pixel0 = x, .block0 = c / 16, .t = { 0, t_count },
                                 .draws = *draws };
    uint64_t spike;
    cell.spikes = &spike;
    cell.x = (struct neuron_plane){ .data = xs, .time = 16 };
    cell.u = (struct neuron_plane){ .data = us, .time = 16 };
    cell.v = (struct neuron_plane){ .data = vs, .time = 16 };
    r->n->ops->forward(&inner, &cell);
    for (size_t t = 0; t < t_count; t++) {
        if (u != NULL) u[t] = us[t * 16 + lane];
        if (v != NULL) v[t] = vs[t * 16 + lane];
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

/* What a neighbour makes lies in the thread's scratch behind that of the model: x, then ds. */
static struct tensor_desc tile_desc(const struct neuron *n, enum tensor_kind kind, size_t rows,
                                    size_t columns)
{
    return tensor_make(kind, 1, n->t, n->c, rows, columns);
}

size_t neuron_tile_bytes(const struct neuron *n, enum tensor_kind kind, size_t rows, size_t columns)
{
    const struct tensor_desc d = tile_desc(n, kind, rows, columns);
    return mem_align(tensor_bytes(&d), 64);
}

static struct tensor_view tile_view(const struct neuron_walk *k, const struct image_tile *at,
                                    enum tensor_kind kind, size_t thread, size_t offset)
{
    unsigned char *own = k->kc->scratch + thread * k->kc->scratch_per_thread +
                         mem_align(neuron_scratch_bytes(k->n), 64) + offset;
    return (struct tensor_view){ tile_desc(k->n, kind, at->rows.end - at->rows.begin,
                                           at->columns.end - at->columns.begin),
                                 own };
}

static struct neuron_plane plane_of(const struct tensor_view *v, const struct image_tile *at)
{
    if (v->data == NULL) return (struct neuron_plane){ 0 };
    const struct tensor_desc *d = &v->desc;
    return (struct neuron_plane){
        .data = (float *)v->data + tensor_at(d, at->b, 0, at->rows.begin, at->columns.begin, 0),
        .time = d->t_stored == 1 && d->t > 1 ? 0 : d->time,
        .row = d->row,
        .pixel = d->pixel,
        .block32 = d->block32,
    };
}

static struct neuron_cells cells_of(const struct neuron_io *io, const struct image_tile *at)
{
    const struct tensor_desc *x = &io->x.desc, *s = &io->spikes.desc;
    struct neuron_cells c = {
        .rows = at->rows.end - at->rows.begin,
        .pixels = at->columns.end - at->columns.begin,
        .channels = x->c,
        .row0 = at->rows.begin,
        .pixel0 = at->columns.begin,
        .x = plane_of(&io->x, at),
        .y = plane_of(&io->y, at),
        .v0 = plane_of(&io->v0, at),
        .w0 = plane_of(&io->w0, at),
        .u = plane_of(&io->u, at),
        .v = plane_of(&io->v, at),
        .w = plane_of(&io->w_trace, at),
        .ds = plane_of(&io->ds, at),
        .dv = plane_of(&io->dv, at),
        .dx = plane_of(&io->dx, at),
        .dv0 = plane_of(&io->dv0, at),
        .dw0 = plane_of(&io->dw0, at),
        .t = io->t,
        .before = plane_of(&io->before, at),
        .after = plane_of(&io->after, at),
        .flow = plane_of(&io->flow, at),
        .draws = io->draws,
    };
    c.draws.sample += at->b;
    if (io->spikes.data == NULL) return c;
    const size_t first = s->origin + at->b * s->sample + at->rows.begin * s->row +
                         at->columns.begin * s->pixel;
    if (s->kind == TENSOR_COUNT8) c.counts = (uint8_t *)io->spikes.data + first;
    else c.spikes = (uint64_t *)io->spikes.data + first;
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

static struct neuron_io image_io(const struct neuron *n, const struct neuron_io *io)
{
    struct neuron_io i = *io;
    struct tensor_view *views[] = { &i.x,  &i.spikes, &i.y,  &i.v0, &i.w0,  &i.u,  &i.v,
                                    &i.w_trace, &i.ds, &i.dv, &i.dx, &i.dv0, &i.dw0 };
    if (i.t.end == 0) i.t.end = n->t;
    assert(n->ops->states > 0 || i.stream || (i.t.begin == 0 && i.t.end == n->t));
    for (size_t k = 0; k < sizeof views / sizeof views[0]; k++)
        views[k]->desc = tensor_image(&views[k]->desc);
    return i;
}

/* The tile that begins at (row, column), as neighbours want it. */
static struct image_tile tile_at(const struct neuron_walk *k, size_t b, size_t row, size_t column,
                                 size_t rows)
{
    const struct neuron_neighbours *with = k->io->neighbours;
    const size_t h = k->io->x.desc.h, w = k->io->x.desc.w;
    const size_t columns = with != NULL ? with->columns : w;
    return (struct image_tile){
        .b = b,
        .t = k->io->t,
        .rows = { row, row + rows < h ? row + rows : h },
        .columns = { column, column + columns < w ? column + columns : w },
    };
}

static const struct image_tile at_origin; /* of a tile's own memory */

static void forward_tile(const struct neuron_walk *k, const struct image_tile *at, size_t thread)
{
    const struct neuron_neighbours *with = k->io->neighbours;
    struct neuron_run r = run_on(k, thread);
    struct neuron_cells c = cells_of(k->io, at);
    c.first = k->kc->first_step;
    if (with != NULL && with->input != NULL) {
        const struct tensor_view x = tile_view(k, at, k->io->x.desc.kind, thread, 0);
        with->input(with->ctx, at, &x);
        c.x = plane_of(&x, &at_origin);
    }
    if (k->io->stream && k->n->ops->states == 0) k->n->ops->stream(&r, &c);
    else k->n->ops->forward(&r, &c);
}

static void forward_row(void *ctx, size_t item, size_t thread)
{
    const struct neuron_walk *k = ctx;
    const size_t h = k->io->x.desc.h, w = k->io->x.desc.w;
    struct image_tile at;
    for (size_t column = 0; column < w; column = at.columns.end) {
        at = tile_at(k, item / h, item % h, column, 1);
        forward_tile(k, &at, thread);
    }
}

void neuron_forward(const struct kernel_ctx *kc, const struct neuron *n, const struct neuron_io *io)
{
    assert(kc->scratch_per_thread >= neuron_scratch_bytes(n));
    const struct neuron_io image = image_io(n, io);
    kernel_note(kc, KERNEL_NEURONS + 2 * (size_t)n->spec->model);
    struct neuron_walk k = { .kc = kc, .n = n, .io = &image };
    k.run = neuron_run_make(n, io->w, NULL);
    threads_run(kc->threads, image.x.desc.b * image.x.desc.h, forward_row, &k);
}

static void backward_tile(const struct neuron_walk *k, const struct image_tile *at, double *sums,
                          size_t thread)
{
    const struct neuron_neighbours *with = k->io->neighbours;
    struct neuron_run r = run_on(k, thread);
    struct neuron_cells c = cells_of(k->io, at);
    c.sums = sums;
    size_t made = 0; /* bytes of the tile's memory */
    if (with != NULL && with->input != NULL) {
        const struct tensor_view x = tile_view(k, at, k->io->x.desc.kind, thread, 0);
        with->input(with->ctx, at, &x);
        c.x = plane_of(&x, &at_origin);
        made = mem_align(tensor_bytes(&x.desc), 64);
    }
    if (with != NULL && with->output_gradient != NULL) {
        const struct tensor_view ds = tile_view(k, at, TENSOR_F32, thread, made);
        with->output_gradient(with->ctx, at, &ds);
        c.ds = plane_of(&ds, &at_origin);
    }
    k->n->ops->backward(&r, &c);
    if (with != NULL && with->input_gradient != NULL) with->input_gradient(with->ctx, at);
}

static void backward_sample(void *ctx, size_t item, size_t thread)
{
    const struct neuron_walk *k = ctx;
    const size_t h = k->io->x.desc.h, w = k->io->x.desc.w, count = neuron_sums(k->n);
    const size_t rows = k->io->neighbours != NULL ? k->io->neighbours->rows : h;
    double *sums = count > 0 ? k->partial + item * count : NULL;
    if (count > 0) memset(sums, 0, count * sizeof sums[0]);
    struct image_tile at;
    for (size_t row = 0; row < h; row = at.rows.end)
        for (size_t column = 0; column < w; column = at.columns.end) {
            at = tile_at(k, k->first + item, row, column, rows);
            backward_tile(k, &at, sums, thread);
        }
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
    const struct neuron_io image = image_io(n, io);
    const size_t sums = neuron_sums(n), group = neuron_group(n, io->x.desc.b);
    struct neuron_walk k = { .kc = kc, .n = n, .io = &image, .partial = partial };
    k.run = neuron_run_make(n, io->w, NULL);
    kernel_note(kc, KERNEL_NEURONS + 1 + 2 * (size_t)n->spec->model);
    if (sums != 0 && image.t.end == n->t) memset(total, 0, sums * sizeof total[0]);
    for (k.first = b.begin; k.first < b.end; k.first += group) {
        const size_t count = b.end - k.first < group ? b.end - k.first : group;
        threads_run(kc->threads, count, backward_sample, &k);
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < sums; j++) total[j] += partial[i * sums + j];
    }
}
