/* conv_winograd: see conv_winograd.h. With d a tile of 6 x 6 gradients and g the kernel turned
 * round, the 4 x 4 gradients of the data are A^T [ sum over k of (G g G^T) * (B^T d B) ] A.
 *
 * An item is some tiles of any images: it transforms their gradients, V [36][tile][K], then takes
 * 32 channels of the data at a time: 36 products M = V U by the tiles of isa_gemm.c, and back. */
#include "worker/kernels/conv_winograd.h"

#include "worker/kernels/conv_job.h"
#include "worker/kernels/kernels_table.h"

#include <assert.h>
#include <string.h>

#define POINTS 36
#define TILES_MAX 42 /* whole register tiles of every instruction set: 14 and 6 rows */
#define TILES_FEW 28 /* with few channels: V, M and what comes next fit the second cache */
#define FEW 256
#define SIDE 4   /* pixels of a tile's side that come out */
#define GAP 16   /* floats between two points of V: else all lie in few sets of the first cache */

/* ---- what is done so ------------------------------------------------------------------------- */
static bool fits(const struct conv_shape *cs)
{
    return cs->groups == 1 && cs->r == 3 && cs->s == 3 && cs->stride_h == 1 && cs->stride_w == 1 &&
           cs->dil_h == 1 && cs->dil_w == 1 && cs->pad_h == 1 && cs->pad_w == 1;
}

/* Enough channels for the products, few enough pixels lost at the edges of tiles. */
static bool pays(const struct conv_shape *cs)
{
    const size_t covered = ceil_div(cs->h, SIDE) * ceil_div(cs->w, SIDE) * SIDE * SIDE;
    return cs->k >= 64 && cs->c >= 32 && covered * 2 <= cs->h * cs->w * 3;
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
    return depth_of(cs) <= FEW ? TILES_FEW : TILES_MAX;
}

/* Floats of V of one point. */
static size_t point_floats(const struct conv_shape *cs)
{
    return tiles_of(cs) * depth_of(cs) + GAP;
}

size_t conv_winograd_floats(const struct conv_shape *cs)
{
    return POINTS * ceil_div(cs->c, PANEL) * PANEL * depth_of(cs);
}

size_t conv_winograd_scratch(const struct conv_shape *cs)
{
    return POINTS * (point_floats(cs) + tiles_of(cs) * PANEL) * sizeof(float);
}

/* ---- weights --------------------------------------------------------------------------------- */
struct transform {
    const struct kernel_ctx *kc;
    const struct conv_shape *cs;
    const float *w;
    float *u; /* [panel of C][36][k][PANEL] */
};

/* One panel of output channels to one of input channels: by rows of output channels, as the weights
 * lie, then turned. */
static void transform_item(void *ctx, size_t item, size_t thread)
{
    const struct transform *j = ctx;
    const size_t depth = depth_of(j->cs), c0 = item / (depth / PANEL) * PANEL;
    const size_t k0 = item % (depth / PANEL) * PANEL;
    float *half = (float *)(void *)(j->kc->scratch + thread * j->kc->scratch_per_thread);
    memset(half, 0, POINTS * PANEL * PANEL * sizeof half[0]);
    for (size_t i = 0; i < PANEL && c0 + i < j->cs->c; i++) {
        const size_t at = (k0 * j->cs->c + c0 + i) * 9; /* first tap */
        const float *w = j->w + conv_packed_at(j->cs, at);
        const size_t tap = conv_packed_at(j->cs, at + 1) - conv_packed_at(j->cs, at);
        j->kc->k->winograd_kernel(w, tap, half + i * PANEL, PANEL * PANEL);
    }
    for (size_t p = 0; p < POINTS; p++)
        j->kc->k->turn_panel(half + p * PANEL * PANEL, PANEL, PANEL,
                             j->u + ((c0 / PANEL * POINTS + p) * depth + k0) * PANEL);
}

void conv_winograd_transform(const struct kernel_ctx *kc, const struct conv_shape *cs,
                             const float *w, float *u)
{
    struct transform j = { kc, cs, w, u };
    threads_run(kc->threads, ceil_div(cs->c, PANEL) * (depth_of(cs) / PANEL), transform_item, &j);
}

/* ---- tiles ----------------------------------------------------------------------------------- */
struct backward {
    const struct kernel_ctx *kc;
    const struct conv_shape *cs;
    const struct tensor_desc *dyd, *dxd;
    const float *dy, *u;
    float *dx, scale;
    size_t t_begin, t_count, tiles; /* tiles of all images */
};
struct place {
    size_t b, t, y, x; /* y, x: first pixel that comes out */
};

static struct place place_of(const struct backward *f, size_t tile)
{
    const size_t wide = ceil_div(f->cs->w, SIDE), per = ceil_div(f->cs->h, SIDE) * wide;
    const size_t image = tile / per, at = tile % per;
    return (struct place){ image / f->t_count, f->t_begin + image % f->t_count, at / wide * SIDE,
                           at % wide * SIDE };
}

/* Rows of 6 that begin one pixel before the tile; what lies behind the border is 0. */
static void take_tile(const struct backward *f, size_t tile, float *v)
{
    const struct place at = place_of(f, tile);
    const struct tensor_desc *d = f->dyd;
    const size_t depth = depth_of(f->cs), columns = least(6, f->cs->w + 2 - at.x);
    for (size_t k = 0; k < depth; k += PANEL) {
        const float *first = f->dy + tensor_at(d, at.b, at.t, at.y, at.x, k / 16) - d->row -
                             d->pixel;
        const float *rows[6];
        for (size_t i = 0; i < 6; i++)
            rows[i] = at.y + i < f->cs->h + 2 ? first + i * d->row : NULL;
        /* Blocks of 16 that hold a real channel: what lies behind them is nobody's. */
        const size_t width = f->cs->k - k > PANEL / 2 ? PANEL : PANEL / 2;
        f->kc->k->winograd_in(rows, columns, width, d->pixel, v + k, point_floats(f->cs));
    }
}

static void put_tile(const struct backward *f, size_t tile, size_t c, const float *m)
{
    const struct place at = place_of(f, tile);
    const struct tensor_desc *d = f->dxd;
    float *first = f->dx + tensor_at(d, at.b, at.t, at.y, at.x, c / 16), *rows[SIDE];
    for (size_t i = 0; i < SIDE; i++) rows[i] = at.y + i < f->cs->h ? first + i * d->row : NULL;
    f->kc->k->winograd_out(m, tiles_of(f->cs) * PANEL, rows, least(SIDE, f->cs->w - at.x),
                           least(d->c_stored - c, PANEL), d->pixel, f->scale);
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
    const size_t all = tile < f->tiles ? least(f->tiles - tile, tiles_of(f->cs)) * panels : 0;
    for (size_t i = all * part / parts; i < all * (part + 1) / parts; i++) {
        const struct place at = place_of(f, tile + i / panels);
        const float *first = f->dy + tensor_at(d, at.b, at.t, at.y, at.x, i % panels * PANEL / 16);
        for (size_t y = 0; y < least(6, f->cs->h + 2 - at.y); y++)
            for (size_t c = 0; c < least(6, f->cs->w + 2 - at.x) * PANEL; c += 16)
                __builtin_prefetch(first + (y - 1) * d->row - d->pixel + c, 0, 2);
    }
}

static void backward_item(void *ctx, size_t item, size_t thread)
{
    const struct backward *f = ctx;
    const size_t depth = depth_of(f->cs), most = tiles_of(f->cs), first = item * most;
    const size_t tiles = least(f->tiles - first, most);
    float *v = (float *)(void *)(f->kc->scratch + thread * f->kc->scratch_per_thread);
    float *m = v + POINTS * point_floats(f->cs);
    for (size_t i = 0; i < tiles; i++) take_tile(f, first + i, v + i * depth);
    for (size_t c = 0; c < f->cs->c; c += PANEL) {
        const float *u = f->u + c * POINTS * depth;
        for (size_t p = 0; p < POINTS; p++) {
            fetch(f, first + most, c / PANEL * POINTS + p, ceil_div(f->cs->c, PANEL) * POINTS);
            multiply(f, v + p * point_floats(f->cs), u + p * depth * PANEL, tiles,
                     m + p * most * PANEL);
        }
        for (size_t i = 0; i < tiles; i++) put_tile(f, first + i, c, m + i * PANEL);
    }
}

void conv_winograd_backward_data(const struct kernel_ctx *kc, const struct conv_shape *cs,
                                 const struct tensor_desc *dyd, const float *dy, const float *u,
                                 float x_scale, const struct tensor_desc *dxd, float *dx,
                                 struct span t)
{
    struct backward f = { kc, cs, dyd, dxd, dy, u, dx, x_scale, t.begin, t.end - t.begin, 0 };
    assert(kc->scratch_per_thread >= conv_winograd_scratch(cs));
    f.tiles = dxd->b * f.t_count * ceil_div(cs->h, SIDE) * ceil_div(cs->w, SIDE);
    threads_run(kc->threads, ceil_div(f.tiles, tiles_of(cs)), backward_item, &f);
}
