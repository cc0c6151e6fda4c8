/* Batches whose samples end at different time-steps. */
#include "tests/unit/nets/net_fixture.h"
#include "worker/nets/net_internal.h"

#include <math.h>

/* Every kind of layer that does not mix time in a way of its own. */
static struct layers serial_net(void)
{
    struct layers s = { 0 };
    add_conv(&s, 20, 3, 1, true);
    add_norm(&s);
    add_neuron(&s, "plif");
    add_pool(&s, SPEC_MAX_POOL2D, 2);
    add_conv(&s, 33, 3, 1, false);
    add_norm(&s);
    add_neuron(&s, "lif");
    add_pool(&s, SPEC_AVG_POOL2D, 2);
    layers_add(&s, SPEC_FLATTEN);
    add_dropout(&s, 0.25);
    add_linear(&s, 40, true);
    add_neuron(&s, "if");
    add_linear(&s, 30, true);
    add_voting(&s, 3);
    return s;
}

/* Values behind every end, of the input and of the upstream gradient. */
static void run_with(struct net *n, const struct net_step *s, float behind)
{
    const struct tensor_desc *d, *gd;
    void *x = net_input_data(n, &d);
    float *g = net_output_gradient(n, &gd);
    fixture_input(n, 0);
    for (size_t b = 0; s->lengths != NULL && b < s->samples; b++)
        for (size_t t = s->lengths[b]; t < d->t; t++)
            for (size_t i = 0; i < d->c * d->h * d->w; i++)
                tensor_set(d, x, b, t, i / (d->h * d->w), i / d->w % d->h, i % d->w, behind);
    net_forward(n, s);
    fixture_upstream(n, 0, s->samples);
    for (size_t b = 0; s->lengths != NULL && b < s->samples; b++)
        for (size_t t = s->lengths[b]; t < gd->t; t++)
            for (size_t c = 0; c < gd->c; c++) tensor_set(gd, g, b, t, c, 0, 0, behind);
    net_backward(n, s);
}

static void same_buffers(struct net *a, struct net *b)
{
    size_t floats;
    const float *x = net_buffers(a, &floats), *y = net_buffers(b, &floats);
    cr_assert_eq(memcmp(x, y, floats * sizeof x[0]), 0, "running statistics");
}

/* Goal: lengths that are all T give the bits of no lengths. */
Test(lengths, full_length_changes_nothing, .timeout = 30)
{
    const struct layers s = whole_net();
    const uint32_t full[4] = { 5, 5, 5, 5 };
    for (int k = 0; k < 4; k++) {
        struct net_options o = fixture_options(4, 5);
        o.shards = k % 2 == 0 ? 1 : 2;
        o.recompute = k < 2 ? NET_RECOMPUTE_OFF : NET_RECOMPUTE_LEAST;
        struct net *a = fixture_net(&s, &o), *b = fixture_net(&s, &o);
        struct net_step step = fixture_step(4);
        fixture_run(a, &step);
        step.lengths = full;
        fixture_run(b, &step);
        same_outputs(a, b);
        same_weight_gradients(a, b);
        same_buffers(a, b);
        net_destroy(a);
        net_destroy(b);
    }
}

/* Goal: a sample that ends after L of T time-steps has the outputs, gradients and statistics of the
 * same sample in a net of L time-steps, bit for bit, also where parts are computed again and where
 * layers get their time-steps in spans; behind its end the output is zero. */
Test(lengths, a_padded_sample_is_the_sample_alone, .timeout = 60)
{
    const struct layers s = serial_net();
    const uint32_t length = 3;
    for (int k = 0; k < 4; k++) {
        struct net_options o = fixture_options(1, 6);
        o.input_gradient = true;
        o.recompute = k % 2 == 0 ? NET_RECOMPUTE_OFF : NET_RECOMPUTE_LEAST;
        o.span_steps = k < 2 ? 0 : 2;
        struct net *padded = fixture_net(&s, &o);
        o.input.t = length;
        struct net *alone = fixture_net(&s, &o);
        struct net_step step = fixture_step(1);
        run_with(alone, &step, 0);
        step.lengths = &length;
        run_with(padded, &step, 7.5f);
        same_weight_gradients(alone, padded);
        same_buffers(alone, padded);
        const struct tensor_desc *d, *p;
        const void *x = net_output(alone, &d), *y = net_output(padded, &p);
        const float *dx = net_input_gradient(alone, &d), *dy = net_input_gradient(padded, &p);
        cr_assert_eq(memcmp(dx, dy, length * d->time * sizeof dx[0]), 0, "dL/d(input)");
        for (size_t i = 0; i < d->time; i++) cr_assert_eq(dy[length * p->time + i], 0.0f);
        (void)net_output(alone, &d);
        (void)net_output(padded, &p);
        for (size_t i = 0; i < 6 * 10; i++) {
            const float v = tensor_get(p, y, 0, i / 10, i % 10, 0, 0);
            cr_assert_eq(v, i / 10 < length ? tensor_get(d, x, 0, i / 10, i % 10, 0, 0) : 0.0f);
        }
        for (size_t i = 0; i < net_node_count(alone); i++)
            cr_assert(net_spike_count(alone, i) == net_spike_count(padded, i) &&
                      net_firing_rate(alone, i) == net_firing_rate(padded, i));
        net_destroy(padded);
        net_destroy(alone);
    }
}

/* Goal: what lies behind the ends never matters, also for layers that mix time, several samples,
 * shards and three threads; the weights over time of a PSN learn nothing from there. */
Test(lengths, what_lies_behind_an_end_never_matters, .timeout = 60)
{
    const struct layers s = whole_net();
    const uint32_t lengths[4] = { 2, 4, 1, 3 };
    struct net_options o = fixture_options(4, 5);
    o.shards = 2;
    struct net *a = fixture_net(&s, &o);
    o.threads = 3;
    struct net *b = fixture_net(&s, &o);
    struct net_step step = fixture_step(4);
    step.lengths = lengths;
    run_with(a, &step, 0);
    run_with(b, &step, 3.0f);
    same_outputs(a, b);
    same_weight_gradients(a, b);
    same_buffers(a, b);
    cr_assert_eq(net_last_steps(a), 10);
    for (size_t i = 0; i < net_param_count(a); i++) {
        float w[5 * 5];
        if (strcmp(net_param(a, i)->name, "6.weight") != 0) continue;
        net_gradient_read(a, i, w);
        for (size_t k = 0; k < 25; k++) /* no sample has a fifth time-step */
            if (k / 5 == 4 || k % 5 == 4) cr_assert_eq(w[k], 0.0f);
    }
    net_destroy(a);
    net_destroy(b);
}

/* ---- batch norm in double -------------------------------------------------------------------- */
#define B 3
#define T 4
#define C 2
#define P 144 /* pixels */

static const uint32_t ends[B] = { 1, 4, 2 };
struct twin {
    double x[B][T][C][P], dy[B][T][C][P];
    double mean[C], var[C], n, dbeta[C], dgamma[C];
};

static bool counts(size_t b, size_t t) { return t < ends[b]; }

static void twin_run(struct twin *w)
{
    for (size_t c = 0; c < C; c++) {
        double sum = 0, squares = 0;
        w->n = 0;
        for (size_t i = 0; i < B * T * P; i++) {
            const size_t b = i / (T * P), t = i / P % T;
            if (!counts(b, t)) continue;
            sum += w->x[b][t][c][i % P];
            squares += w->x[b][t][c][i % P] * w->x[b][t][c][i % P];
            w->n++;
        }
        w->mean[c] = sum / w->n;
        w->var[c] = squares / w->n - w->mean[c] * w->mean[c];
        for (size_t i = 0; i < B * T * P; i++) {
            const size_t b = i / (T * P), t = i / P % T;
            if (!counts(b, t)) continue;
            w->dbeta[c] += w->dy[b][t][c][i % P];
            w->dgamma[c] += w->dy[b][t][c][i % P] * (w->x[b][t][c][i % P] - w->mean[c]) /
                            sqrt(w->var[c] + 1e-5);
        }
    }
}

static void twin_fill(struct twin *w, struct net *n)
{
    const struct tensor_desc *d, *gd;
    const void *x = net_input_data(n, &d);
    const float *g = net_output_gradient(n, &gd);
    for (size_t i = 0; i < B * T * C * P; i++) {
        const size_t b = i / (T * C * P), t = i / (C * P) % T, c = i / P % C, y = i % P / 12;
        w->x[b][t][c][i % P] = (double)tensor_get(d, x, b, t, c, y, i % 12);
        w->dy[b][t][c][i % P] = (double)tensor_get(gd, g, b, t, c, y, i % 12);
    }
}

/* Goal: statistics, running statistics, outputs and all gradients of batch norm are those of the
 * time-steps that count, as a twin in double has them. */
Test(lengths, batch_norm_equals_its_twin, .timeout = 20)
{
    static struct twin w;
    struct layers s = { 0 };
    add_norm(&s);
    struct net_options o = fixture_options(B, T);
    o.input_gradient = true;
    struct net *n = fixture_net(&s, &o);
    struct net_step step = fixture_step(B);
    step.lengths = ends;
    run_with(n, &step, 9.0f);
    twin_fill(&w, n);
    twin_run(&w);
    const struct tensor_desc *d, *gd;
    const void *y = net_output(n, &d);
    const float *dx = net_input_gradient(n, &gd);
    for (size_t i = 0; i < B * T * C * P; i++) {
        const size_t b = i / (T * C * P), t = i / (C * P) % T, c = i / P % C, row = i % P / 12;
        const double inv = 1 / sqrt(w.var[c] + 1e-5);
        const double unit = (w.x[b][t][c][i % P] - w.mean[c]) * inv;
        const double want = inv * (w.dy[b][t][c][i % P] - w.dbeta[c] / w.n -
                                   unit * w.dgamma[c] / w.n);
        const double out = (double)tensor_get(d, y, b, t, c, row, i % 12);
        const double got = (double)tensor_get(gd, dx, b, t, c, row, i % 12);
        cr_assert(fabs(out - (counts(b, t) ? unit : 0)) < 1e-5, "output %zu: %g", i, out);
        cr_assert(fabs(got - (counts(b, t) ? want : 0)) < 1e-5, "gradient %zu: %g", i, got);
    }
    float values[4][C];
    for (size_t i = 0; i < 2; i++) net_gradient_read(n, i, values[i]);
    for (size_t i = 2; i < 4; i++) net_param_read(n, i, values[i]);
    for (size_t c = 0; c < C; c++) {
        cr_assert(fabs((double)values[0][c] - w.dgamma[c]) < 1e-3);
        cr_assert(fabs((double)values[1][c] - w.dbeta[c]) < 1e-3);
        cr_assert(fabs((double)values[2][c] - 0.1 * w.mean[c]) < 1e-6);
        cr_assert(fabs((double)values[3][c] - 0.9 - 0.1 * w.var[c] * w.n / (w.n - 1)) < 1e-6);
    }
    net_destroy(n);
}
