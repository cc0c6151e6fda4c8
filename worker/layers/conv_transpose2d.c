/* conv_transpose2d: transposed convolution of every image of [T, B] (PyTorch's ConvTranspose2d).
 * Called through layer_ops on the main thread; the kernels use the pool.
 *
 * It is a convolution of stride 1 with the taps turned around over the input with stride - 1 zeros
 * between its pixels (and output_padding zeros behind), padded by dilation * (kernel - 1) -
 * padding. So it runs on the kernels of conv2d: the spread input lies in saved, its gradient in
 * scratch. */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>
#include <string.h>

enum { CT_WEIGHT, CT_BIAS };

static struct conv_shape ct_shape(const struct spec_conv_transpose2d *p,
                                  const struct tensor_desc *in, const struct spec_shape *out)
{
    struct conv_shape cs = {
        .c = in->c, .k = (size_t)out->c, .oh = (size_t)out->h, .ow = (size_t)out->w,
        .r = (size_t)p->kernel_size[0], .s = (size_t)p->kernel_size[1], .stride_h = 1,
        .stride_w = 1, .dil_h = (size_t)p->dilation[0], .dil_w = (size_t)p->dilation[1],
        .groups = (size_t)p->groups,
    };
    cs.h = (in->h - 1) * (size_t)p->stride[0] + 1 + (size_t)p->output_padding[0];
    cs.w = (in->w - 1) * (size_t)p->stride[1] + 1 + (size_t)p->output_padding[1];
    cs.pad_h = cs.dil_h * (cs.r - 1) - (size_t)p->padding[0];
    cs.pad_w = cs.dil_w * (cs.s - 1) - (size_t)p->padding[1];
    return cs;
}

static struct tensor_desc spread_desc(const struct layer *l)
{
    const struct conv_shape *cs = &l->u.conv;
    const enum tensor_kind kind = l->in.kind == TENSOR_REPEAT ? TENSOR_REPEAT : TENSOR_F32;
    return tensor_make(kind, l->in.b, l->in.t, cs->c, cs->h, cs->w);
}

static int ct_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                      struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    const struct spec_conv_transpose2d *p = &l->spec->u.conv_transpose2d;
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    if (in->flat_h * in->flat_w > 1)
        return err_set(e, ERR_SPEC, "a convolution cannot follow flatten");
    const struct conv_shape *cs = &l->u.conv;
    l->u.conv = ct_shape(p, in, &shape);
    const struct tensor_desc spread = spread_desc(l);
    *out = tensor_make(spread.kind, in->b, in->t, cs->k, cs->oh, cs->ow);
    layer_add_param(l, needs, (struct layer_param){
                                  .name = "weight", .n_dims = 4,
                                  .dims = { cs->c, cs->k / cs->groups, cs->r, cs->s },
                                  .floats = conv_weight_floats(cs) });
    if (p->bias)
        layer_add_param(l, needs, (struct layer_param){ .name = "bias", .dims = { cs->k },
                                                        .n_dims = 1, .floats = cs->k });
    needs->saved_bytes = mem_align(tensor_bytes(&spread), 64);
    needs->backward_scratch_bytes =
        mem_align(tensor_bytes(&spread), 64) + conv_weight_t_floats(cs, l->path) * sizeof(float);
    needs->thread_scratch_bytes = conv_thread_scratch(cs, &spread, l->path);
    needs->macs = (uint64_t)out->t_stored * cs->c * in->h * in->w * (cs->k / cs->groups) * cs->r *
                  cs->s;
    needs->gradient_blocked = true;
    return 0;
}

struct spread {
    struct tensor_view small, wide; /* of the steps of one call */
    size_t stride_h, stride_w, t_count;
};

static struct spread spread_of(const struct layer *l, struct tensor_view small, void *wide,
                               struct span t)
{
    const int64_t *stride = l->spec->u.conv_transpose2d.stride;
    struct spread k = { .small = small, .wide = { spread_desc(l), wide },
                        .stride_h = (size_t)stride[0], .stride_w = (size_t)stride[1] };
    k.wide.desc.b = small.desc.b;
    k.small = tensor_steps(&k.small, t);
    k.wide = tensor_steps(&k.wide, t);
    k.t_count = k.wide.desc.t_stored;
    return k;
}

/* Pixels of any kind as floats, zeros between them. */
static void spread_image(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct spread *k = ctx;
    const struct tensor_desc *from = &k->small.desc, *to = &k->wide.desc;
    const size_t b = item / k->t_count, t = item % k->t_count;
    for (size_t y = 0; y < to->h; y++)
        for (size_t x = 0; x < to->w; x++) {
            float *pixel = layer_block(&k->wide, b, t, y, x, 0);
            memset(pixel, 0, to->c_stored * sizeof pixel[0]);
            if (y % k->stride_h != 0 || x % k->stride_w != 0) continue;
            if (y / k->stride_h >= from->h || x / k->stride_w >= from->w) continue;
            for (size_t c = 0; c < from->c; c++)
                pixel[c] = tensor_get(from, k->small.data, b, t, c, y / k->stride_h,
                                      x / k->stride_w);
        }
}

static void gather_image(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct spread *k = ctx;
    const struct tensor_desc *to = &k->small.desc;
    const size_t b = item / k->t_count, t = item % k->t_count;
    for (size_t y = 0; y < to->h; y++)
        for (size_t x = 0; x < to->w; x++)
            for (size_t block = 0; block < (to->c + 15) / 16; block++)
                memcpy(layer_block(&k->small, b, t, y, x, block),
                       layer_block(&k->wide, b, t, y * k->stride_h, x * k->stride_w, block),
                       16 * sizeof(float));
}

static void ct_forward(const struct layer *l, const struct step *s, struct span t)
{
    struct spread k = spread_of(l, s->x[0], s->saved, t);
    const struct tensor_view y = tensor_steps(&s->y, t);
    threads_run(s->kc->threads, k.small.desc.b * k.t_count, spread_image, &k);
    const float *bias = l->n_params > CT_BIAS ? s->w + l->params[CT_BIAS].offset : NULL;
    conv_forward(s->kc, &l->u.conv, &k.wide.desc, k.wide.data, s->w, bias, &y.desc, y.data,
                 (struct span){ 0, y.desc.t });
}

static void ct_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    if (s->dx[0].data == NULL) return;
    struct spread k = spread_of(l, s->dx[0], s->scratch, t);
    const struct tensor_view dy = tensor_steps(&s->dy, t);
    float *wt = (float *)(void *)(s->scratch + mem_align(tensor_bytes(&k.wide.desc), 64));
    if (t.end == l->in.t) conv_transpose(s->kc, &l->u.conv, s->w, wt);
    conv_backward_data(s->kc, &l->u.conv, &dy.desc, dy.data, wt, 1.0f, &k.wide.desc, k.wide.data,
                       (struct span){ 0, dy.desc.t });
    threads_run(s->kc->threads, k.small.desc.b * k.t_count, gather_image, &k);
}

static void ct_backward_weights(const struct layer *l, const struct step *s)
{
    const struct span b = step_shard(s, s->shard);
    const struct spread k = spread_of(l, s->x[0], s->saved, (struct span){ 0, l->in.t });
    conv_backward_weights(s->kc, &l->u.conv, &k.wide.desc, k.wide.data, &s->dy.desc, s->dy.data, b,
                          s->dw);
    if (l->n_params > CT_BIAS)
        bias_backward(s->kc, &s->dy.desc, s->dy.data, b, s->dw + l->params[CT_BIAS].offset);
}

/* PyTorch takes the fans of this shape as if it were a convolution's: its second and first size. */
static void ct_init(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                    float *values)
{
    const struct conv_shape *cs = &l->u.conv;
    const struct layer_fan fan = { cs->k / cs->groups * cs->r * cs->s, cs->c * cs->r * cs->s };
    layer_init_weights(l, i, (enum spec_init)l->spec->u.conv_transpose2d.init, fan, key, number,
                       values);
}

/* Weight (c, k, r, s) of PyTorch is the convolution's (k, c, R-1-r, S-1-s), by groups. */
static size_t ct_weight_at(const struct conv_shape *cs, size_t oihw)
{
    const size_t taps = cs->r * cs->s, per_c = cs->c / cs->groups, per_k = cs->k / cs->groups;
    const size_t tap = taps - 1 - oihw % taps, c = oihw / taps % per_c, k = oihw / taps / per_c;
    return ((k / per_k * per_c + c) * per_k + k % per_k) * taps + tap;
}

static void ct_pack(const struct layer *l, size_t i, const float *values, float *packed)
{
    const struct conv_shape *cs = &l->u.conv;
    if (i != CT_WEIGHT) {
        layer_pack_plain(l, i, values, packed);
        return;
    }
    memset(packed, 0, l->params[i].floats * sizeof packed[0]);
    for (size_t j = 0; j < l->params[i].logical; j++)
        packed[conv_packed_at(cs, j)] = values[ct_weight_at(cs, j)];
}

static void ct_unpack(const struct layer *l, size_t i, const float *packed, float *values)
{
    const struct conv_shape *cs = &l->u.conv;
    if (i != CT_WEIGHT) {
        layer_unpack_plain(l, i, packed, values);
        return;
    }
    for (size_t j = 0; j < l->params[i].logical; j++)
        values[ct_weight_at(cs, j)] = packed[conv_packed_at(cs, j)];
}

const struct layer_ops conv_transpose2d_ops = {
    .name = "conv_transpose2d",
    .reshape = ct_reshape,
    .forward = ct_forward,
    .backward_data = ct_backward_data,
    .backward_weights = ct_backward_weights,
    .init = ct_init,
    .pack = ct_pack,
    .unpack = ct_unpack,
};
