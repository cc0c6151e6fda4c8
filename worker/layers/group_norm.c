/* group_norm: every image of [T, B] normalised in groups of channels (PyTorch's GroupNorm; Wu and
 * He, ECCV 2018). Called through layer_ops on the main thread; a sample an item of the pool.
 *
 * y = (x - mean) / sqrt(var + eps) * weight + bias, mean and biased variance over the channels and
 * pixels of a group, in double: pixels of a channel, then channels. Sums for weight and bias: per
 * sample in double, chained inside a shard (design 5.8). */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { GN_WEIGHT, GN_BIAS, GN_ROWS = 6 };

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
    needs->thread_scratch_bytes = GN_ROWS * x->c_stored * sizeof(double);
    needs->macs = (uint64_t)x->t_stored * x->h * x->w * in->c;
    return 0;
}

struct gn {
    const struct layer *l;
    const struct kernel_ctx *kc;
    struct tensor_view x, y, dy, dx;
    const float *w;
    double *saved; /* [b][t_stored][groups][2] */
    double *sums;  /* [b][2][c aligned] */
    struct span t; /* stored steps of this call */
};

static struct gn gn_of(const struct layer *l, const struct step *s, struct span t)
{
    return (struct gn){ .l = l,
                        .kc = s->kc,
                        .x = layer_float_input(l, s, t),
                        .y = s->y,
                        .dy = s->dy,
                        .dx = s->dx[0],
                        .w = s->w,
                        .saved = layer_saved(l, s),
                        .t = layer_stored(&s->y.desc, t) };
}

static double *gn_stats(const struct gn *g, size_t b, size_t t, size_t group)
{
    return g->saved + ((b * g->x.desc.t_stored + t) * gn_groups(g->l) + group) * 2;
}

/* Numbers of every channel of an image, [c_stored] each, in the thread's scratch; 0 for channels
 * that only fill a block, so that what is made of them is 0. */
struct gn_channels {
    double *mean, *scale, *weight, *bias; /* scale: 1/std */
    double *sum, *dot;                    /* of what is being summed over pixels */
};

static struct gn_channels gn_channels(const struct gn *g, size_t thread)
{
    const size_t c = g->x.desc.c_stored;
    double *at = (double *)(void *)(g->kc->scratch + thread * g->kc->scratch_per_thread);
    memset(at, 0, GN_ROWS * c * sizeof at[0]);
    return (struct gn_channels){ at, at + c, at + 2 * c, at + 3 * c, at + 4 * c, at + 5 * c };
}

static void gn_fill(const struct gn *g, size_t b, size_t t, const struct gn_channels *k)
{
    const struct tensor_desc *d = &g->x.desc;
    for (size_t c = 0; c < d->c; c++) {
        const double *stats = gn_stats(g, b, t, c / (d->c / gn_groups(g->l)));
        k->mean[c] = stats[0];
        k->scale[c] = stats[1];
        k->weight[c] = (double)g->w[g->l->params[GN_WEIGHT].offset + c];
        k->bias[c] = (double)g->w[g->l->params[GN_BIAS].offset + c];
    }
}

/* sum[c] = sum over pixels of x - mean[c], or of its square. */
static void gn_sum(const struct gn *g, size_t b, size_t t, const struct gn_channels *k, bool square)
{
    const struct tensor_desc *d = &g->x.desc;
    for (size_t block = 0; block < d->c_stored / 16; block++) {
        double sum[16] = { 0.0 };
        const double *mean = k->mean + 16 * block;
        for (size_t p = 0; p < d->h * d->w; p++) {
            const float *x = layer_block(&g->x, b, t, p / d->w, p % d->w, block);
            for (size_t c = 0; c < 16; c++) {
                const double v = (double)x[c] - mean[c];
                sum[c] += square ? v * v : v;
            }
        }
        memcpy(k->sum + 16 * block, sum, sizeof sum);
    }
}

/* Mean and 1/std of the groups of an image, two passes; channels in order. */
static void gn_measure(const struct gn *g, size_t b, size_t t, const struct gn_channels *k)
{
    const struct tensor_desc *d = &g->x.desc;
    const size_t groups = gn_groups(g->l), per = d->c / groups;
    const double n = (double)(per * d->h * d->w);
    memset(k->mean, 0, d->c_stored * sizeof k->mean[0]);
    gn_sum(g, b, t, k, false);
    for (size_t i = 0; i < groups; i++) {
        double sum = 0.0;
        for (size_t c = i * per; c < (i + 1) * per; c++) sum += k->sum[c];
        for (size_t c = i * per; c < (i + 1) * per; c++) k->mean[c] = sum / n;
    }
    gn_sum(g, b, t, k, true);
    for (size_t i = 0; i < groups; i++) {
        double *stats = gn_stats(g, b, t, i), square = 0.0;
        for (size_t c = i * per; c < (i + 1) * per; c++) square += k->sum[c];
        stats[0] = k->mean[i * per];
        stats[1] = 1.0 / sqrt(square / n + g->l->spec->u.group_norm.eps);
    }
}

static void gn_forward_sample(void *ctx, size_t b, size_t thread)
{
    const struct gn *g = ctx;
    const struct tensor_desc *d = &g->x.desc;
    const struct gn_channels k = gn_channels(g, thread);
    for (size_t t = g->t.begin; t < g->t.end; t++) {
        gn_measure(g, b, t, &k);
        gn_fill(g, b, t, &k);
        for (size_t p = 0; p < d->h * d->w; p++)
            for (size_t block = 0; block < d->c_stored / 16; block++) {
                const float *x = layer_block(&g->x, b, t, p / d->w, p % d->w, block);
                float *y = layer_block(&g->y, b, t, p / d->w, p % d->w, block);
                const size_t at = 16 * block;
                for (size_t c = 0; c < 16; c++) {
                    const double hat = ((double)x[c] - k.mean[at + c]) * k.scale[at + c];
                    y[c] = (float)(hat * k.weight[at + c] + k.bias[at + c]);
                }
            }
    }
}

static void gn_forward(const struct layer *l, const struct step *s, struct span t)
{
    struct gn g = gn_of(l, s, t);
    threads_run(s->kc->threads, g.x.desc.b, gn_forward_sample, &g);
}

/* sum[c] and dot[c]: sums over pixels of dy and of dy xhat. */
static void gn_dot(const struct gn *g, size_t b, size_t t, const struct gn_channels *k)
{
    const struct tensor_desc *d = &g->x.desc;
    for (size_t block = 0; block < d->c_stored / 16; block++) {
        double sum[16] = { 0.0 }, dot[16] = { 0.0 };
        const double *mean = k->mean + 16 * block, *scale = k->scale + 16 * block;
        for (size_t p = 0; p < d->h * d->w; p++) {
            const float *x = layer_block(&g->x, b, t, p / d->w, p % d->w, block);
            const float *dy = layer_block(&g->dy, b, t, p / d->w, p % d->w, block);
            for (size_t c = 0; c < 16; c++) {
                sum[c] += (double)dy[c];
                dot[c] += (double)dy[c] * ((double)x[c] - mean[c]) * scale[c];
            }
        }
        memcpy(k->sum + 16 * block, sum, sizeof sum);
        memcpy(k->dot + 16 * block, dot, sizeof dot);
    }
}

/* The sums of channels join those of the sample; sum[c] and dot[c] become mean(w dy) and
 * mean(w dy xhat) of the channel's group. */
static void gn_group_means(const struct gn *g, size_t b, const struct gn_channels *k)
{
    const struct tensor_desc *d = &g->x.desc;
    const size_t groups = gn_groups(g->l), per = d->c / groups, wide = mem_align(d->c, 16);
    const double n = (double)(per * d->h * d->w);
    double *sums = g->sums + b * 2 * wide;
    for (size_t i = 0; i < groups; i++) {
        double mean = 0.0, dot = 0.0;
        for (size_t c = i * per; c < (i + 1) * per; c++) {
            sums[c] += k->dot[c];
            sums[wide + c] += k->sum[c];
            mean += k->weight[c] * k->sum[c] / n;
            dot += k->weight[c] * k->dot[c] / n;
        }
        for (size_t c = i * per; c < (i + 1) * per; c++) {
            k->sum[c] = mean;
            k->dot[c] = dot;
        }
    }
}

/* dx = (w dy - mean(w dy) - xhat mean(w dy xhat)) / std over the group. */
static void gn_input(const struct gn *g, size_t b, size_t t, const struct gn_channels *k)
{
    const struct tensor_desc *d = &g->x.desc;
    for (size_t p = 0; p < d->h * d->w; p++)
        for (size_t block = 0; block < d->c_stored / 16; block++) {
            const float *x = layer_block(&g->x, b, t, p / d->w, p % d->w, block);
            const float *dy = layer_block(&g->dy, b, t, p / d->w, p % d->w, block);
            float *dx = layer_block(&g->dx, b, t, p / d->w, p % d->w, block);
            for (size_t c = 0, at = 16 * block; c < 16; c++, at++) {
                const double hat = ((double)x[c] - k->mean[at]) * k->scale[at];
                const double up = k->weight[at] * (double)dy[c];
                dx[c] = (float)((up - k->sum[at] - hat * k->dot[at]) * k->scale[at]);
            }
        }
}

static void gn_backward_sample(void *ctx, size_t b, size_t thread)
{
    const struct gn *g = ctx;
    const struct tensor_desc *d = &g->x.desc;
    const size_t wide = mem_align(d->c, 16);
    const struct gn_channels k = gn_channels(g, thread);
    if (g->t.end == d->t_stored) memset(g->sums + b * 2 * wide, 0, 2 * wide * sizeof g->sums[0]);
    for (size_t t = g->t.end; t-- > g->t.begin;) {
        gn_fill(g, b, t, &k);
        gn_dot(g, b, t, &k);
        gn_group_means(g, b, &k);
        if (g->dx.data != NULL) gn_input(g, b, t, &k);
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
