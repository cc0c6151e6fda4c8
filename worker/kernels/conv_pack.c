/* conv_pack: the order in which a convolution's weights lie, forward and for backward-data, so that
 * the loops of conv_kernel.c and conv_events.c read them from front to back. */
#include "worker/kernels/conv_job.h"
#include "worker/kernels/conv_winograd.h"
#include "worker/kernels/kernels_table.h"
#include "worker/kernels/order.h"

#include <string.h>

/* [panel of K][block of C/groups][r][s][c][PANEL]; c counts from the first channel of k's group. */
static size_t packed_at(const struct conv_shape *cs, size_t k, size_t c, size_t r, size_t s)
{
    const size_t per = cs->groups == 1 ? cs->c : cs->c / cs->groups;
    const size_t first = c / ORDER_BLOCK * ORDER_BLOCK;
    const size_t width = least(per - first, ORDER_BLOCK);
    const size_t before = first * cs->r * cs->s; /* rows of earlier blocks */
    const size_t row = before + (r * cs->s + s) * width + (c - first);
    return (k / PANEL * per * cs->r * cs->s + row) * PANEL + k % PANEL;
}

size_t conv_weight_floats(const struct conv_shape *cs)
{
    return ceil_div(cs->k, PANEL) * PANEL * (cs->c / cs->groups) * cs->r * cs->s;
}

size_t conv_packed_at(const struct conv_shape *cs, size_t i)
{
    const size_t taps = cs->r * cs->s, tap = i % taps, per = cs->c / cs->groups;
    return packed_at(cs, i / taps / per, i / taps % per, tap / cs->s, tap % cs->s);
}

static void repack(const struct conv_shape *cs, const float *from, float *to, bool pack)
{
    size_t i = 0;
    for (size_t k = 0; k < cs->k; k++)
        for (size_t c = 0; c < cs->c / cs->groups; c++)
            for (size_t r = 0; r < cs->r; r++)
                for (size_t s = 0; s < cs->s; s++, i++) {
                    const size_t at = packed_at(cs, k, c, r, s);
                    if (pack) to[at] = from[i];
                    else to[i] = from[at];
                }
}

void conv_pack(const struct conv_shape *cs, const float *oihw, float *packed)
{
    memset(packed, 0, conv_weight_floats(cs) * sizeof packed[0]);
    repack(cs, oihw, packed, true);
}

void conv_unpack(const struct conv_shape *cs, const float *packed, float *oihw)
{
    repack(cs, packed, oihw, false);
}

/* ---- for backward-data ----------------------------------------------------------------------- */
/* wt: [panel of C][block of K/groups][r][s][k][PANEL]; k as c in w. */
size_t conv_weight_t_floats(const struct conv_shape *cs, enum kernel_path path)
{
    if (conv_winograd_used(cs, path)) return conv_winograd_floats(cs);
    return ceil_div(cs->c, PANEL) * PANEL * (cs->k / cs->groups) * cs->r * cs->s;
}

struct transpose {
    const struct conv_shape *cs;
    const float *w;
    float *wt;
};

static void transpose_panel(void *ctx, size_t panel, size_t thread)
{
    (void)thread;
    const struct transpose *j = ctx;
    const struct conv_shape *cs = j->cs;
    const size_t width = least(cs->c - panel * PANEL, PANEL);
    const size_t per_c = cs->c / cs->groups, per_k = cs->k / cs->groups;
    size_t first_k[PANEL], at_c[PANEL]; /* of a lane's group; of the lane in it */
    for (size_t i = 0; i < width; i++) {
        first_k[i] = (panel * PANEL + i) / per_c * per_k;
        at_c[i] = (panel * PANEL + i) % per_c;
    }
    float *to = j->wt + panel * PANEL * per_k * cs->r * cs->s;
    for (size_t k0 = 0; k0 < per_k; k0 += ORDER_BLOCK)
        for (size_t tap = 0; tap < cs->r * cs->s; tap++)
            for (size_t k = k0; k < least(k0 + ORDER_BLOCK, per_k); k++, to += PANEL) {
                for (size_t i = 0; i < width; i++)
                    to[i] = j->w[packed_at(cs, first_k[i] + k, at_c[i], tap / cs->s, tap % cs->s)];
                memset(to + width, 0, (PANEL - width) * sizeof to[0]);
            }
}

void conv_transpose(const struct kernel_ctx *kc, const struct conv_shape *cs, const float *w,
                    float *wt)
{
    if (conv_winograd_used(cs, kc->path)) {
        conv_winograd_transform(kc, cs, w, wt);
        return;
    }
    struct transpose j = { cs, w, wt };
    threads_run(kc->threads, ceil_div(cs->c, PANEL), transpose_panel, &j);
}
