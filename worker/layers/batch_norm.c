/* batch_norm: normalisation of every channel over T*B*H*W (PyTorch's BatchNorm1d and 2d in
 * multi-step mode). Called through layer_ops on the main thread; the kernels use the pool.
 *
 * Training: statistics of the batch; running mean and variance move by `momentum`, the variance
 * with n/(n-1), n = T*B*H*W also for REPEAT, whose sums run over one step (design 5.2). Evaluation:
 * running statistics, in both directions.
 * Sums: per sample (backward: per strip of a sample) in double, chained inside a shard, a binary
 * tree over shards (design 5.8). */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { BN_WEIGHT, BN_BIAS, BN_RUNNING_MEAN, BN_RUNNING_VAR };

/* Saved of one step, each [c_stored]; mean and inv_std are those that forward normalised with. */
struct bn_saved {
    float *mean, *inv_std;
    double *batch_mean, *batch_var; /* training: for commit */
    float *a, *b;                   /* y = fma(x, a, b); kept for who makes y later */
    float *k0, *k1, *k2;            /* coefficients of the backward pass */
};

static size_t bn_saved_bytes(size_t c_stored)
{
    return 2 * mem_align(c_stored * sizeof(double), 64) +
           7 * mem_align(c_stored * sizeof(float), 64);
}

static struct bn_saved bn_saved_of(const struct layer *l, const struct step *s, size_t c_stored)
{
    unsigned char *at = layer_saved(l, s);
    const size_t doubles = mem_align(c_stored * sizeof(double), 64);
    const size_t floats = mem_align(c_stored * sizeof(float), 64);
    return (struct bn_saved){
        .batch_mean = (double *)(void *)at,
        .batch_var = (double *)(void *)(at + doubles),
        .mean = (float *)(void *)(at + 2 * doubles),
        .inv_std = (float *)(void *)(at + 2 * doubles + floats),
        .a = (float *)(void *)(at + 2 * doubles + 2 * floats),
        .b = (float *)(void *)(at + 2 * doubles + 3 * floats),
        .k0 = (float *)(void *)(at + 2 * doubles + 4 * floats),
        .k1 = (float *)(void *)(at + 2 * doubles + 5 * floats),
        .k2 = (float *)(void *)(at + 2 * doubles + 6 * floats),
    };
}

/* Values of a channel that statistics are of; stored: a REPEAT step counts once. */
static double bn_count(const struct step *s, const struct tensor_desc *x, bool stored)
{
    const size_t steps = stored && x->t_stored == 1 ? x->b
                         : s->sample_steps > 0      ? s->sample_steps
                                                    : x->b * x->t;
    return (double)(steps * x->h * x->w);
}

/* Doubles of one partial or of one shard: two sums a channel. */
static size_t bn_sums(const struct tensor_desc *x) { return 2 * x->c_stored; }

static int bn_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                      struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    layer_plan_float(l, in, needs);
    const struct tensor_desc *x = l->expands ? &l->in_float : in;
    *out = *x;
    static const char *const names[] = { "weight", "bias", "running_mean", "running_var" };
    for (size_t i = 0; i < 4; i++)
        layer_add_param(l, needs, (struct layer_param){ .name = names[i],
                                                        .buffer = i >= BN_RUNNING_MEAN,
                                                        .dims = { in->c }, .n_dims = 1,
                                                        .floats = x->c_stored });
    needs->saved_bytes += bn_saved_bytes(x->c_stored);
    needs->forward_scratch_bytes = x->b * bn_sums(x) * sizeof(double);
    /* partials of every sample's strips, sums of every shard, their tree */
    needs->backward_scratch_bytes = (x->b * bn_strips(x) + l->shards + 1) * bn_sums(x) *
                                    sizeof(double);
    needs->macs = (uint64_t)x->t_stored * x->h * x->w * in->c;
    return 0;
}

/* Normalisation of channel i as y = fma(x, a, b). */
static void bn_affine(const struct layer *l, const struct step *s, struct bn_saved *v, size_t i,
                      double mean, double var)
{
    const double inv_std = 1.0 / sqrt(var + l->spec->u.batch_norm.eps);
    const double gamma = (double)s->w[l->params[BN_WEIGHT].offset + i];
    const double beta = (double)s->w[l->params[BN_BIAS].offset + i];
    v->mean[i] = (float)mean;
    v->inv_std[i] = (float)inv_std;
    v->a[i] = (float)(gamma * inv_std);
    v->b[i] = (float)(beta - mean * gamma * inv_std);
}

static void bn_forward(const struct layer *l, const struct step *s, struct span t)
{
    assert(t.begin == 0 && (l->stream || t.end == l->in.t)); /* statistics always see all T */
    const struct tensor_view x = layer_float_input(l, s, t);
    const size_t c_stored = x.desc.c_stored;
    struct bn_saved v = bn_saved_of(l, s, c_stored);
    const float *running_mean = s->buffers + l->params[BN_RUNNING_MEAN].offset;
    const float *running_var = s->buffers + l->params[BN_RUNNING_VAR].offset;
    if (s->training) {
        double *partial = (double *)(void *)s->scratch;
        bn_partial_sums(s->kc, &x.desc, x.data, partial);
        const double n = bn_count(s, &x.desc, true);
        bn_finish(&x.desc, partial, s->shards, n, v.batch_mean, v.batch_var);
    }
    for (size_t i = 0; i < c_stored; i++) {
        double mean = s->training ? v.batch_mean[i] : (double)running_mean[i];
        double var = s->training ? v.batch_var[i] : (double)running_var[i];
        bn_affine(l, s, &v, i, mean, var);
    }
    if (s->y.data != NULL) bn_apply(s->kc, &x.desc, x.data, v.a, v.b, &s->y.desc, s->y.data);
}

static void bn_commit(const struct layer *l, const struct step *s)
{
    const struct tensor_view x = layer_float_input(l, s, LAYER_NO_STEPS);
    const struct bn_saved v = bn_saved_of(l, s, x.desc.c_stored);
    float *running_mean = s->buffers + l->params[BN_RUNNING_MEAN].offset;
    float *running_var = s->buffers + l->params[BN_RUNNING_VAR].offset;
    const double n = bn_count(s, &x.desc, false);
    const double momentum = l->spec->u.batch_norm.momentum;
    const double unbiased = n > 1.0 ? n / (n - 1.0) : 1.0;
    for (size_t i = 0; i < x.desc.c_stored; i++) {
        double mean = (1.0 - momentum) * (double)running_mean[i] + momentum * v.batch_mean[i];
        double var = (1.0 - momentum) * (double)running_var[i] +
                     momentum * v.batch_var[i] * unbiased;
        running_mean[i] = (float)mean;
        running_var[i] = (float)var;
    }
}

/* Scratch of the backward pass: [b][strips][2][c] partials, [shards][2][c] chains, [2][c] of the
 * batch. */
struct bn_backward {
    double *partial, *shard, *total;
};

static struct bn_backward bn_backward_of(const struct step *s, const struct tensor_desc *x)
{
    double *at = (double *)(void *)s->scratch;
    const size_t sums = bn_sums(x), partials = x->b * bn_strips(x);
    return (struct bn_backward){ at, at + partials * sums, at + (partials + s->shards) * sums };
}

/* Over the samples of a shard and the strips of each. */
static void bn_chain_shards(const struct step *s, const struct bn_backward *w, size_t strips,
                            size_t sums)
{
    for (size_t k = 0; k < s->shards; k++) {
        const struct span b = step_shard(s, k);
        double *chain = w->shard + k * sums;
        memset(chain, 0, sums * sizeof chain[0]);
        for (size_t i = b.begin * strips; i < b.end * strips; i++)
            for (size_t j = 0; j < sums; j++) chain[j] += w->partial[i * sums + j];
    }
    for (size_t j = 0; j < sums; j++) w->total[j] = layer_tree(w->shard + j, s->shards, sums);
}

static void bn_backward_data_layer(const struct layer *l, const struct step *s, struct span t)
{
    assert(t.begin == 0 && t.end == l->in.t);
    const struct tensor_view x = layer_float_input(l, s, LAYER_NO_STEPS);
    const size_t c = x.desc.c_stored;
    const struct bn_saved v = bn_saved_of(l, s, c);
    const struct bn_backward w = bn_backward_of(s, &x.desc);
    if (!s->summed)
        bn_backward_sums(s->kc, &x.desc, x.data, &s->dy.desc, s->dy.data, v.mean, v.inv_std,
                         w.partial);
    bn_chain_shards(s, &w, bn_strips(&x.desc), bn_sums(&x.desc));
    if (s->dx[0].data == NULL) return;
    const double n = bn_count(s, &x.desc, true);
    for (size_t i = 0; i < c; i++) {
        const double inv_std = (double)v.inv_std[i], mean = (double)v.mean[i];
        const double k0 = (double)s->w[l->params[BN_WEIGHT].offset + i] * inv_std;
        const double k2 = s->training ? -k0 * inv_std * w.total[c + i] / n : 0.0;
        const double k1 = s->training ? -k0 * w.total[i] / n - k2 * mean : 0.0;
        v.k0[i] = (float)k0;
        v.k1[i] = (float)k1;
        v.k2[i] = (float)k2;
    }
    bn_backward_data(s->kc, &x.desc, x.data, &s->dy.desc, s->dy.data, v.k0, v.k1, v.k2,
                     &s->dx[0].desc, s->dx[0].data);
}

/* ---- tiles of a sample ----------------------------------------------------------------------- */
void batch_norm_tile(const struct layer *l, const struct step *s, const struct image_tile *at,
                     const struct tensor_view *to)
{
    const struct tensor_desc *x = &s->x[0].desc;
    const struct bn_saved v = bn_saved_of(l, s, x->c_stored);
    bn_apply_tile(s->kc, x, s->x[0].data, v.a, v.b, at, to);
}

float batch_norm_value(const struct layer *l, const struct step *s, size_t channel, float x)
{
    const struct bn_saved v = bn_saved_of(l, s, s->x[0].desc.c_stored);
    return fmaf(x, v.a[channel], v.b[channel]);
}

void batch_norm_tile_sums(const struct layer *l, const struct step *s, const struct tensor_view *dy,
                          const struct image_tile *at)
{
    const struct tensor_desc *x = &s->x[0].desc;
    const struct bn_saved v = bn_saved_of(l, s, x->c_stored);
    bn_backward_sums_tile(s->kc, x, s->x[0].data, &dy->desc, dy->data, v.mean, v.inv_std, at,
                          bn_backward_of(s, x).partial);
}

static void bn_backward_weights(const struct layer *l, const struct step *s)
{
    const struct tensor_view x = layer_float_input(l, s, LAYER_NO_STEPS);
    const size_t c = x.desc.c_stored;
    const double *sum = bn_backward_of(s, &x.desc).shard + s->shard * bn_sums(&x.desc);
    float *dgamma = s->dw + l->params[BN_WEIGHT].offset, *dbeta = s->dw + l->params[BN_BIAS].offset;
    for (size_t i = 0; i < c; i++) {
        dgamma[i] = (float)sum[c + i];
        dbeta[i] = (float)sum[i];
    }
}

static void bn_init(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                    float *values)
{
    (void)key;
    (void)number;
    const int init = l->spec->u.batch_norm.init;
    const bool one = i == BN_RUNNING_VAR || (i == BN_WEIGHT && init == SPEC_NORM_STANDARD) ||
                     (i == BN_BIAS && init == SPEC_NORM_FIRING);
    const float first = one ? 1.0f : 0.0f;
    for (size_t j = 0; j < l->params[i].logical; j++) values[j] = first;
}

static void bn_pack(const struct layer *l, size_t i, const float *values, float *packed)
{
    const struct tensor_desc *x = l->expands ? &l->in_float : &l->in;
    memset(packed, 0, l->params[i].floats * sizeof packed[0]);
    for (size_t j = 0; j < l->params[i].logical; j++) packed[layer_feature(x, j)] = values[j];
}

static void bn_unpack(const struct layer *l, size_t i, const float *packed, float *values)
{
    const struct tensor_desc *x = l->expands ? &l->in_float : &l->in;
    for (size_t j = 0; j < l->params[i].logical; j++) values[j] = packed[layer_feature(x, j)];
}

/* Threshold-dependent batch norm (Zheng et al., AAAI 2021): as above, weights begin at
 * alpha * v_threshold. */
static void threshold_init(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                           float *values)
{
    bn_init(l, i, key, number, values);
    const double first = l->spec->u.batch_norm.alpha * l->spec->u.batch_norm.v_threshold;
    for (size_t j = 0; i == BN_WEIGHT && j < l->params[i].logical; j++) values[j] = (float)first;
}

const struct layer_ops threshold_batch_norm_ops = {
    .name = "threshold_batch_norm",
    .all_steps = "statistics are those of all time-steps",
    .reshape = bn_reshape,
    .forward = bn_forward,
    .commit = bn_commit,
    .backward_data = bn_backward_data_layer,
    .backward_weights = bn_backward_weights,
    .init = threshold_init,
    .pack = bn_pack,
    .unpack = bn_unpack,
};

const struct layer_ops batch_norm_ops = {
    .name = "batch_norm",
    .all_steps = "statistics are those of all time-steps",
    .reshape = bn_reshape,
    .forward = bn_forward,
    .commit = bn_commit,
    .backward_data = bn_backward_data_layer,
    .backward_weights = bn_backward_weights,
    .init = bn_init,
    .pack = bn_pack,
    .unpack = bn_unpack,
};
