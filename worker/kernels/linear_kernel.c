/* linear_kernel: fully connected layers, row by row of images. Called by layers/linear.
 *
 * Spikes are events: an input that is zero adds nothing to a chain, so only the others are visited.
 * Work is cut into tiles of LINEAR_TILE outputs; the weights of a tile are copied out of their wide
 * rows once and used for all images. */
#include "worker/kernels/blas.h"
#include "worker/kernels/kernel_trace.h"
#include "worker/kernels/kernels_table.h"

#include <assert.h>
#include <string.h>

#define CHUNK 512        /* inputs whose weights are held at once: 128 KiB a tile */
#define BLAS_COLUMNS 256 /* fixed tile of a BLAS call: columns, rows (times of 12), depth */
#define BLAS_ROWS 96
#define BLAS_DEPTH 768

static size_t least(size_t a, size_t b) { return a < b ? a : b; }
static size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

struct product {
    const struct kernel_ctx *kc;
    const struct tensor_desc *xd, *yd; /* reduced over x's features, or x's steps */
    const void *x;
    const float *w, *bias, *dy;
    float *y;
    size_t y_first, width; /* columns of y that are written: first a multiple of 16 */
    size_t t_begin, t_count;
    struct span b;
    size_t inputs, w_stride; /* w[input][w_stride]; transposed: w[output][w_stride] */
    bool transposed;
};

/* Scratch of a thread. */
struct linear_scratch {
    float w[CHUNK * LINEAR_TILE];
    struct linear_event event[CHUNK];
};
_Static_assert(sizeof(struct linear_scratch) <= KERNEL_SCRATCH_BYTES, "scratch of a thread");

static struct linear_scratch *scratch_of(const struct product *p, size_t thread)
{
    return (void *)(p->kc->scratch + thread * p->kc->scratch_per_thread);
}

static size_t image_at(const struct tensor_desc *d, size_t b, size_t t)
{
    return b * d->sample + (d->t_stored == 1 ? 0 : t) * d->time;
}

/* Inputs [first, first + n) of one image that are not zero, in order. first is a multiple of 64. */
static size_t events_of(const struct product *p, size_t at, size_t first, size_t n,
                        struct linear_event *out)
{
    size_t count = 0;
    if (p->xd->kind == TENSOR_BITS) {
        const uint64_t *words = (const uint64_t *)p->x + at + first / 64;
        for (size_t i = 0; i < n; i += 64)
            for (uint64_t w = words[i / 64]; w != 0; w &= w - 1)
                out[count++] = (struct linear_event){ (uint32_t)(i + (size_t)__builtin_ctzll(w)),
                                                      1.0f };
        return count;
    }
    for (size_t i = 0; i < n; i++) {
        const float v = p->xd->kind == TENSOR_COUNT8
                            ? (float)((const uint8_t *)p->x)[at + first + i]
                            : ((const float *)p->x)[at + first + i];
        out[count] = (struct linear_event){ (uint32_t)i, v };
        count += v != 0.0f;
    }
    return count;
}

/* Weights of inputs [first, first + n) and outputs [k, k + width), spare columns zero. */
static void load_weights(const struct product *p, size_t first, size_t n, size_t k, size_t width,
                         float *w)
{
    for (size_t i = 0; i < n; i++, w += LINEAR_TILE) {
        if (p->transposed) {
            for (size_t j = 0; j < width; j++) w[j] = p->w[(k + j) * p->w_stride + first + i];
        } else {
            memcpy(w, p->w + (first + i) * p->w_stride + k, width * sizeof w[0]);
        }
        memset(w + width, 0, (LINEAR_TILE - width) * sizeof w[0]);
    }
}

/* Columns [k, k + width) of one image of y, which a blocked gradient holds in runs of 32. */
static void chain_load(const struct product *p, size_t b, size_t t, size_t k, size_t width,
                       float *acc)
{
    const size_t run = p->yd->blocked ? 32 : width;
    for (size_t i = 0; i < width; i += run)
        memcpy(acc + i, p->y + tensor_at(p->yd, b, t, 0, 0, (p->y_first + k + i) / 16),
               least(width - i, run) * sizeof acc[0]);
}

static void chain_store(const struct product *p, size_t b, size_t t, size_t k, size_t width,
                        const float *acc, bool last)
{
    const size_t run = p->yd->blocked ? 32 : width;
    for (size_t i = 0; i < width; i += run) {
        float *y = p->y + tensor_at(p->yd, b, t, 0, 0, (p->y_first + k + i) / 16);
        const size_t n = least(width - i, run);
        if (last)
            p->kc->k->store_scaled(y, acc + i, p->xd->scale,
                                   p->bias != NULL ? p->bias + k + i : NULL, n);
        else memcpy(y, acc + i, n * sizeof acc[0]);
    }
}

/* One tile of outputs for all images: y holds the chain between two chunks of inputs. */
static void product_item(void *ctx, size_t item, size_t thread)
{
    const struct product *p = ctx;
    struct linear_scratch *s = scratch_of(p, thread);
    const size_t k = item * LINEAR_TILE, width = least(p->width - k, LINEAR_TILE);
    for (size_t first = 0; first < p->inputs; first += CHUNK) {
        const size_t n = least(p->inputs - first, CHUNK);
        const bool last = first + n == p->inputs;
        load_weights(p, first, n, k, width, s->w);
        for (size_t i = 0; i < p->xd->b * p->t_count; i++) {
            const size_t b = i / p->t_count, t = p->t_begin + i % p->t_count;
            const size_t events = events_of(p, image_at(p->xd, b, t), first, n, s->event);
            float acc[LINEAR_TILE] __attribute__((aligned(64))) = { 0 };
            if (first > 0) chain_load(p, b, t, k, width, acc);
            p->kc->k->linear_row(s->event, events, s->w, acc);
            chain_store(p, b, t, k, width, acc, last);
        }
    }
}

static struct span stored(const struct tensor_desc *d, struct span t)
{
    if (d->t_stored == d->t) return t;
    return (struct span){ 0, t.begin == 0 ? 1 : 0 };
}

/* ---- dense products by BLAS ------------------------------------------------------------------ */
/* Every call multiplies BLAS_ROWS rows, and a row's place follows from its time-step (order.h): of
 * each 12 rows, 6 are of even steps and 6 of odd ones. What is missing is zero. */
struct blas_scratch {
    float a[BLAS_ROWS * BLAS_DEPTH], c[BLAS_ROWS * BLAS_COLUMNS];
};
_Static_assert(sizeof(struct blas_scratch) <= KERNEL_SCRATCH_BYTES, "scratch of a thread");

/* Rows of one parity in a call's samples: steps first, first + 2, ... of each. */
struct parity {
    size_t first, steps;
};

static struct parity parity_of(const struct product *p, size_t odd)
{
    const size_t end = p->t_begin + p->t_count;
    const size_t first = p->t_begin + ((p->kc->first_step + p->t_begin) % 2 != odd);
    return (struct parity){ first, end > first ? (end - first + 1) / 2 : 0 };
}

/* Sample and step of row m of a tile; false where the tile is padded. */
static bool blas_row(const struct product *p, size_t tile, size_t m, size_t *b, size_t *t)
{
    const struct parity y = parity_of(p, m / 6 % 2);
    const size_t row = tile * (BLAS_ROWS / 2) + m / 12 * 6 + m % 6;
    if (row >= p->xd->b * y.steps) return false;
    *b = row / y.steps;
    *t = y.first + 2 * (row % y.steps);
    return true;
}

static void blas_store(const struct product *p, size_t tile, size_t k, size_t width, const float *c)
{
    for (size_t m = 0; m < BLAS_ROWS; m++) {
        size_t b, t;
        if (blas_row(p, tile, m, &b, &t)) chain_store(p, b, t, k, width, c + m * width, true);
    }
}

/* One tile of rows times columns [k, k + width) of the weights at w. */
static void blas_tile(const struct product *p, size_t tile, size_t k, size_t width, const float *w,
                      struct blas_scratch *s)
{
    for (size_t first = 0; first < p->inputs; first += BLAS_DEPTH) {
        const size_t n = least(p->inputs - first, BLAS_DEPTH);
        for (size_t m = 0; m < BLAS_ROWS; m++) {
            size_t b, t;
            if (blas_row(p, tile, m, &b, &t))
                memcpy(s->a + m * n, (const float *)p->x + image_at(p->xd, b, t) + first,
                       n * sizeof s->a[0]);
            else memset(s->a + m * n, 0, n * sizeof s->a[0]);
        }
        blas_gemm(BLAS_ROWS, width, n, s->a, n, p->transposed ? w + first : w + first * p->w_stride,
                  p->w_stride, p->transposed, first > 0, s->c, width);
    }
    blas_store(p, tile, k, width, s->c);
}

static void blas_columns(const struct product *p, size_t k, size_t width, const float *w,
                         size_t thread)
{
    struct blas_scratch *s = (void *)(p->kc->scratch + thread * p->kc->scratch_per_thread);
    size_t most = parity_of(p, 0).steps;
    if (parity_of(p, 1).steps > most) most = parity_of(p, 1).steps;
    for (size_t tile = 0; tile * (BLAS_ROWS / 2) < p->xd->b * most; tile++)
        blas_tile(p, tile, k, width, w, s);
}

static void blas_forward_item(void *ctx, size_t item, size_t thread)
{
    const struct product *p = ctx;
    const size_t k = item * BLAS_COLUMNS;
    blas_columns(p, k, least(p->width - k, BLAS_COLUMNS), p->w + k, thread);
}

static bool blas_fits(const struct product *p)
{
    return !p->kc->exact && (p->xd->kind == TENSOR_F32 || p->xd->kind == TENSOR_REPEAT);
}

void linear_forward(const struct kernel_ctx *kc, const struct tensor_desc *xd, const void *x,
                    const float *w, const float *bias, const struct tensor_desc *yd, float *y,
                    struct span t)
{
    const struct span steps = stored(xd, t);
    struct product p = { .kc = kc, .xd = xd, .yd = yd, .x = x, .w = w, .bias = bias, .y = y,
                         .width = yd->c_stored, .t_begin = steps.begin,
                         .t_count = steps.end - steps.begin,
                         .inputs = xd->c_stored, .w_stride = yd->c_stored };
    if (blas_fits(&p)) kernel_note(kc, KERNEL_linear_forward_blas);
    else kernel_note_form(kc, KERNEL_linear_forward_floats, xd);
    if (blas_fits(&p))
        threads_run(kc->threads, ceil_div(yd->c_stored, BLAS_COLUMNS), blas_forward_item, &p);
    else threads_run(kc->threads, ceil_div(yd->c_stored, LINEAR_TILE), product_item, &p);
}

/* ---- backward-data --------------------------------------------------------------------------- */
/* Rows of w stand in x's feature order, dx may be padded otherwise: a stretch is what both
 * share. */
struct stretch {
    size_t w_row, dx_at, width;
};

/* Features of dx that w has rows for: a blocked gradient is padded to 32, and its last 16 are
 * nobody's. */
static size_t features_of(const struct tensor_desc *dxd)
{
    return dxd->blocked ? ceil_div(dxd->c, 16) * 16 : dxd->c_stored;
}

static struct stretch stretch_of(const struct tensor_desc *xd, const struct tensor_desc *dxd,
                                 size_t tile, size_t item)
{
    if (xd->flat_h * xd->flat_w == 1 || xd->flat_c_stored == dxd->flat_c_stored) {
        const size_t at = item * tile;
        return (struct stretch){ at, at, least(features_of(dxd) - at, tile) };
    }
    const size_t per = ceil_div(dxd->flat_c_stored, tile), pixel = item / per,
                 c = item % per * tile;
    return (struct stretch){ pixel * xd->flat_c_stored + c, pixel * dxd->flat_c_stored + c,
                             least(dxd->flat_c_stored - c, tile) };
}

static size_t stretches(const struct tensor_desc *xd, const struct tensor_desc *dxd, size_t tile)
{
    if (xd->flat_h * xd->flat_w == 1 || xd->flat_c_stored == dxd->flat_c_stored)
        return ceil_div(features_of(dxd), tile);
    return xd->flat_h * xd->flat_w * ceil_div(dxd->flat_c_stored, tile);
}

struct back {
    struct product p;
    const struct tensor_desc *xd, *dxd;
};

static void blas_back_item(void *ctx, size_t item, size_t thread)
{
    const struct back *j = ctx;
    const struct stretch s = stretch_of(j->xd, j->dxd, BLAS_COLUMNS, item);
    struct product p = j->p;
    p.y_first = s.dx_at;
    blas_columns(&p, 0, s.width, p.w + s.w_row * p.w_stride, thread);
}

static void back_item(void *ctx, size_t item, size_t thread)
{
    const struct back *j = ctx;
    const struct stretch s = stretch_of(j->xd, j->dxd, LINEAR_TILE, item);
    struct product p = j->p;
    p.w += s.w_row * p.w_stride;
    p.y_first = s.dx_at;
    p.width = s.width;
    product_item(&p, 0, thread);
}

void linear_backward_data(const struct kernel_ctx *kc, const struct tensor_desc *dyd,
                          const float *dy, const float *w, const struct tensor_desc *xd,
                          const struct tensor_desc *dxd, float *dx, struct span t)
{
    const struct span steps = stored(dyd, t);
    struct back j = { { .kc = kc, .xd = dyd, .yd = dxd, .x = dy, .w = w, .y = dx,
                        .t_begin = steps.begin, .t_count = steps.end - steps.begin,
                        .inputs = dyd->c, .w_stride = dyd->c_stored, .transposed = true },
                      xd, dxd };
    kernel_note(kc, blas_fits(&j.p) ? KERNEL_linear_backward_data_blas
                                    : KERNEL_linear_backward_data);
    if (blas_fits(&j.p))
        threads_run(kc->threads, stretches(xd, dxd, BLAS_COLUMNS), blas_back_item, &j);
    else threads_run(kc->threads, stretches(xd, dxd, LINEAR_TILE), back_item, &j);
}

/* ---- backward-weights ------------------------------------------------------------------------ */
/* Item = (chunk of inputs, tile of outputs): its block of dw stays in scratch over all samples. */
static void weights_item(void *ctx, size_t item, size_t thread)
{
    const struct product *p = ctx;
    struct linear_scratch *s = scratch_of(p, thread);
    const size_t tiles = ceil_div(p->w_stride, LINEAR_TILE);
    const size_t first = item / tiles * CHUNK, k = item % tiles * LINEAR_TILE;
    const size_t n = least(p->inputs - first, CHUNK), width = least(p->w_stride - k, LINEAR_TILE);
    memset(s->w, 0, n * LINEAR_TILE * sizeof s->w[0]);
    for (size_t b = p->b.begin; b < p->b.end; b++)
        for (size_t t = 0; t < p->xd->t_stored; t++) {
            const size_t events = events_of(p, image_at(p->xd, b, t), first, n, s->event);
            float dy[LINEAR_TILE] __attribute__((aligned(64))) = { 0 };
            memcpy(dy, p->dy + image_at(p->yd, b, t) + k, width * sizeof dy[0]);
            p->kc->k->linear_scatter(s->event, events, dy, s->w);
        }
    for (size_t i = 0; i < n; i++)
        p->kc->k->floats_scale(s->w + i * LINEAR_TILE, p->y + (first + i) * p->w_stride + k, width,
                               p->xd->scale);
}

void linear_backward_weights(const struct kernel_ctx *kc, const struct tensor_desc *xd,
                             const void *x, const struct tensor_desc *dyd, const float *dy,
                             struct span b, float *dw)
{
    kernel_note_form(kc, KERNEL_linear_backward_weights_floats, xd);
    struct product p = { .kc = kc, .xd = xd, .yd = dyd, .x = x, .dy = dy, .y = dw, .b = b,
                         .inputs = xd->c_stored, .w_stride = dyd->c_stored };
    threads_run(kc->threads, ceil_div(p.inputs, CHUNK) * ceil_div(p.w_stride, LINEAR_TILE),
                weights_item, &p);
}
