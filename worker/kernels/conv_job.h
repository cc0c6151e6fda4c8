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

/* Which of 64 channels at element `at`, from channel 64 * word on, are events. */
static inline uint64_t conv_word(const struct kernel_ctx *kc, const struct tensor_desc *d,
                                 const void *x, size_t at, size_t word)
{
    if (d->kind == TENSOR_BITS) return ((const uint64_t *)x)[at + word];
    return kc->k->counts_mask((const uint8_t *)x + at + word * 64);
}

/* Which of `n` <= 64 channels from `first` on, a multiple of 16, of the pixel at element `at` are
 * events. */
static inline uint64_t conv_events_of(const struct kernel_ctx *kc, const struct tensor_desc *d,
                                      const void *x, size_t at, size_t first, size_t n)
{
    const size_t shift = first % 64;
    uint64_t mask = conv_word(kc, d, x, at, first / 64) >> shift;
    if (shift + n > 64) mask |= conv_word(kc, d, x, at, first / 64 + 1) << (64 - shift);
    return mask & ~(uint64_t)0 >> (64 - n);
}

#endif
