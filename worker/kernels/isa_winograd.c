/* isa_winograd: the transforms of F(4 x 4, 3 x 3) around its products (conv_winograd.c). Compiled
 * once per instruction set. Every value is made by the same additions and multiplications in the
 * same order, so all builds give equal bits. */
#define LANES_OF_REGISTER
#include "worker/kernels/lanes.h"

#include "worker/kernels/isa_loops.h"

/* One column of B^T d: six values to six. */
LANES_INLINE void to_tile(const lanes_f d[6], lanes_f v[6])
{
    const lanes_f even = d[4] - d[2] * 4.0f, odd = d[3] - d[1] * 4.0f;
    const lanes_f even2 = d[4] - d[2], odd2 = (d[3] - d[1]) * 2.0f;
    v[0] = d[0] * 4.0f - d[2] * 5.0f + d[4];
    v[1] = even + odd;
    v[2] = even - odd;
    v[3] = even2 + odd2;
    v[4] = even2 - odd2;
    v[5] = d[1] * 4.0f - d[3] * 5.0f + d[5];
}

/* One column of A^T m: six values to four. */
LANES_INLINE void from_tile(const lanes_f m[6], lanes_f y[4])
{
    const lanes_f sum = m[1] + m[2], difference = m[1] - m[2];
    const lanes_f sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    y[0] = m[0] + sum + sum2;
    y[1] = difference + difference2 * 2.0f;
    y[2] = sum + sum2 * 4.0f;
    y[3] = difference + difference2 * 8.0f + m[5];
}

void LOOP(winograd_in)(const float *const rows[6], size_t columns, size_t width, size_t pixel,
                       float *v, size_t stride)
{
    for (size_t c = 0; c < PANEL; c += LANES) {
        lanes_f half[6][6]; /* [column][row of the tile] */
        for (size_t x = 0; x < 6; x++) {
            lanes_f d[6];
            for (size_t y = 0; y < 6; y++)
                d[y] = x < columns && c < width && rows[y] != NULL
                           ? lanes_load(rows[y] + x * pixel + c)
                           : lanes_set(0.0f);
            to_tile(d, half[x]);
        }
        for (size_t y = 0; y < 6; y++) {
            lanes_f d[6], out[6];
            for (size_t x = 0; x < 6; x++) d[x] = half[x][y];
            to_tile(d, out);
            for (size_t x = 0; x < 6; x++) lanes_store(v + (y * 6 + x) * stride + c, out[x]);
        }
    }
}

void LOOP(winograd_out)(const float *m, size_t stride, float y[16 * PANEL])
{
    for (size_t c = 0; c < PANEL; c += LANES) {
        lanes_f half[6][4]; /* [column][row of the tile] */
        for (size_t x = 0; x < 6; x++) {
            lanes_f d[6];
            for (size_t i = 0; i < 6; i++) d[i] = lanes_load(m + (i * 6 + x) * stride + c);
            from_tile(d, half[x]);
        }
        for (size_t i = 0; i < 4; i++) {
            lanes_f d[6], out[4];
            for (size_t x = 0; x < 6; x++) d[x] = half[x][i];
            from_tile(d, out);
            for (size_t x = 0; x < 4; x++) lanes_store(y + (i * 4 + x) * PANEL + c, out[x]);
        }
    }
}
