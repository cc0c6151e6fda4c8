/* isa_gemm: register tiles of every product: convolution forward and backward-data (gather),
 * weight gradients (outer). Linear layers use both. Compiled once per instruction set.
 *
 * Vectors run across output channels; each output is one fma chain in the order the caller gives,
 * so tile sizes, which differ between instruction sets, cannot change a bit. */
#include "worker/kernels/isa_loops.h"
#include "worker/kernels/isa_register.h"

#define TILE_VECTORS 2 /* registers of a row of a tile */

/* ---- gather ---------------------------------------------------------------------------------- */
/* rows x (vectors * VEC) outputs from column `from` on; both counts are compile-time constants at
 * every call, so the accumulators live in registers. */
LANES_INLINE void gather_tile(size_t rows, size_t vectors, size_t n,
                              const struct gather_stretch *s, bool begin, size_t first, size_t from,
                              float *acc)
{
    vec sum[TILE_ROWS][TILE_VECTORS];
    for (size_t m = 0; m < rows; m++)
        for (size_t v = 0; v < vectors; v++)
            sum[m][v] = begin ? vec_set(0.0f)
                              : vec_load(acc + (first + m) * PANEL + from + v * VEC);
    for (size_t i = 0; i < n; i++) {
        const float *b = s[i].b + from;
        const float *const *a = s[i].a + first;
        for (size_t c = 0; c < s[i].count; c++, b += PANEL) {
            vec w[TILE_VECTORS];
            for (size_t v = 0; v < vectors; v++) w[v] = vec_load(b + v * VEC);
            for (size_t m = 0; m < rows; m++) {
                const vec x = vec_set(a[m][c]);
                for (size_t v = 0; v < vectors; v++) sum[m][v] = vec_fma(x, w[v], sum[m][v]);
            }
        }
    }
    for (size_t m = 0; m < rows; m++)
        for (size_t v = 0; v < vectors; v++)
            vec_store(acc + (first + m) * PANEL + from + v * VEC, sum[m][v]);
}

#define GATHER_CASE(rows)                                                                          \
    case rows: gather_tile(rows, TILE_VECTORS, n, s, begin, first, from, acc); break

static void gather_some(size_t rows, size_t n, const struct gather_stretch *s, bool begin,
                        size_t first, size_t from, float *acc)
{
    switch (rows) {
        GATHER_CASE(1);
        GATHER_CASE(2);
#if TILE_ROWS >= 6
        GATHER_CASE(3);
        GATHER_CASE(4);
        GATHER_CASE(5);
        GATHER_CASE(6);
#endif
#if TILE_ROWS >= 14
        GATHER_CASE(7);
        GATHER_CASE(8);
        GATHER_CASE(9);
        GATHER_CASE(10);
        GATHER_CASE(11);
        GATHER_CASE(12);
        GATHER_CASE(13);
        GATHER_CASE(14);
#endif
    default: break;
    }
}

void LOOP(gather)(size_t rows, size_t n, const struct gather_stretch *s, bool begin, float *acc)
{
    for (size_t first = 0; first < rows; first += TILE_ROWS) {
        const size_t some = rows - first < TILE_ROWS ? rows - first : TILE_ROWS;
        for (size_t from = 0; from < PANEL; from += TILE_VECTORS * VEC)
            gather_some(some, n, s, begin, first, from, acc);
    }
}

/* ---- outer ----------------------------------------------------------------------------------- */
LANES_INLINE void outer_tile(size_t rows, size_t vectors, const struct outer_run *r, size_t first,
                             size_t from, float *acc)
{
    vec sum[OUTER_ROWS_MAX][2];
    for (size_t m = 0; m < rows; m++)
        for (size_t v = 0; v < vectors; v++)
            sum[m][v] = vec_load(acc + (first + m) * PANEL + from + v * VEC);
    for (size_t y = 0; y < r->rows; y++) {
        const float *a = r->a + y * r->a_row + first, *b = r->b + y * r->b_row + from;
        for (size_t x = 0; x < r->pixels; x++, a += r->a_pixel, b += r->b_pixel) {
            vec g[2];
            for (size_t v = 0; v < vectors; v++) g[v] = vec_load(b + v * VEC);
            for (size_t m = 0; m < rows; m++) {
                const vec in = vec_set(a[m]);
                for (size_t v = 0; v < vectors; v++) sum[m][v] = vec_fma(in, g[v], sum[m][v]);
            }
        }
    }
    for (size_t m = 0; m < rows; m++)
        for (size_t v = 0; v < vectors; v++)
            vec_store(acc + (first + m) * PANEL + from + v * VEC, sum[m][v]);
}

#if defined(__AVX512F__)
#define OUTER_TILE_ROWS 8
#else
#define OUTER_TILE_ROWS 4
#endif

static void outer_some(size_t rows, const struct outer_run *r, size_t first, size_t from,
                       float *acc, size_t vectors)
{
#define OUTER_CASE(k)                                                                              \
    case k:                                                                                        \
        if (vectors == 2) outer_tile(k, 2, r, first, from, acc);                                   \
        else outer_tile(k, 1, r, first, from, acc);                                                \
        break
    switch (rows) {
        OUTER_CASE(1);
        OUTER_CASE(2);
        OUTER_CASE(3);
        OUTER_CASE(4);
#if OUTER_TILE_ROWS >= 8
        OUTER_CASE(5);
        OUTER_CASE(6);
        OUTER_CASE(7);
        OUTER_CASE(8);
#endif
    default: break;
    }
}

void LOOP(outer)(size_t m, size_t width, const struct outer_run *run, float *acc)
{
    for (size_t first = 0; first < m; first += OUTER_TILE_ROWS) {
        const size_t some = m - first < OUTER_TILE_ROWS ? m - first : OUTER_TILE_ROWS;
        for (size_t from = 0; from < width; from += 2 * VEC)
            outer_some(some, run, first, from, acc, width - from < 2 * VEC ? 1 : 2);
    }
}
