/* Nets in which no output can differ between time-steps, to their very end. */
#include "tests/unit/nets/net_fixture.h"

/* Goal: a static net that ends flattened hands the loss's gradient of feature j to the pixel that
 * PyTorch calls j. */
Test(static_net, ends_flattened, .timeout = 10)
{
    struct layers s = { 0 };
    layers_add(&s, SPEC_FLATTEN);
    struct net_options o = fixture_options(2, 3);
    o.input.repeat = o.input_gradient = true;
    struct net *n = fixture_net(&s, &o);
    const struct net_step step = fixture_step(2);
    const struct tensor_desc *d;
    fixture_run(n, &step);
    const float *up = net_output_gradient(n, &d);
    float want[288];
    for (size_t j = 0; j < 288; j++) {
        want[j] = 0.0f;
        for (size_t t = 0; t < 3; t++) want[j] += tensor_get(d, up, 1, t, j, 0, 0);
    }
    const float *dx = net_input_gradient(n, &d);
    for (size_t j = 0; j < 288; j++)
        cr_assert_eq(tensor_get(d, dx, 1, 0, j / 144, j / 12 % 12, j % 12), want[j], "%zu", j);
    net_destroy(n);
}
