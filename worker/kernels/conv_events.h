/* conv_events: convolutions of spikes and counts as sums of rows, one an event: forward and
 * backward-weights, with the bits of the dense loops (order.h). Called by conv_kernel.c, which
 * decides; the caller's thread spreads the work over the pool. */
#ifndef WORKER_CONV_EVENTS_H
#define WORKER_CONV_EVENTS_H

#include "worker/kernels/conv_job.h"

/* Whether a forward pass can be done by events: a dilated kernel has few enough taps in a row. */
bool conv_events_forward_fit(const struct conv_shape *cs);
/* Whether a backward-weights pass can be done by events: every tap of every input pixel meets the
 * gradient or its border, and one row of pixels fits the scratch. */
bool conv_events_weights_fit(const struct conv_shape *cs);
/* Bytes of scratch a thread needs, for both passes. */
size_t conv_events_scratch(const struct conv_shape *cs, const struct tensor_desc *xd);
size_t conv_events_weights_scratch(const struct tensor_desc *xd); /* of the second alone */

/* x BITS or COUNT8; one group. Sets the job's band. */
void conv_events_forward(struct conv_job *f);
/* Arguments as in kernels.h; `first`: input channel of the group. */
void conv_events_backward_weights(const struct kernel_ctx *kc, const struct conv_shape *cs,
                                  const struct tensor_desc *xd, const void *x, size_t first,
                                  const struct tensor_desc *dyd, const float *dy, struct span b,
                                  float *dw);

#endif
