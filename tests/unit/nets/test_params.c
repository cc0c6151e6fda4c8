/* Parameters of nets: names, PyTorch's order, initial values. */
#include "tests/unit/nets/net_fixture.h"

#include <math.h>

/* Goal: names, shapes and order are PyTorch's. */
Test(params, names_and_shapes_are_pytorchs)
{
    static const char *const want[] = {
        "0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var", "2.w",
        "4.weight", "4.bias", "5.weight", "5.bias", "5.running_mean", "5.running_var",
        "6.weight", "6.bias", "10.weight", "10.bias", "12.weight",
    };
    const struct layers s = whole_net();
    const struct net_options o = fixture_options(2, 4);
    struct net *n = fixture_net(&s, &o);
    cr_assert_eq(net_param_count(n), sizeof want / sizeof want[0]);
    for (size_t i = 0; i < net_param_count(n); i++)
        cr_assert_str_eq(net_param(n, i)->name, want[i]);
    const struct net_param *conv = net_param(n, 6), *w = net_param(n, 5), *fc = net_param(n, 14);
    cr_assert(conv->n_dims == 4 && conv->dims[0] == 33 && conv->dims[1] == 20 &&
              conv->dims[3] == 3);
    cr_assert(w->n_dims == 0 && w->logical == 1);
    cr_assert(fc->n_dims == 2 && fc->dims[0] == 40 && fc->dims[1] == 33 * 9);
    net_destroy(n);
}

/* Goal: what is written in PyTorch's order is read back the same, through every packing. */
Test(params, write_and_read_are_inverse)
{
    const struct layers s = whole_net();
    const struct net_options o = fixture_options(2, 4);
    struct net *n = fixture_net(&s, &o);
    for (size_t i = 0; i < net_param_count(n); i++) {
        const size_t size = net_param(n, i)->logical;
        float *in = calloc(size, sizeof in[0]), *out = calloc(size, sizeof out[0]);
        for (size_t k = 0; k < size; k++) in[k] = (float)(i * 100000 + k);
        net_param_write(n, i, in);
        net_param_read(n, i, out);
        cr_assert_eq(memcmp(in, out, size * sizeof in[0]), 0, "%s", net_param(n, i)->name);
        free(in);
        free(out);
    }
    net_destroy(n);
}

/* Goal: a linear layer after flatten numbers its inputs as PyTorch does: c, then y, then x. */
Test(params, linear_after_flatten_counts_like_pytorch)
{
    for (int bits = 0; bits < 2; bits++) {
        struct layers s = { 0 };
        layers_add(&s, SPEC_FLATTEN);
        add_linear(&s, 1, false);
        struct net_options o = fixture_options(1, 1);
        o.input.bits = bits;
        struct net *n = fixture_net(&s, &o);
        float *w = calloc(288, sizeof w[0]);
        w[1 * 144 + 5 * 12 + 7] = 1.0f; /* c 1, y 5, x 7 */
        net_param_write(n, 0, w);
        fixture_input(n, 0);
        const struct tensor_desc *d;
        void *x = net_input_data(n, &d);
        tensor_set(d, x, 0, 0, 1, 5, 7, 1.0f);
        net_forward(n, &(struct net_step){ .samples = 1, .training = false });
        const void *y = net_output(n, &d);
        cr_assert_float_eq(tensor_get(d, y, 0, 0, 0, 0, 0), 1.0f, 0.0f);
        free(w);
        net_destroy(n);
    }
}

/* Goal: initial values are PyTorch's distributions, differ between parameters and seeds, and are
 * the same on every run. */
Test(params, initial_values_follow_the_seed)
{
    const struct layers s = whole_net();
    struct net_options o = fixture_options(2, 4);
    struct net *a = fixture_net(&s, &o), *b = fixture_net(&s, &o);
    o.seed++;
    struct net *c = fixture_net(&s, &o);
    size_t floats;
    const float *x = net_weights(a, &floats);
    cr_assert_eq(memcmp(x, net_weights(b, &floats), floats * sizeof x[0]), 0);
    cr_assert_neq(memcmp(x, net_weights(c, &floats), floats * sizeof x[0]), 0);
    float *conv = calloc(33 * 20 * 9, sizeof conv[0]), first[20 * 2 * 9], psn[16], bias[4], w;
    net_param_read(a, 6, conv);
    const float bound = 1.0f / sqrtf(20.0f * 9.0f);
    double sum = 0.0, square = 0.0;
    for (size_t i = 0; i < 33 * 180; i++) {
        cr_assert(fabsf(conv[i]) <= bound);
        sum += (double)conv[i];
        square += (double)conv[i] * (double)conv[i];
    }
    cr_assert(fabs(sum / 5940.0) < 0.02 * (double)bound);
    cr_assert(fabs(square / 5940.0 / ((double)bound * (double)bound / 3.0) - 1.0) < 0.05);
    net_param_read(a, 0, first);
    cr_assert_neq(memcmp(first, conv, 16), 0);
    net_param_read(a, 12, psn);
    for (size_t i = 0; i < 16; i++) cr_assert(fabsf(psn[i]) <= 0.5f);
    net_param_read(a, 13, bias);
    for (size_t i = 0; i < 4; i++) cr_assert_eq(bias[i], -1.0f);
    net_param_read(a, 5, &w);
    cr_assert_eq(w, 0.0f);
    free(conv);
    net_destroy(a);
    net_destroy(b);
    net_destroy(c);
}

/* ---- first weights of every kind --------------------------------------------------------------
 */
struct moments {
    double mean, variance, fourth; /* the fourth over variance^2: 1.8 uniform, 3 normal */
};

static struct moments moments_of(const struct net *n, size_t param)
{
    const size_t count = net_param(n, param)->logical;
    float *w = calloc(count, sizeof w[0]);
    struct moments m = { 0 };
    net_param_read(n, param, w);
    for (size_t i = 0; i < count; i++) m.mean += (double)w[i] / (double)count;
    for (size_t i = 0; i < count; i++) {
        const double d = (double)w[i] - m.mean;
        m.variance += d * d / (double)count;
        m.fourth += d * d * d * d / (double)count;
    }
    m.fourth /= m.variance * m.variance;
    free(w);
    return m;
}

static void expect_moments(struct moments m, double variance, double fourth)
{
    cr_expect_lt(fabs(m.mean), 0.03 * sqrt(variance), "mean %g", m.mean);
    cr_expect_lt(fabs(m.variance / variance - 1.0), 0.05, "variance %g, not %g", m.variance,
                 variance);
    cr_expect_lt(fabs(m.fourth / fourth - 1.0), 0.1, "fourth moment %g, not %g", m.fourth, fourth);
}

/* A layer of each kind behind 12 channels; fan out by PyTorch's rule: the weight's first size times
 * the taps. */
static struct layers of_each_kind(enum spec_init init)
{
    struct layers s = { 0 };
    add_conv(&s, 128, 3, 1, true);
    s.l[0].u.conv2d.groups = 2;
    s.l[0].u.conv2d.init = init;
    layers_add(&s, SPEC_CONV_TRANSPOSE2D)->u.conv_transpose2d =
        (struct spec_conv_transpose2d){ .out_channels = 24,
                                        .kernel_size = { 2, 2 },
                                        .stride = { 2, 2 },
                                        .dilation = { 1, 1 },
                                        .groups = 1,
                                        .bias = true,
                                        .init = (int)init };
    add_adaptive(&s, 1, 24);
    layers_add(&s, SPEC_CONV1D)->u.conv1d = (struct spec_conv1d){ .out_channels = 160,
                                                                  .kernel_size = 5,
                                                                  .stride = 1,
                                                                  .dilation = 1,
                                                                  .groups = 1,
                                                                  .bias = true,
                                                                  .init = (int)init };
    layers_add(&s, SPEC_FLATTEN);
    add_linear(&s, 20, true);
    s.l[5].u.linear.init = init;
    return s;
}

/* Goal: weights and biases have mean, variance and kind of distribution of their `init`. */
Test(params, first_weights_have_the_moments_of_their_init, .timeout = 30)
{
    static const double fan_in[] = { 12.0 / 2 * 9, 24.0 * 4, 24.0 * 5, 160.0 * 20 };
    static const double fan_out[] = { 128.0 * 9, 128.0 * 4, 160.0 * 5, 20.0 };
    for (int init = SPEC_INIT_UNIFORM; init <= SPEC_INIT_SMALL_NORMAL; init++) {
        const struct layers s = of_each_kind((enum spec_init)init);
        struct net_options o = fixture_options(1, 1);
        o.input.c = 12;
        struct net *n = fixture_net(&s, &o);
        for (size_t i = 0; i < 4; i++) {
            const bool uniform = init == SPEC_INIT_UNIFORM;
            const double normal = init == SPEC_INIT_SMALL_NORMAL ? 1e-4 : 2.0 / fan_out[i];
            expect_moments(moments_of(n, 2 * i), uniform ? 1.0 / (3.0 * fan_in[i]) : normal,
                           uniform ? 1.8 : 3.0);
            cr_expect_eq(moments_of(n, 2 * i + 1).variance > 0, uniform, "bias of layer %zu", i);
        }
        net_destroy(n);
    }
}
