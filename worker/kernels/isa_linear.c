/* isa_linear: linear layers of spikes as sums of rows, one an event, and the lists of events that
 * they read. Compiled once per instruction set.
 *
 * A spike adds its row, a count its multiple by one fma: the chain that the dense loops of
 * isa_gemm.c make, without the products by zero. */
#include "worker/kernels/isa_loops.h"
#include "worker/kernels/isa_register.h"

#define TILE_VECS (LINEAR_TILE / VEC)

LANES_INLINE void add_events(bool counts, size_t begin, size_t end, const uint8_t *index,
                             const float *value, const float *w, float *acc)
{
    vec sum[TILE_VECS];
    for (size_t v = 0; v < TILE_VECS; v++) sum[v] = vec_load(acc + v * VEC);
    for (size_t e = begin; e < end; e++) {
        const float *row = w + (size_t)index[e] * LINEAR_TILE;
        for (size_t v = 0; v < TILE_VECS; v++) {
            if (counts) sum[v] = vec_fma(vec_set(value[e]), vec_load(row + v * VEC), sum[v]);
            else sum[v] = sum[v] + vec_load(row + v * VEC);
        }
    }
    for (size_t v = 0; v < TILE_VECS; v++) vec_store(acc + v * VEC, sum[v]);
}

void LOOP(linear_rows)(size_t rows, const uint32_t *begin, const uint8_t *index, const float *value,
                       const float *w, float *acc)
{
    if (value != NULL)
        for (size_t m = 0; m < rows; m++)
            add_events(true, begin[m], begin[m + 1], index, value, w, acc + m * LINEAR_TILE);
    else
        for (size_t m = 0; m < rows; m++)
            add_events(false, begin[m], begin[m + 1], index, NULL, w, acc + m * LINEAR_TILE);
}

/* ---- masks ----------------------------------------------------------------------------------- */
/* The numbers of a byte's set bits, ascending, one a byte from the lowest on. */
#define ONES(m)                                                                           \
    (((m) >> 0 & 1) + ((m) >> 1 & 1) + ((m) >> 2 & 1) + ((m) >> 3 & 1) + ((m) >> 4 & 1) + \
     ((m) >> 5 & 1) + ((m) >> 6 & 1))
#define BIT(m, i) ((uint64_t)((m) >> (i)&1) * (i) << 8 * ONES((m) & ((1u << (i)) - 1)))
#define BITS_1(m) BIT(m, 1) | BIT(m, 2) | BIT(m, 3) | BIT(m, 4) | BIT(m, 5) | BIT(m, 6) | BIT(m, 7)
#define BITS_4(m) BITS_1((m)), BITS_1((m) + 1u), BITS_1((m) + 2u), BITS_1((m) + 3u)
#define BITS_16(m) BITS_4(m), BITS_4((m) + 4u), BITS_4((m) + 8u), BITS_4((m) + 12u)
#define BITS_64(m) BITS_16(m), BITS_16((m) + 16u), BITS_16((m) + 32u), BITS_16((m) + 48u)
static const uint64_t bits_of[256] = { BITS_64(0u), BITS_64(64u), BITS_64(128u), BITS_64(192u) };

size_t LOOP(list_events)(const uint64_t *mask, size_t n, uint8_t *out)
{
    uint8_t *to = out;
    uint64_t first = 0; /* in every byte */
    for (size_t i = 0; i < n; i++)
        for (uint64_t bits = mask[i], left = 8; left > 0; left--, bits >>= 8) {
            const uint64_t numbers = bits_of[bits & 0xff] + first;
            memcpy(to, &numbers, sizeof numbers);
            to += __builtin_popcountll(bits & 0xff);
            first += 0x0808080808080808;
        }
    return (size_t)(to - out);
}

/* Swaps blocks of `side` bits and words off the diagonal. */
LANES_INLINE void swap_blocks(uint64_t mask[64], unsigned side, uint64_t right)
{
    for (size_t block = 0; block < 64; block += 2 * side)
        for (size_t i = block; i < block + side; i++) {
            const uint64_t other = (mask[i] >> side ^ mask[i + side]) & right;
            mask[i + side] ^= other;
            mask[i] ^= other << side;
        }
}

void LOOP(turn_masks)(uint64_t mask[64])
{
    swap_blocks(mask, 32, 0x00000000ffffffff);
    swap_blocks(mask, 16, 0x0000ffff0000ffff);
    swap_blocks(mask, 8, 0x00ff00ff00ff00ff);
    swap_blocks(mask, 4, 0x0f0f0f0f0f0f0f0f);
    swap_blocks(mask, 2, 0x3333333333333333);
    swap_blocks(mask, 1, 0x5555555555555555);
}
