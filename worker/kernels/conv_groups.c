/* conv_groups: grouped convolutions by the plain loops of reference.c, spread over the pool. An
 * item is one sample (forward, backward-data) or one output channel (backward-weights), so that no
 * value depends on the number of threads. Called by conv_kernel.c. */
#include "worker/kernels/conv_groups.h"

#include "worker/kernels/kernel_trace.h"
#include "worker/kernels/reference.h"

struct groups {
    const struct conv_shape *cs;
    const struct tensor_desc *xd, *yd; /* backward: of dx, of dy */
    const void *x;
    const float *w, *bias, *dy;
    float *y, scale; /* y: what is written */
    struct span span;
};

/* Sample b of a tensor as a tensor of its own. */
static struct tensor_desc one_sample(const struct tensor_desc *d)
{
    struct tensor_desc one = *d;
    one.b = 1;
    return one;
}

static void forward_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct groups *j = ctx;
    const struct tensor_desc xd = one_sample(j->xd), yd = one_sample(j->yd);
    const size_t bytes = tensor_element_bytes(xd.kind);
    reference_conv_forward(j->cs, &xd, (const unsigned char *)j->x + b * xd.sample * bytes, j->w,
                           j->bias, &yd, j->y + b * yd.sample, j->span);
}

void conv_groups_forward(const struct kernel_ctx *kc, const struct conv_shape *cs,
                         const struct tensor_desc *xd, const void *x, const float *w,
                         const float *bias, const struct tensor_desc *yd, float *y, struct span t)
{
    kernel_note(kc, KERNEL_conv_forward_groups);
    struct groups j = { .cs = cs, .xd = xd, .yd = yd, .x = x, .w = w, .bias = bias, .y = y,
                        .span = t };
    threads_run(kc->threads, xd->b, forward_sample, &j);
}

static void backward_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct groups *j = ctx;
    const struct tensor_desc xd = one_sample(j->xd), yd = one_sample(j->yd);
    reference_conv_backward_data(j->cs, &yd, j->dy + b * yd.sample, j->w, j->scale, &xd,
                                 j->y + b * xd.sample, j->span);
}

void conv_groups_backward_data(const struct kernel_ctx *kc, const struct conv_shape *cs,
                               const struct tensor_desc *dyd, const float *dy, const float *w,
                               float x_scale, const struct tensor_desc *dxd, float *dx,
                               struct span t)
{
    kernel_note(kc, KERNEL_conv_backward_data_groups);
    struct groups j = { .cs = cs, .xd = dxd, .yd = dyd, .w = w, .dy = dy, .y = dx,
                        .scale = x_scale, .span = t };
    threads_run(kc->threads, dxd->b, backward_sample, &j);
}

static void weight_row(void *ctx, size_t k, size_t thread)
{
    (void)thread;
    const struct groups *j = ctx;
    const size_t row = j->cs->c / j->cs->groups * j->cs->r * j->cs->s;
    reference_conv_weight_row(j->cs, j->xd, j->x, j->yd, j->dy, j->span, k, j->y + k * row);
}

void conv_groups_backward_weights(const struct kernel_ctx *kc, const struct conv_shape *cs,
                                  const struct tensor_desc *xd, const void *x,
                                  const struct tensor_desc *dyd, const float *dy, struct span b,
                                  float *dw)
{
    kernel_note(kc, KERNEL_conv_backward_weights_groups);
    struct groups j = { .cs = cs, .xd = xd, .yd = dyd, .x = x, .dy = dy, .y = dw, .span = b };
    threads_run(kc->threads, cs->k, weight_row, &j);
}
