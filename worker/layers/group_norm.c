/* group_norm: every image of [T, B] normalised in groups of channels (PyTorch's GroupNorm; Wu and
 * He, ECCV 2018). Called through layer_ops on the main thread; a sample an item of the pool.
 *
 * y = (x - mean) / sqrt(var + eps) * weight + bias, mean and biased variance over the channels and
 * pixels of a group, in double, channel by channel. Sums for weight and bias: per sample in
 * double, chained inside a shard (design 5.8). */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { GN_WEIGHT, GN_BIAS };

static size_t gn_groups(const struct layer *l) { return (size_t)l->spec->u.group_norm.groups; }

static int gn_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                      struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    if (in->flat_h * in->flat_w > 1)
        return err_set(e, ERR_SPEC, "group_norm cannot follow flatten");
    layer_plan_float(l, in, needs);
    const struct tensor_desc *x = l->expands ? &l->in_float : in;
    *out = *x;
    const size_t floats = mem_align(in->c, 16);
    layer_add_param(l, needs, (struct layer_param){ .name = "weight", .dims = { in->c },
                                                    .n_dims = 1, .floats = floats });
    layer_add_param(l, needs, (struct layer_param){ .name = "bias", .dims = { in->c },
                                                    .n_dims = 1, .floats = floats });
    /* mean and 1/std of every image and group; sums of every sample */
    needs->saved_bytes += x->b * x->t_stored * gn_groups(l) * 2 * sizeof(double);
    needs->backward_scratch_bytes = x->b * 2 * floats * sizeof(double);
    needs->macs = (uint64_t)x->t_stored * x->h * x->w * in->c;
    return 0;
}

struct gn {
    const struct layer *l;
    struct tensor_view x, y, dy, dx;
    const float *w;
    double *saved; /* [b][t_stored][groups][2] */
    double *sums;  /* [b][2][c aligned] */
    struct span t; /* stored steps of this call */
};

static struct gn gn_of(const struct layer *l, const struct step *s, struct span t)
{
    return (struct gn){ .l = l, .x = layer_float_input(l, s, t), .y = s->y, .dy = s->dy,
                        .dx = s->dx[0], .w = s->w, .saved = layer_saved(l, s),
                        .t = layer_stored(&s->y.desc, t) };
}

static double *gn_stats(const struct gn *g, size_t b, size_t t, size_t group)
{
    return g->saved + ((b * g->x.desc.t_stored + t) * gn_groups(g->l) + group) * 2;
}

static float *gn_value(const struct tensor_view *v, size_t b, size_t t, size_t pixel, size_t c)
{
    const size_t y = pixel / v->desc.w, x = pixel % v->desc.w;
    return layer_block(v, b, t, y, x, c / 16) + c % 16;
}

/* Mean and 1/std of one group of an image, two passes. */
static void gn_measure(const struct gn *g, size_t b, size_t t, size_t group)
{
    const struct tensor_desc *d = &g->x.desc;
    const size_t per = d->c / gn_groups(g->l), pixels = d->h * d->w;
    const double n = (double)(per * pixels);
    double *stats = gn_stats(g, b, t, group), sum = 0.0, square = 0.0;
    for (size_t c = group * per; c < (group + 1) * per; c++)
        for (size_t p = 0; p < pixels; p++) sum += (double)*gn_value(&g->x, b, t, p, c);
    const double mean = sum / n;
    for (size_t c = group * per; c < (group + 1) * per; c++)
        for (size_t p = 0; p < pixels; p++) {
            const double v = (double)*gn_value(&g->x, b, t, p, c) - mean;
            square += v * v;
        }
    stats[0] = mean;
    stats[1] = 1.0 / sqrt(square / n + g->l->spec->u.group_norm.eps);
}

static void gn_forward_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct gn *g = ctx;
    const struct tensor_desc *d = &g->x.desc;
    const size_t per = d->c / gn_groups(g->l);
    const float *weight = g->w + g->l->params[GN_WEIGHT].offset;
    const float *bias = g->w + g->l->params[GN_BIAS].offset;
    for (size_t t = g->t.begin; t < g->t.end; t++) {
        for (size_t i = 0; i < gn_groups(g->l); i++) gn_measure(g, b, t, i);
        for (size_t p = 0; p < d->h * d->w; p++)
            for (size_t c = 0; c < d->c_stored; c++) {
                float *y = gn_value(&g->y, b, t, p, c);
                *y = 0.0f;
                if (c >= d->c) continue;
                const double *stats = gn_stats(g, b, t, c / per);
                const double hat = ((double)*gn_value(&g->x, b, t, p, c) - stats[0]) * stats[1];
                *y = (float)(hat * (double)weight[c] + (double)bias[c]);
            }
    }
}

static void gn_forward(const struct layer *l, const struct step *s, struct span t)
{
    struct gn g = gn_of(l, s, t);
    threads_run(s->kc->threads, g.x.desc.b, gn_forward_sample, &g);
}

/* Sums of dy and dy * xhat of channel c of one image are added to out[0], out[1]. */
static void gn_channel_sums(const struct gn *g, size_t b, size_t t, size_t c, double out[2])
{
    const struct tensor_desc *d = &g->x.desc;
    const double *stats = gn_stats(g, b, t, c / (d->c / gn_groups(g->l)));
    double sum = 0.0, dot = 0.0;
    for (size_t p = 0; p < d->h * d->w; p++) {
        const double dy = (double)*gn_value(&g->dy, b, t, p, c);
        sum += dy;
        dot += dy * ((double)*gn_value(&g->x, b, t, p, c) - stats[0]) * stats[1];
    }
    out[0] = sum;
    out[1] = dot;
}

/* dx = (w dy - mean(w dy) - xhat mean(w dy xhat)) / std over the group. */
static void gn_group_back(const struct gn *g, size_t b, size_t t, size_t group)
{
    const struct tensor_desc *d = &g->x.desc;
    const size_t per = d->c / gn_groups(g->l), pixels = d->h * d->w, wide = mem_align(d->c, 16);
    const float *weight = g->w + g->l->params[GN_WEIGHT].offset;
    const double *stats = gn_stats(g, b, t, group), n = (double)(per * pixels);
    double *sums = g->sums + b * 2 * wide, mean = 0.0, dot = 0.0;
    for (size_t c = group * per; c < (group + 1) * per; c++) {
        double of[2];
        gn_channel_sums(g, b, t, c, of);
        sums[c] += of[1];
        sums[wide + c] += of[0];
        mean += (double)weight[c] * of[0] / n;
        dot += (double)weight[c] * of[1] / n;
    }
    for (size_t p = 0; g->dx.data != NULL && p < pixels; p++)
        for (size_t c = group * per; c < (group + 1) * per; c++) {
            const double hat = ((double)*gn_value(&g->x, b, t, p, c) - stats[0]) * stats[1];
            const double up = (double)weight[c] * (double)*gn_value(&g->dy, b, t, p, c);
            *gn_value(&g->dx, b, t, p, c) = (float)((up - mean - hat * dot) * stats[1]);
        }
}

static void gn_backward_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct gn *g = ctx;
    const struct tensor_desc *d = &g->x.desc;
    const size_t wide = mem_align(d->c, 16);
    if (g->t.end == d->t_stored) memset(g->sums + b * 2 * wide, 0, 2 * wide * sizeof g->sums[0]);
    for (size_t t = g->t.end; t-- > g->t.begin;) {
        for (size_t i = 0; i < gn_groups(g->l); i++) gn_group_back(g, b, t, i);
        for (size_t p = 0; g->dx.data != NULL && p < d->h * d->w; p++)
            for (size_t c = d->c; c % 16 != 0; c++) *gn_value(&g->dx, b, t, p, c) = 0.0f;
    }
}

static void gn_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    struct gn g = gn_of(l, s, LAYER_NO_STEPS);
    g.t = layer_stored(&s->y.desc, t);
    g.sums = (double *)(void *)s->scratch;
    threads_run(s->kc->threads, g.x.desc.b, gn_backward_sample, &g);
}

static void gn_backward_weights(const struct layer *l, const struct step *s)
{
    const struct span b = step_shard(s, s->shard);
    const size_t c = l->in.c, wide = mem_align(c, 16);
    const double *sums = (const double *)(const void *)s->scratch;
    layer_chain(sums, 2 * wide, c, b, s->dw + l->params[GN_WEIGHT].offset);
    layer_chain(sums + wide, 2 * wide, c, b, s->dw + l->params[GN_BIAS].offset);
}

static void gn_init(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                    float *values)
{
    (void)key;
    (void)number;
    for (size_t j = 0; j < l->params[i].logical; j++) values[j] = i == GN_WEIGHT ? 1.0f : 0.0f;
}

const struct layer_ops group_norm_ops = {
    .name = "group_norm",
    .reshape = gn_reshape,
    .forward = gn_forward,
    .backward_data = gn_backward_data,
    .backward_weights = gn_backward_weights,
    .init = gn_init,
};
