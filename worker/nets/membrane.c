/* membrane: what monitors look at inside neurons after a forward pass (net.h). One thread.
 * Potentials are not stored by a step: they are computed again from the input, for the wanted cells
 * only. */
#include "worker/layers/layer_kinds.h"
#include "worker/nets/net_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static const struct net_node *neuron_node(const struct net *n, size_t node)
{
    assert(node < n->n_nodes);
    const struct net_node *at = &n->nodes[node];
    return spec_layer_neuron(at->layer.spec) != NULL ? at : NULL;
}

/* With the scratch of thread 0: nothing else runs between two passes. */
static struct neuron_run neuron_run_of(const struct net *n, size_t node)
{
    const struct net_node *at = &n->nodes[node];
    const float *w[NEURON_PARAMS_MAX] = { 0 };
    for (size_t i = 0; i < at->layer.u.neuron.n_params; i++)
        w[i] = (at->layer.params[i].buffer ? n->buffers + at->buffer_offset
                                           : n->weights + at->weight_offset) +
               at->layer.params[i].offset;
    return neuron_run_make(&at->layer.u.neuron, w, (float *)(void *)n->kc.scratch);
}

/* What a batch norm that is fused with neurons gives them. */
static float normalised(const struct net *n, size_t norm, size_t sample, size_t t, size_t c,
                        float x)
{
    const struct step step = net_step_of(n, &n->last, norm);
    if (step.lengths != NULL && t + step.first_step >= step.lengths[sample]) return 0.0f;
    return batch_norm_value(&n->nodes[norm].layer, &step, c, x);
}

int net_membrane(const struct net *n, size_t node, size_t sample, const size_t *neurons,
                 size_t n_neurons, float *v, struct err *e)
{
    const struct net_node *at = neuron_node(n, node);
    if (at == NULL)
        return err_set(e, ERR_INVALID, "layer %s is not a neuron", n->nodes[node].layer.spec->path);
    const bool norm = at->norm != NET_NO_NODE; /* then x is the batch norm's input */
    const size_t from = norm ? n->nodes[at->norm].inputs[0] : at->inputs[0];
    if (!net_output_is_kept(n, from) || (norm && !net_output_is_kept(n, at->norm)))
        return err_set(e, ERR_INVALID, "the input of layer %s is computed again, not kept",
                       at->layer.spec->path);
    const struct tensor_view x = net_view(n, from, n->last.samples);
    const struct tensor_desc image = tensor_image(&x.desc);
    const size_t t_count = image.t, per = image.h * image.w;
    const struct neuron_run r = neuron_run_of(n, node);
    const struct step step = net_step_of(n, &n->last, node);
    struct neuron_draws draws = neuron_layer_draws(&at->layer, &step);
    draws.sample += sample;
    float in[SPEC_TIME_STEPS_MAX], out[SPEC_TIME_STEPS_MAX];
    if (sample >= n->last.samples || t_count > SPEC_TIME_STEPS_MAX)
        return err_set(e, ERR_INVALID, "sample %zu of %zu", sample, n->last.samples);
    for (size_t i = 0; i < n_neurons; i++) {
        const size_t c = neurons[i] / per, yx = neurons[i] % per;
        if (c >= image.c) return err_set(e, ERR_INVALID, "neuron %zu", neurons[i]);
        for (size_t t = 0; t < t_count; t++) {
            in[t] = tensor_get(&image, x.data, sample, t, c, yx / image.w, yx % image.w);
            if (norm) in[t] = normalised(n, at->norm, sample, t, c, in[t]);
        }
        neuron_cell(&r, &draws, c, yx / image.w, yx % image.w, in, NULL, out);
        for (size_t t = 0; t < t_count; t++) v[t * n_neurons + i] = out[t];
    }
    return 0;
}

uint64_t net_spike_count(const struct net *n, size_t node)
{
    assert(node < n->n_nodes);
    const struct tensor_view s = net_view(n, node, n->last.samples);
    const bool fires = s.desc.kind == TENSOR_BITS || s.desc.kind == TENSOR_COUNT8;
    return fires ? tensor_count(&s.desc, s.data, 0, s.desc.b) : 0;
}

size_t net_last_samples(const struct net *n) { return n->last.samples; }

double net_firing_rate(const struct net *n, size_t node)
{
    assert(node < n->n_nodes);
    const struct tensor_desc *d = &n->nodes[node].out;
    const double cells = (double)(n->last_steps * d->h * d->w * d->c);
    return cells > 0 ? (double)net_spike_count(n, node) / cells : (double)NAN;
}

void net_neuron_counts(const struct net *n, size_t node, uint32_t *counts)
{
    const struct tensor_view s = net_view(n, node, n->last.samples);
    const struct tensor_desc image = tensor_image(&s.desc);
    const size_t per = image.h * image.w;
    assert(image.kind == TENSOR_BITS);
    memset(counts, 0, image.c * per * sizeof counts[0]);
    for (size_t b = 0; b < image.b; b++)
        for (size_t t = 0; t < image.t; t++)
            for (size_t yx = 0; yx < per; yx++) {
                const uint64_t *words = (const uint64_t *)s.data + b * image.sample +
                                        t * image.time + yx / image.w * image.row +
                                        yx % image.w * image.pixel;
                for (size_t c = 0; c < image.c; c++)
                    counts[c * per + yx] += (uint32_t)(words[c / 64] >> (c % 64) & 1);
            }
}

double net_time_constant(const struct net *n, size_t node)
{
    const struct net_node *at = neuron_node(n, node);
    if (at == NULL || at->layer.u.neuron.ops->time_constant == NULL) return (double)NAN;
    const struct neuron_run r = neuron_run_of(n, node);
    return at->layer.u.neuron.ops->time_constant(&r);
}

int net_psn_weight(const struct net *n, size_t node, float *out, struct err *e)
{
    const struct net_node *at = neuron_node(n, node);
    if (at == NULL || at->layer.u.neuron.ops->over_time == NULL)
        return err_set(e, ERR_INVALID, "layer %s has no weights over time",
                       n->nodes[node].layer.spec->path);
    const struct neuron_run r = neuron_run_of(n, node);
    at->layer.u.neuron.ops->over_time(&r, out);
    return 0;
}
