/* net_memory: which memory every tensor of a net gets, and when it is let go of (design 5.4).
 * Called by net_build on the main thread; takes no tensor memory itself.
 *
 * Without segments every output is kept to the end of a step. With segments (net_segments) a step
 * holds, from the bottom of one region: two gradients that cross from segment to segment; spikes,
 * counts and what monitors look at; then each segment's own part, which begins where the one before
 * it ends to hold anything. So the part of a segment is the same wherever it lies. */
#include "worker/nets/net_memory.h"

#include "common/mem.h"

/* ---- moments --------------------------------------------------------------------------------- */
/* Nodes that walk together have one moment: what one of them holds is there for all of them. */
void net_number_moments(struct net *n, const struct net_segment *segments, size_t count)
{
    size_t at = 0;
    for (size_t k = 0; k < count; k++)
        for (size_t i = segments[k].begin; i < segments[k].end; i++) {
            n->nodes[i].forward_at = at;
            at += i + 1 == n->nodes[i].walk_end;
        }
    n->backward_begins = at;
    for (size_t k = count; k-- > 0;) {
        const struct net_segment *s = &segments[k];
        for (size_t i = s->begin; s->again && i < s->end; i++) {
            n->nodes[i].again_at = at;
            at += i + 1 == n->nodes[i].walk_end;
        }
        for (size_t i = s->end; i-- > s->begin;) {
            n->nodes[i].backward_at = at;
            at += i == n->nodes[i].walk_begin;
        }
    }
    n->moments = at;
}

static size_t backward_moment(const struct net *n, size_t i)
{
    return n->nodes[i].backward_at;
}

/* ---- outputs --------------------------------------------------------------------------------- */
static bool feeds_neuron(const struct net *n, size_t i)
{
    for (size_t k = i + 1; k <= n->nodes[i].readers.last; k++)
        if (n->nodes[k].inputs[0] == i &&
            (n->nodes[k].layer.spec->type == SPEC_NEURON || n->nodes[k].output_unheld))
            return true;
    return false;
}

static bool counts_spikes(const struct net *n, size_t i)
{
    return n->nodes[i].out.kind == TENSOR_BITS || n->nodes[i].out.kind == TENSOR_COUNT8;
}

/* Of neurons, what they are charged with; of a fused batch norm, what the neurons behind it read.
 */
static size_t last_reading(const struct net *n, size_t i)
{
    size_t last = n->nodes[i].forward_at;
    for (size_t k = i + 1; n->nodes[i].readers.count > 0 && k <= n->nodes[i].readers.last; k++) {
        const struct net_node *reader = &n->nodes[k];
        if (reader->inputs[0] != i && (reader->n_inputs < 2 || reader->inputs[1] != i)) continue;
        const size_t at = reader->output_unheld ? n->nodes[reader->readers.last].forward_at
                                                : reader->forward_at;
        if (at > last) last = at;
    }
    return last;
}

/* Training keeps every output to the end of the step: the backward pass and the monitors read them.
 * Evaluation keeps what monitors ask for: spikes and counts, and what neurons are charged with. */
static size_t output_dies(const struct net *n, size_t i)
{
    const bool kept = n->options.training || counts_spikes(n, i) || i + 1 == n->n_nodes ||
                      feeds_neuron(n, i);
    return kept ? n->moments : last_reading(n, i);
}

/* A view lies in the block below it. */
static void share_output(struct net *n, size_t i)
{
    const size_t from = n->nodes[i].inputs[0];
    n->nodes[i].out_block = from == NET_INPUT ? n->input_block : n->nodes[from].out_block;
}

static bool comes_back(const struct net *n, size_t i)
{
    for (size_t k = n->nodes[i].walk_begin; k < i; k++)
        if (n->nodes[k].back == i) return true;
    return false;
}

/* What a stream computes once must last through all its chunks, what comes back to the next one. */
static bool lasts(const struct net *n, size_t i)
{
    return net_streams(n) && (n->nodes[i].out.kind == TENSOR_REPEAT || comes_back(n, i));
}

static int plan_output(struct net *n, size_t i, struct err *e)
{
    struct net_node *node = &n->nodes[i];
    const size_t born = lasts(n, i) ? 0 : node->forward_at;
    const size_t dies = lasts(n, i) ? n->moments : output_dies(n, i);
    if (node->output_unheld) return 0;
    if (!node->needs.view)
        return memory_plan_add(&n->blocks, PLAN_ACTIVATIONS, tensor_bytes(&node->out), born, dies,
                               &node->out_block, e);
    share_output(n, i);
    if (node->inputs[0] != NET_INPUT)
        memory_plan_extend(&n->blocks, node->out_block, born, dies);
    return 0;
}

/* ---- gradients ------------------------------------------------------------------------------- */
/* What the readers of a forked tensor but the last compute on their own before it is added. */
static int plan_addend(struct net *n, struct memory_plan *p, const struct net_readers *r,
                       enum plan_kind kind, const struct tensor_desc *gradient, size_t *block,
                       struct err *e)
{
    if (r->count < 2) return 0;
    return memory_plan_add(p, kind, tensor_bytes(gradient), backward_moment(n, r->last_but_one),
                           backward_moment(n, r->first), block, e);
}

/* That of a pooling that is fused with the neurons it reads is theirs. */
static size_t gradient_dies(const struct net *n, size_t i)
{
    const size_t from = n->nodes[i].inputs[0];
    const bool theirs = from != NET_INPUT && n->nodes[from].pool == i;
    return backward_moment(n, theirs ? from : i);
}

/* The gradient of node i lives from the backward pass of its last reader to its own. A view whose
 * input has no other reader and is not read in blocks shares its input's memory. */
static int plan_gradient(struct net *n, struct memory_plan *p, size_t i, struct err *e)
{
    struct net_node *node = &n->nodes[i];
    const bool is_last = i + 1 == n->n_nodes;
    if (node->gradient_unheld) return 0;
    const size_t born = is_last ? n->backward_begins : backward_moment(n, node->readers.last);
    const size_t from = node->inputs[0];
    const bool shares = node->needs.view && from != NET_INPUT && n->nodes[from].wants_gradient &&
                        n->nodes[from].readers.count == 1 && !n->nodes[from].gradient.blocked;
    if (is_last && net_output_gradient_is_direct(n)) {
        node->gradient_block = n->output_gradient_block;
        return 0;
    }
    if (!shares)
        return memory_plan_add(p, PLAN_ACTIVATIONS, tensor_bytes(&node->gradient), born,
                               gradient_dies(n, i), &node->gradient_block, e);
    node->gradient_block = n->nodes[from].gradient_block;
    memory_plan_extend(p, node->gradient_block, born, born);
    return 0;
}

static int plan_node_addend(struct net *n, struct memory_plan *p, size_t i, struct err *e)
{
    struct net_node *node = &n->nodes[i];
    return plan_addend(n, p, &node->readers, PLAN_ACTIVATIONS, &node->gradient, &node->addend_block,
                       e);
}

/* What a joining point hands back from step to step. */
static int plan_back(struct net *n, struct memory_plan *p, size_t i, struct err *e)
{
    struct net_node *node = &n->nodes[i];
    const size_t at = backward_moment(n, i);
    if (node->back == NET_NO_NODE) return 0;
    return memory_plan_add(p, PLAN_ACTIVATIONS, tensor_bytes(&node->back_gradient), at, at,
                           &node->back_block, e);
}

/* Coefficients of a fused batch norm outlast a step: monitors ask for the membranes of its neurons
 * later, and a stream computes them once where nothing depends on time. */
static int plan_saved(struct net *n, size_t i, struct err *e)
{
    struct net_node *node = &n->nodes[i];
    const size_t dies = n->options.training ? backward_moment(n, i) : node->forward_at;
    const bool lasting = node->output_unheld;
    if (node->needs.saved_bytes == 0) return 0;
    return memory_plan_add(&n->blocks, PLAN_SAVED, node->needs.saved_bytes,
                           lasting ? 0 : node->forward_at, lasting ? n->moments : dies,
                           &node->saved_block, e);
}

/* ---- a net that keeps everything --------------------------------------------------------------
 */
static int plan_kept_nodes(struct net *n, struct err *e)
{
    const bool training = n->options.training;
    for (size_t i = 0; i < n->n_nodes; i++) {
        if (plan_output(n, i, e) != 0 || plan_saved(n, i, e) != 0) return (int)e->code;
    }
    for (size_t i = 0; training && i < n->n_nodes; i++)
        if (n->nodes[i].wants_gradient &&
            (plan_gradient(n, &n->blocks, i, e) != 0 ||
             plan_node_addend(n, &n->blocks, i, e) != 0 || plan_back(n, &n->blocks, i, e) != 0))
            return (int)e->code;
    return 0;
}

/* ---- segments -------------------------------------------------------------------------------- */
/* Kept to the end of a step whatever is computed again; a view's block is the one below it. */
void net_mark_kept(struct net *n)
{
    const bool *watched = n->options.watched;
    for (size_t i = n->n_nodes; i-- > 0;) {
        struct net_node *node = &n->nodes[i];
        node->kept |= counts_spikes(n, i) || i + 1 == n->n_nodes;
        const size_t from = node->inputs[0];
        const bool passes_on = node->needs.view || node->output_unheld;
        if (from != NET_INPUT && ((passes_on && node->kept) || (watched != NULL && watched[i])))
            n->nodes[from].kept = true;
    }
}

/* Of a fused batch norm that monitors look behind, what makes its output. */
size_t net_kept_bytes(const struct net *n, size_t i)
{
    const struct net_node *node = &n->nodes[i];
    return node->output_unheld ? node->needs.saved_bytes : tensor_bytes(&node->out);
}

static int plan_kept_outputs(struct net *n, struct err *e)
{
    for (size_t i = 0; i < n->n_nodes; i++) {
        struct net_node *node = &n->nodes[i];
        if (!node->kept || node->needs.view) continue;
        if (memory_plan_add(&n->blocks, PLAN_ACTIVATIONS, net_kept_bytes(n, i), 0, n->moments,
                            node->output_unheld ? &node->saved_block : &node->out_block, e) != 0)
            return (int)e->code;
    }
    return 0;
}

/* The part of a segment that is being planned. */
struct part {
    struct net *n;
    struct memory_plan *p;
    const struct net_segment *s;
    size_t held_bytes;
};

/* Held from the forward to the backward pass. */
static int hold(struct part *k, size_t bytes, size_t i, size_t *block, struct err *e)
{
    const struct net_node *node = &k->n->nodes[i];
    if (memory_plan_add(k->p, PLAN_ACTIVATIONS, bytes, node->forward_at, node->backward_at, block,
                        e) != 0)
        return (int)e->code;
    k->p->blocks[*block].floor = k->s->floor;
    k->held_bytes += k->p->blocks[*block].bytes;
    return 0;
}

/* Let go of after the forward moment `last`, and there again for the backward pass. */
static int drop(struct part *k, size_t bytes, size_t i, size_t last, size_t *block, struct err *e)
{
    const struct net_node *node = &k->n->nodes[i];
    if (memory_plan_add(k->p, PLAN_ACTIVATIONS, bytes, node->forward_at, last, block, e) != 0)
        return (int)e->code;
    struct plan_block *b = &k->p->blocks[*block];
    b->floor = k->s->floor;
    b->again = true;
    b->again_first = node->again_at;
    b->again_last = node->backward_at;
    return 0;
}

static int part_output(struct part *k, size_t i, struct err *e)
{
    struct net_node *node = &k->n->nodes[i];
    const size_t last = last_reading(k->n, i), bytes = tensor_bytes(&node->out);
    if (node->output_unheld) return 0;
    if (node->needs.view) {
        share_output(k->n, i);
        if (node->inputs[0] != NET_INPUT && !node->kept)
            memory_plan_extend(k->p, node->out_block, node->forward_at, last);
        return 0;
    }
    if (node->kept) return 0;
    return k->s->again ? drop(k, bytes, i, last, &node->out_block, e)
                       : hold(k, bytes, i, &node->out_block, e);
}

static size_t saved_last(const struct net *n, size_t i)
{
    return n->nodes[i].output_unheld ? last_reading(n, i) : n->nodes[i].forward_at;
}

static int part_saved(struct part *k, size_t i, struct err *e)
{
    struct net_node *node = &k->n->nodes[i];
    const size_t bytes = node->needs.saved_bytes;
    if (bytes == 0 || (node->kept && node->output_unheld)) return 0;
    return k->s->again ? drop(k, bytes, i, saved_last(k->n, i), &node->saved_block, e)
                       : hold(k, bytes, i, &node->saved_block, e);
}

/* Gradients of a segment, and what is added to the one that crosses into it from below. */
static int part_gradients(struct part *k, struct err *e)
{
    struct net *n = k->n;
    const size_t first = k->p->count, begin = k->s->begin, end = k->s->end;
    int rc = 0;
    for (size_t i = begin; rc == 0 && i < end; i++)
        if (n->nodes[i].wants_gradient && (i + 1 < end || end == n->n_nodes))
            rc = plan_gradient(n, k->p, i, e);
    for (size_t i = begin > 0 ? begin - 1 : 0; rc == 0 && i + 1 < end; i++)
        if (n->nodes[i].wants_gradient) rc = plan_node_addend(n, k->p, i, e);
    for (size_t i = begin; rc == 0 && i < end; i++)
        if (n->nodes[i].wants_gradient) rc = plan_back(n, k->p, i, e);
    for (size_t b = first; b < k->p->count; b++) k->p->blocks[b].floor = k->s->floor;
    return rc;
}

int net_plan_segment(struct net *n, struct memory_plan *p, const struct net_segment *s,
                     size_t *held_bytes, struct err *e)
{
    struct part k = { n, p, s, 0 };
    const size_t boundary = s->end - 1;
    const bool held = s->again && !n->nodes[boundary].kept;
    int rc = 0;
    if (held) /* first, so at the bottom */
        rc = hold(&k, tensor_bytes(&n->nodes[boundary].out), boundary,
                  &n->nodes[boundary].out_block, e);
    for (size_t i = s->begin; rc == 0 && i < s->end; i++) {
        if (!held || i != boundary) rc = part_output(&k, i, e);
        if (rc == 0) rc = part_saved(&k, i, e);
    }
    if (rc == 0) rc = part_gradients(&k, e);
    *held_bytes = k.held_bytes;
    return rc;
}

/* Memory of the gradients that cross: neighbours have one each in turn. */
static int plan_crossing(struct net *n, struct err *e)
{
    size_t largest = 0, slots[2];
    for (size_t k = 0; k + 1 < n->n_segments; k++) {
        const size_t bytes = net_crossing_bytes(n, n->segments[k].end);
        if (bytes > largest) largest = bytes;
    }
    for (size_t k = 0; k < 2; k++)
        if (memory_plan_add(&n->blocks, PLAN_ACTIVATIONS, largest, 0, n->moments, &slots[k], e) !=
            0)
            return (int)e->code;
    for (size_t k = 0; k + 1 < n->n_segments; k++) {
        struct net_node *node = &n->nodes[n->segments[k].end - 1];
        if (node->wants_gradient) node->gradient_block = slots[k % 2];
    }
    return 0;
}

static int plan_segments(struct net *n, struct err *e)
{
    int rc = plan_crossing(n, e);
    if (rc == 0) rc = plan_kept_outputs(n, e);
    size_t floor = 0, held;
    for (size_t b = 0; b < n->blocks.count; b++)
        if (n->blocks.blocks[b].kind == PLAN_ACTIVATIONS) floor += n->blocks.blocks[b].bytes;
    for (size_t k = 0; rc == 0 && k < n->n_segments; k++) {
        n->segments[k].floor = floor;
        rc = net_plan_segment(n, &n->blocks, &n->segments[k], &held, e);
        floor += held;
    }
    return rc;
}

/* ---- what is there all the time ---------------------------------------------------------------
 */
struct fixed_block {
    enum plan_kind kind;
    size_t bytes;
    size_t *index;
};

static int plan_fixed(struct net *n, const struct fixed_block *f, size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++)
        if (memory_plan_add(&n->blocks, f[i].kind, f[i].bytes, 0, n->moments, f[i].index, e) != 0)
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

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Layers take turns with it; those that walk together lie side by side. */
static int plan_scratch(struct net *n, struct err *e)
{
    size_t layer = 0, thread = KERNEL_SCRATCH_BYTES, at = 0;
    for (size_t i = 0; i < n->n_nodes; i++) {
        struct net_node *node = &n->nodes[i];
        const struct layer_needs *needs = &node->needs;
        size_t own = needs->forward_scratch_bytes;
        if (n->options.training) own = larger(own, needs->backward_scratch_bytes);
        const bool with_norm = node->norm != NET_NO_NODE; /* whose sums these neurons make */
        if (i == node->walk_begin && !with_norm) at = 0;
        node->scratch_at = at;
        at += mem_align(own, ARENA_ALIGN);
        layer = larger(layer, at);
        thread = larger(thread, needs->thread_scratch_bytes);
    }
    n->layer_scratch_bytes = layer;
    n->scratch_per_thread = mem_align(thread, ARENA_ALIGN);
    const struct fixed_block f[] = {
        { PLAN_SCRATCH, n->layer_scratch_bytes, &n->layer_scratch_block },
        { PLAN_SCRATCH, n->options.threads * n->scratch_per_thread, &n->thread_scratch_block },
    };
    return plan_fixed(n, f, sizeof f / sizeof f[0], e);
}

/* ---- the whole ------------------------------------------------------------------------------- */
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
    for (size_t i = 0; i < n->n_nodes; i++) {
        n->plan.macs += n->nodes[i].needs.macs;
        if (n->nodes[i].runs_again) n->plan.recomputed_macs += n->nodes[i].needs.macs;
    }
}

static int plan_input_addend(struct net *n, struct err *e)
{
    n->input_addend_block = NET_NO_BLOCK;
    if (!n->options.training || !n->options.input_gradient) return 0;
    return plan_addend(n, &n->blocks, &n->input_readers, PLAN_IO, &n->input_gradient,
                       &n->input_addend_block, e);
}

int net_plan_blocks(struct net *n, struct err *e)
{
    const struct net_segment whole = { .end = n->n_nodes };
    memory_plan_deinit(&n->blocks);
    if (n->n_segments > 0) net_number_moments(n, n->segments, n->n_segments);
    else net_number_moments(n, &whole, 1);
    for (size_t i = 0; i < n->n_nodes; i++) {
        struct net_node *node = &n->nodes[i];
        node->out_block = node->saved_block = NET_NO_BLOCK;
        node->gradient_block = node->addend_block = NET_NO_BLOCK;
        node->back_block = NET_NO_BLOCK;
    }
    int rc = plan_io(n, e);
    if (rc == 0) rc = n->n_segments > 0 ? plan_segments(n, e) : plan_kept_nodes(n, e);
    if (rc == 0) rc = plan_input_addend(n, e);
    if (rc == 0 && net_streams(n)) rc = net_stream_plan(n, e);
    if (rc == 0) rc = plan_scratch(n, e);
    if (rc == 0) rc = memory_plan_solve(&n->blocks, e);
    if (rc == 0) sum_plan(n);
    return rc;
}
