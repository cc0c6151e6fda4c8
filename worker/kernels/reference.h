/* reference: the plain twin of every kernel: loops over single values, one thread, in the canonical
 * order of order.h. Tests compare the fast kernels with them; grouped convolutions run them. */
#ifndef WORKER_REFERENCE_H
#define WORKER_REFERENCE_H

#include "worker/kernels/kernels.h"

void reference_conv_forward(const struct conv_shape *cs, const struct tensor_desc *xd,
                            const void *x, const float *oihw, const float *bias,
                            const struct tensor_desc *yd, float *y, struct span t);
void reference_conv_backward_data(const struct conv_shape *cs, const struct tensor_desc *dyd,
                                  const float *dy, const float *oihw, float x_scale,
                                  const struct tensor_desc *dxd, float *dx, struct span t);
/* dw of output channel k alone, [C/groups][R][S]. */
void reference_conv_weight_row(const struct conv_shape *cs, const struct tensor_desc *xd,
                               const void *x, const struct tensor_desc *dyd, const float *dy,
                               struct span b, size_t k, float *dw_row);
void reference_conv_backward_weights(const struct conv_shape *cs, const struct tensor_desc *xd,
                                     const void *x, const struct tensor_desc *dyd, const float *dy,
                                     struct span b, float *dw_oihw);
/* w as linear_forward takes it. */
void reference_linear_forward(const struct tensor_desc *xd, const void *x, const float *w,
                              const float *bias, const struct tensor_desc *yd, float *y);
void reference_linear_backward_data(const struct tensor_desc *dyd, const float *dy, const float *w,
                                    const struct tensor_desc *xd, const struct tensor_desc *dxd,
                                    float *dx);
void reference_linear_backward_weights(const struct tensor_desc *xd, const void *x,
                                       const struct tensor_desc *dyd, const float *dy,
                                       struct span b, float *dw);
/* Mean and biased variance of every channel, straight from the definition. */
void reference_bn_statistics(const struct tensor_desc *xd, const float *x, double *mean,
                             double *var);
void reference_max_pool(const struct pool_shape *ps, const struct tensor_desc *xd, const void *x,
                        const struct tensor_desc *yd, void *y);
void reference_max_pool_backward(const struct pool_shape *ps, const struct tensor_desc *xd,
                                 const void *x, const struct tensor_desc *dyd, const float *dy,
                                 const struct tensor_desc *dxd, float *dx);
void reference_avg_pool(const struct pool_shape *ps, const struct tensor_desc *xd, const void *x,
                        const struct tensor_desc *yd, float *y);
void reference_connect(enum connect_kind kind, const struct tensor_view *a,
                       const struct tensor_view *b, const struct tensor_view *y);
void reference_connect_backward(enum connect_kind kind, bool second,
                                const struct tensor_view *other, const struct tensor_view *dy,
                                const struct tensor_view *dx);
/* Elements of one window that count in an average, at output (oy, ox). */
size_t reference_pool_divisor(const struct pool_shape *ps, size_t oy, size_t ox);

#endif
