/* Convolutions whose output is one pixel, read by layers of features without a flatten between:
 * their gradient lies in blocks with a border, which every layer must write as it is. */
#include "tests/unit/nets/net_fixture.h"

enum { AFTER_LINEAR, AFTER_VOTING, AFTER_NORM, AFTER_SERIAL, AFTER_PSN, AFTER_DROPOUT, AFTER_POOL,
       AFTER_COUNT };

static void add_reader(struct layers *s, int kind)
{
    switch (kind) {
    case AFTER_LINEAR: add_linear(s, 10, true); break;
    case AFTER_VOTING: add_voting(s, 4); break;
    case AFTER_NORM: add_norm(s); break;
    case AFTER_SERIAL: add_neuron(s, "plif"); break;
    case AFTER_PSN: add_neuron(s, "psn"); break;
    case AFTER_DROPOUT: add_dropout(s, 0.3); break;
    default: add_pool(s, SPEC_AVG_POOL2D, 1);
    }
}

/* Pooling of single pixels keeps values, and the number of the reader: dropout's stream. */
static struct layers net_of(int kind, int64_t channels, bool flat)
{
    struct layers s = { 0 };
    if (!flat) add_pool(&s, SPEC_MAX_POOL2D, 1);
    add_conv(&s, channels, 12, 0, true);
    if (flat) layers_add(&s, SPEC_FLATTEN);
    add_reader(&s, kind);
    return s;
}

static void compare(int kind, int64_t channels, const struct net_options *o)
{
    const struct layers s = net_of(kind, channels, false), flat = net_of(kind, channels, true);
    struct net *a = fixture_net(&s, o), *b = fixture_net(&flat, o);
    const struct net_step step = fixture_step(o->input.b);
    for (int i = 0; i < 2; i++) { /* the second step meets used memory */
        fixture_run(a, &step);
        fixture_run(b, &step);
    }
    same_outputs(a, b);
    same_weight_gradients(a, b);
    net_destroy(a);
    net_destroy(b);
}

/* Goal: conv -> reader has the bits of conv -> flatten -> reader, gradients of weights too. */
Test(one_pixel, readers_write_blocked_gradients, .timeout = 60)
{
    for (int kind = 0; kind < AFTER_COUNT; kind++)
        for (int repeat = 0; repeat < 2; repeat++) {
            struct net_options o = fixture_options(3, 4);
            o.input.repeat = repeat;
            compare(kind, 64, &o);
            compare(kind, 100, &o);
        }
}
