/* fused: see fused.h. */
#include "worker/layers/fused.h"

#include "common/mem.h"
#include "worker/layers/layer_kinds.h"

#include <string.h>

/* Of a thread: with the outputs beside it in a level-2 cache. One window of a pooling is allowed
 * more, but not so much that memory is no longer saved. */
#define TILE_BYTES ((size_t)256 << 10)
#define WINDOW_BYTES (2 * TILE_BYTES)

bool fused_takes_norm(const struct layer *norm)
{
    const bool plain = norm->ops == &batch_norm_ops || norm->ops == &threshold_batch_norm_ops;
    return plain && !norm->expands && norm->out.flat_h * norm->out.flat_w == 1;
}

bool fused_takes_pool(const struct layer *l, const struct layer *pool)
{
    if (pool->ops != &max_pool2d_ops || pool->expands) return false;
    const struct pool_shape *ps = &pool->u.pool;
    return max_pool_has_tiles(ps) &&
           neuron_tile_bytes(&l->u.neuron, TENSOR_F32, ps->stride_h, ps->stride_w) <= WINDOW_BYTES;
}

/* ---- the tile -------------------------------------------------------------------------------- */
static size_t tile_bytes(const struct layer *l, bool norm, bool pool)
{
    const struct neuron *n = &l->u.neuron;
    size_t bytes = 0;
    if (norm) bytes += neuron_tile_bytes(n, l->in.kind, l->tile.rows, l->tile.columns);
    if (pool) bytes += neuron_tile_bytes(n, TENSOR_F32, l->tile.rows, l->tile.columns);
    return bytes;
}

/* Halves the columns of a tile, in multiples of unit, until it fits or is one unit. */
static void cut_columns(struct layer *l, bool norm, bool pool, size_t unit)
{
    while (l->tile.columns > unit && tile_bytes(l, norm, pool) > TILE_BYTES)
        l->tile.columns = ((l->tile.columns + 1) / 2 + unit - 1) / unit * unit;
}

/* Least common multiple of a window's columns and a strip of batch norm's sums. */
static size_t whole_strips(size_t step)
{
    size_t unit = step;
    while (unit % BN_STRIP != 0) unit += step;
    return unit;
}

/* Rows of one window, and as many windows side by side as fit; whole strips, if those do. */
void fused_plan(struct layer *l, const struct layer *norm, const struct layer *pool,
                struct layer_needs *needs)
{
    const struct neuron *n = &l->u.neuron;
    const size_t rows = pool != NULL ? pool->u.pool.stride_h : 1;
    const size_t step = pool != NULL ? pool->u.pool.stride_w : 1;
    l->tile.rows = rows < n->h ? rows : n->h;
    l->tile.columns = n->w;
    if (norm != NULL) cut_columns(l, true, pool != NULL, whole_strips(step));
    cut_columns(l, norm != NULL, pool != NULL, step);
    needs->thread_scratch_bytes = mem_align(neuron_scratch_bytes(n), 64) +
                                  tile_bytes(l, norm != NULL, pool != NULL);
}

/* ---- callbacks ------------------------------------------------------------------------------- */
/* Behind the end of a sample the input is zero (net_step.lengths). */
static size_t steps_left(const struct step *s, const struct image_tile *at)
{
    if (s->lengths == NULL) return at->t.end;
    const size_t end = s->lengths[at->b];
    const size_t left = end > s->first_step ? end - s->first_step : 0;
    return left < at->t.end ? left : at->t.end;
}

static void clear_step(const struct tensor_view *to, size_t t)
{
    for (size_t y = 0; y < to->desc.h; y++)
        for (size_t x = 0; x < to->desc.w; x++)
            memset(layer_block(to, 0, t, y, x, 0), 0, to->desc.c_stored * sizeof(float));
}

static void make_input(const void *ctx, const struct image_tile *at, const struct tensor_view *to)
{
    const struct fused *f = ctx;
    struct image_tile valid = *at;
    const size_t end = steps_left(f->s, at);
    if (end < valid.t.end) valid.t.end = end;
    if (valid.t.begin < valid.t.end) batch_norm_tile(f->s->norm, f->s->norm_step, &valid, to);
    for (size_t t = end > at->t.begin ? end : at->t.begin; t < at->t.end; t++) clear_step(to, t);
}

static void make_output_gradient(const void *ctx, const struct image_tile *at,
                                 const struct tensor_view *to)
{
    const struct fused *f = ctx;
    const struct step *s = f->s;
    max_pool_backward_tile(s->kc, &s->pool->u.pool, &s->y.desc, s->y.data, &s->dy.desc, s->dy.data,
                           at, to);
}

static void take_input_gradient(const void *ctx, const struct image_tile *at)
{
    const struct fused *f = ctx;
    batch_norm_tile_sums(f->s->norm, f->s->norm_step, &f->s->dx[0], at);
}

/* ---- one call -------------------------------------------------------------------------------- */
static struct fused *begin(struct fused *f, const struct layer *l, const struct step *s)
{
    *f = (struct fused){ .l = l,
                         .s = s,
                         .neighbours = { .rows = l->tile.rows, .columns = l->tile.columns } };
    f->neighbours.ctx = f;
    if (s->norm != NULL) f->neighbours.input = make_input;
    return f;
}

const struct neuron_neighbours *fused_forward(struct fused *f, const struct layer *l,
                                              const struct step *s)
{
    if (s->norm == NULL) return NULL;
    return &begin(f, l, s)->neighbours;
}

/* Tiles in the order of batch norm's own sums: all of a strip's columns and steps together. */
bool fused_makes_sums(const struct layer *l, const struct step *s)
{
    const bool strips = l->tile.columns == l->u.neuron.w || l->tile.columns % BN_STRIP == 0;
    return s->norm != NULL && s->dx[0].data != NULL && s->lengths == NULL && strips &&
           l->span_steps == l->in.t;
}

const struct neuron_neighbours *fused_backward(struct fused *f, const struct layer *l,
                                               const struct step *s)
{
    if (s->norm == NULL && s->pool == NULL) return NULL;
    begin(f, l, s);
    if (s->pool != NULL) {
        max_pool_note_backward(s->kc, &s->y.desc);
        f->neighbours.output_gradient = make_output_gradient;
    }
    if (fused_makes_sums(l, s)) f->neighbours.input_gradient = take_input_gradient;
    return &f->neighbours;
}
