/* net_build: from the layers of a spec to nodes with shapes, parameters and a memory plan. Main
 * thread; allocates the net itself, but no tensor memory (net_start does). */
#include "common/mem.h"
#include "worker/nets/net_internal.h"

#include <assert.h>
#include <stdio.h>

/* ---- nodes and shapes ------------------------------------------------------------------------ */
static void note_reader(struct net_readers *r, size_t node)
{
    if (r->count == 0) r->first = node;
    r->last_but_one = r->last;
    r->last = node; /* nodes come in ascending order */
    r->count++;
}

/* Finds the inputs of node i, which stand before it. */
static int connect_node(struct net *n, size_t i, const struct spec_layer *layers,
                        struct tensor_desc in[LAYER_INPUTS_MAX], struct err *e)
{
    struct net_node *node = &n->nodes[i];
    node->n_inputs = layers[i].n_inputs == 0 ? 1 : layers[i].n_inputs;
    assert(node->n_inputs <= LAYER_INPUTS_MAX);
    for (size_t k = 0; k < node->n_inputs; k++) {
        const size_t from = spec_layer_input(layers, i, k);
        if (from != NET_INPUT && from >= i)
            return err_set(e, ERR_SPEC, "layer %s reads a layer behind it", layers[i].path);
        node->inputs[k] = from;
        in[k] = from == NET_INPUT ? n->input : n->nodes[from].out;
        note_reader(from == NET_INPUT ? &n->input_readers : &n->nodes[from].readers, i);
    }
    return 0;
}

static int reshape_node(struct net *n, size_t i, const struct spec_layer *layers, struct err *e)
{
    const struct spec_layer *spec = &layers[i];
    struct net_node *node = &n->nodes[i];
    struct tensor_desc in[LAYER_INPUTS_MAX];
    if (connect_node(n, i, layers, in, e) != 0) return (int)e->code;
    struct layer *l = &node->layer;
    *l = (struct layer){ .ops = layer_ops_of(spec->type), .spec = spec, .number = i,
                         .isa = n->options.isa, .shards = n->options.shards, .in = in[0] };
    l->all_steps = l->ops->all_steps;
    l->span_steps = net_span_steps(n, l);
    if (l->ops->reshape(l, in, node->n_inputs, &node->out, &node->needs, e) != 0)
        return err_wrap(e, "layer %s (%s)", spec->path, l->ops->name);
    /* A layer without a scale of its own passes on its input's, and that it may not be 1. */
    if (l->ops->scale == NULL) node->out.scaled |= in[0].scaled;
    l->out = node->out;
    l->span_steps = net_span_steps(n, l);
    node->weight_offset = n->weight_floats;
    node->buffer_offset = n->buffer_floats;
    node->first_param = n->n_params;
    n->weight_floats += node->needs.weight_floats;
    n->buffer_floats += node->needs.buffer_floats;
    n->n_params += node->needs.n_params;
    return 0;
}

static int build_nodes(struct net *n, const struct spec_layer *layers, size_t n_layers,
                       struct err *e)
{
    n->nodes = mem_calloc(n_layers, sizeof n->nodes[0]);
    if (n->nodes == NULL) return err_set(e, ERR_NOMEM, "%zu nodes", n_layers);
    for (size_t i = 0; i < n_layers; i++) {
        n->n_nodes = i + 1;
        if (reshape_node(n, i, layers, e) != 0) return (int)e->code;
    }
    for (size_t i = 0; i + 1 < n_layers; i++)
        if (n->nodes[i].readers.count == 0)
            return err_set(e, ERR_SPEC, "nothing reads layer %s", layers[i].path);
    return 0;
}

static int check_output(const struct net *n, size_t classes, struct err *e)
{
    const struct net_node *last = &n->nodes[n->n_nodes - 1];
    const struct tensor_desc *out = &last->out;
    if (classes == 0 || (out->c == classes && out->h * out->w == 1)) return 0;
    return err_set(e, ERR_SPEC,
                   "layer %s (%s): the last output is %zu x %zu x %zu, not %zu classes",
                   last->layer.spec->path, last->layer.ops->name, out->c, out->h, out->w, classes);
}

/* ---- parameters ------------------------------------------------------------------------------ */
static void name_param(struct net *n, size_t node_index, size_t i)
{
    const struct net_node *node = &n->nodes[node_index];
    const struct layer_param *from = &node->needs.params[i];
    struct net_param *p = &n->params[node->first_param + i];
    *p = (struct net_param){
        .role = from->buffer ? NET_BUFFER : NET_WEIGHT,
        .n_dims = from->n_dims,
        .logical = from->logical,
        .offset = (from->buffer ? node->buffer_offset : node->weight_offset) + from->offset,
        .floats = from->floats,
        .node = node_index,
    };
    for (size_t d = 0; d < from->n_dims; d++) p->dims[d] = from->dims[d];
    (void)snprintf(p->name, sizeof p->name, "%s.%s", node->layer.spec->path, from->name);
}

static int build_params(struct net *n, struct err *e)
{
    n->params = mem_calloc(n->n_params + 1, sizeof n->params[0]);
    if (n->params == NULL) return err_set(e, ERR_NOMEM, "%zu parameters", n->n_params);
    for (size_t i = 0; i < n->n_nodes; i++)
        for (size_t k = 0; k < n->nodes[i].needs.n_params; k++) name_param(n, i, k);
    return 0;
}

/* ---- gradients ------------------------------------------------------------------------------- */
static bool input_wants_gradient(const struct net *n, size_t input)
{
    return input == NET_INPUT ? n->options.input_gradient : n->nodes[input].wants_gradient;
}

static void describe_gradients(struct net *n)
{
    if (!n->options.training) return;
    if (n->options.input_gradient) n->input_gradient = tensor_gradient(&n->input, false);
    for (size_t i = 0; i < n->n_nodes; i++) {
        struct net_node *node = &n->nodes[i];
        node->wants_gradient = node->needs.weight_floats > 0;
        for (size_t k = 0; k < node->n_inputs; k++)
            node->wants_gradient |= input_wants_gradient(n, node->inputs[k]);
        node->gradient = tensor_gradient(&node->out, node->needs.gradient_blocked);
    }
    const struct net_node *last = &n->nodes[n->n_nodes - 1];
    n->output_gradient = last->out.kind == TENSOR_REPEAT
                             ? tensor_make(TENSOR_F32, last->out.b, last->out.t, last->out.c,
                                           last->out.h, last->out.w)
                             : tensor_gradient(&last->out, false);
}

bool net_output_gradient_is_direct(const struct net *n)
{
    const struct net_node *last = &n->nodes[n->n_nodes - 1];
    return last->out.kind != TENSOR_REPEAT && !last->gradient.blocked;
}

/* ---- memory ---------------------------------------------------------------------------------- */
static size_t backward_moment(const struct net *n, size_t i) { return 2 * n->n_nodes - 1 - i; }

static bool feeds_neuron(const struct net *n, size_t i)
{
    for (size_t k = i + 1; k <= n->nodes[i].readers.last; k++)
        if (n->nodes[k].inputs[0] == i && n->nodes[k].layer.spec->type == SPEC_NEURON) return true;
    return false;
}

/* Training keeps every output to the end of the step: the backward pass and the monitors read them.
 * Evaluation keeps what monitors ask for: spikes and counts, and what neurons are charged with. */
static size_t output_dies(const struct net *n, size_t i)
{
    const bool kept = n->options.training || n->nodes[i].out.kind == TENSOR_BITS ||
                      n->nodes[i].out.kind == TENSOR_COUNT8 || i + 1 == n->n_nodes ||
                      feeds_neuron(n, i);
    return kept ? 2 * n->n_nodes : n->nodes[i].readers.last;
}

static int plan_output(struct net *n, size_t i, struct err *e)
{
    struct net_node *node = &n->nodes[i];
    if (!node->needs.view)
        return memory_plan_add(&n->blocks, PLAN_ACTIVATIONS, tensor_bytes(&node->out), i,
                               output_dies(n, i), &node->out_block, e);
    const size_t from = node->inputs[0];
    node->out_block = from == NET_INPUT ? n->input_block : n->nodes[from].out_block;
    if (from != NET_INPUT) /* the block below all views */
        memory_plan_extend(&n->blocks, node->out_block, i, output_dies(n, i));
    return 0;
}

/* What the readers of a forked tensor but the last compute on their own before it is added. */
static int plan_addend(struct net *n, const struct net_readers *r, enum plan_kind kind,
                       const struct tensor_desc *gradient, size_t *block, struct err *e)
{
    if (r->count < 2) return 0;
    return memory_plan_add(&n->blocks, kind, tensor_bytes(gradient),
                           backward_moment(n, r->last_but_one), backward_moment(n, r->first),
                           block, e);
}

/* The gradient of node i lives from the backward pass of its last reader to its own. A view whose
 * input has no other reader and is not read in blocks shares its input's memory. */
static int plan_gradient(struct net *n, size_t i, struct err *e)
{
    struct net_node *node = &n->nodes[i];
    if (!node->wants_gradient) return 0;
    const bool is_last = i + 1 == n->n_nodes;
    const size_t born = is_last ? n->n_nodes : backward_moment(n, node->readers.last);
    const size_t from = node->inputs[0];
    const bool shares = node->needs.view && from != NET_INPUT && n->nodes[from].wants_gradient &&
                        n->nodes[from].readers.count == 1 && !n->nodes[from].gradient.blocked;
    if (is_last && net_output_gradient_is_direct(n)) {
        node->gradient_block = n->output_gradient_block;
        return 0;
    }
    if (shares) {
        node->gradient_block = n->nodes[from].gradient_block;
        memory_plan_extend(&n->blocks, node->gradient_block, born, born);
    } else if (memory_plan_add(&n->blocks, PLAN_ACTIVATIONS, tensor_bytes(&node->gradient), born,
                               backward_moment(n, i), &node->gradient_block, e) != 0) {
        return (int)e->code;
    }
    return plan_addend(n, &node->readers, PLAN_ACTIVATIONS, &node->gradient, &node->addend_block,
                       e);
}

static int plan_nodes(struct net *n, struct err *e)
{
    const bool training = n->options.training;
    for (size_t i = 0; i < n->n_nodes; i++) {
        struct net_node *node = &n->nodes[i];
        node->saved_block = node->gradient_block = node->addend_block = NET_NO_BLOCK;
        if (plan_output(n, i, e) != 0) return (int)e->code;
        if (node->needs.saved_bytes > 0 &&
            memory_plan_add(&n->blocks, PLAN_SAVED, node->needs.saved_bytes, i,
                            training ? backward_moment(n, i) : i, &node->saved_block, e) != 0)
            return (int)e->code;
        size_t scratch = node->needs.forward_scratch_bytes;
        if (training && node->needs.backward_scratch_bytes > scratch)
            scratch = node->needs.backward_scratch_bytes;
        if (scratch > n->layer_scratch_bytes) n->layer_scratch_bytes = scratch;
        if (node->needs.thread_scratch_bytes > n->scratch_per_thread)
            n->scratch_per_thread = node->needs.thread_scratch_bytes;
    }
    for (size_t i = 0; training && i < n->n_nodes; i++)
        if (plan_gradient(n, i, e) != 0) return (int)e->code;
    if (!training || !n->options.input_gradient) return 0;
    return plan_addend(n, &n->input_readers, PLAN_IO, &n->input_gradient, &n->input_addend_block,
                       e);
}

struct fixed_block {
    enum plan_kind kind;
    size_t bytes;
    size_t *index;
};

static int plan_fixed(struct net *n, const struct fixed_block *f, size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++)
        if (memory_plan_add(&n->blocks, f[i].kind, f[i].bytes, 0, 2 * n->n_nodes, f[i].index, e) !=
            0)
            return (int)e->code;
    return 0;
}

static int plan_io(struct net *n, struct err *e)
{
    const bool training = n->options.training;
    const struct fixed_block f[] = {
        { PLAN_PARAMETERS, n->weight_floats * sizeof(float), &n->weights_block },
        { PLAN_GRADIENTS, training ? n->options.shards * n->weight_floats * sizeof(float) : 0,
          &n->gradients_block },
        { PLAN_BUFFERS, n->buffer_floats * sizeof(float), &n->buffers_block },
        { PLAN_IO, tensor_bytes(&n->input), &n->input_block },
        { PLAN_IO, training ? tensor_bytes(&n->output_gradient) : 0, &n->output_gradient_block },
        { PLAN_IO, training && n->options.input_gradient ? tensor_bytes(&n->input_gradient) : 0,
          &n->input_gradient_block },
    };
    return plan_fixed(n, f, sizeof f / sizeof f[0], e);
}

static int plan_scratch(struct net *n, struct err *e)
{
    const struct fixed_block f[] = {
        { PLAN_SCRATCH, n->layer_scratch_bytes, &n->layer_scratch_block },
        { PLAN_SCRATCH, n->options.threads * n->scratch_per_thread, &n->thread_scratch_block },
    };
    return plan_fixed(n, f, sizeof f / sizeof f[0], e);
}

static void sum_plan(struct net *n)
{
    const size_t *region = n->blocks.region_bytes;
    n->plan = (struct net_plan){
        .parameters_bytes = region[PLAN_PARAMETERS],
        .gradients_bytes = region[PLAN_GRADIENTS],
        .buffers_bytes = region[PLAN_BUFFERS],
        .activations_bytes = region[PLAN_ACTIVATIONS],
        .saved_bytes = region[PLAN_SAVED],
        .scratch_bytes = region[PLAN_SCRATCH],
        .io_bytes = region[PLAN_IO],
        .total_bytes = n->blocks.total_bytes,
    };
    for (size_t i = 0; i < n->n_params; i++)
        if (n->params[i].role == NET_WEIGHT) n->plan.parameters += n->params[i].logical;
    for (size_t i = 0; i < n->n_nodes; i++) n->plan.macs += n->nodes[i].needs.macs;
}

static int plan_memory(struct net *n, struct err *e)
{
    n->scratch_per_thread = KERNEL_SCRATCH_BYTES;
    n->input_addend_block = NET_NO_BLOCK;
    if (plan_io(n, e) != 0 || plan_nodes(n, e) != 0) return (int)e->code;
    n->scratch_per_thread = mem_align(n->scratch_per_thread, ARENA_ALIGN);
    if (plan_scratch(n, e) != 0 || memory_plan_solve(&n->blocks, e) != 0) return (int)e->code;
    sum_plan(n);
    const size_t limit = n->options.memory_bytes_max;
    if (limit != 0 && n->plan.total_bytes > limit)
        return err_set(e, ERR_OUT_OF_PLAN,
                       "the net needs %zu MiB, the limit is %zu MiB; a smaller batch or fewer "
                       "time-steps need less",
                       (n->plan.total_bytes >> 20) + 1, limit >> 20);
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */
static int check_options(const struct net_options *o, size_t n_layers, struct err *e)
{
    if (n_layers == 0) return err_set(e, ERR_SPEC, "a network needs at least one layer");
    if (o->input.b == 0 || o->input.t == 0 || o->input.c == 0 || o->input.h == 0 || o->input.w == 0)
        return err_set(e, ERR_SPEC, "the input is empty");
    if (o->shards == 0 || (o->shards & (o->shards - 1)) != 0 || o->shards > o->input.b)
        return err_set(e, ERR_SPEC, "%zu shards: a power of two, at most the batch of %zu",
                       o->shards, o->input.b);
    return 0;
}

static int build(struct net *n, const struct spec_layer *layers, size_t n_layers, size_t classes,
                 struct err *e)
{
    const struct net_input *in = &n->options.input;
    enum tensor_kind kind = in->repeat ? TENSOR_REPEAT : in->bits ? TENSOR_BITS : TENSOR_F32;
    n->input = tensor_make(kind, in->b, in->t, in->c, in->h, in->w);
    if (build_nodes(n, layers, n_layers, e) != 0 || check_output(n, classes, e) != 0)
        return (int)e->code;
    describe_gradients(n);
    if (build_params(n, e) != 0) return (int)e->code;
    return plan_memory(n, e);
}

int net_build(struct net **out, const struct spec_layer *layers, size_t n_layers, size_t classes,
              const struct net_options *o, struct err *e)
{
    if (check_options(o, n_layers, e) != 0) return (int)e->code;
    struct net *n = mem_calloc(1, sizeof *n);
    if (n == NULL) return err_set(e, ERR_NOMEM, "net");
    n->options = *o;
    if (n->options.threads == 0) n->options.threads = 1;
    if (build(n, layers, n_layers, classes, e) != 0) {
        net_destroy(n);
        return (int)e->code;
    }
    *out = n;
    return 0;
}
