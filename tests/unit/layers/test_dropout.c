/* Dropout: its stream, its rate, one mask for all time-steps. */
#include "tests/unit/nets/net_fixture.h"

#include "common/philox.h"

#include <math.h>

static struct net *dropout_net(double p, size_t t, uint64_t offset, uint64_t step, bool repeat)
{
    struct layers s = { 0 };
    add_pool(&s, SPEC_MAX_POOL2D, 1); /* so that dropout is layer 1 of its stream */
    add_dropout(&s, p);
    struct net_options o = fixture_options(4, t);
    o.input.repeat = repeat;
    struct net *n = fixture_net(&s, &o);
    const struct tensor_desc *d;
    float *x = net_input_data(n, &d);
    for (size_t i = 0; i < d->elements; i++) x[i] = 1.0f;
    net_forward(n, &(struct net_step){ .samples = 4, .step = step, .sample_offset = offset,
                                       .training = true });
    return n;
}

/* Goal: the mask is the documented stream: element c + C*(x + W*y), position in the global batch,
 * step, layer number; kept values are scaled by 1/(1-p). */
Test(dropout, mask_is_the_documented_stream, .timeout = 20)
{
    const double p = 0.3;
    struct net *n = dropout_net(p, 3, 40, 9, false);
    const struct philox_key key = philox_key(5, PHILOX_DROPOUT);
    const struct tensor_desc *d;
    const void *y = net_output(n, &d);
    size_t kept = 0;
    for (size_t i = 0; i < 4 * 288; i++) {
        const size_t b = i / 288, c = i / 144 % 2, yy = i / 12 % 12, xx = i % 12;
        const float u = philox_uniform(key, c + 2 * (xx + 12 * yy), (uint32_t)(40 + b), 9, 1);
        const float want = u >= (float)p ? (float)(1.0 / (1.0 - p)) : 0.0f;
        kept += want != 0.0f;
        for (size_t t = 0; t < 3; t++)
            cr_assert_eq(tensor_get(d, y, b, t, c, yy, xx), want, "element %zu step %zu", i, t);
    }
    cr_assert(fabs((double)kept / 1152.0 - 0.7) < 0.06);
    net_destroy(n);
}

/* Goal: samples 2 and 3 of one batch have the masks of samples 0 and 1 of the next rank's. */
Test(dropout, position_in_the_global_batch_counts, .timeout = 20)
{
    struct net *a = dropout_net(0.5, 1, 0, 3, true), *b = dropout_net(0.5, 1, 2, 3, true);
    const struct tensor_desc *d;
    const void *x = net_output(a, &d), *y = net_output(b, &d);
    for (size_t i = 0; i < 2 * 288; i++)
        cr_assert_eq(tensor_get(d, x, 2 + i / 288, 0, i / 144 % 2, i / 12 % 12, i % 12),
                     tensor_get(d, y, i / 288, 0, i / 144 % 2, i / 12 % 12, i % 12));
    net_destroy(a);
    net_destroy(b);
}
