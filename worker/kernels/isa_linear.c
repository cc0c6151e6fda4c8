/* isa_linear: linear layers of spikes as sums of rows, one an event, and the lists of events that
 * they read. Compiled once per instruction set.
 *
 * A spike adds its row, a count its multiple by one fma: the chain that the dense loops of
 * isa_gemm.c make, without the products by zero. */
#include "worker/kernels/isa_loops.h"
#include "worker/kernels/isa_register.h"

#define TILE_VECS (LINEAR_TILE / VEC)

LANES_INLINE void add_events(bool counts, size_t begin, size_t end, const uint16_t *index,
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

void LOOP(linear_rows)(size_t rows, const uint32_t *begin, const uint16_t *index,
                       const float *value, const float *w, float *acc)
{
    if (value != NULL)
        for (size_t m = 0; m < rows; m++)
            add_events(true, begin[m], begin[m + 1], index, value, w, acc + m * LINEAR_TILE);
    else
        for (size_t m = 0; m < rows; m++)
            add_events(false, begin[m], begin[m + 1], index, NULL, w, acc + m * LINEAR_TILE);
}

/* ---- masks ----------------------------------------------------------------------------------- */
size_t LOOP(list_events)(const uint64_t *mask, size_t n, uint16_t *out)
{
    size_t events = 0;
#if defined(__AVX512F__)
    __m512i number = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (size_t i = 0; i < 4 * n; i++) {
        const __mmask16 some = (__mmask16)(mask[i / 4] >> i % 4 * 16);
        const __m512i taken = _mm512_maskz_compress_epi32(some, number);
        _mm256_storeu_si256((__m256i *)(void *)(out + events), _mm512_cvtepi32_epi16(taken));
        events += (size_t)__builtin_popcount(some);
        number = _mm512_add_epi32(number, _mm512_set1_epi32(16));
    }
#else
    for (size_t i = 0; i < n; i++)
        for (uint64_t w = mask[i]; w != 0; w &= w - 1)
            out[events++] = (uint16_t)(i * 64 + (size_t)__builtin_ctzll(w));
#endif
    return events;
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
