/* Layers on spikes: how values are stored (bits, counts, floats) may change no value. */
#include "tests/unit/nets/net_fixture.h"

#include <math.h>

/* The same 0/1 input as BITS and as F32 through the same layers. */
static void compare(const struct layers *s, double tolerance)
{
    struct net_options as_bits = fixture_options(3, 3), as_floats = as_bits;
    as_bits.input.bits = true;
    as_bits.input_gradient = as_floats.input_gradient = true;
    struct net *a = fixture_net(s, &as_bits), *b = fixture_net(s, &as_floats);
    const struct tensor_desc *da, *db;
    fixture_input(a, 0);
    void *xa = net_input_data(a, &da), *xb = net_input_data(b, &db);
    for (size_t i = 0; i < 3 * 3 * 288; i++) {
        const size_t n = i / 864, t = i / 288 % 3, c = i / 144 % 2, y = i / 12 % 12, x = i % 12;
        tensor_set(db, xb, n, t, c, y, x, tensor_get(da, xa, n, t, c, y, x));
    }
    const struct net_step step = fixture_step(3);
    net_forward(a, &step);
    net_forward(b, &step);
    const void *ya = net_output(a, &da), *yb = net_output(b, &db);
    for (size_t n = 0; n < 3; n++)
        for (size_t t = 0; t < 3; t++)
            for (size_t i = 0; i < da->c * da->h * da->w; i++) {
                const size_t c = i / (da->h * da->w), y = i / da->w % da->h, x = i % da->w;
                const double u = (double)tensor_get(da, ya, n, t, c, y, x);
                const double v = (double)tensor_get(db, yb, n, t, c, y, x);
                cr_assert(fabs(u - v) <= tolerance * (1.0 + fabs(v)), "output %zu: %g, %g", i, u,
                          v);
            }
    fixture_upstream(a, 0, 3);
    fixture_upstream(b, 0, 3);
    net_backward(a, &step);
    net_backward(b, &step);
    const float *ga = net_input_gradient(a, &da), *gb = net_input_gradient(b, &db);
    for (size_t i = 0; i < 3 * 3 * 288; i++) {
        const size_t n = i / 864, t = i / 288 % 3, c = i / 144 % 2, y = i / 12 % 12, x = i % 12;
        const double u = (double)tensor_get(da, ga, n, t, c, y, x);
        const double v = (double)tensor_get(db, gb, n, t, c, y, x);
        cr_assert(fabs(u - v) <= tolerance * (1.0 + fabs(v)), "gradient %zu: %g, %g", i, u, v);
    }
    for (size_t i = 0; i < net_param_count(a); i++) {
        const struct net_param *p = net_param(a, i);
        if (p->role != NET_WEIGHT) continue;
        float *u = calloc(p->logical, sizeof u[0]), *v = calloc(p->logical, sizeof v[0]);
        net_gradient_read(a, i, u);
        net_gradient_read(b, i, v);
        for (size_t k = 0; k < p->logical; k++)
            cr_assert(fabsf(u[k] - v[k]) <= (float)tolerance * (1.0f + fabsf(v[k])),
                      "%s[%zu]: %g, %g", p->name, k, (double)u[k], (double)v[k]);
        free(u);
        free(v);
    }
    net_destroy(a);
    net_destroy(b);
}

/* Goal: each layer that reads spikes directly gives what it gives for the same values as floats. */
Test(kinds, bits_into_every_layer, .timeout = 30)
{
    for (int kind = 0; kind < 22; kind++) {
        struct layers s = { 0 };
        switch (kind) {
        case 0: add_conv(&s, 5, 3, 1, true); break;
        case 1: add_norm(&s); break;
        case 2: add_neuron(&s, "plif"); break;
        case 3: add_neuron(&s, "psn"); break;
        case 4: add_pool(&s, SPEC_MAX_POOL2D, 2); break;
        case 5: add_pool(&s, SPEC_AVG_POOL2D, 2); break;
        case 6: add_dropout(&s, 0.3); break;
        case 9: add_adaptive(&s, 1, 1); break;
        case 10: add_adaptive(&s, 5, 7); break;
        case 11: layers_add(&s, SPEC_UPSAMPLE)->u.upsample.scale_factor[0] = 2; break;
        case 12: layers_add(&s, SPEC_GROUP_NORM)->u.group_norm.groups = 2; break;
        case 13: layers_add(&s, SPEC_TEMPORAL_BATCH_NORM)->u.batch_norm.eps = 1e-5; break;
        case 20: layers_add(&s, SPEC_SPATIAL_ATTENTION)->u.spatial_attention.kernel_size = 3; break;
        case 21: layers_add(&s, SPEC_RELU); break;
        case 17: layers_add(&s, SPEC_TEMPORAL_ATTENTION)->u.attention.reduction = 1; break;
        case 18: layers_add(&s, SPEC_CHANNEL_ATTENTION)->u.attention.reduction = 1; break;
        case 19: layers_add(&s, SPEC_SYNAPSE_FILTER)->u.synapse_filter.tau = 3.0; break;
        case 15:
            add_conv(&s, 5, 3, 1, true);
            s.l[0].u.conv2d.weight_standardization = true;
            break;
        case 16:
            layers_add(&s, SPEC_CONV_TRANSPOSE2D)->u.conv_transpose2d =
                (struct spec_conv_transpose2d){ .out_channels = 3, .kernel_size = { 3, 3 },
                                                .stride = { 2, 1 }, .dilation = { 1, 1 },
                                                .groups = 1, .bias = true };
            break;
        case 14: layers_add(&s, SPEC_THRESHOLD_BATCH_NORM)->u.batch_norm.alpha = 1.0; break;
        case 7:
            layers_add(&s, SPEC_FLATTEN);
            add_linear(&s, 7, true);
            break;
        default:
            layers_add(&s, SPEC_FLATTEN);
            add_voting(&s, 16);
        }
        if (kind == 11) s.l[0].u.upsample.scale_factor[1] = 1;
        compare(&s, kind < 12 ? 1e-6 : 4e-6);
    }
}

/* Goal: counts from average pooling of spikes mean the same as averaged floats to every layer that
 * may follow, also behind dropout, whose factor sits in the scale. */
Test(kinds, counts_into_every_layer, .timeout = 30)
{
    for (int kind = 0; kind < 10; kind++) {
        struct layers s = { 0 };
        if (kind % 2 == 1) add_dropout(&s, 0.25);
        add_pool(&s, SPEC_AVG_POOL2D, 2);
        switch (kind) {
        case 0: add_conv(&s, 33, 3, 1, true); break;
        case 1: add_norm(&s); break;
        case 2: add_neuron(&s, "lif"); break;
        case 3: add_pool(&s, SPEC_MAX_POOL2D, 2); break;
        case 4: add_pool(&s, SPEC_AVG_POOL2D, 3); break;
        case 5: add_dropout(&s, 0.3); break;
        case 6:
            layers_add(&s, SPEC_FLATTEN);
            add_linear(&s, 20, true);
            break;
        case 7:
            layers_add(&s, SPEC_FLATTEN);
            add_norm(&s);
            break;
        case 8:
            layers_add(&s, SPEC_FLATTEN);
            add_neuron(&s, "if");
            add_linear(&s, 5, false);
            break;
        default:
            layers_add(&s, SPEC_FLATTEN);
            add_voting(&s, 3);
        }
        compare(&s, 2e-6);
    }
}

/* Goal: layers behind flatten of an image of few channels (padding inside the features) agree with
 * what they give when nothing is padded: a linear layer reads spikes of 2 channels, its own output
 * of 70, and normalised ones. */
Test(kinds, flattened_images_keep_their_features, .timeout = 30)
{
    struct layers s = { 0 };
    add_conv(&s, 6, 3, 1, false);
    add_neuron(&s, "plif");
    add_pool(&s, SPEC_MAX_POOL2D, 2);
    layers_add(&s, SPEC_FLATTEN);
    add_norm(&s);
    add_linear(&s, 70, true);
    add_neuron(&s, "lif");
    add_dropout(&s, 0.2);
    add_linear(&s, 5, true);
    compare(&s, 1e-6);
}
