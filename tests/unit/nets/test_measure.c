/* Time and kernels of single nodes: each pass of a node is between two readings of a clock that
 * moves by one millisecond each, whatever walks together or is computed again. */
#include "tests/unit/nets/spec_nets.h"

#include "common/clock.h"
#include "worker/kernels/kernel_trace.h"
#include "worker/nets/net_internal.h"

enum { T = 4, B = 3 };

static int64_t now_ms;
static int64_t tick(void) { return now_ms++; }

static uint64_t products(const struct kernel_trace *k, enum kernel_product wanted)
{
    uint64_t calls = 0;
    for (size_t id = 0; id < KERNEL_ID_COUNT; id++) {
        enum kernel_product product;
        if (kernel_form(id, &product) != NULL && product == wanted) calls += k->calls[id];
    }
    return calls;
}

/* Passes of a node: those of its own, and once more what is computed again. */
static void expect_times(const struct net *n, size_t i)
{
    const struct net_node *at = &n->nodes[i];
    double forward, backward;
    net_node_times(n, i, &forward, &backward);
    const bool together = net_walks_together(n, i),
               learns = n->nodes[at->walk_begin].wants_gradient;
    const double once = together ? T : 1, weights = together ? 1 : 0;
    const double again = at->runs_again ? once : 0;
    cr_expect_eq(forward, once, "%s: forward %g", at->layer.spec->path, forward);
    cr_expect_eq(backward, again + (learns ? once + weights : 0), "%s: backward %g",
                 at->layer.spec->path, backward);
}

/* One measured step of a net and one that is only traced as a whole; how many nodes ran again. */
static size_t compare(const char *layers, enum net_recompute recompute)
{
    struct kernel_trace all = { 0 }, *each;
    char *network = mem_printf("\"layers\":[%s]", layers);
    struct spec s = spec_net(network);
    struct net_options o = fixture_options(B, T);
    o.recompute = recompute;
    o.trace = &all;
    struct net *n = spec_net_start(&s, &o);
    const struct net_step step = fixture_step(B);
    fixture_run(n, &step);
    const uint64_t count = net_node_count(n);
    each = mem_calloc(count, sizeof each[0]);
    const struct kernel_trace whole = all;
    clock_override(tick, NULL);
    net_profile(n, each);
    fixture_run(n, &step);
    net_profile(n, NULL);
    clock_override(NULL, NULL);
    uint64_t sum[PRODUCT_COUNT] = { 0 };
    size_t again = 0;
    for (size_t i = 0; i < count; i++) {
        expect_times(n, i);
        again += n->nodes[i].runs_again;
        const bool synapse = strstr(n->nodes[i].layer.ops->name, "conv") != NULL ||
                             strcmp(n->nodes[i].layer.ops->name, "linear") == 0;
        cr_expect(!synapse || products(&each[i], PRODUCT_FORWARD) > 0 ||
                      products(&each[i], PRODUCT_BACKWARD_DATA) > 0,
                  "%s has no product", n->nodes[i].layer.spec->path);
        for (int k = 0; k < PRODUCT_COUNT; k++)
            sum[k] += products(&each[i], (enum kernel_product)k);
    }
    for (int k = 0; k < PRODUCT_COUNT; k++) {
        cr_expect_eq(sum[k], products(&whole, (enum kernel_product)k), "product %d", k);
        cr_expect_eq(products(&all, (enum kernel_product)k), sum[k], "traced as a whole as well");
    }
    net_destroy(n);
    spec_deinit(&s);
    mem_free(each);
    mem_free(network);
    return again;
}

/* Goal: every pass of every node is timed once and its kernels are counted as its own: also in
 * recurrent layers, which go step by step, and where the backward pass computes again. */
Test(measure, every_pass_belongs_to_its_node, .timeout = 60)
{
    size_t again = 0;
    for (size_t i = 0; i < SPEC_NET_LAYERS; i++) {
        (void)compare(spec_net_layers[i], NET_RECOMPUTE_OFF);
        again += compare(spec_net_layers[i], NET_RECOMPUTE_LEAST);
    }
    cr_assert_gt(again, 5, "nothing was computed again");
}
