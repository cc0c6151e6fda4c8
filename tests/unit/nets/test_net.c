/* Nets: properties of a whole step that hold for every net: equal bits, modes, gradients. */
#include "tests/unit/nets/net_fixture.h"

#include <math.h>

/* ---- equal bits ------------------------------------------------------------------------------ */
static void run_pair(const struct layers *s, const struct net_options *a,
                     const struct net_options *b)
{
    struct net *x = fixture_net(s, a), *y = fixture_net(s, b);
    const struct net_step step = fixture_step(a->input.b);
    for (int i = 0; i < 2; i++) { /* the second step meets used memory and moved statistics */
        fixture_run(x, &step);
        fixture_run(y, &step);
    }
    same_outputs(x, y);
    same_weight_gradients(x, y);
    net_destroy(x);
    net_destroy(y);
}

/* Goal: 1, 2, 3 and 8 threads give the same bits of outputs, gradients and statistics. */
Test(net, threads_change_no_bit, .timeout = 60)
{
    const struct layers s = whole_net();
    for (int repeat = 0; repeat < 2; repeat++) {
        struct net_options a = fixture_options(5, 4);
        a.input.repeat = repeat;
        a.threads = 1;
        struct net_options b = a;
        for (b.threads = 2; b.threads <= 8; b.threads = b.threads == 2 ? 3 : b.threads + 5)
            run_pair(&s, &a, &b);
    }
}

/* Goal: with numerics "exact" every instruction set gives the same bits. */
Test(net, instruction_sets_change_no_bit, .timeout = 60)
{
    const struct layers s = whole_net();
    struct net_options a = fixture_options(3, 4), b = a;
    a.isa = ISA_GENERIC;
    for (b.isa = ISA_GENERIC; b.isa <= fixture_isa(); b.isa++) run_pair(&s, &a, &b);
}

/* Goal: two steps with the same input, weights and step number have the same dropout, a later step
 * another one. */
Test(net, dropout_counts_by_step, .timeout = 20)
{
    struct layers s = { 0 };
    layers_add(&s, SPEC_FLATTEN);
    add_dropout(&s, 0.5);
    const struct net_options o = fixture_options(2, 2);
    struct net *a = fixture_net(&s, &o), *b = fixture_net(&s, &o);
    struct net_step step = fixture_step(2);
    const struct tensor_desc *d;
    fixture_input(a, 0);
    fixture_input(b, 0);
    net_forward(a, &step);
    net_forward(b, &step);
    same_outputs(a, b);
    step.step++;
    net_forward(b, &step);
    const void *x = net_output(a, &d), *y = net_output(b, &d);
    cr_assert_neq(memcmp(x, y, tensor_bytes(d)), 0);
    net_destroy(a);
    net_destroy(b);
}

/* ---- shards ---------------------------------------------------------------------------------- */
static struct layers net_without_batch_statistics(void)
{
    struct layers s = { 0 };
    add_conv(&s, 20, 3, 1, true);
    add_neuron(&s, "plif");
    add_pool(&s, SPEC_MAX_POOL2D, 2);
    layers_add(&s, SPEC_FLATTEN);
    add_dropout(&s, 0.25);
    add_linear(&s, 12, true);
    add_neuron(&s, "psn");
    return s;
}

/* Goal: the gradient over S shards is the binary tree of what each shard alone gives: exactly what
 * S ranks with a share of the batch each would add up. */
static void shards_are_a_tree(bool exact)
{
    const struct layers s = net_without_batch_statistics();
    struct net_options whole = fixture_options(8, 3), part = fixture_options(2, 3);
    whole.shards = 4;
    whole.exact = part.exact = exact;
    struct net *n = fixture_net(&s, &whole), *p[4];
    const struct net_step step = fixture_step(8);
    fixture_run(n, &step);
    size_t floats;
    float *g[4];
    for (size_t k = 0; k < 4; k++) {
        p[k] = fixture_net(&s, &part);
        const struct net_step own = { .step = step.step, .sample_offset = 2 * k, .samples = 2,
                                      .training = true };
        fixture_run(p[k], &own);
        g[k] = net_gradients(p[k], &floats);
    }
    const float *got = net_gradients(n, &floats);
    for (size_t i = 0; i < floats; i++)
        cr_assert_eq(got[i], (g[0][i] + g[1][i]) + (g[2][i] + g[3][i]), "gradient %zu", i);
    for (size_t k = 0; k < 4; k++) net_destroy(p[k]);
    net_destroy(n);
}

Test(net, shards_are_a_binary_tree_of_their_own_gradients, .timeout = 60)
{
    shards_are_a_tree(true);
    shards_are_a_tree(false);
}

/* Goal: batch norm sees the whole batch whatever the shards: outputs agree to rounding. */
Test(net, shards_do_not_cut_batch_statistics, .timeout = 30)
{
    struct layers s = { 0 };
    add_conv(&s, 20, 3, 1, false);
    add_norm(&s);
    struct net_options one = fixture_options(8, 2), four = one;
    four.shards = 4;
    struct net *a = fixture_net(&s, &one), *b = fixture_net(&s, &four);
    const struct net_step step = fixture_step(8);
    fixture_run(a, &step);
    fixture_run(b, &step);
    const struct tensor_desc *d;
    const float *x = net_output(a, &d), *y = net_output(b, &d);
    for (size_t i = 0; i < d->elements; i++) cr_assert_float_eq(x[i], y[i], 1e-5f);
    net_destroy(a);
    net_destroy(b);
}

/* ---- partial batches ------------------------------------------------------------------------- */
static void copy_parameters(struct net *to, const struct net *from)
{
    for (size_t i = 0; i < net_param_count(from); i++) {
        float *values = calloc(net_param(from, i)->logical, sizeof values[0]);
        net_param_read(from, i, values);
        net_param_write(to, i, values);
        free(values);
    }
}

/* Goal: a batch of 3 in a net of 5 gives the bits of a net of 3, with values of an earlier, full
 * batch still in memory behind it. */
Test(net, partial_batch_equals_a_smaller_net, .timeout = 30)
{
    const struct layers s = whole_net();
    const struct net_options five = fixture_options(5, 4), three = fixture_options(3, 4);
    struct net *a = fixture_net(&s, &five), *b = fixture_net(&s, &three);
    struct net_step step = fixture_step(5);
    fixture_run(a, &step);
    copy_parameters(a, b); /* running statistics as they were */
    step.samples = 3;
    fixture_run(a, &step);
    fixture_run(b, &step);
    same_weight_gradients(a, b);
    for (size_t i = 0; i < net_param_count(a); i++) {
        float va[40], vb[40];
        if (net_param(a, i)->role != NET_BUFFER) continue;
        net_param_read(a, i, va);
        net_param_read(b, i, vb);
        cr_assert_eq(memcmp(va, vb, net_param(a, i)->logical * sizeof va[0]), 0);
    }
    net_destroy(a);
    net_destroy(b);
}

/* ---- static prefix --------------------------------------------------------------------------- */
/* Goal: a frame given once (REPEAT) and the same frame given T times agree: 1e-6 forward, 1e-5 in
 * gradients and running statistics. */
Test(net, repeat_agrees_with_its_twin, .timeout = 30)
{
    const struct layers s = whole_net();
    struct net_options once = fixture_options(4, 4), each = once;
    once.input.repeat = true;
    struct net *a = fixture_net(&s, &once), *b = fixture_net(&s, &each);
    fixture_repeats(a, b, 4, 1e-6f);
    for (size_t i = 0; i < net_param_count(a); i++) {
        if (net_param(a, i)->role != NET_BUFFER) continue;
        float va[64], vb[64];
        net_param_read(a, i, va);
        net_param_read(b, i, vb);
        for (size_t k = 0; k < net_param(a, i)->logical; k++)
            cr_assert_float_eq(va[k], vb[k], 1e-5f, "%s", net_param(a, i)->name);
    }
    net_destroy(a);
    net_destroy(b);
}

/* ---- modes ----------------------------------------------------------------------------------- */
/* Goal: a net planned for evaluation only, whose outputs share memory, gives the bits of a training
 * net in evaluation, and monitors see the same spikes and potentials. */
Test(net, evaluation_net_equals_training_net, .timeout = 30)
{
    const struct layers s = whole_net();
    struct net_options o = fixture_options(4, 4);
    o.input.repeat = true;
    struct net *a = fixture_net(&s, &o);
    o.training = false;
    struct net *b = fixture_net(&s, &o);
    const struct net_step step = { .samples = 4, .training = false };
    fixture_input(a, 0);
    fixture_input(b, 0);
    net_forward(a, &step);
    net_forward(b, &step);
    same_outputs(a, b);
    static const size_t neurons[] = { 2, 6, 11, 13 };
    for (size_t i = 0; i < 4; i++) {
        const size_t cells[] = { 0, 7, 29 };
        float va[12], vb[12];
        struct err e = { 0 };
        cr_assert_eq(net_spike_count(a, neurons[i]), net_spike_count(b, neurons[i]));
        cr_assert_eq(net_membrane(a, neurons[i], 3, cells, 3, va, &e), 0);
        cr_assert_eq(net_membrane(b, neurons[i], 3, cells, 3, vb, &e), 0);
        cr_assert_eq(memcmp(va, vb, sizeof va), 0, "node %zu", neurons[i]);
    }
    net_destroy(a);
    net_destroy(b);
}

/* Goal: evaluation leaves running statistics alone and drops nothing. */
Test(net, evaluation_changes_nothing, .timeout = 30)
{
    const struct layers s = whole_net();
    const struct net_options o = fixture_options(4, 4);
    struct net *n = fixture_net(&s, &o);
    fixture_run(n, &(struct net_step){ .samples = 4, .training = true });
    float before[8][40], after[40];
    size_t k = 0;
    for (size_t i = 0; i < net_param_count(n); i++)
        if (net_param(n, i)->role == NET_BUFFER) net_param_read(n, i, before[k++]);
    cr_assert_eq(k, 4);
    const struct net_step step = { .samples = 4, .training = false };
    net_forward(n, &step);
    k = 0;
    for (size_t i = 0; i < net_param_count(n); i++) {
        if (net_param(n, i)->role != NET_BUFFER) continue;
        net_param_read(n, i, after);
        cr_assert_eq(memcmp(after, before[k++], net_param(n, i)->logical * 4), 0);
    }
    net_destroy(n);
}

/* Goal: dropout of spikes leaves bits and moves its factor into the scale, in training only;
 * average pooling behind it counts and has the window in its scale. */
Test(net, scales_follow_the_mode, .timeout = 20)
{
    struct layers s = { 0 };
    add_neuron(&s, "if");
    add_dropout(&s, 0.2);
    add_pool(&s, SPEC_AVG_POOL2D, 2);
    const struct net_options o = fixture_options(2, 2);
    struct net *n = fixture_net(&s, &o);
    const struct tensor_desc *d;
    fixture_input(n, 0);
    for (int training = 1; training >= 0; training--) {
        const float factor = training ? 1.25f : 1.0f;
        net_forward(n, &(struct net_step){ .samples = 2, .training = training });
        (void)net_node_output(n, 1, &d);
        cr_assert(d->kind == TENSOR_BITS && d->scale == factor);
        (void)net_node_output(n, 2, &d);
        cr_assert(d->kind == TENSOR_COUNT8 && d->scale == factor / 4.0f);
    }
    net_destroy(n);
}

/* ---- gradients ------------------------------------------------------------------------------- */
static double smooth_loss(struct net *n, const struct net_step *step)
{
    const struct tensor_desc *d;
    net_forward(n, step);
    const void *y = net_output(n, &d);
    double sum = 0.0;
    for (size_t b = 0; b < step->samples; b++)
        for (size_t t = 0; t < d->t; t++)
            for (size_t i = 0; i < d->c; i++) {
                const double v = (double)tensor_get(d, y, b, t, i, 0, 0);
                sum += 0.5 * (v - 0.3) * (v - 0.3);
            }
    return sum;
}

/* Goal: on a smooth chain (convolution, batch norm, average pooling, flatten, linear) the weight
 * gradients are the slopes of the loss. */
Test(net, gradients_match_finite_differences, .timeout = 60)
{
    struct layers s = { 0 };
    add_conv(&s, 5, 3, 1, true);
    add_norm(&s);
    add_pool(&s, SPEC_AVG_POOL2D, 2);
    add_conv(&s, 6, 3, 0, false);
    layers_add(&s, SPEC_FLATTEN);
    add_linear(&s, 4, true);
    for (int repeat = 0; repeat < 2; repeat++) {
        struct net_options o = fixture_options(3, 2);
        o.input.repeat = repeat;
        struct net *n = fixture_net(&s, &o);
        const struct net_step step = fixture_step(3);
        fixture_input(n, 0);
        smooth_loss(n, &step);
        const struct tensor_desc *d, *od;
        float *g = net_output_gradient(n, &d);
        const void *y = net_output(n, &od);
        for (size_t i = 0; i < 3 * 2 * 4; i++)
            tensor_set(d, g, i / 8, i / 4 % 2, i % 4, 0, 0,
                       tensor_get(od, y, i / 8, i / 4 % 2, i % 4, 0, 0) - 0.3f);
        net_backward(n, &step);
        for (size_t i = 0; i < net_param_count(n); i++) {
            const struct net_param *p = net_param(n, i);
            if (p->role != NET_WEIGHT) continue;
            float values[1024], gradient[1024];
            cr_assert_lt(p->logical, 1024);
            net_param_read(n, i, values);
            net_gradient_read(n, i, gradient);
            for (size_t k = 0; k < p->logical; k += 1 + p->logical / 5) {
                const float old = values[k], eps = 1e-2f;
                values[k] = old + eps;
                net_param_write(n, i, values);
                const double up = smooth_loss(n, &step);
                values[k] = old - eps;
                net_param_write(n, i, values);
                const double down = smooth_loss(n, &step);
                values[k] = old;
                net_param_write(n, i, values);
                const double slope = (up - down) / ((double)(old + eps) - (double)(old - eps));
                cr_assert(fabs(slope - (double)gradient[k]) <= 2e-3 * (1.0 + fabs(slope)),
                          "%s[%zu]: %g, slope %g", p->name, k, (double)gradient[k], slope);
            }
        }
        net_destroy(n);
    }
}

/* Goal: the norm of a node's gradient is that of its parameters' gradients. */
Test(net, grad_norm_is_the_norm_of_the_gradients, .timeout = 30)
{
    const struct layers s = whole_net();
    const struct net_options o = fixture_options(3, 4);
    struct net *n = fixture_net(&s, &o);
    const struct net_step step = fixture_step(3);
    fixture_run(n, &step);
    for (size_t node = 0; node < net_node_count(n); node++) {
        double sum = 0.0;
        for (size_t i = 0; i < net_param_count(n); i++) {
            const struct net_param *p = net_param(n, i);
            if (p->node != node || p->role != NET_WEIGHT) continue;
            float *g = calloc(p->logical, sizeof g[0]);
            net_gradient_read(n, i, g);
            for (size_t k = 0; k < p->logical; k++) sum += (double)g[k] * (double)g[k];
            free(g);
        }
        const double norm = net_grad_norm(n, node);
        cr_assert(fabs(norm - sqrt(sum)) <= 1e-6 * (1.0 + norm), "node %zu", node);
    }
    net_destroy(n);
}
