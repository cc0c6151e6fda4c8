/* Nets with branches: forks, nodes with two inputs, what memory they share. Properties of a whole
 * step that test_net.c shows for chains, here for a net with every kind of connection. */
#include "tests/unit/nets/net_fixture.h"
#include "worker/nets/net_internal.h"

#include <math.h>

/* ---- the net --------------------------------------------------------------------------------- */
/* Index of the last layer. */
static size_t here(const struct layers *s) { return s->n - 1; }

static void reads(struct layers *s, size_t from)
{
    s->l[here(s)].inputs[0] = from;
    s->l[here(s)].n_inputs = 1;
}

static void meet(struct layers *s, enum spec_connect connect, size_t body, size_t shortcut)
{
    struct spec_layer *l = layers_add(s, SPEC_RESIDUAL);
    l->u.residual.connect = connect;
    l->inputs[0] = body;
    l->inputs[1] = shortcut;
    l->n_inputs = 2;
}

static void add_stage(struct layers *s, int64_t channels, const char *model)
{
    add_conv(s, channels, 3, 1, false);
    add_norm(s);
    add_neuron(s, model);
}

/* Floats meet, then spikes meet in every way; a fork of three readers; a pooled sum; 10 classes. */
static struct layers graph_net(void)
{
    struct layers s = { 0 };
    add_conv(&s, 20, 3, 1, false); /* 0: read by the body and by the meeting point */
    add_conv(&s, 20, 3, 1, true);  /* 1 */
    meet(&s, SPEC_ADD, 1, 0);      /* 2: F32 + F32 */
    add_neuron(&s, "plif");        /* 3: read by 4 and by 11, through 7 by none else */
    add_stage(&s, 20, "lif");      /* 4 5 6 */
    meet(&s, SPEC_ADD, 6, 3);      /* 7: COUNT8 */
    add_pool(&s, SPEC_MAX_POOL2D, 2); /* 8: of counts */
    add_stage(&s, 20, "psn");      /* 9 10 11 */
    meet(&s, SPEC_IAND, 11, 8);    /* 12: counts where no spike is */
    add_conv(&s, 20, 1, 0, false); /* 13: shortcut of the next one */
    reads(&s, 8);
    add_neuron(&s, "if");          /* 14 */
    meet(&s, SPEC_IAND_SWAPPED, 11, 14); /* 15: bits; 11 is read by 12 and 15 */
    meet(&s, SPEC_AND, 15, 12);    /* 16: counts */
    layers_add(&s, SPEC_FLATTEN);  /* 17 */
    add_dropout(&s, 0.25);         /* 18 */
    meet(&s, SPEC_ADD, 18, 17);    /* 19: a flattened image, as floats */
    add_linear(&s, 10, true);
    return s;
}

static struct net *graph(const struct net_options *o)
{
    static struct layers s; /* borrowed by the net */
    s = graph_net();
    return fixture_net(&s, o);
}

/* ---- kinds ----------------------------------------------------------------------------------- */
/* Goal: sums of spikes are counts with the largest value there can be, AND and IAND of spikes stay
 * spikes, whatever has a factor of its own meets as floats. */
Test(graph, kinds_follow_from_the_branches, .timeout = 20)
{
    static const struct {
        size_t node, largest;
        enum tensor_kind kind;
    } want[] = { { 2, 0, TENSOR_F32 },    { 7, 2, TENSOR_COUNT8 },  { 8, 2, TENSOR_COUNT8 },
                 { 12, 2, TENSOR_COUNT8 }, { 15, 1, TENSOR_BITS },   { 16, 2, TENSOR_COUNT8 },
                 { 19, 0, TENSOR_F32 } };
    const struct net_options o = fixture_options(2, 4);
    struct net *n = graph(&o);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        const struct tensor_desc *d = &n->nodes[want[i].node].out;
        cr_expect(d->kind == want[i].kind, "node %zu", want[i].node);
        cr_expect_eq(d->largest, want[i].largest, "node %zu", want[i].node);
    }
    net_destroy(n);
}

/* Goal: a factor that spikes have from dropout is known behind every layer that only passes them
 * on: they meet other spikes as floats, and the sum is right. */
Test(graph, factors_pass_through_layers, .timeout = 20)
{
    for (int kind = 0; kind < 3; kind++) {
        struct layers s = { 0 };
        add_neuron(&s, "if");
        add_dropout(&s, 0.5);
        if (kind == 0) add_pool(&s, SPEC_MAX_POOL2D, 1);
        if (kind == 1) {
            struct spec_layer *l = layers_add(&s, SPEC_UPSAMPLE);
            l->u.upsample.scale_factor[0] = l->u.upsample.scale_factor[1] = 1;
        }
        if (kind == 2) layers_add(&s, SPEC_FLATTEN);
        if (kind == 2) {
            layers_add(&s, SPEC_FLATTEN);
            reads(&s, 0);
        }
        meet(&s, SPEC_ADD, 2, kind == 2 ? 3 : 0);
        const struct net_options o = fixture_options(2, 2);
        struct net *n = fixture_net(&s, &o);
        const struct net_step step = fixture_step(2);
        fixture_input(n, 0);
        net_forward(n, &step);
        const struct tensor_desc *d, *kd = &n->nodes[1].out, *sd = &n->nodes[0].out;
        const float *y = net_output(n, &d);
        cr_assert_eq(d->kind, TENSOR_F32, "kind %d", kind);
        size_t doubled = 0;
        for (size_t i = 0; i < 288; i++) {
            const size_t c = i / 144, row = i / 12 % 12, col = i % 12;
            const float kept = tensor_get(kd, n->nodes[1].out_data, 1, 1, c, row, col);
            const float want = kept + tensor_get(sd, n->nodes[0].out_data, 1, 1, c, row, col);
            const float got = kind == 2 ? tensor_get(d, y, 1, 1, i, 0, 0)
                                        : tensor_get(d, y, 1, 1, c, row, col);
            cr_assert_eq(got, want, "kind %d, %zu", kind, i);
            doubled += want == 3.0f;
        }
        cr_expect_gt(doubled, 5);
        net_destroy(n);
    }
}

/* Goal: 255 blocks of ADD fit a byte, one more are floats, and both give the same numbers. */
Test(graph, counts_beyond_a_byte_are_floats, .timeout = 60)
{
    struct spec_layer *l = calloc(1024, sizeof *l);
    size_t n = 0, sum = 0;
    l[n++] = (struct spec_layer){ .type = SPEC_NEURON }; /* threshold 0: spikes where x >= 0 */
    l[0].u.neuron = (struct spec_neuron){ .model = fixture_model("if") };
    for (size_t i = 0; i < 256; i++) { /* spikes of a copy, added to what is there */
        l[n] = (struct spec_layer){ .type = SPEC_RESIDUAL, .inputs = { 0, sum }, .n_inputs = 2 };
        sum = n++;
    }
    for (size_t i = 0; i < n; i++) snprintf(l[i].path, sizeof l[i].path, "%zu", i);
    struct net_options o = { .input = { .b = 1, .t = 1, .c = 3, .h = 1, .w = 1 }, .shards = 1,
                             .training = true, .threads = 1, .isa = fixture_isa() };
    struct net *net = NULL;
    struct err e = { 0 };
    cr_assert_eq(net_build(&net, l, n, 0, &o, &e), 0, "%s", e.text);
    cr_assert_eq(net_start(net, &e), 0, "%s", e.text);
    const struct tensor_desc *d;
    float *x = net_input_data(net, &d);
    x[1] = 1.0f;
    x[0] = x[2] = -1.0f;
    const struct net_step step = { .samples = 1 };
    net_forward(net, &step);
    cr_expect(net->nodes[254].out.kind == TENSOR_COUNT8 && net->nodes[254].out.largest == 255);
    cr_expect(net->nodes[255].out.kind == TENSOR_F32 && net->nodes[256].out.kind == TENSOR_F32);
    for (size_t i = 0; i < 3; i++) {
        const float want = i == 1 ? 1.0f : 0.0f;
        d = &net->nodes[254].out;
        cr_expect_eq(tensor_get(d, net->nodes[254].out_data, 0, 0, i, 0, 0), 255 * want);
        const void *y = net_output(net, &d);
        cr_expect_eq(tensor_get(d, y, 0, 0, i, 0, 0), 257 * want);
    }
    net_destroy(net);
    free(l);
}

/* ---- equal bits ------------------------------------------------------------------------------ */
static void run_pair(const struct net_options *a, const struct net_options *b)
{
    struct net *x = graph(a), *y = graph(b);
    const struct net_step step = fixture_step(a->input.b);
    for (int i = 0; i < 2; i++) {
        fixture_run(x, &step);
        fixture_run(y, &step);
    }
    same_outputs(x, y);
    same_weight_gradients(x, y);
    net_destroy(x);
    net_destroy(y);
}

/* Goal: threads and instruction sets change no bit, with a repeated frame too. */
Test(graph, threads_and_instruction_sets_change_no_bit, .timeout = 60)
{
    for (int repeat = 0; repeat < 2; repeat++) {
        struct net_options a = fixture_options(5, 4), b;
        a.input.repeat = repeat;
        a.threads = 1;
        b = a;
        for (b.threads = 2; b.threads <= 8; b.threads *= 2) run_pair(&a, &b);
        b = a;
        for (b.isa = ISA_GENERIC; b.isa < a.isa; b.isa++) run_pair(&a, &b);
    }
}

/* Goal: a batch of 3 in a net of 5 gives the bits of a net of 3. */
Test(graph, partial_batch_equals_a_smaller_net, .timeout = 30)
{
    const struct net_options five = fixture_options(5, 4), three = fixture_options(3, 4);
    struct net *a = graph(&five), *b = graph(&three);
    struct net_step step = fixture_step(3);
    fixture_run(a, &step);
    fixture_run(b, &step);
    same_weight_gradients(a, b);
    net_destroy(a);
    net_destroy(b);
}

/* Goal: with batch norm taken away, the gradient over shards is the tree of what each gives. */
Test(graph, shards_are_a_binary_tree, .timeout = 30)
{
    struct layers s = { 0 };
    add_conv(&s, 20, 3, 1, true);
    add_neuron(&s, "plif");
    add_conv(&s, 20, 3, 1, true);
    add_neuron(&s, "psn");
    meet(&s, SPEC_ADD, 3, 1);
    add_conv(&s, 12, 3, 1, true);
    struct net_options whole = fixture_options(4, 3), part = fixture_options(2, 3);
    whole.shards = 2;
    struct net *n = fixture_net(&s, &whole), *p[2];
    const struct net_step step = fixture_step(4);
    fixture_run(n, &step);
    size_t floats;
    const float *got = net_gradients(n, &floats), *g[2];
    for (size_t k = 0; k < 2; k++) {
        p[k] = fixture_net(&s, &part);
        const struct net_step own = { .step = step.step, .sample_offset = 2 * k, .samples = 2,
                                      .training = true };
        fixture_run(p[k], &own);
        g[k] = net_gradients(p[k], &floats);
    }
    for (size_t i = 0; i < floats; i++) cr_assert_eq(got[i], g[0][i] + g[1][i], "gradient %zu", i);
    for (size_t k = 0; k < 2; k++) net_destroy(p[k]);
    net_destroy(n);
}

/* ---- memory ---------------------------------------------------------------------------------- */
/* Goal: what shared memory held before never reaches a result. */
Test(graph, stale_memory_is_never_read, .timeout = 30)
{
    const struct net_options o = fixture_options(3, 4);
    struct net *a = graph(&o), *b = graph(&o);
    memset(b->regions[PLAN_ACTIVATIONS], 0xff, b->plan.activations_bytes);
    memset(b->regions[PLAN_SCRATCH], 0xff, b->plan.scratch_bytes);
    memset(b->regions[PLAN_SAVED], 0xff, b->plan.saved_bytes);
    const struct net_step step = fixture_step(3);
    fixture_run(a, &step);
    fixture_run(b, &step);
    same_weight_gradients(a, b);
    net_destroy(a);
    net_destroy(b);
}

/* Goal: a net planned for evaluation, whose branches share memory, gives the bits of a training net
 * in evaluation, and needs less. */
Test(graph, evaluation_net_equals_training_net, .timeout = 30)
{
    struct net_options train = fixture_options(3, 4), evaluate = train;
    evaluate.training = false;
    struct net *a = graph(&train), *b = graph(&evaluate);
    cr_expect_lt(b->plan.activations_bytes, a->plan.activations_bytes);
    const struct net_step step = { .samples = 3 };
    fixture_input(a, 0);
    fixture_input(b, 0);
    net_forward(a, &step);
    net_forward(b, &step);
    same_outputs(a, b);
    net_destroy(a);
    net_destroy(b);
}

/* Goal: the gradient at a fork and its addends have memory of their own while they are needed. */
Test(graph, addends_lie_apart, .timeout = 20)
{
    const struct net_options o = fixture_options(2, 4);
    struct net *n = graph(&o);
    size_t forks = 0;
    for (size_t i = 0; i < n->n_nodes; i++) {
        const struct net_node *node = &n->nodes[i];
        cr_expect_eq(node->addend_data != NULL, node->readers.count > 1, "node %zu", i);
        if (node->addend_data == NULL) continue;
        forks++;
        const size_t bytes = tensor_bytes(&node->gradient);
        cr_expect(node->addend_data >= node->gradient_data + bytes / 4 ||
                  node->gradient_data >= node->addend_data + bytes / 4);
    }
    cr_expect_eq(forks, 5); /* 0, 3, 8, 11, 17 */
    net_destroy(n);
}

/* ---- gradients ------------------------------------------------------------------------------- */
/* Sum of output times upstream, in double. */
static double loss_of(struct net *n, const struct net_step *s)
{
    net_forward(n, s);
    const struct tensor_desc *d, *gd;
    const void *y = net_output(n, &d);
    fixture_upstream(n, 0, s->samples);
    const float *g = net_output_gradient(n, &gd);
    double sum = 0;
    for (size_t i = 0; i < s->samples * d->t * d->c * d->h * d->w; i++) {
        const size_t b = i / (d->t * d->c * d->h * d->w), t = i / (d->c * d->h * d->w) % d->t;
        const size_t c = i / (d->h * d->w) % d->c, p = i % (d->h * d->w);
        sum += (double)tensor_get(d, y, b, t, c, p / d->w, p % d->w) *
               (double)tensor_get(gd, g, b, t, c, p / d->w, p % d->w);
    }
    return sum;
}

/* A net of convolutions alone is a polynomial: differences show its gradient. Every connection of
 * floats, a fork of four readers, one of them through a flattened view of a view. */
static struct layers smooth_net(void)
{
    struct layers s = { 0 };
    add_conv(&s, 6, 3, 1, true);   /* 0 */
    add_conv(&s, 6, 3, 1, true);   /* 1 */
    meet(&s, SPEC_ADD, 1, 0);      /* 2 */
    meet(&s, SPEC_AND, 2, 0);      /* 3 */
    meet(&s, SPEC_IAND, 3, 1);     /* 4 */
    meet(&s, SPEC_IAND_SWAPPED, 4, 0); /* 5 */
    layers_add(&s, SPEC_FLATTEN);  /* 6 */
    layers_add(&s, SPEC_FLATTEN);  /* 7 */
    layers_add(&s, SPEC_FLATTEN);  /* 8: of node 0 */
    reads(&s, 0);
    meet(&s, SPEC_AND, 7, 8);
    add_linear(&s, 5, true);
    return s;
}

/* Goal: dL/dx of every connection and of forks is what finite differences say, to first order. */
static void check_differences(bool repeat)
{
    const struct layers s = smooth_net();
    struct net_options o = fixture_options(2, 2);
    o.input_gradient = true;
    o.input.repeat = repeat;
    struct net *n = fixture_net(&s, &o);
    const struct net_step step = { .samples = 2, .training = true };
    fixture_run(n, &step);
    const struct tensor_desc *d, *gd;
    float *x = net_input_data(n, &d);
    const float *dx = net_input_gradient(n, &gd);
    const float h = 1.0f / 64;
    for (size_t i = 0; i < 40; i++) {
        const size_t b = i % 2, t = d->t_stored > 1 ? i / 2 % 2 : 0, c = i / 4 % 2;
        const size_t row = i * 5 % 12, col = i * 7 % 12;
        const float v = tensor_get(d, x, b, t, c, row, col);
        const float got = tensor_get(gd, dx, b, t, c, row, col);
        tensor_set(d, x, b, t, c, row, col, v + h);
        const double up = loss_of(n, &step);
        tensor_set(d, x, b, t, c, row, col, v - h);
        const double down = loss_of(n, &step);
        tensor_set(d, x, b, t, c, row, col, v);
        cr_expect_float_eq((up - down) / (2 * (double)h), (double)got,
                           2e-3 + 5e-3 * fabs((double)got), "element %zu: %g, %g", i,
                           (up - down) / (2 * (double)h), (double)got);
    }
    net_destroy(n);
}

Test(graph, gradients_are_what_differences_say, .timeout = 30)
{
    check_differences(false);
    check_differences(true);
}

/* Goal: a repeated frame and the same frame at every step agree through branches. */
Test(graph, repeat_agrees_with_its_twin, .timeout = 30)
{
    struct net_options once = fixture_options(3, 4), each = once;
    once.input.repeat = true;
    struct net *a = graph(&once), *b = graph(&each);
    cr_expect(a->nodes[2].out.kind == TENSOR_REPEAT);
    fixture_repeats(a, b, 3, 1e-5f);
    net_destroy(a);
    net_destroy(b);
}

/* ---- refusals -------------------------------------------------------------------------------- */
/* Goal: branches that do not fit, and lists that are no graph, are refused by name. */
Test(graph, what_does_not_fit_is_refused)
{
    const struct net_options o = fixture_options(2, 2);
    struct net *n = NULL;
    for (int i = 0; i < 4; i++) {
        static const char *const text[] = { "the body gives 6x12x12, the shortcut 2x12x12",
                                            "only one of the branches is a flattened image",
                                            "reads a layer behind it", "nothing reads layer 0" };
        struct layers s = { 0 };
        struct err e = { 0 };
        add_conv(&s, 6, 3, 1, false);
        if (i == 0) meet(&s, SPEC_ADD, 0, SPEC_INPUT);
        if (i == 1) {
            layers_add(&s, SPEC_FLATTEN);
            add_linear(&s, 864, false);
            meet(&s, SPEC_ADD, 2, 1);
        }
        if (i == 2) meet(&s, SPEC_ADD, 0, 1);
        if (i == 3) {
            add_conv(&s, 6, 3, 1, false);
            reads(&s, SPEC_INPUT);
        }
        cr_expect_eq(net_build(&n, s.l, s.n, 0, &o, &e), (int)ERR_SPEC, "case %d", i);
        cr_expect_not_null(strstr(e.text, text[i]), "%s", e.text);
        cr_expect_null(n);
    }
}
