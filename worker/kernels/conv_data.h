/* conv_data: gradient of the data of a convolution by register tiles, without the products by zero
 * that a stride would make. Called by conv_kernel.c. Pixels whose rows and columns are equal modulo
 * the stride (a phase; with stride 1 there is one) meet the same taps: each phase is a convolution
 * of stride 1 with its own part of the kernel. */
#ifndef WORKER_CONV_DATA_H
#define WORKER_CONV_DATA_H

#include "worker/kernels/kernels.h"

/* Arguments as those of conv_backward_data, groups 1; bits and order as by the plain loop. The
 * caller's thread spreads the work over the pool. */
void conv_data_backward(const struct kernel_ctx *kc, const struct conv_shape *cs,
                        const struct tensor_desc *dyd, const float *dy, const float *wt,
                        float x_scale, const struct tensor_desc *dxd, float *dx, struct span t);

#endif
