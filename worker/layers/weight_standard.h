/* weight_standard: weights of a convolution brought to mean 0 and variance 1 / fan in, an output
 * channel at a time, then multiplied by a learned gain (weight standardisation with gain; Brock et
 * al., ICLR 2021). Called by conv2d.c on the main thread; plain loops over PyTorch's order.
 *
 *   u = w - mean(w);  d = sqrt(var * n + eps), var with n - 1, n the fan in;  w' = gain * u / d */
#ifndef WORKER_WEIGHT_STANDARD_H
#define WORKER_WEIGHT_STANDARD_H

#include <stddef.h>

#define WEIGHT_STANDARD_EPS 1e-4

/* w [k][n] -> out [k][n]. */
void weight_standard(const float *w, const float *gain, size_t k, size_t n, float *out);
/* From dL/dw' in g [k][n]: dL/dw in dw [k][n], dL/dgain [k]. Sums in double, in order. */
void weight_standard_backward(const float *w, const float *gain, const float *g, size_t k, size_t n,
                              float *dw, float *dgain);

#endif
