/* step: one forward and backward walk over the nodes (net.h, design 5.1 and 5.8). One thread calls;
 * the kernels use the pool. Nothing allocates. */
#include "worker/nets/net_internal.h"

#include <assert.h>
#include <string.h>

struct tensor_view net_view(const struct net *n, size_t node, size_t samples)
{
    struct tensor_view v = { .desc = node == NET_INPUT ? n->input : n->nodes[node].out,
                             .data = node == NET_INPUT ? n->input_data : n->nodes[node].out_data };
    v.desc.b = samples;
    if (!net_streams(n)) return v;
    v.desc.t = n->stream_now;
    if (v.desc.kind != TENSOR_REPEAT) v.desc.t_stored = n->stream_now;
    return v;
}

struct tensor_view net_gradient_view(const struct net *n, size_t node, size_t samples)
{
    struct tensor_view v = { 0 };
    if (node == NET_INPUT) {
        v.desc = n->input_gradient;
        v.data = n->input_gradient_data;
    } else {
        v.desc = n->nodes[node].gradient;
        v.data = n->nodes[node].gradient_data;
    }
    v.desc.b = samples;
    return v;
}

static const struct net_readers *readers_of(const struct net *n, size_t node)
{
    return node == NET_INPUT ? &n->input_readers : &n->nodes[node].readers;
}

/* Where `reader` puts the gradient of its input `node`: the gradient itself, or at a fork an addend
 * to what later readers have put there. */
struct tensor_view net_reader_gradient(const struct net *n, size_t node, size_t reader,
                                       size_t samples)
{
    struct tensor_view v = net_gradient_view(n, node, samples);
    if (v.data == NULL || readers_of(n, node)->last == reader) return v;
    v.data = node == NET_INPUT ? n->input_addend_data : n->nodes[node].addend_data;
    return v;
}

struct step net_step_of(const struct net *n, const struct net_step *s, size_t i)
{
    const struct net_node *node = &n->nodes[i];
    struct step step = {
        .kc = &n->kc,
        .training = s->training,
        .number = s->step,
        .sample_offset = s->sample_offset,
        .dropout_key = philox_key(n->options.seed, PHILOX_DROPOUT),
        .spike_key = philox_key(n->options.seed, PHILOX_SPIKES),
        .sample_steps = n->last_steps,
        .shards = n->options.shards,
        .y = net_view(n, i, s->samples),
        .w = n->weights + node->weight_offset,
        .buffers = n->buffers + node->buffer_offset,
        .saved = node->saved,
        .state = node->state,
        .first_step = n->stream_at,
        .lengths = s->lengths,
        .scratch = n->layer_scratch + node->scratch_at,
        .probe = n->probe != NULL && n->probe_node == i ? n->probe : NULL,
    };
    for (size_t k = 0; k < node->n_inputs; k++)
        step.x[k] = net_view(n, node->inputs[k], s->samples);
    return step;
}

/* ---- forward --------------------------------------------------------------------------------- */
/* The scale of bits and counts depends on dropout being on. */
void net_set_scale(struct net *n, size_t i, bool training)
{
    struct net_node *node = &n->nodes[i];
    if (node->out.kind != TENSOR_BITS && node->out.kind != TENSOR_COUNT8) return;
    const size_t from = node->inputs[0];
    const float in = from == NET_INPUT ? n->input.scale : n->nodes[from].out.scale;
    const struct layer *l = &node->layer;
    node->out.scale = l->ops->scale != NULL ? l->ops->scale(l, in, training) : in;
}

static void forward_node(struct net *n, const struct net_step *s, size_t i)
{
    struct net_node *node = &n->nodes[i];
    const int64_t start_ns = net_measure_begin(n, i);
    net_set_scale(n, i, s->training);
    struct step step = net_step_of(n, s, i), norm_step;
    net_name_fused(n, s, i, &step, &norm_step);
    const struct span chunk = { 0, step.y.desc.t };
    if (net_streams(n)) node->layer.ops->forward(&node->layer, &step, chunk);
    else net_forward_spans(&node->layer, &step);
    net_clear_ends(&step.y, s->lengths, n->stream_at);
    if (s->training && node->layer.ops->commit != NULL)
        node->layer.ops->commit(&node->layer, &step);
    net_measure_end(n, start_ns, &node->forward_ms);
}

void net_forward_walk(struct net *n, const struct net_step *s, size_t i)
{
    if (net_walks_together(n, i)) net_forward_together(n, s, i, false);
    else forward_node(n, s, i);
}

void net_forward(struct net *n, const struct net_step *s)
{
    assert(!net_streams(n));
    assert(s->samples > 0 && s->samples <= n->options.input.b);
    net_remember(n, s);
    const struct tensor_view input = net_view(n, NET_INPUT, s->samples);
    net_clear_ends(&input, s->lengths, 0);
    for (size_t i = 0; i < n->n_nodes; i = n->nodes[i].walk_end) net_forward_walk(n, s, i);
    if (n->options.training)
        f32_fill(&n->kc, n->output_gradient_data, n->output_gradient.elements, 0.0f);
}

/* ---- backward -------------------------------------------------------------------------------- */
struct clear {
    const struct tensor_desc *d;
    float *data;
};

/* The border of one sample's images, and its padding channels when the last block has any. */
static void clear_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct clear *k = ctx;
    const struct tensor_desc *d = k->d;
    const size_t blocks = (d->c + 31) / 32, wide = (d->w + 2) * 32;
    const bool spare = (d->c + 15) / 16 % 2 != 0; /* half a block that nobody writes */
    for (size_t t = 0; t < d->t_stored; t++)
        for (size_t j = 0; j < blocks; j++) {
            float *corner = k->data + tensor_at(d, b, t, 0, 0, 2 * j) - d->row - d->pixel;
            for (size_t y = 0; y < d->h + 2; y++) {
                float *row = corner + y * d->row;
                if (y == 0 || y == d->h + 1 || (spare && j + 1 == blocks)) {
                    memset(row, 0, wide * sizeof row[0]);
                    continue;
                }
                memset(row, 0, 32 * sizeof row[0]);
                memset(row + (d->w + 1) * 32, 0, 32 * sizeof row[0]);
            }
        }
}

/* Gradient memory is shared by layers in turn: a convolution reads zeros around its part. */
void net_clear_border(const struct net *n, const struct tensor_view *g)
{
    if (g->data == NULL || !g->desc.blocked) return;
    struct clear k = { &g->desc, g->data };
    threads_run(n->threads, g->desc.b, clear_sample, &k);
}

/* Values of a gradient that is REPEAT here but came for every step: summed over t ascending. The
 * loss counts features in PyTorch's order, a flattened image lies otherwise. */
static void sum_over_time(const struct tensor_desc *from, const float *g,
                          const struct tensor_desc *to, float *out)
{
    for (size_t b = 0; b < to->b; b++)
        for (size_t y = 0; y < to->h; y++)
            for (size_t x = 0; x < to->w; x++)
                for (size_t c = 0; c < to->c; c++) {
                    float sum = 0.0f;
                    for (size_t t = 0; t < from->t; t++)
                        sum += g[tensor_at(from, b, t, y, x, c / 16) + c % 16];
                    const size_t at = layer_feature(to, c);
                    out[tensor_at(to, b, 0, y, x, at / 16) + at % 16] = sum;
                }
}

/* The loss's gradient in the layout that the last node reads. */
static void take_output_gradient(const struct net *n, const struct net_step *s)
{
    if (net_output_gradient_is_direct(n)) return;
    struct tensor_view to = net_gradient_view(n, n->n_nodes - 1, s->samples);
    struct tensor_desc from = n->output_gradient;
    from.b = s->samples;
    if (to.data == NULL) return;
    net_clear_border(n, &to);
    if (to.desc.kind == TENSOR_REPEAT)
        sum_over_time(&from, n->output_gradient_data, &to.desc, to.data);
    else tensor_expand(&n->kc, &from, n->output_gradient_data, &to.desc, to.data);
}

/* Forward once more, of what a segment has let go of. Running statistics have moved already. */
static void compute_again(struct net *n, const struct net_step *s, const struct net_segment *g)
{
    if (!g->again || !n->nodes[g->end - 1].wants_gradient) return;
    for (size_t i = g->begin; i < g->end; i = n->nodes[i].walk_end) {
        struct net_node *node = &n->nodes[i];
        if (net_walks_together(n, i)) net_forward_together(n, s, i, true);
        if (net_walks_together(n, i) || !node->runs_again) continue;
        const int64_t start_ns = net_measure_begin(n, i);
        struct step step = net_step_of(n, s, i), norm_step;
        net_name_fused(n, s, i, &step, &norm_step);
        net_forward_spans(&node->layer, &step);
        net_clear_ends(&step.y, s->lengths, 0);
        net_measure_end(n, start_ns, &node->backward_ms);
    }
}

void net_backward_weights(struct net *n, struct step *step, size_t i)
{
    const struct net_node *node = &n->nodes[i];
    if (node->needs.weight_floats == 0) return;
    for (size_t k = 0; k < n->options.shards; k++) {
        step->shard = k;
        step->dw = n->gradients + k * n->weight_floats + node->weight_offset;
        node->layer.ops->backward_weights(&node->layer, step);
    }
}

static void backward_node(struct net *n, const struct net_step *s, size_t i)
{
    struct net_node *node = &n->nodes[i];
    const int64_t start_ns = net_measure_begin(n, i);
    struct step step = net_step_of(n, s, i), norm_step;
    step.dy = net_gradient_view(n, i, s->samples);
    step.summed = net_sums_are_made(n, s, i);
    net_name_fused_gradients(n, s, i, &step, &norm_step);
    net_clear_ends(&step.dy, s->lengths, 0);
    for (size_t k = 0; k < node->n_inputs; k++) {
        step.dx[k] = net_reader_gradient(n, node->inputs[k], i, s->samples);
        net_clear_border(n, &step.dx[k]);
    }
    net_backward_spans(&node->layer, &step);
    for (size_t k = 0; k < node->n_inputs; k++) {
        const struct tensor_view sum = net_gradient_view(n, node->inputs[k], s->samples);
        if (sum.data != step.dx[k].data) tensor_add(&n->kc, &sum, &step.dx[k]);
    }
    net_backward_weights(n, &step, i);
    net_measure_end(n, start_ns, &node->backward_ms);
}

/* Binary tree: shard 0 ends up with the sum. */
static void add_shards(const struct net *n)
{
    for (size_t stride = 1; stride < n->options.shards; stride *= 2)
        for (size_t k = 0; k + stride < n->options.shards; k += 2 * stride)
            f32_add(&n->kc, n->gradients + k * n->weight_floats,
                    n->gradients + (k + stride) * n->weight_floats, n->weight_floats);
}

void net_backward(struct net *n, const struct net_step *s)
{
    assert(n->options.training && s->samples == n->last.samples);
    take_output_gradient(n, s);
    size_t segments = n->n_segments; /* those that the walk has not come to */
    for (size_t end = n->n_nodes; end > 0;) {
        const size_t i = n->nodes[end - 1].walk_begin;
        if (segments > 0 && n->segments[segments - 1].end == end)
            compute_again(n, s, &n->segments[--segments]);
        end = i;
        if (!n->nodes[i].wants_gradient) continue;
        if (net_walks_together(n, i)) net_backward_together(n, s, i);
        else backward_node(n, s, i);
    }
    const struct tensor_view input = net_gradient_view(n, NET_INPUT, s->samples);
    net_clear_ends(&input, s->lengths, 0);
    add_shards(n);
}
