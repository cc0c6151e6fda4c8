/* transforms: see transforms.h. */
#include "worker/data/transforms.h"

#include <string.h>

/* Zeros around, then the old size at a random place: a shift by up to `padding` with zeros moved
 * in. */
static void random_crop(const struct spec_transform *t, const struct sample_place *at,
                        uint32_t number, float *pixels, float *spare)
{
    const uint32_t places = (uint32_t)(2 * t->padding + 1);
    const int64_t dy = (int64_t)philox_below(at->key, 0, at->index, at->epoch, number, places) -
                       t->padding;
    const int64_t dx = (int64_t)philox_below(at->key, 1, at->index, at->epoch, number, places) -
                       t->padding;
    const int64_t h = (int64_t)at->h, w = (int64_t)at->w;
    memcpy(spare, pixels, at->c * at->h * at->w * sizeof spare[0]);
    for (size_t c = 0; c < at->c; c++)
        for (int64_t y = 0; y < h; y++)
            for (int64_t x = 0; x < w; x++) {
                const int64_t sy = y + dy, sx = x + dx;
                const bool inside = sy >= 0 && sy < h && sx >= 0 && sx < w;
                float *to = pixels + ((int64_t)c * h + y) * w + x;
                *to = inside ? spare[((int64_t)c * h + sy) * w + sx] : 0.0f;
            }
}

static void horizontal_flip(const struct spec_transform *t, const struct sample_place *at,
                            uint32_t number, float *pixels)
{
    if (philox_uniform(at->key, 0, at->index, at->epoch, number) >= (float)t->p) return;
    for (size_t row = 0; row < at->c * at->h; row++)
        for (size_t x = 0; x < at->w / 2; x++) {
            float *a = pixels + row * at->w + x, *b = pixels + row * at->w + at->w - 1 - x;
            const float keep = *a;
            *a = *b;
            *b = keep;
        }
}

void transforms_apply(const struct spec_dataset *spec, const struct sample_place *at, float *pixels,
                      float *spare)
{
    for (size_t i = 0; i < spec->n_transforms; i++) {
        const struct spec_transform *t = &spec->transforms[i];
        switch (t->type) {
        case SPEC_RANDOM_CROP: random_crop(t, at, (uint32_t)i, pixels, spare); break;
        case SPEC_HORIZONTAL_FLIP: horizontal_flip(t, at, (uint32_t)i, pixels); break;
        }
    }
}

void transforms_normalize(const struct spec_dataset *spec, const struct sample_place *at,
                          float *pixels)
{
    if (spec->n_normalize == 0) return;
    for (size_t c = 0; c < at->c; c++) {
        const size_t i = spec->n_normalize == 1 ? 0 : c;
        const float mean = (float)spec->mean[i], std = (float)spec->std[i];
        for (size_t p = 0; p < at->h * at->w; p++) {
            float *v = pixels + c * at->h * at->w + p;
            *v = (*v - mean) / std;
        }
    }
}
