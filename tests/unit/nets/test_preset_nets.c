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

static struct net *narrow(struct spec *s, const char *network)
{
    *s = preset(network);
    const struct net_options o = { .input = { 2, 4, 3, 32, 32, true, false },
                                   .shards = 1,
                                   .threads = 2,
                                   .isa = fixture_isa(),
                                   .seed = 3 };
    struct net *n = NULL;
    struct err e = { 0 };
    cr_assert_eq(net_build(&n, s->layers, s->n_layers, 5, &o, &e), 0, "%s", e.text);
    cr_assert_eq(net_start(n, &e), 0, "%s", e.text);
    return n;
}

/* All values of a parameter are this one. */
static bool all_are(const struct net *n, const char *name, float value)
{
    bool same = true, found = false;
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        if (strcmp(p->name, name) != 0) continue;
        float *w = mem_calloc(p->logical, sizeof w[0]);
        net_param_read(n, i, w);
        for (size_t k = 0; k < p->logical; k++) same = same && w[k] == value;
        mem_free(w);
        found = true;
    }
    cr_assert(found, "%s", name);
    return same;
}

#define SMALL "\"width\":8,\"stem\":\"cifar\",\"classes\":5"

/* Goal: residual networks begin as the classes do: normal convolutions of variance 2 / fan out,
 * batch norm 1 and 0, a linear layer with PyTorch's own; the last norm of a block is 0 on demand.
 */
Test(preset_nets, first_weights_are_those_of_the_classes, .timeout = 30)
{
    static const char *const networks[] = {
        "\"preset\":\"sew_resnet\"," SMALL,
        "\"preset\":\"spiking_resnet\",\"zero_init_residual\":true," SMALL,
        "\"preset\":\"sew_resnet\",\"zero_init_residual\":true,\"connect\":\"and\"," SMALL,
    };
    for (size_t i = 0; i < 3; i++) {
        struct spec s;
        struct net *n = narrow(&s, networks[i]);
        for (size_t k = 0; k < net_param_count(n); k++) {
            const struct net_param *p = net_param(n, k);
            if (p->logical < 4096) continue;
            float *w = mem_calloc(p->logical, sizeof w[0]);
            double square = 0.0;
            net_param_read(n, k, w);
            for (size_t j = 0; j < p->logical; j++) square += (double)w[j] * (double)w[j];
            const double fan_out = (double)(p->dims[0] * p->dims[2] * p->dims[3]);
            cr_expect_lt(fabs(square / (double)p->logical * fan_out / 2.0 - 1.0), 0.1, "%s",
                         p->name);
            mem_free(w);
        }
        cr_expect(all_are(n, "layer2.0.bn1.weight", 1.0f) && all_are(n, "bn1.bias", 0.0f));
        cr_expect(all_are(n, "layer2.0.downsample.1.weight", 1.0f));
        cr_expect(all_are(n, "layer2.0.bn2.weight", i == 0 ? 1.0f : 0.0f));
        cr_expect(all_are(n, "layer2.0.bn2.bias", i == 2 ? 1.0f : 0.0f));
        cr_expect_not(all_are(n, "fc.bias", 0.0f));
        net_destroy(n);
        spec_deinit(&s);
    }
}

/* Goal: a SEW block with zero_init gives what its shortcut gives, whatever the connection. */
Test(preset_nets, blocks_begin_as_their_shortcut, .timeout = 30)
{
    static const char *const connections[] = { "add", "and", "iand" };
    for (size_t i = 0; i < 3; i++) {
        struct spec s;
        char *network = mem_printf("\"preset\":\"sew_resnet\",\"zero_init_residual\":true,"
                                   "\"connect\":\"%s\"," SMALL,
                                   connections[i]);
        struct net *n = narrow(&s, network);
        fixture_input(n, 0);
        net_forward(n, &(struct net_step){ .samples = 2 });
        const struct tensor_desc *xd, *yd;
        const void *x = net_node_output(n, (size_t)net_node_find(n, "sn1"), &xd);
        const void *y = net_node_output(n, (size_t)net_node_find(n, "layer1.1"), &yd);
        size_t spikes = 0;
        for (size_t k = 0; k < 2 * 4 * 8 * 32 * 32; k++) {
            const size_t b = k >> 15, t = k >> 13 & 3, c = k >> 10 & 7, h = k >> 5 & 31, w = k & 31;
            const float spike = tensor_get(xd, x, b, t, c, h, w);
            cr_assert_eq(tensor_get(yd, y, b, t, c, h, w), spike, "%s", network);
            spikes += spike > 0;
        }
        cr_expect_gt(spikes, 0);
        mem_free(network);
        net_destroy(n);
        spec_deinit(&s);
    }
}
