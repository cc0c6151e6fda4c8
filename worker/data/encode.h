/* encode: one sample into T time-steps of a net's input. An encoder is made once for a run and then
 * read by any thread. */
#ifndef WORKER_ENCODE_H
#define WORKER_ENCODE_H

#include "common/philox.h"
#include "common/spec.h"
#include "worker/tensor/tensor.h"

struct encoder {
    enum spec_encoder type;
    size_t t;      /* time-steps of a code */
    bool log;      /* latency: by logarithm, else linear */
    size_t phases; /* weighted_phase */
    double least[SPEC_TIME_STEPS_MAX]; /* latency by logarithm: smallest value firing by step k */
};
struct encode_place {
    struct philox_key key;
    uint32_t index, epoch;
};
/* t: time-steps, 1 to SPEC_TIME_STEPS_MAX. */
void encoder_init(struct encoder *e, const struct spec_dataset *spec, size_t t);
/* pixels [C][H][W], in [0, 1] unless direct, into sample b of a tensor: REPEAT for direct, BITS or
 * F32 else, of any number of time-steps: a code shorter than that repeats.
 *   direct          the image itself at every step
 *   poisson         a spike where uniform(element, index, epoch, time-step) <= x
 *   latency         one spike, at round((T-1)(1-x)), or at round(T-1 - ln(a x + 1)) with
 *                   a = exp(T-1) - 1; halves go to the even step
 *   weighted_phase  the K binary digits of x, most significant first; 1 is all ones
 * (SpikingJelly's rules.) */
void encode_sample(const struct encoder *e, const struct encode_place *at, const float *pixels,
                   const struct tensor_desc *d, void *input, size_t b);
/* Frames [period][C][H][W] over and over: time-step t takes frame t mod period. An image is a
 * period of one. */
void encode_periodic(const float *frames, size_t period, const struct tensor_desc *d, void *input,
                     size_t b);
/* Step of the latency code's spike. */
size_t encode_latency(const struct encoder *e, float x);

#endif
