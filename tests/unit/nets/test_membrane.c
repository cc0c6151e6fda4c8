/* What monitors see inside neurons after a forward pass. */
#include "tests/unit/nets/spec_nets.h"
#include "worker/layers/layer.h"
#include "worker/nets/net_internal.h"

#include <math.h>

/* Goal: recomputed potentials have the bits of a trace taken inside the layer. */
Test(membrane, recomputed_potentials_equal_a_trace, .timeout = 20)
{
    const struct layers s = whole_net();
    const struct net_options o = fixture_options(3, 4);
    struct net *n = fixture_net(&s, &o);
    const struct tensor_desc trace = tensor_make(TENSOR_F32, 3, 4, 20, 12, 12);
    const struct step_probe probe = { .v = { trace, calloc(trace.elements, sizeof(float)) } };
    const struct net_step step = fixture_step(3);
    net_set_probe(n, 2, &probe);
    fixture_run(n, &step);
    const size_t neurons[] = { 0, 17 * 144 + 5 * 12 + 7, 20 * 144 - 1 };
    float v[4][3];
    struct err e = { 0 };
    cr_assert_eq(net_membrane(n, 2, 1, neurons, 3, v[0], &e), 0, "%s", e.text);
    for (size_t t = 0; t < 4; t++)
        for (size_t i = 0; i < 3; i++)
            cr_assert_eq(v[t][i], tensor_get(&trace, probe.v.data, 1, t, neurons[i] / 144,
                                             neurons[i] % 144 / 12, neurons[i] % 12));
    cr_assert_eq(net_membrane(n, 0, 1, neurons, 3, v[0], &e), (int)ERR_INVALID);
    cr_assert_eq(net_membrane(n, 2, 3, neurons, 3, v[0], &e), (int)ERR_INVALID);
    free(probe.v.data);
    net_destroy(n);
}

/* Goal: so have those of neurons that draw their spikes or fire counts: the same numbers are drawn
 * again, for every sample. Counts add up to the firing rate's spikes. */
Test(membrane, drawn_spikes_and_counts_are_seen_again, .timeout = 20)
{
    struct spec s = spec_net("\"neuron\":{\"v_threshold\":0.1,\"v_reset\":null},\"layers\":["
                             "{\"type\":\"conv2d\",\"out_channels\":20,\"kernel_size\":3,"
                             "\"padding\":1},{\"type\":\"neuron\",\"surrogate\":"
                             "\"poisson_pass\"},{\"type\":\"conv2d\",\"out_channels\":20,"
                             "\"kernel_size\":3,\"padding\":1},{\"type\":\"neuron\","
                             "\"surrogate\":\"multi_level_spike_count\"}]");
    const struct net_options o = fixture_options(3, 4);
    const size_t neurons[] = { 0, 17 * 144 + 5 * 12 + 7, 20 * 144 - 1 };
    for (size_t node = 1; node < 4; node += 2) {
        struct net *n = spec_net_start(&s, &o);
        const struct tensor_desc trace = tensor_make(TENSOR_F32, 3, 4, 20, 12, 12), *d;
        const struct step_probe probe = { .v = { trace, calloc(trace.elements, sizeof(float)) } };
        const struct net_step step = { .step = 7, .sample_offset = 5, .samples = 3,
                                       .training = true };
        net_set_probe(n, node, &probe);
        fixture_input(n, 0);
        net_forward(n, &step);
        for (size_t b = 0; b < 3; b++) {
            float v[4][3];
            struct err e = { 0 };
            cr_assert_eq(net_membrane(n, node, b, neurons, 3, v[0], &e), 0, "%s", e.text);
            for (size_t t = 0; t < 4; t++)
                for (size_t i = 0; i < 3; i++)
                    cr_assert_eq(v[t][i], tensor_get(&trace, probe.v.data, b, t, neurons[i] / 144,
                                                     neurons[i] % 144 / 12, neurons[i] % 12));
        }
        const void *y = net_node_output(n, node, &d);
        double sum = 0.0;
        for (size_t i = 0; i < 3 * 4 * 20 * 144; i++)
            sum += (double)tensor_get(d, y, i / 11520, i / 2880 % 4, i / 144 % 20, i % 144 / 12,
                                      i % 12);
        cr_assert_gt(sum, 100.0);
        cr_assert_eq((double)net_spike_count(n, node), sum);
        free(probe.v.data);
        net_destroy(n);
    }
    spec_deinit(&s);
}

/* Goal: what a neuron that never fires puts out are its potentials, bit for bit. */
Test(membrane, potentials_of_readouts_are_their_outputs, .timeout = 20)
{
    struct spec s = spec_net("\"layers\":[{\"type\":\"conv2d\",\"out_channels\":5,"
                             "\"kernel_size\":3},"
                             "{\"type\":\"neuron\",\"model\":\"non_spiking_lif\",\"v_rest\":0.3},"
                             "{\"type\":\"neuron\",\"model\":\"non_spiking_if\"}]");
    const struct net_options o = fixture_options(3, 4);
    struct net *n = spec_net_start(&s, &o);
    fixture_input(n, 0);
    net_forward(n, &(struct net_step){ .samples = 3 });
    const size_t neurons[] = { 0, 2 * 100 + 7, 5 * 100 - 1 };
    for (size_t node = 1; node < 3; node++) {
        const struct tensor_desc *d;
        const void *y = net_node_output(n, node, &d);
        float v[4][3];
        struct err e = { 0 };
        cr_assert_eq(net_membrane(n, node, 1, neurons, 3, v[0], &e), 0, "%s", e.text);
        for (size_t t = 0; t < 4; t++)
            for (size_t i = 0; i < 3; i++)
                cr_assert_eq(v[t][i], tensor_get(d, y, 1, t, neurons[i] / 100,
                                                 neurons[i] % 100 / 10, neurons[i] % 10));
    }
    net_destroy(n);
    spec_deinit(&s);
}

/* Goal: spike counts are exact, time constants and PSN weights are those of the parameters. */
Test(membrane, counts_and_parameters_are_exact, .timeout = 20)
{
    const struct layers s = whole_net();
    const struct net_options o = fixture_options(3, 4);
    struct net *n = fixture_net(&s, &o);
    fixture_input(n, 0);
    net_forward(n, &(struct net_step){ .samples = 2, .training = true });
    const struct tensor_desc *d;
    const void *spikes = net_node_output(n, 2, &d);
    uint64_t count = 0;
    for (size_t i = 0; i < 2 * 4 * 20 * 144; i++)
        count += tensor_get(d, spikes, i / 11520, i / 2880 % 4, i / 144 % 20, i % 144 / 12,
                            i % 12) != 0.0f;
    cr_assert_gt(count, 100);
    cr_assert_eq(net_spike_count(n, 2), count);
    uint32_t *counts = calloc(20 * 144, sizeof counts[0]);
    net_neuron_counts(n, 2, counts);
    for (size_t i = 0; i < 20 * 144; i++) {
        uint32_t want = 0;
        for (size_t k = 0; k < 8; k++)
            want += tensor_get(d, spikes, k / 4, k % 4, i / 144, i % 144 / 12, i % 12) != 0.0f;
        cr_assert_eq(counts[i], want, "neuron %zu", i);
    }
    free(counts);
    cr_assert_float_eq(net_time_constant(n, 2), 2.0, 1e-6);
    cr_assert_float_eq(net_time_constant(n, 11), 2.0, 0.0);
    cr_assert(isnan(net_time_constant(n, 6)) && isnan(net_time_constant(n, 0)));
    float w[16], same[16];
    struct err e = { 0 };
    cr_assert_eq(net_psn_weight(n, 6, w, &e), 0);
    net_param_read(n, 12, same);
    cr_assert_eq(memcmp(w, same, sizeof w), 0);
    cr_assert_eq(net_psn_weight(n, 2, w, &e), (int)ERR_INVALID);
    cr_assert_eq(net_node_find(n, "6"), 6);
    cr_assert_eq(net_node_find(n, "nothing"), -1);
    net_destroy(n);
}
