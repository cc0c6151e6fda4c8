/* conv_narrow: convolutions of few channels a group, depthwise ones above all (private to
 * worker/kernels): vectors run across channels, whose inputs are spread to the lanes of their
 * group. Any number of groups and channels; bits and orders as by the plain loops (order.h). */
#ifndef WORKER_CONV_NARROW_H
#define WORKER_CONV_NARROW_H

#include "worker/kernels/kernels.h"

size_t conv_narrow_scratch(const struct conv_shape *cs); /* bytes a thread, for all passes */
/* Arguments as those of conv_forward, conv_backward_data and conv_backward_weights; t: stored
 * steps. */
void conv_narrow_forward(const struct kernel_ctx *kc, const struct conv_shape *cs,
                         const struct tensor_desc *xd, const void *x, const float *w,
                         const float *bias, const struct tensor_desc *yd, float *y, struct span t);
void conv_narrow_backward_data(const struct kernel_ctx *kc, const struct conv_shape *cs,
                               const struct tensor_desc *dyd, const float *dy, const float *wt,
                               float x_scale, const struct tensor_desc *dxd, float *dx,
                               struct span t);
void conv_narrow_backward_weights(const struct kernel_ctx *kc, const struct conv_shape *cs,
                                  const struct tensor_desc *xd, const void *x,
                                  const struct tensor_desc *dyd, const float *dy, struct span b,
                                  float *dw);

#endif
