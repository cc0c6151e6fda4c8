/* What neurons put out that fire counts or draw their spikes: kinds of tensors, bounds, numbers. */
#include "tests/unit/nets/spec_nets.h"

#include <math.h>

#define CELL(most)                                                                                 \
    "{\"type\":\"neuron\",\"model\":\"if\",\"v_reset\":null,\"surrogate\":{\"type\":"              \
    "\"multi_level_spike_count\",\"D\":" most "}}"
#define SUM(most)                                                                                  \
    "\"layers\":[" CELL(most) ",{\"type\":\"residual\",\"connect\":\"add\",\"body\":["             \
    CELL(most) "]}]"

static struct net *net_of(const char *network, struct spec *s, size_t t)
{
    *s = spec_net(network);
    const struct net_options o = fixture_options(3, t);
    return spec_net_start(s, &o);
}

/* Goal: counts are bytes with the bound D; sums of them too as long as a byte holds them. */
Test(firing, counts_are_bytes_with_a_bound, .timeout = 20)
{
    static const struct {
        const char *network;
        size_t largest;
        enum tensor_kind sum;
    } cases[] = { { SUM("1"), 1, TENSOR_COUNT8 },
                  { SUM("4"), 4, TENSOR_COUNT8 },
                  { SUM("127"), 127, TENSOR_COUNT8 },
                  { SUM("128"), 128, TENSOR_F32 },
                  { SUM("255"), 255, TENSOR_F32 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec s;
        struct net *n = net_of(cases[i].network, &s, 2);
        struct net_node_info cell, sum;
        net_node(n, 0, &cell);
        net_node(n, net_node_count(n) - 1, &sum);
        cr_expect_eq(cell.out.kind, TENSOR_COUNT8, "%s", cases[i].network);
        cr_expect_eq(cell.out.largest, cases[i].largest, "%s", cases[i].network);
        cr_expect_eq(sum.out.kind, cases[i].sum, "%s", cases[i].network);
        net_destroy(n);
        spec_deinit(&s);
    }
}

/* Goal: integer LIF by hand: h goes to the nearest integer, ties to the even one, within 0 and D,
 * and as many thresholds are taken from it. NaN fires nothing. */
Test(firing, counts_by_hand, .timeout = 20)
{
    static const float in[] = { 0.4f, 0.5f, 1.5f, 2.5f, -3.0f, 254.6f, 900.0f, NAN };
    static const float first[] = { 0, 0, 2, 2, 0, 255, 255, 0 };
    static const float second[] = { 1, 1, 1, 3, 0, 254, 255, 0 };
    struct spec s;
    struct net *n = net_of("\"layers\":[" CELL("255") "]", &s, 2);
    const struct tensor_desc *dx, *dy;
    float *x = net_input_data(n, &dx);
    for (size_t i = 0; i < 8; i++)
        for (size_t t = 0; t < 2; t++) tensor_set(dx, x, 1, t, 0, 3, i, in[i]);
    net_forward(n, &(struct net_step){ .samples = 3 });
    const void *y = net_output(n, &dy);
    for (size_t i = 0; i < 8; i++) {
        cr_expect_eq(tensor_get(dy, y, 1, 0, 0, 3, i), first[i], "%g", (double)in[i]);
        cr_expect_eq(tensor_get(dy, y, 1, 1, 0, 3, i), second[i], "%g", (double)in[i]);
    }
    net_destroy(n);
    spec_deinit(&s);
}

enum { DRAWS = 3 * 10 * 288 };

/* Spikes of cells without memory, h = x, that all see 1 + p, at the threshold 1. */
static void draw(struct net *n, float p, const struct net_step *step, float out[static DRAWS])
{
    const struct tensor_desc *dx, *dy;
    float *x = net_input_data(n, &dx);
    for (size_t i = 0; i < dx->elements; i++) x[i] = 1.0f + p;
    net_forward(n, step);
    const void *y = net_output(n, &dy);
    for (size_t i = 0; i < DRAWS; i++)
        out[i] = tensor_get(dy, y, i / 2880, i / 288 % 10, i / 144 % 2, i / 12 % 12, i % 12);
}

/* As many of `n` independent pairs as are equal by chance. */
static void independent(const float *a, const float *b, size_t n, double p, const char *what)
{
    const double chance = p * p + (1.0 - p) * (1.0 - p);
    size_t same = 0;
    for (size_t i = 0; i < n; i++) same += a[i] == b[i];
    cr_expect(fabs((double)same / (double)n - chance) < 4.5 * sqrt(chance / (double)n),
              "%s: %zu of %zu, p %g", what, same, n, p);
}

/* Goal: drawn spikes come with probability x, none below 0 and all from 1 on; cells, samples,
 * time-steps, updates and places in the batch have numbers of their own. */
Test(firing, drawn_spikes_by_numbers, .timeout = 20)
{
    static const float ps[] = { -0.5f, 0.0f, 0.1f, 0.5f, 0.8f, 1.0f, 3.0f };
    static float first[DRAWS], later[DRAWS], behind[DRAWS];
    struct spec s;
    struct net *n = net_of("\"layers\":[{\"type\":\"neuron\",\"model\":\"cuba_lif\","
                           "\"c_decay\":0,\"v_decay\":0,\"surrogate\":\"poisson_pass\"}]", &s, 10);
    for (size_t k = 0; k < sizeof ps / sizeof ps[0]; k++) {
        const double p = fmin(fmax((double)ps[k], 0.0), 1.0);
        double sum = 0.0;
        draw(n, ps[k], &(struct net_step){ .samples = 3 }, first);
        draw(n, ps[k], &(struct net_step){ .samples = 3, .step = 1 }, later);
        draw(n, ps[k], &(struct net_step){ .samples = 3, .sample_offset = 3 }, behind);
        for (size_t i = 0; i < DRAWS; i++) sum += (double)first[i];
        cr_expect(fabs(sum / DRAWS - p) <= 4.5 * sqrt(p * (1.0 - p) / DRAWS), "%g: %g", p, sum);
        independent(first, later, DRAWS, p, "updates");
        independent(first, behind, DRAWS, p, "places in the batch");
        independent(first, first + 2880, DRAWS - 2880, p, "samples");
        independent(first, first + 288, DRAWS - 288, p, "time-steps");
        independent(first, first + 1, DRAWS - 1, p, "cells");
        independent(first, first + 144, DRAWS - 144, p, "channels");
    }
    /* a sample has its numbers wherever in a batch it stands */
    draw(n, 0.5f, &(struct net_step){ .samples = 3 }, first);
    draw(n, 0.5f, &(struct net_step){ .samples = 3, .sample_offset = 1 }, behind);
    cr_expect_eq(memcmp(first + 2880, behind, 2 * 2880 * sizeof first[0]), 0);
    net_destroy(n);
    spec_deinit(&s);
}
