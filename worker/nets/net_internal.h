/* net_internal: the inside of a net, shared by the files of nets/ only. */
#ifndef WORKER_NET_INTERNAL_H
#define WORKER_NET_INTERNAL_H

#include "common/arena.h"
#include "worker/layers/layer.h"
#include "worker/nets/memory_plan.h"
#include "worker/nets/net.h"

#define NET_INPUT ((size_t)-1) /* as the index of an input: the net's own input */
#define NET_NO_BLOCK ((size_t)-1)
#define NET_NO_NODE ((size_t)-2)

/* Nodes [begin, end) that are kept, or computed again before their backward pass. */
struct net_segment {
    size_t begin, end;
    bool again;
    size_t floor; /* where its memory begins among the activations */
};

/* Nodes that read a tensor. In the backward walk the last of them writes its gradient; at a fork
 * each of the others computes an addend, which is added in the order of the walk. */
struct net_readers {
    size_t count, first, last, last_but_one;
};
struct net_node {
    struct layer layer;
    struct layer_needs needs;
    size_t inputs[LAYER_INPUTS_MAX], n_inputs; /* nodes before this one, or NET_INPUT */
    struct net_readers readers;
    size_t back;                  /* of a joining point: whose output comes back; or NET_NO_NODE */
    size_t walk_begin, walk_end;  /* nodes that walk time together; [i, i + 1): it is alone */
    struct tensor_desc out;       /* scale is that of the last pass */
    struct tensor_desc gradient;  /* of out, as this layer's backward pass reads it */
    struct tensor_desc back_gradient; /* of a joining point: of one step of what comes back */
    bool wants_gradient;          /* this node or one before it learns */
    size_t norm, pool;            /* of neurons: nodes fused with them (fusion.c), or NET_NO_NODE */
    bool output_unheld, gradient_unheld; /* made and read tile by tile: no memory holds it */
    size_t first_param;           /* in net.params */
    size_t weight_offset, buffer_offset; /* floats */
    size_t forward_at, again_at, backward_at; /* moments of the plan */
    bool kept;       /* its output stays to the end of a step, whatever is computed again */
    bool runs_again; /* in a backward pass, before that of its segment */
    size_t out_block, gradient_block, addend_block, saved_block; /* of the plan, or NET_NO_BLOCK */
    size_t state_block, back_block;
    size_t scratch_at; /* nodes that walk together have scratch of their own each */
    unsigned char *out_data, *saved, *state;
    float *gradient_data, *addend_data, *back_data;
    double forward_ms, backward_ms;
};

struct net {
    struct net_options options;
    struct net_node *nodes;
    size_t n_nodes;
    struct net_param *params;
    size_t n_params;
    size_t weight_floats, buffer_floats, scratch_per_thread, layer_scratch_bytes;
    struct tensor_desc input, input_gradient, output_gradient;
    struct net_readers input_readers;
    struct net_segment *segments; /* none: every output is kept */
    size_t n_segments;
    size_t backward_begins, moments;
    struct memory_plan blocks;
    struct net_plan plan;
    /* block indices */
    size_t weights_block, gradients_block, buffers_block, layer_scratch_block,
        thread_scratch_block, input_block, input_gradient_block, input_addend_block,
        output_gradient_block;
    /* after net_start */
    struct arena arena;
    struct threads *threads;
    struct kernel_ctx kc;
    unsigned char *regions[PLAN_KIND_COUNT];
    float *weights, *gradients, *buffers;
    void *input_data;
    float *input_gradient_data, *input_addend_data, *output_gradient_data;
    unsigned char *layer_scratch;
    /* Streams: input and output of all T, step 0 of the current chunk, its steps. */
    struct tensor_desc stream_input, stream_output;
    size_t stream_input_block, stream_output_block;
    unsigned char *stream_input_data, *stream_output_data;
    size_t stream_at, stream_now;
    struct net_step last;   /* of the last net_forward: what monitors look at */
    uint32_t *last_lengths; /* [b] */
    size_t last_steps;      /* time-steps of all its samples, each to its own end */
    struct kernel_trace *profile; /* [nodes]; NULL: nobody measures */
    const struct step_probe *probe;
    size_t probe_node;
};

/* The last node reads the loss's F32 [B][T] as it is, unless it wants another layout. */
bool net_output_gradient_is_direct(const struct net *n);
/* Zeros behind the end of every sample; lengths NULL: none ends early. first: time-step of v's. */
void net_clear_ends(const struct tensor_view *v, const uint32_t *lengths, size_t first);
/* Time-steps of all samples. */
size_t net_count_steps(const struct net *n, const struct net_step *s);
/* Whether a node's output is still there after a step. */
bool net_output_is_kept(const struct net *n, size_t node);
/* A stretch of work on node i: its kernels are counted as the node's, its time is added to *ms. */
int64_t net_measure_begin(struct net *n, size_t i);
void net_measure_end(struct net *n, int64_t start_ns, double *ms);
/* Memory of a block, NULL for NET_NO_BLOCK. */
void *net_block(const struct net *n, size_t block);
/* What step.c and time_first.c share: views of one node for its layer, and where gradients lie. */
struct step net_step_of(const struct net *n, const struct net_step *s, size_t i);
struct tensor_view net_gradient_view(const struct net *n, size_t node, size_t samples);
struct tensor_view net_reader_gradient(const struct net *n, size_t node, size_t reader,
                                       size_t samples);
void net_clear_border(const struct net *n, const struct tensor_view *g);
void net_set_scale(struct net *n, size_t i, bool training);
void net_backward_weights(struct net *n, struct step *step, size_t i);
/* Forward of the nodes that walk time with node i, the first of them. */
void net_forward_walk(struct net *n, const struct net_step *s, size_t i);
/* Of nodes that walk together, step by step; again: those that run again. */
bool net_walks_together(const struct net *n, size_t i);
void net_forward_together(struct net *n, const struct net_step *s, size_t begin, bool again);
void net_backward_together(struct net *n, const struct net_step *s, size_t begin);
/* Streams (stream.c): tensors of all T from those of a chunk; what lives from chunk to chunk. */
void net_stream_describe(struct net *n);
int net_stream_plan(struct net *n, struct err *e);
void net_stream_memory(struct net *n);
/* Neighbours of neurons (fusion.c): chosen once; named for the layer in a step, norm_step is the
 * caller's memory. */
void net_fuse(struct net *n);
const struct layer *net_layer(const struct net *n, size_t node); /* NULL for NET_NO_NODE */
void net_name_fused(const struct net *n, const struct net_step *s, size_t i, struct step *step,
                    struct step *norm_step);
void net_name_fused_gradients(const struct net *n, const struct net_step *s, size_t i,
                              struct step *step, struct step *norm_step);
/* Whether the backward pass of the neurons behind it has made a batch norm's sums. */
bool net_sums_are_made(const struct net *n, const struct net_step *s, size_t norm);
/* Remembers a forward pass for who asks about it later. */
void net_remember(struct net *n, const struct net_step *s);
/* Steps of one call of a layer, from net_options.span_steps and what the layer allows. */
size_t net_span_steps(const struct net *n, const struct layer *l);
/* Forward and backward_data of one layer over all T. */
void net_forward_spans(const struct layer *l, const struct step *s);
void net_backward_spans(const struct layer *l, const struct step *s);
/* A node's tensor for `samples` samples; NET_INPUT is the input. */
struct tensor_view net_view(const struct net *n, size_t node, size_t samples);

#endif
