/* Nets that compute parts again: the same bits with less memory, and the choice among all. */
#include "tests/unit/nets/net_fixture.h"
#include "worker/nets/net_memory.h"

#include <math.h>

static struct net *build(const struct layers *s, const struct net_options *o)
{
    struct net *n = NULL;
    struct err e = { 0 };
    cr_assert_eq(net_build(&n, s->l, s->n, 0, o, &e), 0, "%s", e.text);
    return n;
}

/* ---- bits ------------------------------------------------------------------------------------ */
static void same_floats(const float *a, const float *b, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(memcmp(&a[i], &b[i], 4), 0, "%s %zu: %.9g, %.9g", what, i, (double)a[i],
                     (double)b[i]);
}

static void same_tensor(const struct tensor_desc *of, const void *a, const void *b, size_t samples,
                        size_t node)
{
    const struct tensor_desc d = tensor_image(of);
    for (size_t i = 0; i < samples * d.t_stored * d.c * d.h * d.w; i++) {
        const size_t x = i % d.w, y = i / d.w % d.h, c = i / (d.w * d.h) % d.c;
        const size_t t = i / (d.w * d.h * d.c) % d.t_stored,
                     at = i / (d.w * d.h * d.c * d.t_stored);
        cr_assert_eq(tensor_get(&d, a, at, t, c, y, x), tensor_get(&d, b, at, t, c, y, x),
                     "output of node %zu", node);
    }
}

/* Everything a step leaves: output, gradients, running statistics, spikes. */
static void same_step(struct net *a, struct net *b)
{
    size_t floats, other;
    same_outputs(a, b);
    same_weight_gradients(a, b);
    const float *x = net_buffers(a, &floats), *y = net_buffers(b, &other);
    same_floats(x, y, floats, "statistic");
    for (size_t i = 0; i < net_node_count(a); i++) {
        const struct tensor_desc *d;
        cr_assert_eq(net_spike_count(a, i), net_spike_count(b, i), "node %zu", i);
        cr_assert_eq(net_accumulates(a, i), net_accumulates(b, i), "node %zu", i);
        const void *p = net_node_output(a, i, &d), *q = net_node_output(b, i, &d);
        if (q != NULL) same_tensor(d, p, q, net_last_samples(a), i);
    }
}

static size_t run_again(const struct net *n)
{
    size_t count = 0;
    for (size_t i = 0; i < n->n_nodes; i++) count += n->nodes[i].runs_again;
    return count;
}

/* Two steps and an evaluation of a net that keeps all and of one that keeps the least, from memory
 * that is full of NaN. */
static void compare(const struct layers *s, struct net_options o, const char *what)
{
    const size_t b = o.input.b;
    struct net *keeps = fixture_net(s, &o);
    o.recompute = NET_RECOMPUTE_LEAST;
    struct net *again = fixture_net(s, &o);
    cr_assert_gt(run_again(again), 1, "%s", what);
    cr_assert_lt(again->plan.total_bytes, keeps->plan.total_bytes, "%s: %zu of %zu bytes", what,
                 again->plan.total_bytes, keeps->plan.total_bytes);
    cr_assert_eq(again->plan.without_recompute_bytes, keeps->plan.total_bytes, "%s", what);
    cr_assert_eq(net_arena_high_water(again), again->plan.total_bytes);
    memset(again->regions[PLAN_ACTIVATIONS], 0xff, again->plan.activations_bytes);
    for (uint64_t k = 0; k < 2; k++) {
        const struct net_step step = {
            .step = k, .samples = b - k, .training = true, .sample_offset = 2 * k
        };
        fixture_run(keeps, &step);
        fixture_run(again, &step);
        same_step(keeps, again);
        if (!o.input_gradient) continue;
        const struct tensor_desc *d;
        const float *x = net_input_gradient(keeps, &d), *y = net_input_gradient(again, &d);
        cr_assert_eq(memcmp(x, y, tensor_bytes(d)), 0, "%s: input", what);
    }
    const struct net_step seen = { .samples = b };
    net_forward(keeps, &seen);
    net_forward(again, &seen);
    same_outputs(keeps, again);
    net_destroy(keeps);
    net_destroy(again);
}

static void compare_spec(const char *network, struct net_input in, size_t threads)
{
    static struct json_faults faults;
    struct spec s = { 0 };
    struct err e = { 0 };
    char *text = mem_printf("{\"version\":1,\"dataset\":{\"name\":\"x\"},\"network\":{%s}}",
                            network);
    cr_assert_eq(spec_parse_text(text, strlen(text), &s, &faults, &e), 0, "%s: %s", network,
                 faults.items[0].detail);
    mem_free(text);
    const struct net_options o = { .input = in,
                                   .training = true,
                                   .shards = 1,
                                   .threads = threads,
                                   .isa = fixture_isa(),
                                   .seed = 3 };
    struct layers l = { .n = s.n_layers };
    cr_assert_leq(l.n, FIXTURE_LAYERS_MAX);
    memcpy(l.l, s.layers, l.n * sizeof l.l[0]);
    compare(&l, o, network);
    spec_deinit(&s);
}

/* Goal: every kind of layer, with shards, an input gradient, one thread and three, spans of all
 * time-steps and of few, images that are repeated and others: gradients, statistics, counts and
 * outputs have the bits of a net that keeps everything. */
Test(segments, a_chain_has_the_same_bits, .timeout = 60)
{
    const struct layers s = whole_net();
    for (size_t k = 0; k < 6; k++) {
        struct net_options o = fixture_options(4, 5);
        o.threads = k < 2 ? 1 : 3;
        o.shards = k % 2 == 0 ? 1 : 2;
        o.span_steps = k < 4 ? 0 : k - 3;
        o.input.repeat = k == 1;
        o.input_gradient = k != 1;
        compare(&s, o, "whole net");
    }
}

/* Goal: the same for residual networks, which are cut between blocks only, and for what normalises
 * or waits over time. */
Test(segments, networks_of_blocks_have_the_same_bits, .timeout = 120)
{
    static const char sew[] =
        "\"layers\":[{\"type\":\"conv2d\",\"out_channels\":8,\"kernel_size\":3,\"padding\":1},"
        "{\"type\":\"batch_norm\"},{\"type\":\"neuron\"},"
        "{\"type\":\"sew_block\",\"out_channels\":8,\"connect\":\"%s\"},"
        "{\"type\":\"sew_block\",\"out_channels\":16,\"stride\":2,\"connect\":\"%s\"},"
        "{\"type\":\"flatten\"},{\"type\":\"linear\",\"out_features\":10}],"
        "\"neuron\":{\"v_threshold\":0.4}";
    static const char spiking[] =
        "\"layers\":[{\"type\":\"conv2d\",\"out_channels\":8,\"kernel_size\":3,\"padding\":1},"
        "{\"type\":\"temporal_batch_norm\"},{\"type\":\"neuron\"},"
        "{\"type\":\"spiking_block\",\"out_channels\":8},"
        "{\"type\":\"spiking_block\",\"out_channels\":16,\"stride\":2},{\"type\":\"flatten\"},"
        "{\"type\":\"dropout\"},{\"type\":\"linear\",\"out_features\":10}],"
        "\"neuron\":{\"v_threshold\":0.4}";
    static const char *const connects[] = { "add", "and", "iand" };
    const struct net_input in = { 3, 4, 2, 16, 16, false, false };
    for (size_t i = 0; i < 3; i++) {
        char *text = mem_printf(sew, connects[i], connects[i]);
        compare_spec(text, in, i == 1 ? 1 : 3);
        mem_free(text);
    }
    compare_spec(spiking, in, 3);
    compare_spec("\"preset\":\"psn_sequential_cifar\",\"width\":8,\"classes\":5",
                 (struct net_input){ 2, 32, 3, 1, 32, false, false }, 2);
    compare_spec("\"preset\":\"plif_cifar10\",\"width\":8,\"classes\":10",
                 (struct net_input){ 2, 4, 3, 32, 32, true, false }, 2);
}

/* ---- choice ---------------------------------------------------------------------------------- */
/* All rows of segments of a chain, planned in earnest. */
struct brute {
    struct net *n;
    size_t limit, tried, n_segments;
    struct net_segment segments[FIXTURE_LAYERS_MAX];
    uint64_t macs;
    size_t least;
};

static bool boundary(const struct net *n, size_t end) /* of this test's chain: no branches */
{
    if (end == n->n_nodes) return true;
    const struct net_node *before = &n->nodes[end - 1], *behind = &n->nodes[end];
    return !(before->needs.view || before->output_unheld || before->gradient_unheld ||
             behind->needs.view || behind->output_unheld);
}

static void judge(struct brute *b)
{
    struct err e = { 0 };
    for (size_t k = 0; k < b->n_segments; k++)
        for (size_t i = b->segments[k].begin; i < b->segments[k].end; i++) {
            struct net_node *node = &b->n->nodes[i];
            const bool gone = !node->kept && !node->output_unheld && i + 1 != b->segments[k].end;
            node->runs_again = b->segments[k].again && !node->needs.view &&
                               (gone || node->needs.saved_bytes > 0);
        }
    b->n->segments = b->segments;
    b->n->n_segments = b->n_segments;
    cr_assert_eq(net_plan_blocks(b->n, &e), 0, "%s", e.text);
    const struct net_plan *p = &b->n->plan;
    if (p->total_bytes < b->least) b->least = p->total_bytes;
    if (p->total_bytes <= b->limit && p->recomputed_macs < b->macs) b->macs = p->recomputed_macs;
    b->tried++;
}

static void all_rows(struct brute *b, size_t from)
{
    if (from == b->n->n_nodes) {
        judge(b);
        return;
    }
    bool nearest = true;
    const size_t at = b->n_segments++;
    for (size_t to = from + 1; to <= b->n->n_nodes; to++) {
        if (!boundary(b->n, to)) continue;
        for (int again = nearest ? 0 : 1; again < 2; again++) {
            b->segments[at] = (struct net_segment){ from, to, again, 0 };
            all_rows(b, to);
        }
        nearest = false;
    }
    b->n_segments--;
}

static struct layers short_chain(void)
{
    struct layers s = { 0 };
    add_conv(&s, 20, 3, 1, false);
    add_norm(&s);
    add_neuron(&s, "plif");
    add_conv(&s, 33, 3, 1, true);
    add_neuron(&s, "lif");
    add_conv(&s, 20, 1, 0, true);
    add_neuron(&s, "lif");
    add_conv(&s, 20, 1, 0, true);
    add_norm(&s);
    layers_add(&s, SPEC_FLATTEN);
    add_linear(&s, 30, false);
    add_linear(&s, 20, false);
    return s;
}

/* Goal: at every limit the plan has the fewest MACs of all rows of segments that fit, and the
 * fewest bytes are the fewest of all; the arena is what was planned, to the byte. */
Test(segments, the_choice_is_the_best_of_all, .timeout = 120)
{
    const struct layers s = short_chain();
    struct net_options o = fixture_options(8, 8);
    o.recompute = NET_RECOMPUTE_LEAST;
    struct net *n = build(&s, &o);
    const size_t least = net_plan(n)->total_bytes, most = net_plan(n)->without_recompute_bytes;
    uint64_t macs_before = UINT64_MAX;
    size_t kinds = 0, refused = 0;
    net_destroy(n);
    for (size_t i = 0; i <= 20; i++) {
        o.recompute = NET_RECOMPUTE_OFF;
        o.memory_bytes_max = 0;
        struct net *tried = build(&s, &o);
        struct err e = { 0 };
        o.recompute = NET_RECOMPUTE_AUTO;
        o.memory_bytes_max = i < 2 ? least - 1 + i : least + (most - least) * (i - 2) / 19;
        struct brute b = {
            .n = tried, .limit = o.memory_bytes_max, .macs = UINT64_MAX, .least = SIZE_MAX
        };
        net_mark_kept(tried);
        all_rows(&b, 0);
        cr_assert_gt(b.tried, 1000);
        cr_assert_eq(b.least, least);
        tried->segments = NULL;
        net_destroy(tried);
        n = NULL;
        const int rc = net_build(&n, s.l, s.n, 0, &o, &e);
        refused += rc != 0;
        if (rc != 0) {
            cr_assert_eq(rc, (int)ERR_OUT_OF_PLAN);
            cr_assert_gt(b.least, o.memory_bytes_max);
        } else {
            kinds += net_plan(n)->recomputed_macs != macs_before;
            macs_before = net_plan(n)->recomputed_macs;
            cr_assert_leq(net_plan(n)->total_bytes, o.memory_bytes_max);
            cr_assert_eq(net_plan(n)->recomputed_macs, b.macs, "limit %zu", o.memory_bytes_max);
            cr_assert_eq(net_start(n, &e), 0);
            cr_assert_eq(net_arena_high_water(n), net_plan(n)->total_bytes);
        }
        net_destroy(n);
    }
    cr_assert_geq(kinds, 3);
    cr_assert_eq(refused, 1);
}

/* Goal: what fits anyway computes nothing again. */
Test(segments, plenty_of_memory_changes_nothing, .timeout = 20)
{
    const struct layers s = short_chain();
    struct net_options o = fixture_options(4, 4);
    struct net *n = build(&s, &o);
    const size_t bytes = net_plan(n)->total_bytes;
    net_destroy(n);
    o.recompute = NET_RECOMPUTE_AUTO;
    for (int i = 0; i < 2; i++) {
        o.memory_bytes_max = i == 0 ? 0 : bytes;
        n = build(&s, &o);
        cr_assert_eq(net_plan(n)->total_bytes, bytes);
        cr_assert_eq(net_plan(n)->recomputed_macs, 0);
        net_destroy(n);
    }
}

/* ---- monitors -------------------------------------------------------------------------------- */
/* Goal: potentials of a watched neuron are those of a net that keeps everything; of another they
 * are refused, and its input is not handed out. */
Test(segments, watched_neurons_keep_their_input, .timeout = 20)
{
    const struct layers s = short_chain();
    struct net_options o = fixture_options(3, 4);
    const bool watched[FIXTURE_LAYERS_MAX] = { [2] = true };
    const size_t cells[3] = { 0, 77, 20 * 12 * 12 - 1 };
    const struct net_step step = fixture_step(3);
    float v[2][4 * 3];
    struct err e = { 0 };
    for (int i = 0; i < 3; i++) {
        o.recompute = i == 0 ? NET_RECOMPUTE_OFF : NET_RECOMPUTE_LEAST;
        o.watched = i == 1 ? watched : NULL;
        struct net *n = fixture_net(&s, &o);
        const struct tensor_desc *d;
        fixture_run(n, &step);
        const int rc = net_membrane(n, 2, 1, cells, 3, v[i == 1], &e);
        cr_assert_eq(rc, i == 2 ? (int)ERR_INVALID : 0);
        cr_assert_eq(net_node_output(n, 0, &d) == NULL, i == 2); /* of the fused batch norm 1 */
        net_destroy(n);
    }
    cr_assert_eq(memcmp(v[0], v[1], sizeof v[0]), 0);
}
