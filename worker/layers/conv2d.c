/* conv2d: 2-d convolution over every image of [T, B] (PyTorch's Conv2d). Called through layer_ops
 * on the main thread; the kernels use the pool. A REPEAT input gives a REPEAT output. */
#include "worker/layers/layer_kinds.h"

#include <assert.h>

enum { CONV_WEIGHT, CONV_BIAS };

static struct conv_shape shape_of(const struct spec_conv2d *p, const struct tensor_desc *in,
                                  const struct spec_shape *out)
{
    return (struct conv_shape){
        .c = in->c, .h = in->h, .w = in->w,
        .k = (size_t)out->c, .oh = (size_t)out->h, .ow = (size_t)out->w,
        .r = (size_t)p->kernel_size[0], .s = (size_t)p->kernel_size[1],
        .stride_h = (size_t)p->stride[0], .stride_w = (size_t)p->stride[1],
        .pad_h = (size_t)p->padding[0], .pad_w = (size_t)p->padding[1],
        .dil_h = (size_t)p->dilation[0], .dil_w = (size_t)p->dilation[1],
        .groups = (size_t)p->groups,
    };
}

static int conv2d_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                          struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    const struct spec_conv2d *p = &l->spec->u.conv2d;
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    if (in->flat_h * in->flat_w > 1)
        return err_set(e, ERR_SPEC, "a convolution cannot follow flatten");
    l->u.conv = shape_of(p, in, &shape);
    const struct conv_shape *cs = &l->u.conv;
    enum tensor_kind kind = in->kind == TENSOR_REPEAT ? TENSOR_REPEAT : TENSOR_F32;
    *out = tensor_make(kind, in->b, in->t, cs->k, cs->oh, cs->ow);
    layer_add_param(l, needs,
                    (struct layer_param){ .name = "weight",
                                          .dims = { cs->k, cs->c / cs->groups, cs->r, cs->s },
                                          .n_dims = 4,
                                          .floats = conv_weight_floats(cs) });
    if (p->bias)
        layer_add_param(l, needs, (struct layer_param){ .name = "bias", .dims = { cs->k },
                                                        .n_dims = 1, .floats = cs->k });
    needs->backward_scratch_bytes = conv_weight_t_floats(cs) * sizeof(float);
    needs->thread_scratch_bytes = conv_thread_scratch(cs, in);
    needs->thread_scratch_bytes = conv_thread_scratch(cs, in);
    needs->macs = (uint64_t)out->t_stored * cs->k * cs->oh * cs->ow * (cs->c / cs->groups) *
                  cs->r * cs->s;
    needs->gradient_blocked = true;
    return 0;
}

static const float *bias_of(const struct layer *l, const struct step *s)
{
    return l->n_params > CONV_BIAS ? s->w + l->params[CONV_BIAS].offset : NULL;
}

static void conv2d_forward(const struct layer *l, const struct step *s, struct span t)
{
    conv_forward(s->kc, &l->u.conv, &s->x[0].desc, s->x[0].data, s->w, bias_of(l, s), &s->y.desc,
                 s->y.data, t);
}

static void conv2d_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    if (s->dx[0].data == NULL) return;
    float *wt = (float *)(void *)s->scratch;
    conv_transpose(s->kc, &l->u.conv, s->w, wt);
    conv_backward_data(s->kc, &l->u.conv, &s->dy.desc, s->dy.data, wt, 1.0f, &s->dx[0].desc,
                       s->dx[0].data, t);
}

static void conv2d_backward_weights(const struct layer *l, const struct step *s)
{
    struct span b = step_shard(s, s->shard);
    conv_backward_weights(s->kc, &l->u.conv, &s->x[0].desc, s->x[0].data, &s->dy.desc, s->dy.data,
                          b, s->dw);
    if (l->n_params > CONV_BIAS)
        bias_backward(s->kc, &s->dy.desc, s->dy.data, b, s->dw + l->params[CONV_BIAS].offset);
}

static void conv2d_init(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                        float *values)
{
    const struct conv_shape *cs = &l->u.conv;
    layer_init_uniform(cs->c / cs->groups * cs->r * cs->s, key, number, values,
                       l->params[i].logical);
}

static void conv2d_pack(const struct layer *l, size_t i, const float *values, float *packed)
{
    if (i == CONV_WEIGHT) conv_pack(&l->u.conv, values, packed);
    else layer_pack_plain(l, i, values, packed);
}

static void conv2d_unpack(const struct layer *l, size_t i, const float *packed, float *values)
{
    if (i == CONV_WEIGHT) conv_unpack(&l->u.conv, packed, values);
    else layer_unpack_plain(l, i, packed, values);
}

const struct layer_ops conv2d_ops = {
    .name = "conv2d",
    .reshape = conv2d_reshape,
    .forward = conv2d_forward,
    .backward_data = conv2d_backward_data,
    .backward_weights = conv2d_backward_weights,
    .init = conv2d_init,
    .pack = conv2d_pack,
    .unpack = conv2d_unpack,
};
