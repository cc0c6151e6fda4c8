/* smooth_fixture: a layer without spikes against its twin in double: outputs, and gradients of
 * input and parameters against finite differences of the twin. */
#ifndef TEST_SMOOTH_FIXTURE_H
#define TEST_SMOOTH_FIXTURE_H

#include "tests/unit/nets/net_fixture.h"

#include <math.h>

/* Logical arrays: x [T][B][C][H][W], y likewise; w: the layer's parameters in file order. */
struct smooth {
    size_t b, t, c, h, w;    /* of the input */
    size_t oc, oh, ow;       /* of the output */
    const struct spec_layer *spec;
    const double *param[4];
};
typedef void smooth_twin(const struct smooth *s, const double *x, double *y);

static inline size_t smooth_inputs(const struct smooth *s)
{
    return s->t * s->b * s->c * s->h * s->w;
}
static inline size_t smooth_outputs(const struct smooth *s)
{
    return s->t * s->b * s->oc * s->oh * s->ow;
}
static inline double smooth_upstream(size_t i) { return fixture_number(5000 + i); }

static inline double smooth_loss(const struct smooth *s, smooth_twin *twin, const double *x,
                                 double *y)
{
    double sum = 0.0;
    twin(s, x, y);
    for (size_t i = 0; i < smooth_outputs(s); i++) sum += smooth_upstream(i) * y[i];
    return sum;
}

static inline void smooth_put(const struct tensor_desc *d, void *data, const double *from)
{
    for (size_t t = 0; t < d->t_stored; t++)
        for (size_t b = 0; b < d->b; b++)
            for (size_t i = 0; i < d->c * d->h * d->w; i++)
                tensor_set(d, data, b, t, i / (d->h * d->w), i / d->w % d->h, i % d->w,
                           (float)*from++);
}

static inline void smooth_take(const struct tensor_desc *d, const void *data, double *to)
{
    for (size_t t = 0; t < d->t; t++)
        for (size_t b = 0; b < d->b; b++)
            for (size_t i = 0; i < d->c * d->h * d->w; i++)
                *to++ = (double)tensor_get(d, data, b, t, i / (d->h * d->w), i / d->w % d->h,
                                           i % d->w);
}

static inline void smooth_near(const char *what, size_t i, double got, double want, double tol)
{
    cr_assert(fabs(got - want) <= tol * (1.0 + fabs(want)), "%s[%zu]: %.9g, twin %.9g", what, i,
              got, want);
}

/* Slope along `count` equal values that lie `stride` apart and move together. */
static inline double smooth_slope(const struct smooth *s, smooth_twin *twin, double *x,
                                  double *value, size_t stride, size_t count, double *y)
{
    const double old = *value, eps = 1e-5;
    for (size_t i = 0; i < count; i++) value[i * stride] = old + eps;
    const double up = smooth_loss(s, twin, x, y);
    for (size_t i = 0; i < count; i++) value[i * stride] = old - eps;
    const double down = smooth_loss(s, twin, x, y);
    for (size_t i = 0; i < count; i++) value[i * stride] = old;
    return (up - down) / (2.0 * eps);
}

/* Numbers of their own for the parameters: in the net and, in double, for the twin. */
static inline size_t smooth_parameters(struct net *n, double *param[4], struct smooth *s)
{
    size_t count = 0;
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        if (p->role != NET_WEIGHT) continue;
        float *values = calloc(p->logical, sizeof values[0]);
        param[count] = calloc(p->logical, sizeof param[0][0]);
        for (size_t k = 0; k < p->logical; k++) {
            values[k] = (float)(0.6 + 0.5 * fixture_number(900 + 50 * i + k));
            param[count][k] = (double)values[k];
        }
        net_param_write(n, i, values);
        free(values);
        s->param[count] = param[count];
        count++;
    }
    return count;
}

static inline void smooth_weight_slopes(struct net *n, const struct smooth *s, smooth_twin *twin,
                                        double *param[4], double *x, double *y)
{
    for (size_t i = 0, k = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        if (p->role != NET_WEIGHT) continue;
        float *g = calloc(p->logical, sizeof g[0]);
        net_gradient_read(n, i, g);
        for (size_t j = 0; j < p->logical; j++)
            smooth_near(p->name, j, (double)g[j],
                        smooth_slope(s, twin, x, &param[k][j], 0, 1, y), 5e-5);
        free(g);
        k++;
    }
}

/* A layer on [T, B, C, H, W] = s. A repeated input is one frame for all T: its gradient is the sum
 * over t. */
static inline void smooth_check(struct smooth s, const struct spec_layer *spec, smooth_twin *twin,
                                bool repeat, size_t shards)
{
    struct net_options o = { .input = { .b = s.b, .t = s.t, .c = s.c, .h = s.h, .w = s.w,
                                        .repeat = repeat },
                             .training = true, .shards = shards, .threads = 2, .exact = true,
                             .input_gradient = true, .isa = fixture_isa(), .seed = 3 };
    struct layers list = { .n = 1 };
    list.l[0] = *spec;
    (void)snprintf(list.l[0].path, sizeof list.l[0].path, "0");
    struct net *n = fixture_net(&list, &o);
    const struct tensor_desc *xd, *yd, *gd;
    double *param[4] = { 0 };
    const size_t n_weights = smooth_parameters(n, param, &s);
    void *data = net_input_data(n, &xd);
    const size_t frame = s.b * s.c * s.h * s.w, inputs = smooth_inputs(&s);
    double *x = calloc(inputs, sizeof x[0]);
    for (size_t i = 0; i < inputs; i++)
        x[i] = (double)(float)fixture_number(repeat ? i % frame : i);
    smooth_put(xd, data, x);
    const struct net_step step = fixture_step(s.b);
    net_forward(n, &step);
    const void *out = net_output(n, &yd);
    s.oc = yd->c;
    s.oh = yd->h;
    s.ow = yd->w;
    s.spec = spec;
    const size_t outputs = smooth_outputs(&s);
    double *y = calloc(outputs, sizeof y[0]), *got = calloc(outputs + inputs, sizeof got[0]);
    twin(&s, x, y);
    smooth_take(yd, out, got);
    for (size_t i = 0; i < outputs; i++) smooth_near("y", i, got[i], y[i], 2e-6);
    float *up = net_output_gradient(n, &gd);
    double *values = calloc(outputs, sizeof values[0]);
    for (size_t i = 0; i < outputs; i++) values[i] = smooth_upstream(i);
    smooth_put(gd, up, values);
    net_backward(n, &step);
    const float *dx = net_input_gradient(n, &gd);
    smooth_take(gd, dx, got);
    for (size_t i = 0; i < (repeat ? frame : inputs); i++) {
        const double slope = smooth_slope(&s, twin, x, &x[i], frame, repeat ? s.t : 1, y);
        smooth_near("dx", i, got[i], slope, 2e-5);
    }
    smooth_weight_slopes(n, &s, twin, param, x, y);
    for (size_t k = 0; k < n_weights; k++) free(param[k]);
    free(x);
    free(y);
    free(got);
    free(values);
    net_destroy(n);
}

#endif
