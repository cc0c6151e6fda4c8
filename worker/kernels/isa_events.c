/* isa_events: convolutions of spikes as sums of rows, one an event: of weights forward (gather), of
 * output gradients for the weights' gradients (outer). Compiled once per instruction set.
 *
 * A spike adds its row, a count its multiple by one fma: the chain that the dense loops of
 * isa_gemm.c make, without the products by zero. */
#include "worker/kernels/isa_loops.h"
#include "worker/kernels/isa_register.h"

#define PANEL_VECTORS (PANEL / VEC)
/* Taps of a weight gradient whose sums are held in registers. */
#if defined(__AVX512F__)
#define TAPS_HELD 9
#elif defined(__AVX2__)
#define TAPS_HELD 3
#else
#define TAPS_HELD 1
#endif

/* ---- gather ---------------------------------------------------------------------------------- */
/* The chains of one output pixel that sees the lists from column `column` on: of one panel, or of
 * two at once, which keeps twice as many additions under way. */
LANES_INLINE void gather_pixel(bool counts, size_t panels, size_t n, const struct event_list *lists,
                               size_t second, size_t column, float *acc)
{
    vec sum[EVENT_PANELS * PANEL_VECTORS];
    for (size_t v = 0; v < panels * PANEL_VECTORS; v++) sum[v] = vec_load(acc + v * VEC);
    for (size_t i = 0; i < n; i++) {
        const struct event_list *l = &lists[i];
        const size_t end = l->begin[column + l->columns], base = column * l->channels + l->first;
        for (size_t e = l->begin[column]; e < end; e++) {
            const float *row = l->w + (l->events[e] - base) * PANEL;
            for (size_t v = 0; v < panels * PANEL_VECTORS; v++) {
                const vec w = vec_load(row + v / PANEL_VECTORS * second + v % PANEL_VECTORS * VEC);
                if (counts) sum[v] = vec_fma(vec_set(l->values[e]), w, sum[v]);
                else sum[v] = sum[v] + w;
            }
        }
    }
    for (size_t v = 0; v < panels * PANEL_VECTORS; v++) vec_store(acc + v * VEC, sum[v]);
}

LANES_INLINE void gather_pixels(bool counts, size_t panels, size_t n,
                                const struct event_list *lists, size_t second, size_t pixels,
                                size_t stride, float *acc)
{
    for (size_t x = 0; x < pixels; x++)
        gather_pixel(counts, panels, n, lists, second, x * stride, acc + x * panels * PANEL);
}

void LOOP(gather_events)(size_t n, const struct event_list *lists, size_t second, size_t pixels,
                         size_t stride, float *acc)
{
    if (lists[0].values != NULL) {
        if (second != 0) gather_pixels(true, 2, n, lists, second, pixels, stride, acc);
        else gather_pixels(true, 1, n, lists, 0, pixels, stride, acc);
    } else {
        if (second != 0) gather_pixels(false, 2, n, lists, second, pixels, stride, acc);
        else gather_pixels(false, 1, n, lists, 0, pixels, stride, acc);
    }
}

/* ---- outer ----------------------------------------------------------------------------------- */
LANES_INLINE void outer_taps(size_t taps, size_t vectors, bool counts, const struct event_outer *o,
                             size_t first, float *acc)
{
    vec sum[TAPS_HELD][PANEL_VECTORS];
    for (size_t k = 0; k < taps; k++)
        for (size_t v = 0; v < vectors; v++)
            sum[k][v] = vec_load(acc + o->tap_acc[first + k] + v * VEC);
    for (size_t e = 0; e < o->n; e++) {
        const float *dy = o->dy + o->at[e];
        for (size_t k = 0; k < taps; k++)
            for (size_t v = 0; v < vectors; v++) {
                const vec g = vec_load(dy + o->tap_dy[first + k] + v * VEC);
                if (counts) sum[k][v] = vec_fma(vec_set(o->values[e]), g, sum[k][v]);
                else sum[k][v] = sum[k][v] + g;
            }
    }
    for (size_t k = 0; k < taps; k++)
        for (size_t v = 0; v < vectors; v++)
            vec_store(acc + o->tap_acc[first + k] + v * VEC, sum[k][v]);
}

LANES_INLINE void outer_width(size_t taps, const struct event_outer *o, size_t first, float *acc)
{
    const bool whole = o->width == PANEL;
    if (o->values == NULL) {
        if (whole) outer_taps(taps, PANEL_VECTORS, false, o, first, acc);
        else outer_taps(taps, PANEL_VECTORS / 2, false, o, first, acc);
    } else {
        if (whole) outer_taps(taps, PANEL_VECTORS, true, o, first, acc);
        else outer_taps(taps, PANEL_VECTORS / 2, true, o, first, acc);
    }
}

#define OUTER_CASE(taps)                                                                           \
    case taps: outer_width(taps, o, first, acc); break

void LOOP(outer_events)(const struct event_outer *o, float *acc)
{
    for (size_t first = 0; first < o->taps; first += TAPS_HELD) {
        switch (o->taps - first < TAPS_HELD ? o->taps - first : TAPS_HELD) {
            OUTER_CASE(1);
#if TAPS_HELD >= 3
            OUTER_CASE(2);
            OUTER_CASE(3);
#endif
#if TAPS_HELD >= 9
            OUTER_CASE(4);
            OUTER_CASE(5);
            OUTER_CASE(6);
            OUTER_CASE(7);
            OUTER_CASE(8);
            OUTER_CASE(9);
#endif
        default: break;
        }
    }
}

/* ---- masks ----------------------------------------------------------------------------------- */
/* May write up to 16 entries behind the last one. */
size_t LOOP(mask_events)(uint64_t mask, uint32_t first, uint32_t *out)
{
    size_t n = 0;
#if defined(__AVX512F__)
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (uint32_t i = 0; i < 64; i += 16) {
        const __mmask16 some = (__mmask16)(mask >> i);
        const __m512i number = _mm512_add_epi32(lane, _mm512_set1_epi32((int)(first + i)));
        /* Compressed in a register: vpcompressd to memory is microcode on some CPUs. */
        _mm512_storeu_si512(out + n, _mm512_maskz_compress_epi32(some, number));
        n += (size_t)__builtin_popcount(some);
    }
#else
    for (; mask != 0; mask &= mask - 1) out[n++] = first + (uint32_t)__builtin_ctzll(mask);
#endif
    return n;
}

uint64_t LOOP(counts_mask)(const uint8_t *x)
{
#if defined(__AVX512F__)
    const __m512i v = _mm512_loadu_si512(x);
    return _mm512_test_epi8_mask(v, v);
#else
    uint64_t mask = 0;
    for (size_t i = 0; i < 64; i++) mask |= (uint64_t)(x[i] != 0) << i;
    return mask;
#endif
}

uint64_t LOOP(count_bits)(const uint64_t *words, size_t n)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < n; i++) bits += (uint64_t)__builtin_popcountll(words[i]);
    return bits;
}

uint64_t LOOP(count_counts)(const uint8_t *x, size_t n)
{
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++) count += x[i] != 0;
    return count;
}
