/* net_fixture: small nets with known inputs for the tests of nets/ and layers/. */
#ifndef TEST_NET_FIXTURE_H
#define TEST_NET_FIXTURE_H

#include "common/mem.h"
#include "worker/nets/net.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline double fixture_number(size_t i) /* in [-1, 1), the same on every run */
{
    uint64_t x = (i + 1) * 0x9E3779B97F4A7C15u;
    x ^= x >> 31;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 29;
    return (double)(x >> 11) * 0x1p-52 - 1.0;
}

static inline enum isa fixture_isa(void)
{
    enum isa isa;
    struct err e = { 0 };
    cr_assert_eq(kernels_choose(&isa, &e), 0);
    return isa;
}

/* ---- layers ---------------------------------------------------------------------------------- */
#define FIXTURE_LAYERS_MAX 32
struct layers {
    struct spec_layer l[FIXTURE_LAYERS_MAX];
    size_t n;
};

static inline struct spec_layer *layers_add(struct layers *s, enum spec_layer_type type)
{
    struct spec_layer *l = &s->l[s->n];
    *l = (struct spec_layer){ .type = type };
    snprintf(l->path, sizeof l->path, "%zu", s->n++);
    return l;
}

static inline void add_conv(struct layers *s, int64_t out, int64_t kernel, int64_t padding,
                            bool bias)
{
    layers_add(s, SPEC_CONV2D)->u.conv2d = (struct spec_conv2d){
        .out_channels = out, .kernel_size = { kernel, kernel }, .stride = { 1, 1 },
        .padding = { padding, padding }, .dilation = { 1, 1 }, .groups = 1, .bias = bias };
}

static inline void add_norm(struct layers *s)
{
    struct spec_layer *l = layers_add(s, SPEC_BATCH_NORM);
    l->u.batch_norm.eps = 1e-5;
    l->u.batch_norm.momentum = 0.1;
}

static inline int fixture_model(const char *name)
{
    size_t count;
    const struct spec_neuron_model *m = spec_neuron_models(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(m[i].name, name) == 0) return (int)i;
    cr_assert_fail("no model %s", name);
    return -1;
}

static inline void add_neuron(struct layers *s, const char *model)
{
    struct spec_neuron *n = &layers_add(s, SPEC_NEURON)->u.neuron;
    *n = (struct spec_neuron){ .model = fixture_model(model), .v_threshold = 0.4,
                               .detach_reset = true, .decay_input = true };
    n->surrogate.params[0] = 2.0;
    n->params[0] = 2.0;
}

static inline void add_pool(struct layers *s, enum spec_layer_type type, int64_t size)
{
    layers_add(s, type)->u.pool =
        (struct spec_pool2d){ .kernel_size = { size, size }, .stride = { size, size },
                              .count_include_pad = true };
}

static inline void add_adaptive(struct layers *s, int64_t h, int64_t w)
{
    struct spec_layer *l = layers_add(s, SPEC_ADAPTIVE_AVG_POOL2D);
    l->u.adaptive.output_size[0] = h;
    l->u.adaptive.output_size[1] = w;
}

static inline void add_linear(struct layers *s, int64_t out, bool bias)
{
    struct spec_layer *l = layers_add(s, SPEC_LINEAR);
    l->u.linear.out_features = out;
    l->u.linear.bias = bias;
}

static inline void add_dropout(struct layers *s, double p)
{
    layers_add(s, SPEC_DROPOUT)->u.dropout.p = p;
}

static inline void add_voting(struct layers *s, int64_t size)
{
    layers_add(s, SPEC_VOTING)->u.voting.size = size;
}

/* Every kind of layer once or twice; 10 classes from 2 x 12 x 12. */
static inline struct layers whole_net(void)
{
    struct layers s = { 0 };
    add_conv(&s, 20, 3, 1, false);
    add_norm(&s);
    add_neuron(&s, "plif");
    add_pool(&s, SPEC_MAX_POOL2D, 2);
    add_conv(&s, 33, 3, 1, true);
    add_norm(&s);
    add_neuron(&s, "psn");
    add_pool(&s, SPEC_AVG_POOL2D, 2);
    layers_add(&s, SPEC_FLATTEN);
    add_dropout(&s, 0.25);
    add_linear(&s, 40, true);
    add_neuron(&s, "lif");
    add_linear(&s, 30, false);
    add_neuron(&s, "if");
    add_voting(&s, 3);
    return s;
}

/* ---- nets ------------------------------------------------------------------------------------ */
static inline struct net_options fixture_options(size_t b, size_t t)
{
    return (struct net_options){ .input = { .b = b, .t = t, .c = 2, .h = 12, .w = 12 },
                                 .training = true, .shards = 1, .threads = 2, .exact = true,
                                 .isa = fixture_isa(), .seed = 5 };
}

static inline struct net *fixture_net(const struct layers *s, const struct net_options *o)
{
    struct err e = { 0 };
    struct net *n = NULL;
    cr_assert_eq(net_build(&n, s->l, s->n, 0, o, &e), 0, "%s", e.text);
    cr_assert_eq(net_start(n, &e), 0, "%s", e.text);
    return n;
}

/* Values of sample b and step t (0 for a repeated frame) depend on b + offset and t alone. */
static inline void fixture_input(struct net *n, size_t offset)
{
    const struct tensor_desc *d;
    void *x = net_input_data(n, &d);
    for (size_t b = 0; b < d->b; b++)
        for (size_t t = 0; t < d->t_stored; t++)
            for (size_t i = 0; i < d->c * d->h * d->w; i++) {
                double v = fixture_number(((b + offset) * 64 + t) * 4096 + i);
                if (d->kind == TENSOR_BITS) v = v > 0.3;
                tensor_set(d, x, b, t, i / (d->h * d->w), i / d->w % d->h, i % d->w, (float)v);
            }
}

static inline void fixture_upstream(struct net *n, size_t offset, size_t samples)
{
    const struct tensor_desc *d;
    float *g = net_output_gradient(n, &d);
    for (size_t b = 0; b < samples; b++)
        for (size_t t = 0; t < d->t; t++)
            for (size_t i = 0; i < d->c * d->h * d->w; i++)
                tensor_set(d, g, b, t, i / (d->h * d->w), i / d->w % d->h, i % d->w,
                           (float)fixture_number(777777 + ((b + offset) * 64 + t) * 512 + i));
}

static inline struct net_step fixture_step(size_t samples)
{
    return (struct net_step){ .step = 3, .samples = samples, .training = true };
}

static inline void fixture_run(struct net *n, const struct net_step *s)
{
    fixture_input(n, s->sample_offset);
    net_forward(n, s);
    fixture_upstream(n, s->sample_offset, s->samples);
    net_backward(n, s);
}

static inline void same_weight_gradients(struct net *a, struct net *b)
{
    size_t floats, other;
    const float *x = net_gradients(a, &floats), *y = net_gradients(b, &other);
    cr_assert_eq(floats, other);
    for (size_t i = 0; i < floats; i++)
        cr_assert_eq(memcmp(&x[i], &y[i], 4), 0, "gradient %zu: %.9g, %.9g", i, (double)x[i],
                     (double)y[i]);
}

static inline void same_outputs(struct net *a, struct net *b)
{
    const struct tensor_desc *da, *db;
    const void *x = net_output(a, &da), *y = net_output(b, &db);
    cr_assert_eq(memcmp(x, y, tensor_bytes(da)), 0, "outputs differ");
}

/* Net a takes one frame for all 4 time-steps, b each of them: the same outputs within `limit` and
 * the same gradients, of n samples of 2 x 12 x 12. */
static inline void fixture_repeats(struct net *a, struct net *b, size_t n, float limit)
{
    const struct tensor_desc *da, *db, *d;
    fixture_input(a, 0);
    void *xa = net_input_data(a, &da), *xb = net_input_data(b, &db);
    for (size_t i = 0; i < n * 4 * 288; i++) {
        const size_t k = i / 1152, t = i / 288 % 4, c = i / 144 % 2, y = i / 12 % 12, x = i % 12;
        tensor_set(db, xb, k, t, c, y, x, tensor_get(da, xa, k, 0, c, y, x));
    }
    const struct net_step step = fixture_step(n);
    net_forward(a, &step);
    net_forward(b, &step);
    const float *ya = net_output(a, &d), *yb = net_output(b, &d);
    for (size_t i = 0; i < d->elements; i++) cr_assert_float_eq(ya[i], yb[i], limit);
    fixture_upstream(a, 0, n);
    fixture_upstream(b, 0, n);
    net_backward(a, &step);
    net_backward(b, &step);
    size_t floats;
    const float *ga = net_gradients(a, &floats), *gb = net_gradients(b, &floats);
    float largest = 0.0f;
    for (size_t i = 0; i < floats; i++) largest = fmaxf(largest, fabsf(gb[i]));
    for (size_t i = 0; i < floats; i++) cr_assert_float_eq(ga[i], gb[i], 1e-5f * (1.0f + largest));
}

#endif
