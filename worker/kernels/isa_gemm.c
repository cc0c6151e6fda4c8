/* isa_gemm: register tiles of every product: convolution forward and backward-data (gather),
 * weight gradients (outer). Linear layers use both. Compiled once per instruction set.
 *
 * Vectors run across output channels; each output is one fma chain in the order the caller gives,
 * so tile sizes, which differ between instruction sets, cannot change a bit. */
#include "worker/kernels/isa_loops.h"
#include "worker/kernels/isa_register.h"

/* ---- rows of a tile -------------------------------------------------------------------------- */
/* X(m) for the first so many rows. Accumulators are variables with names, two a row: an array of
 * them gcc keeps in memory around the inner loop, which costs short chains a tenth. */
#define ROWS_1(X) X(0)
#define ROWS_2(X) ROWS_1(X) X(1)
#define ROWS_3(X) ROWS_2(X) X(2)
#define ROWS_4(X) ROWS_3(X) X(3)
#define ROWS_5(X) ROWS_4(X) X(4)
#define ROWS_6(X) ROWS_5(X) X(5)
#define ROWS_7(X) ROWS_6(X) X(6)
#define ROWS_8(X) ROWS_7(X) X(7)
#define ROWS_9(X) ROWS_8(X) X(8)
#define ROWS_10(X) ROWS_9(X) X(9)
#define ROWS_11(X) ROWS_10(X) X(10)
#define ROWS_12(X) ROWS_11(X) X(11)
#define ROWS_13(X) ROWS_12(X) X(12)
#define ROWS_14(X) ROWS_13(X) X(13)

#define DECLARE(m) vec left##m, right##m;
#define ZERO(m) left##m = right##m = vec_set(0.0f);
#define LOAD(m)                          \
    left##m = vec_load(acc + (m)*PANEL); \
    right##m = vec_load(acc + (m)*PANEL + VEC);
#define STORE(m)                         \
    vec_store(acc + (m)*PANEL, left##m); \
    vec_store(acc + (m)*PANEL + VEC, right##m);
/* x: the row's input, w and v: weights of two vectors */
#define ADD(m, x)                            \
    {                                        \
        const vec in = vec_set(x);           \
        left##m = vec_fma(in, w, left##m);   \
        right##m = vec_fma(in, v, right##m); \
    }

/* ---- gather ---------------------------------------------------------------------------------- */
/* Rows from `first` on, two vectors from column `from` on; acc is theirs. */
typedef void gather_tile(size_t n, const struct gather_stretch *s, bool begin, size_t first,
                         size_t from, float *acc);

#define INPUTS_OF(m) const float *const a##m = s[i].a[first + (m)];
#define ADD_INPUT(m) ADD(m, a##m[c])
#define GATHER(k)                                                                              \
    static void gather_##k(size_t n, const struct gather_stretch *s, bool begin, size_t first, \
                           size_t from, float *acc)                                            \
    {                                                                                          \
        ROWS_##k(DECLARE);                                                                     \
        if (begin) {                                                                           \
            ROWS_##k(ZERO);                                                                    \
        } else {                                                                               \
            ROWS_##k(LOAD);                                                                    \
        }                                                                                      \
        for (size_t i = 0; i < n; i++) {                                                       \
            const float *b = s[i].b + from;                                                    \
            ROWS_##k(INPUTS_OF);                                                               \
            for (size_t c = 0; c < s[i].count; c++, b += PANEL) {                              \
                const vec w = vec_load(b), v = vec_load(b + VEC);                              \
                ROWS_##k(ADD_INPUT);                                                           \
            }                                                                                  \
        }                                                                                      \
        ROWS_##k(STORE);                                                                       \
    }

GATHER(1)
GATHER(2)
#if TILE_ROWS >= 6
GATHER(3)
GATHER(4)
GATHER(5)
GATHER(6)
#endif
#if TILE_ROWS >= 14
GATHER(7)
GATHER(8)
GATHER(9)
GATHER(10)
GATHER(11)
GATHER(12)
GATHER(13)
GATHER(14)
#endif

static gather_tile *const gathers[TILE_ROWS + 1] = {
    NULL,     gather_1, gather_2,
#if TILE_ROWS >= 6
    gather_3, gather_4, gather_5, gather_6,
#endif
#if TILE_ROWS >= 14
    gather_7, gather_8, gather_9, gather_10, gather_11, gather_12, gather_13, gather_14,
#endif
};

void LOOP(gather)(size_t rows, size_t n, const struct gather_stretch *s, bool begin, float *acc)
{
    for (size_t first = 0; first < rows; first += TILE_ROWS) {
        const size_t some = rows - first < TILE_ROWS ? rows - first : TILE_ROWS;
        for (size_t from = 0; from < PANEL; from += 2 * VEC)
            gathers[some](n, s, begin, first, from, acc + first * PANEL + from);
    }
}

/* ---- outer ----------------------------------------------------------------------------------- */
/* Rows from `first` on, columns from `from` on; acc is theirs. */
typedef void outer_tile(const struct outer_run *r, size_t first, size_t from, float *acc);

#define ADD_PIXEL(m) ADD(m, a[m])
#define OUTER(k)                                                                            \
    static void outer_##k(const struct outer_run *r, size_t first, size_t from, float *acc) \
    {                                                                                       \
        ROWS_##k(DECLARE);                                                                  \
        ROWS_##k(LOAD);                                                                     \
        for (size_t y = 0; y < r->rows; y++) {                                              \
            const float *a = r->a + y * r->a_row + first, *b = r->b + y * r->b_row + from;  \
            for (size_t x = 0; x < r->pixels; x++, a += r->a_pixel, b += r->b_pixel) {      \
                const vec w = vec_load(b), v = vec_load(b + VEC);                           \
                ROWS_##k(ADD_PIXEL);                                                        \
            }                                                                               \
        }                                                                                   \
        ROWS_##k(STORE);                                                                    \
    }
#define DECLARE_ONE(m) vec left##m = vec_load(acc + (m)*PANEL);
#define STORE_ONE(m) vec_store(acc + (m)*PANEL, left##m);
#define ADD_ONE(m) left##m = vec_fma(vec_set(a[m]), w, left##m);
/* One vector: the last 16 columns with AVX-512. */
#define OUTER_ONE(k)                                                                            \
    static void outer_one_##k(const struct outer_run *r, size_t first, size_t from, float *acc) \
    {                                                                                           \
        ROWS_##k(DECLARE_ONE);                                                                  \
        for (size_t y = 0; y < r->rows; y++) {                                                  \
            const float *a = r->a + y * r->a_row + first, *b = r->b + y * r->b_row + from;      \
            for (size_t x = 0; x < r->pixels; x++, a += r->a_pixel, b += r->b_pixel) {          \
                const vec w = vec_load(b);                                                      \
                ROWS_##k(ADD_ONE);                                                              \
            }                                                                                   \
        }                                                                                       \
        ROWS_##k(STORE_ONE);                                                                    \
    }

#define OUTER_BOTH(k) OUTER(k) OUTER_ONE(k)
OUTER_BOTH(1)
OUTER_BOTH(2)
#if TILE_ROWS >= 6
OUTER_BOTH(3)
OUTER_BOTH(4)
OUTER_BOTH(5)
OUTER_BOTH(6)
#endif
#if TILE_ROWS >= 14
OUTER_BOTH(7)
OUTER_BOTH(8)
OUTER_BOTH(9)
OUTER_BOTH(10)
OUTER_BOTH(11)
OUTER_BOTH(12)
OUTER_BOTH(13)
OUTER_BOTH(14)
#endif

static outer_tile *const outers[TILE_ROWS + 1][2] = {
    { NULL, NULL },
    { outer_one_1, outer_1 },
    { outer_one_2, outer_2 },
#if TILE_ROWS >= 6
    { outer_one_3, outer_3 },
    { outer_one_4, outer_4 },
    { outer_one_5, outer_5 },
    { outer_one_6, outer_6 },
#endif
#if TILE_ROWS >= 14
    { outer_one_7, outer_7 },
    { outer_one_8, outer_8 },
    { outer_one_9, outer_9 },
    { outer_one_10, outer_10 },
    { outer_one_11, outer_11 },
    { outer_one_12, outer_12 },
    { outer_one_13, outer_13 },
    { outer_one_14, outer_14 },
#endif
};

void LOOP(outer)(size_t m, size_t width, const struct outer_run *run, float *acc)
{
    for (size_t first = 0; first < m; first += TILE_ROWS) {
        const size_t some = m - first < TILE_ROWS ? m - first : TILE_ROWS;
        for (size_t from = 0; from < width; from += 2 * VEC)
            outers[some][width - from >= 2 * VEC](run, first, from, acc + first * PANEL + from);
    }
}
