/* net_build: from the layers of a spec to nodes with shapes, parameters and a memory plan. Main
 * thread; allocates the net itself, but no tensor memory (net_start does). */
#include "common/mem.h"
#include "worker/nets/net_memory.h"

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

/* A joining point begins a walk of its body, unless it is part of one. */
static int begin_walk(struct net *n, size_t i, const struct spec_layer *spec, size_t n_layers,
                      struct err *e)
{
    struct net_node *node = &n->nodes[i];
    const bool inside = i > 0 && n->nodes[i - 1].walk_end > i;
    node->back = NET_NO_NODE;
    node->walk_begin = inside ? n->nodes[i - 1].walk_begin : i;
    node->walk_end = inside ? n->nodes[i - 1].walk_end : i + 1;
    if (spec->type != SPEC_RECURRENT) return 0;
    const size_t body = spec->u.recurrent.body, limit = inside ? node->walk_end : n_layers;
    if (body == 0 || body >= limit - i)
        return err_set(e, ERR_SPEC, "layer %s (recurrent): no layer comes back", spec->path);
    node->back = i + body;
    if (!inside) node->walk_end = i + body + 1;
    return 0;
}

/* Once the last layer of a body has its shape, so has what comes back. */
static int close_bodies(struct net *n, size_t last, struct err *e)
{
    for (size_t i = n->nodes[last].walk_begin; i < last; i++) {
        struct net_node *node = &n->nodes[i];
        if (node->back != last) continue;
        const struct tensor_desc in[] = { node->layer.in, n->nodes[last].out };
        if (node->layer.ops->reshape(&node->layer, in, 2, &node->out, &node->needs, e) != 0)
            return err_wrap(e, "layer %s (%s)", node->layer.spec->path, node->layer.ops->name);
    }
    return 0;
}

static int check_walk(const struct net *n, size_t i, struct err *e)
{
    const struct layer *l = &n->nodes[i].layer;
    if (!net_walks_together(n, i) || l->all_steps == NULL) return 0;
    return err_set(e, ERR_SPEC, "layer %s (%s) cannot be in the body of a recurrent layer: %s",
                   l->spec->path, l->ops->name, l->all_steps);
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
    l->path = n->options.path;
    l->stream = net_streams(n);
    l->time_steps = net_time_steps(n);
    l->span_steps = net_span_steps(n, l);
    if (l->ops->reshape(l, in, node->n_inputs, &node->out, &node->needs, e) != 0)
        return err_wrap(e, "layer %s (%s)", spec->path, l->ops->name);
    /* A layer without a scale of its own passes on its input's, and that it may not be 1. */
    if (l->ops->scale == NULL) node->out.scaled |= in[0].scaled;
    l->out = node->out;
    l->span_steps = net_span_steps(n, l);
    return 0;
}

static void place_node(struct net *n, struct net_node *node)
{
    const struct layer *l = &node->layer;
    /* A neuron counts all T itself, and so does what is computed once. */
    if (l->stream && l->spec->type != SPEC_NEURON && l->in.kind != TENSOR_REPEAT)
        node->needs.macs = node->needs.macs / l->in.t * l->time_steps;
    node->weight_offset = n->weight_floats;
    node->buffer_offset = n->buffer_floats;
    node->first_param = n->n_params;
    n->weight_floats += node->needs.weight_floats;
    n->buffer_floats += node->needs.buffer_floats;
    n->n_params += node->needs.n_params;
}

static int build_nodes(struct net *n, const struct spec_layer *layers, size_t n_layers,
                       struct err *e)
{
    n->nodes = mem_calloc(n_layers, sizeof n->nodes[0]);
    if (n->nodes == NULL) return err_set(e, ERR_NOMEM, "%zu nodes", n_layers);
    for (size_t i = 0; i < n_layers; i++) {
        n->n_nodes = i + 1;
        if (begin_walk(n, i, &layers[i], n_layers, e) != 0 || reshape_node(n, i, layers, e) != 0 ||
            check_walk(n, i, e) != 0 || close_bodies(n, i, e) != 0)
            return (int)e->code;
    }
    for (size_t i = 0; i < n_layers; i++) place_node(n, &n->nodes[i]);
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

/* A joining point leads to all that its walk learns. */
static bool walk_learns(const struct net *n, const struct net_node *node)
{
    bool learns = false;
    for (size_t i = node->walk_begin; i < node->walk_end; i++)
        learns |= n->nodes[i].needs.weight_floats > 0;
    return learns;
}

/* Laid out as the last of its body has it, to be added to that. */
static void describe_back(struct net *n, struct net_node *node)
{
    const struct net_node *last = &n->nodes[node->back];
    struct tensor_desc one = last->out;
    one.t = 1;
    node->back_gradient = tensor_gradient(&one, last->needs.gradient_blocked);
}

static void describe_gradients(struct net *n)
{
    if (!n->options.training) return;
    if (n->options.input_gradient) n->input_gradient = tensor_gradient(&n->input, false);
    for (size_t i = 0; i < n->n_nodes; i++) {
        struct net_node *node = &n->nodes[i];
        node->wants_gradient = walk_learns(n, node);
        for (size_t k = 0; k < node->n_inputs; k++)
            node->wants_gradient |= input_wants_gradient(n, node->inputs[k]);
        node->gradient = tensor_gradient(&node->out, node->needs.gradient_blocked);
        if (node->back != NET_NO_NODE) describe_back(n, node);
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

/* ---- the whole ------------------------------------------------------------------------------- */
static int check_options(const struct net_options *o, size_t n_layers, struct err *e)
{
    if (n_layers == 0) return err_set(e, ERR_SPEC, "a network needs at least one layer");
    if (o->input.b == 0 || o->input.t == 0 || o->input.c == 0 || o->input.h == 0 || o->input.w == 0)
        return err_set(e, ERR_SPEC, "the input is empty");
    if (o->stream_steps > 0 && (o->training || o->stream_steps < o->input.t))
        return err_set(e, ERR_SPEC, "a stream is evaluation, in chunks of at most its steps");
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
    net_fuse(n);
    if (net_streams(n)) net_stream_describe(n);
    if (build_params(n, e) != 0) return (int)e->code;
    return net_plan_memory(n, e);
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
    n->options.watched = NULL; /* the caller's, and read */
    *out = n;
    return 0;
}
