/* The dense path: convolutions and linear layers that are fed by spikes expand them to floats
 * first. That changes no bit (design 5.7). */
#include "tests/unit/nets/spec_nets.h"
#include "worker/kernels/kernel_trace.h"

static void same_parameter(struct net *a, struct net *b, size_t i)
{
    const size_t n = net_param(a, i)->logical;
    float *x = mem_calloc(n, sizeof x[0]), *y = mem_calloc(n, sizeof y[0]);
    cr_assert(x != NULL && y != NULL);
    if (net_param(a, i)->role == NET_BUFFER) {
        net_param_read(a, i, x);
        net_param_read(b, i, y);
    } else {
        net_gradient_read(a, i, x);
        net_gradient_read(b, i, y);
    }
    cr_expect_eq(memcmp(x, y, n * sizeof x[0]), 0, "%s", net_param(a, i)->name);
    mem_free(x);
    mem_free(y);
}

/* Goal: outputs, gradients and statistics have equal bits on both paths, from spikes, from counts,
 * with factors of dropout and pooling, in spans too; and no product of a convolution or linear
 * layer reads spikes on the dense one. */
Test(dense_path, exact_numerics_have_equal_bits, .timeout = 60)
{
    for (size_t i = 0; i < SPEC_NET_LAYERS * 2; i++) {
        char *text = mem_printf("\"layers\":[%s],\"neuron\":{\"v_threshold\":0.4}",
                                spec_net_layers[i / 2]);
        struct spec s = spec_net(text);
        struct net_options o = fixture_options(3, 4);
        struct kernel_trace trace = { 0 };
        o.input.bits = true;
        o.span_steps = i % 2;
        struct net *a = spec_net_start(&s, &o);
        o.path = KERNEL_PATH_DENSE;
        o.trace = &trace;
        struct net *b = spec_net_start(&s, &o);
        const struct net_step step = fixture_step(3);
        for (int k = 0; k < 2; k++) {
            fixture_run(a, &step);
            fixture_run(b, &step);
        }
        same_outputs(a, b);
        for (size_t k = 0; k < net_param_count(a); k++) same_parameter(a, b, k);
        static const size_t fed[] = { KERNEL_conv_forward_bits, KERNEL_conv_forward_counts,
                                      KERNEL_conv_backward_weights_bits,
                                      KERNEL_linear_forward_bits, KERNEL_linear_forward_counts };
        const bool joins = strstr(text, "recurrent") != NULL; /* which take what they get */
        for (size_t k = 0; !joins && k < sizeof fed / sizeof fed[0]; k++)
            cr_expect_eq(trace.calls[fed[k]], 0, "%s", kernel_name(fed[k]));
        net_destroy(a);
        net_destroy(b);
        spec_deinit(&s);
        mem_free(text);
    }
}
