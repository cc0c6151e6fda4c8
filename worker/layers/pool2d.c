/* pool2d: max and average pooling of every image of [T, B] (PyTorch's MaxPool2d, AvgPool2d). Called
 * through layer_ops on the main thread; the kernels use the pool. Spikes stay spikes: the maximum
 * of bits is bits, their average is COUNT8 with a scale where one divisor fits all windows. */
#include "worker/layers/layer_kinds.h"

#include <assert.h>

/* The spec's stride 0 means: as large as the window. */
static size_t stride_of(const struct spec_pool2d *p, size_t axis)
{
    return (size_t)(p->stride[axis] != 0 ? p->stride[axis] : p->kernel_size[axis]);
}

static struct pool_shape shape_of(const struct spec_pool2d *p, const struct tensor_desc *in,
                                  const struct spec_shape *out)
{
    return (struct pool_shape){
        .h = in->h, .w = in->w, .oh = (size_t)out->h, .ow = (size_t)out->w,
        .kh = (size_t)p->kernel_size[0], .kw = (size_t)p->kernel_size[1],
        .stride_h = stride_of(p, 0), .stride_w = stride_of(p, 1),
        .pad_h = (size_t)p->padding[0], .pad_w = (size_t)p->padding[1],
        .dil_h = (size_t)p->dilation[0], .dil_w = (size_t)p->dilation[1],
        .count_include_pad = p->count_include_pad,
    };
}

static int pool_reshape(struct layer *l, const struct tensor_desc *in, struct layer_needs *needs,
                        struct spec_shape *shape, struct err *e)
{
    if (layer_shape(l, in, shape, e) != 0) return (int)e->code;
    if (in->flat_h * in->flat_w > 1)
        return err_set(e, ERR_SPEC, "2-d pooling cannot follow flatten");
    l->u.pool = shape_of(&l->spec->u.pool, in, shape);
    needs->macs = 0; /* comparisons and additions only */
    return 0;
}

/* ---- maximum --------------------------------------------------------------------------------- */
static int max_pool_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                            struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (pool_reshape(l, in, needs, &shape, e) != 0) return (int)e->code;
    if (in->kind == TENSOR_COUNT8 && in->scaled) layer_plan_float(l, in, needs);
    enum tensor_kind kind = l->expands ? TENSOR_F32 : in->kind;
    *out = tensor_make(kind, in->b, in->t, in->c, (size_t)shape.h, (size_t)shape.w);
    if (kind == TENSOR_F32 || kind == TENSOR_REPEAT) return 0;
    out->scale = in->scale;
    out->largest = in->largest;
    out->scaled = in->scaled;
    return 0;
}

static void max_pool_layer_forward(const struct layer *l, const struct step *s, struct span t)
{
    const struct tensor_view x = layer_float_input(l, s, t);
    max_pool_forward(s->kc, &l->u.pool, &x.desc, x.data, &s->y.desc, s->y.data, t);
}

static void max_pool_layer_backward(const struct layer *l, const struct step *s, struct span t)
{
    if (s->dx[0].data == NULL) return;
    const struct tensor_view x = layer_float_input(l, s, LAYER_NO_STEPS);
    max_pool_backward(s->kc, &l->u.pool, &x.desc, x.data, &s->dy.desc, s->dy.data, &s->dx[0].desc,
                      s->dx[0].data, t);
}

const struct layer_ops max_pool2d_ops = {
    .name = "max_pool2d",
    .reshape = max_pool_reshape,
    .forward = max_pool_layer_forward,
    .backward_data = max_pool_layer_backward,
};

/* ---- average --------------------------------------------------------------------------------- */
/* Every window has the divisor kh*kw: none is cut at the edge of what counts. */
static bool divisor_is_constant(const struct pool_shape *p)
{
    const bool inside = (p->oh - 1) * p->stride_h + p->kh <= p->h + 2 * p->pad_h &&
                        (p->ow - 1) * p->stride_w + p->kw <= p->w + 2 * p->pad_w;
    return inside && (p->count_include_pad || (p->pad_h == 0 && p->pad_w == 0));
}

static float avg_pool_scale(const struct layer *l, float in, bool training)
{
    (void)training;
    return in / (float)(l->u.pool.kh * l->u.pool.kw);
}

static void avg_describe(const struct layer *l, const struct tensor_desc *in,
                         struct tensor_desc *out)
{
    const struct pool_shape *p = &l->u.pool;
    enum tensor_kind kind = in->kind == TENSOR_REPEAT ? TENSOR_REPEAT : TENSOR_F32;
    const size_t largest = in->largest * p->kh * p->kw;
    const bool spikes = in->kind == TENSOR_BITS || (in->kind == TENSOR_COUNT8 && !in->scaled);
    if (spikes && !p->adaptive && divisor_is_constant(p) && largest <= UINT8_MAX)
        kind = TENSOR_COUNT8;
    *out = tensor_make(kind, in->b, in->t, in->c, p->oh, p->ow);
    if (kind != TENSOR_COUNT8) return;
    out->scale = avg_pool_scale(l, in->scale, false);
    out->largest = largest;
    out->scaled = true;
}

static int avg_pool_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                            struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (pool_reshape(l, in, needs, &shape, e) != 0) return (int)e->code;
    avg_describe(l, in, out);
    return 0;
}

/* Windows that cover the image evenly; where they are all of one size, plain average pooling. */
static int adaptive_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                            struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    if (in->flat_h * in->flat_w > 1)
        return err_set(e, ERR_SPEC, "2-d pooling cannot follow flatten");
    const size_t oh = (size_t)shape.h, ow = (size_t)shape.w;
    const bool even = in->h % oh == 0 && in->w % ow == 0;
    l->u.pool = (struct pool_shape){ .h = in->h, .w = in->w, .oh = oh, .ow = ow,
                                     .adaptive = !even, .count_include_pad = true };
    if (even) {
        l->u.pool.kh = l->u.pool.stride_h = in->h / oh;
        l->u.pool.kw = l->u.pool.stride_w = in->w / ow;
    }
    needs->macs = 0; /* additions only */
    avg_describe(l, in, out);
    return 0;
}

static void avg_pool_layer_forward(const struct layer *l, const struct step *s, struct span t)
{
    avg_pool_forward(s->kc, &l->u.pool, &s->x[0].desc, s->x[0].data, &s->y.desc, s->y.data, t);
}

static void avg_pool_layer_backward(const struct layer *l, const struct step *s, struct span t)
{
    if (s->dx[0].data == NULL) return;
    avg_pool_backward(s->kc, &l->u.pool, &s->dy.desc, s->dy.data, &s->dx[0].desc, s->dx[0].data, t);
}

const struct layer_ops avg_pool2d_ops = {
    .name = "avg_pool2d",
    .reshape = avg_pool_reshape,
    .forward = avg_pool_layer_forward,
    .backward_data = avg_pool_layer_backward,
    .scale = avg_pool_scale,
};

const struct layer_ops adaptive_avg_pool2d_ops = {
    .name = "adaptive_avg_pool2d",
    .reshape = adaptive_reshape,
    .forward = avg_pool_layer_forward,
    .backward_data = avg_pool_layer_backward,
    .scale = avg_pool_scale,
};
