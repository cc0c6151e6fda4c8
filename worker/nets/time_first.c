/* time_first: nodes whose output comes back to one of them walk time together: a step goes through
 * all of them before the next one does; backward from the last step to the first. These are the
 * joining point of a recurrent layer and its body, with what is nested in it. Called by step.c; one
 * thread, nothing allocates.
 *
 * Weights' gradients come after all steps, over all T, as in any other walk. In a stream the layers
 * see one step as a chunk of its own. */
#include "worker/nets/net_internal.h"

bool net_walks_together(const struct net *n, size_t i)
{
    return n->nodes[i].walk_end - n->nodes[i].walk_begin > 1;
}

static struct span step_at(size_t t) { return (struct span){ t, t + 1 }; }

/* What comes back to joining point i at step t: the step before, in a stream perhaps the last of
 * the chunk before, which lies there still; data NULL before the first. */
static struct tensor_view came_back(const struct net *n, size_t i, size_t t, size_t samples)
{
    const struct tensor_view y = net_view(n, n->nodes[i].back, samples);
    if (t > 0) return tensor_steps(&y, step_at(t - 1));
    struct tensor_view before = tensor_steps(&y, step_at(n->options.input.t - 1));
    if (n->stream_at == 0) before.data = NULL;
    return before;
}

/* ---- forward --------------------------------------------------------------------------------- */
static void forward_step(struct net *n, const struct net_step *s, size_t i, size_t t, bool again)
{
    struct net_node *node = &n->nodes[i];
    const int64_t start_ns = net_measure_begin(n, i);
    struct step step = net_step_of(n, s, i);
    const struct tensor_view y = tensor_steps(&step.y, step_at(t));
    if (net_streams(n)) {
        for (size_t k = 0; k < node->n_inputs; k++)
            step.x[k] = tensor_steps(&step.x[k], step_at(t));
        step.y = y;
        step.first_step += t;
    }
    if (node->back != NET_NO_NODE) step.x[1] = came_back(n, i, t, s->samples);
    node->layer.ops->forward(&node->layer, &step, step_at(net_streams(n) ? 0 : t));
    net_clear_ends(&y, s->lengths, n->stream_at + t);
    net_measure_end(n, start_ns, again ? &node->backward_ms : &node->forward_ms);
}

void net_forward_together(struct net *n, const struct net_step *s, size_t begin, bool again)
{
    const size_t end = n->nodes[begin].walk_end;
    const size_t steps = net_streams(n) ? n->stream_now : n->options.input.t;
    for (size_t i = begin; i < end && !again; i++) net_set_scale(n, i, s->training);
    for (size_t t = 0; t < steps; t++) {
        n->kc.first_step = n->stream_at + (net_streams(n) ? t : 0);
        for (size_t i = begin; i < end; i++)
            if (!again || n->nodes[i].runs_again) forward_step(n, s, i, t, again);
    }
    n->kc.first_step = n->stream_at;
}

/* ---- backward -------------------------------------------------------------------------------- */
static struct tensor_view back_view(const struct net *n, size_t i, size_t samples)
{
    struct tensor_view v = { n->nodes[i].back_gradient, n->nodes[i].back_data };
    v.desc.b = samples;
    return v;
}

/* Gradient memory is written step by step: what surrounds it is cleared once. */
static void clear_borders(const struct net *n, const struct net_step *s, size_t i)
{
    const struct net_node *node = &n->nodes[i];
    for (size_t k = 0; k < node->n_inputs; k++) {
        const struct tensor_view dx = net_reader_gradient(n, node->inputs[k], i, s->samples);
        net_clear_border(n, &dx);
    }
    if (node->back == NET_NO_NODE) return;
    const struct tensor_view back = back_view(n, i, s->samples);
    net_clear_border(n, &back);
}

/* Step t of dL/dy of node i gains what joining points have handed back at step t + 1. */
static void take_back(const struct net *n, size_t begin, size_t i, const struct tensor_view *dy,
                      size_t samples)
{
    for (size_t j = begin; j < i; j++) {
        if (n->nodes[j].back != i) continue;
        const struct tensor_view back = back_view(n, j, samples);
        tensor_add(&n->kc, dy, &back);
    }
}

/* A step of an addend at a fork; of one frame for all steps there is a sum once all are done. */
static void add_at_fork(const struct net *n, const struct net_step *s, size_t input,
                        const struct tensor_view *dx, size_t t)
{
    const struct tensor_view sum = net_gradient_view(n, input, s->samples);
    if (sum.data == dx->data || (sum.desc.kind == TENSOR_REPEAT && t > 0)) return;
    const struct tensor_view to = tensor_steps(&sum, step_at(t)), by = tensor_steps(dx, step_at(t));
    tensor_add(&n->kc, &to, &by);
}

static void backward_step(struct net *n, const struct net_step *s, size_t i, size_t t)
{
    struct net_node *node = &n->nodes[i];
    const int64_t start_ns = net_measure_begin(n, i);
    struct step step = net_step_of(n, s, i);
    step.dy = net_gradient_view(n, i, s->samples);
    const struct tensor_view dy = tensor_steps(&step.dy, step_at(t));
    if (t + 1 < n->options.input.t) take_back(n, node->walk_begin, i, &dy, s->samples);
    net_clear_ends(&dy, s->lengths, t);
    for (size_t k = 0; k < node->n_inputs; k++)
        step.dx[k] = net_reader_gradient(n, node->inputs[k], i, s->samples);
    if (node->back != NET_NO_NODE) {
        step.x[1] = came_back(n, i, t, s->samples);
        step.dx[1] = back_view(n, i, s->samples);
        if (t == 0) step.dx[1].data = NULL;
    }
    node->layer.ops->backward_data(&node->layer, &step, step_at(t));
    for (size_t k = 0; k < node->n_inputs; k++)
        add_at_fork(n, s, node->inputs[k], &step.dx[k], t);
    net_measure_end(n, start_ns, &node->backward_ms);
}

static void backward_weights(struct net *n, const struct net_step *s, size_t i)
{
    struct net_node *node = &n->nodes[i];
    const int64_t start_ns = net_measure_begin(n, i);
    struct step step = net_step_of(n, s, i);
    step.dy = net_gradient_view(n, i, s->samples);
    if (node->back != NET_NO_NODE) step.x[1] = net_view(n, node->back, s->samples);
    net_backward_weights(n, &step, i);
    net_measure_end(n, start_ns, &node->backward_ms);
}

void net_backward_together(struct net *n, const struct net_step *s, size_t begin)
{
    const size_t end = n->nodes[begin].walk_end;
    for (size_t i = begin; i < end; i++) clear_borders(n, s, i);
    for (size_t t = n->options.input.t; t-- > 0;)
        for (size_t i = end; i-- > begin;) backward_step(n, s, i, t);
    for (size_t i = end; i-- > begin;) backward_weights(n, s, i);
}
