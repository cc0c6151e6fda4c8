/* conv_few: convolutions of few input channels, as the first layer of a network has: an output
 * pixel's inputs, all taps, are one short row (a patch), and the product of such rows with the
 * weights one stretch. Called by conv_kernel.c; arguments as those of its passes, bits too. */
#ifndef WORKER_CONV_FEW_H
#define WORKER_CONV_FEW_H

#include "worker/kernels/conv_job.h"

/* Whether a shape is done so: floats, one group, patches of at most CONV_PATCH_MAX floats. */
bool conv_few_used(const struct conv_shape *cs, const struct tensor_desc *xd);
void conv_few_forward(const struct conv_job *f); /* band: not used */
void conv_few_backward_weights(const struct kernel_ctx *kc, const struct conv_shape *cs,
                               const struct tensor_desc *xd, const void *x,
                               const struct tensor_desc *dyd, const float *dy, struct span b,
                               float *dw);

#endif
