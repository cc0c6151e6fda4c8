/* neuron_layer: any model of neurons/ as a layer; F32 or REPEAT in, BITS out. Called through
 * layer_ops on the main thread; rows and samples are the pool's items. Nothing but the spikes is
 * saved: the backward pass runs the charge again from x (reference: kernels.md 4). */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>

static int neuron_layer_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                                struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    layer_plan_float(l, in, needs);
    const struct tensor_desc image = tensor_image(in);
    *out = tensor_make(TENSOR_BITS, in->b, in->t, image.c, image.h, image.w);
    if (in->flat_h * in->flat_w > 1) *out = tensor_flatten(out);
    l->u.neuron = neuron_make(&l->spec->u.neuron, in->t, l->isa);
    const struct neuron *n = &l->u.neuron;
    struct neuron_param params[NEURON_PARAMS_MAX];
    const size_t count = n->ops->params == NULL ? 0 : n->ops->params(n, params);
    for (size_t i = 0; i < count; i++) {
        struct layer_param p = { .name = params[i].name, .n_dims = params[i].n_dims, .floats = 1,
                                 .buffer = params[i].buffer };
        for (size_t d = 0; d < p.n_dims; d++) {
            p.dims[d] = params[i].dims[d];
            p.floats *= p.dims[d];
        }
        layer_add_param(l, needs, p);
    }
    /* totals of every shard, then the sums of one group of samples */
    needs->backward_scratch_bytes =
        (l->shards + neuron_group(n, in->b)) * neuron_sums(n) * sizeof(double);
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
    assert(t.begin == 0 && t.end == l->in.t); /* one scan over all T; state lives in registers */
    struct neuron_io io = { .x = layer_float_input(l, s, true), .spikes = s->y };
    if (s->probe != NULL) {
        io.v0 = s->probe->v0;
        io.u = s->probe->u;
        io.v = s->probe->v;
    }
    set_weights(l, s, &io);
    neuron_forward(s->kc, &l->u.neuron, &io);
}

static void neuron_layer_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    assert(t.begin == 0 && t.end == l->in.t);
    struct neuron_io io = { .x = layer_float_input(l, s, false), .ds = s->dy, .dx = s->dx[0] };
    if (s->probe != NULL) {
        io.v0 = s->probe->v0;
        io.dv = s->probe->dv;
        io.dv0 = s->probe->dv0;
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
            l->u.neuron.ops->gradient(&r, totals + s->shard * neuron_sums(&l->u.neuron), i,
                                      s->dw + l->params[i].offset);
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
    l->u.neuron.ops->init(&l->u.neuron, i, key, number, values);
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
    .schedule = neuron_layer_schedule,
    .scale = neuron_layer_scale,
};
