/* conv_kernel: convolution, which form a pass takes, and forward and backward-weights by register
 * tiles (implicit GEMM); backward-data by them is in conv_data.c. Called by layers/conv2d; work is
 * cut into items by output, one item a thread. A wide group (conv_groups.h) is a convolution of its
 * own, one after the other; those of few channels are in conv_narrow.c. */
#include "worker/kernels/conv_data.h"
#include "worker/kernels/conv_events.h"
#include "worker/kernels/conv_few.h"
#include "worker/kernels/conv_groups.h"
#include "worker/kernels/conv_job.h"
#include "worker/kernels/conv_narrow.h"
#include "worker/kernels/conv_winograd.h"
#include "worker/kernels/density.h"
#include "worker/kernels/kernel_trace.h"
#include "worker/kernels/kernels_table.h"
#include "worker/kernels/order.h"

#include <assert.h>
#include <string.h>

#define STRETCHES_MAX 64           /* of one gather call */
#define EXPAND_BYTES (320 * 1024)  /* of thread scratch, for spikes as floats */

/* ---- a tile of pixels ------------------------------------------------------------------------ */
static const float zeros[ORDER_BLOCK];

/* Stretches of one tile, handed to the micro-kernel in lots. */
struct tile {
    const struct kernels *k;
    size_t rows, n;
    bool begun; /* acc holds the beginning of the chains */
    struct gather_stretch stretch[STRETCHES_MAX];
    float acc[GATHER_ROWS_MAX * PANEL] __attribute__((aligned(64)));
};

static void tile_begin(struct tile *t, const struct kernels *k, size_t rows)
{
    t->k = k;
    t->rows = rows;
    t->n = 0;
    t->begun = false;
}

static void tile_flush(struct tile *t)
{
    if (t->n > 0 || !t->begun) t->k->gather(t->rows, t->n, t->stretch, !t->begun, t->acc);
    t->n = 0;
    t->begun = true;
}

static struct gather_stretch *tile_stretch(struct tile *t)
{
    if (t->n == STRETCHES_MAX) tile_flush(t);
    return &t->stretch[t->n];
}

/* ---- forward --------------------------------------------------------------------------------- */
/* Input of one band as floats: element (row, column, channel) at data + row*row_ + col*pixel +
 * c, of the channels of the group. */
struct plane {
    const float *data;
    size_t row, pixel;
    size_t first_row; /* input row that data begins with */
};

static struct plane band_input(const struct conv_job *f, size_t image_at, size_t oy, size_t rows,
                               float *scratch)
{
    const struct tensor_desc *d = f->xd;
    if (d->kind == TENSOR_F32 || d->kind == TENSOR_REPEAT)
        return (struct plane){ (const float *)f->x + image_at + f->first, d->row, d->pixel, 0 };
    const struct conv_shape *cs = f->cs;
    const size_t top = oy * cs->stride_h;
    const size_t first = top > cs->pad_h ? top - cs->pad_h : 0;
    const size_t bottom = (oy + rows - 1) * cs->stride_h + (cs->r - 1) * cs->dil_h + 1;
    const size_t last = bottom > cs->pad_h ? least(bottom - cs->pad_h, cs->h) : 0;
    for (size_t y = first; y < last; y++) {
        float *to = scratch + (y - first) * cs->w * d->c_stored;
        const size_t at = image_at + y * d->row;
        if (d->kind == TENSOR_BITS)
            f->kc->k->bits_expand((const uint64_t *)f->x + at, to, cs->w * d->c_stored, 1.0f);
        else f->kc->k->counts_expand((const uint8_t *)f->x + at, to, cs->w * d->c_stored, 1.0f);
    }
    return (struct plane){ scratch + f->first, cs->w * d->c_stored, d->c_stored, first };
}

/* Where the first tap of a tile's pixels lies; outside the image the numbers wrap below 0, and are
 * then beyond any height or width. */
struct pixels {
    size_t y[GATHER_ROWS_MAX], x[GATHER_ROWS_MAX];
};

static struct pixels pixels_of(const struct conv_shape *cs, size_t oy0, size_t first, size_t n)
{
    struct pixels p;
    size_t oy = oy0 + first / cs->ow, ox = first % cs->ow;
    for (size_t m = 0; m < n; m++) {
        p.y[m] = oy * cs->stride_h - cs->pad_h;
        p.x[m] = ox * cs->stride_w - cs->pad_w;
        if (++ox == cs->ow) {
            ox = 0;
            oy++;
        }
    }
    return p;
}

/* Inputs of every pixel through the tap that is (r, s) from the first; whether any is inside. */
static bool tap_inputs(const struct conv_shape *cs, const struct plane *in, const struct pixels *p,
                       size_t n, size_t r, size_t s, size_t c, const float *a[])
{
    bool any = false;
    for (size_t m = 0; m < n; m++) {
        const size_t y = p->y[m] + r, x = p->x[m] + s;
        const bool inside = y < cs->h && x < cs->w;
        a[m] = inside ? in->data + (y - in->first_row) * in->row + x * in->pixel + c : zeros;
        any |= inside;
    }
    return any;
}

/* Collects the stretches of pixels [first, first + t->rows) of a band. */
static void forward_tile(const struct conv_job *f, const struct plane *in, size_t oy0, size_t first,
                         const float *panel, struct tile *t)
{
    const struct conv_shape *cs = f->cs;
    const struct pixels pixels = pixels_of(cs, oy0, first, t->rows);
    for (size_t c = 0; c < cs->c; c += ORDER_BLOCK) {
        const size_t count = least(cs->c - c, ORDER_BLOCK);
        for (size_t r = 0; r < cs->r; r++)
            for (size_t s = 0; s < cs->s; s++, panel += count * PANEL) {
                struct gather_stretch *st = tile_stretch(t);
                st->b = panel;
                st->count = count;
                t->n += tap_inputs(cs, in, &pixels, t->rows, r * cs->dil_h, s * cs->dil_w, c,
                                   st->a);
            }
    }
    tile_flush(t);
}

static void forward_store(const struct conv_job *f, size_t image_at, size_t oy0, size_t first,
                          size_t k0, const struct tile *t)
{
    const struct tensor_desc *d = f->yd;
    float bias[PANEL] = { 0 };
    const size_t named = least(f->cs->k - k0, PANEL);
    if (f->bias != NULL) memcpy(bias, f->bias + k0, named * sizeof bias[0]);
    const size_t width = least(d->c_stored - k0, PANEL);
    /* Rows of y that is not blocked follow one another without a gap. */
    float *y = f->y + image_at + oy0 * d->row + first * d->pixel + k0;
    f->kc->k->store_rows(y, d->pixel, t->acc, t->rows, f->xd->scale, bias, width);
}

static void forward_item(void *ctx, size_t item, size_t thread)
{
    const struct conv_job *f = ctx;
    const struct conv_shape *cs = f->cs;
    const size_t bands = ceil_div(cs->oh, f->band), image = item / bands;
    const size_t b = image / f->t_count, t = f->t_begin + image % f->t_count;
    const size_t oy = item % bands * f->band, rows = least(cs->oh - oy, f->band);
    float *scratch = (float *)(void *)(f->kc->scratch + thread * f->kc->scratch_per_thread);
    const struct plane in = band_input(f, b * f->xd->sample + t * f->xd->time, oy, rows, scratch);
    const size_t y_at = b * f->yd->sample + t * f->yd->time, lot = f->kc->k->gather_rows;
    struct tile tile;
    for (size_t k = 0; k < cs->k; k += PANEL) {
        const float *panel = f->w + k * cs->c * cs->r * cs->s;
        for (size_t p = 0; p < rows * cs->ow; p += lot) {
            tile_begin(&tile, f->kc->k, least(rows * cs->ow - p, lot));
            forward_tile(f, &in, oy, p, panel, &tile);
            forward_store(f, y_at, oy, p, k, &tile);
        }
    }
}

/* Output rows whose input, as floats, fits the scratch of a thread; at least one. */
static size_t band_rows(const struct conv_shape *cs, const struct tensor_desc *xd)
{
    const size_t row_bytes = cs->w * xd->c_stored * sizeof(float);
    const size_t fit = EXPAND_BYTES / row_bytes, reach = (cs->r - 1) * cs->dil_h + 1;
    const size_t rows = fit > reach ? (fit - reach) / cs->stride_h + 1 : 1;
    return least(rows, cs->oh);
}

size_t conv_thread_scratch(const struct conv_shape *cs, const struct tensor_desc *xd,
                           enum kernel_path path)
{
    if (cs->groups > 1 && !conv_groups_wide(cs)) return conv_narrow_scratch(cs);
    const struct conv_shape one = conv_groups_one(cs);
    const size_t tiles = conv_winograd_used(cs, path) ? conv_winograd_scratch(cs) : 0;
    if (xd->kind == TENSOR_F32 || xd->kind == TENSOR_REPEAT) return tiles;
    const size_t reach = (band_rows(cs, xd) - 1) * cs->stride_h + (cs->r - 1) * cs->dil_h + 1;
    const size_t forward = reach * cs->w * xd->c_stored * sizeof(float);
    const size_t weights = cs->h * cs->w * ORDER_BLOCK * sizeof(float);
    return larger(larger(forward, weights), larger(conv_events_scratch(&one, xd), tiles));
}

/* ---- events or floats ------------------------------------------------------------------------ */
/* Largest share of inputs that spike for which events are faster: measured, bench/bench_kernels. */
#define FORWARD_DENSITY 0.65
#define WEIGHTS_DENSITY 0.6

/* Steps of a tensor that a call on span t works on: one for REPEAT, only with the first call. */
static struct span stored_steps(const struct tensor_desc *d, struct span t)
{
    if (d->t_stored == d->t) return t;
    return (struct span){ 0, t.begin == 0 ? 1 : 0 };
}

/* One group. */
static void forward_group(struct conv_job *f, bool events)
{
    const struct kernel_ctx *kc = f->kc;
    if (events) {
        kernel_note(kc, f->xd->kind == TENSOR_BITS ? KERNEL_conv_forward_events_bits
                                                   : KERNEL_conv_forward_events_counts);
        conv_events_forward(f);
        return;
    }
    if (conv_few_used(f->cs, f->xd)) {
        kernel_note(kc, KERNEL_conv_forward_few);
        conv_few_forward(f);
        return;
    }
    kernel_note_form(kc, KERNEL_conv_forward_floats, f->xd);
    f->band = band_rows(f->cs, f->xd);
    assert(kc->scratch_per_thread >= conv_thread_scratch(f->cs, f->xd, kc->path));
    threads_run(kc->threads, f->xd->b * f->t_count * ceil_div(f->cs->oh, f->band), forward_item, f);
}

void conv_forward(const struct kernel_ctx *kc, const struct conv_shape *cs,
                  const struct tensor_desc *xd, const void *x, const float *w, const float *bias,
                  const struct tensor_desc *yd, float *y, struct span t)
{
    const struct span steps = stored_steps(xd, t);
    if (cs->groups > 1 && !conv_groups_wide(cs)) {
        kernel_note(kc, KERNEL_conv_forward_groups);
        conv_narrow_forward(kc, cs, xd, x, w, bias, yd, y, steps);
        return;
    }
    const struct conv_shape one = conv_groups_one(cs);
    const bool events = conv_events_forward_fit(&one) &&
                        density_events(kc, xd, x, (struct span){ 0, xd->b }, steps,
                                       FORWARD_DENSITY);
    for (size_t g = 0; g < cs->groups; g++) {
        size_t at;
        const struct tensor_desc slice = conv_groups_slice(yd, cs->groups, g, &at);
        struct conv_job f = { .kc = kc, .cs = &one, .xd = xd, .yd = &slice, .x = x, .y = y + at,
                              .w = w + g * one.k * one.c * one.r * one.s,
                              .bias = bias != NULL ? bias + g * one.k : NULL,
                              .t_begin = steps.begin, .t_count = steps.end - steps.begin,
                              .first = g * one.c };
        forward_group(&f, events);
    }
}

/* ---- backward-data --------------------------------------------------------------------------- */
void conv_backward_data(const struct kernel_ctx *kc, const struct conv_shape *cs,
                        const struct tensor_desc *dyd, const float *dy, const float *wt,
                        float x_scale, const struct tensor_desc *dxd, float *dx, struct span t)
{
    const struct span steps = stored_steps(dxd, t);
    if (conv_winograd_used(cs, kc->path)) {
        kernel_note(kc, cs->r == cs->s ? KERNEL_conv_backward_data_winograd
                                       : KERNEL_conv_backward_data_winograd_line);
        conv_winograd_backward_data(kc, cs, dyd, dy, wt, x_scale, dxd, dx, steps);
        return;
    }
    if (cs->groups > 1 && !conv_groups_wide(cs)) {
        kernel_note(kc, KERNEL_conv_backward_data_groups);
        conv_narrow_backward_data(kc, cs, dyd, dy, wt, x_scale, dxd, dx, steps);
        return;
    }
    kernel_note(kc, KERNEL_conv_backward_data);
    const struct conv_shape one = conv_groups_one(cs);
    for (size_t g = 0; g < cs->groups; g++) {
        size_t from, to;
        const struct tensor_desc dy_g = conv_groups_slice(dyd, cs->groups, g, &from);
        const struct tensor_desc dx_g = conv_groups_slice(dxd, cs->groups, g, &to);
        conv_data_backward(kc, &one, &dy_g, dy + from, wt + g * one.c * one.k * one.r * one.s,
                           x_scale, &dx_g, dx + to, steps);
    }
}

/* ---- backward-weights ------------------------------------------------------------------------ */
/* Item = (panel of K, block of C): its rows of dw are touched by nobody else, so the sum over
 * samples needs no order of threads. */
struct weights {
    const struct kernel_ctx *kc;
    const struct conv_shape *cs;
    const struct tensor_desc *xd, *dyd;
    const void *x;
    size_t first; /* input channel of the group */
    const float *dy;
    struct span b;
    float *dw;
};

/* Channels [c, c + n) of the group, n <= 64, of one image as floats. */
static struct plane block_input(const struct weights *f, size_t image_at, size_t c, size_t n,
                                float *scratch)
{
    const struct tensor_desc *d = f->xd;
    const struct conv_shape *cs = f->cs;
    c += f->first;
    if (d->kind == TENSOR_F32 || d->kind == TENSOR_REPEAT)
        return (struct plane){ (const float *)f->x + image_at + c, d->row, d->pixel, 0 };
    for (size_t p = 0; p < cs->h * cs->w; p++) {
        float *to = scratch + p * ORDER_BLOCK;
        const size_t at = image_at + p / cs->w * d->row + p % cs->w * d->pixel;
        if (d->kind == TENSOR_BITS) {
            const uint64_t word = conv_events_of(f->kc, d, f->x, at, c, n);
            f->kc->k->bits_expand(&word, to, ORDER_BLOCK, 1.0f);
        } else {
            f->kc->k->counts_expand((const uint8_t *)f->x + at + c, to, n, 1.0f);
        }
    }
    return (struct plane){ scratch, cs->w * ORDER_BLOCK, ORDER_BLOCK, 0 };
}

/* Output positions [begin, end) along one axis whose tap lies inside the image. */
static struct span valid_outputs(size_t in, size_t out, size_t stride, size_t pad, size_t tap)
{
    const size_t begin = pad > tap ? ceil_div(pad - tap, stride) : 0;
    const size_t end = in + pad > tap ? least((in + pad - tap - 1) / stride + 1, out) : 0;
    return (struct span){ begin < end ? begin : end, end };
}

static void weights_tap(const struct weights *f, const struct plane *in, const float *dy, size_t k,
                        size_t channels, size_t tap, float *acc)
{
    const struct conv_shape *cs = f->cs;
    const size_t r = tap / cs->s * cs->dil_h, s = tap % cs->s * cs->dil_w;
    const struct span oy = valid_outputs(cs->h, cs->oh, cs->stride_h, cs->pad_h, r);
    const struct span ox = valid_outputs(cs->w, cs->ow, cs->stride_w, cs->pad_w, s);
    if (oy.begin == oy.end || ox.begin == ox.end) return;
    const size_t y = oy.begin * cs->stride_h + r - cs->pad_h;
    const size_t x = ox.begin * cs->stride_w + s - cs->pad_w;
    /* Blocks of 16 that hold a real channel: what lies behind them is nobody's. */
    const size_t width = least((cs->k - k + 15) / 16 * 16, PANEL);
    const struct outer_run run = {
        .a = in->data + y * in->row + x * in->pixel,
        .b = dy + tensor_at(f->dyd, 0, 0, oy.begin, ox.begin, k / 16),
        .rows = oy.end - oy.begin,
        .pixels = ox.end - ox.begin,
        .a_row = cs->stride_h * in->row,
        .a_pixel = cs->stride_w * in->pixel,
        .b_row = f->dyd->row,
        .b_pixel = f->dyd->pixel,
    };
    f->kc->k->outer(channels, width, &run, acc);
}

static void weights_item(void *ctx, size_t item, size_t thread)
{
    const struct weights *f = ctx;
    const struct conv_shape *cs = f->cs;
    const size_t taps = cs->r * cs->s, blocks = ceil_div(cs->c, ORDER_BLOCK);
    const size_t k = item / blocks * PANEL, c = item % blocks * ORDER_BLOCK;
    const size_t channels = least(cs->c - c, ORDER_BLOCK);
    float *scratch = (float *)(void *)(f->kc->scratch + thread * f->kc->scratch_per_thread);
    float *dw = f->dw + (k / PANEL * cs->c * taps + c * taps) * PANEL;
    memset(dw, 0, taps * channels * PANEL * sizeof dw[0]);
    for (size_t b = f->b.begin; b < f->b.end; b++)
        for (size_t t = 0; t < f->xd->t_stored; t++) {
            const size_t at = b * f->xd->sample + t * f->xd->time;
            const struct plane in = block_input(f, at, c, channels, scratch);
            const float *dy = f->dy + b * f->dyd->sample + t * f->dyd->time;
            for (size_t tap = 0; tap < taps; tap++)
                weights_tap(f, &in, dy, k, channels, tap, dw + tap * channels * PANEL);
        }
    f->kc->k->floats_scale(dw, dw, taps * channels * PANEL, f->xd->scale);
}

/* One group. */
static void weights_group(struct weights *f, bool events)
{
    const struct kernel_ctx *kc = f->kc;
    const struct conv_shape *cs = f->cs;
    if (events) {
        kernel_note(kc, f->xd->kind == TENSOR_BITS ? KERNEL_conv_backward_weights_events_bits
                                                   : KERNEL_conv_backward_weights_events_counts);
        conv_events_backward_weights(kc, cs, f->xd, f->x, f->first, f->dyd, f->dy, f->b, f->dw);
        return;
    }
    if (conv_few_used(cs, f->xd)) {
        kernel_note(kc, KERNEL_conv_backward_weights_few);
        conv_few_backward_weights(kc, cs, f->xd, f->x, f->dyd, f->dy, f->b, f->dw);
        return;
    }
    kernel_note_form(kc, KERNEL_conv_backward_weights_floats, f->xd);
    threads_run(kc->threads, ceil_div(cs->k, PANEL) * ceil_div(cs->c, ORDER_BLOCK), weights_item,
                f);
}

void conv_backward_weights(const struct kernel_ctx *kc, const struct conv_shape *cs,
                           const struct tensor_desc *xd, const void *x,
                           const struct tensor_desc *dyd, const float *dy, struct span b, float *dw)
{
    if (cs->groups > 1 && !conv_groups_wide(cs)) {
        kernel_note(kc, KERNEL_conv_backward_weights_groups);
        conv_narrow_backward_weights(kc, cs, xd, x, dyd, dy, b, dw);
        return;
    }
    const struct conv_shape one = conv_groups_one(cs);
    const bool events = conv_events_weights_fit(&one) &&
                        density_events(kc, xd, x, b, (struct span){ 0, xd->t_stored },
                                       WEIGHTS_DENSITY);
    for (size_t g = 0; g < cs->groups; g++) {
        size_t at;
        const struct tensor_desc slice = conv_groups_slice(dyd, cs->groups, g, &at);
        struct weights f = { kc, &one, xd, &slice, x, g * one.c, dy + at, b,
                             dw + g * one.k * one.c * one.r * one.s };
        weights_group(&f, events);
    }
}
