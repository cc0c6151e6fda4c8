/* philox: Philox4x32-10 counter-based random numbers (Salmon et al., SC'11). No state: the same
 * key and counter give the same numbers on every machine, in every thread, in any order.
 *
 * Streams (design 5.9): key = hash of (seed, purpose);
 * counter = { element / 4, sample, epoch or step, time-step and layer or transform number }. */
#ifndef COMMON_PHILOX_H
#define COMMON_PHILOX_H

#include <stdint.h>

struct philox_key {
    uint32_t k[2];
};

/* Purposes: a closed list, never renumbered. */
enum philox_purpose {
    PHILOX_INIT = 1,     /* weights: element, 0, 0, parameter number */
    PHILOX_SHUFFLE = 2,  /* order of samples: element, 0, epoch, 0 */
    PHILOX_DROPOUT = 3,  /* element, position in the global batch, step, layer number */
    PHILOX_AUGMENT = 4,  /* draw, dataset index, epoch, transform number */
    PHILOX_ENCODER = 5,  /* element, dataset index, epoch, time-step */
    PHILOX_SPLIT = 6,    /* 0, dataset index, 0, 0 */
    PHILOX_GENERATE = 7, /* built-in datasets: draw, sample, split, part */
    PHILOX_BENCH = 8,    /* random data of benchmarks */
    PHILOX_SPIKES = 9,   /* element, position in the global batch, step, layer and time-step */
    PHILOX_SWEEP = 10    /* parameters of a member: 0 to 1, member, 0, place in the space */
};

struct philox_key philox_key(uint64_t seed, enum philox_purpose purpose);
/* Ten rounds. */
void philox4(struct philox_key key, const uint32_t counter[4], uint32_t out[4]);

/* One 32-bit number of a stream; element is counter word 0 times 4 plus the lane. */
uint32_t philox_u32(struct philox_key key, uint64_t element, uint32_t sample, uint32_t step,
                    uint32_t layer);
/* [0, 1) with 24 bits: exactly representable, so equal on every machine. */
float philox_uniform(struct philox_key key, uint64_t element, uint32_t sample, uint32_t step,
                     uint32_t layer);
/* Fills n numbers of consecutive elements 0..n-1. */
void philox_fill_uniform(struct philox_key key, uint32_t sample, uint32_t step, uint32_t layer,
                         float *out, uint64_t n);
/* 0 <= result < bound, without modulo bias worth speaking of (64-bit multiply-shift). */
uint32_t philox_below(struct philox_key key, uint64_t element, uint32_t sample, uint32_t step,
                      uint32_t layer, uint32_t bound);
/* Standard normal (Box-Muller on own log, sqrt and cosine: same bits everywhere). */
float philox_normal(struct philox_key key, uint64_t element, uint32_t sample, uint32_t step,
                    uint32_t layer);

#endif
