/* twin_pool: maximum, average and adaptive average pooling of the twin, in double. A window is a
 * list of the pixels that it sees and what its sum is divided by. */
#include "tests/twin/twin_kinds.h"

#include <assert.h>

#define WINDOW_MAX 1024

struct window {
    size_t n, pixels[WINDOW_MAX]; /* row-major */
    double divisor;
};
typedef void window_fn(const struct twin_node *n, size_t oy, size_t ox, struct window *w);

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void see(const struct twin_node *n, struct window *w, int64_t y, int64_t x)
{
    if (y < 0 || x < 0 || y >= (int64_t)n->in.h || x >= (int64_t)n->in.w) return;
    assert(w->n < WINDOW_MAX);
    w->pixels[w->n++] = (size_t)y * n->in.w + (size_t)x;
}

static int64_t stride(const struct spec_pool2d *p, int axis)
{
    return p->stride[axis] != 0 ? p->stride[axis] : p->kernel_size[axis];
}

static void max_window(const struct twin_node *n, size_t oy, size_t ox, struct window *w)
{
    const struct spec_pool2d *p = &n->spec->u.pool;
    const int64_t dil_y = p->dilation[0] > 1 ? p->dilation[0] : 1;
    const int64_t dil_x = p->dilation[1] > 1 ? p->dilation[1] : 1;
    w->n = 0;
    for (int64_t i = 0; i < p->kernel_size[0] * p->kernel_size[1]; i++)
        see(n, w, (int64_t)oy * stride(p, 0) - p->padding[0] + i / p->kernel_size[1] * dil_y,
            (int64_t)ox * stride(p, 1) - p->padding[1] + i % p->kernel_size[1] * dil_x);
}

/* PyTorch: a window is cut at the padded image, which count_include_pad counts. */
static void avg_window(const struct twin_node *n, size_t oy, size_t ox, struct window *w)
{
    const struct spec_pool2d *p = &n->spec->u.pool;
    const int64_t y0 = (int64_t)oy * stride(p, 0) - p->padding[0];
    const int64_t x0 = (int64_t)ox * stride(p, 1) - p->padding[1];
    const int64_t y1 = smaller(y0 + p->kernel_size[0], (int64_t)n->in.h + p->padding[0]);
    const int64_t x1 = smaller(x0 + p->kernel_size[1], (int64_t)n->in.w + p->padding[1]);
    w->n = 0;
    for (int64_t y = y0; y < y1; y++)
        for (int64_t x = x0; x < x1; x++) see(n, w, y, x);
    w->divisor = p->count_include_pad ? (double)((y1 - y0) * (x1 - x0)) : (double)w->n;
}

/* Window i of o over length l is [floor(i l / o), ceil((i+1) l / o)). */
static void adaptive_window(const struct twin_node *n, size_t oy, size_t ox, struct window *w)
{
    w->n = 0;
    for (size_t y = oy * n->in.h / n->out.h; y * n->out.h < (oy + 1) * n->in.h; y++)
        for (size_t x = ox * n->in.w / n->out.w; x * n->out.w < (ox + 1) * n->in.w; x++)
            see(n, w, (int64_t)y, (int64_t)x);
    w->divisor = (double)w->n;
}

/* ---- maximum: the first of equals takes the gradient ----------------------------------------- */
static size_t where(const struct window *w, const double *plane)
{
    size_t best = w->pixels[0];
    for (size_t i = 1; i < w->n; i++)
        if (plane[w->pixels[i]] > plane[best]) best = w->pixels[i];
    return best;
}

static void max_forward(const struct twin_node *n)
{
    const size_t pixels = twin_pixels(n->out);
    struct window w;
    for (size_t o = 0; o < pixels; o++) {
        max_window(n, o / n->out.w, o % n->out.w, &w);
        for (size_t plane = 0; plane < twin_values(n->out) / pixels; plane++) {
            const double *x = n->x[0] + plane * twin_pixels(n->in);
            n->y[plane * pixels + o] = x[where(&w, x)];
        }
    }
}

static void max_backward(const struct twin_node *n)
{
    const size_t pixels = twin_pixels(n->out);
    struct window w;
    for (size_t o = 0; o < pixels; o++) {
        max_window(n, o / n->out.w, o % n->out.w, &w);
        for (size_t plane = 0; plane < twin_values(n->out) / pixels; plane++) {
            const size_t first = plane * twin_pixels(n->in);
            n->dx[0][first + where(&w, n->x[0] + first)] += n->dy[plane * pixels + o];
        }
    }
}

const struct twin_kind twin_max_pool = { NULL, max_forward, max_backward, NULL };

/* ---- average --------------------------------------------------------------------------------- */
static void mean_forward(const struct twin_node *n, window_fn *window)
{
    const size_t pixels = twin_pixels(n->out);
    struct window w;
    for (size_t o = 0; o < pixels; o++) {
        window(n, o / n->out.w, o % n->out.w, &w);
        for (size_t plane = 0; plane < twin_values(n->out) / pixels; plane++) {
            double sum = 0.0;
            for (size_t i = 0; i < w.n; i++)
                sum += n->x[0][plane * twin_pixels(n->in) + w.pixels[i]];
            n->y[plane * pixels + o] = sum / w.divisor;
        }
    }
}

static void mean_backward(const struct twin_node *n, window_fn *window)
{
    const size_t pixels = twin_pixels(n->out);
    struct window w;
    for (size_t o = 0; o < pixels; o++) {
        window(n, o / n->out.w, o % n->out.w, &w);
        for (size_t plane = 0; plane < twin_values(n->out) / pixels; plane++)
            for (size_t i = 0; i < w.n; i++)
                n->dx[0][plane * twin_pixels(n->in) + w.pixels[i]] += n->dy[plane * pixels + o] /
                                                                      w.divisor;
    }
}

static void avg_forward(const struct twin_node *n)
{
    mean_forward(n, avg_window);
}
static void avg_backward(const struct twin_node *n)
{
    mean_backward(n, avg_window);
}
static void adaptive_forward(const struct twin_node *n)
{
    mean_forward(n, adaptive_window);
}
static void adaptive_backward(const struct twin_node *n)
{
    mean_backward(n, adaptive_window);
}

const struct twin_kind twin_avg_pool = { NULL, avg_forward, avg_backward, NULL };
const struct twin_kind twin_adaptive_pool = { NULL, adaptive_forward, adaptive_backward, NULL };
