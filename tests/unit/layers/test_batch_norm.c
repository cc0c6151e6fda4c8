/* Batch norm against its definition in double. */
#include "tests/unit/nets/net_fixture.h"

#include <math.h>

static double input_at(size_t b, size_t t, size_t i)
{
    return (double)(float)fixture_number((b * 64 + t) * 4096 + i);
}

/* Goal: statistics run over T*B*H*W of the valid samples, the running variance uses n/(n-1) of all
 * T also for a repeated frame, and momentum moves both. */
Test(batch_norm, running_statistics_follow_the_definition, .timeout = 20)
{
    for (int repeat = 0; repeat < 2; repeat++) {
        struct layers s = { 0 };
        add_norm(&s);
        add_linear(&s, 1, false);
        s.n = 1;
        struct net_options o = fixture_options(4, 3);
        o.input.repeat = repeat;
        o.shards = 2;
        struct net *n = fixture_net(&s, &o);
        fixture_input(n, 0);
        net_forward(n, &(struct net_step){ .samples = 3, .training = true });
        float mean[2], var[2];
        net_param_read(n, 2, mean);
        net_param_read(n, 3, var);
        for (size_t c = 0; c < 2; c++) {
            const size_t steps = repeat ? 1 : 3, stored = 3 * steps * 144;
            double sum = 0.0, square = 0.0;
            for (size_t b = 0; b < 3; b++)
                for (size_t t = 0; t < steps; t++)
                    for (size_t i = 0; i < 144; i++) sum += input_at(b, t, c * 144 + i);
            const double m = sum / (double)stored;
            for (size_t b = 0; b < 3; b++)
                for (size_t t = 0; t < steps; t++)
                    for (size_t i = 0; i < 144; i++) {
                        const double d = input_at(b, t, c * 144 + i) - m;
                        square += d * d;
                    }
            const double count = 3.0 * 3.0 * 144.0; /* T*B*H*W in both cases */
            const double v = square / (double)stored * count / (count - 1.0);
            cr_assert_float_eq(mean[c], 0.1 * m, 1e-7);
            cr_assert_float_eq(var[c], 0.9 + 0.1 * v, 1e-6);
        }
        net_destroy(n);
    }
}

/* Goal: normalised outputs have mean 0 and variance 1, and weight and bias act on them. */
Test(batch_norm, output_is_normalised, .timeout = 20)
{
    struct layers s = { 0 };
    add_norm(&s);
    const struct net_options o = fixture_options(4, 3);
    struct net *n = fixture_net(&s, &o);
    net_param_write(n, 0, (float[2]){ 2.0f, -0.5f });
    net_param_write(n, 1, (float[2]){ 0.25f, 3.0f });
    fixture_input(n, 0);
    net_forward(n, &(struct net_step){ .samples = 4, .training = true });
    const struct tensor_desc *d;
    const void *y = net_output(n, &d);
    static const double gamma[2] = { 2.0, -0.5 }, beta[2] = { 0.25, 3.0 };
    for (size_t c = 0; c < 2; c++) {
        double sum = 0.0, square = 0.0;
        for (size_t i = 0; i < 4 * 3 * 144; i++) {
            const double v =
                (double)tensor_get(d, y, i / 432, i / 144 % 3, c, i % 144 / 12, i % 12);
            sum += v;
            square += v * v;
        }
        const double mean = sum / 1728.0;
        cr_assert_float_eq(mean, beta[c], 1e-6);
        cr_assert_float_eq(square / 1728.0 - mean * mean, gamma[c] * gamma[c], 2e-4);
    }
    net_destroy(n);
}
