/* linear: dense layer on the features of every image of [T, B] (PyTorch's Linear). Called through
 * layer_ops on the main thread; the kernels use the pool. Weights lie by physical input feature, so
 * the flatten permutation is paid at load and save only. */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>
#include <string.h>

enum { LINEAR_WEIGHT, LINEAR_BIAS };

/* What the weights' rows are in the order of. */
static const struct tensor_desc *features(const struct layer *l)
{
    return l->expands ? &l->in_float : &l->in;
}

static int linear_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                          struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    enum tensor_kind kind = in->kind == TENSOR_REPEAT ? TENSOR_REPEAT : TENSOR_F32;
    const size_t k = (size_t)shape.c;
    if (l->path == KERNEL_PATH_DENSE) layer_plan_float(l, in, needs);
    *out = tensor_make(kind, in->b, in->t, k, 1, 1);
    const size_t floats = features(l)->c_stored * out->c_stored;
    layer_add_param(l, needs, (struct layer_param){ .name = "weight", .dims = { k, in->c },
                                                    .n_dims = 2, .floats = floats });
    if (l->spec->u.linear.bias)
        layer_add_param(l, needs, (struct layer_param){ .name = "bias", .dims = { k },
                                                        .n_dims = 1, .floats = k });
    needs->macs = (uint64_t)out->t_stored * in->c * k;
    return 0;
}

static void linear_layer_forward(const struct layer *l, const struct step *s, struct span t)
{
    const float *bias = l->n_params > LINEAR_BIAS ? s->w + l->params[LINEAR_BIAS].offset : NULL;
    const struct tensor_view x = layer_dense_input(l, s, t);
    linear_forward(s->kc, &x.desc, x.data, s->w, bias, &s->y.desc, s->y.data, t);
}

static void linear_layer_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    if (s->dx[0].data == NULL) return;
    linear_backward_data(s->kc, &s->dy.desc, s->dy.data, s->w, features(l), &s->dx[0].desc,
                         s->dx[0].data, t);
}

static void linear_layer_backward_weights(const struct layer *l, const struct step *s)
{
    struct span b = step_shard(s, s->shard);
    const struct tensor_view x = layer_dense_input(l, s, LAYER_NO_STEPS);
    linear_backward_weights(s->kc, &x.desc, x.data, &s->dy.desc, s->dy.data, b, s->dw);
    if (l->n_params > LINEAR_BIAS)
        bias_backward(s->kc, &s->dy.desc, s->dy.data, b, s->dw + l->params[LINEAR_BIAS].offset);
}

static void linear_init(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                        float *values)
{
    const struct layer_fan fan = { l->in.c, l->out.c };
    layer_init_weights(l, i, (enum spec_init)l->spec->u.linear.init, fan, key, number, values);
}

/* PyTorch [out][in] <-> packed [physical in][out_stored]. */
static void linear_pack(const struct layer *l, size_t i, const float *values, float *packed)
{
    if (i != LINEAR_WEIGHT) {
        layer_pack_plain(l, i, values, packed);
        return;
    }
    memset(packed, 0, l->params[i].floats * sizeof packed[0]);
    for (size_t j = 0; j < l->in.c; j++) {
        float *row = packed + layer_feature(features(l), j) * l->out.c_stored;
        for (size_t k = 0; k < l->out.c; k++) row[k] = values[k * l->in.c + j];
    }
}

static void linear_unpack(const struct layer *l, size_t i, const float *packed, float *values)
{
    if (i != LINEAR_WEIGHT) {
        layer_unpack_plain(l, i, packed, values);
        return;
    }
    for (size_t j = 0; j < l->in.c; j++) {
        const float *row = packed + layer_feature(features(l), j) * l->out.c_stored;
        for (size_t k = 0; k < l->out.c; k++) values[k * l->in.c + j] = row[k];
    }
}

const struct layer_ops linear_ops = {
    .name = "linear",
    .reshape = linear_reshape,
    .forward = linear_layer_forward,
    .backward_data = linear_layer_backward_data,
    .backward_weights = linear_layer_backward_weights,
    .init = linear_init,
    .pack = linear_pack,
    .unpack = linear_unpack,
};
