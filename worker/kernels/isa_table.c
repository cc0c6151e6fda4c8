/* isa_table: element-wise inner loops and the table of one instruction set. Compiled once per
 * instruction set. n is a multiple of 16 unless said otherwise. */
#include "worker/kernels/isa_loops.h"
#include "worker/kernels/isa_register.h"

static void store_scaled(float *y, const float *acc, float scale, const float *bias, size_t n)
{
    const lanes_f k = lanes_set(scale);
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_f b = bias != NULL ? lanes_load(bias + i) : lanes_set(0.0f);
        lanes_store(y + i, lanes_fma(lanes_load(acc + i), k, b));
    }
}

static void store_rows(float *y, size_t pitch, const float *acc, size_t rows, float scale,
                       const float *bias, size_t n)
{
    for (size_t m = 0; m < rows; m++) store_scaled(y + m * pitch, acc + m * PANEL, scale, bias, n);
}

static void bits_expand(const uint64_t *words, float *y, size_t n, float one)
{
    const lanes_i lane = { 1,   2,   4,    8,    16,   32,   64,    128,
                           256, 512, 1024, 2048, 4096, 8192, 16384, 32768 };
    const lanes_i value = (lanes_i)lanes_set(one);
    for (size_t i = 0; i < n; i += LANES) {
        const int32_t bits = (int32_t)(words[i / 64] >> i % 64 & 0xffff);
        const lanes_i set = (lane & bits) != 0;
        lanes_store(y + i, (lanes_f)(set & value));
    }
}

static void counts_expand(const uint8_t *x, float *y, size_t n, float one)
{
    for (size_t i = 0; i < n; i++) y[i] = (float)x[i] * one;
}

static void floats_scale(const float *x, float *y, size_t n, float factor)
{
    for (size_t i = 0; i < n; i += LANES) lanes_store(y + i, lanes_load(x + i) * factor);
}

static void affine(const float *x, const float *a, const float *sh, float *y, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        lanes_store(y + i, lanes_fma(lanes_load(x + i), lanes_load(a + i), lanes_load(sh + i)));
}

static void affine2(const float *dy, const float *x, const float *k0, const float *k1,
                    const float *k2, float *dx, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_f constant = lanes_fma(lanes_load(k2 + i), lanes_load(x + i),
                                           lanes_load(k1 + i));
        lanes_store(dx + i, lanes_fma(lanes_load(k0 + i), lanes_load(dy + i), constant));
    }
}

/* Halves of 16 floats as doubles. */
LANES_INLINE lanes_half_d half(lanes_f v, int which)
{
    lanes_half_f parts[2];
    memcpy(parts, &v, sizeof v);
    return lanes_wide(parts[which]);
}

LANES_INLINE void add_half(double *at, lanes_half_d v)
{
    lanes_half_d old;
    memcpy(&old, at, sizeof old);
    old += v;
    memcpy(at, &old, sizeof old);
}

static void sums(const float *x, double *sum, double *square, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_f v = lanes_load(x + i);
        for (int h = 0; h < 2; h++) {
            const lanes_half_d d = half(v, h);
            add_half(sum + i + 8 * (size_t)h, d);
            add_half(square + i + 8 * (size_t)h, d * d);
        }
    }
}

/* Sums of 16 channels stay in registers over the pixels. */
static void sums2(const struct norm_pixels *p, const float *mean, const float *inv_std, double *sum,
                  double *dot, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_f m = lanes_load(mean + i), s = lanes_load(inv_std + i);
        lanes_half_d added[2], dotted[2];
        memcpy(added, sum + i, sizeof added);
        memcpy(dotted, dot + i, sizeof dotted);
        for (size_t k = 0; k < p->pixels; k++) {
            const lanes_f g = lanes_load(p->dy + k * p->dy_pixel + i);
            const lanes_f v = lanes_load(p->x + k * p->x_pixel + i);
            for (int h = 0; h < 2; h++) {
                const lanes_half_d d = half(g, h);
                added[h] += d;
                dotted[h] += d * ((half(v, h) - half(m, h)) * half(s, h));
            }
        }
        memcpy(sum + i, added, sizeof added);
        memcpy(dot + i, dotted, sizeof dotted);
    }
}

static void sum_only(const float *x, double *sum, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_f v = lanes_load(x + i);
        for (int h = 0; h < 2; h++) add_half(sum + i + 8 * (size_t)h, half(v, h));
    }
}

/* A NaN in either wins. */
static void maximum(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_f old = lanes_load(y + i), fresh = lanes_load(x + i);
        const lanes_f most = lanes_select(lanes_ge(old, fresh), old, fresh);
        lanes_store(y + i, lanes_select(lanes_ge(old, old), most, old));
    }
}

static void route_max(const float *x, const float *y, const float *dy, uint16_t *taken, float *dx,
                      size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t *word = &taken[i / 16];
        const uint16_t bit = (uint16_t)(1u << i % 16);
        const bool nan = y[i] != y[i]; /* then it was the first NaN that won */
        if ((nan ? x[i] == x[i] : x[i] != y[i]) || (*word & bit) != 0) continue;
        *word |= bit;
        dx[i] += dy[i];
    }
}

static void accumulate(float *y, const float *x, float factor, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        lanes_store(y + i, lanes_load(y + i) + lanes_load(x + i) * factor);
}

static void masked(const float *x, uint64_t keep, float factor, float *y, size_t n)
{
    float chosen[64];
    bits_expand(&keep, chosen, n, 1.0f);
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_mask on = lanes_gt(lanes_load(chosen + i), lanes_set(0.0f));
        lanes_store(y + i, lanes_select(on, lanes_load(x + i) * factor, lanes_set(0.0f)));
    }
}

static void sigmoid(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_f v = lanes_load(x + i), e = lanes_exp(-lanes_abs(v));
        const lanes_f small = e / (1.0f + e), large = 1.0f / (1.0f + e);
        lanes_store(y + i, lanes_select(lanes_gt(lanes_set(0.0f), v), small, large));
    }
}

static void logarithm(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) lanes_store(y + i, lanes_log(lanes_load(x + i)));
}

/* Sixteen double lanes, added in lane order; a NaN or infinity anywhere stays in the sum. */
static double sum_squares(const float *x, size_t n, bool *finite)
{
    lanes_half_d sum[2] = { { 0 }, { 0 } };
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_f v = lanes_load(x + i);
        for (int h = 0; h < 2; h++) {
            const lanes_half_d d = half(v, h);
            sum[h] += d * d;
        }
    }
    double total = 0.0;
    for (int h = 0; h < 2; h++)
        for (int i = 0; i < 8; i++) total += sum[h][i];
    *finite = __builtin_isfinite(total);
    return total;
}

const struct kernels ISA_SYMBOL(kernels) = {
    .gather_rows = GATHER_ROWS_MAX / TILE_ROWS * TILE_ROWS,
    .gather = LOOP(gather),
    .turn_panel = LOOP(turn_panel),
    .outer = LOOP(outer),
    .linear_rows = LOOP(linear_rows),
    .list_events = LOOP(list_events),
    .turn_masks = LOOP(turn_masks),
    .winograd_in = LOOP(winograd_in),
    .winograd_out = LOOP(winograd_out),
    .winograd_kernel = LOOP(winograd_kernel),
    .winograd_line_in = LOOP(winograd_line_in),
    .winograd_line_out = LOOP(winograd_line_out),
    .winograd_line_kernel = LOOP(winograd_line_kernel),
    .gather_events = LOOP(gather_events),
    .outer_events = LOOP(outer_events),
    .spread = LOOP(spread),
    .narrow_chain = LOOP(narrow_chain),
    .narrow_outer = LOOP(narrow_outer),
    .mask_events = LOOP(mask_events),
    .counts_mask = LOOP(counts_mask),
    .count_bits = LOOP(count_bits),
    .count_counts = LOOP(count_counts),
    .store_scaled = store_scaled,
    .store_rows = store_rows,
    .bits_expand = bits_expand,
    .counts_expand = counts_expand,
    .floats_scale = floats_scale,
    .affine = affine,
    .affine2 = affine2,
    .sums = sums,
    .sums2 = sums2,
    .sum_only = sum_only,
    .maximum = maximum,
    .route_max = route_max,
    .route_bits = LOOP(route_bits),
    .route_window = LOOP(route_window),
    .accumulate = accumulate,
    .masked = masked,
    .sigmoid = sigmoid,
    .logarithm = logarithm,
    .sum_squares = sum_squares,
    .average = LOOP(average),
    .sgd = LOOP(sgd),
    .adam = LOOP(adam),
    .rmsprop = LOOP(rmsprop),
};
