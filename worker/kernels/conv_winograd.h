/* conv_winograd: gradient of the data of 3 x 3 convolutions by Winograd's F(4 x 4, 3 x 3) (Lavin
 * and Gray, CVPR 2016), 36 products a tile where the direct sum has 144; of 1 x 3 and 3 x 1 ones,
 * so of conv1d, by F(4, 3), 6 products for 12. Called by conv_kernel.c. The sums are others than
 * those of the direct form, so the shape alone decides. */
#ifndef WORKER_CONV_WINOGRAD_H
#define WORKER_CONV_WINOGRAD_H

#include "worker/kernels/kernels.h"

/* Whether a shape is done so: three taps along one axis or both, with stride, dilation and padding
 * 1, one group; and large enough, or the path is forced. */
bool conv_winograd_used(const struct conv_shape *cs, enum kernel_path path);
size_t conv_winograd_floats(const struct conv_shape *cs); /* transformed weights */
size_t conv_winograd_scratch(const struct conv_shape *cs); /* bytes a thread */
/* Arguments as those of conv_transpose and conv_backward_data. */
void conv_winograd_transform(const struct kernel_ctx *kc, const struct conv_shape *cs,
                             const float *w, float *u);
void conv_winograd_backward_data(const struct kernel_ctx *kc, const struct conv_shape *cs,
                                 const struct tensor_desc *dyd, const float *dy, const float *u,
                                 float x_scale, const struct tensor_desc *dxd, float *dx,
                                 struct span t);

#endif
