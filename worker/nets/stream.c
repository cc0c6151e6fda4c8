/* stream: evaluation that walks time first (net.h, design 5.1): a chunk of time-steps goes through
 * all layers before the next one comes, with the state of neurons carried between. One thread; the
 * kernels use the pool. Nothing allocates in a step.
 *
 * The net's tensors are those of a chunk. Input and output of all T lie beside them: what a chunk
 * needs is copied in and what it gives is copied out. */
#include "worker/nets/net_internal.h"

#include <assert.h>
#include <string.h>

bool net_streams(const struct net *n) { return n->options.stream_steps > 0; }

size_t net_time_steps(const struct net *n)
{
    return net_streams(n) ? n->options.stream_steps : n->options.input.t;
}

/* ---- building -------------------------------------------------------------------------------- */
/* The same tensor with all T steps; images lie as they do in a chunk. */
static struct tensor_desc all_steps(const struct net *n, const struct tensor_desc *chunk)
{
    struct tensor_desc d = *chunk;
    d.t = n->options.stream_steps;
    if (d.kind == TENSOR_REPEAT) return d;
    d.t_stored = d.t;
    d.sample = d.t * d.time;
    d.elements = d.b * d.sample;
    return d;
}

void net_stream_describe(struct net *n)
{
    n->stream_input = all_steps(n, &n->input);
    n->stream_output = all_steps(n, &n->nodes[n->n_nodes - 1].out);
}

int net_stream_plan(struct net *n, struct err *e)
{
    const size_t end = n->moments;
    for (size_t i = 0; i < n->n_nodes; i++) {
        struct net_node *node = &n->nodes[i];
        node->state_block = NET_NO_BLOCK;
        if (node->needs.state_bytes > 0 &&
            memory_plan_add(&n->blocks, PLAN_SAVED, node->needs.state_bytes, 0, end,
                            &node->state_block, e) != 0)
            return (int)e->code;
    }
    if (memory_plan_add(&n->blocks, PLAN_IO, tensor_bytes(&n->stream_input), 0, end,
                        &n->stream_input_block, e) != 0)
        return (int)e->code;
    return memory_plan_add(&n->blocks, PLAN_IO, tensor_bytes(&n->stream_output), 0, end,
                           &n->stream_output_block, e);
}

void net_stream_memory(struct net *n)
{
    n->stream_input_data = net_block(n, n->stream_input_block);
    n->stream_output_data = net_block(n, n->stream_output_block);
    for (size_t i = 0; i < n->n_nodes; i++)
        n->nodes[i].state = net_block(n, n->nodes[i].state_block);
}

/* "psn" of a neuron, "linear" of a layer. */
static const char *kind_name(const struct layer *l)
{
    size_t count;
    const struct spec_neuron_model *models = spec_neuron_models(&count);
    return l->spec->type == SPEC_NEURON ? models[l->spec->u.neuron.model].name : l->ops->name;
}

int net_stream_check(const struct net *n, struct err *e)
{
    for (size_t i = 0; i < n->n_nodes; i++) {
        const struct net_node *node = &n->nodes[i];
        const struct layer *l = &node->layer;
        const char *why = l->ops->no_stream == NULL
                              ? NULL
                              : l->ops->no_stream(l, n->buffers + node->buffer_offset);
        if (why != NULL)
            return err_set(e, ERR_INVALID,
                           "layer %s (%s) cannot be evaluated step by step: %s; use step mode "
                           "multi",
                           l->spec->path, kind_name(l), why);
    }
    return 0;
}

/* ---- a chunk --------------------------------------------------------------------------------- */
/* Steps of a chunk, between its tensor and the one of all T. */
static void copy_steps(const struct tensor_desc *from, const unsigned char *x, size_t from_step,
                       const struct tensor_desc *to, unsigned char *y, size_t to_step,
                       const struct net_step *s, size_t steps)
{
    const size_t bytes = tensor_element_bytes(from->kind);
    const size_t stored = from->kind == TENSOR_REPEAT ? 1 : steps;
    assert(from->time == to->time);
    for (size_t b = 0; b < s->samples; b++)
        memcpy(y + (b * to->sample + to_step * to->time) * bytes,
               x + (b * from->sample + from_step * from->time) * bytes,
               stored * from->time * bytes);
}

void net_stream_begin(struct net *n) { n->stream_at = n->stream_now = 0; }

/* A static prefix is computed with the first chunk. */
static bool is_done(const struct net *n, size_t i)
{
    return n->stream_at > 0 && n->nodes[i].out.kind == TENSOR_REPEAT;
}

bool net_stream_step(struct net *n, const struct net_step *s)
{
    assert(!s->training && s->samples > 0 && s->samples <= n->options.input.b);
    n->stream_at += n->stream_now;
    const size_t left = net_time_steps(n) - n->stream_at, chunk = n->options.input.t;
    n->stream_now = left < chunk ? left : chunk;
    if (left == 0) return false;
    const struct net_node *last = &n->nodes[n->n_nodes - 1];
    const bool repeat = n->input.kind == TENSOR_REPEAT;
    net_remember(n, s);
    n->kc.first_step = n->stream_at;
    if (!repeat || n->stream_at == 0)
        copy_steps(&n->stream_input, n->stream_input_data, repeat ? 0 : n->stream_at, &n->input,
                   n->input_data, 0, s, n->stream_now);
    const struct tensor_view input = net_view(n, NET_INPUT, s->samples);
    net_clear_ends(&input, s->lengths, n->stream_at);
    for (size_t i = 0; i < n->n_nodes; i = n->nodes[i].walk_end)
        if (!is_done(n, i)) net_forward_walk(n, s, i);
    n->stream_output.scale = last->out.scale;
    copy_steps(&last->out, last->out_data, 0, &n->stream_output, n->stream_output_data,
               last->out.kind == TENSOR_REPEAT ? 0 : n->stream_at, s, n->stream_now);
    return true;
}
