/* recurrent: where the output of a body comes back to its input, one step later. Called through
 * layer_ops on the main thread; the kernels use the pool.
 *   all_to_all    i[t] = W (x[t], y[t-1]) + b, W [in][in + out]   (an image is a row of features)
 *   element_wise  i[t] = x[t] + y[t-1]
 *   y before the first step 0
 * The layer is the joining point alone: its output is i, layers behind it give y[t] of i[t], and
 * the net walks all of them step by step (nets/time_first.c). So a call is one step; x[1] is what
 * came back to it, one step of y, and dx[1] where its gradient goes; data NULL at the first step.
 * backward_weights sees all y in x[1].
 *
 * Backward scratch: of a repeated x the sum of dL/di over time, which W and x see. */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>
#include <string.h>

enum { IN_X, IN_BACK };
enum { RC_WEIGHT, RC_BIAS };

static bool all_to_all(const struct layer *l)
{
    return l->spec->u.recurrent.connect == SPEC_ALL_TO_ALL;
}

/* ---- memory ---------------------------------------------------------------------------------- */
/* F32 [B][1] like i. */
static struct tensor_desc one_step(const struct layer *l)
{
    const struct tensor_desc image = tensor_image(&l->out);
    return tensor_make(TENSOR_F32, l->in.b, 1, image.c, image.h, image.w);
}

static struct tensor_view one_of(const struct layer *l, const struct step *s)
{
    struct tensor_view v = { one_step(l), s->scratch };
    v.desc.b = s->x[IN_X].desc.b;
    return v;
}

static int check_back(const struct layer *l, const struct tensor_desc *back, struct err *e)
{
    const struct tensor_desc a = tensor_image(&l->in), b = tensor_image(back);
    if (all_to_all(l) && back->h * back->w > 1)
        return err_set(e, ERR_SPEC, "the body gives an image of %zux%zux%zu: flatten it", back->c,
                       back->h, back->w);
    if (all_to_all(l) || (a.c == b.c && a.h == b.h && a.w == b.w && l->in.h == back->h)) return 0;
    return err_set(e, ERR_SPEC, "the body gives %zux%zux%zu, its input is %zux%zux%zu", back->c,
                   back->h, back->w, l->in.c, l->in.h, l->in.w);
}

static void add_params(struct layer *l, const struct tensor_desc *back, struct layer_needs *needs)
{
    const size_t rows = l->in.c_stored + back->c_stored, columns = l->out.c_stored;
    layer_add_param(l, needs, (struct layer_param){ .name = "weight",
                                                    .dims = { l->in.c, l->in.c + back->c },
                                                    .n_dims = 2, .floats = rows * columns });
    if (l->spec->u.recurrent.bias)
        layer_add_param(l, needs, (struct layer_param){ .name = "bias", .dims = { l->in.c },
                                                        .n_dims = 1, .floats = columns });
}

/* First without what comes back, for the shape of i; then with it, for all the rest. */
static int recurrent_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                             struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    const struct tensor_desc image = tensor_image(in);
    *out = all_to_all(l) ? tensor_make(TENSOR_F32, in->b, in->t, in->c, 1, 1)
                         : tensor_make(TENSOR_F32, in->b, in->t, image.c, image.h, image.w);
    if (!all_to_all(l) && in->flat_h * in->flat_w > 1) *out = tensor_flatten(out);
    if (n_in == 1) return 0;
    l->out = *out;
    l->u.recurrent.back = in[IN_BACK];
    if (check_back(l, &in[IN_BACK], e) != 0) return (int)e->code;
    if (all_to_all(l)) {
        const size_t t_count = in->kind == TENSOR_REPEAT ? l->time_steps : in->t;
        add_params(l, &in[IN_BACK], needs);
        needs->macs = (in->t_stored * in->c + t_count * in[IN_BACK].c) * in->c;
    }
    const struct tensor_desc one = one_step(l);
    needs->forward_scratch_bytes = all_to_all(l) ? tensor_bytes(&one) : 0;
    needs->backward_scratch_bytes = in->kind == TENSOR_REPEAT ? tensor_bytes(&one) : 0;
    return 0;
}

/* ---- forward --------------------------------------------------------------------------------- */
static const float *weights_x(const struct layer *l, const struct step *s)
{
    return s->w + l->params[RC_WEIGHT].offset;
}

/* Floats of W's rows for x; those for y follow. */
static size_t rows_x(const struct layer *l)
{
    return l->in.c_stored * l->out.c_stored;
}

/* Every product is one of a single step, in a stream too (kernels/order.h). */
static struct kernel_ctx plain_ctx(const struct step *s)
{
    struct kernel_ctx kc = *s->kc;
    kc.first_step = 0;
    return kc;
}

#define ONE_STEP ((struct span){ 0, 1 })

/* What x gives to step t, W x + b or a copy. */
static void take_input(const struct layer *l, const struct step *s, const struct tensor_view *to,
                       struct span t)
{
    const struct tensor_view x = tensor_steps(&s->x[IN_X], t);
    const struct tensor_view first = tensor_steps(&s->y, ONE_STEP);
    const bool again = l->in.kind == TENSOR_REPEAT && !l->stream && t.begin > 0;
    if (again || !all_to_all(l)) {
        const struct tensor_view *from = again ? &first : &x; /* step 0 is W x + b alone */
        tensor_expand(s->kc, &from->desc, from->data, &to->desc, to->data);
        return;
    }
    const float *bias = l->n_params > RC_BIAS ? s->w + l->params[RC_BIAS].offset : NULL;
    const struct kernel_ctx kc = plain_ctx(s);
    linear_forward(&kc, &x.desc, x.data, weights_x(l, s), bias, &to->desc, to->data, ONE_STEP);
}

static void recurrent_forward(const struct layer *l, const struct step *s, struct span t)
{
    assert(t.end == t.begin + 1);
    const struct tensor_view to = tensor_steps(&s->y, t), *back = &s->x[IN_BACK];
    take_input(l, s, &to, t);
    if (back->data == NULL) return;
    if (!all_to_all(l)) {
        connect_forward(s->kc, CONNECT_ADD, &to, back, &to, ONE_STEP);
        return;
    }
    const struct tensor_view one = one_of(l, s);
    const struct kernel_ctx kc = plain_ctx(s);
    linear_forward(&kc, &back->desc, back->data, weights_x(l, s) + rows_x(l), NULL, &one.desc,
                   one.data, ONE_STEP);
    connect_forward(s->kc, CONNECT_ADD, &to, &one, &to, ONE_STEP);
}

/* ---- backward -------------------------------------------------------------------------------- */
static void hand_back(const struct layer *l, const struct step *s, const struct tensor_view *di)
{
    const struct tensor_view *dy = &s->dx[IN_BACK];
    if (dy->data == NULL) return;
    if (all_to_all(l)) {
        const struct kernel_ctx kc = plain_ctx(s);
        linear_backward_data(&kc, &di->desc, di->data, weights_x(l, s) + rows_x(l),
                             &l->u.recurrent.back, &dy->desc, dy->data, ONE_STEP);
    } else {
        tensor_expand(s->kc, &di->desc, di->data, &dy->desc, dy->data);
    }
}

/* dL/di as a repeated x sees it: the sum over t ascending. */
static struct tensor_view sum_of_steps(const struct layer *l, const struct step *s)
{
    const struct tensor_view one = one_of(l, s);
    for (size_t t = 0; t < l->out.t; t++) {
        const struct tensor_view di = tensor_steps(&s->dy, (struct span){ t, t + 1 });
        if (t == 0) tensor_expand(s->kc, &di.desc, di.data, &one.desc, one.data);
        else connect_forward(s->kc, CONNECT_ADD, &one, &di, &one, ONE_STEP);
    }
    return one;
}

static void recurrent_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    assert(t.end == t.begin + 1);
    const bool repeat = l->in.kind == TENSOR_REPEAT;
    struct tensor_view di = tensor_steps(&s->dy, t);
    hand_back(l, s, &di);
    if (repeat && t.begin > 0) return; /* the sum is there with the last call */
    if (repeat) di = sum_of_steps(l, s);
    if (s->dx[IN_X].data == NULL) return;
    const struct tensor_view dx = tensor_steps(&s->dx[IN_X], t);
    if (all_to_all(l)) {
        const struct kernel_ctx kc = plain_ctx(s);
        linear_backward_data(&kc, &di.desc, di.data, weights_x(l, s), &s->x[IN_X].desc, &dx.desc,
                             dx.data, ONE_STEP);
    } else {
        tensor_expand(s->kc, &di.desc, di.data, &dx.desc, dx.data);
    }
}

static void recurrent_backward_weights(const struct layer *l, const struct step *s)
{
    const struct span b = step_shard(s, s->shard), before = { 0, l->out.t - 1 };
    const struct tensor_view di = l->in.kind == TENSOR_REPEAT ? one_of(l, s) : s->dy;
    float *dw = s->dw + l->params[RC_WEIGHT].offset, *dw_y = dw + rows_x(l);
    linear_backward_weights(s->kc, &s->x[IN_X].desc, s->x[IN_X].data, &di.desc, di.data, b, dw);
    if (l->out.t == 1) {
        memset(dw_y, 0, (l->params[RC_WEIGHT].floats - rows_x(l)) * sizeof dw_y[0]);
    } else {
        const struct tensor_view y = tensor_steps(&s->x[IN_BACK], before);
        const struct tensor_view after = tensor_steps(&s->dy, (struct span){ 1, l->out.t });
        linear_backward_weights(s->kc, &y.desc, y.data, &after.desc, after.data, b, dw_y);
    }
    if (l->n_params > RC_BIAS)
        bias_backward(s->kc, &s->dy.desc, s->dy.data, b, s->dw + l->params[RC_BIAS].offset);
}

/* ---- parameters ------------------------------------------------------------------------------ */
static void recurrent_init(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                           float *values)
{
    const struct layer_fan fan = { l->in.c + l->u.recurrent.back.c, l->in.c };
    layer_init_weights(l, i, SPEC_INIT_UNIFORM, fan, key, number, values);
}

/* Row of the packed weight of PyTorch's column j: x, then y. */
static size_t row_of(const struct layer *l, size_t j)
{
    const size_t n = l->in.c;
    return j < n ? layer_feature(&l->in, j)
                 : l->in.c_stored + layer_feature(&l->u.recurrent.back, j - n);
}

static void recurrent_pack(const struct layer *l, size_t i, const float *values, float *packed)
{
    const size_t n = l->in.c, columns = n + l->u.recurrent.back.c;
    if (i != RC_WEIGHT) {
        layer_pack_plain(l, i, values, packed);
        return;
    }
    memset(packed, 0, l->params[i].floats * sizeof packed[0]);
    for (size_t j = 0; j < columns; j++)
        for (size_t k = 0; k < n; k++)
            packed[row_of(l, j) * l->out.c_stored + k] = values[k * columns + j];
}

static void recurrent_unpack(const struct layer *l, size_t i, const float *packed, float *values)
{
    const size_t n = l->in.c, columns = n + l->u.recurrent.back.c;
    if (i != RC_WEIGHT) {
        layer_unpack_plain(l, i, packed, values);
        return;
    }
    for (size_t j = 0; j < columns; j++)
        for (size_t k = 0; k < n; k++)
            values[k * columns + j] = packed[row_of(l, j) * l->out.c_stored + k];
}

const struct layer_ops recurrent_ops = {
    .name = "recurrent",
    .reshape = recurrent_reshape,
    .forward = recurrent_forward,
    .backward_data = recurrent_backward_data,
    .backward_weights = recurrent_backward_weights,
    .init = recurrent_init,
    .pack = recurrent_pack,
    .unpack = recurrent_unpack,
};
