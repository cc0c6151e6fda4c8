/* spans: a layer's call for all its time-steps in one piece or in several (train.step_mode, design
 * 5.1). A layer still finishes all T before the next begins. Called by the walk of step.c. */
#include "worker/nets/net_internal.h"

/* One step where nodes walk together; one span where a layer must see all steps, and where one
 * stored step stands for all. */
size_t net_span_steps(const struct net *n, const struct layer *l)
{
    const size_t all = n->options.input.t;
    const bool together = net_walks_together(n, l->number) && !net_streams(n);
    const size_t wanted = together ? 1 : n->options.span_steps;
    const bool one = l->all_steps != NULL || l->out.kind == TENSOR_REPEAT;
    return one || wanted == 0 || wanted > all ? all : wanted;
}

static size_t span_count(const struct layer *l)
{
    return (l->in.t + l->span_steps - 1) / l->span_steps;
}

static struct span span_of(const struct layer *l, size_t i)
{
    const size_t end = (i + 1) * l->span_steps;
    return (struct span){ i * l->span_steps, end < l->in.t ? end : l->in.t };
}

void net_forward_spans(const struct layer *l, const struct step *s)
{
    for (size_t i = 0; i < span_count(l); i++) l->ops->forward(l, s, span_of(l, i));
}

void net_backward_spans(const struct layer *l, const struct step *s)
{
    for (size_t i = span_count(l); i-- > 0;) l->ops->backward_data(l, s, span_of(l, i));
}
