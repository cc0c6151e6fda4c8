/* density: whether spikes are visited one by one or expanded to floats: by the forced path, or by
 * how many there are. Both forms give the same bits (order.h). Called by conv_kernel.c and
 * linear_kernel.c on the caller's thread. */
#ifndef WORKER_DENSITY_H
#define WORKER_DENSITY_H

#include "worker/kernels/kernels.h"

/* Whether this call is done by events: inputs are BITS or COUNT8, and the path says so or fewer
 * than `limit` of those of samples b and steps t are not zero. */
bool density_events(const struct kernel_ctx *kc, const struct tensor_desc *d, const void *x,
                    struct span b, struct span t, double limit);

#endif
