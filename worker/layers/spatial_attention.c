/* spatial_attention: a factor for each pixel of a sample, from its mean and maximum over time-steps
 * and channels through one convolution (Yao et al., IEEE TPAMI 2023). Called through layer_ops on
 * the main thread; a sample an item of the pool.
 *
 *   score = sigmoid(conv(mean, max)),   y = x * score, the same for every t and c
 * The convolution has 2 inputs, 1 output, a square kernel of odd size with a border of zeros, and
 * no bias. The first of equal maxima (t, then c) takes the gradient. Sums over
 * t and c in double, in sixteen lanes that are added in order; those for weights per sample,
 * chained inside a shard (design 5.8). */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static size_t sa_kernel(const struct layer *l)
{
    return (size_t)l->spec->u.spatial_attention.kernel_size;
}

/* Doubles of a sample in scratch: sums of the weights, three maps. */
static size_t sa_scratch(const struct layer *l)
{
    return 2 * sa_kernel(l) * sa_kernel(l) + 3 * l->in.h * l->in.w;
}

static int sa_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                      struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    if (in->flat_h * in->flat_w > 1) return err_set(e, ERR_SPEC, "attention cannot follow flatten");
    layer_plan_float(l, in, needs);
    *out = l->expands ? l->in_float : *in;
    const size_t k = sa_kernel(l);
    layer_add_param(l, needs, (struct layer_param){ .name = "conv.weight", .n_dims = 4,
                                                    .dims = { 1, 2, k, k }, .floats = 2 * k * k });
    needs->saved_bytes += in->b * 4 * in->h * in->w * sizeof(double);
    needs->backward_scratch_bytes = in->b * sa_scratch(l) * sizeof(double);
    needs->macs = (uint64_t)in->h * in->w * (2 * k * k + (uint64_t)out->t_stored * in->c);
    return 0;
}

struct sa {
    const struct layer *l;
    struct tensor_view x, y, dy, dx;
    const float *w;
    size_t k, pixels;
    double *saved, *scratch;
};

static struct sa sa_of(const struct layer *l, const struct step *s, struct span t)
{
    return (struct sa){ .l = l, .x = layer_float_input(l, s, t), .y = s->y, .dy = s->dy,
                        .dx = s->dx[0], .w = s->w, .k = sa_kernel(l),
                        .pixels = l->in.h * l->in.w, .saved = layer_saved(l, s),
                        .scratch = (double *)(void *)s->scratch };
}

/* What forward keeps of a sample: mean and max lie one behind the other. */
struct sa_kept {
    double *mean, *max, *score, *where; /* where: t * C + c of the maximum */
};

static struct sa_kept sa_kept(const struct sa *a, size_t b)
{
    double *at = a->saved + b * 4 * a->pixels;
    return (struct sa_kept){ at, at + a->pixels, at + 2 * a->pixels, at + 3 * a->pixels };
}

static size_t sa_planes(const struct sa *a) { return a->x.desc.t_stored * a->x.desc.c; }

/* What each of the sixteen lanes met at one pixel: lane i has channels i, 16 + i, ... of every
 * time-step. where: t * C + c of its first largest value. */
struct sa_lanes {
    double sum[16];
    float max[16];
    uint32_t where[16];
};

static void sa_lanes(const struct sa *a, size_t b, size_t p, struct sa_lanes *out)
{
    const struct tensor_desc *d = &a->x.desc;
    const size_t y = p / d->w, x = p % d->w, lanes = d->c < 16 ? d->c : 16;
    memset(out, 0, sizeof *out);
    memcpy(out->max, layer_block(&a->x, b, 0, y, x, 0), lanes * sizeof(float));
    for (uint32_t c = 0; c < 16; c++) out->where[c] = c;
    for (size_t t = 0; t < d->t_stored; t++)
        for (size_t block = 0; block < (d->c + 15) / 16; block++) {
            const float *from = layer_block(&a->x, b, t, y, x, block);
            const size_t n = d->c - 16 * block < 16 ? d->c - 16 * block : 16;
            const uint32_t first = (uint32_t)(t * d->c + 16 * block);
            for (uint32_t c = 0; c < n; c++) {
                const float v = from[c], m = out->max[c];
                const bool more = (v > m) | ((v != v) & (m == m)); /* the first NaN stays */
                out->sum[c] += (double)v;
                out->max[c] = more ? v : m;
                out->where[c] = more ? first + c : out->where[c];
            }
        }
}

/* Means, and maxima with the first place of each; lanes in order. */
static void sa_measure(const struct sa *a, size_t b)
{
    const struct sa_kept k = sa_kept(a, b);
    const size_t lanes = a->x.desc.c < 16 ? a->x.desc.c : 16;
    for (size_t p = 0; p < a->pixels; p++) {
        struct sa_lanes of;
        sa_lanes(a, b, p, &of);
        double sum = of.sum[0];
        size_t best = 0;
        for (size_t c = 1; c < lanes; c++) {
            const float v = of.max[c], m = of.max[best];
            const bool same = v == m || (isnan(v) && isnan(m));
            sum += of.sum[c];
            if (v > m || (isnan(v) && !isnan(m)) || (same && of.where[c] < of.where[best]))
                best = c;
        }
        k.mean[p] = sum / (double)sa_planes(a);
        k.max[p] = (double)of.max[best];
        k.where[p] = (double)of.where[best];
    }
}

/* Pixel that tap (r, s) of the window around p reads; false outside the image. */
static bool sa_tap(const struct sa *a, size_t p, size_t tap, size_t *from)
{
    const size_t w = a->x.desc.w, h = a->x.desc.h, pad = a->k / 2;
    const size_t y = p / w + tap / a->k - pad, x = p % w + tap % a->k - pad;
    *from = y * w + x;
    return y < h && x < w;
}

static void sa_scale(const struct sa *a, size_t b, size_t p, float score)
{
    const struct tensor_desc *d = &a->x.desc;
    for (size_t t = 0; t < d->t_stored; t++)
        for (size_t block = 0; block < d->c_stored / 16; block++) {
            const float *x = layer_block(&a->x, b, t, p / d->w, p % d->w, block);
            float *y = layer_block(&a->y, b, t, p / d->w, p % d->w, block);
            for (size_t c = 0; c < 16; c++) y[c] = x[c] * score;
        }
}

static void sa_forward_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct sa *a = ctx;
    const struct sa_kept k = sa_kept(a, b);
    const size_t taps = a->k * a->k;
    sa_measure(a, b);
    for (size_t p = 0; p < a->pixels; p++) {
        double sum = 0.0;
        for (size_t i = 0, from; i < 2 * taps; i++)
            if (sa_tap(a, p, i % taps, &from))
                sum += (double)a->w[i] * (i < taps ? k.mean : k.max)[from];
        k.score[p] = (double)kernels_sigmoid(a->l->isa, (float)sum);
        sa_scale(a, b, p, (float)k.score[p]);
    }
}

static void sa_forward(const struct layer *l, const struct step *s, struct span t)
{
    assert(t.begin == 0 && t.end == l->in.t);
    struct sa a = sa_of(l, s, t);
    threads_run(s->kc->threads, a.x.desc.b, sa_forward_sample, &a);
}

/* Sums of the weights, and dL/dmean and dL/dmax from dL/d(logit). */
static void sa_weights(const struct sa *a, size_t b, double *sums, const double *up, double *mean,
                       double *max)
{
    const struct sa_kept k = sa_kept(a, b);
    const size_t taps = a->k * a->k;
    memset(sums, 0, 2 * taps * sizeof sums[0]);
    for (size_t p = 0; p < a->pixels; p++) mean[p] = max[p] = 0.0;
    for (size_t p = 0; p < a->pixels; p++)
        for (size_t i = 0, from; i < taps; i++) {
            if (!sa_tap(a, p, i, &from)) continue;
            sums[i] += up[p] * k.mean[from];
            sums[taps + i] += up[p] * k.max[from];
            mean[from] += up[p] * (double)a->w[i];
            max[from] += up[p] * (double)a->w[taps + i];
        }
}

static void sa_input(const struct sa *a, size_t b, const double *mean, const double *max)
{
    const struct sa_kept k = sa_kept(a, b);
    const struct tensor_desc *d = &a->dx.desc;
    for (size_t p = 0; p < a->pixels; p++) {
        const size_t y = p / d->w, x = p % d->w, where = (size_t)k.where[p];
        const double score = k.score[p], more = mean[p] / (double)sa_planes(a);
        for (size_t t = 0; t < d->t_stored; t++)
            for (size_t block = 0; block < (d->c + 15) / 16; block++) {
                const float *dy = layer_block(&a->dy, b, t, y, x, block);
                float *dx = layer_block(&a->dx, b, t, y, x, block);
                const size_t n = d->c - 16 * block;
                for (size_t c = 0; c < 16; c++)
                    dx[c] = c < n ? (float)((double)dy[c] * score + more) : 0.0f;
            }
        const size_t t = where / d->c, c = where % d->c;
        layer_block(&a->dx, b, t, y, x, c / 16)[c % 16] += (float)max[p];
    }
}

/* Sum of dy x over time-steps and channels: sixteen lanes, then these in order. */
static double sa_dot(const struct sa *a, size_t b, size_t p)
{
    const struct tensor_desc *d = &a->x.desc;
    double lanes[16] = { 0.0 }, sum = 0.0;
    for (size_t t = 0; t < d->t_stored; t++)
        for (size_t block = 0; block < d->c_stored / 16; block++) {
            const float *x = layer_block(&a->x, b, t, p / d->w, p % d->w, block);
            const float *dy = layer_block(&a->dy, b, t, p / d->w, p % d->w, block);
            for (size_t c = 0; c < 16; c++) lanes[c] += (double)dy[c] * (double)x[c];
        }
    for (size_t c = 0; c < 16; c++) sum += lanes[c];
    return sum;
}

static void sa_backward_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct sa *a = ctx;
    const struct sa_kept k = sa_kept(a, b);
    double *sums = a->scratch + b * sa_scratch(a->l), *up = sums + 2 * a->k * a->k;
    double *mean = up + a->pixels, *max = mean + a->pixels;
    for (size_t p = 0; p < a->pixels; p++) {
        up[p] = sa_dot(a, b, p);
        up[p] *= k.score[p] * (1.0 - k.score[p]);
    }
    sa_weights(a, b, sums, up, mean, max);
    if (a->dx.data != NULL) sa_input(a, b, mean, max);
}

static void sa_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    assert(t.begin == 0 && t.end == l->in.t);
    struct sa a = sa_of(l, s, LAYER_NO_STEPS);
    threads_run(s->kc->threads, a.x.desc.b, sa_backward_sample, &a);
}

static void sa_backward_weights(const struct layer *l, const struct step *s)
{
    layer_chain((const double *)(const void *)s->scratch, sa_scratch(l),
                2 * sa_kernel(l) * sa_kernel(l), step_shard(s, s->shard), s->dw);
}

static void sa_init(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                    float *values)
{
    layer_init_uniform(l->params[i].logical, key, number, values, l->params[i].logical);
}

static const char *sa_no_stream(const struct layer *l, const float *buffers)
{
    (void)buffers;
    return l->all_steps;
}

const struct layer_ops spatial_attention_ops = {
    .name = "spatial_attention",
    .all_steps = "factors are made of all time-steps",
    .reshape = sa_reshape,
    .forward = sa_forward,
    .backward_data = sa_backward_data,
    .backward_weights = sa_backward_weights,
    .init = sa_init,
    .no_stream = sa_no_stream,
};
