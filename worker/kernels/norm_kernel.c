/* norm_kernel: batch norm over T*B*H*W in two passes each way. Called by layers/batch_norm; an item
 * is one sample. Sums are chains in double: forward over rows, steps and columns; backward over
 * rows, steps and the columns of a strip, each strip by itself, so that tiles of a neighbour
 * (nets/fusion.c) that cut rows between strips can add them up in the same order. */
#include "worker/kernels/kernel_trace.h"
#include "worker/kernels/kernels_table.h"

#include <assert.h>
#include <string.h>

struct norm {
    const struct kernels *k;
    const struct tensor_desc *xd, *dyd, *yd;
    const float *x, *dy, *a, *b, *c;
    float *y;
    double *partial;
};

/* Every stored pixel of a tile: y, t and x. */
#define EACH_PIXEL(d, tile)                                                                        \
    for (size_t y = (tile)->rows.begin; y < (tile)->rows.end; y++)                                 \
        for (size_t t = stored_steps(d, (tile)->t).begin; t < stored_steps(d, (tile)->t).end; t++) \
            for (size_t x = (tile)->columns.begin; x < (tile)->columns.end; x++)

/* The one step of a REPEAT tensor is that of every span. */
static struct span stored_steps(const struct tensor_desc *d, struct span t)
{
    return d->t_stored == 1 ? (struct span){ 0, 1 } : t;
}

static struct image_tile whole_sample(const struct tensor_desc *d, size_t b)
{
    return (struct image_tile){ b, { 0, d->t_stored }, { 0, d->h }, { 0, d->w } };
}

/* A pixel of a flattened or plain tensor is contiguous; of a blocked one, 32 channels are. */
static size_t run_length(const struct tensor_desc *d) { return d->blocked ? 32 : d->c_stored; }

static void partial_item(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct norm *n = ctx;
    const size_t c = n->xd->c_stored;
    double *sum = n->partial + b * 2 * c;
    const struct image_tile all = whole_sample(n->xd, b);
    memset(sum, 0, 2 * c * sizeof sum[0]);
    EACH_PIXEL(n->xd, &all)
    n->k->sums(n->x + tensor_at(n->xd, b, t, y, x, 0), sum, sum + c, c);
}

void bn_partial_sums(const struct kernel_ctx *kc, const struct tensor_desc *xd, const float *x,
                     double *partial)
{
    kernel_note(kc, KERNEL_bn_partial_sums);
    struct norm n = { .k = kc->k, .xd = xd, .x = x, .partial = partial };
    threads_run(kc->threads, xd->b, partial_item, &n);
}

/* Sum of column j over shards [first, first + count): a binary tree; inside a shard, a chain. */
static double tree(const double *partial, size_t stride, size_t samples, size_t shards,
                   size_t first, size_t count, size_t j)
{
    if (count > 1) {
        const size_t h = count / 2;
        return tree(partial, stride, samples, shards, first, h, j) +
               tree(partial, stride, samples, shards, first + h, count - h, j);
    }
    double sum = 0.0;
    const size_t end = samples * (first + 1) / shards;
    for (size_t b = samples * first / shards; b < end; b++) sum += partial[b * stride + j];
    return sum;
}

void bn_finish(const struct tensor_desc *xd, const double *partial, size_t shards, double n,
               double *mean, double *var)
{
    const size_t c = xd->c_stored;
    for (size_t i = 0; i < c; i++) {
        const double m = tree(partial, 2 * c, xd->b, shards, 0, shards, i) / n;
        const double v = tree(partial, 2 * c, xd->b, shards, 0, shards, c + i) / n - m * m;
        mean[i] = m;
        var[i] = v > 0.0 ? v : 0.0;
    }
}

static void apply_item(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct norm *n = ctx;
    const struct image_tile all = whole_sample(n->xd, b);
    EACH_PIXEL(n->xd, &all)
    n->k->affine(n->x + tensor_at(n->xd, b, t, y, x, 0), n->a, n->b,
                 n->y + tensor_at(n->yd, b, t, y, x, 0), n->xd->c_stored);
}

void bn_apply_tile(const struct kernel_ctx *kc, const struct tensor_desc *xd, const float *from,
                   const float *a, const float *sh, const struct image_tile *at,
                   const struct tensor_view *to)
{
    float *const out = to->data;
    EACH_PIXEL(xd, at)
    kc->k->affine(from + tensor_at(xd, at->b, t, y, x, 0), a, sh,
                  out + tensor_at(&to->desc, 0, t, y - at->rows.begin, x - at->columns.begin, 0),
                  xd->c_stored);
}

void bn_apply(const struct kernel_ctx *kc, const struct tensor_desc *xd, const float *x,
              const float *a, const float *sh, const struct tensor_desc *yd, float *y)
{
    kernel_note(kc, KERNEL_bn_apply);
    struct norm n = { .k = kc->k, .xd = xd, .yd = yd, .x = x, .y = y, .a = a, .b = sh };
    threads_run(kc->threads, xd->b, apply_item, &n);
}

size_t bn_strips(const struct tensor_desc *xd) { return (xd->w + BN_STRIP - 1) / BN_STRIP; }

/* `pixels` of a row from column x on, at step t: sum [2][c]. */
static void add_pixels(const struct norm *n, size_t b, size_t t, size_t y, size_t x, size_t pixels,
                       double *sum)
{
    const size_t c = n->xd->c_stored, run = run_length(n->dyd);
    for (size_t i = 0; i < c; i += run) {
        const struct norm_pixels p = { .dy = n->dy + tensor_at(n->dyd, b, t, y, x, i / 16),
                                       .x = n->x + tensor_at(n->xd, b, t, y, x, i / 16),
                                       .dy_pixel = n->dyd->pixel,
                                       .x_pixel = n->xd->pixel,
                                       .pixels = pixels };
        n->k->sums2(&p, n->a + i, n->b + i, sum + i, sum + c + i, c - i < run ? c - i : run);
    }
}

static void add_sums(const struct norm *n, const struct image_tile *at, double *sum)
{
    const struct span steps = stored_steps(n->xd, at->t);
    for (size_t y = at->rows.begin; y < at->rows.end; y++)
        for (size_t x = at->columns.begin; x < at->columns.end; x += BN_STRIP) {
            const size_t left = at->columns.end - x;
            for (size_t t = steps.begin; t < steps.end; t++)
                add_pixels(n, at->b, t, y, x, left < BN_STRIP ? left : BN_STRIP,
                           sum + x / BN_STRIP * 2 * n->xd->c_stored);
        }
}

/* Sums of a sample's strips. */
static size_t sample_sums(const struct tensor_desc *xd) { return bn_strips(xd) * 2 * xd->c_stored; }

static void sums_item(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct norm *n = ctx;
    const struct image_tile all = whole_sample(n->xd, b);
    double *sum = n->partial + b * sample_sums(n->xd);
    memset(sum, 0, sample_sums(n->xd) * sizeof sum[0]);
    add_sums(n, &all, sum);
}

void bn_backward_sums_tile(const struct kernel_ctx *kc, const struct tensor_desc *xd,
                           const float *x, const struct tensor_desc *dyd, const float *dy,
                           const float *mean, const float *inv_std, const struct image_tile *at,
                           double *partial)
{
    const struct norm n = {
        .k = kc->k, .xd = xd, .dyd = dyd, .x = x, .dy = dy, .a = mean, .b = inv_std
    };
    double *sums = partial + at->b * sample_sums(xd);
    assert(at->columns.begin % BN_STRIP == 0);
    assert(at->columns.end % BN_STRIP == 0 || at->columns.end == xd->w);
    if (at->rows.begin == 0) {
        const size_t first = at->columns.begin / BN_STRIP, strip = 2 * xd->c_stored;
        const size_t end = (at->columns.end + BN_STRIP - 1) / BN_STRIP;
        memset(sums + first * strip, 0, (end - first) * strip * sizeof sums[0]);
    }
    add_sums(&n, at, sums);
}

void bn_backward_sums(const struct kernel_ctx *kc, const struct tensor_desc *xd, const float *x,
                      const struct tensor_desc *dyd, const float *dy, const float *mean,
                      const float *inv_std, double *partial)
{
    kernel_note(kc, KERNEL_bn_backward_sums);
    struct norm n = { .k = kc->k, .xd = xd, .dyd = dyd, .x = x, .dy = dy, .a = mean, .b = inv_std,
                      .partial = partial };
    threads_run(kc->threads, xd->b, sums_item, &n);
}

static void data_item(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct norm *n = ctx;
    const size_t c = n->xd->c_stored;
    const size_t run = n->yd->blocked || n->dyd->blocked ? 32 : c;
    const struct image_tile all = whole_sample(n->xd, b);
    EACH_PIXEL(n->xd, &all)
    for (size_t i = 0; i < c; i += run) {
        const size_t count = c - i < run ? c - i : run;
        n->k->affine2(n->dy + tensor_at(n->dyd, b, t, y, x, i / 16),
                      n->x + tensor_at(n->xd, b, t, y, x, i / 16), n->a + i, n->b + i, n->c + i,
                      n->y + tensor_at(n->yd, b, t, y, x, i / 16), count);
    }
}

void bn_backward_data(const struct kernel_ctx *kc, const struct tensor_desc *xd, const float *x,
                      const struct tensor_desc *dyd, const float *dy, const float *k0,
                      const float *k1, const float *k2, const struct tensor_desc *dxd, float *dx)
{
    kernel_note(kc, KERNEL_bn_backward_data);
    struct norm n = { .k = kc->k, .xd = xd, .dyd = dyd, .yd = dxd, .x = x, .dy = dy, .y = dx,
                      .a = k0, .b = k1, .c = k2 };
    threads_run(kc->threads, xd->b, data_item, &n);
}
