/* encode: see encode.h. */
#include "worker/data/encode.h"

static bool fires(const struct encode_place *at, size_t element, size_t t, float p)
{
    return philox_uniform(at->key, element, at->index, at->epoch, (uint32_t)t) <= p;
}

void encode_sample(enum spec_encoder encoder, const struct encode_place *at, const float *pixels,
                   const struct tensor_desc *d, void *input, size_t b)
{
    for (size_t t = 0; t < d->t_stored; t++)
        for (size_t y = 0; y < d->h; y++)
            for (size_t x = 0; x < d->w; x++)
                for (size_t c = 0; c < d->c; c++) {
                    const size_t element = (c * d->h + y) * d->w + x;
                    float v = pixels[element];
                    if (encoder == SPEC_ENCODER_POISSON) v = fires(at, element, t, v) ? 1.0f : 0.0f;
                    tensor_set(d, input, b, t, c, y, x, v);
                }
}

void encode_frames(const float *frames, const struct tensor_desc *d, void *input, size_t b)
{
    for (size_t t = 0; t < d->t_stored; t++)
        for (size_t c = 0; c < d->c; c++)
            for (size_t y = 0; y < d->h; y++)
                for (size_t x = 0; x < d->w; x++) tensor_set(d, input, b, t, c, y, x, *frames++);
}
