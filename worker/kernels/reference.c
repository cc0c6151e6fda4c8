/* reference: see reference.h. */
#include "worker/kernels/reference.h"

#include "worker/kernels/order.h"

#include <math.h>
#include <string.h>

static struct span stored(const struct tensor_desc *d, struct span t)
{
    if (d->t_stored == d->t) return t;
    return (struct span){ 0, t.begin == 0 ? 1 : 0 };
}

static size_t upto(size_t a, size_t b) { return a < b ? a : b; }

/* Element of x before its scale. */
static float element(const struct tensor_desc *d, const void *x, size_t b, size_t t, size_t c,
                     size_t y, size_t col)
{
    struct tensor_desc plain = *d;
    plain.scale = 1.0f;
    return tensor_get(&plain, x, b, t, c, y, col);
}

/* ---- convolution ----------------------------------------------------------------------------- */
static float conv_chain(const struct conv_shape *cs, const struct tensor_desc *xd, const void *x,
                        const float *oihw, size_t b, size_t t, size_t k, size_t oy, size_t ox)
{
    const size_t per = cs->c / cs->groups, c0 = k / (cs->k / cs->groups) * per;
    float sum = 0.0f;
    for (size_t block = 0; block < per; block += ORDER_BLOCK)
        for (size_t r = 0; r < cs->r; r++)
            for (size_t s = 0; s < cs->s; s++) {
                const size_t y = oy * cs->stride_h + r * cs->dil_h - cs->pad_h;
                const size_t col = ox * cs->stride_w + s * cs->dil_w - cs->pad_w;
                if (y >= cs->h || col >= cs->w) continue;
                for (size_t c = block; c < upto(block + ORDER_BLOCK, per); c++)
                    sum = fmaf(element(xd, x, b, t, c0 + c, y, col),
                               oihw[((k * per + c) * cs->r + r) * cs->s + s], sum);
            }
    return sum;
}

void reference_conv_forward(const struct conv_shape *cs, const struct tensor_desc *xd,
                            const void *x, const float *oihw, const float *bias,
                            const struct tensor_desc *yd, float *y, struct span t)
{
    const struct span steps = stored(xd, t);
    for (size_t b = 0; b < xd->b; b++)
        for (size_t step = steps.begin; step < steps.end; step++)
            for (size_t p = 0; p < cs->oh * cs->ow; p++) {
                const size_t oy = p / cs->ow, ox = p % cs->ow;
                for (size_t k = 0; k < yd->c_stored; k++) {
                    const bool real = k < cs->k;
                    const float sum = real ? conv_chain(cs, xd, x, oihw, b, step, k, oy, ox) : 0.0f;
                    const float offset = real && bias != NULL ? bias[k] : 0.0f;
                    y[tensor_at(yd, b, step, oy, ox, k / 16) + k % 16] =
                        fmaf(sum, xd->scale, offset);
                }
            }
}

static float conv_back_chain(const struct conv_shape *cs, const struct tensor_desc *dyd,
                             const float *dy, const float *oihw, size_t b, size_t t, size_t c,
                             size_t y, size_t x)
{
    const size_t per = cs->c / cs->groups, k_per = cs->k / cs->groups, k0 = c / per * k_per;
    float sum = 0.0f;
    for (size_t block = 0; block < k_per; block += ORDER_BLOCK)
        for (size_t r = 0; r < cs->r; r++)
            for (size_t s = 0; s < cs->s; s++) {
                const size_t up = y + cs->pad_h - r * cs->dil_h,
                             left = x + cs->pad_w - s * cs->dil_w;
                if (up > y + cs->pad_h || left > x + cs->pad_w) continue;
                if (up % cs->stride_h != 0 || left % cs->stride_w != 0) continue;
                const size_t oy = up / cs->stride_h, ox = left / cs->stride_w;
                if (oy >= cs->oh || ox >= cs->ow) continue;
                for (size_t k = block; k < upto(block + ORDER_BLOCK, k_per); k++)
                    sum = fmaf(tensor_get(dyd, dy, b, t, k0 + k, oy, ox),
                               oihw[(((k0 + k) * per + c % per) * cs->r + r) * cs->s + s], sum);
            }
    return sum;
}

void reference_conv_backward_data(const struct conv_shape *cs, const struct tensor_desc *dyd,
                                  const float *dy, const float *oihw, float x_scale,
                                  const struct tensor_desc *dxd, float *dx, struct span t)
{
    const struct span steps = stored(dxd, t);
    for (size_t b = 0; b < dxd->b; b++)
        for (size_t step = steps.begin; step < steps.end; step++)
            for (size_t p = 0; p < cs->h * cs->w; p++)
                for (size_t c = 0; c < dxd->c_stored; c++) {
                    const size_t y = p / cs->w, x = p % cs->w;
                    const float sum =
                        c < cs->c ? conv_back_chain(cs, dyd, dy, oihw, b, step, c, y, x) : 0.0f;
                    dx[tensor_at(dxd, b, step, y, x, c / 16) + c % 16] = fmaf(sum, x_scale, 0.0f);
                }
}

static float conv_weight_chain(const struct conv_shape *cs, const struct tensor_desc *xd,
                               const void *x, const struct tensor_desc *dyd, const float *dy,
                               struct span b, size_t k, size_t c, size_t r, size_t s)
{
    float sum = 0.0f;
    for (size_t i = b.begin; i < b.end; i++)
        for (size_t t = 0; t < xd->t_stored; t++)
            for (size_t p = 0; p < cs->oh * cs->ow; p++) {
                const size_t oy = p / cs->ow, ox = p % cs->ow;
                const size_t y = oy * cs->stride_h + r * cs->dil_h - cs->pad_h;
                const size_t col = ox * cs->stride_w + s * cs->dil_w - cs->pad_w;
                if (y >= cs->h || col >= cs->w) continue;
                sum = fmaf(element(xd, x, i, t, c, y, col), tensor_get(dyd, dy, i, t, k, oy, ox),
                           sum);
            }
    return sum;
}

void reference_conv_weight_row(const struct conv_shape *cs, const struct tensor_desc *xd,
                               const void *x, const struct tensor_desc *dyd, const float *dy,
                               struct span b, size_t k, float *dw_row)
{
    const size_t per = cs->c / cs->groups, taps = cs->r * cs->s;
    for (size_t i = 0; i < per * taps; i++) {
        const size_t c = k / (cs->k / cs->groups) * per + i / taps;
        const size_t r = i / cs->s % cs->r, s = i % cs->s;
        dw_row[i] = conv_weight_chain(cs, xd, x, dyd, dy, b, k, c, r, s) * xd->scale;
    }
}

void reference_conv_backward_weights(const struct conv_shape *cs, const struct tensor_desc *xd,
                                     const void *x, const struct tensor_desc *dyd, const float *dy,
                                     struct span b, float *dw_oihw)
{
    const size_t row = cs->c / cs->groups * cs->r * cs->s;
    for (size_t k = 0; k < cs->k; k++)
        reference_conv_weight_row(cs, xd, x, dyd, dy, b, k, dw_oihw + k * row);
}

/* ---- linear ---------------------------------------------------------------------------------- */
static size_t feature(const struct tensor_desc *d, size_t j)
{
    return d->flat_h * d->flat_w > 1 ? tensor_flat_index(d, j) : j;
}

/* Logical features in the order of memory: what the chain over inputs follows. */
static size_t in_memory_order(const struct tensor_desc *d, size_t i)
{
    if (d->flat_h * d->flat_w == 1) return i;
    const size_t yx = i / d->flat_c, ch = i % d->flat_c;
    return ch * d->flat_h * d->flat_w + yx;
}

void reference_linear_forward(const struct tensor_desc *xd, const void *x, const float *w,
                              const float *bias, const struct tensor_desc *yd, float *y)
{
    for (size_t b = 0; b < xd->b; b++)
        for (size_t t = 0; t < xd->t_stored; t++)
            for (size_t k = 0; k < yd->c_stored; k++) {
                float sum = 0.0f;
                for (size_t i = 0; i < xd->c; i++) {
                    const size_t j = in_memory_order(xd, i);
                    sum = fmaf(element(xd, x, b, t, j, 0, 0),
                               w[feature(xd, j) * yd->c_stored + k], sum);
                }
                const float offset = bias != NULL && k < yd->c ? bias[k] : 0.0f;
                y[tensor_at(yd, b, t, 0, 0, k / 16) + k % 16] = fmaf(sum, xd->scale, offset);
            }
}

void reference_linear_backward_data(const struct tensor_desc *dyd, const float *dy, const float *w,
                                    const struct tensor_desc *xd, const struct tensor_desc *dxd,
                                    float *dx)
{
    for (size_t b = 0; b < dxd->b; b++)
        for (size_t t = 0; t < dxd->t_stored; t++)
            for (size_t j = 0; j < dxd->c; j++) {
                float sum = 0.0f;
                for (size_t k = 0; k < dyd->c; k++)
                    sum = fmaf(tensor_get(dyd, dy, b, t, k, 0, 0),
                               w[feature(xd, j) * dyd->c_stored + k], sum);
                tensor_set(dxd, dx, b, t, j, 0, 0, sum);
            }
}

void reference_linear_backward_weights(const struct tensor_desc *xd, const void *x,
                                       const struct tensor_desc *dyd, const float *dy,
                                       struct span b, float *dw)
{
    memset(dw, 0, xd->c_stored * dyd->c_stored * sizeof dw[0]);
    for (size_t j = 0; j < xd->c; j++)
        for (size_t k = 0; k < dyd->c; k++) {
            float sum = 0.0f;
            for (size_t i = b.begin; i < b.end; i++)
                for (size_t t = 0; t < xd->t_stored; t++)
                    sum = fmaf(element(xd, x, i, t, j, 0, 0), tensor_get(dyd, dy, i, t, k, 0, 0),
                               sum);
            dw[feature(xd, j) * dyd->c_stored + k] = sum * xd->scale;
        }
}

/* ---- batch norm and pooling ------------------------------------------------------------------ */
void reference_bn_statistics(const struct tensor_desc *xd, const float *x, double *mean,
                             double *var)
{
    const double n = (double)(xd->b * xd->t_stored * xd->h * xd->w);
    for (size_t c = 0; c < xd->c; c++) {
        double sum = 0.0, square = 0.0;
        for (int pass = 0; pass < 2; pass++) {
            for (size_t i = 0; i < xd->b * xd->t_stored * xd->h * xd->w; i++) {
                const size_t pixel = i % (xd->h * xd->w), image = i / (xd->h * xd->w);
                const double v = (double)tensor_get(xd, x, image / xd->t_stored,
                                                    image % xd->t_stored, c, pixel / xd->w,
                                                    pixel % xd->w);
                if (pass == 0) sum += v;
                else square += (v - sum / n) * (v - sum / n);
            }
        }
        mean[c] = sum / n;
        var[c] = square / n;
    }
}

/* Input position of tap i of a window; false outside the image. */
static bool pool_tap(const struct pool_shape *ps, size_t oy, size_t ox, size_t i, size_t *y,
                     size_t *x)
{
    const size_t dil_h = ps->dil_h > 0 ? ps->dil_h : 1, dil_w = ps->dil_w > 0 ? ps->dil_w : 1;
    *y = oy * ps->stride_h + i / ps->kw * dil_h - ps->pad_h;
    *x = ox * ps->stride_w + i % ps->kw * dil_w - ps->pad_w;
    return *y < ps->h && *x < ps->w;
}

static size_t pool_winner(const struct pool_shape *ps, const struct tensor_desc *xd, const void *x,
                          size_t b, size_t t, size_t c, size_t oy, size_t ox)
{
    size_t winner = SIZE_MAX;
    float best = 0.0f;
    for (size_t i = 0; i < ps->kh * ps->kw; i++) {
        size_t y, col;
        if (!pool_tap(ps, oy, ox, i, &y, &col)) continue;
        const float v = element(xd, x, b, t, c, y, col);
        if (winner == SIZE_MAX || v > best || (isnan(v) && !isnan(best))) {
            winner = y * ps->w + col;
            best = v;
        }
    }
    return winner;
}

/* Calls for every output value of a pooling. */
#define EACH_OUTPUT(d)                                                                             \
    for (size_t b = 0; b < (d)->b; b++)                                                            \
        for (size_t t = 0; t < (d)->t_stored; t++)                                                 \
            for (size_t c = 0; c < (d)->c; c++)                                                    \
                for (size_t oy = 0; oy < ps->oh; oy++)                                             \
                    for (size_t ox = 0; ox < ps->ow; ox++)

void reference_max_pool(const struct pool_shape *ps, const struct tensor_desc *xd, const void *x,
                        const struct tensor_desc *yd, void *y)
{
    EACH_OUTPUT(yd)
    {
        const size_t at = pool_winner(ps, xd, x, b, t, c, oy, ox);
        tensor_set(yd, y, b, t, c, oy, ox, element(xd, x, b, t, c, at / ps->w, at % ps->w));
    }
}

void reference_max_pool_backward(const struct pool_shape *ps, const struct tensor_desc *xd,
                                 const void *x, const struct tensor_desc *dyd, const float *dy,
                                 const struct tensor_desc *dxd, float *dx)
{
    for (size_t i = 0; i < dxd->elements; i++) dx[i] = 0.0f;
    EACH_OUTPUT(dyd)
    {
        const size_t at = pool_winner(ps, xd, x, b, t, c, oy, ox);
        const size_t iy = at / ps->w, ix = at % ps->w;
        tensor_set(dxd, dx, b, t, c, iy, ix,
                   tensor_get(dxd, dx, b, t, c, iy, ix) + tensor_get(dyd, dy, b, t, c, oy, ox));
    }
}

/* First position of window i and the one behind its last, of an image cut into `out` windows. */
static size_t adaptive_begin(size_t i, size_t in, size_t out) { return i * in / out; }
static size_t adaptive_end(size_t i, size_t in, size_t out)
{
    return (i * in + in + out - 1) / out;
}

size_t reference_pool_divisor(const struct pool_shape *ps, size_t oy, size_t ox)
{
    if (ps->adaptive)
        return (adaptive_end(oy, ps->h, ps->oh) - adaptive_begin(oy, ps->h, ps->oh)) *
               (adaptive_end(ox, ps->w, ps->ow) - adaptive_begin(ox, ps->w, ps->ow));
    size_t rows = 0, cols = 0;
    for (size_t i = 0; i < ps->kh; i++) {
        const size_t y = oy * ps->stride_h + i; /* counted from the padding's first row */
        const bool inside = y >= ps->pad_h && y < ps->h + ps->pad_h;
        rows += ps->count_include_pad ? y < ps->h + 2 * ps->pad_h : inside;
    }
    for (size_t i = 0; i < ps->kw; i++) {
        const size_t x = ox * ps->stride_w + i;
        const bool inside = x >= ps->pad_w && x < ps->w + ps->pad_w;
        cols += ps->count_include_pad ? x < ps->w + 2 * ps->pad_w : inside;
    }
    return rows * cols;
}

static bool adaptive_tap(const struct pool_shape *ps, size_t oy, size_t ox, size_t y, size_t x)
{
    return y >= adaptive_begin(oy, ps->h, ps->oh) && y < adaptive_end(oy, ps->h, ps->oh) &&
           x >= adaptive_begin(ox, ps->w, ps->ow) && x < adaptive_end(ox, ps->w, ps->ow);
}

void reference_avg_pool(const struct pool_shape *ps, const struct tensor_desc *xd, const void *x,
                        const struct tensor_desc *yd, float *y)
{
    EACH_OUTPUT(yd)
    {
        float sum = 0.0f;
        for (size_t i = 0; !ps->adaptive && i < ps->kh * ps->kw; i++) {
            size_t iy, ix;
            if (pool_tap(ps, oy, ox, i, &iy, &ix)) sum += element(xd, x, b, t, c, iy, ix);
        }
        for (size_t i = 0; ps->adaptive && i < ps->h * ps->w; i++)
            if (adaptive_tap(ps, oy, ox, i / ps->w, i % ps->w))
                sum += element(xd, x, b, t, c, i / ps->w, i % ps->w);
        const float n = (float)reference_pool_divisor(ps, oy, ox);
        tensor_set(yd, y, b, t, c, oy, ox, sum * (xd->scale / n));
    }
}

/* ---- two branches that meet ------------------------------------------------------------------ */
/* Calls for every value of a tensor's stored steps. */
#define EACH_VALUE(d)                                                                              \
    for (size_t b = 0; b < (d)->b; b++)                                                            \
        for (size_t t = 0; t < (d)->t_stored; t++)                                                 \
            for (size_t c = 0; c < (d)->c; c++)                                                    \
                for (size_t row = 0; row < (d)->h; row++)                                          \
                    for (size_t col = 0; col < (d)->w; col++)

void reference_connect(enum connect_kind kind, const struct tensor_view *a,
                       const struct tensor_view *b_view, const struct tensor_view *y)
{
    EACH_VALUE(&y->desc)
    {
        const float u = tensor_get(&a->desc, a->data, b, t, c, row, col);
        const float v = tensor_get(&b_view->desc, b_view->data, b, t, c, row, col);
        const float out = kind == CONNECT_ADD ? u + v : kind == CONNECT_AND ? u * v
                                                                            : u * (1.0f - v);
        tensor_set(&y->desc, y->data, b, t, c, row, col, out);
    }
}

void reference_connect_backward(enum connect_kind kind, bool second,
                                const struct tensor_view *other, const struct tensor_view *dy,
                                const struct tensor_view *dx)
{
    EACH_VALUE(&dx->desc)
    {
        const bool sums = dx->desc.t_stored < dy->desc.t_stored;
        float sum = 0.0f;
        for (size_t k = sums ? 0 : t; k < (sums ? dy->desc.t_stored : t + 1); k++) {
            const float g = tensor_get(&dy->desc, dy->data, b, k, c, row, col);
            const float v = tensor_get(&other->desc, other->data, b, k, c, row, col);
            const float factor = kind == CONNECT_ADD ? 1.0f
                                 : kind == CONNECT_AND ? v : second ? -v : 1.0f - v;
            sum += g * factor;
        }
        tensor_set(&dx->desc, dx->data, b, t, c, row, col, sum);
    }
}
