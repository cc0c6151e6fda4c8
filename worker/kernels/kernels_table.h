/* kernels_table: the inner loops of one instruction set (private to worker/kernels). The entry
 * points in kernels.h cut the work and call these; no loop here knows of threads or tensors. */
#ifndef WORKER_KERNELS_TABLE_H
#define WORKER_KERNELS_TABLE_H

#include "worker/kernels/kernels.h"

#define GATHER_ROWS_MAX 14 /* pixels of a tile */
#define PANEL 32           /* output channels of a tile */
#define EVENT_PANELS 2     /* whose output channels take an event together */
#define LINEAR_TILE 64     /* output features of a linear tile */
#define LINEAR_LIST_SPARE 8 /* bytes behind a list of events */

/* One stretch of a reduction: `count` inputs for every row of the tile against count x PANEL
 * weights. a[m] points to `count` consecutive inputs of row m. */
struct gather_stretch {
    const float *b;
    size_t count;
    const float *a[GATHER_ROWS_MAX];
};
/* Pixels of a gradient and of what was normalised, so many floats apart. */
struct norm_pixels {
    const float *dy, *x;
    size_t dy_pixel, x_pixel, pixels;
};
/* Events of one input row and channel block, as a row of output pixels sees them through one row of
 * taps (one tap when taps are dilated). Columns count the padding. */
struct event_list {
    const uint32_t *events; /* column * channels + channel, ascending */
    const float *values;    /* of events; NULL: all 1 */
    const uint32_t *begin;  /* a pixel sees [begin[column], begin[column + columns]) */
    const float *w;         /* weights of event e: row e - column * channels - first, PANEL each */
    size_t channels, columns, first;
};
/* Events of one input channel against every tap that they reach. */
struct event_outer {
    size_t n, taps, width;  /* width: output channels, 16 or PANEL */
    const uint32_t *at;     /* of an event: floats behind dy */
    const float *values;    /* NULL: all 1 */
    const float *dy;        /* PANEL a pixel, with its border */
    const ptrdiff_t *tap_dy; /* from an event to the gradient that a tap connects it with */
    const size_t *tap_acc;
};
/* Runs of pixels of one image for a weight gradient: rows x pixels, strides in floats. */
struct outer_run {
    const float *a, *b; /* inputs; gradients, PANEL (or 16) a pixel */
    size_t rows, pixels, a_row, a_pixel, b_row, b_pixel;
};
/* Lanes [lane, lane + width) of a panel have one group, whose inputs begin at `from`. */
struct narrow_run {
    size_t lane, width, from;
};
/* One stretch of a reduction in which every lane has inputs of its own: `count` times PANEL of
 * them, seen from the pixel at 0, against as many weights. */
struct narrow_stretch {
    const float *x, *w;
    size_t count;
};

struct kernels {
    size_t gather_rows; /* whole register tiles: what gather is fastest with */
    /* acc[m][PANEL] = fma chain over all stretches, in order, from acc, or from 0 (begin).
     * rows <= GATHER_ROWS_MAX. */
    void (*gather)(size_t rows, size_t n, const struct gather_stretch *s, bool begin, float *acc);
    /* to[i][PANEL] = from[j * row + i] for i < n, j < PANEL. */
    void (*turn_panel)(const float *from, size_t row, size_t n, float *to);
    /* acc[m][PANEL] += a[pixel][m] * b[pixel][0..width), over rows, then pixels. width 16
     * or 32. */
    void (*outer)(size_t m, size_t width, const struct outer_run *run, float *acc);
    /* acc[m][LINEAR_TILE] += value * w[index][LINEAR_TILE], over the events [begin[m], begin[m +
     * 1]) of every row m. value NULL: all 1. */
    void (*linear_rows)(size_t rows, const uint32_t *begin, const uint8_t *index,
                        const float *value, const float *w, float *acc);
    /* Numbers of the set bits of n <= 4 words, ascending; how many. May write LINEAR_LIST_SPARE
     * more. */
    size_t (*list_events)(const uint64_t *mask, size_t n, uint8_t *out);
    /* Bit j of word i <-> bit i of word j. */
    void (*turn_masks)(uint64_t mask[64]);
    /* Winograd, PANEL channels: v[36 at `stride`] of 6 rows (NULL: zeros) of `columns` <= 6 pixels
     * of `width` channels (all others zero). */
    void (*winograd_in)(const float *const rows[6], size_t columns, size_t width, size_t pixel,
                        float *v, size_t stride);
    /* m[36 at `stride`], times scale, to 4 rows (NULL: none) of `columns` <= 4 pixels. */
    void (*winograd_out)(const float *m, size_t stride, float *const rows[4], size_t columns,
                         size_t width, size_t pixel, float scale);
    /* u[36 at `stride`] of 3 x 3 taps, `tap` floats apart, turned round. */
    void (*winograd_kernel)(const float *w, size_t tap, float *u, size_t stride);
    /* The same along one axis, 6 points: of 6 pixels (NULL: zeros), to 4 (NULL: none), of 3
     * taps. */
    void (*winograd_line_in)(const float *const pixels[6], size_t width, float *v, size_t stride);
    void (*winograd_line_out)(const float *m, size_t stride, float *const pixels[4], size_t width,
                              float scale);
    void (*winograd_line_kernel)(const float *w, size_t tap, float *u, size_t stride);
    /* acc[pixel][PANEL] += the rows of its events, over lists, then events; `stride` columns lie
     * between two pixels. second != 0: acc[pixel][2 * PANEL], whose second panel has its weights
     * so many floats behind the first. */
    void (*gather_events)(size_t n, const struct event_list *lists, size_t second, size_t pixels,
                          size_t stride, float *acc);
    /* acc[tap_acc[k]][width] += dy[at + tap_dy[k]][width], for every tap k, over events. */
    void (*outer_events)(const struct event_outer *o, float *acc);
    /* to[j][PANEL], j < count: from[run.from + j] in the lanes of every run. Runs follow one
     * another from lane 0 on; writes up to 15 floats more. */
    void (*spread)(const float *from, size_t count, size_t n, const struct narrow_run *runs,
                   float *to);
    /* acc[m][PANEL] = fma chain over all stretches, in order, from 0; x of pixel m lies at + m *
     * pitch behind that of the stretch. pixels <= GATHER_ROWS_MAX. */
    void (*narrow_chain)(size_t pixels, size_t pitch, size_t n, const struct narrow_stretch *s,
                         size_t at, float *acc);
    /* acc[i][PANEL] += a[pixel][offset[i]..] * b[pixel][0..width), i < n, over rows, then pixels.
     * width 16 or PANEL. */
    void (*narrow_outer)(size_t n, const size_t *offset, size_t width, const struct outer_run *run,
                         float *acc);
    /* first + number of every set bit, ascending; how many. May write 16 entries more. */
    size_t (*mask_events)(uint64_t mask, uint32_t first, uint32_t *out);
    uint64_t (*counts_mask)(const uint8_t *x); /* which of 64 are not 0 */
    uint64_t (*count_bits)(const uint64_t *words, size_t n);
    uint64_t (*count_counts)(const uint8_t *x, size_t n); /* that are not 0 */
    /* y[0..n) = (c[i % 16-aligned block]...): n multiple of 16 in all below. */
    void (*store_scaled)(float *y, const float *acc, float scale, const float *bias, size_t n);
    /* The same of rows acc[m][PANEL], `pitch` floats apart in y. */
    void (*store_rows)(float *y, size_t pitch, const float *acc, size_t rows, float scale,
                       const float *bias, size_t n);
    void (*bits_expand)(const uint64_t *words, float *y, size_t n, float one); /* n floats */
    void (*counts_expand)(const uint8_t *x, float *y, size_t n, float one);
    void (*floats_scale)(const float *x, float *y, size_t n, float factor);
    void (*affine)(const float *x, const float *a, const float *sh, float *y, size_t n);
    void (*affine2)(const float *dy, const float *x, const float *k0, const float *k1,
                    const float *k2, float *dx, size_t n);
    /* sum[i] += x[i], square[i] += x[i]^2 in double. */
    void (*sums)(const float *x, double *sum, double *square, size_t n);
    /* In double, pixel by pixel: sum[i] += dy[i] and
     * dot[i] += dy[i] * (x[i] - mean[i]) * inv_std[i]. */
    void (*sums2)(const struct norm_pixels *p, const float *mean, const float *inv_std, double *sum,
                  double *dot, size_t n);
    void (*sum_only)(const float *x, double *sum, size_t n);
    void (*maximum)(float *y, const float *x, size_t n);
    /* First maximum takes the gradient: where x == y and not yet taken (bits of 16), dx += dy. */
    void (*route_max)(const float *x, const float *y, const float *dy, uint16_t *taken, float *dx,
                      size_t n);
    /* dx[i] += bit i of mask ? dy[i] : 0, n <= 64 */
    void (*route_bits)(uint64_t mask, const float *dy, float *dx, size_t n);
    /* The same for all positions of a window that is theirs alone: dx[k][i] = bit i of won[k] set ?
     * dy[i] : 0, k < taps, i < n <= 64. */
    void (*route_window)(const uint64_t *won, size_t taps, const float *dy, float *const *dx,
                         size_t n);
    void (*accumulate)(float *y, const float *x, float factor, size_t n); /* y += x * factor */
    void (*masked)(const float *x, uint64_t keep, float factor, float *y, size_t n); /* n <= 64 */
    void (*sigmoid)(const float *x, float *y, size_t n);
    void (*logarithm)(const float *x, float *y, size_t n);
    double (*sum_squares)(const float *x, size_t n, bool *finite);
    void (*average)(float *mean, const float *x, float keep, float fresh, size_t n);
    void (*sgd)(const struct sgd_args *a, float *p, const float *g, float *m, size_t n);
    void (*adam)(const struct adam_args *a, float *p, const float *g, float *m, float *v,
                 float *top, size_t n);
    void (*rmsprop)(const struct rmsprop_args *a, float *p, const float *g, float *v, float *mean,
                    float *m, size_t n);
};

/* Channels [16*block, 16*block + 16) of one pixel of any kind as floats, times `one`. */
static inline void kernels_load16(const struct kernels *k, const struct tensor_view *v, size_t b,
                                  size_t t, size_t y, size_t x, size_t block, float one,
                                  float out[16])
{
    const struct tensor_desc *d = &v->desc;
    const size_t at = b * d->sample + (d->t_stored == 1 ? 0 : t) * d->time + y * d->row +
                      x * d->pixel;
    if (d->kind == TENSOR_BITS) {
        const uint64_t word = ((const uint64_t *)v->data)[at + block / 4] >> block % 4 * 16;
        k->bits_expand(&word, out, 16, one);
    } else if (d->kind == TENSOR_COUNT8) {
        k->counts_expand((const uint8_t *)v->data + at + block * 16, out, 16, one);
    } else {
        k->floats_scale((const float *)v->data + tensor_at(d, b, t, y, x, block), out, 16, one);
    }
}

extern const struct kernels kernels_generic;
extern const struct kernels kernels_avx2, kernels_avx512;

#endif
