/* Evaluation that walks time first: chunks of time-steps with carried state give the bits of all
 * steps at once, in the memory of a chunk; what needs steps to come is refused by name. */
#include "tests/unit/nets/spec_nets.h"
#include "worker/nets/net_internal.h"

enum { STEPS = 5 }; /* so that a chunk of 3 is followed by one of 2 */

static struct net_options options_of(size_t chunk, enum tensor_kind in)
{
    struct net_options o = fixture_options(3, chunk == 0 ? STEPS : chunk);
    o.input.repeat = in == TENSOR_REPEAT;
    o.input.bits = in == TENSOR_BITS;
    o.training = false;
    o.stream_steps = chunk == 0 ? 0 : STEPS;
    return o;
}

/* Parameters off their first values, the same in both nets; lambda of masked PSN is 1. */
static void set_parameters(struct net *n)
{
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        float *v = mem_calloc(p->logical, sizeof v[0]);
        cr_assert_not_null(v);
        net_param_read(n, i, v);
        const bool lambda = strstr(p->name, "_lambda_") != NULL;
        for (size_t k = 0; k < p->logical; k++)
            v[k] = lambda ? 1.0f : v[k] + 0.2f + 0.1f * (float)fixture_number(31 * i + k);
        net_param_write(n, i, v);
        mem_free(v);
    }
}

/* Spikes and accumulates of every node over all T, of two batches that follow one another. */
struct counts {
    uint64_t spikes[FIXTURE_LAYERS_MAX * 4], accumulates[FIXTURE_LAYERS_MAX * 4];
};

static void add_counts(const struct net *n, struct counts *c)
{
    cr_assert_leq(n->n_nodes, sizeof c->spikes / sizeof c->spikes[0]);
    for (size_t i = 0; i < n->n_nodes; i++) {
        c->spikes[i] += net_spike_count(n, i);
        c->accumulates[i] += net_accumulates(n, i);
    }
}

static void run_both(struct net *all, struct net *chunks, size_t offset, const char *text)
{
    struct counts a = { 0 }, b = { 0 };
    const struct net_step s = { .samples = 3 - offset };
    const struct tensor_desc *da, *db;
    fixture_input(all, offset);
    fixture_input(chunks, offset);
    net_forward(all, &s);
    add_counts(all, &a);
    net_stream_begin(chunks);
    while (net_stream_step(chunks, &s)) add_counts(chunks, &b);
    const void *x = net_output(all, &da), *y = net_output(chunks, &db);
    cr_assert_eq(da->t, db->t);
    for (size_t i = 0; i < s.samples * da->t * da->c * da->h * da->w; i++) {
        const size_t per = da->c * da->h * da->w, k = i % per;
        const size_t sample = i / per / da->t, t = i / per % da->t;
        const float p = tensor_get(da, x, sample, t, k / (da->h * da->w), k / da->w % da->h,
                                   k % da->w);
        const float q = tensor_get(db, y, sample, t, k / (da->h * da->w), k / da->w % da->h,
                                   k % da->w);
        cr_assert_eq(memcmp(&p, &q, sizeof p), 0, "%s: %.9g, %.9g", text, (double)p, (double)q);
    }
    cr_assert_eq(memcmp(&a, &b, sizeof a), 0, "%s: counts differ", text);
}

static void same_as_all(const char *layers, size_t chunk, enum tensor_kind in, bool exact)
{
    char *text = mem_printf("\"layers\":[%s],\"neuron\":{\"v_threshold\":0.3}", layers);
    struct spec s = spec_net(text);
    struct net_options o = options_of(0, in), c = options_of(chunk, in);
    struct err e = { 0 };
    o.exact = c.exact = exact;
    o.threads = 1;
    struct net *all = spec_net_start(&s, &o), *chunks = spec_net_start(&s, &c);
    set_parameters(all);
    set_parameters(chunks);
    cr_assert_eq(net_stream_check(chunks, &e), 0, "%s: %s", text, e.text);
    run_both(all, chunks, 0, text);
    run_both(all, chunks, 1, text); /* begins anew: nothing is left of the first batch */
    cr_assert_eq(net_arena_high_water(chunks), net_plan(chunks)->total_bytes);
    cr_assert_eq(net_plan(chunks)->macs, net_plan(all)->macs, "%s", text);
    net_destroy(all);
    net_destroy(chunks);
    spec_deinit(&s);
    mem_free(text);
}

/* Goal: every kind of layer that can stream, from frames, spikes and one frame for all. */
Test(stream, layers_have_the_bits_of_all_steps, .timeout = 60)
{
    static const enum tensor_kind kinds[] = { TENSOR_F32, TENSOR_BITS, TENSOR_REPEAT };
    size_t streamed = 0;
    for (size_t i = 0; i < SPEC_NET_LAYERS * 6; i++) {
        const char *layers = spec_net_layers[i / 6];
        if (strstr(layers, "attention") != NULL) continue;
        same_as_all(layers, i % 2 == 0 ? 1 : 3, kinds[i / 2 % 3], i % 4 < 2);
        streamed++;
    }
    cr_expect_eq(streamed, (SPEC_NET_LAYERS - 1) * 6);
}

#define CELL(neuron) "{\"type\":\"neuron\"," neuron "}"
#define AROUND(neuron)                                                                             \
    "{\"type\":\"conv2d\",\"out_channels\":20,\"kernel_size\":3,\"stride\":4}," CELL(neuron)      \
    ",{\"type\":\"flatten\"},{\"type\":\"linear\",\"out_features\":30}," CELL(neuron)

/* Goal: every model of neuron carries what it must: potential, second state, steps of rest, or its
 * last inputs, fewer, as many and more than there are steps. */
Test(stream, neurons_carry_what_they_must, .timeout = 60)
{
    static const char *const nets[] = {
        AROUND("\"model\":\"if\",\"v_reset\":null,\"v_init\":-0.3"),
        AROUND("\"model\":\"lif\",\"v_init\":0.2,\"refractory_steps\":2"),
        AROUND("\"model\":\"plif\",\"scope\":\"neuron\",\"learn_threshold\":true"),
        AROUND("\"model\":\"qif\",\"refractory_steps\":1"),
        AROUND("\"surrogate\":\"multi_level_spike_count\",\"v_reset\":null"),
        AROUND("\"surrogate\":\"poisson_pass\",\"refractory_steps\":1"),
        AROUND("\"model\":\"eif\""),
        AROUND("\"model\":\"izhikevich\",\"a\":0.3,\"b\":0.2,\"refractory_steps\":1"),
        AROUND("\"model\":\"klif\",\"scale_reset\":true"),
        AROUND("\"model\":\"liaf\""),
        AROUND("\"model\":\"cuba_lif\""),
        AROUND("\"model\":\"alif\""),
        AROUND("\"model\":\"gated_lif\",\"scope\":\"channel\""),
        AROUND("\"model\":\"gated_lif\""),
        AROUND("\"model\":\"non_spiking_if\""),
        AROUND("\"model\":\"non_spiking_lif\",\"v_rest\":0.3"),
        "{\"type\":\"conv2d\",\"out_channels\":20,\"kernel_size\":3,\"stride\":4},"
        "{\"type\":\"recurrent\",\"connect\":\"element_wise\",\"neuron\":{\"model\":"
        "\"gated_lif\",\"scope\":\"channel\"}}",
        AROUND("\"model\":\"masked_psn\",\"k\":1"),
        AROUND("\"model\":\"masked_psn\",\"k\":3"),
        AROUND("\"model\":\"masked_psn\",\"k\":9"),
        AROUND("\"model\":\"sliding_psn\",\"k\":1"),
        AROUND("\"model\":\"sliding_psn\",\"k\":2,\"exp_init\":false"),
        AROUND("\"model\":\"sliding_psn\",\"k\":4"),
        AROUND("\"model\":\"sliding_psn\",\"k\":9"),
    };
    for (size_t i = 0; i < sizeof nets / sizeof nets[0] * 4; i++) {
        same_as_all(nets[i / 4], i % 2 == 0 ? 1 : 3,
                    i / 2 % 2 == 0 ? TENSOR_F32 : TENSOR_REPEAT, i % 2 == 0);
    }
}

/* Goal: narrow networks of the presets' kinds. */
Test(stream, presets, .timeout = 60)
{
    static const char *const networks[] = {
        "\"preset\":\"sew_resnet\",\"depth\":18,\"width\":4,\"stem\":\"cifar\",\"classes\":10",
        "\"preset\":\"spiking_vgg\",\"depth\":11,\"width\":4,\"classes\":10",
    };
    for (size_t i = 0; i < 2; i++) {
        struct spec s = spec_net(networks[i]);
        struct net_options o = options_of(0, TENSOR_REPEAT), c = options_of(2, TENSOR_REPEAT);
        o.input.h = o.input.w = c.input.h = c.input.w = 32;
        struct net *all = spec_net_start(&s, &o), *chunks = spec_net_start(&s, &c);
        run_both(all, chunks, 0, networks[i]);
        net_destroy(all);
        net_destroy(chunks);
        spec_deinit(&s);
    }
}

static void refused(const char *layers, const char *said)
{
    char *text = mem_printf("\"layers\":[{\"type\":\"conv2d\",\"out_channels\":4,\"kernel_size\":3,"
                            "\"name\":\"stem\"},%s]", layers);
    struct spec s = spec_net(text);
    const struct net_options o = options_of(1, TENSOR_F32);
    struct net *n = spec_net_start(&s, &o);
    struct err e = { 0 };
    cr_expect_eq(net_stream_check(n, &e), (int)ERR_INVALID, "%s", layers);
    cr_expect_not_null(strstr(e.text, said), "%s", e.text);
    net_destroy(n);
    spec_deinit(&s);
    mem_free(text);
}

/* Goal: what needs steps to come is refused with its path, its kind and why. */
Test(stream, layers_that_need_the_future_are_refused_by_name, .timeout = 20)
{
    refused("{\"type\":\"neuron\",\"model\":\"psn\"}",
            "layer 1 (psn) cannot be evaluated step by step: its weights reach over all");
    refused("{\"type\":\"neuron\",\"model\":\"masked_psn\",\"name\":\"sn\"}",
            "layer sn (masked_psn) cannot be evaluated step by step: its lambda is below 1");
    refused("{\"type\":\"temporal_attention\",\"reduction\":1}", "(temporal_attention)");
    refused("{\"type\":\"channel_attention\",\"reduction\":1}", "(channel_attention)");
    refused("{\"type\":\"spatial_attention\",\"kernel_size\":3}", "made of all time-steps");
}

/* Goal: activations are those of a chunk: one step of T needs about a T-th of them. */
Test(stream, memory_is_that_of_a_chunk, .timeout = 20)
{
    struct layers s = { 0 };
    add_conv(&s, 32, 3, 1, false);
    add_neuron(&s, "lif");
    add_conv(&s, 32, 3, 1, false);
    add_neuron(&s, "if");
    struct net_options all = options_of(0, TENSOR_F32), one = options_of(1, TENSOR_F32);
    all.input.t = one.stream_steps = 20;
    struct net *a = fixture_net(&s, &all), *b = fixture_net(&s, &one);
    cr_expect_lt(net_plan(b)->activations_bytes, net_plan(a)->activations_bytes / 15);
    cr_expect_lt(net_plan(b)->total_bytes, net_plan(a)->total_bytes / 2);
    net_destroy(a);
    net_destroy(b);
}
