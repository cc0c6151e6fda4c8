/* tensor: see tensor.h. Pure arithmetic on descriptors, and slow access to single values. */
#include "worker/tensor/tensor.h"

#include <assert.h>

#define LINE_BYTES 64
#define ALIAS_BYTES 4096 /* addresses this far apart compete for the same cache sets */

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

size_t tensor_element_bytes(enum tensor_kind kind)
{
    switch (kind) {
    case TENSOR_F32:
    case TENSOR_REPEAT: return sizeof(float);
    case TENSOR_BITS: return sizeof(uint64_t);
    case TENSOR_COUNT8: return sizeof(uint8_t);
    }
    return 0;
}

/* Strides above the pixel, from pixel and row: the image itself stays contiguous. */
static void finish_strides(struct tensor_desc *d, size_t image)
{
    const size_t bytes = tensor_element_bytes(d->kind);
    if (d->h * d->w > 1) image = round_up(image, LINE_BYTES / bytes);
    if (image * bytes % ALIAS_BYTES == 0) image += LINE_BYTES / bytes;
    d->time = image;
    d->sample = d->t_stored * image;
    d->elements = d->b * d->sample;
}

struct tensor_desc tensor_make(enum tensor_kind kind, size_t b, size_t t, size_t c, size_t h,
                               size_t w)
{
    const bool wide = kind == TENSOR_BITS || kind == TENSOR_COUNT8;
    const size_t c_stored = round_up(c, wide ? 64 : 16);
    const size_t pixel = kind == TENSOR_BITS ? c_stored / 64 : c_stored;
    struct tensor_desc d = {
        .kind = kind, .b = b, .t = t, .h = h, .w = w, .c = c, .c_stored = c_stored,
        .t_stored = kind == TENSOR_REPEAT ? 1 : t,
        .row = w * pixel, .pixel = pixel, .block32 = 32, .scale = 1.0f,
        .flat_h = 1, .flat_w = 1, .flat_c = c, .flat_c_stored = c_stored,
    };
    if (wide) d.largest = kind == TENSOR_BITS ? 1 : UINT8_MAX;
    finish_strides(&d, h * d.row);
    return d;
}

struct tensor_desc tensor_gradient(const struct tensor_desc *of, bool blocked)
{
    const enum tensor_kind kind = of->kind == TENSOR_REPEAT ? TENSOR_REPEAT : TENSOR_F32;
    const struct tensor_desc image = tensor_image(of);
    struct tensor_desc d = tensor_make(kind, of->b, of->t, image.c, image.h, image.w);
    if (of->flat_h * of->flat_w > 1) {
        assert(!blocked);
        return tensor_flatten(&d);
    }
    if (!blocked) return d;
    d.blocked = true;
    d.c_stored = round_up(d.c, 32);
    d.flat_c_stored = d.c_stored;
    d.pixel = 32;
    d.row = (d.w + 2) * 32;
    d.block32 = (d.h + 2) * d.row;
    d.origin = d.row + d.pixel;
    finish_strides(&d, d.c_stored / 32 * d.block32);
    return d;
}

struct tensor_desc tensor_flatten(const struct tensor_desc *in)
{
    struct tensor_desc d = *in;
    if (in->h * in->w == 1) return d;
    d.flat_h = in->h;
    d.flat_w = in->w;
    d.flat_c = in->c;
    d.flat_c_stored = in->c_stored;
    d.c = in->h * in->w * in->c;
    d.c_stored = in->h * in->w * in->c_stored;
    d.pixel = in->h * in->row;
    d.row = d.pixel;
    d.h = d.w = 1;
    return d;
}

struct tensor_view tensor_steps(const struct tensor_view *v, struct span t)
{
    struct tensor_view part = *v;
    part.desc.t = t.end - t.begin;
    if (v->desc.t_stored != v->desc.t || v->data == NULL) return part; /* one step for all */
    part.desc.t_stored = part.desc.t;
    part.data = (unsigned char *)v->data +
                t.begin * v->desc.time * tensor_element_bytes(v->desc.kind);
    return part;
}

size_t tensor_bytes(const struct tensor_desc *d)
{
    return d->elements * tensor_element_bytes(d->kind);
}

/* Element offset of one channel, any kind but BITS. */
static size_t element_at(const struct tensor_desc *d, size_t b, size_t t, size_t c, size_t y,
                         size_t x)
{
    const size_t feature = d->flat_h * d->flat_w > 1 ? tensor_flat_index(d, c) : c;
    return tensor_at(d, b, t, y, x, feature / 16) + feature % 16;
}

static size_t bit_at(const struct tensor_desc *d, size_t b, size_t t, size_t c, size_t y, size_t x)
{
    const size_t feature = d->flat_h * d->flat_w > 1 ? tensor_flat_index(d, c) : c;
    return (b * d->sample + t * d->time + y * d->row + x * d->pixel) * 64 + feature;
}

float tensor_get(const struct tensor_desc *d, const void *data, size_t b, size_t t, size_t c,
                 size_t y, size_t x)
{
    if (d->kind == TENSOR_BITS) {
        const size_t bit = bit_at(d, b, t, c, y, x);
        return (float)(((const uint64_t *)data)[bit / 64] >> bit % 64 & 1) * d->scale;
    }
    const size_t at = element_at(d, b, t, c, y, x);
    const float v = d->kind == TENSOR_COUNT8 ? (float)((const uint8_t *)data)[at]
                                             : ((const float *)data)[at];
    return v * d->scale;
}

void tensor_set(const struct tensor_desc *d, void *data, size_t b, size_t t, size_t c, size_t y,
                size_t x, float value)
{
    if (d->kind == TENSOR_BITS) {
        const size_t bit = bit_at(d, b, t, c, y, x);
        uint64_t *word = (uint64_t *)data + bit / 64;
        const uint64_t mask = (uint64_t)1 << bit % 64;
        *word = value != 0.0f ? *word | mask : *word & ~mask;
        return;
    }
    const size_t at = element_at(d, b, t, c, y, x);
    if (d->kind == TENSOR_COUNT8) ((uint8_t *)data)[at] = (uint8_t)value;
    else ((float *)data)[at] = value;
}

uint64_t tensor_count(const struct tensor_desc *d, const void *data, size_t b0, size_t b1)
{
    const struct tensor_desc image = tensor_image(d);
    const size_t used = image.h * image.row; /* elements of an image, without its gap */
    uint64_t total = 0;
    for (size_t b = b0; b < b1; b++)
        for (size_t t = 0; t < d->t_stored; t++) {
            const size_t at = b * d->sample + t * d->time;
            for (size_t i = 0; i < used; i++)
                total += d->kind == TENSOR_BITS
                             ? (uint64_t)__builtin_popcountll(((const uint64_t *)data)[at + i])
                             : ((const uint8_t *)data)[at + i];
        }
    return total;
}
