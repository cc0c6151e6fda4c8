/* operations: events of the last forward pass, and what it would cost hardware that is driven by
 * them (net.h). One thread; for evaluation and now and then a profile, not for training steps. */
#include "worker/nets/net_internal.h"

#include <assert.h>
#include <math.h>

bool net_spike_fed(const struct net *n, size_t node)
{
    assert(node < n->n_nodes);
    const struct layer *l = &n->nodes[node].layer;
    const bool synapse = l->spec->type == SPEC_CONV2D || l->spec->type == SPEC_LINEAR;
    return synapse && (l->in.kind == TENSOR_BITS || l->in.kind == TENSOR_COUNT8);
}

/* Non-zero channels of one pixel. */
static uint64_t events_at(const struct tensor_desc *d, const void *data, size_t b, size_t t,
                          size_t y, size_t x)
{
    const size_t at = b * d->sample + t * d->time + y * d->row + x * d->pixel;
    uint64_t events = 0;
    if (d->kind == TENSOR_BITS) {
        const uint64_t *words = (const uint64_t *)data + at;
        for (size_t i = 0; i < (d->c + 63) / 64; i++)
            events += (uint64_t)__builtin_popcountll(words[i]);
    } else {
        const uint8_t *counts = (const uint8_t *)data + at;
        for (size_t i = 0; i < d->c; i++) events += counts[i] != 0;
    }
    return events;
}

/* Output positions along one axis that read input position `at`. */
static uint64_t reach(size_t at, size_t taps, size_t stride, size_t pad, size_t dilation,
                      size_t extent)
{
    uint64_t count = 0;
    for (size_t r = 0; r < taps; r++) {
        const size_t from = at + pad;
        if (from < r * dilation || (from - r * dilation) % stride != 0) continue;
        count += (from - r * dilation) / stride < extent;
    }
    return count;
}

/* Outputs that an event at this pixel is added to. */
static uint64_t fan_out(const struct layer *l, size_t y, size_t x)
{
    if (l->spec->type == SPEC_LINEAR) return l->out.c;
    const struct conv_shape *cs = &l->u.conv;
    return cs->k / cs->groups * reach(y, cs->r, cs->stride_h, cs->pad_h, cs->dil_h, cs->oh) *
           reach(x, cs->s, cs->stride_w, cs->pad_w, cs->dil_w, cs->ow);
}

uint64_t net_accumulates(const struct net *n, size_t node)
{
    if (!net_spike_fed(n, node)) return 0;
    const struct net_node *at = &n->nodes[node];
    const struct tensor_view in = net_view(n, at->inputs[0], n->last.samples);
    const struct tensor_desc d = tensor_image(&in.desc);
    uint64_t total = 0;
    for (size_t y = 0; y < d.h; y++)
        for (size_t x = 0; x < d.w; x++) {
            uint64_t events = 0;
            for (size_t b = 0; b < d.b; b++)
                for (size_t t = 0; t < d.t; t++) events += events_at(&d, in.data, b, t, y, x);
            total += events * fan_out(&at->layer, y, x);
        }
    return total;
}

/* Non-zero elements; NAN when these are no spikes or counts, or gone. */
static double events_of(const struct net *n, size_t from)
{
    const struct tensor_view v = net_view(n, from, n->last.samples);
    const struct tensor_desc d = tensor_image(&v.desc);
    uint64_t events = 0;
    if (d.kind != TENSOR_BITS && d.kind != TENSOR_COUNT8) return (double)NAN;
    if (!net_output_is_kept(n, from)) return (double)NAN;
    for (size_t b = 0; b < d.b; b++)
        for (size_t t = 0; t < d.t; t++)
            for (size_t p = 0; p < d.h * d.w; p++)
                events += events_at(&d, v.data, b, t, p / d.w, p % d.w);
    return (double)events;
}

double net_input_density(const struct net *n, size_t node)
{
    assert(node < n->n_nodes);
    const struct net_node *at = &n->nodes[node];
    double events = 0.0, cells = 0.0;
    for (size_t k = 0; k < at->n_inputs; k++) {
        const size_t from = at->inputs[k];
        const struct tensor_desc *d = from == NET_INPUT ? &n->input : &n->nodes[from].out;
        events += events_of(n, from);
        cells += (double)(n->last_steps * d->h * d->w * d->c);
    }
    return events / cells;
}
