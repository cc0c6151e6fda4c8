/* norm_kernel: batch norm over T*B*H*W in two passes each way. Called by layers/batch_norm; an item
 * is one sample, whose sums are chained over time, row and column in double. */
#include "worker/kernels/kernel_trace.h"
#include "worker/kernels/kernels_table.h"

#include <string.h>

struct norm {
    const struct kernels *k;
    const struct tensor_desc *xd, *dyd, *yd;
    const float *x, *dy, *a, *b, *c;
    float *y;
    double *partial;
};

/* fn for every run of channels of sample b: x, dy and y addresses of `n` floats at channel `c`. */
#define EACH_PIXEL(d)                                                                              \
    for (size_t t = 0; t < (d)->t_stored; t++)                                                     \
        for (size_t y = 0; y < (d)->h; y++)                                                        \
            for (size_t x = 0; x < (d)->w; x++)

/* A pixel of a flattened or plain tensor is contiguous; of a blocked one, 32 channels are. */
static size_t run_length(const struct tensor_desc *d) { return d->blocked ? 32 : d->c_stored; }

static void partial_item(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct norm *n = ctx;
    const size_t c = n->xd->c_stored;
    double *sum = n->partial + b * 2 * c;
    memset(sum, 0, 2 * c * sizeof sum[0]);
    EACH_PIXEL(n->xd) n->k->sums(n->x + tensor_at(n->xd, b, t, y, x, 0), sum, sum + c, c);
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
    EACH_PIXEL(n->xd)
    n->k->affine(n->x + tensor_at(n->xd, b, t, y, x, 0), n->a, n->b,
                 n->y + tensor_at(n->yd, b, t, y, x, 0), n->xd->c_stored);
}

void bn_apply(const struct kernel_ctx *kc, const struct tensor_desc *xd, const float *x,
              const float *a, const float *sh, const struct tensor_desc *yd, float *y)
{
    kernel_note(kc, KERNEL_bn_apply);
    struct norm n = { .k = kc->k, .xd = xd, .yd = yd, .x = x, .y = y, .a = a, .b = sh };
    threads_run(kc->threads, xd->b, apply_item, &n);
}

static void sums_item(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct norm *n = ctx;
    const size_t c = n->xd->c_stored, run = run_length(n->dyd);
    double *sum = n->partial + b * 2 * c;
    memset(sum, 0, 2 * c * sizeof sum[0]);
    EACH_PIXEL(n->xd)
    for (size_t i = 0; i < c; i += run) {
        const size_t count = c - i < run ? c - i : run;
        n->k->sums2(n->dy + tensor_at(n->dyd, b, t, y, x, i / 16),
                    n->x + tensor_at(n->xd, b, t, y, x, i / 16), n->a + i, n->b + i, sum + i,
                    sum + c + i, count);
    }
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
    EACH_PIXEL(n->xd)
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
