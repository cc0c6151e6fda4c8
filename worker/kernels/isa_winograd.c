/* isa_winograd: the transforms of F(4 x 4, 3 x 3) and F(4, 3) around their products
 * (conv_winograd.c). Compiled
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

void LOOP(winograd_out)(const float *m, size_t stride, float *const rows[4], size_t columns,
                        size_t width, size_t pixel, float scale)
{
    const lanes_f k = lanes_set(scale), nothing = lanes_set(0.0f);
    for (size_t c = 0; c < width; c += LANES) {
        lanes_f half[6][4]; /* [column][row of the tile] */
        for (size_t x = 0; x < 6; x++) {
            lanes_f d[6];
            for (size_t i = 0; i < 6; i++) d[i] = lanes_load(m + (i * 6 + x) * stride + c);
            from_tile(d, half[x]);
        }
        for (size_t i = 0; i < 4; i++) {
            lanes_f d[6], out[4];
            if (rows[i] == NULL) continue;
            for (size_t x = 0; x < 6; x++) d[x] = half[x][i];
            from_tile(d, out);
            for (size_t x = 0; x < 4; x++)
                if (x < columns)
                    lanes_store(rows[i] + x * pixel + c, lanes_fma(out[x], k, nothing));
        }
    }
}

void LOOP(winograd_line_in)(const float *const pixels[6], size_t width, float *v, size_t stride)
{
    for (size_t c = 0; c < PANEL; c += LANES) {
        lanes_f d[6], out[6];
        for (size_t i = 0; i < 6; i++)
            d[i] = c < width && pixels[i] != NULL ? lanes_load(pixels[i] + c) : lanes_set(0.0f);
        to_tile(d, out);
        for (size_t i = 0; i < 6; i++) lanes_store(v + i * stride + c, out[i]);
    }
}

void LOOP(winograd_line_out)(const float *m, size_t stride, float *const pixels[4], size_t width,
                             float scale)
{
    const lanes_f k = lanes_set(scale), nothing = lanes_set(0.0f);
    for (size_t c = 0; c < width; c += LANES) {
        lanes_f d[6], out[4];
        for (size_t i = 0; i < 6; i++) d[i] = lanes_load(m + i * stride + c);
        from_tile(d, out);
        for (size_t i = 0; i < 4; i++)
            if (pixels[i] != NULL) lanes_store(pixels[i] + c, lanes_fma(out[i], k, nothing));
    }
}

/* One column of G g: three values to six. */
LANES_INLINE void to_points(const lanes_f g[3], lanes_f u[6])
{
    const lanes_f ends = (g[0] + g[2]) * (-1.0f / 6.0f), middle = g[1] * (1.0f / 6.0f);
    const lanes_f wide = g[0] * (1.0f / 24.0f) + g[2] * (1.0f / 6.0f), mid = g[1] * (1.0f / 12.0f);
    u[0] = g[0] * 0.25f;
    u[1] = ends - middle;
    u[2] = ends + middle;
    u[3] = wide + mid;
    u[4] = wide - mid;
    u[5] = g[2];
}

void LOOP(winograd_kernel)(const float *w, size_t tap, float *u, size_t stride)
{
    for (size_t c = 0; c < PANEL; c += LANES) {
        lanes_f half[3][6]; /* [column][point's row] */
        for (size_t s = 0; s < 3; s++) {
            lanes_f g[3];
            for (size_t r = 0; r < 3; r++)
                g[r] = lanes_load(w + ((2 - r) * 3 + 2 - s) * tap + c); /* turned round */
            to_points(g, half[s]);
        }
        for (size_t y = 0; y < 6; y++) {
            const lanes_f g[3] = { half[0][y], half[1][y], half[2][y] };
            lanes_f out[6];
            to_points(g, out);
            for (size_t x = 0; x < 6; x++) lanes_store(u + (y * 6 + x) * stride + c, out[x]);
        }
    }
}

void LOOP(winograd_line_kernel)(const float *w, size_t tap, float *u, size_t stride)
{
    for (size_t c = 0; c < PANEL; c += LANES) {
        lanes_f g[3], out[6];
        for (size_t i = 0; i < 3; i++) g[i] = lanes_load(w + (2 - i) * tap + c); /* turned round */
        to_points(g, out);
        for (size_t i = 0; i < 6; i++) lanes_store(u + i * stride + c, out[i]);
    }
}
