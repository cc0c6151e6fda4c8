/* conv_winograd: see conv_winograd.h. With d a tile of 6 x 6 gradients and g the kernel turned
 * round, the 4 x 4 gradients of the data are A^T [ sum over k of (G g G^T) * (B^T d B) ] A.
 *
 * An item is TILES tiles of any images: it transforms their gradients, V [36][tile][K], then takes
 * 32 channels of the data at a time: 36 products M = V U by the tiles of isa_gemm.c, and back. */
#include "worker/kernels/conv_winograd.h"

#include "worker/kernels/conv_job.h"
#include "worker/kernels/kernels_table.h"

#include <assert.h>
#include <string.h>

#define POINTS 36
#define TILES 42 /* whole register tiles of every instruction set: 14 and 6 rows */
#define SIDE 4   /* pixels of a tile's side that come out */

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

size_t conv_winograd_floats(const struct conv_shape *cs)
{
    return POINTS * ceil_div(cs->c, PANEL) * PANEL * depth_of(cs);
}

size_t conv_winograd_scratch(const struct conv_shape *cs)
{
    return POINTS * TILES * (depth_of(cs) + PANEL) * sizeof(float);
}

/* ---- weights --------------------------------------------------------------------------------- */
struct transform {
    const struct conv_shape *cs;
    const float *w;
    float *u; /* [panel of C][36][k][PANEL] */
};

/* One column of G g. */
static void to_points(const float g[3], float u[6])
{
    const float ends = (g[0] + g[2]) * (-1.0f / 6.0f), middle = g[1] * (1.0f / 6.0f);
    const float wide = g[0] * (1.0f / 24.0f) + g[2] * (1.0f / 6.0f), mid = g[1] * (1.0f / 12.0f);
    u[0] = g[0] * 0.25f;
    u[1] = ends - middle;
    u[2] = ends + middle;
    u[3] = wide + mid;
    u[4] = wide - mid;
    u[5] = g[2];
}

/* G g G^T of the turned kernel from output channel k to input channel c. */
static void transform_kernel(const struct transform *j, size_t k, size_t c, float u[POINTS])
{
    float half[3][6];
    for (size_t s = 0; s < 3; s++) {
        float g[3];
        for (size_t r = 0; r < 3; r++)
            g[r] = j->w[conv_packed_at(j->cs, ((k * j->cs->c + c) * 3 + 2 - r) * 3 + 2 - s)];
        to_points(g, half[s]);
    }
    for (size_t y = 0; y < 6; y++) {
        const float g[3] = { half[0][y], half[1][y], half[2][y] };
        to_points(g, u + y * 6);
    }
}

static void transform_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct transform *j = ctx;
    const size_t depth = depth_of(j->cs), panel = item / depth, k = item % depth;
    float *to = j->u + (panel * POINTS * depth + k) * PANEL;
    for (size_t i = 0; i < PANEL; i++) {
        float u[POINTS] = { 0 };
        const size_t c = panel * PANEL + i;
        if (k < j->cs->k && c < j->cs->c) transform_kernel(j, k, c, u);
        for (size_t p = 0; p < POINTS; p++) to[p * depth * PANEL + i] = u[p];
    }
}

void conv_winograd_transform(const struct kernel_ctx *kc, const struct conv_shape *cs,
                             const float *w, float *u)
{
    struct transform j = { cs, w, u };
    threads_run(kc->threads, ceil_div(cs->c, PANEL) * depth_of(cs), transform_item, &j);
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
        f->kc->k->winograd_in(rows, columns, width, d->pixel, v + k, TILES * depth);
    }
}

static void put_tile(const struct backward *f, size_t tile, size_t c, const float *m)
{
    float y[SIDE * SIDE * PANEL] __attribute__((aligned(64)));
    const struct place at = place_of(f, tile);
    const size_t width = least(f->dxd->c_stored - c, PANEL);
    f->kc->k->winograd_out(m, TILES * PANEL, y);
    for (size_t i = 0; i < SIDE && at.y + i < f->cs->h; i++)
        for (size_t j = 0; j < SIDE && at.x + j < f->cs->w; j++) {
            float *to = f->dx + tensor_at(f->dxd, at.b, at.t, at.y + i, at.x + j, c / 16);
            f->kc->k->store_scaled(to, y + (i * SIDE + j) * PANEL, f->scale, NULL, width);
        }
}

/* m[tile][PANEL] of one point: one chain over k. */
static void multiply(const struct backward *f, const float *v, const float *u, size_t tiles,
                     float *m)
{
    const size_t depth = depth_of(f->cs);
    memset(m, 0, tiles * PANEL * sizeof m[0]);
    for (size_t first = 0; first < tiles; first += GATHER_ROWS_MAX) {
        struct gather_stretch s = { .b = u, .count = depth };
        const size_t rows = least(tiles - first, GATHER_ROWS_MAX);
        for (size_t i = 0; i < rows; i++) s.a[i] = v + (first + i) * depth;
        f->kc->k->gather(rows, 1, &s, m + first * PANEL);
    }
}

static void backward_item(void *ctx, size_t item, size_t thread)
{
    const struct backward *f = ctx;
    const size_t depth = depth_of(f->cs), first = item * TILES;
    const size_t tiles = least(f->tiles - first, TILES);
    float *v = (float *)(void *)(f->kc->scratch + thread * f->kc->scratch_per_thread);
    float *m = v + POINTS * TILES * depth;
    for (size_t i = 0; i < tiles; i++) take_tile(f, first + i, v + i * depth);
    for (size_t c = 0; c < f->cs->c; c += PANEL) {
        const float *u = f->u + c * POINTS * depth;
        for (size_t p = 0; p < POINTS; p++)
            multiply(f, v + p * TILES * depth, u + p * depth * PANEL, tiles, m + p * TILES * PANEL);
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
    threads_run(kc->threads, ceil_div(f.tiles, TILES), backward_item, &f);
}
