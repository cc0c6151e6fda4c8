/* transforms: augmentation and normalisation of one image. Any thread; random numbers depend on
 * (seed, dataset index, epoch, transform number) only. */
#ifndef WORKER_TRANSFORMS_H
#define WORKER_TRANSFORMS_H

#include "common/philox.h"
#include "common/spec.h"

struct sample_place {
    struct philox_key key;
    uint32_t index, epoch;
    size_t c, h, w;
};
/* In place on pixels [C][H][W]; spare has the same size. */
void transforms_apply(const struct spec_dataset *spec, const struct sample_place *at, float *pixels,
                      float *spare);
/* (value - mean) / std by channel. */
void transforms_normalize(const struct spec_dataset *spec, const struct sample_place *at,
                          float *pixels);

#endif
