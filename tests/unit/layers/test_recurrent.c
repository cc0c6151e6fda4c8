/* The recurrent connection against a twin in double: spikes, and gradients back through time of
 * input, weights and time constant; the twin itself against finite differences, with the spike
 * replaced by the primitive of its surrogate. */
#include "tests/unit/nets/spec_nets.h"

#include <math.h>

enum { B = 4, T = 5, N = 19 }; /* features; an image is N channels of one pixel */

/* LIF or PLIF with decay_input and hard reset to 0, atan with alpha 2. */
struct twin {
    double x[T][B][N], up[T][B][N];
    double w[N][2 * N], bias[N], tau_w; /* a = sigmoid(tau_w) */
    bool element_wise, detach, smooth;  /* smooth: s = G(h - theta) */
    double theta;
    double h[T][B][N], v[T][B][N], s[T][B][N]; /* v: after the step */
    double dx[T][B][N], dw[N][2 * N], dbias[N], dtau_w;
};

static double decay(const struct twin *m)
{
    return 1.0 / (1.0 + exp(-m->tau_w));
}

static double before(const double a[T][B][N], size_t t, size_t b, size_t n)
{
    return t > 0 ? a[t - 1][b][n] : 0.0;
}

static double current(const struct twin *m, size_t t, size_t b, size_t n)
{
    if (m->element_wise) return m->x[t][b][n] + before(m->s, t, b, n);
    double i = m->bias[n];
    for (size_t j = 0; j < N; j++)
        i += m->w[n][j] * m->x[t][b][j] + m->w[n][N + j] * before(m->s, t, b, j);
    return i;
}

/* The loss: sum of up * s. */
static double forward(struct twin *m)
{
    double loss = 0.0;
    for (size_t t = 0; t < T; t++)
        for (size_t b = 0; b < B; b++)
            for (size_t n = 0; n < N; n++) {
                const double v = before(m->v, t, b, n);
                const double h = v + (current(m, t, b, n) - v) * decay(m);
                const double u = h - m->theta;
                const double s = m->smooth ? atan(M_PI * u) / M_PI + 0.5 : u >= 0;
                m->h[t][b][n] = h;
                m->s[t][b][n] = s;
                m->v[t][b][n] = (1.0 - s) * h;
                loss += m->up[t][b][n] * s;
            }
    return loss;
}

static void backward(struct twin *m)
{
    static double ds[T][B][N], dv[B][N];
    const double a = decay(m);
    memcpy(ds, m->up, sizeof ds);
    memset(dv, 0, sizeof dv);
    memset(m->dw, 0, sizeof m->dw);
    memset(m->dbias, 0, sizeof m->dbias);
    m->dtau_w = 0.0;
    for (size_t t = T; t-- > 0;)
        for (size_t b = 0; b < B; b++) {
            double di[N];
            for (size_t n = 0; n < N; n++) {
                const double h = m->h[t][b][n], u = h - m->theta, s = m->s[t][b][n];
                const double g = 1.0 / (1.0 + M_PI * u * M_PI * u);
                const double dh = (ds[t][b][n] - (m->detach ? 0.0 : dv[b][n] * h)) * g +
                                  dv[b][n] * (1.0 - s);
                const double i = current(m, t, b, n), v = before(m->v, t, b, n);
                m->dtau_w += dh * (i - v) * a * (1.0 - a);
                di[n] = dh * a;
                dv[b][n] = dh * (1.0 - a);
            }
            for (size_t n = 0; n < N; n++) {
                if (m->element_wise) {
                    m->dx[t][b][n] = di[n];
                    if (t > 0) ds[t - 1][b][n] += di[n];
                    continue;
                }
                m->dx[t][b][n] = 0.0;
                m->dbias[n] += di[n];
                for (size_t j = 0; j < N; j++) {
                    m->dx[t][b][n] += m->w[j][n] * di[j];
                    m->dw[n][j] += di[n] * m->x[t][b][j];
                    m->dw[n][N + j] += di[n] * before(m->s, t, b, j);
                    if (t > 0) ds[t - 1][b][n] += m->w[j][N + n] * di[j];
                }
            }
        }
}

static struct twin *twin_make(bool element_wise, bool repeat)
{
    struct twin *m = calloc(1, sizeof *m);
    m->element_wise = element_wise;
    m->theta = 0.4;
    for (size_t i = 0; i < T * B * N; i++) {
        const size_t frame = repeat ? i % (B * N) : i;
        (&m->x[0][0][0])[i] = (double)(float)(fixture_number(frame) + 0.3);
        (&m->up[0][0][0])[i] = (double)(float)fixture_number(70000 + i);
    }
    for (size_t i = 0; i < N * 2 * N; i++)
        (&m->w[0][0])[i] = (double)(float)(0.5 * fixture_number(300 + i));
    for (size_t i = 0; i < N; i++) m->bias[i] = (double)(float)(0.2 * fixture_number(9000 + i));
    m->tau_w = (double)0.25f;
    return m;
}

/* ---- the twin -------------------------------------------------------------------------------- */
static void expect_slope(struct twin *m, double *value, double gradient)
{
    const double old = *value, eps = 1e-6;
    *value = old + eps;
    const double up = forward(m);
    *value = old - eps;
    const double down = forward(m);
    *value = old;
    cr_assert_float_eq((up - down) / (2.0 * eps), gradient, 1e-6 * (1.0 + fabs(gradient)));
}

/* Goal: the gradients of the twin are slopes of its loss. */
Test(recurrent, twin_has_the_slopes_of_its_loss, .timeout = 30)
{
    for (int element_wise = 0; element_wise < 2; element_wise++) {
        struct twin *m = twin_make(element_wise, false);
        m->smooth = true;
        (void)forward(m);
        backward(m);
        for (size_t i = 0; i < T * B * N; i += 7)
            expect_slope(m, &(&m->x[0][0][0])[i], (&m->dx[0][0][0])[i]);
        for (size_t i = 0; i < N * 2 * N; i += 5)
            expect_slope(m, &(&m->w[0][0])[i], (&m->dw[0][0])[i]);
        for (size_t i = 0; i < N; i++) expect_slope(m, &m->bias[i], m->dbias[i]);
        expect_slope(m, &m->tau_w, m->dtau_w);
        free(m);
    }
}

/* ---- the engine ------------------------------------------------------------------------------ */
struct run {
    bool element_wise, detach, repeat;
    size_t shards, threads;
};

static struct net *engine(struct spec *s, const struct run *r)
{
    struct net_options o = {
        .input = { .b = B, .t = T, .c = N, .h = 1, .w = 1, .repeat = r->repeat },
        .training = true,
        .shards = r->shards,
        .threads = r->threads,
        .exact = true,
        .input_gradient = true,
        .isa = fixture_isa(),
        .seed = 5
    };
    char *text = mem_printf("\"layers\":[{\"type\":\"recurrent\",\"connect\":\"%s\",\"neuron\":"
                            "{\"model\":\"plif\",\"v_threshold\":0.4,\"detach_reset\":%s}}]",
                            r->element_wise ? "element_wise" : "all_to_all",
                            r->detach ? "true" : "false");
    *s = spec_net(text);
    mem_free(text);
    return spec_net_start(s, &o);
}

static size_t param_named(const struct net *n, const char *name)
{
    for (size_t i = 0; i < net_param_count(n); i++)
        if (strcmp(net_param(n, i)->name, name) == 0) return i;
    cr_assert_fail("no %s", name);
    return 0;
}

static void write_param(struct net *n, const char *name, const double *values)
{
    const size_t i = param_named(n, name), count = net_param(n, i)->logical;
    float *w = calloc(count, sizeof w[0]);
    for (size_t k = 0; k < count; k++) w[k] = (float)values[k];
    net_param_write(n, i, w);
    free(w);
}

static void expect_gradient(const struct net *n, const char *name, const double *want)
{
    const size_t i = param_named(n, name), count = net_param(n, i)->logical;
    float *g = calloc(count, sizeof g[0]);
    net_gradient_read(n, i, g);
    for (size_t k = 0; k < count; k++)
        cr_assert_float_eq((double)g[k], want[k], 2e-5 * (1.0 + fabs(want[k])), "%s[%zu]", name, k);
    free(g);
}

static void run(struct net *n, const struct twin *m)
{
    const struct tensor_desc *d, *gd;
    void *x = net_input_data(n, &d);
    const struct net_step step = fixture_step(B);
    write_param(n, "0.sub_module.w", &m->tau_w);
    if (!m->element_wise) write_param(n, "0.rc.weight", &m->w[0][0]);
    if (!m->element_wise) write_param(n, "0.rc.bias", m->bias);
    for (size_t t = 0; t < d->t_stored; t++)
        for (size_t i = 0; i < B * N; i++)
            tensor_set(d, x, i / N, t, i % N, 0, 0, (float)m->x[t][i / N][i % N]);
    net_forward(n, &step);
    float *g = net_output_gradient(n, &gd);
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < B * N; i++)
            tensor_set(gd, g, i / N, t, i % N, 0, 0, (float)m->up[t][i / N][i % N]);
    net_backward(n, &step);
}

/* Goal: spikes are the twin's, and all gradients, over shards and of a repeated frame. */
Test(recurrent, engine_agrees_with_the_twin, .timeout = 60)
{
    for (int k = 0; k < 16; k++) {
        const struct run r = { .element_wise = k & 1,
                               .detach = k & 2,
                               .repeat = k & 4,
                               .shards = k & 8 ? 2 : 1,
                               .threads = 2 };
        struct twin *m = twin_make(r.element_wise, r.repeat);
        struct spec s;
        struct net *n = engine(&s, &r);
        const struct tensor_desc *d;
        size_t spikes = 0;
        m->detach = r.detach;
        (void)forward(m);
        backward(m);
        run(n, m);
        const void *y = net_output(n, &d);
        for (size_t i = 0; i < T * B * N; i++) {
            const size_t t = i / (B * N), b = i / N % B, c = i % N;
            cr_assert_eq(tensor_get(d, y, b, t, c, 0, 0), (float)m->s[t][b][c]);
            spikes += m->s[t][b][c] > 0;
        }
        cr_assert(spikes > T * B * N / 10 && spikes < T * B * N * 9 / 10, "%zu spikes", spikes);
        const float *dx = net_input_gradient(n, &d);
        for (size_t i = 0; i < d->t_stored * B * N; i++) {
            const size_t b = i / N % B, c = i % N;
            double want = 0.0;
            for (size_t t = r.repeat ? 0 : i / (B * N); t < (r.repeat ? T : i / (B * N) + 1); t++)
                want += m->dx[t][b][c];
            const double got = (double)tensor_get(d, dx, b, i / (B * N), c, 0, 0);
            cr_assert_float_eq(got, want, 2e-5 * (1.0 + fabs(want)), "dx[%zu] %g %g", i, got, want);
        }
        expect_gradient(n, "0.sub_module.w", &m->dtau_w);
        if (!r.element_wise) expect_gradient(n, "0.rc.weight", &m->dw[0][0]);
        if (!r.element_wise) expect_gradient(n, "0.rc.bias", m->dbias);
        net_destroy(n);
        spec_deinit(&s);
        free(m);
    }
}

/* Goal: the bits do not depend on the number of threads. */
Test(recurrent, threads_change_no_bit, .timeout = 30)
{
    for (int element_wise = 0; element_wise < 2; element_wise++) {
        struct run r = { .element_wise = element_wise, .shards = 2, .threads = 1 };
        struct twin *m = twin_make(element_wise, false);
        struct spec sa, sb;
        struct net *a = engine(&sa, &r);
        r.threads = 3;
        struct net *b = engine(&sb, &r);
        run(a, m);
        run(b, m);
        same_outputs(a, b);
        same_weight_gradients(a, b);
        net_destroy(a);
        net_destroy(b);
        spec_deinit(&sa);
        spec_deinit(&sb);
        free(m);
    }
}

/* Goal: it works between other layers, behind a flattened image and each neuron of an image to
 * itself, and shapes and names are those of a linear recurrent container in PyTorch. */
Test(recurrent, in_a_network, .timeout = 30)
{
    struct spec s = spec_net(
        "\"neuron\":{\"v_threshold\":0.4},\"layers\":[{\"type\":\"conv2d\",\"out_channels\":18,"
        "\"kernel_size\":3,\"padding\":1},{\"type\":\"recurrent\",\"connect\":\"element_wise\"},"
        "{\"type\":\"avg_pool2d\",\"kernel_size\":4},{\"type\":\"flatten\"},"
        "{\"type\":\"recurrent\"},{\"type\":\"linear\",\"out_features\":7}]");
    const struct net_options o = fixture_options(3, 4);
    struct net *n = spec_net_start(&s, &o);
    const struct net_step step = fixture_step(3);
    fixture_run(n, &step);
    const struct net_param *w = net_param(n, param_named(n, "4.rc.weight"));
    cr_expect(w->n_dims == 2 && w->dims[0] == 162 && w->dims[1] == 324);
    cr_expect_gt(net_grad_norm(n, 0), 0);
    cr_expect_gt(net_grad_norm(n, (size_t)net_node_find(n, "4.rc")), 0);
    cr_expect_eq(net_arena_high_water(n), net_plan(n)->total_bytes);
    float *values = calloc(w->logical, sizeof values[0]), *again = calloc(w->logical, 4);
    for (size_t i = 0; i < w->logical; i++) values[i] = (float)i;
    net_param_write(n, param_named(n, "4.rc.weight"), values);
    net_param_read(n, param_named(n, "4.rc.weight"), again);
    cr_expect_eq(memcmp(values, again, w->logical * sizeof values[0]), 0);
    free(values);
    free(again);
    net_destroy(n);
    spec_deinit(&s);
}
