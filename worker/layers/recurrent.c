/* recurrent: serial neurons whose spikes come back to their input one step later. Called through
 * layer_ops on the main thread; the kernels use the pool.
 *   all_to_all    i[t] = W (x[t], y[t-1]) + b, W [n][2n]    (an image is one row of n features)
 *   element_wise  i[t] = x[t] + y[t-1]
 *   y[t] = neuron(i[t]), y before the first step 0
 * The layer walks time itself: x takes part in one product over all T, then each step adds what
 * came back and moves the neurons on. Backward goes the same way down: dL/dy[t-1] gains what step t
 * hands back, in place.
 *
 * Saved: i [B][T][n], the state after every step but the last. Scratch of the backward pass: sums
 * for the neuron's parameters, what crosses a step, dL/di, one step. */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>
#include <string.h>

static bool all_to_all(const struct layer *l)
{
    return l->spec->u.recurrent.connect == SPEC_ALL_TO_ALL;
}

static const struct spec_neuron *model_of(const struct layer *l)
{
    return &l->spec->u.recurrent.neuron;
}

/* Parameters: the neuron's, weight, bias. */
static size_t weight_at(const struct layer *l)
{
    return l->u.neuron.n_params;
}
static bool has_bias(const struct layer *l)
{
    return all_to_all(l) && l->spec->u.recurrent.bias;
}

/* ---- memory ---------------------------------------------------------------------------------- */
/* F32 [B][steps] of the neurons. */
static struct tensor_desc currents(const struct layer *l, size_t steps)
{
    return tensor_make(TENSOR_F32, l->in.b, steps, l->u.neuron.c, l->u.neuron.h, l->u.neuron.w);
}

static size_t bytes_of(const struct layer *l, size_t steps)
{
    const struct tensor_desc d = currents(l, steps);
    return mem_align(tensor_bytes(&d), 64);
}

static size_t sums_bytes(const struct layer *l)
{
    const struct neuron *n = &l->u.neuron;
    return mem_align((l->shards + neuron_group(n, l->in.b)) * neuron_sums(n) * sizeof(double), 64);
}

static struct tensor_view view_of(const struct layer *l, const struct step *s, size_t steps,
                                  unsigned char *data)
{
    struct tensor_view v = { currents(l, steps), data };
    v.desc.b = s->x[0].desc.b;
    return v;
}

static struct tensor_view saved_current(const struct layer *l, const struct step *s)
{
    return view_of(l, s, l->in.t, s->saved);
}

static struct tensor_view state_after(const struct layer *l, const struct step *s, size_t t)
{
    const size_t states = neuron_states(&l->u.neuron);
    return view_of(l, s, states, s->saved + bytes_of(l, l->in.t) + t * bytes_of(l, states));
}

/* The parts of the backward scratch; one: a step, or the sum of all where the input is REPEAT. */
struct back {
    double *sums;
    struct tensor_view flow, di, one;
};

static struct back back_of(const struct layer *l, const struct step *s)
{
    unsigned char *at = s->scratch;
    const size_t flows = neuron_flows(&l->u.neuron);
    struct back k = { .sums = (double *)(void *)at };
    at += sums_bytes(l);
    k.flow = view_of(l, s, flows, at);
    at += bytes_of(l, flows);
    k.di = view_of(l, s, l->in.t, at);
    at += bytes_of(l, l->in.t);
    k.one = view_of(l, s, 1, at);
    return k;
}

static void add_params(struct layer *l, const struct tensor_desc *in, struct layer_needs *needs)
{
    const struct neuron *n = &l->u.neuron;
    for (size_t i = 0; i < n->n_params; i++) {
        const struct neuron_param *from = &n->params[i];
        struct layer_param p = { .group = "sub_module.",
                                 .name = from->name,
                                 .n_dims = from->n_dims,
                                 .floats = from->floats };
        for (size_t d = 0; d < p.n_dims; d++) p.dims[d] = from->dims[d];
        layer_add_param(l, needs, p);
    }
    if (!all_to_all(l)) return;
    const size_t rows = in->c_stored + l->out.c_stored, columns = mem_align(n->c, 16);
    layer_add_param(l, needs,
                    (struct layer_param){ .name = "rc.weight",
                                          .dims = { n->c, 2 * n->c },
                                          .n_dims = 2,
                                          .floats = rows * columns });
    if (has_bias(l))
        layer_add_param(l, needs,
                        (struct layer_param){
                            .name = "rc.bias", .dims = { n->c }, .n_dims = 1, .floats = columns });
}

static int recurrent_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                             struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    const struct tensor_desc features = tensor_make(TENSOR_F32, in->b, in->t, in->c, 1, 1);
    l->u.neuron = neuron_make(model_of(l), all_to_all(l) ? &features : in, l->isa);
    const struct neuron *n = &l->u.neuron;
    *out = tensor_make(TENSOR_BITS, in->b, in->t, n->c, n->h, n->w);
    if (!all_to_all(l) && in->flat_h * in->flat_w > 1) *out = tensor_flatten(out);
    l->out = *out;
    l->all_steps = "its output comes back to it";
    add_params(l, in, needs);
    const size_t states = neuron_states(n);
    needs->saved_bytes = bytes_of(l, in->t) + (in->t - 1) * bytes_of(l, states);
    needs->forward_scratch_bytes = bytes_of(l, 1);
    needs->backward_scratch_bytes = sums_bytes(l) + bytes_of(l, neuron_flows(n)) +
                                    bytes_of(l, in->t) + bytes_of(l, 1);
    needs->thread_scratch_bytes = neuron_scratch_bytes(n);
    if (all_to_all(l)) needs->macs = (uint64_t)in->t * 2 * n->c * n->c;
    return 0;
}

/* ---- products -------------------------------------------------------------------------------- */
static struct tensor_view image_of(const struct tensor_view *v)
{
    return (struct tensor_view){ tensor_image(&v->desc), v->data };
}

static struct tensor_view step_of(const struct tensor_view *v, size_t t)
{
    return tensor_steps(v, (struct span){ t, t + 1 });
}

/* to += by, one step each. */
static void add_to(const struct step *s, const struct tensor_view *to, const struct tensor_view *by)
{
    connect_forward(s->kc, CONNECT_ADD, to, by, to, (struct span){ 0, 1 });
}

static void copy_to(const struct step *s, const struct tensor_view *to,
                    const struct tensor_view *from)
{
    tensor_expand(s->kc, &from->desc, from->data, &to->desc, to->data);
}

/* Rows of the packed weight for x, then those for y. */
static const float *weights_x(const struct layer *l, const struct step *s)
{
    return s->w + l->params[weight_at(l)].offset;
}

static size_t rows_x(const struct layer *l)
{
    return l->in.c_stored * mem_align(l->u.neuron.c, 16);
}

/* What x gives to every step; one step of a REPEAT gives the same to all. */
static void take_input(const struct layer *l, const struct step *s, const struct tensor_view *i)
{
    const bool once = s->x[0].desc.kind == TENSOR_REPEAT;
    const size_t t_count = l->in.t;
    struct tensor_view first = step_of(i, 0), to = once ? first : *i;
    if (all_to_all(l)) {
        const float *bias = has_bias(l) ? s->w + l->params[weight_at(l) + 1].offset : NULL;
        linear_forward(s->kc, &s->x[0].desc, s->x[0].data, weights_x(l, s), bias, &to.desc, to.data,
                       (struct span){ 0, t_count });
    } else {
        const struct tensor_view x = image_of(&s->x[0]);
        struct tensor_view from = once ? step_of(&x, 0) : x;
        copy_to(s, &to, &from);
    }
    for (size_t t = 1; once && t < t_count; t++) {
        const struct tensor_view other = step_of(i, t);
        copy_to(s, &other, &first);
    }
}

/* i[t] gains what came back from step t - 1. */
static void take_back(const struct layer *l, const struct step *s, const struct tensor_view *i,
                      size_t t)
{
    const struct tensor_view y = image_of(&s->y), before = step_of(&y, t - 1), to = step_of(i, t);
    if (!all_to_all(l)) {
        add_to(s, &to, &before);
        return;
    }
    const struct tensor_view one = view_of(l, s, 1, s->scratch);
    linear_forward(s->kc, &before.desc, before.data, weights_x(l, s) + rows_x(l), NULL, &one.desc,
                   one.data, (struct span){ 0, 1 });
    add_to(s, &to, &one);
}

static struct neuron_io io_of(const struct layer *l, const struct step *s, size_t t)
{
    struct neuron_io io = { .x = saved_current(l, s), .t = { t, t + 1 } };
    if (t > 0) io.before = state_after(l, s, t - 1);
    if (t + 1 < l->in.t) io.after = state_after(l, s, t);
    for (size_t i = 0; i < l->u.neuron.n_params; i++) io.w[i] = s->w + l->params[i].offset;
    return io;
}

static void recurrent_forward(const struct layer *l, const struct step *s, struct span t)
{
    assert(t.begin == 0 && t.end == l->in.t);
    const struct tensor_view i = saved_current(l, s);
    take_input(l, s, &i);
    for (size_t k = 0; k < t.end; k++) {
        if (k > 0) take_back(l, s, &i, k);
        struct neuron_io io = io_of(l, s, k);
        io.spikes = s->y;
        neuron_forward(s->kc, &l->u.neuron, &io);
    }
}

/* ---- backward -------------------------------------------------------------------------------- */
static void neurons_back(const struct layer *l, const struct step *s, const struct back *k,
                         size_t t)
{
    struct neuron_io io = io_of(l, s, t);
    const size_t sums = neuron_sums(&l->u.neuron);
    io.ds = s->dy;
    io.dx = k->di;
    if (l->in.t > 1) io.flow = k->flow;
    for (size_t i = 0; i < s->shards; i++)
        neuron_backward(s->kc, &l->u.neuron, &io, step_shard(s, i), k->sums + i * sums,
                        k->sums + s->shards * sums);
}

/* dL/dy[t-1] gains what i[t] hands back. */
static void hand_back(const struct layer *l, const struct step *s, const struct back *k, size_t t)
{
    const struct tensor_view dy = image_of(&s->dy), to = step_of(&dy, t - 1);
    const struct tensor_view di = step_of(&k->di, t), y = image_of(&s->y), one = k->one;
    if (!all_to_all(l)) {
        add_to(s, &to, &di);
        return;
    }
    linear_backward_data(s->kc, &di.desc, di.data, weights_x(l, s) + rows_x(l), &y.desc, &one.desc,
                         one.data, (struct span){ 0, 1 });
    add_to(s, &to, &one);
}

/* dL/di as x sees it: of a REPEAT the sum over t ascending. */
static struct tensor_view seen_by_input(const struct layer *l, const struct step *s,
                                        const struct back *k, bool sum)
{
    if (s->x[0].desc.kind != TENSOR_REPEAT) return k->di;
    for (size_t t = 0; sum && t < l->in.t; t++) {
        const struct tensor_view di = step_of(&k->di, t);
        if (t == 0) copy_to(s, &k->one, &di);
        else add_to(s, &k->one, &di);
    }
    return k->one;
}

static void recurrent_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    assert(t.begin == 0 && t.end == l->in.t);
    const struct back k = back_of(l, s);
    for (size_t i = t.end; i-- > 0;) {
        neurons_back(l, s, &k, i);
        if (i > 0) hand_back(l, s, &k, i);
    }
    const struct tensor_view di = seen_by_input(l, s, &k, true);
    if (s->dx[0].data == NULL) return;
    if (all_to_all(l)) {
        linear_backward_data(s->kc, &di.desc, di.data, weights_x(l, s), &s->x[0].desc,
                             &s->dx[0].desc, s->dx[0].data, (struct span){ 0, di.desc.t });
        return;
    }
    struct tensor_view dx = image_of(&s->dx[0]);
    copy_to(s, &dx, &di);
}

static void weights_back(const struct layer *l, const struct step *s, const struct back *k)
{
    const struct span b = step_shard(s, s->shard), steps = { 0, l->in.t - 1 };
    const struct tensor_view di = seen_by_input(l, s, k, false), y = image_of(&s->y);
    const struct layer_param *w = &l->params[weight_at(l)];
    float *dw = s->dw + w->offset;
    linear_backward_weights(s->kc, &s->x[0].desc, s->x[0].data, &di.desc, di.data, b, dw);
    if (l->in.t == 1) {
        memset(dw + rows_x(l), 0, (w->floats - rows_x(l)) * sizeof dw[0]);
    } else {
        const struct tensor_view before = tensor_steps(&y, steps);
        const struct tensor_view after = tensor_steps(&k->di, (struct span){ 1, l->in.t });
        linear_backward_weights(s->kc, &before.desc, before.data, &after.desc, after.data, b,
                                dw + rows_x(l));
    }
    if (has_bias(l))
        bias_backward(s->kc, &k->di.desc, k->di.data, b,
                      s->dw + l->params[weight_at(l) + 1].offset);
}

static void recurrent_backward_weights(const struct layer *l, const struct step *s)
{
    const struct neuron *n = &l->u.neuron;
    const struct back k = back_of(l, s);
    const struct neuron_io io = io_of(l, s, 0);
    const struct neuron_run r = neuron_run_make(n, io.w, NULL);
    for (size_t i = 0; i < n->n_params; i++)
        neuron_gradient(&r, k.sums + s->shard * neuron_sums(n), i, s->dw + l->params[i].offset);
    if (all_to_all(l)) weights_back(l, s, &k);
}

/* ---- parameters ------------------------------------------------------------------------------ */
static void recurrent_init(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                           float *values)
{
    const size_t n = l->u.neuron.c;
    const struct layer_fan fan = { 2 * n, n };
    if (i < weight_at(l)) neuron_init(&l->u.neuron, i, key, number, values);
    else layer_init_weights(l, i, SPEC_INIT_UNIFORM, fan, key, number, values);
}

/* Row of the packed weight of PyTorch's column j: x, then y. */
static size_t row_of(const struct layer *l, size_t j)
{
    const size_t n = l->u.neuron.c;
    return j < n ? layer_feature(&l->in, j) : l->in.c_stored + j - n;
}

static void recurrent_pack(const struct layer *l, size_t i, const float *values, float *packed)
{
    const size_t n = l->u.neuron.c, columns = mem_align(n, 16);
    if (i < weight_at(l)) {
        neuron_pack(&l->u.neuron, i, values, packed);
        return;
    }
    if (i > weight_at(l)) {
        layer_pack_plain(l, i, values, packed);
        return;
    }
    memset(packed, 0, l->params[i].floats * sizeof packed[0]);
    for (size_t j = 0; j < 2 * n; j++)
        for (size_t k = 0; k < n; k++) packed[row_of(l, j) * columns + k] = values[k * 2 * n + j];
}

static void recurrent_unpack(const struct layer *l, size_t i, const float *packed, float *values)
{
    const size_t n = l->u.neuron.c, columns = mem_align(n, 16);
    if (i < weight_at(l)) {
        neuron_unpack(&l->u.neuron, i, packed, values);
        return;
    }
    if (i > weight_at(l)) {
        layer_unpack_plain(l, i, packed, values);
        return;
    }
    for (size_t j = 0; j < 2 * n; j++)
        for (size_t k = 0; k < n; k++) values[k * 2 * n + j] = packed[row_of(l, j) * columns + k];
}

static float recurrent_scale(const struct layer *l, float in, bool training)
{
    (void)l;
    (void)in;
    (void)training;
    return 1.0f;
}

const struct layer_ops recurrent_ops = {
    .name = "recurrent",
    .all_steps = "its output comes back to it",
    .reshape = recurrent_reshape,
    .forward = recurrent_forward,
    .backward_data = recurrent_backward_data,
    .backward_weights = recurrent_backward_weights,
    .init = recurrent_init,
    .pack = recurrent_pack,
    .unpack = recurrent_unpack,
    .scale = recurrent_scale,
};
