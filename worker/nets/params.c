/* params: a net's parameters under PyTorch's names, shapes and order (net.h). Values live packed
 * for the kernels; the order changes here only, at load and save. One thread. */
#include "worker/nets/net_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

size_t net_param_count(const struct net *n) { return n->n_params; }

const struct net_param *net_param(const struct net *n, size_t i)
{
    assert(i < n->n_params);
    return &n->params[i];
}

float *net_weights(struct net *n, size_t *floats)
{
    *floats = n->weight_floats;
    return n->weights;
}

float *net_gradients(struct net *n, size_t *floats)
{
    *floats = n->weight_floats;
    return n->gradients;
}

float *net_buffers(struct net *n, size_t *floats)
{
    *floats = n->buffer_floats;
    return n->buffers;
}

void net_param_unpack(const struct net *n, size_t i, const float *block, float *out)
{
    const struct net_param *p = &n->params[i];
    const struct net_node *node = &n->nodes[p->node];
    const float *packed = block + p->offset;
    if (node->layer.ops->unpack != NULL)
        node->layer.ops->unpack(&node->layer, i - node->first_param, packed, out);
    else memcpy(out, packed, p->logical * sizeof out[0]);
}

void net_param_read(const struct net *n, size_t i, float *out)
{
    net_param_unpack(n, i, n->params[i].role == NET_BUFFER ? n->buffers : n->weights, out);
}

void net_gradient_read(const struct net *n, size_t i, float *out)
{
    assert(n->params[i].role == NET_WEIGHT);
    net_param_unpack(n, i, n->gradients, out);
}

void net_param_pack(const struct net *n, size_t i, const float *in, float *block)
{
    const struct net_param *p = &n->params[i];
    const struct net_node *node = &n->nodes[p->node];
    float *packed = block + p->offset;
    if (node->layer.ops->pack != NULL) {
        node->layer.ops->pack(&node->layer, i - node->first_param, in, packed);
        return;
    }
    memset(packed, 0, p->floats * sizeof packed[0]);
    memcpy(packed, in, p->logical * sizeof packed[0]);
}

void net_param_write(struct net *n, size_t i, const float *in)
{
    net_param_pack(n, i, in, n->params[i].role == NET_BUFFER ? n->buffers : n->weights);
}

void net_begin_epoch(struct net *n, uint64_t epoch, uint64_t epochs)
{
    for (size_t i = 0; i < n->n_nodes; i++) {
        const struct net_node *node = &n->nodes[i];
        if (node->layer.ops->schedule != NULL)
            node->layer.ops->schedule(&node->layer, n->buffers + node->buffer_offset, epoch,
                                      epochs);
    }
}

double net_grad_norm(const struct net *n, size_t node)
{
    assert(node < n->n_nodes);
    const struct net_node *at = &n->nodes[node];
    double sum = 0.0;
    if (at->needs.weight_floats == 0) return 0.0;
    if (!f32_sum_squares(&n->kc, n->gradients + at->weight_offset, at->needs.weight_floats, &sum))
        return (double)NAN;
    return sqrt(sum);
}
