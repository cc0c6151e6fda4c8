/* spec_nets: nets of layers written as in a spec, for tests that run many kinds of them. */
#ifndef TEST_SPEC_NETS_H
#define TEST_SPEC_NETS_H

#include "tests/unit/nets/net_fixture.h"

/* network: what stands between the braces of "network". Its shape is known to no dataset. */
static inline struct spec spec_net(const char *network)
{
    static struct json_faults faults;
    struct spec s = { 0 };
    struct err e = { 0 };
    char *text = mem_printf("{\"version\":1,\"dataset\":{\"name\":\"x\"},\"monitors\":[],"
                            "\"network\":{%s}}", network);
    cr_assert_eq(spec_parse_text(text, strlen(text), &s, &faults, &e), 0, "%s: %s %s", network,
                 faults.items[0].pointer, faults.items[0].detail);
    mem_free(text);
    return s;
}

static inline struct net *spec_net_start(const struct spec *s, const struct net_options *o)
{
    struct err e = { 0 };
    struct net *n = NULL;
    cr_assert_eq(net_build(&n, s->layers, s->n_layers, 0, o, &e), 0, "%s", e.text);
    cr_assert_eq(net_start(n, &e), 0, "%s", e.text);
    return n;
}

/* One small network for every kind of layer but those of neurons: 2 x 12 x 12 in. */
static const char *const spec_net_layers[] = {
    "{\"type\":\"conv2d\",\"out_channels\":20,\"kernel_size\":3,\"padding\":1},"
    "{\"type\":\"batch_norm\"},{\"type\":\"neuron\"},{\"type\":\"max_pool2d\",\"kernel_size\":2},"
    "{\"type\":\"conv2d\",\"out_channels\":18,\"kernel_size\":3,\"groups\":2,"
    "\"weight_standardization\":true},{\"type\":\"neuron\"},"
    "{\"type\":\"avg_pool2d\",\"kernel_size\":2},{\"type\":\"dropout\",\"p\":0.25},"
    "{\"type\":\"flatten\"},{\"type\":\"linear\",\"out_features\":12},{\"type\":\"neuron\"},"
    "{\"type\":\"voting\",\"size\":3}",
    "{\"type\":\"conv2d\",\"out_channels\":6,\"kernel_size\":3,\"stride\":2},"
    "{\"type\":\"neuron\"},{\"type\":\"conv_transpose2d\",\"out_channels\":5,\"kernel_size\":3,"
    "\"stride\":2},{\"type\":\"group_norm\",\"groups\":5},{\"type\":\"neuron\"},"
    "{\"type\":\"upsample\",\"scale_factor\":2},{\"type\":\"conv2d\",\"out_channels\":4,"
    "\"kernel_size\":1},{\"type\":\"adaptive_avg_pool2d\",\"output_size\":3}",
    "{\"type\":\"conv2d\",\"out_channels\":8,\"kernel_size\":[12,1]},{\"type\":\"neuron\"},"
    "{\"type\":\"conv1d\",\"out_channels\":6,\"kernel_size\":3},"
    "{\"type\":\"threshold_batch_norm\"},{\"type\":\"relu\"},"
    "{\"type\":\"synapse_filter\",\"learnable\":true},"
    "{\"type\":\"neuron\"},{\"type\":\"temporal_batch_norm\"}",
    "{\"type\":\"conv2d\",\"out_channels\":8,\"kernel_size\":3},"
    "{\"type\":\"temporal_attention\",\"reduction\":2},"
    "{\"type\":\"channel_attention\",\"reduction\":2},"
    "{\"type\":\"spatial_attention\",\"kernel_size\":3},{\"type\":\"neuron\"}",
    "{\"type\":\"neuron\",\"model\":\"if\"},{\"type\":\"conv2d\",\"out_channels\":8,"
    "\"kernel_size\":3,\"padding\":1},{\"type\":\"neuron\"},"
    "{\"type\":\"residual\",\"connect\":\"add\",\"body\":[{\"type\":\"conv2d\","
    "\"out_channels\":8,\"kernel_size\":3,\"padding\":1},{\"type\":\"neuron\"}]},"
    "{\"type\":\"max_pool2d\",\"kernel_size\":2},"
    "{\"type\":\"residual\",\"connect\":\"iand\",\"body\":[{\"type\":\"conv2d\","
    "\"out_channels\":8,\"kernel_size\":1},{\"type\":\"neuron\"}],\"shortcut\":[{\"type\":"
    "\"conv2d\",\"out_channels\":8,\"kernel_size\":1}]}",
    "{\"type\":\"conv2d\",\"out_channels\":8,\"kernel_size\":3,\"stride\":2},{\"type\":\"neuron\"},"
    "{\"type\":\"recurrent\",\"connect\":\"element_wise\",\"body\":[{\"type\":\"conv2d\","
    "\"out_channels\":8,\"kernel_size\":3,\"padding\":1,\"weight_standardization\":true},"
    "{\"type\":\"group_norm\",\"groups\":2},{\"type\":\"synapse_filter\",\"tau\":3,"
    "\"learnable\":true},{\"type\":\"neuron\"},{\"type\":\"dropout\",\"p\":0.25}]},"
    "{\"type\":\"avg_pool2d\",\"kernel_size\":2},{\"type\":\"flatten\"},{\"type\":\"recurrent\","
    "\"body\":[{\"type\":\"linear\",\"out_features\":9},{\"type\":\"neuron\",\"model\":\"plif\"}]},"
    "{\"type\":\"recurrent\",\"connect\":\"element_wise\",\"body\":[{\"type\":\"residual\","
    "\"connect\":\"add\",\"body\":[{\"type\":\"linear\",\"out_features\":9},"
    "{\"type\":\"neuron\"}]},{\"type\":\"recurrent\"}]},{\"type\":\"linear\",\"out_features\":6}",
    "{\"type\":\"recurrent\",\"connect\":\"element_wise\",\"body\":[{\"type\":\"neuron\"},"
    "{\"type\":\"conv2d\",\"out_channels\":2,\"kernel_size\":3,\"padding\":1}]},"
    "{\"type\":\"conv2d\",\"out_channels\":2,\"kernel_size\":1},{\"type\":\"conv2d\","
    "\"out_channels\":2,\"kernel_size\":1},{\"type\":\"conv2d\",\"out_channels\":2,"
    "\"kernel_size\":1},{\"type\":\"conv2d\",\"out_channels\":2,\"kernel_size\":1},"
    "{\"type\":\"flatten\"},{\"type\":\"linear\",\"out_features\":5}",
    "{\"type\":\"flatten\"},{\"type\":\"recurrent\",\"bias\":false,\"body\":[{\"type\":\"linear\","
    "\"out_features\":12},{\"type\":\"neuron\",\"model\":\"gated_lif\"},"
    "{\"type\":\"voting\",\"size\":2}]}",
};
#define SPEC_NET_LAYERS (sizeof spec_net_layers / sizeof spec_net_layers[0])

#endif
