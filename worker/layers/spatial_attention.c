/* spatial_attention: a factor for each pixel of a sample, from its mean and maximum over time-steps
 * and channels through one convolution (Yao et al., IEEE TPAMI 2023). Called through layer_ops on
 * the main thread; a sample an item of the pool.
 *
 *   score = sigmoid(conv(mean, max)),   y = x * score, the same for every t and c
 * The convolution has 2 inputs, 1 output, a square kernel of odd size with a border of zeros, and
 * no bias. The first of equal maxima (t, then c) takes the gradient. Sums in double; those for
 * weights per sample, chained inside a shard (design 5.8). */
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

static float *sa_value(const struct tensor_view *v, size_t b, size_t t, size_t c, size_t p)
{
    return layer_block(v, b, t, p / v->desc.w, p % v->desc.w, c / 16) + c % 16;
}

static size_t sa_planes(const struct sa *a) { return a->x.desc.t_stored * a->x.desc.c; }

static void sa_measure(const struct sa *a, size_t b)
{
    const struct sa_kept k = sa_kept(a, b);
    const size_t c = a->x.desc.c, planes = sa_planes(a);
    for (size_t p = 0; p < a->pixels; p++) {
        double sum = 0.0, most = 0.0;
        size_t where = 0;
        for (size_t i = 0; i < planes; i++) {
            const double v = (double)*sa_value(&a->x, b, i / c, i % c, p);
            sum += v;
            if (i > 0 && !(v > most) && !(isnan(v) && !isnan(most))) continue;
            most = v;
            where = i;
        }
        k.mean[p] = sum / (double)planes;
        k.max[p] = most;
        k.where[p] = (double)where;
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

static void sa_forward_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct sa *a = ctx;
    const struct sa_kept k = sa_kept(a, b);
    const size_t taps = a->k * a->k, c = a->x.desc.c_stored;
    sa_measure(a, b);
    for (size_t p = 0; p < a->pixels; p++) {
        double sum = 0.0;
        for (size_t i = 0, from; i < 2 * taps; i++)
            if (sa_tap(a, p, i % taps, &from))
                sum += (double)a->w[i] * (i < taps ? k.mean : k.max)[from];
        k.score[p] = (double)kernels_sigmoid(a->l->isa, (float)sum);
        for (size_t i = 0; i < a->x.desc.t_stored * c; i++)
            *sa_value(&a->y, b, i / c, i % c, p) =
                *sa_value(&a->x, b, i / c, i % c, p) * (float)k.score[p];
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
    const size_t wide = (d->c + 15) / 16 * 16;
    for (size_t p = 0; p < a->pixels; p++) {
        for (size_t i = 0; i < d->t_stored * wide; i++) {
            const size_t t = i / wide, c = i % wide;
            const double dy = (double)*sa_value(&a->dy, b, t, c, p);
            const double v = dy * k.score[p] + mean[p] / (double)sa_planes(a);
            *sa_value(&a->dx, b, t, c, p) = c < d->c ? (float)v : 0.0f;
        }
        const size_t where = (size_t)k.where[p];
        *sa_value(&a->dx, b, where / d->c, where % d->c, p) += (float)max[p];
    }
}

static void sa_backward_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct sa *a = ctx;
    const struct sa_kept k = sa_kept(a, b);
    double *sums = a->scratch + b * sa_scratch(a->l), *up = sums + 2 * a->k * a->k;
    double *mean = up + a->pixels, *max = mean + a->pixels;
    for (size_t p = 0; p < a->pixels; p++) {
        up[p] = 0.0;
        for (size_t i = 0, c = a->x.desc.c; i < sa_planes(a); i++)
            up[p] += (double)*sa_value(&a->dy, b, i / c, i % c, p) *
                     (double)*sa_value(&a->x, b, i / c, i % c, p);
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
