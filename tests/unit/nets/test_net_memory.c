/* Memory of nets: the plan, what shares memory, and what happens when there is too little. */
#include "tests/unit/nets/net_fixture.h"
#include "worker/layers/layer.h"
#include "worker/nets/net_internal.h"

/* Goal: a step allocates nothing. */
Test(net_memory, step_allocates_nothing, .timeout = 30)
{
    const struct layers s = whole_net();
    const struct net_options o = fixture_options(4, 4);
    struct net *n = fixture_net(&s, &o);
    const struct net_step step = fixture_step(4);
    fixture_run(n, &step);
    const size_t before = mem_allocation_count();
    fixture_run(n, &step);
    cr_assert_eq(mem_allocation_count(), before);
    net_destroy(n);
}

/* Goal: the arena holds what the plan counted, to the byte, and the kinds add up. */
Test(net_memory, arena_equals_the_plan, .timeout = 30)
{
    const struct layers s = whole_net();
    for (int training = 0; training < 2; training++) {
        struct net_options o = fixture_options(4, 4);
        o.training = training;
        o.shards = 2;
        struct net *n = fixture_net(&s, &o);
        const struct net_plan *p = net_plan(n);
        cr_assert_eq(net_arena_high_water(n), p->total_bytes);
        cr_assert_eq(p->parameters_bytes + p->gradients_bytes + p->buffers_bytes +
                         p->activations_bytes + p->saved_bytes + p->scratch_bytes + p->io_bytes,
                     p->total_bytes);
        size_t floats;
        (void)net_weights(n, &floats);
        cr_assert_eq(p->parameters_bytes, floats * sizeof(float));
        cr_assert_eq(p->gradients_bytes, training ? 2 * floats * sizeof(float) : 0);
        net_destroy(n);
    }
}

/* Goal: gradients share memory with each other, and evaluation needs less than training. */
Test(net_memory, gradients_reuse_memory, .timeout = 30)
{
    const struct layers s = whole_net();
    struct net_options o = fixture_options(4, 4);
    struct net *n = fixture_net(&s, &o);
    size_t separate = 0;
    for (size_t i = 0; i < n->n_nodes; i++)
        separate += tensor_bytes(&n->nodes[i].out) + tensor_bytes(&n->nodes[i].gradient);
    cr_assert_lt(net_plan(n)->activations_bytes, separate);
    o.training = false;
    struct net *eval = fixture_net(&s, &o);
    cr_assert_lt(net_plan(eval)->total_bytes, net_plan(n)->total_bytes);
    net_destroy(n);
    net_destroy(eval);
}

/* Goal: what a step left in shared memory never reaches the next one. */
Test(net_memory, stale_memory_is_never_read, .timeout = 30)
{
    const struct layers s = whole_net();
    const struct net_options o = fixture_options(3, 4);
    struct net *a = fixture_net(&s, &o), *b = fixture_net(&s, &o);
    memset(b->regions[PLAN_ACTIVATIONS], 0xff, b->plan.activations_bytes); /* NaN everywhere */
    memset(b->regions[PLAN_SCRATCH], 0xff, b->plan.scratch_bytes);
    memset(b->regions[PLAN_SAVED], 0xff, b->plan.saved_bytes);
    const struct net_step step = fixture_step(3);
    fixture_run(a, &step);
    fixture_run(b, &step);
    const struct tensor_desc *d;
    const void *x = net_output(a, &d), *y = net_output(b, &d);
    for (size_t i = 0; i < 3 * 4 * d->c; i++)
        cr_assert_eq(tensor_get(d, x, i / d->c / 4, i / d->c % 4, i % d->c, 0, 0),
                     tensor_get(d, y, i / d->c / 4, i / d->c % 4, i % d->c, 0, 0));
    same_weight_gradients(a, b);
    net_destroy(a);
    net_destroy(b);
}

static bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    return (const char *)a < (const char *)b + b_bytes &&
           (const char *)b < (const char *)a + a_bytes;
}

static void check_no_overlap(const struct net *n)
{
    for (size_t i = 0; i < n->n_nodes; i++) {
        const struct net_node *a = &n->nodes[i];
        const size_t bytes = tensor_bytes(&a->gradient);
        if (a->gradient_data == NULL) continue;
        for (size_t j = 0; j < n->n_nodes; j++)
            cr_assert(!overlap(a->gradient_data, bytes, n->nodes[j].out_data,
                               tensor_bytes(&n->nodes[j].out)));
        if (i == 0 || n->nodes[i - 1].gradient_data == NULL) continue;
        const struct net_node *in = &n->nodes[i - 1];
        cr_assert(
            (a->needs.view && in->gradient_data == a->gradient_data) ||
                !overlap(a->gradient_data, bytes, in->gradient_data, tensor_bytes(&in->gradient)),
            "nodes %zu and %zu", i - 1, i);
    }
}

/* Goal: a gradient never lies over the one it is computed from, but for views, nor over an output:
 * for the end of a net after its first 0 to 7 layers, so that blocks fall in several ways. */
Test(net_memory, gradients_do_not_overlap_what_they_need, .timeout = 30)
{
    const struct layers whole = whole_net();
    for (size_t skip = 0; skip < 8; skip++) {
        struct layers s = { .n = whole.n - skip };
        memcpy(s.l, whole.l + skip, s.n * sizeof s.l[0]);
        const struct net_options o = fixture_options(4, 4);
        struct net *n = fixture_net(&s, &o);
        check_no_overlap(n);
        net_destroy(n);
    }
}

/* Goal: a convolution is handed a gradient with a border and padding channels of zeros, whatever
 * was in that memory before. */
Test(net_memory, convolutions_read_a_border_of_zeros, .timeout = 30)
{
    struct layers s = { 0 };
    add_conv(&s, 20, 3, 1, true);
    add_neuron(&s, "if");
    const struct net_options o = fixture_options(3, 2);
    struct net *n = fixture_net(&s, &o);
    const struct tensor_desc *d = &n->nodes[0].gradient;
    const float *g = n->nodes[0].gradient_data;
    cr_assert(d->blocked && d->c_stored == 32);
    memset(n->regions[PLAN_ACTIVATIONS], 0xff, n->plan.activations_bytes);
    const struct net_step step = fixture_step(3);
    fixture_run(n, &step);
    size_t inside = 0;
    for (size_t image = 0; image < 6; image++)
        for (size_t i = 0; i < 14 * 14 * 32; i++) {
            const size_t y = i / 448, x = i / 32 % 14, c = i % 32;
            const float v = g[image / 2 * d->sample + image % 2 * d->time + i];
            if (y == 0 || y == 13 || x == 0 || x == 13 || c >= 20) cr_assert_eq(v, 0.0f);
            else inside += v != 0.0f;
        }
    cr_assert_gt(inside, 1000);
    net_destroy(n);
}

/* Goal: a plan over the limit is refused before anything is allocated, with ERR_OUT_OF_PLAN. */
Test(net_memory, plan_over_the_limit_is_refused)
{
    const struct layers s = whole_net();
    struct net_options o = fixture_options(4, 4);
    o.memory_bytes_max = 1 << 20;
    struct net *n = NULL;
    struct err e = { 0 };
    cr_assert_eq(net_build(&n, s.l, s.n, 10, &o, &e), (int)ERR_OUT_OF_PLAN);
    cr_assert_null(n);
}

/* Goal: a shape that does not fit is ERR_SPEC and names the layer. */
Test(net_memory, shape_errors_name_the_layer)
{
    struct layers s = { 0 };
    add_conv(&s, 8, 3, 1, false);
    add_linear(&s, 10, true);
    const struct net_options o = fixture_options(2, 2);
    struct net *n = NULL;
    struct err e = { 0 };
    cr_assert_eq(net_build(&n, s.l, s.n, 10, &o, &e), (int)ERR_SPEC);
    cr_assert_not_null(strstr(e.text, "layer 1 (linear)"), "%s", e.text);
    s.n = 1;
    cr_assert_eq(net_build(&n, s.l, s.n, 10, &o, &e), (int)ERR_SPEC);
    cr_assert_not_null(strstr(e.text, "10 classes"), "%s", e.text);
}

/* Goal: an allocation that fails anywhere in build or start gives ERR_NOMEM and leaks nothing. */
Test(net_memory, allocation_failures_are_reported, .timeout = 30)
{
    const struct layers s = whole_net();
    const struct net_options o = fixture_options(2, 2);
    for (size_t k = 1; k < 40; k++) {
        struct net *n = NULL;
        struct err e = { 0 };
        mem_fail_after(k);
        int rc = net_build(&n, s.l, s.n, 10, &o, &e);
        if (rc == 0) rc = net_start(n, &e);
        mem_fail_after(0);
        net_destroy(n);
        if (rc == 0) {
            cr_assert_gt(k, 3);
            return;
        }
        cr_assert_eq(rc, (int)ERR_NOMEM, "%s", e.text);
    }
    cr_assert_fail("never succeeded");
}

/* Goal: the sums of a PSN and of batch norm are planned once a shard, not once a sample. */
Test(net_memory, sums_are_planned_by_shards, .timeout = 30)
{
    for (int kind = 0; kind < 2; kind++) {
        struct layers s = { 0 };
        if (kind == 0) add_neuron(&s, "psn");
        else add_norm(&s);
        struct net_options o = fixture_options(16, 32);
        size_t bytes[2];
        for (int i = 0; i < 2; i++) {
            o.shards = i == 0 ? 1 : 8;
            struct net *n = fixture_net(&s, &o);
            const struct net_step step = fixture_step(16);
            fixture_run(n, &step);
            bytes[i] = net_plan(n)->scratch_bytes;
            net_destroy(n);
        }
        /* PSN: T*T weights and T biases; batch norm: two sums of 16 stored channels */
        const size_t sums = kind == 0 ? 32 * 32 + 32 : 2 * 16;
        cr_assert_eq(bytes[1] - bytes[0], 7 * sums * sizeof(double), "%zu and %zu", bytes[0],
                     bytes[1]);
    }
}

/* Goal: a view of a view keeps the tensor below it alive: evaluation with two flattens gives the
 * bits of evaluation with one. */
Test(net_memory, two_views_in_a_row_keep_what_they_show, .timeout = 20)
{
    struct net *nets[2];
    for (size_t k = 0; k < 2; k++) {
        struct layers s = { 0 };
        add_conv(&s, 16, 3, 1, false);
        for (size_t i = 0; i <= k; i++) layers_add(&s, SPEC_FLATTEN);
        add_linear(&s, 600, false);
        struct net_options o = fixture_options(2, 2);
        o.training = false;
        nets[k] = fixture_net(&s, &o);
        fixture_input(nets[k], 0);
        const struct net_step step = { .samples = 2 };
        net_forward(nets[k], &step);
    }
    same_outputs(nets[0], nets[1]);
    net_destroy(nets[0]);
    net_destroy(nets[1]);
}
