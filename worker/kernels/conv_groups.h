/* conv_groups: convolutions of more than one group (private to worker/kernels): the arguments of
 * conv_forward, conv_backward_data and conv_backward_weights, with weights in PyTorch's order. */
#ifndef WORKER_CONV_GROUPS_H
#define WORKER_CONV_GROUPS_H

#include "worker/kernels/kernels.h"

void conv_groups_forward(const struct kernel_ctx *kc, const struct conv_shape *cs,
                         const struct tensor_desc *xd, const void *x, const float *w,
                         const float *bias, const struct tensor_desc *yd, float *y,
                         struct span t);
void conv_groups_backward_data(const struct kernel_ctx *kc, const struct conv_shape *cs,
                               const struct tensor_desc *dyd, const float *dy, const float *w,
                               float x_scale, const struct tensor_desc *dxd, float *dx,
                               struct span t);
void conv_groups_backward_weights(const struct kernel_ctx *kc, const struct conv_shape *cs,
                                  const struct tensor_desc *xd, const void *x,
                                  const struct tensor_desc *dyd, const float *dy, struct span b,
                                  float *dw);

#endif
