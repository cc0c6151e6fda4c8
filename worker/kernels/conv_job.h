/* conv_job: what the forms of a convolution share: the arguments of a forward pass as its items
 * see them, and which inputs of a pixel are events. Private to conv_*.c. */
#ifndef WORKER_CONV_JOB_H
#define WORKER_CONV_JOB_H

#include "worker/kernels/cut.h"
#include "worker/kernels/kernels_table.h"

struct conv_job {
    const struct kernel_ctx *kc;
    const struct conv_shape *cs;       /* one group */
    const struct tensor_desc *xd, *yd; /* all channels of x; those of this group of y */
    const void *x;
    const float *w, *bias;
    float *y;
    size_t t_begin, t_count, band; /* band: output rows of an item */
    size_t first;                  /* input channel of the group, a multiple of 16 */
};

/* Which of `n` <= 64 channels from `first` on, a multiple of 16, of the pixel at element `at` are
 * events. */
static inline uint64_t conv_events_of(const struct kernel_ctx *kc, const struct tensor_desc *d,
                                      const void *x, size_t at, size_t first, size_t n)
{
    const size_t word = first / 64, shift = first % 64;
    uint64_t mask[2] = { 0 };
    for (size_t i = 0; i <= (shift + n - 1) / 64; i++)
        mask[i] = d->kind == TENSOR_BITS
                      ? ((const uint64_t *)x)[at + word + i]
                      : kc->k->counts_mask((const uint8_t *)x + at + (word + i) * 64);
    if (shift > 0) mask[0] = mask[0] >> shift | mask[1] << (64 - shift);
    return n < 64 ? mask[0] & (((uint64_t)1 << n) - 1) : mask[0];
}

#endif
