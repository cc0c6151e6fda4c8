/* isa_narrow: convolutions with few channels a group: vectors run across channels, and every lane
 * is multiplied by an input of its own group. Compiled once per instruction set.
 *
 * Each output is one fma chain in the order the caller gives, as in isa_gemm.c, so tile sizes
 * cannot change a bit. */
#include "worker/kernels/isa_loops.h"
#include "worker/kernels/isa_register.h"

/* Sums of a weight gradient that are held in registers: pairs of vectors. */
#if defined(__AVX512F__)
#define SUMS_HELD 9
#elif defined(__AVX2__)
#define SUMS_HELD 5
#else
#define SUMS_HELD 1
#endif
#define PAIR (2 * VEC) /* floats that a tile works on at once */

/* Runs are stored as whole blocks of 16, from the first on: what is too much lies where the next
 * one goes. */
void LOOP(spread)(const float *from, size_t count, size_t n, const struct narrow_run *runs,
                  float *to)
{
    for (size_t j = 0; j < count; j++, to += PANEL)
        for (size_t i = 0; i < n; i++) {
            const lanes_f v = lanes_set(from[runs[i].from + j]);
            for (size_t at = 0; at < runs[i].width; at += LANES)
                lanes_store(to + runs[i].lane + at, v);
        }
}

/* ---- chains ---------------------------------------------------------------------------------- */
/* Some pixels of the chains, one pair of vectors. */
LANES_INLINE void chain_tile(size_t pixels, size_t pitch, size_t n, const struct narrow_stretch *s,
                             size_t at, size_t from, float *acc)
{
    vec sum[TILE_ROWS][2];
    for (size_t m = 0; m < pixels; m++) sum[m][0] = sum[m][1] = vec_set(0.0f);
    for (size_t i = 0; i < n; i++) {
        const float *x = s[i].x + at + from, *w = s[i].w + from;
        for (size_t j = 0; j < s[i].count; j++, x += PANEL, w += PANEL) {
            const vec left = vec_load(w), right = vec_load(w + VEC);
            for (size_t m = 0; m < pixels; m++) {
                sum[m][0] = vec_fma(vec_load(x + m * pitch), left, sum[m][0]);
                sum[m][1] = vec_fma(vec_load(x + m * pitch + VEC), right, sum[m][1]);
            }
        }
    }
    for (size_t m = 0; m < pixels; m++) {
        vec_store(acc + m * PANEL + from, sum[m][0]);
        vec_store(acc + m * PANEL + from + VEC, sum[m][1]);
    }
}

#define CHAIN_CASE(pixels) \
    case pixels: chain_tile(pixels, pitch, n, s, at, from, acc); break

static void chain_pixels(size_t pixels, size_t pitch, size_t n, const struct narrow_stretch *s,
                         size_t at, size_t from, float *acc)
{
    switch (pixels) {
        CHAIN_CASE(1);
        CHAIN_CASE(2);
#if TILE_ROWS >= 6
        CHAIN_CASE(3);
        CHAIN_CASE(4);
        CHAIN_CASE(5);
        CHAIN_CASE(6);
#endif
#if TILE_ROWS >= 14
        CHAIN_CASE(7);
        CHAIN_CASE(8);
        CHAIN_CASE(9);
        CHAIN_CASE(10);
        CHAIN_CASE(11);
        CHAIN_CASE(12);
        CHAIN_CASE(13);
        CHAIN_CASE(14);
#endif
    default: break;
    }
}

void LOOP(narrow_chain)(size_t pixels, size_t pitch, size_t n, const struct narrow_stretch *s,
                        size_t at, float *acc)
{
    for (size_t m = 0; m < pixels; m += TILE_ROWS)
        for (size_t from = 0; from < PANEL; from += PAIR)
            chain_pixels(pixels - m < TILE_ROWS ? pixels - m : TILE_ROWS, pitch, n, s,
                         at + m * pitch, from, acc + m * PANEL);
}

/* ---- weight gradients ------------------------------------------------------------------------ */
LANES_INLINE void outer_sums(size_t sums, size_t vectors, const size_t *offset,
                             const struct outer_run *r, size_t from, float *acc)
{
    vec sum[SUMS_HELD][2];
    for (size_t i = 0; i < sums; i++)
        for (size_t v = 0; v < vectors; v++) sum[i][v] = vec_load(acc + i * PANEL + from + v * VEC);
    for (size_t y = 0; y < r->rows; y++) {
        const float *a = r->a + y * r->a_row + from, *b = r->b + y * r->b_row + from;
        for (size_t x = 0; x < r->pixels; x++, a += r->a_pixel, b += r->b_pixel) {
            vec dy[2];
            for (size_t v = 0; v < vectors; v++) dy[v] = vec_load(b + v * VEC);
            for (size_t i = 0; i < sums; i++)
                for (size_t v = 0; v < vectors; v++)
                    sum[i][v] = vec_fma(vec_load(a + offset[i] + v * VEC), dy[v], sum[i][v]);
        }
    }
    for (size_t i = 0; i < sums; i++)
        for (size_t v = 0; v < vectors; v++) vec_store(acc + i * PANEL + from + v * VEC, sum[i][v]);
}

#define OUTER_CASE(sums)                                                       \
    case sums:                                                                 \
        if (width - from >= PAIR) outer_sums(sums, 2, offset, run, from, acc); \
        else outer_sums(sums, 1, offset, run, from, acc);                      \
        break

static void outer_some(size_t sums, const size_t *offset, size_t width, const struct outer_run *run,
                       float *acc)
{
    for (size_t from = 0; from < width; from += PAIR) switch (sums) {
            OUTER_CASE(1);
#if SUMS_HELD >= 5
            OUTER_CASE(2);
            OUTER_CASE(3);
            OUTER_CASE(4);
            OUTER_CASE(5);
#endif
#if SUMS_HELD >= 9
            OUTER_CASE(6);
            OUTER_CASE(7);
            OUTER_CASE(8);
            OUTER_CASE(9);
#endif
        default: break;
        }
}

void LOOP(narrow_outer)(size_t n, const size_t *offset, size_t width, const struct outer_run *run,
                        float *acc)
{
    for (size_t i = 0; i < n; i += SUMS_HELD)
        outer_some(n - i < SUMS_HELD ? n - i : SUMS_HELD, offset + i, width, run, acc + i * PANEL);
}
