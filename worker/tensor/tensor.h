/* tensor: what a block of arena memory means. A descriptor owns nothing.
 *
 * Logical shape is [T, B, C, H, W]; memory is sample first (design 5.5):
 *   F32, REPEAT  float    [B][T][H][W][C], C padded to 16; REPEAT stores one time-step that stands
 *                         for all T (static prefix, design 5.2)
 *   BITS         uint64_t [B][T][H][W][ceil(C/64)], channel c = bit c%64 of word c/64, spare bits 0
 *   COUNT8       uint8_t  [B][T][H][W][C], C padded to 64 (sums of spikes)
 * An image is one (sample, time-step). A value read is element * scale (dropout and average pooling
 * of spikes keep them spikes). Gradients are F32; where a convolution reads them they are stored
 * [image][C/32][H+2][W+2][32] with a border of zeros (TENSOR_BLOCKED).
 *
 * All strides count elements of the kind (floats, words, bytes). One address rule serves every
 * layout, for blocks of 16 channels (F32):
 *   origin + b*sample + t*time + y*row + x*pixel + (block16/2)*block32 + (block16%2)*16 */
#ifndef WORKER_TENSOR_H
#define WORKER_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tensor_kind { TENSOR_F32, TENSOR_REPEAT, TENSOR_BITS, TENSOR_COUNT8 };

struct tensor_desc {
    enum tensor_kind kind;
    bool blocked;        /* [image][C/32][H+2][W+2][32]; F32 and REPEAT only */
    size_t b, t;         /* samples; time-steps (also for REPEAT) */
    size_t h, w, c;      /* features: h = w = 1 */
    size_t c_stored;     /* channels stored a pixel, padding included (bits for BITS) */
    size_t t_stored;     /* t, or 1 for REPEAT */
    size_t origin, sample, time, row, pixel, block32; /* strides */
    size_t elements;     /* to allocate, padding included */
    float scale;
    size_t largest;      /* element of BITS or COUNT8: bound known at reshape */
    bool scaled;         /* of BITS or COUNT8: scale may differ from 1 in some mode */
    /* Flattened view of an image: the feature order in memory is [flat_h][flat_w][flat_c_stored],
     * PyTorch's is [flat_c][flat_h][flat_w]. Set by flatten; 1, 1, c, c_stored otherwise. c is then
     * the logical number of features and c_stored the physical one. */
    size_t flat_h, flat_w, flat_c, flat_c_stored;
};

/* Dense descriptor of a kind. Image strides are kept away from powers of two. */
struct tensor_desc tensor_make(enum tensor_kind kind, size_t b, size_t t, size_t c, size_t h,
                               size_t w);
/* The gradient of a tensor: F32 of the same shape (REPEAT stays REPEAT), scale 1. */
struct tensor_desc tensor_gradient(const struct tensor_desc *of, bool blocked);
/* View of [B, T, C, H, W] as [B, T, C*H*W]; memory is the same. */
struct tensor_desc tensor_flatten(const struct tensor_desc *in);
size_t tensor_bytes(const struct tensor_desc *d);
size_t tensor_element_bytes(enum tensor_kind kind);

/* Offset in elements of channel block16 (16 floats) of a pixel; F32 and REPEAT. */
static inline size_t tensor_at(const struct tensor_desc *d, size_t b, size_t t, size_t y, size_t x,
                               size_t block16)
{
    return d->origin + b * d->sample + (d->t_stored == 1 ? 0 : t) * d->time + y * d->row +
           x * d->pixel + (block16 / 2) * d->block32 + (block16 % 2) * 16;
}
/* Physical feature index of logical (PyTorch) feature j of a flattened view. */
static inline size_t tensor_flat_index(const struct tensor_desc *d, size_t j)
{
    size_t per = d->flat_h * d->flat_w, ch = j / per, yx = j % per;
    return yx * d->flat_c_stored + ch;
}
/* The image behind a flattened view (the inverse of tensor_flatten); any other tensor as it is.
 * Element-wise layers work on it, so that padding stays where the layout has it. */
static inline struct tensor_desc tensor_image(const struct tensor_desc *d)
{
    struct tensor_desc image = *d;
    if (d->h * d->w != 1 || d->flat_h * d->flat_w == 1) return image;
    image.h = d->flat_h;
    image.w = d->flat_w;
    image.c = d->flat_c;
    image.c_stored = d->flat_c_stored;
    image.pixel = d->kind == TENSOR_BITS ? d->flat_c_stored / 64 : d->flat_c_stored;
    image.row = image.w * image.pixel;
    image.flat_h = image.flat_w = 1;
    return image;
}
/* A descriptor and its memory. data NULL: absent. */
struct tensor_view {
    struct tensor_desc desc;
    void *data;
};
/* Time-steps [begin, end) or samples [begin, end). */
struct span {
    size_t begin, end;
};
/* The same memory, of these time-steps only. */
struct tensor_view tensor_steps(const struct tensor_view *v, struct span t);
/* One logical value, any kind and layout, scale applied: for tests, readouts and monitors. */
float tensor_get(const struct tensor_desc *d, const void *data, size_t b, size_t t, size_t c,
                 size_t y, size_t x);
void tensor_set(const struct tensor_desc *d, void *data, size_t b, size_t t, size_t c, size_t y,
                size_t x, float value); /* value is the element, before scale */
/* Spikes in a BITS tensor, or the sum of a COUNT8 one, over samples [b0, b1). Exact. */
uint64_t tensor_count(const struct tensor_desc *d, const void *data, size_t b0, size_t b1);

#endif
