/* pool_tile: see pool_tile.h. */
#include "worker/kernels/pool_tile.h"

#include "worker/kernels/kernels_table.h"

#include <assert.h>

/* Words of the taps, and where their gradients go. */
struct window {
    size_t taps;
    const uint64_t *value[POOL_TILE_TAPS_MAX];
    float *to[POOL_TILE_TAPS_MAX];
};

static void window_at(struct window *w, const struct pool_shape *ps, const struct tensor_desc *xd,
                      const uint64_t *image, const struct image_tile *at, size_t t, size_t y,
                      size_t x, const struct tensor_view *dx)
{
    w->taps = ps->kh * ps->kw;
    for (size_t i = 0, k = 0; i < ps->kh; i++)
        for (size_t j = 0; j < ps->kw; j++, k++) {
            w->value[k] = image + (y + i) * xd->row + (x + j) * xd->pixel;
            w->to[k] = (float *)dx->data + tensor_at(&dx->desc, 0, t, y + i - at->rows.begin,
                                                     x + j - at->columns.begin, 0);
        }
}

/* The first set bit of a window wins; without any the first position does. */
static void winners(const struct window *w, size_t word, uint64_t won[POOL_TILE_TAPS_MAX])
{
    uint64_t taken = 0;
    for (size_t k = 0; k < w->taps; k++) {
        won[k] = w->value[k][word] & ~taken;
        taken |= won[k];
    }
    won[0] |= ~taken;
}

static void route(const struct kernel_ctx *kc, const struct window *w, const float *dy,
                  size_t channels)
{
    uint64_t won[POOL_TILE_TAPS_MAX];
    float *to[POOL_TILE_TAPS_MAX];
    for (size_t c = 0; c < channels; c += 64) {
        winners(w, c / 64, won);
        for (size_t k = 0; k < w->taps; k++) to[k] = w->to[k] + c;
        kc->k->route_window(won, w->taps, dy + c, to, channels - c < 64 ? channels - c : 64);
    }
}

void pool_tile_route(const struct kernel_ctx *kc, const struct pool_shape *ps,
                     const struct tensor_desc *xd, const uint64_t *x, const struct tensor_desc *dyd,
                     const float *dy, const struct image_tile *at, struct span oy, struct span ox,
                     const struct tensor_view *dx)
{
    const size_t channels = (dyd->c + 15) / 16 * 16;
    struct window w;
    assert(!dyd->blocked && ps->kh * ps->kw <= POOL_TILE_TAPS_MAX);
    for (size_t t = at->t.begin; t < at->t.end; t++) {
        const uint64_t *image = x + xd->origin + at->b * xd->sample + t * xd->time;
        for (size_t y = oy.begin; y < oy.end; y++)
            for (size_t c = ox.begin; c < ox.end; c++) {
                window_at(&w, ps, xd, image, at, t, y * ps->stride_h, c * ps->stride_w, dx);
                route(kc, &w, dy + tensor_at(dyd, at->b, t, y, c, 0), channels);
            }
    }
}
