/* conv_data: see conv_data.h. An item is a lot of pixels of one phase, of any images, in
 * tiles of the register kernel; small images share tiles. */
#include "worker/kernels/conv_data.h"

#include "worker/kernels/conv_job.h"
#include "worker/kernels/kernels_table.h"
#include "worker/kernels/order.h"

#define TILES 4          /* of a lot: the weights of a panel serve them all */
#define STRETCHES_MAX 64 /* of one gather call */

struct job {
    const struct kernel_ctx *kc;
    const struct conv_shape *cs;
    const struct tensor_desc *dyd, *dxd;
    const float *dy, *wt;
    float *dx, scale;
    size_t images, t_begin, t_count;
};
/* Pixels (y + i * stride_h, x + j * stride_w) of every image. */
struct phase {
    size_t y, x, rows, columns;
};
/* A pixel of a lot: the output pixel that tap (0, 0) would meet if the phase were 0, and where its
 * gradients lie. */
struct pixel {
    size_t i, j;
    const float *dy;
    float *dx;
};

static struct phase phase_of(const struct conv_shape *cs, size_t number)
{
    const size_t y = number / cs->stride_w, x = number % cs->stride_w;
    return (struct phase){ y, x, y < cs->h ? ceil_div(cs->h - y, cs->stride_h) : 0,
                           x < cs->w ? ceil_div(cs->w - x, cs->stride_w) : 0 };
}

/* Pixels from `first` on, over images, rows and columns of a phase. */
static void list_pixels(const struct job *f, const struct phase *p, size_t first, size_t count,
                        struct pixel *out)
{
    if (count == 0) return;
    const size_t per = p->rows * p->columns, image = first / per;
    size_t b = image / f->t_count, t = image % f->t_count;
    size_t i = first % per / p->columns, j = first % per % p->columns;
    for (size_t m = 0; m < count; m++) {
        const size_t y = p->y + i * f->cs->stride_h, x = p->x + j * f->cs->stride_w;
        out[m] = (struct pixel){
            .i = i,
            .j = j,
            .dy = f->dy + tensor_at(f->dyd, b, f->t_begin + t, 0, 0, 0),
            .dx = f->dx + tensor_at(f->dxd, b, f->t_begin + t, y, x, 0),
        };
        if (++j < p->columns) continue;
        j = 0;
        if (++i < p->rows) continue;
        i = 0;
        if (++t < f->t_count) continue;
        t = 0;
        b++;
    }
}

/* Along one axis: what a tap adds to a pixel's number to name the output it meets (wraps below 0);
 * false: it meets none of this phase. */
static bool shift_of(size_t at, size_t pad, size_t tap, size_t stride, size_t *shift)
{
    const size_t up = at + pad;
    const size_t gap = up >= tap ? up - tap : tap - up;
    if (gap % stride != 0) return false;
    *shift = up >= tap ? gap / stride : -(gap / stride);
    return true;
}

/* One tap of one block of output channels: a stretch for each PANEL of gradients in a row; how
 * many. b: weights of the tap. */
static size_t tap_stretches(const struct job *f, const struct pixel *pixels, size_t rows, size_t up,
                            size_t left, struct span k, const float *b, struct gather_stretch *out)
{
    static const float zeros[PANEL];
    size_t n = 0;
    bool any = false;
    for (size_t m = 0; m < rows; m++) {
        const size_t oy = pixels[m].i + up, ox = pixels[m].j + left;
        const bool inside = oy < f->cs->oh && ox < f->cs->ow;
        const size_t at = oy * f->dyd->row + ox * f->dyd->pixel + k.begin / PANEL * f->dyd->block32;
        out[0].a[m] = inside ? pixels[m].dy + at : zeros;
        out[1].a[m] = inside ? pixels[m].dy + at + f->dyd->block32 : zeros;
        any |= inside;
    }
    for (size_t at = k.begin; any && at < k.end; at += PANEL, n++) {
        out[n].b = b + (at - k.begin) * PANEL;
        out[n].count = least(k.end - at, PANEL);
    }
    return n;
}

/* acc[m][PANEL] of a tile and the panel of weights at `panel`. */
static void tile_sums(const struct job *f, const struct phase *p, const struct pixel *pixels,
                      size_t rows, const float *panel, float *acc)
{
    const struct conv_shape *cs = f->cs;
    struct gather_stretch stretch[STRETCHES_MAX];
    bool begin = true;
    size_t n = 0, up, left;
    for (size_t k = 0; k < cs->k; k += ORDER_BLOCK) {
        const struct span block = { k, least(k + ORDER_BLOCK, cs->k) };
        const size_t step = (block.end - k) * PANEL;
        for (size_t r = 0; r < cs->r; r++) {
            if (!shift_of(p->y, cs->pad_h, r * cs->dil_h, cs->stride_h, &up)) continue;
            for (size_t s = 0; s < cs->s; s++) {
                if (!shift_of(p->x, cs->pad_w, s * cs->dil_w, cs->stride_w, &left)) continue;
                if (n + 2 > STRETCHES_MAX) {
                    f->kc->k->gather(rows, n, stretch, begin, acc);
                    n = 0;
                    begin = false;
                }
                n += tap_stretches(f, pixels, rows, up, left, block,
                                   panel + k * cs->r * cs->s * PANEL + (r * cs->s + s) * step,
                                   stretch + n);
            }
        }
    }
    if (n > 0 || begin) f->kc->k->gather(rows, n, stretch, begin, acc);
}

/* Items of one lot stand side by side, so that every thread gets some of each phase. */
static void data_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct job *f = ctx;
    const struct conv_shape *cs = f->cs;
    const size_t phases = cs->stride_h * cs->stride_w, tile = f->kc->k->gather_rows;
    const size_t first = item / phases * TILES * tile;
    const struct phase p = phase_of(cs, item % phases);
    const size_t all = f->images * p.rows * p.columns;
    const size_t count = first < all ? least(all - first, TILES * tile) : 0;
    float acc[GATHER_ROWS_MAX * PANEL] __attribute__((aligned(64)));
    struct pixel pixels[TILES * GATHER_ROWS_MAX];
    list_pixels(f, &p, first, count, pixels);
    for (size_t c = 0; c < cs->c; c += PANEL) {
        const float *panel = f->wt + c * cs->k * cs->r * cs->s;
        const size_t width = least(f->dxd->c_stored - c, PANEL);
        for (size_t m = 0; m < count; m += tile) {
            const size_t rows = least(count - m, tile);
            tile_sums(f, &p, pixels + m, rows, panel, acc);
            for (size_t i = 0; i < rows; i++)
                f->kc->k->store_scaled(pixels[m + i].dx + c / PANEL * f->dxd->block32,
                                       acc + i * PANEL, f->scale, NULL, width);
        }
    }
}

void conv_data_backward(const struct kernel_ctx *kc, const struct conv_shape *cs,
                        const struct tensor_desc *dyd, const float *dy, const float *wt,
                        float x_scale, const struct tensor_desc *dxd, float *dx, struct span t)
{
    struct job f = { kc, cs, dyd, dxd, dy, wt, dx, x_scale, 0, t.begin, t.end - t.begin };
    f.images = dxd->b * f.t_count;
    const struct phase largest = phase_of(cs, 0);
    const size_t lots = ceil_div(f.images * largest.rows * largest.columns,
                                 TILES * kc->k->gather_rows);
    threads_run(kc->threads, lots * cs->stride_h * cs->stride_w, data_item, &f);
}
