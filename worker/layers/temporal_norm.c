/* temporal_norm: temporal effective batch normalisation (Duan et al., NeurIPS 2022): batch norm
 * over T*B*H*W, then a learned factor p[t] for each time-step, called scale in files. Called
 * through layer_ops on the main thread; an image or sample an item of the pool.
 *
 * Batch norm runs as it is on a tensor of this layer's own, z; y[t] = p[t] * z[t]. Of a REPEAT
 * input z is one step, y is all of them. dp[t] = sum of dy[t] * z: per sample in double, chained
 * inside a shard (design 5.8). */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>
#include <string.h>

#define TN_P 4 /* parameters 0 .. 3 are those of batch_norm, whose part of memory comes first */

/* z lies in saved behind what batch_norm keeps; dz and the sums in scratch behind its own. */
static size_t z_bytes(const struct tensor_desc *z) { return mem_align(tensor_bytes(z), 64); }

static struct tensor_desc z_desc(const struct layer *l)
{
    return l->expands ? l->in_float : l->in;
}

static int tn_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                      struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    if (batch_norm_ops.reshape(l, in, n_in, out, needs, e) != 0) return (int)e->code;
    const struct tensor_desc z = *out;
    if (in->flat_h * in->flat_w > 1)
        return err_set(e, ERR_SPEC, "temporal_batch_norm cannot follow flatten");
    if (z.kind == TENSOR_REPEAT) *out = tensor_make(TENSOR_F32, z.b, z.t, z.c, z.h, z.w);
    l->u.norm.saved_bytes = needs->saved_bytes = mem_align(needs->saved_bytes, 64);
    l->u.norm.scratch_bytes = mem_align(needs->backward_scratch_bytes, 64);
    needs->saved_bytes += z_bytes(&z);
    needs->backward_scratch_bytes =
        l->u.norm.scratch_bytes + z_bytes(&z) + z.b * z.t * sizeof(double);
    needs->macs *= 2;
    static const char *const names[] = { "bn.weight", "bn.bias", "bn.running_mean",
                                         "bn.running_var" };
    for (size_t i = 0; i < TN_P; i++) l->params[i].name = needs->params[i].name = names[i];
    layer_add_param(l, needs, (struct layer_param){ .name = "scale", .dims = { l->time_steps },
                                                    .n_dims = 1,
                                                    .floats = l->time_steps });
    return 0;
}

static struct tensor_view z_view(const struct layer *l, const struct step *s, void *data)
{
    struct tensor_view z = { .desc = z_desc(l), .data = data };
    z.desc.b = s->y.desc.b;
    z.desc.scale = 1.0f;
    return z;
}

struct tn {
    struct tensor_view z, dz, y;
    const float *p; /* of step 0 of the tensors */
    double *sums;   /* [b][t] */
    size_t t_count;
};

static struct tn tn_of(const struct layer *l, const struct step *s)
{
    unsigned char *scratch = s->scratch + l->u.norm.scratch_bytes;
    struct tn k = { .z = z_view(l, s, s->saved + l->u.norm.saved_bytes),
                    .dz = z_view(l, s, scratch), .p = s->w + l->params[TN_P].offset + s->first_step,
                    .t_count = l->in.t };
    k.sums = (double *)(void *)(scratch + z_bytes(&k.z.desc));
    return k;
}

static size_t blocks_of(const struct tensor_desc *d) { return d->c_stored / 16; }

static void scale_image(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct tn *k = ctx;
    const struct tensor_desc *d = &k->y.desc;
    const size_t b = item / k->t_count, t = item % k->t_count;
    for (size_t p = 0; p < d->h * d->w; p++)
        for (size_t block = 0; block < blocks_of(d); block++) {
            const float *z = layer_block(&k->z, b, t, p / d->w, p % d->w, block);
            float *y = layer_block(&k->y, b, t, p / d->w, p % d->w, block);
            for (size_t c = 0; c < 16; c++) y[c] = z[c] * k->p[t];
        }
}

static void tn_forward(const struct layer *l, const struct step *s, struct span t)
{
    struct step inner = *s;
    struct tn k = tn_of(l, s);
    inner.y = k.z;
    batch_norm_ops.forward(l, &inner, t);
    k.y = s->y;
    k.t_count = t.end;
    threads_run(s->kc->threads, k.y.desc.b * k.t_count, scale_image, &k);
}

/* dz and the sums of one sample; a REPEAT z takes the sum over t ascending. */
static void unscale_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct tn *k = ctx;
    const struct tensor_desc *d = &k->z.desc;
    const bool once = d->t_stored == 1;
    memset(k->sums + b * k->t_count, 0, k->t_count * sizeof k->sums[0]);
    for (size_t t = 0; t < k->t_count; t++)
        for (size_t p = 0; p < d->h * d->w; p++)
            for (size_t block = 0; block < blocks_of(d); block++) {
                const float *z = layer_block(&k->z, b, t, p / d->w, p % d->w, block);
                const float *dy = layer_block(&k->y, b, t, p / d->w, p % d->w, block);
                float *dz = layer_block(&k->dz, b, t, p / d->w, p % d->w, block);
                double dot = 0.0;
                for (size_t c = 0; c < 16; c++) {
                    dot += (double)dy[c] * (double)z[c];
                    dz[c] = (once && t > 0 ? dz[c] : 0.0f) + dy[c] * k->p[t];
                }
                k->sums[b * k->t_count + t] += dot;
            }
}

static void tn_commit(const struct layer *l, const struct step *s)
{
    batch_norm_ops.commit(l, s);
}

static void tn_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    struct step inner = *s;
    struct tn k = tn_of(l, s);
    k.y = s->dy;
    threads_run(s->kc->threads, k.z.desc.b, unscale_sample, &k);
    inner.dy = k.dz;
    batch_norm_ops.backward_data(l, &inner, t);
}

static void tn_backward_weights(const struct layer *l, const struct step *s)
{
    const struct tn k = tn_of(l, s);
    batch_norm_ops.backward_weights(l, s);
    layer_chain(k.sums, k.t_count, k.t_count, step_shard(s, s->shard),
                s->dw + l->params[TN_P].offset);
}

static void tn_init(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                    float *values)
{
    if (i != TN_P) batch_norm_ops.init(l, i, key, number, values);
    else
        for (size_t t = 0; t < l->time_steps; t++) values[t] = 1.0f;
}

static void tn_pack(const struct layer *l, size_t i, const float *values, float *packed)
{
    if (i == TN_P) layer_pack_plain(l, i, values, packed);
    else batch_norm_ops.pack(l, i, values, packed);
}

static void tn_unpack(const struct layer *l, size_t i, const float *packed, float *values)
{
    if (i == TN_P) layer_unpack_plain(l, i, packed, values);
    else batch_norm_ops.unpack(l, i, packed, values);
}

const struct layer_ops temporal_batch_norm_ops = {
    .name = "temporal_batch_norm",
    .all_steps = "statistics are those of all time-steps",
    .reshape = tn_reshape,
    .forward = tn_forward,
    .commit = tn_commit,
    .backward_data = tn_backward_data,
    .backward_weights = tn_backward_weights,
    .init = tn_init,
    .pack = tn_pack,
    .unpack = tn_unpack,
};
