/* Recurrent layers in a net: the walk of a body step by step, with what crosses steps, against
 * recomputation, samples that end early, and what monitors see. Streams, step modes and threads:
 * test_stream, test_spans; values: tests/unit/twin. */
#include "tests/unit/nets/spec_nets.h"
#include "worker/kernels/kernel_trace.h"
#include "worker/layers/layer.h"
#include "worker/nets/net_internal.h"

enum { T = 5, B = 4 };

/* Behind and before other layers, on an image and on features, one body in another. */
static const char network[] =
    "\"neuron\":{\"v_threshold\":0.4},\"layers\":["
    "{\"type\":\"conv2d\",\"out_channels\":6,\"kernel_size\":3,\"stride\":2},"
    "{\"type\":\"recurrent\",\"name\":\"image\",\"connect\":\"element_wise\",\"body\":["
    "{\"type\":\"conv2d\",\"out_channels\":6,\"kernel_size\":3,\"padding\":1},"
    "{\"type\":\"neuron\",\"model\":\"plif\"},{\"type\":\"dropout\",\"p\":0.2}]},"
    "{\"type\":\"recurrent\",\"name\":\"again\",\"connect\":\"element_wise\",\"body\":["
    "{\"type\":\"neuron\"},{\"type\":\"conv2d\",\"out_channels\":6,\"kernel_size\":3,"
    "\"padding\":1}]},"
    "{\"type\":\"avg_pool2d\",\"kernel_size\":2},{\"type\":\"flatten\"},"
    "{\"type\":\"recurrent\",\"name\":\"features\",\"body\":["
    "{\"type\":\"linear\",\"out_features\":20},{\"type\":\"neuron\"},"
    "{\"type\":\"recurrent\",\"connect\":\"element_wise\"}]},"
    "{\"type\":\"recurrent\",\"name\":\"last\",\"body\":[{\"type\":\"linear\","
    "\"out_features\":10}]}]";

static struct net_options options_of(enum net_recompute recompute, size_t threads)
{
    struct net_options o = fixture_options(B, T);
    o.input_gradient = true;
    o.shards = 2;
    o.recompute = recompute;
    o.threads = threads;
    return o;
}

static void same_input_gradients(struct net *a, struct net *b)
{
    const struct tensor_desc *d;
    const float *x = net_input_gradient(a, &d), *y = net_input_gradient(b, &d);
    cr_assert_eq(memcmp(x, y, tensor_bytes(d)), 0, "dL/d(input)");
}

/* Values behind every end: 0, or `behind`. */
static void run_with(struct net *n, const struct net_step *s, float behind)
{
    const struct tensor_desc *d, *gd;
    void *x = net_input_data(n, &d);
    float *g = net_output_gradient(n, &gd);
    fixture_input(n, 0);
    for (size_t i = 0; i < s->samples * d->t * 288; i++) {
        const size_t b = i / 288 / d->t, t = i / 288 % d->t, k = i % 288;
        if (t >= s->lengths[b]) tensor_set(d, x, b, t, k / 144, k / 12 % 12, k % 12, behind);
    }
    net_forward(n, s);
    fixture_upstream(n, 0, s->samples);
    for (size_t i = 0; i < s->samples * gd->t * 10; i++)
        if (i / 10 % gd->t >= s->lengths[i / 10 / gd->t])
            tensor_set(gd, g, i / 10 / gd->t, i / 10 % gd->t, i % 10, 0, 0, behind);
    net_backward(n, s);
}

/* Goal: samples that end early, and parts that are computed again, with any number of threads: the
 * bits are those of keeping everything, and nothing behind an end matters. Bodies are computed
 * again in one piece. */
Test(time_first, lengths_and_recomputation_together, .timeout = 60)
{
    static const size_t threads[] = { 1, 2, 3, 8 };
    const uint32_t lengths[B] = { 2, 5, 1, 4 };
    struct spec s = spec_net(network);
    struct net_step step = fixture_step(B);
    step.lengths = lengths;
    for (size_t i = 0; i < 4; i++) {
        struct net_options o = options_of(NET_RECOMPUTE_OFF, 1);
        struct kernel_trace once = { 0 }, twice = { 0 };
        o.trace = &once;
        struct net *kept = spec_net_start(&s, &o);
        o = options_of(NET_RECOMPUTE_LEAST, threads[i]);
        o.span_steps = i;
        o.trace = &twice;
        struct net *again = spec_net_start(&s, &o);
        cr_assert_gt(net_plan(again)->recomputed_macs, 0);
        cr_assert(again->nodes[3].runs_again); /* image.sub_module.1, the only PLIF neurons */
        for (size_t k = 0; k < again->n_segments; k++)
            cr_assert_eq(again->nodes[again->segments[k].begin].walk_begin,
                         again->segments[k].begin);
        for (int round = 0; round < 2; round++) {
            run_with(kept, &step, 0.0f);
            run_with(again, &step, 6.5f);
            same_outputs(kept, again);
            same_weight_gradients(kept, again);
            same_input_gradients(kept, again);
        }
        const size_t plif = KERNEL_NEURONS + 2 * (size_t)fixture_model("plif");
        cr_assert(once.calls[plif] == 2 * T && twice.calls[plif] == 4 * T);
        cr_assert_eq(net_arena_high_water(again), net_plan(again)->total_bytes);
        net_destroy(kept);
        net_destroy(again);
    }
    spec_deinit(&s);
}

/* Goal: a sample that ends after 3 of 5 steps has the gradients of a net of 3 steps. */
Test(time_first, a_padded_sample_is_the_sample_alone, .timeout = 30)
{
    const uint32_t length = 3;
    struct spec s = spec_net(network);
    struct net_options o = fixture_options(1, T);
    struct net *padded = spec_net_start(&s, &o);
    o.input.t = length;
    struct net *alone = spec_net_start(&s, &o);
    struct net_step step = fixture_step(1);
    step.lengths = &length;
    run_with(padded, &step, 7.5f);
    run_with(alone, &step, 0.0f);
    same_weight_gradients(padded, alone);
    for (size_t i = 0; i < net_node_count(alone); i++)
        cr_expect(net_spike_count(alone, i) == net_spike_count(padded, i), "node %zu", i);
    const struct tensor_desc *d;
    const void *y = net_output(padded, &d);
    for (size_t i = 0; i < T * 10; i++)
        if (i / 10 >= length) cr_expect_eq(tensor_get(d, y, 0, i / 10, i % 10, 0, 0), 0.0f);
    net_destroy(padded);
    net_destroy(alone);
    spec_deinit(&s);
}

/* Goal: potentials inside a body are those of a trace, also where its input would have been
 * computed again had it not been watched. */
Test(time_first, potentials_inside_a_body, .timeout = 30)
{
    struct spec s = spec_net(network);
    bool watched[24] = { 0 };
    const size_t node = 3; /* image.sub_module.1 */
    cr_assert_str_eq(s.layers[node].path, "image.sub_module.1");
    watched[node] = true;
    for (int i = 0; i < 2; i++) {
        struct net_options o = options_of(i == 0 ? NET_RECOMPUTE_OFF : NET_RECOMPUTE_LEAST, 2);
        o.watched = watched;
        struct net *n = spec_net_start(&s, &o);
        const struct net_step step = fixture_step(B);
        const struct tensor_desc trace = tensor_make(TENSOR_F32, B, T, 6, 5, 5);
        const struct step_probe probe = { .v = { trace, calloc(trace.elements, sizeof(float)) } };
        net_set_probe(n, node, &probe);
        fixture_run(n, &step);
        const size_t neurons[] = { 0, 2 * 25 + 3 * 5 + 4, 6 * 25 - 1 };
        float v[T][3];
        struct err e = { 0 };
        cr_assert_eq(net_membrane(n, node, 1, neurons, 3, v[0], &e), 0, "%s", e.text);
        bool moved = false;
        for (size_t k = 0; k < T * 3; k++) {
            const size_t at = neurons[k % 3];
            const float want = tensor_get(&trace, probe.v.data, 1, k / 3, at / 25, at % 25 / 5,
                                          at % 5);
            cr_assert_eq(v[k / 3][k % 3], want);
            moved |= want != 0.0f;
        }
        cr_assert(moved);
        cr_assert_eq(net_membrane(n, 1, 1, neurons, 3, v[0], &e), (int)ERR_INVALID);
        free(probe.v.data);
        net_destroy(n);
    }
    spec_deinit(&s);
}

/* Goal: whatever memory holds before a step, its bits are the same: nothing is read that was not
 * written. */
Test(time_first, stale_memory_is_never_read, .timeout = 30)
{
    struct spec s = spec_net(network);
    const struct net_options o = options_of(NET_RECOMPUTE_LEAST, 2);
    struct net *clean = spec_net_start(&s, &o), *stale = spec_net_start(&s, &o);
    static const enum plan_kind kinds[] = { PLAN_ACTIVATIONS, PLAN_SAVED, PLAN_SCRATCH,
                                            PLAN_GRADIENTS };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        memset(stale->regions[kinds[i]], 0xff, stale->blocks.region_bytes[kinds[i]]);
    const struct net_step step = fixture_step(B);
    fixture_run(clean, &step);
    fixture_run(stale, &step);
    same_outputs(clean, stale);
    same_input_gradients(clean, stale);
    for (size_t i = 0; i < net_param_count(clean); i++) {
        float *a = calloc(2 * net_param(clean, i)->logical, sizeof a[0]);
        float *b = a + net_param(clean, i)->logical;
        net_gradient_read(clean, i, a);
        net_gradient_read(stale, i, b);
        cr_expect_eq(memcmp(a, b, net_param(clean, i)->logical * sizeof a[0]), 0, "%s",
                     net_param(clean, i)->name);
        free(a);
    }
    net_destroy(clean);
    net_destroy(stale);
    spec_deinit(&s);
}

static void expect_border(const char *body, size_t conv)
{
    char *text = mem_printf("\"neuron\":{\"v_threshold\":0.4},\"layers\":[{\"type\":\"recurrent\","
                            "\"connect\":\"element_wise\",\"body\":[%s]}]", body);
    struct spec s = spec_net(text);
    const struct net_options o = fixture_options(B, T);
    struct net *n = spec_net_start(&s, &o);
    const struct tensor_desc *d = &n->nodes[conv].gradient;
    const float *g = n->nodes[conv].gradient_data;
    cr_assert(d->blocked && d->c_stored == 32);
    memset(n->regions[PLAN_ACTIVATIONS], 0xff, n->plan.activations_bytes);
    const struct net_step step = fixture_step(B);
    fixture_run(n, &step);
    size_t inside = 0;
    for (size_t image = 0; image < B * T; image++)
        for (size_t i = 0; i < 14 * 14 * 32; i++) {
            const size_t y = i / 448, x = i / 32 % 14, c = i % 32;
            const float v = g[image / T * d->sample + image % T * d->time + i];
            if (y == 0 || y == 13 || x == 0 || x == 13 || c >= 2) cr_assert_eq(v, 0.0f);
            else inside += v != 0.0f;
        }
    cr_assert_gt(inside, 1000);
    net_destroy(n);
    spec_deinit(&s);
    mem_free(text);
}

/* Goal: a convolution of a body reads zeros around its gradient, whatever was in that memory, also
 * where it is its output that comes back. */
Test(time_first, convolutions_read_a_border_of_zeros, .timeout = 30)
{
    static const char conv[] =
        "{\"type\":\"conv2d\",\"out_channels\":2,\"kernel_size\":3,\"padding\":1}";
    char *first = mem_printf("%s,{\"type\":\"neuron\"}", conv);
    char *last = mem_printf("{\"type\":\"neuron\"},%s", conv);
    expect_border(first, 1);
    expect_border(last, 2);
    mem_free(first);
    mem_free(last);
}

/* Goal: what a spec cannot say is refused by name. */
Test(time_first, bodies_that_cannot_be, .timeout = 20)
{
    static const struct {
        enum spec_layer_type type;
        const char *why;
    } cases[] = { { SPEC_BATCH_NORM, "all time-steps" },
                  { SPEC_AVG_POOL2D, "its input is 2x12x12" },
                  { SPEC_FLATTEN, "its input is 2x12x12" } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct layers s = { 0 };
        struct spec_layer *join = layers_add(&s, SPEC_RECURRENT);
        join->u.recurrent.connect = SPEC_ELEMENT_WISE;
        join->u.recurrent.body = 1;
        if (cases[i].type == SPEC_AVG_POOL2D) add_pool(&s, SPEC_AVG_POOL2D, 2);
        else layers_add(&s, cases[i].type);
        const struct net_options o = fixture_options(B, T);
        struct net *n = NULL;
        struct err e = { 0 };
        cr_expect_eq(net_build(&n, s.l, s.n, 0, &o, &e), (int)ERR_SPEC, "case %zu", i);
        cr_expect_not_null(strstr(e.text, cases[i].why), "%s", e.text);
        s.l[0].u.recurrent.body = 2;
        cr_expect_eq(net_build(&n, s.l, s.n, 0, &o, &e), (int)ERR_SPEC);
        cr_expect_not_null(strstr(e.text, "no layer comes back"), "%s", e.text);
    }
}

/* Goal: what a body learns does not depend on anybody else wanting a gradient: behind the input the
 * joining point itself has neither weights nor an input that learns. */
Test(time_first, a_body_learns_by_itself, .timeout = 20)
{
    struct spec s = spec_net(
        "\"neuron\":{\"v_threshold\":0.3},\"layers\":[{\"type\":\"recurrent\",\"connect\":"
        "\"element_wise\",\"body\":[{\"type\":\"neuron\"},{\"type\":\"conv2d\",\"out_channels\":2,"
        "\"kernel_size\":3,\"padding\":1}]},{\"type\":\"flatten\"},{\"type\":\"linear\","
        "\"out_features\":10}]");
    struct net_options o = fixture_options(B, T);
    struct net *alone = spec_net_start(&s, &o);
    o.input_gradient = true;
    struct net *wanted = spec_net_start(&s, &o);
    const struct net_step step = fixture_step(B);
    fixture_run(alone, &step);
    fixture_run(wanted, &step);
    cr_assert_gt(net_grad_norm(alone, 2), 0.0);
    same_weight_gradients(alone, wanted);
    net_destroy(alone);
    net_destroy(wanted);
    spec_deinit(&s);
}
