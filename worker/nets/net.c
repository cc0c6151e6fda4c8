/* net: life of a built net and what others may ask of it (net.h). One thread. */
#include "common/mem.h"
#include "worker/nets/net_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- start and end --------------------------------------------------------------------------- */
void *net_block(const struct net *n, size_t block)
{
    if (block == NET_NO_BLOCK) return NULL;
    const struct plan_block *b = &n->blocks.blocks[block];
    return n->regions[b->kind] + b->offset;
}

static int take_memory(struct net *n, struct err *e)
{
    if (arena_init(&n->arena, n->plan.total_bytes, e) != 0) return (int)e->code;
    for (size_t k = 0; k < PLAN_KIND_COUNT; k++) {
        n->regions[k] = arena_take(&n->arena, n->blocks.region_bytes[k]);
        if (n->regions[k] == NULL)
            return err_set(e, ERR_INTERNAL, "the arena is smaller than its plan");
    }
    n->weights = net_block(n, n->weights_block);
    n->gradients = net_block(n, n->gradients_block);
    n->buffers = net_block(n, n->buffers_block);
    n->input_data = net_block(n, n->input_block);
    n->output_gradient_data = net_block(n, n->output_gradient_block);
    n->input_gradient_data =
        n->options.input_gradient ? net_block(n, n->input_gradient_block) : NULL;
    n->input_addend_data = net_block(n, n->input_addend_block);
    n->layer_scratch = net_block(n, n->layer_scratch_block);
    for (size_t i = 0; i < n->n_nodes; i++) {
        struct net_node *node = &n->nodes[i];
        node->out_data = net_block(n, node->out_block);
        node->saved = net_block(n, node->saved_block);
        node->gradient_data = node->wants_gradient ? net_block(n, node->gradient_block) : NULL;
        node->addend_data = net_block(n, node->addend_block);
        node->back_data = node->wants_gradient ? net_block(n, node->back_block) : NULL;
    }
    if (net_streams(n)) net_stream_memory(n);
    return 0;
}

/* Numbers of the stream count learned parameters only, in file order. */
static int initial_values(struct net *n, struct err *e)
{
    size_t most = 1;
    for (size_t i = 0; i < n->n_params; i++)
        if (n->params[i].logical > most) most = n->params[i].logical;
    float *values = mem_calloc(most, sizeof values[0]);
    if (values == NULL) return err_set(e, ERR_NOMEM, "initial weights");
    const struct philox_key key = philox_key(n->options.seed, PHILOX_INIT);
    uint32_t number = 0;
    for (size_t i = 0; i < n->n_params; i++) {
        const struct net_node *node = &n->nodes[n->params[i].node];
        node->layer.ops->init(&node->layer, i - node->first_param, key, number, values);
        net_param_write(n, i, values);
        number += n->params[i].role == NET_WEIGHT;
    }
    mem_free(values);
    return 0;
}

int net_start(struct net *n, struct err *e)
{
    if (take_memory(n, e) != 0) return err_wrap(e, "net");
    if (threads_create(&n->threads, n->options.threads, e) != 0) return err_wrap(e, "net");
    n->kc = (struct kernel_ctx){
        .k = kernels_get(n->options.isa),
        .threads = n->threads,
        .scratch = net_block(n, n->thread_scratch_block),
        .scratch_per_thread = n->scratch_per_thread,
        .exact = n->options.exact,
        .path = n->options.path,
        .trace = n->options.trace,
    };
    assert(n->kc.k != NULL);
    n->last_lengths = mem_calloc(n->options.input.b, sizeof n->last_lengths[0]);
    if (n->last_lengths == NULL) return err_set(e, ERR_NOMEM, "net");
    return initial_values(n, e);
}

void net_destroy(struct net *n)
{
    if (n == NULL) return;
    threads_destroy(n->threads);
    arena_deinit(&n->arena);
    for (size_t i = 0; i < n->n_nodes; i++) {
        struct layer *l = &n->nodes[i].layer;
        if (l->ops != NULL && l->ops->deinit != NULL) l->ops->deinit(l);
    }
    memory_plan_deinit(&n->blocks);
    mem_free(n->last_lengths);
    mem_free(n->segments);
    mem_free(n->nodes);
    mem_free(n->params);
    mem_free(n);
}

/* ---- questions ------------------------------------------------------------------------------- */
const struct net_plan *net_plan(const struct net *n) { return &n->plan; }
size_t net_node_count(const struct net *n) { return n->n_nodes; }
const struct kernel_ctx *net_kernel_ctx(const struct net *n) { return &n->kc; }
size_t net_arena_high_water(const struct net *n) { return n->arena.high_water_bytes; }

void net_node(const struct net *n, size_t i, struct net_node_info *out)
{
    assert(i < n->n_nodes);
    const struct net_node *node = &n->nodes[i];
    *out = (struct net_node_info){
        .path = node->layer.spec->path,
        .type = node->layer.ops->name,
        .spec = node->layer.spec,
        .out = node->out,
        .macs = node->needs.macs,
        .activation_bytes = node->needs.view || node->output_unheld ? 0 : tensor_bytes(&node->out),
        .repeat = node->out.kind == TENSOR_REPEAT,
        .recomputed = node->runs_again,
    };
    for (size_t k = 0; k < node->needs.n_params; k++)
        if (!node->needs.params[k].buffer) out->parameters += node->needs.params[k].logical;
}

long net_node_find(const struct net *n, const char *path)
{
    for (size_t i = 0; i < n->n_nodes; i++)
        if (strcmp(n->nodes[i].layer.spec->path, path) == 0) return (long)i;
    return -1;
}

void *net_input_data(struct net *n, const struct tensor_desc **desc)
{
    *desc = net_streams(n) ? &n->stream_input : &n->input;
    return net_streams(n) ? n->stream_input_data : n->input_data;
}

const void *net_output(const struct net *n, const struct tensor_desc **desc)
{
    if (!net_streams(n)) return net_node_output(n, n->n_nodes - 1, desc);
    *desc = &n->stream_output;
    return n->stream_output_data;
}

bool net_output_is_kept(const struct net *n, size_t node)
{
    return n->n_segments == 0 || node == NET_INPUT || n->nodes[node].kept; /* or not held at all */
}

const void *net_node_output(const struct net *n, size_t node, const struct tensor_desc **desc)
{
    assert(node < n->n_nodes);
    *desc = &n->nodes[node].out;
    return net_output_is_kept(n, node) ? n->nodes[node].out_data : NULL;
}

float *net_output_gradient(struct net *n, const struct tensor_desc **desc)
{
    *desc = &n->output_gradient;
    return n->output_gradient_data;
}

const float *net_input_gradient(const struct net *n, const struct tensor_desc **desc)
{
    *desc = &n->input_gradient;
    return n->input_gradient_data;
}

void net_set_probe(struct net *n, size_t node, const struct step_probe *probe)
{
    n->probe = probe;
    n->probe_node = node;
}
