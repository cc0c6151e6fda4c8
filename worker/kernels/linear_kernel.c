/* linear_kernel: fully connected layers, row by row of images: which form does a call. Called by
 * layers/linear. Spikes are visited one by one (linear_events.c) or, where there are many, expanded
 * and multiplied as floats are (linear_dense.c); both have the same bits. */
#include "worker/kernels/density.h"
#include "worker/kernels/kernel_trace.h"
#include "worker/kernels/linear_job.h"

/* Largest share of inputs that spike for which events are faster: measured, bench/bench_kernels. */
#define FORWARD_DENSITY 0.65
#define WEIGHTS_DENSITY 0.7

static struct span stored(const struct tensor_desc *d, struct span t)
{
    if (d->t_stored == d->t) return t;
    return (struct span){ 0, t.begin == 0 ? 1 : 0 };
}

/* ---- columns --------------------------------------------------------------------------------- */
/* Features of dx that w has rows for: a blocked gradient is padded to 32, and its last 16 are
 * nobody's. */
static size_t features_of(const struct tensor_desc *dxd)
{
    return dxd->blocked ? ceil_div(dxd->c, 16) * 16 : dxd->c_stored;
}

/* Whether rows of w and columns of dx stand in one order without gaps of their own. */
static bool in_one_order(const struct linear_job *j)
{
    return j->order->flat_h * j->order->flat_w == 1 ||
           j->order->flat_c_stored == j->yd->flat_c_stored;
}

static size_t pieces(const struct linear_job *j)
{
    if (!j->transposed) return ceil_div(j->yd->c_stored, LINEAR_TILE);
    if (in_one_order(j)) return ceil_div(features_of(j->yd), LINEAR_TILE);
    return j->order->flat_h * j->order->flat_w * ceil_div(j->yd->flat_c_stored, LINEAR_TILE);
}

/* Rows of w stand in x's feature order, dx may be padded otherwise: a piece is what both share. */
struct linear_piece linear_piece_of(const struct linear_job *j, size_t column)
{
    const size_t at = column * LINEAR_TILE;
    if (!j->transposed)
        return (struct linear_piece){ at, at, least(j->yd->c_stored - at, LINEAR_TILE) };
    if (in_one_order(j))
        return (struct linear_piece){ at * j->w_stride, at,
                                      least(features_of(j->yd) - at, LINEAR_TILE) };
    const size_t stored_c = j->yd->flat_c_stored, per = ceil_div(stored_c, LINEAR_TILE);
    const size_t pixel = column / per, c = column % per * LINEAR_TILE;
    return (struct linear_piece){ (pixel * j->order->flat_c_stored + c) * j->w_stride,
                                  pixel * stored_c + c, least(stored_c - c, LINEAR_TILE) };
}

/* ---- passes ---------------------------------------------------------------------------------- */
void linear_forward(const struct kernel_ctx *kc, const struct tensor_desc *xd, const void *x,
                    const float *w, const float *bias, const struct tensor_desc *yd, float *y,
                    struct span t)
{
    const struct span steps = stored(xd, t);
    struct linear_job j = { .kc = kc, .xd = xd, .yd = yd, .x = x, .w = w, .bias = bias, .y = y,
                            .t_begin = steps.begin, .t_count = steps.end - steps.begin,
                            .inputs = xd->c_stored, .w_stride = yd->c_stored };
    if (j.t_count == 0) return;
    if (density_events(kc, xd, x, (struct span){ 0, xd->b }, steps, FORWARD_DENSITY)) {
        kernel_note(kc, xd->kind == TENSOR_BITS ? KERNEL_linear_forward_events_bits
                                                : KERNEL_linear_forward_events_counts);
        linear_events_product(&j);
        return;
    }
    kernel_note_form(kc, KERNEL_linear_forward_floats, xd);
    j.columns = pieces(&j);
    linear_dense_product(&j);
}

void linear_backward_data(const struct kernel_ctx *kc, const struct tensor_desc *dyd,
                          const float *dy, const float *w, const struct tensor_desc *xd,
                          const struct tensor_desc *dxd, float *dx, struct span t)
{
    kernel_note(kc, KERNEL_linear_backward_data);
    const struct span steps = stored(dyd, t);
    struct linear_job j = { .kc = kc, .xd = dyd, .yd = dxd, .order = xd, .x = dy, .w = w, .y = dx,
                            .t_begin = steps.begin, .t_count = steps.end - steps.begin,
                            .inputs = dyd->c, .w_stride = dyd->c_stored, .transposed = true };
    if (j.t_count == 0) return;
    j.columns = pieces(&j);
    linear_dense_product(&j);
}

void linear_backward_weights(const struct kernel_ctx *kc, const struct tensor_desc *xd,
                             const void *x, const struct tensor_desc *dyd, const float *dy,
                             struct span b, float *dw)
{
    struct linear_job j = { .kc = kc, .xd = xd, .yd = dyd, .x = x, .dy = dy, .y = dw, .b = b,
                            .inputs = xd->c_stored, .w_stride = dyd->c_stored };
    const struct span all = { 0, xd->t_stored };
    if (density_events(kc, xd, x, b, all, WEIGHTS_DENSITY)) {
        kernel_note(kc, xd->kind == TENSOR_BITS ? KERNEL_linear_backward_weights_events_bits
                                                : KERNEL_linear_backward_weights_events_counts);
        linear_events_weights(&j);
        return;
    }
    kernel_note_form(kc, KERNEL_linear_backward_weights_floats, xd);
    j.columns = ceil_div(j.w_stride, LINEAR_TILE);
    linear_dense_weights(&j);
}
