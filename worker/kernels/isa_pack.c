/* isa_pack: turns rows into the panels that the tiles of isa_gemm.c read. Compiled once per
 * instruction set. Moves values only. */
#define LANES_OF_REGISTER
#include "worker/kernels/lanes.h"

#include "worker/kernels/isa_loops.h"

/* Swaps blocks of `side` rows and columns off the diagonal of LANES x LANES values. */
LANES_INLINE void swap_blocks(lanes_f v[LANES], int32_t side)
{
#if LANES == 16
    const lanes_i lane = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
#elif LANES == 8
    const lanes_i lane = { 0, 1, 2, 3, 4, 5, 6, 7 };
#else
    const lanes_i lane = { 0, 1, 2, 3 };
#endif
    const lanes_i right = (lane & side) != 0; /* -1 in the right half of a block of 2 * side */
    const lanes_i upper = lane + (right & (LANES - side)); /* numbers from LANES on: second */
    const lanes_i lower = lane + side + (right & (LANES - side));
    for (size_t i = 0; i < LANES; i++) {
        if ((i & (size_t)side) != 0) continue;
        const lanes_f a = v[i], b = v[i + (size_t)side];
        v[i] = __builtin_shuffle(a, b, upper);
        v[i + (size_t)side] = __builtin_shuffle(a, b, lower);
    }
}

LANES_INLINE void turn(const float *from, size_t row, float *to)
{
    lanes_f v[LANES];
    for (size_t i = 0; i < LANES; i++) v[i] = lanes_load(from + i * row);
    swap_blocks(v, 1);
    swap_blocks(v, 2);
#if LANES >= 8
    swap_blocks(v, 4);
#endif
#if LANES >= 16
    swap_blocks(v, 8);
#endif
    for (size_t i = 0; i < LANES; i++) lanes_store(to + i * PANEL, v[i]);
}

void LOOP(turn_panel)(const float *from, size_t row, size_t n, float *to)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < PANEL; j += LANES) turn(from + j * row + i, row, to + i * PANEL + j);
    for (; i < n; i++)
        for (size_t j = 0; j < PANEL; j++) to[i * PANEL + j] = from[j * row + i];
}
