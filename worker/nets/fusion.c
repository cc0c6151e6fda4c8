/* fusion: which neighbours of a neuron layer it works with, tile by tile (layers/fused.h, design
 * 5.3). Main thread: chosen when a net is built, before its memory is planned; named in each step.
 *
 * A batch norm right in front of neurons that nobody else reads has no output in memory; nor has
 * the gradient of neurons that only a max pooling reads. Nodes in the body of a recurrent layer
 * walk step by step and are left alone. */
#include "worker/layers/fused.h"
#include "worker/nets/net_internal.h"

static bool is_alone(const struct net *n, size_t i) { return !net_walks_together(n, i); }

/* Its sums share scratch with the neurons': nothing may run between the two. */
static bool takes_norm(const struct net *n, size_t i)
{
    if (i == 0 || n->nodes[i].inputs[0] != i - 1 || !is_alone(n, i - 1)) return false;
    const struct net_node *norm = &n->nodes[i - 1];
    return norm->readers.count == 1 && fused_takes_norm(&norm->layer);
}

static bool takes_pool(const struct net *n, size_t i)
{
    const struct net_node *node = &n->nodes[i];
    if (!n->options.training || node->readers.count != 1) return false;
    const struct net_node *pool = &n->nodes[node->readers.first];
    return node->wants_gradient && is_alone(n, node->readers.first) &&
           fused_takes_pool(&node->layer, &pool->layer);
}

void net_fuse(struct net *n)
{
    for (size_t i = 0; i < n->n_nodes; i++) n->nodes[i].norm = n->nodes[i].pool = NET_NO_NODE;
    for (size_t i = 0; i < n->n_nodes && !n->options.unfused; i++) {
        struct net_node *node = &n->nodes[i];
        if (node->layer.spec->type != SPEC_NEURON || !is_alone(n, i)) continue;
        if (takes_norm(n, i)) node->norm = i - 1;
        if (takes_pool(n, i)) node->pool = node->readers.first;
        if (node->norm == NET_NO_NODE && node->pool == NET_NO_NODE) continue;
        node->gradient_unheld = node->pool != NET_NO_NODE;
        if (node->norm != NET_NO_NODE) n->nodes[node->norm].output_unheld = true;
        fused_plan(&node->layer, net_layer(n, node->norm), net_layer(n, node->pool), &node->needs);
    }
}

const struct layer *net_layer(const struct net *n, size_t node)
{
    return node == NET_NO_NODE ? NULL : &n->nodes[node].layer;
}

void net_name_fused(const struct net *n, const struct net_step *s, size_t i, struct step *step,
                    struct step *norm_step)
{
    const struct net_node *node = &n->nodes[i];
    step->norm = net_layer(n, node->norm);
    if (step->norm == NULL) return;
    *norm_step = net_step_of(n, s, node->norm);
    step->norm_step = norm_step;
}

void net_name_fused_gradients(const struct net *n, const struct net_step *s, size_t i,
                              struct step *step, struct step *norm_step)
{
    const size_t pool = n->nodes[i].pool;
    net_name_fused(n, s, i, step, norm_step);
    step->pool = net_layer(n, pool);
    if (pool != NET_NO_NODE) step->dy = net_gradient_view(n, pool, s->samples);
}

bool net_sums_are_made(const struct net *n, const struct net_step *s, size_t norm)
{
    if (!n->nodes[norm].output_unheld) return false;
    struct step step = net_step_of(n, s, norm + 1), norm_step;
    net_name_fused(n, s, norm + 1, &step, &norm_step);
    step.dx[0] = net_gradient_view(n, norm, s->samples);
    return fused_makes_sums(&n->nodes[norm + 1].layer, &step);
}
