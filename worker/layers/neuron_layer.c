/* neuron_layer: any model of neurons/ as a layer; F32 or REPEAT in, BITS out, COUNT8 of a surrogate
 * that fires counts, or F32 of a model that puts out values. Called through layer_ops on the main
 * thread; rows and samples are the pool's items. Nothing but the output is saved: the backward pass
 * runs the charge again from x (reference: kernels.md 4). Steps in spans: the state after each span
 * but the last is saved too, for the backward pass to begin from. */
#include "worker/layers/fused.h"
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>

/* ---- what crosses from span to span ---------------------------------------------------------- */
static size_t spans(const struct layer *l) { return (l->in.t + l->span_steps - 1) / l->span_steps; }

/* Planes of one float a cell. */
static struct tensor_desc planes(const struct layer *l, size_t count)
{
    const struct tensor_desc image = tensor_image(&l->in);
    return tensor_make(TENSOR_F32, image.b, count, image.c, image.h, image.w);
}

static size_t state_bytes(const struct layer *l)
{
    const struct tensor_desc d = planes(l, neuron_states(&l->u.neuron));
    return mem_align(tensor_bytes(&d), 64);
}

/* The state after span i. */
static struct tensor_view state_after(const struct layer *l, const struct step *s, size_t i)
{
    return (struct tensor_view){ planes(l, neuron_states(&l->u.neuron)),
                                 (unsigned char *)layer_saved(l, s) + i * state_bytes(l) };
}

/* Sums for the parameters: totals of every shard, then those of one group of samples. */
static size_t sums_bytes(const struct layer *l)
{
    const struct neuron *n = &l->u.neuron;
    return mem_align((l->shards + neuron_group(n, l->in.b)) * neuron_sums(n) * sizeof(double), 64);
}

static void plan_spans(struct layer *l, struct layer_needs *needs)
{
    const struct tensor_desc carried = planes(l, neuron_carried(&l->u.neuron));
    needs->state_bytes = tensor_bytes(&carried);
    const struct tensor_desc flow = planes(l, neuron_flows(&l->u.neuron));
    needs->backward_scratch_bytes = sums_bytes(l);
    if (l->all_steps != NULL || spans(l) == 1) return;
    needs->saved_bytes += (spans(l) - 1) * state_bytes(l);
    needs->backward_scratch_bytes += tensor_bytes(&flow);
}

static void set_span(const struct layer *l, const struct step *s, struct span t,
                     struct neuron_io *io)
{
    const size_t i = t.begin / l->span_steps;
    io->t = t;
    if (l->stream) {
        io->stream = true;
        io->after = (struct tensor_view){ planes(l, neuron_carried(&l->u.neuron)), s->state };
        if (s->first_step > 0) io->before = io->after;
        return;
    }
    if (t.begin > 0) io->before = state_after(l, s, i - 1);
    if (t.end < l->in.t) io->after = state_after(l, s, i);
}

/* ---- the layer ------------------------------------------------------------------------------- */
static enum tensor_kind output_kind(const struct neuron *n)
{
    if (n->ops->analog) return TENSOR_F32;
    return n->surrogate.firing == SPEC_FIRES_COUNT ? TENSOR_COUNT8 : TENSOR_BITS;
}

struct neuron_draws neuron_layer_draws(const struct layer *l, const struct step *s)
{
    return (struct neuron_draws){ .key = s->spike_key, .sample = s->sample_offset,
                                  .step = s->number, .times = l->number * SPEC_TIME_STEPS_MAX };
}

static int neuron_layer_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                                struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    layer_plan_float(l, in, needs);
    const struct tensor_desc image = tensor_image(in);
    struct tensor_desc whole = *in;
    whole.t = l->time_steps;
    l->u.neuron = neuron_make(&l->spec->u.neuron, &whole, l->isa);
    const struct neuron *n = &l->u.neuron;
    *out = tensor_make(output_kind(n), in->b, in->t, image.c, image.h, image.w);
    if (out->kind == TENSOR_COUNT8) out->largest = (size_t)n->surrogate.k[0];
    if (in->flat_h * in->flat_w > 1) *out = tensor_flatten(out);
    for (size_t i = 0; i < n->n_params; i++) {
        const struct neuron_param *from = &n->params[i];
        struct layer_param p = { .name = from->name, .n_dims = from->n_dims,
                                 .floats = from->floats, .buffer = from->buffer };
        for (size_t d = 0; d < p.n_dims; d++) p.dims[d] = from->dims[d];
        layer_add_param(l, needs, p);
    }
    if (n->ops->states == 0) l->all_steps = spec_layer_mixes_time(l->spec);
    plan_spans(l, needs);
    needs->thread_scratch_bytes = neuron_scratch_bytes(n);
    if (n->ops->macs != NULL) needs->macs = n->ops->macs(n) * image.c * image.h * image.w;
    return 0;
}

static void set_weights(const struct layer *l, const struct step *s, struct neuron_io *io)
{
    for (size_t i = 0; i < l->n_params; i++)
        io->w[i] = (l->params[i].buffer ? s->buffers : s->w) + l->params[i].offset;
}

static void neuron_layer_forward(const struct layer *l, const struct step *s, struct span t)
{
    struct neuron_io io = { .x = layer_float_input(l, s, t), .draws = neuron_layer_draws(l, s) };
    struct fused fused;
    io.neighbours = fused_forward(&fused, l, s);
    set_span(l, s, t, &io);
    if (s->probe != NULL) {
        io.v0 = s->probe->v0;
        io.w0 = s->probe->w0;
        io.u = s->probe->u;
        io.v = s->probe->v;
        io.w_trace = s->probe->w;
        io.spikes = s->probe->spikes;
    }
    if (l->u.neuron.ops->analog) io.y = s->y;
    else io.spikes = s->y;
    set_weights(l, s, &io);
    neuron_forward(s->kc, &l->u.neuron, &io);
}

static void neuron_layer_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    struct neuron_io io = { .x = layer_float_input(l, s, LAYER_NO_STEPS), .ds = s->dy,
                            .dx = s->dx[0], .draws = neuron_layer_draws(l, s) };
    struct fused fused;
    io.neighbours = fused_backward(&fused, l, s);
    if (s->pool != NULL) io.ds.data = NULL; /* its neighbours make it */
    /* The gradient of one frame for all steps is their sum, t ascending. */
    const bool at_once = l->in.kind == TENSOR_REPEAT;
    if (at_once && t.begin > 0) return;
    if (at_once) t.end = l->in.t;
    set_span(l, s, t, &io);
    if (t.begin > 0 || t.end < l->in.t)
        io.flow = (struct tensor_view){ planes(l, neuron_flows(&l->u.neuron)),
                                        s->scratch + sums_bytes(l) };
    if (s->probe != NULL) {
        io.v0 = s->probe->v0;
        io.w0 = s->probe->w0;
        io.dv = s->probe->dv;
        io.dv0 = s->probe->dv0;
        io.dw0 = s->probe->dw0;
    }
    set_weights(l, s, &io);
    const size_t sums = neuron_sums(&l->u.neuron);
    double *totals = (double *)(void *)s->scratch;
    for (size_t k = 0; k < s->shards; k++)
        neuron_backward(s->kc, &l->u.neuron, &io, step_shard(s, k), totals + k * sums,
                        totals + s->shards * sums);
}

static void neuron_layer_backward_weights(const struct layer *l, const struct step *s)
{
    struct neuron_io io = { 0 };
    set_weights(l, s, &io);
    const struct neuron_run r = neuron_run_make(&l->u.neuron, io.w, NULL);
    const double *totals = (const double *)(void *)s->scratch;
    for (size_t i = 0; i < l->n_params; i++)
        if (!l->params[i].buffer)
            neuron_gradient(&r, totals + s->shard * neuron_sums(&l->u.neuron), i,
                            s->dw + l->params[i].offset);
}

static const char *neuron_layer_no_stream(const struct layer *l, const float *buffers)
{
    const float *w[NEURON_PARAMS_MAX] = { 0 };
    for (size_t i = 0; i < l->n_params; i++)
        if (l->params[i].buffer) w[i] = buffers + l->params[i].offset;
    if (l->u.neuron.ops->states > 0) return NULL; /* prepare may look at its weights */
    const struct neuron_run r = neuron_run_make(&l->u.neuron, w, NULL);
    return neuron_no_stream(&r);
}

static void neuron_layer_schedule(const struct layer *l, float *buffers, uint64_t epoch,
                                  uint64_t epochs)
{
    const struct neuron *n = &l->u.neuron;
    if (n->ops->schedule == NULL) return;
    float *own[NEURON_PARAMS_MAX] = { 0 };
    for (size_t i = 0; i < l->n_params; i++)
        if (l->params[i].buffer) own[i] = buffers + l->params[i].offset;
    n->ops->schedule(n, epoch, epochs, own);
}

static void neuron_layer_init(const struct layer *l, size_t i, struct philox_key key,
                              uint32_t number, float *values)
{
    neuron_init(&l->u.neuron, i, key, number, values);
}

static void neuron_layer_pack(const struct layer *l, size_t i, const float *values, float *packed)
{
    neuron_pack(&l->u.neuron, i, values, packed);
}

static void neuron_layer_unpack(const struct layer *l, size_t i, const float *packed, float *values)
{
    neuron_unpack(&l->u.neuron, i, packed, values);
}

static float neuron_layer_scale(const struct layer *l, float in, bool training)
{
    (void)l;
    (void)in;
    (void)training;
    return 1.0f;
}

const struct layer_ops neuron_layer_ops = {
    .name = "neuron",
    .reshape = neuron_layer_reshape,
    .forward = neuron_layer_forward,
    .backward_data = neuron_layer_backward_data,
    .backward_weights = neuron_layer_backward_weights,
    .init = neuron_layer_init,
    .no_stream = neuron_layer_no_stream,
    .schedule = neuron_layer_schedule,
    .pack = neuron_layer_pack,
    .unpack = neuron_layer_unpack,
    .scale = neuron_layer_scale,
};
