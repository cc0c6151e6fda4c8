/* Step mode: time-steps in one call of a layer or in several give the same bits. */
#include "tests/unit/nets/spec_nets.h"
#include "worker/nets/net_internal.h"

enum { STEPS = 5 }; /* so that a chunk of 3 is followed by one of 2 */

static struct net_options options_of(size_t steps, enum tensor_kind in)
{
    struct net_options o = fixture_options(3, STEPS);
    o.input.repeat = in == TENSOR_REPEAT;
    o.input.bits = in == TENSOR_BITS;
    o.input_gradient = true;
    o.span_steps = steps;
    return o;
}

/* Or there is none: a fused batch norm has no output. */
static void same_memory(const void *a, const void *b, size_t bytes, const char *what,
                        const char *net)
{
    cr_assert_eq(a == NULL, b == NULL);
    if (a == NULL) return;
    cr_assert_eq(memcmp(a, b, bytes), 0, "%s of %s differ", what, net);
}

/* Outputs of every node, gradients of input and weights, running statistics. */
static void same_net(struct net *a, struct net *b, const char *text)
{
    size_t floats;
    for (size_t i = 0; i < a->n_nodes; i++)
        same_memory(a->nodes[i].out_data, b->nodes[i].out_data, tensor_bytes(&a->nodes[i].out),
                    a->nodes[i].layer.ops->name, text);
    const float *x = net_gradients(a, &floats), *y = net_gradients(b, &floats);
    same_memory(x, y, floats * sizeof x[0], "gradients", text);
    x = net_buffers(a, &floats);
    y = net_buffers(b, &floats);
    same_memory(x, y, floats * sizeof x[0], "running statistics", text);
    const struct tensor_desc *d;
    x = net_input_gradient(a, &d);
    y = net_input_gradient(b, &d);
    same_memory(x, y, tensor_bytes(d), "input gradients", text);
}

/* Two steps: the second meets used memory and moved statistics. */
static void same_as_multi(const char *layers, const struct net_options *o)
{
    char *text = mem_printf("\"layers\":[%s],\"neuron\":{\"v_threshold\":0.4}", layers);
    struct spec s = spec_net(text);
    struct net_options multi = *o;
    multi.span_steps = 0;
    multi.threads = 1;
    struct net *a = spec_net_start(&s, &multi), *b = spec_net_start(&s, o);
    const struct net_step step = fixture_step(3);
    for (int i = 0; i < 2; i++) {
        fixture_run(a, &step);
        fixture_run(b, &step);
        same_net(a, b, text);
    }
    net_destroy(a);
    net_destroy(b);
    spec_deinit(&s);
    mem_free(text);
}

/* Goal: every kind of layer, single and in chunks, on 1, 2, 3 and 8 threads, has the bits of one
 * call: outputs, gradients and running statistics. */
Test(spans, layers_have_the_bits_of_one_call, .timeout = 120)
{
    static const size_t steps[] = { 1, 3 }, threads[] = { 1, 2, 3, 8 };
    static const enum tensor_kind kinds[] = { TENSOR_F32, TENSOR_BITS, TENSOR_REPEAT };
    for (size_t i = 0; i < SPEC_NET_LAYERS * 3 * 2; i++) {
        const size_t net = i % SPEC_NET_LAYERS, rest = i / SPEC_NET_LAYERS;
        struct net_options o = options_of(steps[rest % 2], kinds[rest / 2]);
        o.threads = threads[i % 4];
        o.exact = i / 4 % 2 == 0;
        same_as_multi(spec_net_layers[net], &o);
    }
}

/* Goal: threads do not matter to it. */
Test(spans, threads_change_no_bit, .timeout = 60)
{
    for (size_t threads = 1; threads <= 8; threads = threads < 3 ? threads + 1 : threads + 5) {
        struct net_options o = options_of(1, TENSOR_F32);
        o.threads = threads;
        same_as_multi(spec_net_layers[0], &o);
    }
}

/* Fields that change what a cell carries from step to step or what it sums up. */
static const char *const serial_fields[] = {
    "\"v_reset\":null",
    "\"v_reset\":0.1,\"v_init\":0.25,\"detach_reset\":false,\"refractory_steps\":2",
    "\"learn_threshold\":true,\"scope\":\"channel\"",
    "\"learn_threshold\":true,\"scope\":\"neuron\",\"refractory_steps\":1,\"v_reset\":null",
};

static void model_in_spans(const struct spec_neuron_model *m, const char *fields,
                           const struct net_options *o)
{
    char *layers = mem_printf("{\"type\":\"conv2d\",\"out_channels\":20,\"kernel_size\":3,"
                              "\"stride\":4},{\"type\":\"neuron\",\"model\":\"%s\"%s%s},"
                              "{\"type\":\"neuron\",\"model\":\"%s\"%s%s}",
                              m->name, fields[0] != '\0' ? "," : "", fields, m->name,
                              fields[0] != '\0' ? "," : "", fields);
    same_as_multi(layers, o);
    mem_free(layers);
}

/* Goal: state, rest and gradients cross from span to span in every model of neuron, with every
 * reset, scope, threshold and rest, for steps of their own and for one frame. */
Test(spans, neurons_carry_their_state, .timeout = 120)
{
    size_t count, carried = 0;
    const struct spec_neuron_model *m = spec_neuron_models(&count);
    for (size_t i = 0; i < count * 4; i++) {
        const struct spec_neuron_model *model = &m[i / 4];
        const bool shares = (model->traits & SPEC_SERIAL) != 0;
        const char *gated = i % 2 == 0 ? "\"scope\":\"channel\"" : "";
        const bool scoped = (model->traits & SPEC_GATED) != 0;
        const bool silent = (model->traits & SPEC_SILENT) != 0 && (model->traits & SPEC_LEAK) != 0;
        const char *own = scoped ? gated : silent && i % 2 == 0 ? "\"decay_input\":false" : "";
        for (size_t k = 0; k < 4; k++) {
            const struct net_options o = options_of(k % 2 == 0 ? 1 : 3,
                                                    k < 2 ? TENSOR_F32 : TENSOR_REPEAT);
            model_in_spans(model, shares ? serial_fields[i % 4] : own, &o);
        }
        carried += model->serial;
    }
    cr_assert_geq(carried, 4 * 13);
}

/* Goal: what crosses is planned: each span but the last of a serial layer saves the state after it,
 * and nothing more than that is saved. */
Test(spans, plan_counts_what_crosses, .timeout = 20)
{
    struct spec s = spec_net("\"layers\":[{\"type\":\"neuron\",\"model\":\"izhikevich\","
                             "\"refractory_steps\":1}]");
    struct net_options o = options_of(0, TENSOR_F32);
    struct net *multi = spec_net_start(&s, &o);
    o.span_steps = 2;
    struct net *chunk = spec_net_start(&s, &o);
    const struct tensor_desc state = tensor_make(TENSOR_F32, 3, 3, 2, 12, 12); /* v, w, rest */
    cr_expect_eq(net_plan(multi)->saved_bytes, 0);
    cr_expect_eq(net_plan(chunk)->saved_bytes, 2 * mem_align(tensor_bytes(&state), 64));
    cr_expect_eq(net_arena_high_water(chunk), net_plan(chunk)->total_bytes);
    net_destroy(multi);
    net_destroy(chunk);
    spec_deinit(&s);
}

/* Goal: layers that must see all steps get them in one call, and a spec knows them; those of a
 * recurrent layer get single steps, all others the spans asked for. */
Test(spans, only_layers_that_mix_time_get_all_steps, .timeout = 20)
{
    size_t seen = 0, single = 0;
    for (size_t i = 0; i < SPEC_NET_LAYERS; i++) {
        char *text = mem_printf("\"layers\":[%s]", spec_net_layers[i]);
        struct spec s = spec_net(text);
        const struct net_options o = options_of(2, TENSOR_F32);
        struct net *n = spec_net_start(&s, &o);
        for (size_t k = 0; k < n->n_nodes; k++) {
            const struct layer *l = &n->nodes[k].layer;
            const bool all = spec_layer_mixes_time(l->spec) != NULL;
            const bool one = net_walks_together(n, k);
            cr_expect_eq(l->all_steps != NULL, all, "%s", l->ops->name);
            cr_expect_eq(l->span_steps, all ? (size_t)STEPS : one ? 1 : 2, "%s", l->ops->name);
            seen += all;
            single += one;
        }
        net_destroy(n);
        spec_deinit(&s);
        mem_free(text);
    }
    cr_expect(seen == 6 && single == 22, "%zu and %zu", seen, single);
}
