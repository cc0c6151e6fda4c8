/* pool_kernel: max and average pooling, and dropout, forward and backward. Called by layers/;
 * an item is one image. */
#include "worker/kernels/kernel_trace.h"
#include "worker/kernels/kernels_table.h"
#include "worker/kernels/pool_tile.h"
#include "worker/kernels/reference.h"

#include <math.h>
#include <string.h>

struct pool {
    const struct kernels *k;
    const struct pool_shape *ps;
    const struct tensor_desc *xd, *yd; /* forward: input, output; backward: their gradients */
    const struct tensor_desc *value_d; /* max backward: the forward input */
    const void *x;
    void *y;
    const void *value;
    const uint64_t *keep; /* dropout */
    float factor;
    size_t t_begin, t_count;
    size_t sample0, row0, column0; /* of a tile: where y lies */
};

static struct span stored(const struct tensor_desc *d, struct span t)
{
    if (d->t_stored == d->t) return t;
    return (struct span){ 0, t.begin == 0 ? 1 : 0 };
}

static void each_image(const struct kernel_ctx *kc, struct pool *p, const struct tensor_desc *d,
                       struct span t, void (*fn)(void *, size_t, size_t))
{
    const struct span steps = stored(d, t);
    p->k = kc->k;
    p->t_begin = steps.begin;
    p->t_count = steps.end - steps.begin;
    threads_run(kc->threads, d->b * p->t_count, fn, p);
}

/* Sample and step of an item. */
static size_t sample_of(const struct pool *p, size_t item) { return item / p->t_count; }
static size_t step_of(const struct pool *p, size_t item) { return p->t_begin + item % p->t_count; }

static size_t image_at(const struct tensor_desc *d, size_t b, size_t t)
{
    return b * d->sample + (d->t_stored == 1 ? 0 : t) * d->time;
}

/* Input position of tap i of output pixel o; false outside the image. */
static bool tap(const struct pool_shape *ps, size_t o, size_t i, size_t *y, size_t *x)
{
    const size_t dil_h = ps->dil_h > 0 ? ps->dil_h : 1, dil_w = ps->dil_w > 0 ? ps->dil_w : 1;
    *y = o / ps->ow * ps->stride_h + i / ps->kw * dil_h - ps->pad_h;
    *x = o % ps->ow * ps->stride_w + i % ps->kw * dil_w - ps->pad_w;
    return *y < ps->h && *x < ps->w;
}

/* ---- maximum --------------------------------------------------------------------------------- */
static void max_bits(const struct pool *p, const uint64_t *x, uint64_t *y)
{
    const size_t words = p->yd->pixel;
    for (size_t o = 0; o < p->ps->oh * p->ps->ow; o++) {
        uint64_t *to = y + o / p->ps->ow * p->yd->row + o % p->ps->ow * words;
        memset(to, 0, words * sizeof to[0]);
        for (size_t i = 0; i < p->ps->kh * p->ps->kw; i++) {
            size_t iy, ix;
            if (!tap(p->ps, o, i, &iy, &ix)) continue;
            const uint64_t *from = x + iy * p->xd->row + ix * p->xd->pixel;
            for (size_t w = 0; w < words; w++) to[w] |= from[w];
        }
    }
}

static void max_floats(const struct pool *p, const float *x, float *y)
{
    for (size_t o = 0; o < p->ps->oh * p->ps->ow; o++) {
        float *to = y + o / p->ps->ow * p->yd->row + o % p->ps->ow * p->yd->pixel;
        bool first = true;
        for (size_t i = 0; i < p->ps->kh * p->ps->kw; i++) {
            size_t iy, ix;
            if (!tap(p->ps, o, i, &iy, &ix)) continue;
            const float *from = x + iy * p->xd->row + ix * p->xd->pixel;
            if (first) memcpy(to, from, p->yd->c_stored * sizeof to[0]);
            else p->k->maximum(to, from, p->yd->c_stored);
            first = false;
        }
    }
}

static void max_counts(const struct pool *p, const uint8_t *x, uint8_t *y)
{
    const size_t n = p->yd->c_stored;
    for (size_t o = 0; o < p->ps->oh * p->ps->ow; o++) {
        uint8_t *to = y + o / p->ps->ow * p->yd->row + o % p->ps->ow * p->yd->pixel;
        memset(to, 0, n); /* no count is below 0 */
        for (size_t i = 0; i < p->ps->kh * p->ps->kw; i++) {
            size_t iy, ix;
            if (!tap(p->ps, o, i, &iy, &ix)) continue;
            const uint8_t *from = x + iy * p->xd->row + ix * p->xd->pixel;
            for (size_t c = 0; c < n; c++) to[c] = from[c] > to[c] ? from[c] : to[c];
        }
    }
}

static void max_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct pool *p = ctx;
    const size_t b = sample_of(p, item), t = step_of(p, item);
    const size_t from = image_at(p->xd, b, t), to = image_at(p->yd, b, t);
    if (p->xd->kind == TENSOR_BITS)
        max_bits(p, (const uint64_t *)p->x + from, (uint64_t *)p->y + to);
    else if (p->xd->kind == TENSOR_COUNT8)
        max_counts(p, (const uint8_t *)p->x + from, (uint8_t *)p->y + to);
    else max_floats(p, (const float *)p->x + from, (float *)p->y + to);
}

void max_pool_forward(const struct kernel_ctx *kc, const struct pool_shape *ps,
                      const struct tensor_desc *xd, const void *x, const struct tensor_desc *yd,
                      void *y, struct span t)
{
    kernel_note_form(kc, KERNEL_max_pool_forward_floats, xd);
    struct pool p = { .ps = ps, .xd = xd, .yd = yd, .x = x, .y = y };
    each_image(kc, &p, xd, t, max_item);
}

/* One image of a gradient, zeroed, real and spare channels alike. */
static void clear_image(const struct tensor_desc *d, float *data, size_t b, size_t t)
{
    const size_t run = d->blocked ? 32 : d->c_stored; /* channels that lie side by side */
    for (size_t y = 0; y < d->h; y++)
        for (size_t x = 0; x < d->w; x++)
            for (size_t c = 0; c < d->c_stored; c += run)
                memset(data + tensor_at(d, b, t, y, x, c / 16), 0, run * sizeof data[0]);
}

static size_t channel_blocks(const struct tensor_desc *d) { return (d->c + 15) / 16; }

/* Max backward: the gradient of an input, in the whole tensor or in a tile. */
static float *routed_at(const struct pool *p, size_t b, size_t t, size_t y, size_t x, size_t block)
{
    return (float *)p->y + tensor_at(p->yd, b - p->sample0, t, y - p->row0, x - p->column0, block);
}

/* Word position of one pixel. */
static const uint64_t *word_at(const struct pool *p, size_t at, size_t y, size_t x)
{
    return (const uint64_t *)p->value + at + y * p->value_d->row + x * p->value_d->pixel;
}

/* The first set bit of a window takes the gradient; without any the first position does. */
static void route_window_bits(const struct pool *p, size_t b, size_t t, size_t o, size_t word)
{
    const size_t at = image_at(p->value_d, b, t), c = word * 64;
    const struct pool_shape *ps = p->ps;
    const size_t left = channel_blocks(p->yd) * 16 - c, channels = left < 64 ? left : 64;
    const size_t run = p->xd->blocked || p->yd->blocked ? 32 : 64; /* that lie side by side */
    uint64_t any = 0, taken = 0;
    for (size_t i = 0; i < ps->kh * ps->kw; i++) {
        size_t y, x;
        if (tap(ps, o, i, &y, &x)) any |= word_at(p, at, y, x)[word];
    }
    const float *dy = (const float *)p->x;
    for (size_t i = 0, first = 1; i < ps->kh * ps->kw; i++) {
        size_t y, x;
        if (!tap(ps, o, i, &y, &x)) continue;
        const uint64_t mine = (word_at(p, at, y, x)[word] | (first ? ~any : 0)) & ~taken;
        taken |= mine;
        first = 0;
        for (size_t j = 0; j < channels; j += run)
            p->k->route_bits(
                mine >> j, dy + tensor_at(p->xd, b, t, o / ps->ow, o % ps->ow, (c + j) / 16),
                routed_at(p, b, t, y, x, (c + j) / 16), channels - j < run ? channels - j : run);
    }
}

static void route_window_floats(const struct pool *p, size_t b, size_t t, size_t o, size_t block)
{
    const struct pool_shape *ps = p->ps;
    const struct tensor_view value = { *p->value_d, (void *)(uintptr_t)p->value };
    float best[16], v[16];
    bool first = true;
    for (size_t i = 0; i < ps->kh * ps->kw; i++) {
        size_t y, x;
        if (!tap(ps, o, i, &y, &x)) continue;
        kernels_load16(p->k, &value, b, t, y, x, block, 1.0f, v);
        if (first) memcpy(best, v, sizeof best);
        else p->k->maximum(best, v, 16);
        first = false;
    }
    uint16_t taken = 0;
    const float *dy = (const float *)p->x + tensor_at(p->xd, b, t, o / ps->ow, o % ps->ow, block);
    for (size_t i = 0; i < ps->kh * ps->kw; i++) {
        size_t y, x;
        if (!tap(ps, o, i, &y, &x)) continue;
        kernels_load16(p->k, &value, b, t, y, x, block, 1.0f, v);
        p->k->route_max(v, best, dy, &taken, routed_at(p, b, t, y, x, block), 16);
    }
}

static void route_window(const struct pool *p, size_t b, size_t t, size_t o)
{
    const bool bits = p->value_d->kind == TENSOR_BITS;
    const size_t parts = bits ? (p->yd->c + 63) / 64 : channel_blocks(p->yd);
    for (size_t i = 0; i < parts; i++) {
        if (bits) route_window_bits(p, b, t, o, i);
        else route_window_floats(p, b, t, o, i);
    }
}

static void max_back_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct pool *p = ctx;
    const size_t b = sample_of(p, item), t = step_of(p, item);
    clear_image(p->yd, p->y, b, t);
    for (size_t o = 0; o < p->ps->oh * p->ps->ow; o++) route_window(p, b, t, o);
}

void max_pool_backward(const struct kernel_ctx *kc, const struct pool_shape *ps,
                       const struct tensor_desc *xd, const void *x, const struct tensor_desc *dyd,
                       const float *dy, const struct tensor_desc *dxd, float *dx, struct span t)
{
    kernel_note_form(kc, KERNEL_max_pool_backward_floats, xd);
    struct pool p = { .ps = ps, .xd = dyd, .yd = dxd, .value_d = xd, .x = dy, .y = dx, .value = x };
    each_image(kc, &p, dxd, t, max_back_item);
}

bool max_pool_has_tiles(const struct pool_shape *ps)
{
    const bool whole = (ps->oh - 1) * ps->stride_h + ps->kh <= ps->h &&
                       (ps->ow - 1) * ps->stride_w + ps->kw <= ps->w;
    return whole && ps->pad_h == 0 && ps->pad_w == 0 && ps->dil_h <= 1 && ps->dil_w <= 1 &&
           ps->stride_h >= ps->kh && ps->stride_w >= ps->kw;
}

void max_pool_note_backward(const struct kernel_ctx *kc, const struct tensor_desc *xd)
{
    kernel_note_form(kc, KERNEL_max_pool_backward_floats, xd);
}

/* Windows that begin in [s.begin, s.end). */
static struct span windows_in(struct span s, size_t stride, size_t count)
{
    const size_t first = (s.begin + stride - 1) / stride, end = (s.end + stride - 1) / stride;
    return (struct span){ first, end < count ? end : count };
}

/* Every position of the tile belongs to a window. */
static bool covers(const struct pool_shape *ps, const struct image_tile *at, struct span oy,
                   struct span ox)
{
    return ps->stride_h == ps->kh && ps->stride_w == ps->kw && at->rows.end == oy.end * ps->kh &&
           at->columns.end == ox.end * ps->kw;
}

void max_pool_backward_tile(const struct kernel_ctx *kc, const struct pool_shape *ps,
                            const struct tensor_desc *xd, const void *x,
                            const struct tensor_desc *dyd, const float *dy,
                            const struct image_tile *at, const struct tensor_view *dx)
{
    const struct pool p = { .k = kc->k,
                            .ps = ps,
                            .xd = dyd,
                            .yd = &dx->desc,
                            .value_d = xd,
                            .x = dy,
                            .y = dx->data,
                            .value = x,
                            .sample0 = at->b,
                            .row0 = at->rows.begin,
                            .column0 = at->columns.begin };
    const struct span oy = windows_in(at->rows, ps->stride_h, ps->oh);
    const struct span ox = windows_in(at->columns, ps->stride_w, ps->ow);
    const bool at_once = xd->kind == TENSOR_BITS && !dyd->blocked &&
                         ps->kh * ps->kw <= POOL_TILE_TAPS_MAX;
    for (size_t t = at->t.begin; t < at->t.end; t++) {
        if (!at_once || !covers(ps, at, oy, ox)) clear_image(&dx->desc, dx->data, 0, t);
        for (size_t y = oy.begin; !at_once && y < oy.end; y++)
            for (size_t c = ox.begin; c < ox.end; c++) route_window(&p, at->b, t, y * ps->ow + c);
    }
    if (at_once) pool_tile_route(kc, ps, xd, x, dyd, dy, at, oy, ox, dx);
}

/* ---- average --------------------------------------------------------------------------------- */
/* Rows and columns of the image under one window. */
struct window {
    struct span y, x;
};

static struct span clipped(size_t first, size_t size, size_t pad, size_t end)
{
    const size_t last = first + size > pad ? first + size - pad : 0;
    return (struct span){ first > pad ? first - pad : 0, last < end ? last : end };
}

static struct span share(size_t i, size_t in, size_t out)
{
    return (struct span){ i * in / out, ((i + 1) * in + out - 1) / out };
}

static struct window window_of(const struct pool_shape *p, size_t o)
{
    const size_t oy = o / p->ow, ox = o % p->ow;
    if (p->adaptive) return (struct window){ share(oy, p->h, p->oh), share(ox, p->w, p->ow) };
    return (struct window){ clipped(oy * p->stride_h, p->kh, p->pad_h, p->h),
                            clipped(ox * p->stride_w, p->kw, p->pad_w, p->w) };
}

static void avg_store(const struct pool *p, size_t b, size_t t, size_t o, size_t block,
                      const float sum[16])
{
    const size_t oy = o / p->ps->ow, ox = o % p->ps->ow;
    if (p->yd->kind == TENSOR_COUNT8) {
        uint8_t *to = (uint8_t *)p->y + image_at(p->yd, b, t) + oy * p->yd->row +
                      ox * p->yd->pixel + block * 16;
        for (size_t i = 0; i < 16; i++) to[i] = (uint8_t)sum[i];
        return;
    }
    const float n = (float)reference_pool_divisor(p->ps, oy, ox);
    p->k->floats_scale(sum, (float *)p->y + tensor_at(p->yd, b, t, oy, ox, block),
                       16, p->xd->scale / n);
}

/* Bit i of eight as byte i, 0 or 1. */
static uint64_t bytes_of(uint64_t eight)
{
    const uint64_t spread = (eight * 0x0101010101010101u) & 0x8040201008040201u;
    return (spread + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
}

/* Spikes of 64 channels under one window, eight bytes at a time: no byte passes 255, or the output
 * would not be counts. */
static void avg_bits(const struct pool *p, size_t b, size_t t, size_t o, size_t word)
{
    const struct window w = window_of(p->ps, o);
    const uint64_t *from = (const uint64_t *)p->x + image_at(p->xd, b, t) + word;
    uint64_t total[8] = { 0 };
    for (size_t y = w.y.begin; y < w.y.end; y++)
        for (size_t x = w.x.begin; x < w.x.end; x++) {
            const uint64_t spikes = from[y * p->xd->row + x * p->xd->pixel];
            for (size_t i = 0; i < 8; i++) total[i] += bytes_of(spikes >> i * 8 & 0xff);
        }
    memcpy((uint8_t *)p->y + image_at(p->yd, b, t) + o / p->ps->ow * p->yd->row +
               o % p->ps->ow * p->yd->pixel + word * 64,
           total, sizeof total);
}

static void avg_bits_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct pool *p = ctx;
    const size_t b = sample_of(p, item), t = step_of(p, item);
    for (size_t o = 0; o < p->ps->oh * p->ps->ow; o++)
        for (size_t word = 0; word < p->xd->pixel; word++) avg_bits(p, b, t, o, word);
}

static void avg_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct pool *p = ctx;
    const size_t b = sample_of(p, item), t = step_of(p, item);
    const struct tensor_view in = { *p->xd, (void *)(uintptr_t)p->x };
    for (size_t o = 0; o < p->ps->oh * p->ps->ow; o++)
        for (size_t block = 0; block < p->yd->c_stored / 16; block++) {
            float sum[16] __attribute__((aligned(64))) = { 0 }, v[16] __attribute__((aligned(64)));
            const struct window w = window_of(p->ps, o);
            for (size_t y = w.y.begin; y < w.y.end && block * 16 < p->xd->c_stored; y++)
                for (size_t x = w.x.begin; x < w.x.end; x++) {
                    kernels_load16(p->k, &in, b, t, y, x, block, 1.0f, v);
                    p->k->accumulate(sum, v, 1.0f, 16);
                }
            avg_store(p, b, t, o, block, sum);
        }
}

void avg_pool_forward(const struct kernel_ctx *kc, const struct pool_shape *ps,
                      const struct tensor_desc *xd, const void *x, const struct tensor_desc *yd,
                      void *y, struct span t)
{
    kernel_note_form(kc, KERNEL_avg_pool_forward_floats, xd);
    struct pool p = { .ps = ps, .xd = xd, .yd = yd, .x = x, .y = y };
    const bool counts = xd->kind == TENSOR_BITS && yd->kind == TENSOR_COUNT8;
    each_image(kc, &p, xd, t, counts ? avg_bits_item : avg_item);
}

static void avg_back_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct pool *p = ctx;
    const size_t b = sample_of(p, item), t = step_of(p, item);
    clear_image(p->yd, p->y, b, t);
    for (size_t o = 0; o < p->ps->oh * p->ps->ow; o++) {
        const size_t oy = o / p->ps->ow, ox = o % p->ps->ow;
        const float part = 1.0f / (float)reference_pool_divisor(p->ps, oy, ox);
        const struct window w = window_of(p->ps, o);
        for (size_t y = w.y.begin; y < w.y.end; y++)
            for (size_t x = w.x.begin; x < w.x.end; x++)
                for (size_t block = 0; block < channel_blocks(p->yd); block++)
                    p->k->accumulate((float *)p->y + tensor_at(p->yd, b, t, y, x, block),
                                     (const float *)p->x + tensor_at(p->xd, b, t, oy, ox, block),
                                     part, 16);
    }
}

void avg_pool_backward(const struct kernel_ctx *kc, const struct pool_shape *ps,
                       const struct tensor_desc *dyd, const float *dy,
                       const struct tensor_desc *dxd, float *dx, struct span t)
{
    kernel_note(kc, KERNEL_avg_pool_backward);
    struct pool p = { .ps = ps, .xd = dyd, .yd = dxd, .x = dy, .y = dx };
    each_image(kc, &p, dxd, t, avg_back_item);
}

/* ---- dropout --------------------------------------------------------------------------------- */
static void drop_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct pool *p = ctx;
    const size_t b = sample_of(p, item), t = step_of(p, item);
    const size_t words = (p->xd->c + 63) / 64, pixels = p->xd->h * p->xd->w;
    for (size_t px = 0; px < pixels; px++) {
        const size_t y = px / p->xd->w, x = px % p->xd->w;
        const uint64_t *keep = p->keep + (b * pixels + px) * words;
        if (p->xd->kind == TENSOR_BITS) {
            const uint64_t *from = (const uint64_t *)p->x + image_at(p->xd, b, t) +
                                   y * p->xd->row + x * p->xd->pixel;
            uint64_t *to = (uint64_t *)p->y + image_at(p->yd, b, t) + y * p->yd->row +
                           x * p->yd->pixel;
            for (size_t w = 0; w < words; w++) to[w] = from[w] & keep[w];
            continue;
        }
        for (size_t block = 0; block < channel_blocks(p->xd); block++)
            p->k->masked((const float *)p->x + tensor_at(p->xd, b, t, y, x, block),
                         keep[block / 4] >> block % 4 * 16, p->factor,
                         (float *)p->y + tensor_at(p->yd, b, t, y, x, block), 16);
    }
}

void dropout_forward(const struct kernel_ctx *kc, const struct tensor_desc *xd, const void *x,
                     const uint64_t *keep, float s, const struct tensor_desc *yd, void *y,
                     struct span t)
{
    kernel_note_form(kc, KERNEL_dropout_forward_floats, xd);
    struct pool p = { .xd = xd, .yd = yd, .x = x, .y = y, .keep = keep, .factor = s };
    each_image(kc, &p, xd, t, drop_item);
}

void dropout_backward(const struct kernel_ctx *kc, const struct tensor_desc *dyd, const float *dy,
                      const uint64_t *keep, float s, const struct tensor_desc *dxd, float *dx,
                      struct span t)
{
    kernel_note(kc, KERNEL_dropout_backward);
    struct pool p = { .xd = dyd, .yd = dxd, .x = dy, .y = dx, .keep = keep, .factor = s };
    each_image(kc, &p, dyd, t, drop_item);
}
