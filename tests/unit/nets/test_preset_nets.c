/* Presets as nets: what the plan says of them at full size, and a training step of small ones. */
#include "tests/unit/nets/net_fixture.h"

#include <math.h>

static struct spec preset(const char *network)
{
    static struct json_faults faults;
    struct spec s = { 0 };
    struct err e = { 0 };
    char *text = mem_printf("{\"version\":1,\"dataset\":{\"name\":\"x\"},\"network\":{%s}}",
                            network);
    cr_assert_eq(spec_parse_text(text, strlen(text), &s, &faults, &e), 0, "%s: %s", network,
                 faults.items[0].detail);
    mem_free(text);
    return s;
}

/* Goal: the plan at the papers' sizes has the published parameters, and the direct encoding makes
 * the first convolution and its batch norm static. */
Test(preset_nets, plans_of_full_size, .timeout = 30)
{
    static const struct {
        const char *network;
        struct net_input in;
        size_t parameters;
    } cases[] = {
        { "\"preset\":\"sew_resnet\",\"classes\":1000", { 1, 4, 3, 224, 224, true, false },
          11689512 },
        { "\"preset\":\"spiking_resnet\",\"depth\":152,\"classes\":1000",
          { 1, 4, 3, 224, 224, true, false }, 60192808 },
        { "\"preset\":\"spiking_vgg\",\"depth\":16,\"classes\":1000",
          { 1, 4, 3, 224, 224, true, false }, 138365992 },
        { "\"preset\":\"plif_cifar10\",\"classes\":10", { 1, 8, 3, 32, 32, true, false },
          36720492 },
        { "\"preset\":\"sew_7b\",\"classes\":11", { 1, 16, 2, 128, 128, false, false }, 130426 },
        { "\"preset\":\"psn_sequential_cifar\",\"classes\":10", { 1, 32, 3, 1, 32, false, false },
          520810 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec s = preset(cases[i].network);
        const struct net_options o = { .input = cases[i].in, .training = true, .shards = 1,
                                       .threads = 2, .isa = fixture_isa() };
        struct net *n = NULL;
        struct err e = { 0 };
        cr_assert_eq(net_build(&n, s.layers, s.n_layers, 0, &o, &e), 0, "%s", e.text);
        cr_expect_eq(net_plan(n)->parameters, cases[i].parameters, "%s", cases[i].network);
        for (size_t k = 0; k < 3; k++) {
            struct net_node_info info;
            net_node(n, k, &info);
            cr_expect_eq(info.repeat, cases[i].in.repeat && k < 2, "%s, node %zu",
                         cases[i].network, k);
        }
        net_destroy(n);
        spec_deinit(&s);
    }
}

/* Goal: narrow presets train: a step gives finite gradients, not all zero, in every shape. */
Test(preset_nets, narrow_ones_train, .timeout = 60)
{
    static const struct {
        const char *network;
        struct net_input in;
    } cases[] = {
        { "\"preset\":\"sew_resnet\",\"width\":4,\"stem\":\"cifar\",\"classes\":5,\"neuron\":"
          "{\"v_threshold\":0.3}", { 2, 4, 3, 32, 32, true, false } },
        { "\"preset\":\"sew_resnet\",\"depth\":50,\"width\":4,\"connect\":\"iand\",\"classes\":5,"
          "\"neuron\":{\"v_threshold\":0.3}", { 2, 4, 3, 64, 64, true, false } },
        { "\"preset\":\"spiking_resnet\",\"width\":4,\"stem\":\"cifar\",\"classes\":5,\"neuron\":"
          "{\"v_threshold\":0.3}", { 2, 4, 3, 32, 32, true, false } },
        { "\"preset\":\"plif_nmnist\",\"width\":4,\"classes\":5,\"neuron\":{\"v_threshold\":0.3}",
          { 2, 4, 2, 34, 34, false, false } },
        { "\"preset\":\"wide_7b\",\"width\":4,\"classes\":5,\"neuron\":{\"v_threshold\":0.3}",
          { 2, 3, 2, 128, 128, false, false } },
        { "\"preset\":\"psn_sequential_cifar\",\"width\":8,\"classes\":5",
          { 2, 32, 3, 1, 32, false, false } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec s = preset(cases[i].network);
        const struct net_options o = { .input = cases[i].in, .training = true, .shards = 2,
                                       .threads = 2, .isa = fixture_isa(), .seed = 3 };
        struct net *n = NULL;
        struct err e = { 0 };
        cr_assert_eq(net_build(&n, s.layers, s.n_layers, 5, &o, &e), 0, "%s", e.text);
        cr_assert_eq(net_start(n, &e), 0, "%s", e.text);
        const struct net_step step = { .samples = 2, .training = true };
        fixture_input(n, 0);
        net_forward(n, &step);
        fixture_upstream(n, 0, 2);
        net_backward(n, &step);
        size_t floats;
        double squares = 0;
        (void)net_gradients(n, &floats);
        cr_expect(f32_sum_squares(net_kernel_ctx(n), net_gradients(n, &floats), floats, &squares));
        cr_expect_gt(net_grad_norm(n, 0), 0, "%s: nothing reaches the first layer",
                     cases[i].network);
        cr_expect_gt(squares, 0);
        net_destroy(n);
        spec_deinit(&s);
    }
}
