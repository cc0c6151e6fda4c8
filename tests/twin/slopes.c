/* slopes: see slopes.h. */
#include "tests/twin/slopes.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double twin_number(uint64_t i)
{
    uint64_t x = (i + 1) * 0x9E3779B97F4A7C15u;
    x ^= x >> 31;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 29;
    return (double)(x >> 11) * 0x1p-52 - 1.0;
}

/* A tensor whose gradient is checked, and the node from which the net has to run again. */
struct target {
    struct twin *tw;
    const double *up;
    double *at, *old;
    const double *gradient;
    size_t values, first;
    double *ahead; /* the output one step ahead */
};

static double norm(const double *g, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += g[i] * g[i];
    return sqrt(sum);
}

/* ---- slopes ---------------------------------------------------------------------------------- */
/* Sign of value i along direction d; or single value d alone. */
struct along {
    bool single;
    size_t d;
};

static double component(struct along a, size_t i)
{
    if (a.single) return i == a.d ? 1.0 : 0.0;
    return twin_number(9000000 + 77 * (i + 1) + 1000003 * a.d) >= 0.0 ? 1.0 : -1.0;
}

static const double *output_at(const struct target *g, struct along a, double h, size_t *values)
{
    struct twin_size size;
    for (size_t i = 0; i < g->values; i++) g->at[i] = g->old[i] + h * component(a, i);
    twin_forward(g->tw, g->first, twin_nodes(g->tw));
    const double *y = twin_output(g->tw, &size);
    *values = twin_values(size);
    return y;
}

struct line {
    const struct target *g;
    struct along a;
};

static double central(const void *ctx, double h)
{
    const struct line *l = ctx;
    const struct target *g = l->g;
    size_t n;
    const double *y = output_at(g, l->a, h, &n);
    memcpy(g->ahead, y, n * sizeof y[0]);
    y = output_at(g, l->a, -h, &n);
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += g->up[i] * (g->ahead[i] - y[i]);
    return sum / (2.0 * h);
}

double slopes_error(double (*slope)(const void *ctx, double h), const void *ctx, double want,
                    double scale)
{
    static const double widths[] = { 2e-6, 2e-5, 1e-7, 1e-8 };
    double best = INFINITY;
    for (size_t i = 0; i < sizeof widths / sizeof widths[0] && !(best <= 3e-7); i++) {
        double got = slope(ctx, widths[i]);
        if (i > 0) /* Richardson: the error of h^2 goes */
            got = (4.0 * got - slope(ctx, 2.0 * widths[i])) / 3.0;
        best = fmin(best, fabs(got - want) / scale);
    }
    return best;
}

static double error_along(const struct target *g, struct along a, double want, double scale)
{
    const struct line l = { g, a };
    const double error = slopes_error(central, &l, want, scale);
    memcpy(g->at, g->old, g->values * sizeof g->at[0]);
    return error;
}

/* ---- one tensor ------------------------------------------------------------------------------ */
static void note(struct slopes *s, double error, const char *path, const char *name, size_t i)
{
    s->taken++;
    if (error <= s->worst) return;
    s->worst = error;
    (void)snprintf(s->what, sizeof s->what, "%s.%s, slope %zu", path, name, i);
}

static void take(struct target *g, const struct slopes_plan *plan, double least, const char *path,
                 const char *name, struct slopes *s)
{
    const double size = fmax(norm(g->gradient, g->values), least);
    g->old = malloc(g->values * sizeof g->old[0]);
    assert(g->old != NULL);
    memcpy(g->old, g->at, g->values * sizeof g->old[0]);
    for (size_t d = 0; d < plan->directions && g->values > 1; d++) {
        double want = 0.0;
        for (size_t i = 0; i < g->values; i++)
            want += g->gradient[i] * component((struct along){ false, d }, i);
        note(s, error_along(g, (struct along){ false, d }, want, fmax(fabs(want), size)), path,
             name, d);
    }
    const size_t step = g->values / (plan->coordinates + 1) + 1;
    const double rms = size / sqrt((double)g->values);
    for (size_t k = 0; k < plan->coordinates && k * step < g->values; k++) {
        const size_t i = plan->coordinates >= g->values ? k : k * step + step / 2;
        if (i >= g->values) break;
        const double want = g->gradient[i];
        note(s, error_along(g, (struct along){ true, i }, want, fmax(fabs(want), rms)), path, name,
             i);
    }
    twin_forward(g->tw, g->first, twin_nodes(g->tw));
    free(g->old);
}

/* ---- the whole net --------------------------------------------------------------------------- */
static double largest_norm(struct twin *tw)
{
    struct twin_size size;
    (void)twin_input(tw, &size);
    double largest = norm(twin_input_gradient(tw), twin_values(size));
    for (size_t node = 0; node < twin_nodes(tw); node++)
        for (size_t k = 0; k < twin_params(tw, node); k++) {
            const struct twin_param *p = twin_param(tw, node, k);
            if (!p->buffer) largest = fmax(largest, norm(p->gradient, p->values));
        }
    return largest;
}

static size_t count_learned(struct twin *tw)
{
    size_t count = 0;
    for (size_t node = 0; node < twin_nodes(tw); node++)
        for (size_t k = 0; k < twin_params(tw, node); k++)
            count += !twin_param(tw, node, k)->buffer;
    return count;
}

void slopes_prepare(struct twin *tw, const double *up)
{
    twin_forward(tw, 0, twin_nodes(tw));
    twin_backward(tw, up);
}

struct slopes slopes_take(struct twin *tw, const double *up, const struct slopes_plan *plan)
{
    struct slopes s = { 0 };
    struct twin_size size;
    (void)twin_output(tw, &size);
    struct target g = { .tw = tw, .up = up, .ahead = malloc(twin_values(size) * sizeof(double)) };
    assert(g.ahead != NULL);
    const double least = 1e-3 * largest_norm(tw);
    const size_t learned = count_learned(tw);
    const size_t every = plan->tensors == 0 ? 1 : (learned + plan->tensors - 1) / plan->tensors;
    size_t number = 0;
    for (size_t node = 0; node < twin_nodes(tw); node++)
        for (size_t k = 0; k < twin_params(tw, node); k++) {
            const struct twin_param *p = twin_param(tw, node, k);
            if (p->buffer || number++ % every != 0) continue;
            g.at = p->at;
            g.gradient = p->gradient;
            g.values = p->values;
            g.first = node;
            take(&g, plan, least, twin_layer(tw, node)->path, p->name, &s);
        }
    g.at = twin_input(tw, &size);
    g.gradient = twin_input_gradient(tw);
    g.values = twin_values(size);
    g.first = 0;
    take(&g, plan, least, "input", "x", &s);
    free(g.ahead);
    return s;
}
