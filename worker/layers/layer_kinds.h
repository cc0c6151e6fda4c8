/* layer_kinds: the ops table of every layer file; adding a layer is one file, one line here and one
 * row in layer.c. */
#ifndef WORKER_LAYER_KINDS_H
#define WORKER_LAYER_KINDS_H

#include "worker/layers/layer.h"

extern const struct layer_ops conv2d_ops, linear_ops, batch_norm_ops, neuron_layer_ops,
    max_pool2d_ops, avg_pool2d_ops, adaptive_avg_pool2d_ops, flatten_ops, dropout_ops, voting_ops,
    residual_ops, upsample_ops, group_norm_ops, threshold_batch_norm_ops, temporal_batch_norm_ops,
    conv1d_ops, conv_transpose2d_ops, synapse_filter_ops, temporal_attention_ops,
    channel_attention_ops, spatial_attention_ops, recurrent_ops, relu_ops;

/* PyTorch's default for convolution and linear layers: weights and bias uniform in +-1/sqrt(fan in)
 * (kaiming_uniform with a = sqrt 5). */
void layer_init_uniform(size_t fan_in, struct philox_key key, uint32_t number, float *values,
                        size_t n);

/* Parameter i of a convolution or linear layer, its weights or bias, as the spec's `init` says. */
struct layer_fan {
    size_t in, out;
};
void layer_init_weights(const struct layer *l, size_t i, enum spec_init init, struct layer_fan fan,
                        struct philox_key key, uint32_t number, float *values);

/* Packing of one value a channel or feature, and of parameters that keep PyTorch's order. */
void layer_pack_plain(const struct layer *l, size_t i, const float *values, float *packed);
void layer_unpack_plain(const struct layer *l, size_t i, const float *packed, float *values);

/* What batch norm puts out at a tile of a sample, as fused.h wants it; one value of it; and its
 * sums of the backward pass from dx, the gradient of that. The sample's first tile begins them. */
void batch_norm_tile(const struct layer *l, const struct step *s, const struct image_tile *at,
                     const struct tensor_view *to);
float batch_norm_value(const struct layer *l, const struct step *s, size_t channel, float x);
void batch_norm_tile_sums(const struct layer *l, const struct step *s, const struct tensor_view *dy,
                          const struct image_tile *at);

/* Sixteen channels of one pixel: F32 and REPEAT, any layout. */
static inline float *layer_block(const struct tensor_view *v, size_t b, size_t t, size_t y,
                                 size_t x, size_t block)
{
    return (float *)v->data + tensor_at(&v->desc, b, t, y, x, block);
}

/* out[i] = sum over the samples of b, in order, of partial[sample*stride + i], i < n; zeros up to
 * a multiple of 16. */
void layer_chain(const double *partial, size_t stride, size_t n, struct span b, float *out);

/* Binary tree over shards of doubles that lie `stride` apart; shards is a power of two. */
double layer_tree(const double *first, size_t shards, size_t stride);

#endif
