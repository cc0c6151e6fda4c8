/* conv_few: see conv_few.h. */
#include "worker/kernels/conv_few.h"

#include "worker/kernels/kernels_table.h"

#include <string.h>

#define CHANNELS_MAX 8
#define CONV_PATCH_MAX 128 /* floats */
#define LOT 56             /* pixels of a weight gradient whose patches are made at once */

bool conv_few_used(const struct conv_shape *cs, const struct tensor_desc *xd)
{
    return (xd->kind == TENSOR_F32 || xd->kind == TENSOR_REPEAT) && cs->groups == 1 &&
           cs->c <= CHANNELS_MAX && cs->r * cs->s * cs->c <= CONV_PATCH_MAX;
}

/* Those of n output pixels from ox on whose column of taps s lies inside the image. */
static struct span inside(const struct conv_shape *cs, size_t ox, size_t n, size_t s)
{
    const size_t first = ox * cs->stride_w + s * cs->dil_w; /* padded column of the first */
    struct span in = { 0, n };
    while (in.begin < n && first + in.begin * cs->stride_w < cs->pad_w) in.begin++;
    while (in.end > in.begin && first + (in.end - 1) * cs->stride_w >= cs->pad_w + cs->w) in.end--;
    return in;
}

/* What n pixels of output row oy, from ox on, see of the image at x, [pixel][r][s][c] and a pixel
 * `pitch` floats: the order of the weights' rows. A tap outside the image is 0. */
static void take_patches(const struct conv_shape *cs, const struct tensor_desc *d, const float *x,
                         size_t oy, size_t ox, size_t n, float *patch, size_t pitch)
{
    const size_t step = cs->stride_w * d->pixel;
    for (size_t r = 0; r < cs->r; r++) {
        const size_t y = oy * cs->stride_h + r * cs->dil_h - cs->pad_h; /* below 0: wraps, >= h */
        for (size_t s = 0; s < cs->s; s++)
            for (size_t c = 0; c < cs->c; c++, patch++) {
                struct span in = { 0 };
                if (y < cs->h) in = inside(cs, ox, n, s);
                const float *from = x + y * d->row + c;
                if (in.begin < in.end)
                    from += ((ox + in.begin) * cs->stride_w + s * cs->dil_w - cs->pad_w) * d->pixel;
                for (size_t m = 0; m < in.begin; m++) patch[m * pitch] = 0.0f;
                for (size_t m = in.begin; m < in.end; m++, from += step) patch[m * pitch] = *from;
                for (size_t m = in.end; m < n; m++) patch[m * pitch] = 0.0f;
            }
    }
}

/* ---- forward --------------------------------------------------------------------------------- */
/* n pixels of one output row, whose patches are s->a, to y. What is written next is fetched: its
 * lines are taken panel by panel, which no prefetcher follows. */
static void forward_pixels(const struct conv_job *f, struct gather_stretch *s, float *y, size_t n)
{
    const struct conv_shape *cs = f->cs;
    const size_t ahead = n * f->yd->pixel / ceil_div(cs->k, PANEL);
    const float *next = y + n * f->yd->pixel;
    float acc[GATHER_ROWS_MAX * PANEL] __attribute__((aligned(64)));
    for (size_t k = 0; k < cs->k; k += PANEL) {
        float bias[PANEL] = { 0 };
        if (f->bias != NULL) memcpy(bias, f->bias + k, least(cs->k - k, PANEL) * sizeof bias[0]);
        for (size_t i = 0; i < ahead; i += 16) __builtin_prefetch(next + i, 1);
        next += ahead;
        s->b = f->w + k * s->count;
        f->kc->k->gather(n, 1, s, true, acc);
        f->kc->k->store_rows(y + k, f->yd->pixel, acc, n, f->xd->scale, bias,
                             least(f->yd->c_stored - k, PANEL));
    }
}

static void forward_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct conv_job *f = ctx;
    const struct conv_shape *cs = f->cs;
    const size_t image = item / cs->oh, oy = item % cs->oh, lot = f->kc->k->gather_rows;
    const size_t b = image / f->t_count, t = f->t_begin + image % f->t_count;
    const float *x = (const float *)f->x + b * f->xd->sample + t * f->xd->time;
    float *y = f->y + b * f->yd->sample + t * f->yd->time + oy * f->yd->row;
    float patch[GATHER_ROWS_MAX][CONV_PATCH_MAX];
    struct gather_stretch s = { .count = cs->r * cs->s * cs->c };
    for (size_t m = 0; m < lot; m++) s.a[m] = patch[m];
    for (size_t ox = 0; ox < cs->ow; ox += lot) {
        const size_t n = least(cs->ow - ox, lot);
        take_patches(cs, f->xd, x, oy, ox, n, patch[0], CONV_PATCH_MAX);
        forward_pixels(f, &s, y + ox * f->yd->pixel, n);
    }
}

void conv_few_forward(const struct conv_job *f)
{
    threads_run(f->kc->threads, f->xd->b * f->t_count * f->cs->oh, forward_item,
                (void *)(uintptr_t)f);
}

/* ---- backward-weights ------------------------------------------------------------------------ */
struct weights {
    const struct kernel_ctx *kc;
    const struct conv_shape *cs;
    const struct tensor_desc *xd, *dyd;
    const float *x, *dy;
    struct span b;
    float *dw;
    size_t panels; /* of an item: their patches are made once */
};

/* Some panels of output channels over all images. */
static void weights_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct weights *f = ctx;
    const struct conv_shape *cs = f->cs;
    const size_t rows = cs->r * cs->s * cs->c, first = item * f->panels * PANEL;
    const size_t end = least(first + f->panels * PANEL, cs->k);
    float patch[LOT * CONV_PATCH_MAX];
    for (size_t k = first; k < end; k += PANEL)
        memset(f->dw + k * rows, 0, rows * PANEL * sizeof f->dw[0]);
    for (size_t i = f->b.begin * f->xd->t_stored; i < f->b.end * f->xd->t_stored; i++) {
        const size_t b = i / f->xd->t_stored, t = i % f->xd->t_stored;
        const float *x = f->x + b * f->xd->sample + t * f->xd->time;
        for (size_t oy = 0; oy < cs->oh; oy++)
            for (size_t ox = 0; ox < cs->ow; ox += LOT) {
                const size_t n = least(cs->ow - ox, LOT);
                take_patches(cs, f->xd, x, oy, ox, n, patch, rows);
                struct outer_run run = {
                    .a = patch, .rows = 1, .pixels = n, .a_pixel = rows, .b_pixel = f->dyd->pixel
                };
                for (size_t k = first; k < end; k += PANEL) {
                    run.b = f->dy + tensor_at(f->dyd, b, t, oy, ox, k / 16);
                    /* Blocks of 16 that hold a real channel: what lies behind is nobody's. */
                    f->kc->k->outer(rows, cs->k - k > PANEL / 2 ? PANEL : PANEL / 2, &run,
                                    f->dw + k * rows);
                }
            }
    }
    for (size_t k = first; k < end; k += PANEL)
        f->kc->k->floats_scale(f->dw + k * rows, f->dw + k * rows, rows * PANEL, f->xd->scale);
}

void conv_few_backward_weights(const struct kernel_ctx *kc, const struct conv_shape *cs,
                               const struct tensor_desc *xd, const void *x,
                               const struct tensor_desc *dyd, const float *dy, struct span b,
                               float *dw)
{
    const size_t panels = ceil_div(cs->k, PANEL);
    struct weights f = {
        kc, cs, xd, dyd, x, dy, b, dw, ceil_div(panels, threads_count(kc->threads))
    };
    threads_run(kc->threads, ceil_div(panels, f.panels), weights_item, &f);
}
