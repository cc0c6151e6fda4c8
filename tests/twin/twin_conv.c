/* twin_conv: conv1d, conv2d with standardised weights or without, conv_transpose2d, in double.
 *
 * A convolution is a sum of products w * small * large, each tap joining a pixel of the smaller
 * image with one of the larger: y is the small one and x the large one, the other way round when
 * transposed. Both gradients run over the same products. */
#include "tests/twin/twin_kinds.h"

#include <math.h>

struct conv { /* an axis is [0] height, [1] width */
    size_t images, groups, taps[2];
    size_t small_c, large_c, small[2], large[2]; /* channels of one group; extents */
    int64_t stride[2], pad[2], dilation[2];
    bool transposed;
};

/* One row of pixels of a tap: small[i] meets large[i * step] through weight w. */
struct row {
    size_t small, large, w, n, step;
};
typedef void row_fn(const struct twin_node *n, const struct conv *c, const struct row *r);

/* ---- which products -------------------------------------------------------------------------- */
/* Where pixel i of the small image meets the large one along an axis; false outside. */
static bool meets(const struct conv *c, int axis, size_t i, size_t tap, size_t *at)
{
    const int64_t place = (int64_t)i * c->stride[axis] + (int64_t)tap * c->dilation[axis] -
                          c->pad[axis];
    *at = (size_t)place;
    return place >= 0 && place < (int64_t)c->large[axis];
}

static bool row_of(const struct conv *c, size_t y, size_t tap_y, size_t tap_x, struct row *r)
{
    size_t at_y, at_x, first = 0;
    if (!meets(c, 0, y, tap_y, &at_y)) return false;
    while (first < c->small[1] && !meets(c, 1, first, tap_x, &at_x)) first++;
    if (first == c->small[1]) return false;
    r->small = y * c->small[1] + first;
    r->large = at_y * c->large[1] + at_x;
    r->step = (size_t)c->stride[1];
    for (r->n = 1; first + r->n < c->small[1] && meets(c, 1, first + r->n, tap_x, &at_x); r->n++) {}
    return true;
}

/* Rows of one pair of channels of one image; from: where those planes and their taps begin. */
static void walk_pair(const struct twin_node *n, const struct conv *c, const struct row *from,
                      row_fn *fn)
{
    for (size_t tap = 0; tap < c->taps[0] * c->taps[1]; tap++)
        for (size_t y = 0; y < c->small[0]; y++) {
            struct row r;
            if (!row_of(c, y, tap / c->taps[1], tap % c->taps[1], &r)) continue;
            r.small += from->small;
            r.large += from->large;
            r.w = from->w + tap;
            fn(n, c, &r);
        }
}

/* PyTorch's weights: [y channel][x channel of its group][taps], transposed [x channel][y channel of
 * its group][taps]: the small image's channel first in both. */
static void walk(const struct twin_node *n, const struct conv *c, row_fn *fn)
{
    const size_t pixels_small = c->small[0] * c->small[1], pixels_large = c->large[0] * c->large[1];
    for (size_t i = 0; i < c->images * c->groups; i++)
        for (size_t s = 0; s < c->small_c; s++)
            for (size_t l = 0; l < c->large_c; l++) {
                const size_t first = i % c->groups * c->small_c + s;
                const struct row from = {
                    .small = (i * c->small_c + s) * pixels_small,
                    .large = (i * c->large_c + l) * pixels_large,
                    .w = (first * c->large_c + l) * c->taps[0] * c->taps[1],
                };
                walk_pair(n, c, &from, fn);
            }
}

/* ---- the products ---------------------------------------------------------------------------- */
static const double *weights_of(const struct twin_node *n)
{
    return n->kept_values > 0 ? n->kept : n->params[0].at;
}

static double *weight_gradients(const struct twin_node *n)
{
    return n->kept_values > 0 ? n->kept + n->params[0].values : n->params[0].gradient;
}

static void forward_row(const struct twin_node *n, const struct conv *c, const struct row *r)
{
    const double w = weights_of(n)[r->w];
    for (size_t i = 0; i < r->n; i++) {
        const size_t small = r->small + i, large = r->large + i * r->step;
        if (c->transposed) n->y[large] += w * n->x[0][small];
        else n->y[small] += w * n->x[0][large];
    }
}

static void backward_row(const struct twin_node *n, const struct conv *c, const struct row *r)
{
    const double w = weights_of(n)[r->w];
    double sum = 0.0;
    for (size_t i = 0; i < r->n; i++) {
        const size_t small = r->small + i, large = r->large + i * r->step;
        const size_t x = c->transposed ? small : large, y = c->transposed ? large : small;
        n->dx[0][x] += w * n->dy[y];
        sum += n->x[0][x] * n->dy[y];
    }
    weight_gradients(n)[r->w] += sum;
}

/* ---- standardised weights: w' = gain (w - mean) / sqrt(var * fan_in + 1e-4), var with n - 1 ---
 */
struct standard {
    size_t k, n;
    double mean, norm, spread; /* norm = sqrt(spread * sum of squares + 1e-4) */
};

static struct standard standard_of(const struct twin_node *n, size_t k)
{
    struct standard s = { .k = k, .n = n->params[0].values / n->out.c };
    const double *w = n->params[0].at + k * s.n;
    double squares = 0.0;
    for (size_t j = 0; j < s.n; j++) s.mean += w[j] / (double)s.n;
    for (size_t j = 0; j < s.n; j++) squares += (w[j] - s.mean) * (w[j] - s.mean);
    s.spread = s.n > 1 ? (double)s.n / (double)(s.n - 1) : 0.0;
    s.norm = sqrt(s.spread * squares + 1e-4);
    return s;
}

static void standardise(const struct twin_node *n)
{
    const struct twin_param *gain = &n->params[n->n_params - 1];
    for (size_t k = 0; k < n->out.c; k++) {
        const struct standard s = standard_of(n, k);
        for (size_t j = k * s.n; j < (k + 1) * s.n; j++)
            n->kept[j] = gain->at[k] * (n->params[0].at[j] - s.mean) / s.norm;
    }
}

/* With u = w - mean: w' = gain u / norm, and d(norm)/du = spread u / norm. */
static void unstandardise(const struct twin_node *n)
{
    const struct twin_param *w = &n->params[0], *gain = &n->params[n->n_params - 1];
    for (size_t k = 0; k < n->out.c; k++) {
        const struct standard s = standard_of(n, k);
        const double *g = n->kept + w->values + k * s.n, *from = w->at + k * s.n;
        double along = 0.0, mean = 0.0;
        for (size_t j = 0; j < s.n; j++) along += g[j] * (from[j] - s.mean) / s.norm;
        gain->gradient[k] += along;
        for (size_t pass = 0; pass < 2; pass++)
            for (size_t j = 0; j < s.n; j++) {
                const double du = gain->at[k] / s.norm *
                                  (g[j] - along * s.spread * (from[j] - s.mean) / s.norm);
                if (pass == 0) mean += du / (double)s.n;
                else w->gradient[k * s.n + j] += du - mean;
            }
    }
}

/* ---- bias ------------------------------------------------------------------------------------ */
static const struct twin_param *bias_of(const struct twin_node *n, bool has)
{
    return has ? &n->params[1] : NULL;
}

static void begin_output(const struct twin_node *n, const struct twin_param *bias)
{
    const size_t pixels = twin_pixels(n->out);
    for (size_t i = 0; i < twin_values(n->out); i++)
        n->y[i] = bias != NULL ? bias->at[i / pixels % n->out.c] : 0.0;
}

static void bias_back(const struct twin_node *n, const struct twin_param *bias)
{
    const size_t pixels = twin_pixels(n->out);
    for (size_t i = 0; bias != NULL && i < twin_values(n->out); i++)
        bias->gradient[i / pixels % n->out.c] += n->dy[i];
}

/* ---- conv1d, conv2d -------------------------------------------------------------------------- */
static bool standardised(const struct twin_node *n)
{
    return n->spec->type == SPEC_CONV2D && n->spec->u.conv2d.weight_standardization;
}

static struct conv conv_of(const struct twin_node *n)
{
    const struct spec_conv2d p = spec_conv_of(n->spec);
    const size_t groups = (size_t)p.groups;
    struct conv c = { .images = twin_images(n->in),
                      .groups = groups,
                      .small_c = n->out.c / groups,
                      .large_c = n->in.c / groups,
                      .small = { n->out.h, n->out.w },
                      .large = { n->in.h, n->in.w } };
    for (int axis = 0; axis < 2; axis++) {
        c.taps[axis] = (size_t)p.kernel_size[axis];
        c.stride[axis] = p.stride[axis];
        c.pad[axis] = p.padding[axis];
        c.dilation[axis] = p.dilation[axis];
    }
    return c;
}

static void conv_plan(struct twin_node *n)
{
    const struct conv c = conv_of(n);
    twin_add_param(n, "weight", n->out.c * c.large_c * c.taps[0] * c.taps[1], n->out.c);
    if (spec_conv_of(n->spec).bias) twin_add_param(n, "bias", n->out.c, n->out.c);
    if (!standardised(n)) return;
    twin_add_param(n, "gain", n->out.c, n->out.c);
    n->kept_values = 2 * n->params[0].values;
}

static void conv_forward(const struct twin_node *n)
{
    const struct conv c = conv_of(n);
    if (standardised(n)) standardise(n);
    begin_output(n, bias_of(n, spec_conv_of(n->spec).bias));
    walk(n, &c, forward_row);
}

static void conv_backward(const struct twin_node *n)
{
    const struct conv c = conv_of(n);
    for (size_t i = 0; standardised(n) && i < n->params[0].values; i++)
        weight_gradients(n)[i] = 0.0;
    walk(n, &c, backward_row);
    bias_back(n, bias_of(n, spec_conv_of(n->spec).bias));
    if (standardised(n)) unstandardise(n);
}

const struct twin_kind twin_conv = { conv_plan, conv_forward, conv_backward, NULL };

/* ---- conv_transpose2d ------------------------------------------------------------------------ */
static struct conv transpose_of(const struct twin_node *n)
{
    const struct spec_conv_transpose2d *p = &n->spec->u.conv_transpose2d;
    const size_t groups = (size_t)p->groups;
    struct conv c = { .images = twin_images(n->in),
                      .groups = groups,
                      .transposed = true,
                      .small_c = n->in.c / groups,
                      .large_c = n->out.c / groups,
                      .small = { n->in.h, n->in.w },
                      .large = { n->out.h, n->out.w } };
    for (int axis = 0; axis < 2; axis++) {
        c.taps[axis] = (size_t)p->kernel_size[axis];
        c.stride[axis] = p->stride[axis];
        c.pad[axis] = p->padding[axis];
        c.dilation[axis] = p->dilation[axis];
    }
    return c;
}

static void transpose_plan(struct twin_node *n)
{
    const struct conv c = transpose_of(n);
    twin_add_param(n, "weight", n->in.c * c.large_c * c.taps[0] * c.taps[1], 1);
    if (n->spec->u.conv_transpose2d.bias) twin_add_param(n, "bias", n->out.c, n->out.c);
}

static void transpose_forward(const struct twin_node *n)
{
    const struct conv c = transpose_of(n);
    begin_output(n, bias_of(n, n->spec->u.conv_transpose2d.bias));
    walk(n, &c, forward_row);
}

static void transpose_backward(const struct twin_node *n)
{
    const struct conv c = transpose_of(n);
    walk(n, &c, backward_row);
    bias_back(n, bias_of(n, n->spec->u.conv_transpose2d.bias));
}

const struct twin_kind twin_conv_transpose = { transpose_plan, transpose_forward,
                                               transpose_backward, NULL };
