/* conv_winograd: see conv_winograd.h. With d a tile of 6 x 6 gradients and g the kernel turned
 * round, the 4 x 4 gradients of the data are A^T [ sum over k of (G g G^T) * (B^T d B) ] A; along
 * one axis, with 6 gradients and 3 taps, the 4 are A^T [ sum over k of (G g) * (B^T d) ].
 *
 * An item is some tiles of any images: it transforms their gradients, V [point][tile][K], then
 * takes 32 channels of the data at a time: a product M = V U for each of 36 or 6 points by the
 * tiles of isa_gemm.c, and back. */
#include "worker/kernels/conv_winograd.h"

#include "worker/kernels/conv_job.h"
#include "worker/kernels/kernels_table.h"

#include <assert.h>
#include <string.h>

#define TILES_MAX 42 /* whole register tiles of every instruction set: 14 and 6 rows */
#define TILES_FEW 28 /* with few channels: V, M and what comes next fit the second cache */
#define FEW 256
#define LINE_TILES 84    /* along one axis a tile has a sixth of the points */
#define SIDE ((size_t)4) /* pixels of a tile's side that come out */
#define GAP 16   /* floats between two points of V: else all lie in few sets of the first cache */

/* ---- what is done so ------------------------------------------------------------------------- */
/* A tile of a shape: pixels that come out, and points. */
struct form {
    size_t rows, columns, points;
};

static struct form form_of(const struct conv_shape *cs)
{
    const bool down = cs->r == 3, across = cs->s == 3;
    return (struct form){ down ? SIDE : 1, across ? SIDE : 1,
                          (down ? SIDE + 2 : 1) * (across ? SIDE + 2 : 1) };
}

/* One axis: three taps, or none of its own. */
static bool axis_fits(size_t taps, size_t stride, size_t pad, size_t dilation)
{
    return stride == 1 && dilation == 1 && ((taps == 3 && pad == 1) || (taps == 1 && pad == 0));
}

static bool fits(const struct conv_shape *cs)
{
    return cs->groups == 1 && cs->r * cs->s > 1 &&
           axis_fits(cs->r, cs->stride_h, cs->pad_h, cs->dil_h) &&
           axis_fits(cs->s, cs->stride_w, cs->pad_w, cs->dil_w);
}

/* Enough channels for the products, few enough pixels lost at the edges of tiles: a tile saves
 * three quarters of the products, along one axis half of them. */
static bool pays(const struct conv_shape *cs)
{
    const struct form f = form_of(cs);
    const size_t covered = ceil_div(cs->h, f.rows) * f.rows * ceil_div(cs->w, f.columns) *
                           f.columns;
    const size_t image = cs->h * cs->w;
    return cs->k >= 64 && cs->c >= 32 &&
           (f.rows == f.columns ? covered * 2 <= image * 3 : covered * 3 <= image * 4);
}

bool conv_winograd_used(const struct conv_shape *cs, enum kernel_path path)
{
    return fits(cs) && (path == KERNEL_PATH_WINOGRAD || pays(cs));
}

/* Rows of a panel of U or V: gradients are blocked by 32. */
static size_t depth_of(const struct conv_shape *cs) { return ceil_div(cs->k, PANEL) * PANEL; }

/* Tiles of an item. Many channels: more of them, since each item reads all of U. */
static size_t tiles_of(const struct conv_shape *cs)
{
    if (form_of(cs).points == SIDE + 2) return LINE_TILES;
    return depth_of(cs) <= FEW ? TILES_FEW : TILES_MAX;
}

/* Floats of V of one point. */
static size_t point_floats(const struct conv_shape *cs)
{
    return tiles_of(cs) * depth_of(cs) + GAP;
}

size_t conv_winograd_floats(const struct conv_shape *cs)
{
    return form_of(cs).points * ceil_div(cs->c, PANEL) * PANEL * depth_of(cs);
}

size_t conv_winograd_scratch(const struct conv_shape *cs)
{
    const size_t points = form_of(cs).points, taps = cs->r * cs->s * PANEL * PANEL;
    const size_t tiles = points * (point_floats(cs) + tiles_of(cs) * PANEL);
    return larger(tiles, taps) * sizeof(float);
}

/* ---- weights --------------------------------------------------------------------------------- */
struct transform {
    const struct kernel_ctx *kc;
    const struct conv_shape *cs;
    const float *w;
    float *u; /* [panel of C][point][k][PANEL] */
};

/* Tap `tap` of a panel of output and one of input channels, to[k][PANEL of C]: as backward-data
 * reads it. Weights lie by rows of output channels. */
static void turn_tap(const struct transform *j, size_t tap, size_t c0, size_t k0, float *to)
{
    const struct conv_shape *cs = j->cs;
    const size_t width = least(cs->c - c0, PANEL);
    const float *from = j->w + conv_packed_at(cs, (k0 * cs->c + c0) * cs->r * cs->s + tap);
    float rows[PANEL * PANEL] __attribute__((aligned(64)));
    if (width < PANEL) {
        memcpy(rows, from, width * PANEL * sizeof rows[0]);
        memset(rows + width * PANEL, 0, (PANEL - width) * PANEL * sizeof rows[0]);
        from = rows;
    }
    j->kc->k->turn_panel(from, PANEL, PANEL, to);
}

/* One panel of output channels to one of input channels. */
static void transform_item(void *ctx, size_t item, size_t thread)
{
    const struct transform *j = ctx;
    const struct kernels *kernels = j->kc->k;
    const size_t depth = depth_of(j->cs), c0 = item / (depth / PANEL) * PANEL;
    const size_t k0 = item % (depth / PANEL) * PANEL, points = form_of(j->cs).points;
    float *taps = (float *)(void *)(j->kc->scratch + thread * j->kc->scratch_per_thread);
    float *u = j->u + (c0 / PANEL * points * depth + k0) * PANEL;
    for (size_t tap = 0; tap < j->cs->r * j->cs->s; tap++)
        turn_tap(j, tap, c0, k0, taps + tap * PANEL * PANEL);
    for (size_t k = 0; k < PANEL; k++)
        (points == SIDE + 2 ? kernels->winograd_line_kernel : kernels->winograd_kernel)(
            taps + k * PANEL, PANEL * PANEL, u + k * PANEL, depth * PANEL);
}

void conv_winograd_transform(const struct kernel_ctx *kc, const struct conv_shape *cs,
                             const float *w, float *u)
{
    struct transform j = { kc, cs, w, u };
    assert(kc->scratch_per_thread >= conv_winograd_scratch(cs));
    threads_run(kc->threads, ceil_div(cs->c, PANEL) * (depth_of(cs) / PANEL), transform_item, &j);
}

/* ---- tiles ----------------------------------------------------------------------------------- */
struct backward {
    const struct kernel_ctx *kc;
    const struct conv_shape *cs;
    const struct tensor_desc *dyd, *dxd;
    const float *dy, *u;
    float *dx, scale;
    size_t t_begin, t_count;
    struct form form;
    size_t tiles, lot; /* tiles of all images, and of an item */
};
struct place {
    size_t b, t, y, x; /* y, x: first pixel that comes out */
};

static struct place place_of(const struct backward *f, size_t tile)
{
    const size_t wide = ceil_div(f->cs->w, f->form.columns);
    const size_t per = ceil_div(f->cs->h, f->form.rows) * wide;
    const size_t image = tile / per, at = tile % per;
    return (struct place){ image / f->t_count, f->t_begin + image % f->t_count,
                           at / wide * f->form.rows, at % wide * f->form.columns };
}

/* What a tile reads of the gradients, and the border: from one pixel before it, along an axis that
 * has taps. */
struct window {
    const float *first;
    size_t rows, columns;
};

static struct window window_of(const struct backward *f, const struct place *at, size_t k)
{
    const struct tensor_desc *d = f->dyd;
    struct window w = { f->dy + tensor_at(d, at->b, at->t, at->y, at->x, k / 16), 1, 1 };
    if (f->form.rows > 1) {
        w.first -= d->row;
        w.rows = least(SIDE + 2, f->cs->h + 2 - at->y);
    }
    if (f->form.columns > 1) {
        w.first -= d->pixel;
        w.columns = least(SIDE + 2, f->cs->w + 2 - at->x);
    }
    return w;
}

/* Rows of a tile, or the pixels of a line; what lies behind the border is 0. */
static void take_tile(const struct backward *f, size_t tile, float *v)
{
    const struct place at = place_of(f, tile);
    const struct tensor_desc *d = f->dyd;
    const bool across = f->form.rows == 1;
    for (size_t k = 0; k < depth_of(f->cs); k += PANEL) {
        const struct window w = window_of(f, &at, k);
        const float *in[SIDE + 2];
        for (size_t i = 0; i < SIDE + 2; i++)
            in[i] = i < (across ? w.columns : w.rows) ? w.first + i * (across ? d->pixel : d->row)
                                                      : NULL;
        /* Blocks of 16 that hold a real channel: what lies behind them is nobody's. */
        const size_t width = f->cs->k - k > PANEL / 2 ? PANEL : PANEL / 2;
        if (f->form.points == SIDE + 2)
            f->kc->k->winograd_line_in(in, width, v + k, point_floats(f->cs));
        else f->kc->k->winograd_in(in, w.columns, width, d->pixel, v + k, point_floats(f->cs));
    }
}

static void put_tile(const struct backward *f, size_t tile, size_t c, const float *m)
{
    const struct place at = place_of(f, tile);
    const struct tensor_desc *d = f->dxd;
    const bool across = f->form.rows == 1;
    const size_t width = least(d->c_stored - c, PANEL),
                 left = across ? f->cs->w - at.x : f->cs->h - at.y;
    float *first = f->dx + tensor_at(d, at.b, at.t, at.y, at.x, c / 16), *out[SIDE];
    for (size_t i = 0; i < SIDE; i++)
        out[i] = i < left ? first + i * (across ? d->pixel : d->row) : NULL;
    if (f->form.points == SIDE + 2)
        f->kc->k->winograd_line_out(m, f->lot * PANEL, out, width, f->scale);
    else
        f->kc->k->winograd_out(m, f->lot * PANEL, out, least(SIDE, f->cs->w - at.x), width,
                               d->pixel, f->scale);
}

/* m[tile][PANEL] of one point: one chain over k. */
static void multiply(const struct backward *f, const float *v, const float *u, size_t tiles,
                     float *m)
{
    const size_t depth = depth_of(f->cs);
    const size_t lot = f->kc->k->gather_rows;
    for (size_t first = 0; first < tiles; first += lot) {
        struct gather_stretch s = { .b = u, .count = depth };
        const size_t rows = least(tiles - first, lot);
        for (size_t i = 0; i < rows; i++) s.a[i] = v + (first + i) * depth;
        f->kc->k->gather(rows, 1, &s, true, m + first * PANEL);
    }
}

/* Brings a part of what the tiles from `tile` on will read into the second cache, PANEL channels of
 * a tile at a time. */
static void fetch(const struct backward *f, size_t tile, size_t part, size_t parts)
{
    const struct tensor_desc *d = f->dyd;
    const size_t panels = depth_of(f->cs) / PANEL;
    const size_t all = tile < f->tiles ? least(f->tiles - tile, f->lot) * panels : 0;
    for (size_t i = all * part / parts; i < all * (part + 1) / parts; i++) {
        const struct place at = place_of(f, tile + i / panels);
        const struct window w = window_of(f, &at, i % panels * PANEL);
        for (size_t y = 0; y < w.rows; y++)
            for (size_t c = 0; c < w.columns * PANEL; c += 16)
                __builtin_prefetch(w.first + y * d->row + c, 0, 2);
    }
}

/* The same of what the tiles from `tile` on will write. */
static void claim(const struct backward *f, size_t tile, size_t tiles, size_t c, size_t part)
{
    const struct tensor_desc *d = f->dxd;
    const size_t points = f->form.points;
    for (size_t i = tiles * part / points; i < tiles * (part + 1) / points; i++) {
        const struct place at = place_of(f, tile + i);
        const float *first = f->dx + tensor_at(d, at.b, at.t, at.y, at.x, c / 16);
        const size_t columns = least(f->form.columns, f->cs->w - at.x);
        for (size_t y = 0; y < least(f->form.rows, f->cs->h - at.y); y++)
            for (size_t x = 0; x < columns; x++) {
                __builtin_prefetch(first + y * d->row + x * d->pixel, 1, 2);
                __builtin_prefetch(first + y * d->row + x * d->pixel + 16, 1, 2);
            }
    }
}

static void backward_item(void *ctx, size_t item, size_t thread)
{
    const struct backward *f = ctx;
    const size_t depth = depth_of(f->cs), first = item * f->lot, points = f->form.points;
    const size_t tiles = least(f->tiles - first, f->lot);
    float *v = (float *)(void *)(f->kc->scratch + thread * f->kc->scratch_per_thread);
    float *m = v + points * point_floats(f->cs);
    for (size_t i = 0; i < tiles; i++) take_tile(f, first + i, v + i * depth);
    for (size_t c = 0; c < f->cs->c; c += PANEL) {
        const float *u = f->u + c * points * depth;
        for (size_t p = 0; p < points; p++) {
            fetch(f, first + f->lot, c / PANEL * points + p, ceil_div(f->cs->c, PANEL) * points);
            claim(f, first, tiles, c, p);
            multiply(f, v + p * point_floats(f->cs), u + p * depth * PANEL, tiles,
                     m + p * f->lot * PANEL);
        }
        for (size_t i = 0; i < tiles; i++) put_tile(f, first + i, c, m + i * PANEL);
    }
}

void conv_winograd_backward_data(const struct kernel_ctx *kc, const struct conv_shape *cs,
                                 const struct tensor_desc *dyd, const float *dy, const float *u,
                                 float x_scale, const struct tensor_desc *dxd, float *dx,
                                 struct span t)
{
    struct backward f = { kc,          cs, dyd, dxd, dy, u, dx, x_scale, t.begin, t.end - t.begin,
                          form_of(cs), 0,  0 };
    assert(kc->scratch_per_thread >= conv_winograd_scratch(cs));
    f.tiles = dxd->b * f.t_count * ceil_div(cs->h, f.form.rows) * ceil_div(cs->w, f.form.columns);
    if (f.tiles == 0) return;
    /* Every thread gets as many items, of tiles as even as can be. */
    const size_t threads = threads_count(kc->threads);
    f.lot = ceil_div(f.tiles, ceil_div(ceil_div(f.tiles, tiles_of(cs)), threads) * threads);
    threads_run(kc->threads, ceil_div(f.tiles, f.lot), backward_item, &f);
}
