/* layer: the table of layer kinds and what they share. Called by nets/ on the main thread. */
#include "worker/layers/layer.h"

#include "common/mem.h"
#include "worker/layers/layer_kinds.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const struct layer_ops *layer_ops_of(enum spec_layer_type type)
{
    static const struct layer_ops *const table[SPEC_LAYER_TYPE_COUNT] = {
        [SPEC_CONV2D] = &conv2d_ops,
        [SPEC_LINEAR] = &linear_ops,
        [SPEC_BATCH_NORM] = &batch_norm_ops,
        [SPEC_NEURON] = &neuron_layer_ops,
        [SPEC_MAX_POOL2D] = &max_pool2d_ops,
        [SPEC_AVG_POOL2D] = &avg_pool2d_ops,
        [SPEC_ADAPTIVE_AVG_POOL2D] = &adaptive_avg_pool2d_ops,
        [SPEC_FLATTEN] = &flatten_ops,
        [SPEC_DROPOUT] = &dropout_ops,
        [SPEC_VOTING] = &voting_ops,
        [SPEC_RESIDUAL] = &residual_ops,
        [SPEC_RECURRENT] = &recurrent_ops,
        [SPEC_RELU] = &relu_ops,
        [SPEC_CONV1D] = &conv1d_ops,
        [SPEC_CONV_TRANSPOSE2D] = &conv_transpose2d_ops,
        [SPEC_SYNAPSE_FILTER] = &synapse_filter_ops,
        [SPEC_TEMPORAL_ATTENTION] = &temporal_attention_ops,
        [SPEC_CHANNEL_ATTENTION] = &channel_attention_ops,
        [SPEC_SPATIAL_ATTENTION] = &spatial_attention_ops,
        [SPEC_UPSAMPLE] = &upsample_ops,
        [SPEC_GROUP_NORM] = &group_norm_ops,
        [SPEC_THRESHOLD_BATCH_NORM] = &threshold_batch_norm_ops,
        [SPEC_TEMPORAL_BATCH_NORM] = &temporal_batch_norm_ops,
    };
    assert(type < SPEC_LAYER_TYPE_COUNT && table[type] != NULL);
    return table[type];
}

void layer_add_param(struct layer *l, struct layer_needs *needs, struct layer_param p)
{
    assert(needs->n_params < LAYER_PARAMS_MAX);
    size_t *floats = p.buffer ? &needs->buffer_floats : &needs->weight_floats;
    p.logical = 1;
    for (size_t i = 0; i < p.n_dims; i++) p.logical *= p.dims[i];
    p.floats = mem_align(p.floats, 16);
    p.offset = *floats;
    *floats += p.floats;
    l->params[l->n_params++] = p;
    needs->params[needs->n_params++] = p;
}

int layer_shape(const struct layer *l, const struct tensor_desc *in, struct spec_shape *out,
                struct err *e)
{
    struct spec_shape shape = { (int64_t)in->c, (int64_t)in->h, (int64_t)in->w };
    return spec_layer_shape(l->spec, shape, out, e);
}

static size_t float_bytes(const struct layer *l)
{
    return l->expands ? mem_align(tensor_bytes(&l->in_float), 64) : 0;
}

void layer_plan_float(struct layer *l, const struct tensor_desc *in, struct layer_needs *needs)
{
    l->expands = in->kind == TENSOR_BITS || in->kind == TENSOR_COUNT8;
    if (!l->expands) return;
    const struct tensor_desc image = tensor_image(in);
    l->in_float = tensor_make(TENSOR_F32, in->b, in->t, image.c, image.h, image.w);
    if (in->flat_h * in->flat_w > 1) l->in_float = tensor_flatten(&l->in_float);
    needs->saved_bytes += float_bytes(l);
}

/* The copy in saved, elements times `scale`. */
static struct tensor_view expanded(const struct layer *l, const struct step *s, struct span t,
                                   float scale)
{
    struct tensor_view x = { .desc = l->in_float, .data = s->saved };
    x.desc.b = s->x[0].desc.b;
    if (t.end == t.begin) return x;
    struct tensor_view from = tensor_steps(&s->x[0], t), to = tensor_steps(&x, t);
    from.desc.scale = scale;
    tensor_expand(s->kc, &from.desc, from.data, &to.desc, to.data);
    return x;
}

struct tensor_view layer_float_input(const struct layer *l, const struct step *s, struct span t)
{
    return l->expands ? expanded(l, s, t, s->x[0].desc.scale) : s->x[0];
}

struct tensor_view layer_dense_input(const struct layer *l, const struct step *s, struct span t)
{
    if (!l->expands) return s->x[0];
    struct tensor_view x = expanded(l, s, t, 1.0f);
    x.desc.scale = s->x[0].desc.scale;
    return x;
}

struct span layer_stored(const struct tensor_desc *d, struct span t)
{
    return d->t_stored == 1 ? (struct span){ 0, 1 } : t;
}

void *layer_saved(const struct layer *l, const struct step *s) { return s->saved + float_bytes(l); }

struct span step_shard(const struct step *s, size_t i)
{
    const size_t samples = s->x[0].desc.b;
    return (struct span){ samples * i / s->shards, samples * (i + 1) / s->shards };
}

size_t layer_feature(const struct tensor_desc *d, size_t j)
{
    return d->flat_h * d->flat_w > 1 ? tensor_flat_index(d, j) : j;
}

void layer_init_uniform(size_t fan_in, struct philox_key key, uint32_t number, float *values,
                        size_t n)
{
    const float bound = 1.0f / sqrtf((float)fan_in);
    philox_fill_uniform(key, 0, 0, number, values, n);
    for (size_t i = 0; i < n; i++) values[i] = (2.0f * values[i] - 1.0f) * bound;
}

void layer_init_weights(const struct layer *l, size_t i, enum spec_init init, struct layer_fan fan,
                        struct philox_key key, uint32_t number, float *values)
{
    const struct layer_param *p = &l->params[i];
    if (init == SPEC_INIT_UNIFORM) {
        layer_init_uniform(fan.in, key, number, values, p->logical);
        return;
    }
    const float deviation = init == SPEC_INIT_SMALL_NORMAL ? 0.01f : sqrtf(2.0f / (float)fan.out);
    const bool bias = strcmp(p->name, "bias") == 0;
    for (size_t j = 0; j < p->logical; j++)
        values[j] = bias ? 0.0f : deviation * philox_normal(key, j, 0, 0, number);
}

void layer_pack_plain(const struct layer *l, size_t i, const float *values, float *packed)
{
    memset(packed, 0, l->params[i].floats * sizeof packed[0]);
    memcpy(packed, values, l->params[i].logical * sizeof packed[0]);
}

void layer_unpack_plain(const struct layer *l, size_t i, const float *packed, float *values)
{
    memcpy(values, packed, l->params[i].logical * sizeof packed[0]);
}

void layer_chain(const double *partial, size_t stride, size_t n, struct span b, float *out)
{
    memset(out, 0, mem_align(n, 16) * sizeof out[0]);
    for (size_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (size_t k = b.begin; k < b.end; k++) sum += partial[k * stride + i];
        out[i] = (float)sum;
    }
}

double layer_tree(const double *first, size_t shards, size_t stride)
{
    if (shards == 1) return first[0];
    return layer_tree(first, shards / 2, stride) +
           layer_tree(first + shards / 2 * stride, shards / 2, stride);
}
