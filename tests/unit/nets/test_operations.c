/* Operations of a forward pass: exact for every shape of convolution, against plain counting. */
#include "tests/unit/nets/net_fixture.h"
#include "worker/layers/layer.h"
#include "worker/nets/net_internal.h"

/* One for each output, tap and channel whose input is not zero. */
static uint64_t counted(const struct net *n, size_t node)
{
    const struct layer *l = &n->nodes[node].layer;
    const struct tensor_view x = net_view(n, n->nodes[node].inputs[0], n->last.samples);
    const struct tensor_desc *d = &x.desc;
    uint64_t total = 0;
    if (l->spec->type == SPEC_LINEAR) {
        for (size_t i = 0; i < d->b * d->t * d->c; i++)
            total += tensor_get(d, x.data, i / d->c / d->t, i / d->c % d->t, i % d->c, 0, 0) != 0;
        return total * l->out.c;
    }
    const struct conv_shape *cs = &l->u.conv;
    for (size_t i = 0; i < d->b * d->t; i++)
        for (size_t o = 0; o < cs->k * cs->oh * cs->ow; o++)
            for (size_t j = 0; j < cs->c / cs->groups * cs->r * cs->s; j++) {
                const size_t k = o / (cs->oh * cs->ow), c = j / (cs->r * cs->s);
                const size_t first = k / (cs->k / cs->groups) * (cs->c / cs->groups);
                const size_t y = o / cs->ow % cs->oh * cs->stride_h + j / cs->s % cs->r * cs->dil_h;
                const size_t z = o % cs->ow * cs->stride_w + j % cs->s * cs->dil_w;
                if (y < cs->pad_h || z < cs->pad_w || y - cs->pad_h >= cs->h ||
                    z - cs->pad_w >= cs->w)
                    continue;
                total += tensor_get(d, x.data, i / d->t, i % d->t, first + c, y - cs->pad_h,
                                    z - cs->pad_w) != 0;
            }
    return total;
}

/* Compares every node; gives the number of those fed by spikes. */
static size_t compare(const struct layers *s, struct net_options o, size_t samples)
{
    struct net *n = fixture_net(s, &o);
    size_t fed = 0;
    fixture_input(n, 0);
    net_forward(n, &(struct net_step){ .samples = samples, .training = o.training });
    for (size_t i = 0; i < s->n; i++) {
        if (!net_spike_fed(n, i)) {
            cr_assert_eq(net_accumulates(n, i), 0, "layer %zu", i);
            continue;
        }
        const uint64_t want = counted(n, i);
        cr_assert_gt(want, 0, "layer %zu is fed no spikes: equal numbers would say little", i);
        cr_assert_eq(net_accumulates(n, i), want, "layer %zu: %zu, not %zu", i,
                     (size_t)net_accumulates(n, i), (size_t)want);
        fed++;
    }
    net_destroy(n);
    return fed;
}

/* Goal: spikes through pools, flatten and dropout are counted, in training and in evaluation, whose
 * memory is shared more; floats are not, nor samples beyond the batch. */
Test(operations, accumulates_are_counted_exactly, .timeout = 60)
{
    struct layers s = whole_net();
    s.l[6].u.neuron.v_threshold = s.l[11].u.neuron.v_threshold = 0.02; /* few inputs suffice */
    for (int training = 0; training < 2; training++) {
        struct net_options o = fixture_options(3, 4);
        o.training = training;
        cr_assert_eq(compare(&s, o, 2), 2, "the second convolution and linear layer");
    }
}

/* Goal: strides, dilation, padding and groups reach fewer outputs. */
Test(operations, convolutions_of_every_shape, .timeout = 60)
{
    static const int64_t shapes[][6] = { /* kernel, stride, padding: height, width */
        { 3, 3, 1, 1, 1, 1 }, { 3, 2, 2, 1, 1, 0 }, { 5, 1, 3, 2, 2, 0 }, { 1, 1, 2, 2, 0, 0 }
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int64_t dilation = 1; dilation < 3; dilation++) {
            struct layers s = { 0 };
            add_conv(&s, 6, 1, 0, false);
            struct spec_conv2d *p = &s.l[0].u.conv2d;
            for (size_t k = 0; k < 2; k++) {
                p->kernel_size[k] = shapes[i][k];
                p->stride[k] = shapes[i][2 + k];
                p->padding[k] = shapes[i][4 + k];
                p->dilation[k] = dilation;
            }
            p->groups = dilation; /* of two channels */
            struct net_options o = fixture_options(2, 3);
            o.input.bits = true;
            cr_assert_eq(compare(&s, o, 2), 1);
        }
}

/* Goal: a count of spikes is one event whatever it counts; it is still there after an evaluation,
 * though a layer behind it shares memory. */
Test(operations, counts_are_events, .timeout = 60)
{
    struct layers s = { 0 };
    add_conv(&s, 20, 3, 1, false);
    add_neuron(&s, "plif");
    add_pool(&s, SPEC_AVG_POOL2D, 2);
    add_conv(&s, 8, 6, 0, true); /* small enough for what follows to fit where the counts are */
    add_norm(&s);
    (void)layers_add(&s, SPEC_FLATTEN);
    add_linear(&s, 9, true);
    for (int training = 0; training < 2; training++) {
        struct net_options o = fixture_options(3, 4);
        o.training = training;
        cr_assert_eq(compare(&s, o, 3), 1);
    }
}
