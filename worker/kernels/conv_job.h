/* conv_job: what the forms of a convolution share: the arguments of a forward pass as its items
 * see them. Private to conv_*.c. */
#ifndef WORKER_CONV_JOB_H
#define WORKER_CONV_JOB_H

#include "worker/kernels/cut.h"
#include "worker/kernels/kernels.h"

struct conv_job {
    const struct kernel_ctx *kc;
    const struct conv_shape *cs;
    const struct tensor_desc *xd, *yd;
    const void *x;
    const float *w, *bias;
    float *y;
    size_t t_begin, t_count, band; /* band: output rows of an item */
};

#endif
