/* conv2d: 2-d convolution over every image of [T, B] (PyTorch's Conv2d), and conv1d, which is one
 * of height 1. Called through layer_ops on the main thread; the kernels use the pool. A REPEAT
 * input gives a REPEAT output.
 *
 * With weight_standardization the weights that the kernels see are made of the learned ones and a
 * gain in each forward pass and lie in saved (weight_standard.h). */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"
#include "worker/layers/weight_standard.h"

#include <assert.h>
#include <string.h>

enum { CONV_WEIGHT, CONV_BIAS }; /* the gain is the last parameter */

static bool standardised(const struct layer *l)
{
    return l->spec->type == SPEC_CONV2D && l->spec->u.conv2d.weight_standardization;
}

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

/* Standardised weights in saved; plain order of weights in scratch: two forward, and backward the
 * packed gradient and three. */
static void plan_standard(struct layer *l, struct layer_needs *needs)
{
    const struct conv_shape *cs = &l->u.conv;
    layer_add_param(l, needs, (struct layer_param){ .name = "gain", .dims = { cs->k, 1, 1, 1 },
                                                    .n_dims = 4, .floats = cs->k });
    const size_t packed = mem_align(l->params[CONV_WEIGHT].floats * sizeof(float), 64);
    const size_t plain = mem_align(l->params[CONV_WEIGHT].logical * sizeof(float), 64);
    needs->saved_bytes += packed;
    needs->forward_scratch_bytes = 2 * plain;
    if (packed + 3 * plain > needs->backward_scratch_bytes)
        needs->backward_scratch_bytes = packed + 3 * plain;
}

static int conv2d_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                          struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    const struct spec_conv2d p = spec_conv_of(l->spec);
    const bool flat = l->spec->type == SPEC_CONV1D; /* its weights have no height */
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    if (in->flat_h * in->flat_w > 1)
        return err_set(e, ERR_SPEC, "a convolution cannot follow flatten");
    if (l->path == KERNEL_PATH_DENSE) layer_plan_float(l, in, needs);
    l->u.conv = shape_of(&p, in, &shape);
    const struct conv_shape *cs = &l->u.conv;
    enum tensor_kind kind = in->kind == TENSOR_REPEAT ? TENSOR_REPEAT : TENSOR_F32;
    *out = tensor_make(kind, in->b, in->t, cs->k, cs->oh, cs->ow);
    layer_add_param(l, needs,
                    (struct layer_param){ .name = "weight",
                                          .dims = { cs->k, cs->c / cs->groups,
                                                    flat ? cs->s : cs->r, flat ? 1 : cs->s },
                                          .n_dims = flat ? 3 : 4,
                                          .floats = conv_weight_floats(cs) });
    if (p.bias)
        layer_add_param(l, needs, (struct layer_param){ .name = "bias", .dims = { cs->k },
                                                        .n_dims = 1, .floats = cs->k });
    needs->backward_scratch_bytes = conv_weight_t_floats(cs, l->path) * sizeof(float);
    if (standardised(l)) plan_standard(l, needs);
    needs->thread_scratch_bytes = conv_thread_scratch(cs, l->expands ? &l->in_float : in, l->path);
    needs->macs = (uint64_t)out->t_stored * cs->k * cs->oh * cs->ow * (cs->c / cs->groups) *
                  cs->r * cs->s;
    needs->gradient_blocked = true;
    return 0;
}

static bool has_bias(const struct layer *l)
{
    return l->n_params > CONV_BIAS && strcmp(l->params[CONV_BIAS].name, "bias") == 0;
}

static const float *bias_of(const struct layer *l, const struct step *s)
{
    return has_bias(l) ? s->w + l->params[CONV_BIAS].offset : NULL;
}

/* What the kernels multiply with. */
static const float *weights_of(const struct layer *l, const struct step *s)
{
    return standardised(l) ? (const float *)layer_saved(l, s) : s->w;
}

/* Weights of an output channel, and the plain orders in scratch. */
struct plain {
    size_t k, n;
    const float *gain;
    float *parts[3];
};

static struct plain plain_of(const struct layer *l, const struct step *s, unsigned char *at)
{
    const struct layer_param *w = &l->params[CONV_WEIGHT];
    struct plain p = { .k = l->u.conv.k, .n = w->logical / l->u.conv.k,
                       .gain = s->w + l->params[l->n_params - 1].offset };
    for (size_t i = 0; i < 3; i++)
        p.parts[i] = (float *)(void *)(at + i * mem_align(w->logical * sizeof(float), 64));
    return p;
}

static void standardise(const struct layer *l, const struct step *s)
{
    const struct plain p = plain_of(l, s, s->scratch);
    conv_unpack(&l->u.conv, s->w, p.parts[0]);
    weight_standard(p.parts[0], p.gain, p.k, p.n, p.parts[1]);
    conv_pack(&l->u.conv, p.parts[1], layer_saved(l, s));
}

static void standardise_back(const struct layer *l, const struct step *s, float *packed)
{
    unsigned char *at = (unsigned char *)packed;
    const size_t bytes = mem_align(l->params[CONV_WEIGHT].floats * sizeof(float), 64);
    const struct plain p = plain_of(l, s, at + bytes);
    float *dgain = s->dw + l->params[l->n_params - 1].offset;
    conv_unpack(&l->u.conv, s->w, p.parts[0]);
    conv_unpack(&l->u.conv, packed, p.parts[1]);
    memset(dgain, 0, l->params[l->n_params - 1].floats * sizeof dgain[0]);
    weight_standard_backward(p.parts[0], p.gain, p.parts[1], p.k, p.n, p.parts[2], dgain);
    conv_pack(&l->u.conv, p.parts[2], s->dw);
}

static void conv2d_forward(const struct layer *l, const struct step *s, struct span t)
{
    if (standardised(l) && t.begin == 0) standardise(l, s);
    const struct tensor_view x = layer_dense_input(l, s, t);
    conv_forward(s->kc, &l->u.conv, &x.desc, x.data, weights_of(l, s), bias_of(l, s), &s->y.desc,
                 s->y.data, t);
}

static void conv2d_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    if (s->dx[0].data == NULL) return;
    float *wt = (float *)(void *)s->scratch;
    if (t.end == l->in.t) conv_transpose(s->kc, &l->u.conv, weights_of(l, s), wt);
    conv_backward_data(s->kc, &l->u.conv, &s->dy.desc, s->dy.data, wt, 1.0f, &s->dx[0].desc,
                       s->dx[0].data, t);
}

static void conv2d_backward_weights(const struct layer *l, const struct step *s)
{
    struct span b = step_shard(s, s->shard);
    float *dw = standardised(l) ? (float *)(void *)s->scratch : s->dw;
    const struct tensor_view x = layer_dense_input(l, s, LAYER_NO_STEPS);
    conv_backward_weights(s->kc, &l->u.conv, &x.desc, x.data, &s->dy.desc, s->dy.data, b, dw);
    if (standardised(l)) standardise_back(l, s, dw);
    if (has_bias(l))
        bias_backward(s->kc, &s->dy.desc, s->dy.data, b, s->dw + l->params[CONV_BIAS].offset);
}

static void conv2d_init(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                        float *values)
{
    const struct conv_shape *cs = &l->u.conv;
    if (standardised(l) && i == l->n_params - 1) {
        for (size_t j = 0; j < l->params[i].logical; j++) values[j] = 1.0f;
        return;
    }
    const struct layer_fan fan = { cs->c / cs->groups * cs->r * cs->s, cs->k * cs->r * cs->s };
    layer_init_weights(l, i, (enum spec_init)spec_conv_of(l->spec).init, fan, key, number, values);
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

const struct layer_ops conv1d_ops = {
    .name = "conv1d",
    .reshape = conv2d_reshape,
    .forward = conv2d_forward,
    .backward_data = conv2d_backward_data,
    .backward_weights = conv2d_backward_weights,
    .init = conv2d_init,
    .pack = conv2d_pack,
    .unpack = conv2d_unpack,
};
