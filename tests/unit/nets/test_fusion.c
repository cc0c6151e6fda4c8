/* Neurons fused with the batch norm in front and the max pooling behind: nothing changes but the
 * memory that a net needs. */
#include "tests/unit/nets/spec_nets.h"
#include "worker/nets/net_internal.h"

#include <math.h>

static struct net_options options_of(bool unfused)
{
    struct net_options o = fixture_options(3, 5);
    o.input_gradient = true;
    o.unfused = unfused;
    return o;
}

/* Sums for parameters of neurons are cut where tiles are: the same but for rounding. */
static bool cut_by_tiles(const struct net *n, const struct net_param *p)
{
    return n->nodes[p->node].layer.spec->type == SPEC_NEURON;
}

static void same_gradients(struct net *a, struct net *b, const char *what)
{
    for (size_t i = 0; i < net_param_count(a); i++) {
        const struct net_param *p = net_param(a, i);
        if (p->role != NET_WEIGHT) continue;
        float *x = mem_calloc(p->logical, sizeof x[0]), *y = mem_calloc(p->logical, sizeof y[0]);
        net_gradient_read(a, i, x);
        net_gradient_read(b, i, y);
        double largest = 0.0, off = 0.0;
        for (size_t k = 0; k < p->logical; k++) {
            largest = fmax(largest, fabs((double)x[k]));
            off = fmax(off, fabs((double)x[k] - (double)y[k]));
        }
        cr_assert_leq(off, cut_by_tiles(a, p) ? 2e-6 * largest : 0.0, "%s: %s differs by %g of %g",
                      what, p->name, off, largest);
        mem_free(x);
        mem_free(y);
    }
}

static void same_net(struct net *a, struct net *b, const char *what)
{
    size_t floats;
    const struct tensor_desc *d, *other;
    same_outputs(a, b);
    same_gradients(a, b, what);
    const float *x = net_buffers(a, &floats), *y = net_buffers(b, &floats);
    cr_assert_eq(memcmp(x, y, floats * sizeof x[0]), 0, "%s: running statistics", what);
    x = net_input_gradient(a, &d);
    y = net_input_gradient(b, &other);
    cr_assert_eq(memcmp(x, y, tensor_bytes(d)), 0, "%s: input gradient", what);
    for (size_t i = 0; i < net_node_count(a); i++) {
        const void *p = net_node_output(a, i, &d), *q = net_node_output(b, i, &other);
        if (p == NULL || q == NULL) continue;
        cr_assert_eq(memcmp(p, q, tensor_bytes(d)), 0, "%s: node %zu", what, i);
    }
}

static size_t fused_count(const struct net *n)
{
    size_t count = 0;
    for (size_t i = 0; i < n->n_nodes; i++)
        count += (n->nodes[i].norm != NET_NO_NODE) + (n->nodes[i].pool != NET_NO_NODE);
    return count;
}

/* Membranes of some neurons of node i. */
static void same_membranes(const struct net *a, const struct net *b, size_t i)
{
    const size_t cells[3] = { 0, 7, 11 };
    float v[2][64 * 3];
    struct err e = { 0 };
    cr_assert_eq(net_membrane(a, i, 1, cells, 3, v[0], &e), 0, "%s", e.text);
    cr_assert_eq(net_membrane(b, i, 1, cells, 3, v[1], &e), 0, "%s", e.text);
    const size_t t = a->nodes[i].out.t;
    cr_assert_eq(memcmp(v[0], v[1], t * 3 * sizeof(float)), 0, "membranes of node %zu", i);
}

/* Two steps and an evaluation, fused and not. count: neighbours that are fused. */
static void compare(const char *layers, struct net_options o, const uint32_t *lengths, size_t count)
{
    char *text = mem_printf("\"layers\":[%s],\"neuron\":{\"v_threshold\":0.3}", layers);
    struct spec s = spec_net(text);
    struct net *fused = spec_net_start(&s, &o);
    o.unfused = true;
    o.threads = 1;
    struct net *alone = spec_net_start(&s, &o);
    cr_assert_eq(fused_count(fused), count, "%s: %zu", text, fused_count(fused));
    cr_assert_eq(fused_count(alone), 0);
    memset(fused->regions[PLAN_ACTIVATIONS], 0xff, fused->plan.activations_bytes); /* NaN */
    memset(alone->regions[PLAN_ACTIVATIONS], 0xff, alone->plan.activations_bytes);
    for (int i = 0; i < 3; i++) {
        struct net_step step = fixture_step(3);
        step.lengths = lengths;
        step.training = i < 2;
        fixture_run(fused, &step);
        fixture_run(alone, &step);
        same_net(alone, fused, text);
        for (size_t k = 0; k < fused->n_nodes; k++)
            if (fused->nodes[k].norm != NET_NO_NODE) same_membranes(alone, fused, k);
    }
    net_destroy(fused);
    net_destroy(alone);
    spec_deinit(&s);
    mem_free(text);
}

static const char *const chain = "{\"type\":\"conv2d\",\"out_channels\":20,\"kernel_size\":3,"
                                 "\"padding\":1},{\"type\":\"%s\"},{\"type\":\"neuron\",%s},"
                                 "{\"type\":\"max_pool2d\",%s},{\"type\":\"conv2d\","
                                 "\"out_channels\":70,\"kernel_size\":3,\"padding\":1},"
                                 "{\"type\":\"batch_norm\"},{\"type\":\"neuron\"},"
                                 "{\"type\":\"flatten\"},{\"type\":\"linear\",\"out_features\":9}";

static void compare_chain(const char *norm, const char *neuron, const char *pool,
                          struct net_options o, const uint32_t *lengths)
{
    char *layers = mem_printf(chain, norm, neuron, pool);
    compare(layers, o, lengths, 3);
    mem_free(layers);
}

/* Goal: fused or not, every model has the same spikes, statistics and gradients. */
Test(fusion, every_model_has_the_same_bits, .timeout = 120)
{
    size_t count;
    const struct spec_neuron_model *models = spec_neuron_models(&count);
    for (size_t i = 0; i < count; i++) {
        char *neuron = mem_printf("\"model\":\"%s\"", models[i].name);
        struct net_options o = options_of(false);
        o.input.repeat = i % 2 == 0;
        o.shards = i % 3 == 0 ? 2 : 1;
        compare_chain("batch_norm", neuron, "\"kernel_size\":2", o, NULL);
        mem_free(neuron);
    }
}

/* Goal: so it is for windows that leave rows and columns over or have gaps, on 1, 2, 3 and 8
 * threads, for spans of time-steps, samples that end early, and where parts are computed again. */
Test(fusion, windows_spans_lengths_and_threads, .timeout = 120)
{
    static const char *const pools[] = { "\"kernel_size\":2", "\"kernel_size\":5",
                                         "\"kernel_size\":[1,3]",
                                         "\"kernel_size\":2,\"stride\":5" };
    static const size_t threads[] = { 1, 2, 3, 8 }, spans[] = { 0, 1, 3 };
    const uint32_t lengths[] = { 5, 1, 3 };
    for (size_t i = 0; i < 24; i++) {
        struct net_options o = options_of(false);
        o.threads = threads[i % 4];
        o.span_steps = spans[i % 3];
        o.recompute = i < 12 ? NET_RECOMPUTE_OFF : NET_RECOMPUTE_LEAST;
        if (i < 12) {
            const bool ends = i % 5 == 0; /* a PSN reads what lies behind them */
            compare_chain(i % 2 == 0 ? "batch_norm" : "threshold_batch_norm",
                          ends ? "\"model\":\"psn\"" : "\"model\":\"plif\"", pools[i / 3 % 4], o,
                          ends ? lengths : NULL);
            continue;
        }
        o.watched = (const bool[]){ [2] = true, [6] = true, [9] = false };
        compare_chain("batch_norm", "\"model\":\"lif\"", pools[i % 4], o,
                      i % 5 == 0 ? lengths : NULL);
    }
}

/* Goal: rows that are too long for a tile are cut; the bits stay. */
Test(fusion, long_rows_are_cut, .timeout = 60)
{
    struct net_options o = options_of(false);
    o.input = (struct net_input){ .b = 3, .t = 16, .c = 2, .h = 4, .w = 75 };
    const char *layers = "{\"type\":\"conv2d\",\"out_channels\":96,\"kernel_size\":1},"
                         "{\"type\":\"batch_norm\"},{\"type\":\"neuron\"},"
                         "{\"type\":\"max_pool2d\",\"kernel_size\":[2,3]}";
    struct spec s = spec_net("\"layers\":[{\"type\":\"conv2d\",\"out_channels\":96,"
                             "\"kernel_size\":1},{\"type\":\"batch_norm\"},{\"type\":\"neuron\"},"
                             "{\"type\":\"max_pool2d\",\"kernel_size\":[2,3]}]");
    struct net *n = spec_net_start(&s, &o);
    const struct layer *l = &n->nodes[2].layer;
    cr_assert(l->tile.columns < 75 && l->tile.columns % 3 == 0, "%zu columns", l->tile.columns);
    net_destroy(n);
    spec_deinit(&s);
    compare(layers, o, NULL, 2);
}

/* Goal: rows are cut between strips of batch norm's sums where those fit, so that the sums are
 * still made with the neurons, with the bits of the layers one by one; with windows of two rows,
 * and without. */
Test(fusion, rows_are_cut_between_strips, .timeout = 60)
{
    static const char *const pools[] = { ",{\"type\":\"max_pool2d\",\"kernel_size\":2}", "" };
    struct net_options o = options_of(false);
    for (size_t i = 0; i < 2; i++) {
        o.input = (struct net_input){ .b = 3, .t = 16, .c = 2, .h = 4, .w = i == 0 ? 43 : 90 };
        char *layers = mem_printf("{\"type\":\"conv2d\",\"out_channels\":60,\"kernel_size\":1},"
                                  "{\"type\":\"batch_norm\"},{\"type\":\"neuron\"}%s",
                                  pools[i]);
        char *text = mem_printf("\"layers\":[%s]", layers);
        struct spec s = spec_net(text);
        struct net *n = spec_net_start(&s, &o);
        const struct layer *l = &n->nodes[2].layer;
        cr_assert(l->tile.columns < o.input.w && l->tile.columns % BN_STRIP == 0, "%zu columns",
                  l->tile.columns);
        const struct net_step step = fixture_step(3);
        cr_assert(net_sums_are_made(n, &step, 1));
        net_destroy(n);
        spec_deinit(&s);
        compare(layers, o, NULL, i == 0 ? 2 : 1);
        mem_free(text);
        mem_free(layers);
    }
}

/* Goal: what another layer reads too, what a recurrent layer walks step by step, and pooling whose
 * windows overlap, are not fused. */
Test(fusion, only_neighbours_that_nobody_else_reads, .timeout = 60)
{
    const struct net_options o = options_of(false);
    compare("{\"type\":\"conv2d\",\"out_channels\":8,\"kernel_size\":3},{\"type\":\"batch_norm\"},"
            "{\"type\":\"residual\",\"connect\":\"add\",\"body\":[{\"type\":\"neuron\"}]},"
            "{\"type\":\"max_pool2d\",\"kernel_size\":2}",
            o, NULL, 0);
    compare("{\"type\":\"neuron\"},{\"type\":\"max_pool2d\",\"kernel_size\":3,\"stride\":2},"
            "{\"type\":\"neuron\"},{\"type\":\"max_pool2d\",\"kernel_size\":2,\"padding\":1}",
            o, NULL, 0);
    compare("{\"type\":\"recurrent\",\"connect\":\"element_wise\",\"body\":[{\"type\":\"conv2d\","
            "\"out_channels\":2,\"kernel_size\":1},{\"type\":\"neuron\"}]},"
            "{\"type\":\"max_pool2d\",\"kernel_size\":2}",
            o, NULL, 0);
}

/* Goal: windows that ceil_mode cuts at the edge share no tile, and a window of a whole large image
 * is no tile. */
Test(fusion, cut_and_huge_windows_are_not_fused, .timeout = 60)
{
    static const char *const pools[] = { "\"kernel_size\":5,\"ceil_mode\":true",
                                         "\"kernel_size\":[1,5],\"ceil_mode\":true",
                                         "\"kernel_size\":[5,1],\"ceil_mode\":true" };
    struct net_options o = options_of(false);
    for (size_t i = 0; i < 3; i++) {
        char *layers = mem_printf("{\"type\":\"neuron\"},{\"type\":\"max_pool2d\",%s}", pools[i]);
        compare(layers, o, NULL, 0);
        mem_free(layers);
    }
    compare("{\"type\":\"neuron\"},{\"type\":\"max_pool2d\",\"kernel_size\":4,\"ceil_mode\":true}",
            o, NULL, 1); /* cuts none */
    o.input = (struct net_input){ .b = 3, .t = 8, .c = 64, .h = 24, .w = 24 };
    compare("{\"type\":\"neuron\"},{\"type\":\"max_pool2d\",\"kernel_size\":24}", o, NULL, 0);
}

/* Goal: a net needs less memory by what is no longer held, and the arena is what was planned. */
Test(fusion, unheld_tensors_take_no_memory, .timeout = 20)
{
    const struct layers s = whole_net();
    struct net_options o = fixture_options(16, 8);
    struct net *fused = fixture_net(&s, &o);
    o.unfused = true;
    struct net *alone = fixture_net(&s, &o);
    const size_t norm = tensor_bytes(&alone->nodes[1].out);
    cr_assert_leq(net_plan(fused)->activations_bytes + norm, net_plan(alone)->activations_bytes);
    cr_assert_eq(net_arena_high_water(fused), net_plan(fused)->total_bytes);
    /* What the pooling was handed is there until the neurons have read it. */
    const struct net_node *neurons = &fused->nodes[2], *pool = &fused->nodes[3];
    cr_assert_eq(neurons->gradient_block, NET_NO_BLOCK);
    cr_assert_eq(fused->blocks.blocks[pool->gradient_block].last, neurons->backward_at);
    net_destroy(fused);
    net_destroy(alone);
}
