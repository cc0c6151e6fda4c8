/* attention: a factor for each time-step or each channel of a sample, from its mean and maximum
 * through a shared perceptron (temporal-wise attention, Yao et al., ICCV 2021; channel attention of
 * Yao et al., IEEE TPAMI 2023). Called through layer_ops on the main thread; a sample an item of
 * the pool.
 *
 * Axis of length L, its T or its C; hidden H = L / reduction; no bias:
 *   score = sigmoid(W2 relu(W1 mean) + W2 relu(W1 max)),   y = x * score along the axis
 * mean and max over all that has one place on the axis; the first of equal maxima in row-major
 * order (t, c, pixel). Sums in double: the pixels of a channel and time-step, then these in their
 * order; those for weights per sample, chained inside a shard. */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { ATT_FIRST, ATT_SECOND };

static bool att_temporal(const struct layer *l)
{
    return l->spec->type == SPEC_TEMPORAL_ATTENTION;
}

static size_t att_length(const struct layer *l) { return att_temporal(l) ? l->in.t : l->in.c; }

static size_t att_hidden(const struct layer *l)
{
    return att_length(l) / (size_t)l->spec->u.attention.reduction;
}

/* Doubles of a sample in scratch: sums of W1 and W2, two vectors along the axis, three hidden. */
static size_t att_scratch(const struct layer *l)
{
    return 2 * (att_length(l) * att_hidden(l) + att_length(l)) + 3 * att_hidden(l);
}

static int att_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                       struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    if (in->flat_h * in->flat_w > 1) return err_set(e, ERR_SPEC, "attention cannot follow flatten");
    const size_t length = att_length(l), hidden = att_hidden(l);
    if (hidden == 0)
        return err_set(e, ERR_SPEC, "reduction %lld leaves nothing of %zu %s",
                       (long long)l->spec->u.attention.reduction, length,
                       att_temporal(l) ? "time-steps" : "channels");
    layer_plan_float(l, in, needs);
    const struct tensor_desc *x = l->expands ? &l->in_float : in;
    *out = *x;
    if (att_temporal(l)) *out = tensor_make(TENSOR_F32, in->b, in->t, in->c, in->h, in->w);
    struct layer_param p = { .name = "sharedMLP.0.weight", .dims = { hidden, length, 1, 1, 1 },
                             .n_dims = att_temporal(l) ? 2 : 5, .floats = hidden * length };
    layer_add_param(l, needs, p);
    p.name = "sharedMLP.2.weight";
    p.dims[0] = length;
    p.dims[1] = hidden;
    layer_add_param(l, needs, p);
    needs->saved_bytes += in->b * 4 * length * sizeof(double);
    needs->forward_scratch_bytes = needs->backward_scratch_bytes =
        in->b * att_scratch(l) * sizeof(double);
    needs->macs = 4 * (uint64_t)hidden * length + (uint64_t)out->t_stored * in->c * in->h * in->w;
    return 0;
}

struct att {
    const struct layer *l;
    struct tensor_view x, y, dy, dx;
    const float *first, *second;
    size_t length, hidden, steps;
    double *saved, *scratch;
};

static struct att att_of(const struct layer *l, const struct step *s, struct span t)
{
    return (struct att){
        .l = l, .x = layer_float_input(l, s, t), .y = s->y, .dy = s->dy, .dx = s->dx[0],
        .first = s->w + l->params[ATT_FIRST].offset,
        .second = s->w + l->params[ATT_SECOND].offset,
        .length = att_length(l), .hidden = att_hidden(l), .steps = l->out.t_stored,
        .saved = layer_saved(l, s), .scratch = (double *)(void *)s->scratch,
    };
}

/* What forward keeps of a sample, [length] each. */
struct att_kept {
    double *mean, *max, *score, *where; /* where: number of the maximum, exact below 2^53 */
};

static struct att_kept att_kept(const struct att *a, size_t b)
{
    double *at = a->saved + b * 4 * a->length;
    return (struct att_kept){ at, at + a->length, at + 2 * a->length, at + 3 * a->length };
}

static size_t att_values(const struct att *a)
{
    return a->steps * a->x.desc.c * a->x.desc.h * a->x.desc.w;
}

/* Place on the axis of channel c at time-step t. */
static size_t att_place(const struct att *a, size_t t, size_t c)
{
    return att_temporal(a->l) ? t : c;
}

/* Sixteen channels of a time-step: sum and largest value over the pixels, and the first of those.
 */
struct att_planes {
    double sum[16];
    float max[16];
    uint32_t where[16];
};

static void att_planes(const struct att *a, size_t b, size_t t, size_t block,
                       struct att_planes *out)
{
    const struct tensor_desc *d = &a->x.desc;
    for (size_t c = 0; c < 16; c++) {
        out->sum[c] = 0.0;
        out->where[c] = 0;
    }
    memcpy(out->max, layer_block(&a->x, b, t, 0, 0, block), sizeof out->max);
    for (uint32_t p = 0; p < d->h * d->w; p++) {
        const float *x = layer_block(&a->x, b, t, p / d->w, p % d->w, block);
        for (size_t c = 0; c < 16; c++) {
            const float v = x[c], m = out->max[c];
            const bool more = (v > m) | ((v != v) & (m == m)); /* the first NaN stays */
            out->sum[c] += (double)v;
            out->max[c] = more ? v : m;
            out->where[c] = more ? p : out->where[c];
        }
    }
}

/* Means and maxima along the axis: pixels of a channel and time-step, then these in their order. */
static void att_measure(const struct att *a, size_t b)
{
    const struct att_kept k = att_kept(a, b);
    const struct tensor_desc *d = &a->x.desc;
    const size_t pixels = d->h * d->w;
    for (size_t i = 0; i < a->length; i++) {
        k.mean[i] = 0.0;
        k.where[i] = -1.0;
    }
    for (size_t t = 0; t < a->steps; t++)
        for (size_t c = 0; c < d->c; c++) {
            struct att_planes planes;
            if (c % 16 == 0) att_planes(a, b, t, c / 16, &planes);
            const size_t i = att_place(a, t, c);
            const double v = (double)planes.max[c % 16];
            k.mean[i] += planes.sum[c % 16];
            const bool more = k.where[i] < 0.0 || v > k.max[i] || (isnan(v) && !isnan(k.max[i]));
            if (!more) continue;
            k.max[i] = v;
            k.where[i] = (double)((t * d->c + c) * pixels + planes.where[c % 16]);
        }
    for (size_t i = 0; i < a->length; i++) k.mean[i] /= (double)(att_values(a) / a->length);
}

/* out = W1 z, before the rectifier. */
static void att_first(const struct att *a, const double *z, double *out)
{
    for (size_t j = 0; j < a->hidden; j++) {
        out[j] = 0.0;
        for (size_t i = 0; i < a->length; i++)
            out[j] += (double)a->first[j * a->length + i] * z[i];
    }
}

static double positive(double v) { return v > 0.0 ? v : 0.0; }

/* What sixteen channels of a time-step are multiplied by: of[place]; 0 for channels that only fill
 * the block. */
static void att_factors(const struct att *a, size_t t, size_t block, const double *of,
                        double out[16])
{
    for (size_t c = 0; c < 16; c++) {
        const size_t channel = 16 * block + c;
        out[c] = channel < a->x.desc.c ? of[att_place(a, t, channel)] : 0.0;
    }
}

static void att_scale(const struct att *a, size_t b)
{
    const struct tensor_desc *d = &a->y.desc;
    for (size_t t = 0; t < d->t_stored; t++)
        for (size_t block = 0; block < d->c_stored / 16; block++) {
            double score[16];
            float factor[16];
            att_factors(a, t, block, att_kept(a, b).score, score);
            for (size_t c = 0; c < 16; c++) factor[c] = (float)score[c];
            for (size_t p = 0; p < d->h * d->w; p++) {
                const float *x = layer_block(&a->x, b, t, p / d->w, p % d->w, block);
                float *y = layer_block(&a->y, b, t, p / d->w, p % d->w, block);
                for (size_t c = 0; c < 16; c++) y[c] = x[c] * factor[c];
            }
        }
}

static void att_forward_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct att *a = ctx;
    const struct att_kept k = att_kept(a, b);
    double *of_mean = a->scratch + b * 2 * a->hidden, *of_max = of_mean + a->hidden;
    att_measure(a, b);
    att_first(a, k.mean, of_mean);
    att_first(a, k.max, of_max);
    for (size_t i = 0; i < a->length; i++) {
        double sum = 0.0;
        for (size_t j = 0; j < a->hidden; j++)
            sum += (double)a->second[i * a->hidden + j] *
                   (positive(of_mean[j]) + positive(of_max[j]));
        k.score[i] = (double)kernels_sigmoid(a->l->isa, (float)sum);
    }
    att_scale(a, b);
}

static void att_forward(const struct layer *l, const struct step *s, struct span t)
{
    assert(t.begin == 0 && t.end == l->in.t);
    struct att a = att_of(l, s, t);
    threads_run(s->kc->threads, a.x.desc.b, att_forward_sample, &a);
}

/* Sums over pixels of dy x, of sixteen channels of a time-step. */
static void att_dot(const struct att *a, size_t b, size_t t, size_t block, double sum[16])
{
    const struct tensor_desc *d = &a->x.desc;
    memset(sum, 0, 16 * sizeof sum[0]);
    for (size_t p = 0; p < d->h * d->w; p++) {
        const float *x = layer_block(&a->x, b, t, p / d->w, p % d->w, block);
        const float *dy = layer_block(&a->dy, b, t, p / d->w, p % d->w, block);
        for (size_t c = 0; c < 16; c++) sum[c] += (double)dy[c] * (double)x[c];
    }
}

/* dL/dz of the logits, in `up`; summed as in att_measure. */
static void att_upstream(const struct att *a, size_t b, double *up)
{
    const struct att_kept k = att_kept(a, b);
    const struct tensor_desc *d = &a->x.desc;
    double sum[16];
    for (size_t i = 0; i < a->length; i++) up[i] = 0.0;
    for (size_t t = 0; t < a->steps; t++)
        for (size_t c = 0; c < d->c; c++) {
            if (c % 16 == 0) att_dot(a, b, t, c / 16, sum);
            up[att_place(a, t, c)] += sum[c % 16];
        }
    for (size_t i = 0; i < a->length; i++) up[i] *= k.score[i] * (1.0 - k.score[i]);
}

/* The vectors of a backward pass, in scratch. */
struct att_back {
    double *sums;        /* of W1, then W2 */
    double *up, *mean;   /* [length]: dL/d(logit), then dL/dmax; dL/dmean */
    double *h, *m, *hid; /* [hidden]: W1 mean, W1 max before the rectifier; W2^T up */
};

static struct att_back att_back(const struct att *a, size_t b)
{
    struct att_back k = { .sums = a->scratch + b * att_scratch(a->l) };
    k.up = k.sums + 2 * a->length * a->hidden;
    k.mean = k.up + a->length;
    k.h = k.mean + a->length;
    k.m = k.h + a->hidden;
    k.hid = k.m + a->hidden;
    return k;
}

static void att_weights(const struct att *a, size_t b, const struct att_back *w)
{
    const struct att_kept k = att_kept(a, b);
    const size_t n = a->length, hidden = a->hidden;
    double *first = w->sums, *second = w->sums + hidden * n;
    for (size_t j = 0; j < hidden; j++) w->hid[j] = 0.0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < hidden; j++) {
            second[i * hidden + j] = w->up[i] * (positive(w->h[j]) + positive(w->m[j]));
            w->hid[j] += w->up[i] * (double)a->second[i * hidden + j];
        }
    for (size_t i = 0; i < n; i++) w->mean[i] = w->up[i] = 0.0;
    for (size_t j = 0; j < hidden; j++) {
        const double dh = w->h[j] > 0.0 ? w->hid[j] : 0.0, dm = w->m[j] > 0.0 ? w->hid[j] : 0.0;
        for (size_t i = 0; i < n; i++) {
            first[j * n + i] = dh * k.mean[i] + dm * k.max[i];
            w->mean[i] += dh * (double)a->first[j * n + i];
            w->up[i] += dm * (double)a->first[j * n + i];
        }
    }
}

/* dx of sixteen channels of a time-step, but for what their maxima add. */
static void att_input_block(const struct att *a, size_t b, size_t t, size_t block,
                            const double *mean)
{
    const struct tensor_desc *d = &a->dx.desc;
    const double share = (double)(att_values(a) / a->length);
    const bool join = d->t_stored == 1 && t > 0; /* one frame for all steps: their sum */
    double score[16], more[16];
    att_factors(a, t, block, att_kept(a, b).score, score);
    att_factors(a, t, block, mean, more);
    for (size_t c = 0; c < 16; c++) more[c] /= share;
    for (size_t p = 0; p < d->h * d->w; p++) {
        const float *dy = layer_block(&a->dy, b, t, p / d->w, p % d->w, block);
        float *dx = layer_block(&a->dx, b, t, p / d->w, p % d->w, block);
        for (size_t c = 0; c < 16; c++)
            dx[c] = (join ? dx[c] : 0.0f) + (float)((double)dy[c] * score[c] + more[c]);
    }
}

static void att_input(const struct att *a, size_t b, const struct att_back *w)
{
    const struct att_kept k = att_kept(a, b);
    const struct tensor_desc *d = &a->dx.desc;
    const size_t pixels = d->h * d->w;
    for (size_t t = 0; t < a->steps; t++)
        for (size_t block = 0; block < d->c_stored / 16; block++)
            att_input_block(a, b, t, block, w->mean);
    for (size_t i = 0; i < a->length; i++) {
        const size_t where = (size_t)k.where[i], p = where % pixels, plane = where / pixels;
        const size_t c = plane % d->c, t = plane / d->c;
        layer_block(&a->dx, b, t, p / d->w, p % d->w, c / 16)[c % 16] += (float)w->up[i];
    }
}

static void att_backward_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct att *a = ctx;
    const struct att_kept k = att_kept(a, b);
    const struct att_back w = att_back(a, b);
    att_upstream(a, b, w.up);
    att_first(a, k.mean, w.h);
    att_first(a, k.max, w.m);
    att_weights(a, b, &w);
    if (a->dx.data != NULL) att_input(a, b, &w);
}

static void att_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    assert(t.begin == 0 && t.end == l->in.t);
    struct att a = att_of(l, s, LAYER_NO_STEPS);
    threads_run(s->kc->threads, a.x.desc.b, att_backward_sample, &a);
}

static void att_backward_weights(const struct layer *l, const struct step *s)
{
    const size_t n = att_length(l) * att_hidden(l), stride = att_scratch(l);
    const double *sums = (const double *)(const void *)s->scratch;
    const struct span b = step_shard(s, s->shard);
    layer_chain(sums, stride, n, b, s->dw + l->params[ATT_FIRST].offset);
    layer_chain(sums + n, stride, n, b, s->dw + l->params[ATT_SECOND].offset);
}

static void att_init(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                     float *values)
{
    layer_init_uniform(i == ATT_FIRST ? att_length(l) : att_hidden(l), key, number, values,
                       l->params[i].logical);
}

/* Factors of steps that are gone would change with those to come. */
static const char *att_no_stream(const struct layer *l, const float *buffers)
{
    (void)buffers;
    return l->all_steps;
}

#define ATTENTION_OPS(label)                                                                       \
    {                                                                                              \
        .name = label, .all_steps = "factors are made of all time-steps",                          \
        .reshape = att_reshape, .forward = att_forward,                                            \
        .backward_data = att_backward_data, .backward_weights = att_backward_weights,              \
        .init = att_init, .no_stream = att_no_stream,                                              \
    }
const struct layer_ops temporal_attention_ops = ATTENTION_OPS("temporal_attention");
const struct layer_ops channel_attention_ops = ATTENTION_OPS("channel_attention");
