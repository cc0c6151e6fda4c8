/* lengths: samples that end before the last time-step (design 5.12). Called by step.c on the thread
 * that walks; small beside a layer, so on that thread alone.
 *
 * One rule does it: what a node puts out after a sample's end is zero, and so is its gradient. Then
 * serial neurons have the values of a shorter net, PSN and attention over time see zeros, sums of
 * batch norm and of weight gradients gain nothing; only counts must be told (step.sample_steps). */
#include "worker/nets/net_internal.h"

#include <assert.h>
#include <string.h>

static size_t element_bytes(enum tensor_kind kind)
{
    switch (kind) {
    case TENSOR_BITS: return sizeof(uint64_t);
    case TENSOR_COUNT8: return sizeof(uint8_t);
    case TENSOR_F32:
    case TENSOR_REPEAT: return sizeof(float);
    }
    return 0;
}

/* Of `count` steps from `first` on, those that a sample of this length has. */
static size_t steps_within(size_t length, size_t first, size_t count)
{
    const size_t left = length > first ? length - first : 0;
    return left < count ? left : count;
}

void net_clear_ends(const struct tensor_view *v, const uint32_t *lengths, size_t first)
{
    if (lengths == NULL || v->data == NULL) return;
    const struct tensor_desc *d = &v->desc;
    const size_t bytes = element_bytes(d->kind);
    assert(d->kind != TENSOR_REPEAT); /* one step that stands for all has no end */
    for (size_t b = 0; b < d->b; b++) {
        const size_t own = steps_within(lengths[b], first, d->t);
        memset((unsigned char *)v->data + (b * d->sample + own * d->time) * bytes, 0,
               (d->t - own) * d->time * bytes);
    }
}

/* Of all T, or of a stream's chunk. */
size_t net_count_steps(const struct net *n, const struct net_step *s)
{
    const size_t count = net_streams(n) ? n->stream_now : n->options.input.t;
    size_t steps = 0;
    if (s->lengths == NULL) return s->samples * count;
    for (size_t b = 0; b < s->samples; b++) {
        assert(s->lengths[b] > 0 && s->lengths[b] <= net_time_steps(n));
        steps += steps_within(s->lengths[b], n->stream_at, count);
    }
    return steps;
}

void net_remember(struct net *n, const struct net_step *s)
{
    n->last = *s;
    if (s->lengths != NULL) { /* the caller's */
        memcpy(n->last_lengths, s->lengths, s->samples * sizeof s->lengths[0]);
        n->last.lengths = n->last_lengths;
    }
    n->last_steps = net_count_steps(n, s);
}

size_t net_last_steps(const struct net *n) { return n->last_steps; }
