/* surrogate: derivatives that stand in for the step function in the backward pass. One row of
 * common/spec_surrogates.def and one inline function in isa_surrogate.c each.
 * Used by the neuron loops (any thread; pure). */
#ifndef WORKER_SURROGATE_H
#define WORKER_SURROGATE_H

#include "common/spec_neuron.h"
#include "worker/kernels/kernels.h"

#include <stddef.h>

/* g[i] = surrogate derivative at x = h[i] - v_threshold; n is a multiple of 16, k the row's
 * parameters in float. h and g may be the same memory. */
typedef void surrogate_fn(const float *k, const float *h, float v_threshold, float *g, size_t n);

struct surrogate {
    surrogate_fn *gradient;
    float k[SPEC_SURROGATE_PARAMS_MAX];
    enum spec_firing firing;
};

/* The surrogate of a spec for one instruction set. */
struct surrogate surrogate_make(const struct spec_surrogate *spec, enum isa isa);

#endif
