/* pool_tile: the gradient of pooled spikes for a tile of a sample whose windows are its own
 * (kernels.h, max_pool_backward_tile). Any thread. */
#ifndef WORKER_POOL_TILE_H
#define WORKER_POOL_TILE_H

#include "worker/kernels/kernels.h"

#define POOL_TILE_TAPS_MAX 16 /* of a window */

/* xd is BITS; every position of a window of [oy] x [ox] is written, steps at->t. */
void pool_tile_route(const struct kernel_ctx *kc, const struct pool_shape *ps,
                     const struct tensor_desc *xd, const uint64_t *x, const struct tensor_desc *dyd,
                     const float *dy, const struct image_tile *at, struct span oy, struct span ox,
                     const struct tensor_view *dx);

#endif
