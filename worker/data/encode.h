/* encode: one image into T time-steps of a net's input. Any thread. */
#ifndef WORKER_ENCODE_H
#define WORKER_ENCODE_H

#include "common/philox.h"
#include "common/spec.h"
#include "worker/tensor/tensor.h"

struct encode_place {
    struct philox_key key;
    uint32_t index, epoch;
};
/* pixels [C][H][W] into sample b of the tensor.
 * direct: the image itself, REPEAT or at every step of F32. poisson: BITS or F32; a spike where
 * uniform(element, index, epoch, time-step) <= pixel, pixel in [0, 1] (SpikingJelly's rule). */
void encode_sample(enum spec_encoder encoder, const struct encode_place *at, const float *pixels,
                   const struct tensor_desc *d, void *input, size_t b);

/* A sample with a time of its own: frames [T][C][H][W] into sample b of an F32 tensor. */
void encode_frames(const float *frames, const struct tensor_desc *d, void *input, size_t b);

#endif
