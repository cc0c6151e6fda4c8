/* conv_events_weights: the weights' gradients of a convolution of spikes, by events. See
 * conv_events.h.
 *
 * An item owns some panels of output channels and one block of input channels. For some images (or
 * rows of one) it lists the events of each channel; an event adds the gradients around it to all
 * taps at once, which stay in registers over a channel's list. With a stride only every other tap
 * meets an event, which ones its row and column say: events of one class share their taps. Where
 * those are few, an event adds to some panels at once: their taps count as taps. */
#include "worker/kernels/conv_events.h"

#include "worker/kernels/conv_job.h"
#include "worker/kernels/kernels_table.h"
#include "worker/kernels/order.h"

#include <string.h>

/* Entries of a channel that are listed at once. Gradients of so many pixels stay in the first cache
 * while a block's channels take turns; fewer would leave lists too short. Measured: 128 channels of
 * 14 x 14, 24 % spikes, 64 images: 16.0 ms with 200, 18.0 with 100, 25.5 with 400. */
#define HELD_MAX 256
#define CLASSES_MAX 4
#define TAPS_MAX 16     /* of a class */
#define TAPS_TOGETHER 8 /* so many additions an event hide how long each takes */

/* Taps that meet an event of a class, of each of some panels: where the gradient lies from it, and
 * where the sum. */
struct class {
    size_t taps, panels;
    ptrdiff_t dy[TAPS_MAX];
    size_t acc[TAPS_MAX];
};

struct weights {
    const struct kernel_ctx *kc;
    const struct conv_shape *cs;
    const struct tensor_desc *xd, *dyd;
    const void *x;
    size_t first; /* input channel of the group */
    const float *dy;
    struct span b;
    float *dw;
    size_t panels;       /* of an item */
    size_t images, rows; /* listed at once */
};

/* ---- what fits ------------------------------------------------------------------------------- */
/* Output position that tap r (times dilation) connects input position m of its class with, counted
 * from m / stride; false: none. */
static bool shift_of(size_t m, size_t stride, size_t pad, size_t tap, ptrdiff_t *shift)
{
    const ptrdiff_t at = (ptrdiff_t)(m + pad) - (ptrdiff_t)tap;
    if (at % (ptrdiff_t)stride != 0) return false;
    *shift = at / (ptrdiff_t)stride;
    return true;
}

/* Whether every tap of every input position of one axis meets the outputs or their border of 1. */
static bool axis_fits(size_t in, size_t out, size_t taps, size_t stride, size_t pad,
                      size_t dilation)
{
    for (size_t m = 0; m < least(stride, in); m++)
        for (size_t r = 0; r < taps; r++) {
            ptrdiff_t shift;
            if (!shift_of(m, stride, pad, r * dilation, &shift)) continue;
            const ptrdiff_t last = (ptrdiff_t)((in - 1 - m) / stride) + shift;
            if (shift < -1 || last > (ptrdiff_t)out) return false;
        }
    return true;
}

/* Entries of a channel, all classes, for so many images and rows. */
static size_t held(const struct conv_shape *cs, size_t images, size_t rows)
{
    return cs->stride_h * cs->stride_w * images * ceil_div(rows, cs->stride_h) *
           ceil_div(cs->w, cs->stride_w);
}

bool conv_events_weights_fit(const struct conv_shape *cs)
{
    return cs->stride_h * cs->stride_w <= CLASSES_MAX && cs->r * cs->s <= TAPS_MAX &&
           held(cs, 1, 1) <= HELD_MAX &&
           axis_fits(cs->h, cs->oh, cs->r, cs->stride_h, cs->pad_h, cs->dil_h) &&
           axis_fits(cs->w, cs->ow, cs->s, cs->stride_w, cs->pad_w, cs->dil_w);
}

size_t conv_events_weights_scratch(const struct tensor_desc *xd)
{
    const size_t entry = xd->kind == TENSOR_COUNT8 ? 2 * sizeof(uint32_t) : sizeof(uint32_t);
    return ORDER_BLOCK * (HELD_MAX * entry + CLASSES_MAX * sizeof(uint32_t));
}

/* ---- lists ----------------------------------------------------------------------------------- */
struct lists {
    size_t capacity; /* entries of a channel and class */
    uint32_t *count, *at; /* [class][channel], [class][channel][capacity] */
    float *values;   /* NULL: spikes */
};

static struct lists lists_of(const struct weights *f, size_t thread)
{
    const size_t classes = f->cs->stride_h * f->cs->stride_w;
    struct lists l = { .capacity = held(f->cs, f->images, f->rows) / classes };
    l.count = (uint32_t *)(void *)(f->kc->scratch + thread * f->kc->scratch_per_thread);
    l.at = l.count + CLASSES_MAX * ORDER_BLOCK;
    if (f->xd->kind == TENSOR_COUNT8) l.values = (float *)(void *)(l.at + HELD_MAX * ORDER_BLOCK);
    return l;
}

/* The events of one pixel's block, `to` floats behind the gradient of the first image. */
static void list_pixel(const struct weights *f, const struct lists *l, size_t at, size_t block,
                       size_t class, uint32_t to)
{
    const size_t first = f->first + block * ORDER_BLOCK;
    const size_t channels = least(f->cs->c - block * ORDER_BLOCK, ORDER_BLOCK);
    const uint8_t *counts = f->xd->kind == TENSOR_BITS ? NULL : (const uint8_t *)f->x + at + first;
    uint64_t mask = conv_events_of(f->kc, f->xd, f->x, at, first, channels);
    for (; mask != 0; mask &= mask - 1) {
        const size_t c = (size_t)__builtin_ctzll(mask), list = class * ORDER_BLOCK + c;
        const size_t entry = list * l->capacity + l->count[list]++;
        l->at[entry] = to;
        if (counts != NULL) l->values[entry] = (float)counts[c];
    }
}

/* Images are counted over samples, then time-steps. */
static size_t image_at(const struct tensor_desc *d, size_t image)
{
    return image / d->t_stored * d->sample + image % d->t_stored * d->time;
}

static void list_events(const struct weights *f, const struct lists *l, const struct class *classes,
                        struct span images, struct span rows, size_t block)
{
    const struct conv_shape *cs = f->cs;
    memset(l->count, 0, CLASSES_MAX * ORDER_BLOCK * sizeof l->count[0]);
    for (size_t i = images.begin; i < images.end; i++) {
        const size_t x_at = image_at(f->xd, i);
        const size_t dy_at = image_at(f->dyd, i) - image_at(f->dyd, images.begin);
        for (size_t y = rows.begin; y < rows.end; y++)
            for (size_t x = 0; x < cs->w; x++) {
                const size_t class = y % cs->stride_h * cs->stride_w + x % cs->stride_w;
                if (classes[class].taps == 0) continue;
                const size_t to = dy_at + y / cs->stride_h * f->dyd->row +
                                  x / cs->stride_w * f->dyd->pixel;
                list_pixel(f, l, x_at + y * f->xd->row + x * f->xd->pixel, block, class,
                           (uint32_t)to);
            }
    }
}

/* ---- sums ------------------------------------------------------------------------------------ */
static struct class class_of(const struct weights *f, size_t my, size_t mx, size_t channels)
{
    const struct conv_shape *cs = f->cs;
    struct class k = { 0 };
    ptrdiff_t y, x;
    for (size_t r = 0; r < cs->r; r++) {
        if (!shift_of(my, cs->stride_h, cs->pad_h, r * cs->dil_h, &y)) continue;
        for (size_t s = 0; s < cs->s; s++) {
            if (!shift_of(mx, cs->stride_w, cs->pad_w, s * cs->dil_w, &x)) continue;
            k.dy[k.taps] = y * (ptrdiff_t)f->dyd->row + x * (ptrdiff_t)f->dyd->pixel;
            k.acc[k.taps++] = (r * cs->s + s) * channels * PANEL;
        }
    }
    k.panels = k.taps == 0 ? 0 : larger(TAPS_TOGETHER / k.taps, 1);
    for (size_t i = k.taps; i < k.taps * k.panels; i++) { /* the same, a panel on */
        k.dy[i] = k.dy[i - k.taps] + (ptrdiff_t)f->dyd->block32;
        k.acc[i] = k.acc[i - k.taps] + cs->c * cs->r * cs->s * PANEL;
    }
    return k;
}

/* Adds the listed events of a class to the sums of some panels, [panel][..][tap][channel][PANEL] at
 * dw. Only a panel alone may have 16 channels. */
static void add_class(const struct weights *f, const struct lists *l, size_t number,
                      const struct class *k, size_t panels, bool whole, size_t channels,
                      const float *dy, float *dw)
{
    for (size_t c = 0; c < channels; c++) {
        const size_t list = number * ORDER_BLOCK + c;
        const struct event_outer o = {
            .n = l->count[list],
            .taps = k->taps * panels,
            .width = whole ? PANEL : PANEL / 2,
            .at = l->at + list * l->capacity,
            .values = l->values != NULL ? l->values + list * l->capacity : NULL,
            .dy = dy,
            .tap_dy = k->dy,
            .tap_acc = k->acc,
        };
        if (o.n > 0) f->kc->k->outer_events(&o, dw + c * PANEL);
    }
}

/* The same of all classes, for panels [of.begin, of.end): dy and dw are those of panel 0. */
static void add_panels(const struct weights *f, const struct lists *l, const struct class *classes,
                       struct span of, size_t channels, const float *dy, float *dw)
{
    const struct conv_shape *cs = f->cs;
    /* Blocks of 16 that hold a real channel: what lies behind them is nobody's. */
    const size_t whole = (cs->k + PANEL / 2 - 1) / PANEL;
    for (size_t i = 0; i < cs->stride_h * cs->stride_w; i++)
        for (size_t p = of.begin, some; classes[i].taps > 0 && p < of.end; p += some) {
            some = p < whole ? least(classes[i].panels, least(whole, of.end) - p) : 1;
            add_class(f, l, i, &classes[i], some, p < whole, channels, dy + p * f->dyd->block32,
                      dw + p * cs->c * cs->r * cs->s * PANEL);
        }
}

static void weights_item(void *ctx, size_t item, size_t thread)
{
    const struct weights *f = ctx;
    const struct conv_shape *cs = f->cs;
    const size_t taps = cs->r * cs->s, blocks = ceil_div(cs->c, ORDER_BLOCK);
    const size_t block = item % blocks, first = item / blocks * f->panels;
    const size_t end = least(first + f->panels, ceil_div(cs->k, PANEL));
    const size_t channels = least(cs->c - block * ORDER_BLOCK, ORDER_BLOCK);
    const size_t floats = taps * channels * PANEL;
    const struct lists l = lists_of(f, thread);
    struct class classes[CLASSES_MAX];
    for (size_t i = 0; i < cs->stride_h * cs->stride_w; i++)
        classes[i] = class_of(f, i / cs->stride_w, i % cs->stride_w, channels);
    float *dw = f->dw + block * ORDER_BLOCK * taps * PANEL;
    const size_t panel = cs->c * taps * PANEL;
    for (size_t p = first; p < end; p++) memset(dw + p * panel, 0, floats * sizeof dw[0]);
    const size_t last = f->b.end * f->xd->t_stored;
    for (size_t i = f->b.begin * f->xd->t_stored; i < last; i += f->images)
        for (size_t y = 0; y < cs->h; y += f->rows) {
            list_events(f, &l, classes, (struct span){ i, least(i + f->images, last) },
                        (struct span){ y, least(y + f->rows, cs->h) }, block);
            add_panels(f, &l, classes, (struct span){ first, end }, channels,
                       f->dy + f->dyd->origin + image_at(f->dyd, i), dw);
        }
    for (size_t p = first; p < end; p++)
        f->kc->k->floats_scale(dw + p * panel, dw + p * panel, floats, f->xd->scale);
}

/* Events are listed once for all panels of an item: as many as leave every thread the same number
 * of items, or two. */
static size_t panels_of(const struct conv_shape *cs, size_t threads)
{
    const size_t panels = ceil_div(cs->k, PANEL), blocks = ceil_div(cs->c, ORDER_BLOCK);
    const size_t even = ceil_div(threads, blocks), wanted = ceil_div(2 * threads, blocks);
    if (blocks * even % threads == 0 && panels % even == 0) return panels / even;
    return wanted >= panels ? 1 : panels / wanted;
}

void conv_events_backward_weights(const struct kernel_ctx *kc, const struct conv_shape *cs,
                                  const struct tensor_desc *xd, const void *x, size_t first,
                                  const struct tensor_desc *dyd, const float *dy, struct span b,
                                  float *dw)
{
    struct weights f = { kc, cs, xd, dyd, x, first, dy, b, dw,
                         panels_of(cs, threads_count(kc->threads)), 1, cs->h };
    while (held(cs, 1, f.rows) > HELD_MAX) f.rows = (f.rows + 1) / 2;
    if (f.rows == cs->h) f.images = HELD_MAX / held(cs, 1, cs->h);
    threads_run(kc->threads, ceil_div(ceil_div(cs->k, PANEL), f.panels) *
                                 ceil_div(cs->c, ORDER_BLOCK), weights_item, &f);
}
