/* isa_pool: gradients of pooled spikes go to the inputs that won. Compiled once per instruction
 * set. */
#define LANES_OF_REGISTER
#include "worker/kernels/lanes.h"

#include "worker/kernels/isa_loops.h"

/* Lane i where bit i is set. */
LANES_INLINE lanes_mask lanes_of(uint64_t bits)
{
#if defined(__AVX512F__)
    return (lanes_mask)bits;
#elif LANES == 8
    const lanes_i lane = { 1, 2, 4, 8, 16, 32, 64, 128 };
    return (lane & (int32_t)(bits & 255)) != 0;
#else
    const lanes_i lane = { 1, 2, 4, 8 };
    return (lane & (int32_t)(bits & 15)) != 0;
#endif
}

void LOOP(route_bits)(uint64_t mask, const float *dy, float *dx, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_f g = lanes_select(lanes_of(mask >> i), lanes_load(dy + i), lanes_set(0.0f));
        lanes_store(dx + i, lanes_load(dx + i) + g);
    }
}

void LOOP(route_window)(const uint64_t *won, size_t taps, const float *dy, float *const *dx,
                        size_t n)
{
    const lanes_f zero = lanes_set(0.0f);
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_f g = lanes_load(dy + i);
        for (size_t k = 0; k < taps; k++)
            lanes_store(dx[k] + i, lanes_select(lanes_of(won[k] >> i), g, zero));
    }
}
