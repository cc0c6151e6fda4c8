/* net: a spiking network as a topologically sorted list of nodes, and one training or evaluation
 * step over it (design 5.1 to 5.4). Built by net_build from a spec; driven by train/, eval, bench
 * and check-golden. One thread calls; the kernels use the pool inside.
 *
 * Two phases: net_build infers every descriptor and counts every byte (net_plan) before anything
 * runs; net_start takes one arena. A step allocates nothing. */
#ifndef WORKER_NET_H
#define WORKER_NET_H

#include "common/err.h"
#include "common/spec.h"
#include "worker/kernels/kernels.h"
#include "worker/tensor/tensor.h"

#define NET_PARAM_NAME_MAX (SPEC_PATH_MAX + 32)
#define NET_DIMS_MAX 5

/* One named parameter or buffer. Values live packed in the net's parameter block; files hold
 * PyTorch's shape and order. */
enum net_param_role { NET_WEIGHT, NET_BUFFER }; /* learned; running statistics */
struct net_param {
    char name[NET_PARAM_NAME_MAX]; /* "0.weight", "1.running_mean", "2.w" */
    enum net_param_role role;
    size_t dims[NET_DIMS_MAX], n_dims; /* PyTorch's shape; n_dims 0 = scalar */
    size_t logical;                    /* product of dims */
    size_t offset, floats;             /* in the block of weights or of buffers; floats % 16 == 0 */
    size_t node;
};

struct net_input {
    size_t b, t;      /* batch, time-steps */
    size_t c, h, w;
    bool repeat;      /* direct encoding: the same frame at every time-step (static prefix) */
    bool bits;        /* spikes from an encoder (Poisson): a BITS tensor */
};
/* What a training net computes again in the backward pass instead of keeping it. Same bits. */
enum net_recompute {
    NET_RECOMPUTE_OFF,
    NET_RECOMPUTE_AUTO, /* the fewest MACs that fit memory_bytes_max */
    NET_RECOMPUTE_LEAST /* whatever needs the fewest bytes */
};
struct net_options {
    struct net_input input;
    bool training;       /* false: no gradients, saved tensors or moments are planned */
    size_t shards;       /* power of two; 1 by default */
    size_t threads;
    bool exact;          /* numerics */
    bool input_gradient; /* also compute dL/d(input): golden and gradient checks */
    enum isa isa;
    size_t memory_bytes_max; /* 0 = no limit; else ERR_OUT_OF_PLAN when the plan is larger */
    enum net_recompute recompute;
    const bool *watched; /* layers that net_membrane will be asked about although parts are computed
                            again; NULL: none. Read by net_build only */
    bool unfused;        /* tests: every layer works alone (layers/fused.h) */
    uint64_t seed;       /* initial weights, dropout */
    size_t stream_steps; /* 0, or T of a stream: input.t is then the steps of a call */
    enum kernel_path path;
    struct kernel_trace *trace; /* counts the kernels that run; NULL: nobody asks */
    size_t span_steps;   /* time-steps of one call of a layer that can; 0 = all (train.step_mode) */
};
struct net_plan { /* bytes by kind; their sum is the arena */
    size_t parameters_bytes, gradients_bytes, buffers_bytes, activations_bytes, saved_bytes,
        scratch_bytes, io_bytes, total_bytes; /* saved values lie among the activations when parts
                                                 are computed again */
    size_t without_recompute_bytes; /* total_bytes if nothing were computed again */
    uint64_t recomputed_macs; /* of a backward pass of one sample */
    size_t parameters;        /* logical number of learned values */
    uint64_t macs;            /* multiply-accumulates of one forward pass of one sample */
};
struct net_node_info { /* for plan --table, bench, monitors */
    const char *path;         /* "2" */
    const char *type;         /* "neuron" */
    const struct spec_layer *spec;
    struct tensor_desc out;
    size_t parameters;
    uint64_t macs;            /* per sample, forward, all T */
    size_t activation_bytes;
    bool repeat;              /* static prefix: computed once for all T */
    bool recomputed;          /* runs again in the backward pass */
};

struct net;
/* spec's layers are borrowed and must outlive the net. Errors: ERR_SPEC (shape, names the layer),
 * ERR_OUT_OF_PLAN, ERR_NOMEM. */
int net_build(struct net **out, const struct spec_layer *layers, size_t n_layers, size_t classes,
              const struct net_options *o, struct err *e); /* classes 0 = any output width */
const struct net_plan *net_plan(const struct net *n);
size_t net_node_count(const struct net *n);
void net_node(const struct net *n, size_t i, struct net_node_info *out);
/* Arena, threads, initial weights (Philox, key (seed, PHILOX_INIT), parameter number = order).
 * Errors: ERR_NOMEM, ERR_IO. */
int net_start(struct net *n, struct err *e);
void net_destroy(struct net *n); /* NULL is fine */
const struct kernel_ctx *net_kernel_ctx(const struct net *n);
size_t net_arena_high_water(const struct net *n);

/* ---- parameters ------------------------------------------------------------------------------ */
size_t net_param_count(const struct net *n); /* weights and buffers, file order */
const struct net_param *net_param(const struct net *n, size_t i);
float *net_weights(struct net *n, size_t *floats);       /* the packed block: optimiser's view */
float *net_gradients(struct net *n, size_t *floats);     /* same layout; after net_backward */
float *net_buffers(struct net *n, size_t *floats);       /* packed running statistics */
/* PyTorch order <-> packed; out/in hold `logical` floats. */
void net_param_read(const struct net *n, size_t i, float *out);
void net_param_write(struct net *n, size_t i, const float *in);
void net_gradient_read(const struct net *n, size_t i, float *out);
/* The same for any block with the layout of net_weights (an optimiser's moments), or of
 * net_buffers for a NET_BUFFER. */
void net_param_unpack(const struct net *n, size_t i, const float *block, float *out);
void net_param_pack(const struct net *n, size_t i, const float *in, float *block);
/* Buffers that follow a schedule (lambda of masked PSN) take their values of this epoch; both
 * count from 0. They are parameters of role NET_BUFFER, so checkpoints and files hold them. */
void net_begin_epoch(struct net *n, uint64_t epoch, uint64_t epochs);
/* 2-norm of a node's weight gradients, in double. */
double net_grad_norm(const struct net *n, size_t node);

/* ---- a step ---------------------------------------------------------------------------------- */
/* Memory of the input tensor; the batcher fills it before a step. F32 [B][T or 1][H][W][C]. */
void *net_input_data(struct net *n, const struct tensor_desc **desc);
struct net_step {
    uint64_t step;          /* optimiser updates done before this one: counter of what is drawn */
    uint64_t sample_offset; /* position of the batch's first sample in the global batch */
    size_t samples;         /* valid samples, <= b; the rest is ignored everywhere */
    bool training;          /* batch statistics and dropout on; running statistics updated */
    /* Time-steps of each sample, 1 .. T; NULL: all have T. Later ones are zeros for every layer
     * and count nowhere. Not for a repeated input. */
    const uint32_t *lengths;
};
/* Output: the last node's tensor for all T: F32, BITS, COUNT8, or REPEAT when nothing depends on
 * t. */
void net_forward(struct net *n, const struct net_step *s);
const void *net_output(const struct net *n, const struct tensor_desc **desc);
/* Where the loss puts dL/d(output): F32 [B][T][1][1][C], zeroed by the callee of net_forward. */
float *net_output_gradient(struct net *n, const struct tensor_desc **desc);
void net_backward(struct net *n, const struct net_step *s);

/* ---- evaluation of time-steps as they come --------------------------------------------------- */
/* A net with options.stream_steps (and not training) holds the activations of one chunk of input.t
 * steps only, and what neurons carry from step to step. Its input and output are those of all T:
 * net_input_data, then net_stream_begin, then net_stream_step until it says that nothing is left;
 * net_output is then complete. Everything between shows the last chunk. The bits are those of
 * net_forward on a net of all T. */
/* ERR_INVALID names the first layer that needs steps to come, and says why. */
int net_stream_check(const struct net *n, struct err *e);
void net_stream_begin(struct net *n);
bool net_stream_step(struct net *n, const struct net_step *s); /* false: all T were done before */
size_t net_time_steps(const struct net *n); /* T */
bool net_streams(const struct net *n);
/* dL/d(input) when asked for at build time of a golden case; NULL otherwise. */
const float *net_input_gradient(const struct net *n, const struct tensor_desc **desc);
/* Any node's output of the last forward pass (spikes for monitors); NULL when recomputation has let
 * go of it or a batch norm is fused with neurons, which never happens to spikes, counts and the
 * last output. */
const void *net_node_output(const struct net *n, size_t node, const struct tensor_desc **desc);
/* Membrane potentials after the reset, recomputed for one sample of a neuron node:
 * v [T][n_neurons] for the listed neurons, numbered in PyTorch's order x + W*(y + H*c).
 * 0, or ERR_INVALID for nodes that are no neurons (the PSN family gives h) and for those that
 * options.watched would have had to name. */
int net_membrane(const struct net *n, size_t node, size_t sample, const size_t *neurons,
                 size_t n_neurons, float *v, struct err *e);
/* Spikes of a neuron node in the last forward pass, exact. */
uint64_t net_spike_count(const struct net *n, size_t node);
size_t net_last_samples(const struct net *n); /* of the last forward pass; 0 = there was none */
size_t net_last_steps(const struct net *n);   /* time-steps of all its samples */
/* Spikes a neuron and time-step in the last forward pass; NaN when there was none. */
double net_firing_rate(const struct net *n, size_t node);
/* Operations of a node in the last forward pass. A convolution or linear layer that is fed by
 * spikes only adds up weights: one accumulate for each non-zero input element and each output it
 * reaches (spikes times fan-out, exact at borders and strides). 0 for all other nodes, which are
 * charged with net_node_info.macs. */
bool net_spike_fed(const struct net *n, size_t node);
uint64_t net_accumulates(const struct net *n, size_t node);
/* Spikes of each neuron, summed over T and samples, [C][H][W]: dead and saturated shares. */
void net_neuron_counts(const struct net *n, size_t node, uint32_t *counts);
/* LIF tau, PLIF 1/sigmoid(w), in time-steps; NaN for everything else. */
double net_time_constant(const struct net *n, size_t node);
/* Effective weights over time of the PSN family, [T][T]: masked, or the band of a sliding one. */
int net_psn_weight(const struct net *n, size_t node, float *out, struct err *e);
/* Measures every node from now on, from zero; NULL: no longer. kernels [nodes] (borrowed): calls of
 * each kernel are added up by node. Two readings of the clock a node, nothing else. */
void net_profile(struct net *n, struct kernel_trace *kernels);
/* Wall time of a node since then, ms. What is computed again counts as backward. */
void net_node_times(const struct net *n, size_t node, double *forward_ms, double *backward_ms);
/* Share of a node's inputs that were not zero in the last pass, over all samples and time-steps;
 * NaN when an input is no spikes or counts. */
double net_input_density(const struct net *n, size_t node);
/* Golden cases and tests: initial states, traces, upstream gradients of traces or a dropout mask
 * for one node (layers/layer.h). Memory and descriptors are the caller's; NULL takes it away. */
struct step_probe;
void net_set_probe(struct net *n, size_t node, const struct step_probe *probe);
/* Index of a node by layer path; -1 when there is none. */
long net_node_find(const struct net *n, const char *path);

#endif
