/* layer: one stateless operation or one layer of neurons behind one ops table. Built by nets/,
 * which also owns all memory and walks the layers; runs on the thread that calls net_forward and
 * spreads work over the pool inside the kernels.
 *
 * A layer is const during a step: parameters, saved values and scratch are handed in by struct
 * step, so recomputation and several sessions need nothing new (design 5.3).
 *
 * Gradients are those of values (element * scale): dropout and pooling carry their factors
 * themselves, convolution and linear layers are called with an input scale of 1 backwards. */
#ifndef WORKER_LAYER_H
#define WORKER_LAYER_H

#include "common/err.h"
#include "common/philox.h"
#include "common/spec.h"
#include "worker/kernels/kernels.h"
#include "worker/neurons/neuron.h"
#include "worker/tensor/tensor.h"

#define LAYER_PARAMS_MAX NEURON_PARAMS_MAX
#define LAYER_INPUTS_MAX 2
#define LAYER_DIMS_MAX 5

/* One learned tensor or buffer of a layer. */
struct layer_param {
    const char *name; /* "weight"; appended to the layer's path */
    bool buffer;      /* running statistics: not learned, no gradient */
    size_t dims[LAYER_DIMS_MAX], n_dims, logical; /* PyTorch's shape and its product */
    size_t floats;    /* packed, a multiple of 16 */
    size_t offset;    /* in the layer's part of the weights, or of the buffers */
};

/* What reshape asks for. */
struct layer_needs {
    struct layer_param params[LAYER_PARAMS_MAX];
    size_t n_params;
    size_t weight_floats, buffer_floats; /* sums of the above */
    size_t saved_bytes;            /* written forward, read backward */
    size_t state_bytes;            /* streams only */
    size_t forward_scratch_bytes;  /* shared by all layers */
    size_t backward_scratch_bytes; /* kept from backward_data to backward_weights of one layer */
    size_t thread_scratch_bytes;   /* of kernel_ctx, a thread */
    uint64_t macs;                 /* forward, one sample, all T */
    bool gradient_blocked;         /* backward reads dy blocked (a convolution) */
    bool view;                     /* y is x under another shape: no memory, no work */
};

/* Golden cases only: values that training never needs. data NULL: absent. */
struct step_probe {
    struct tensor_view v0, w0, u, v, w, dv, dv0, dw0;
    struct tensor_view spikes; /* of neurons that put out values */
    const uint64_t *keep; /* dropout: this mask instead of a drawn one, [b][h][w][ceil(c/64)] */
};

struct step {
    const struct kernel_ctx *kc;
    bool training;
    uint64_t number;        /* optimiser updates done before */
    uint64_t sample_offset; /* position of sample 0 in the global batch */
    struct philox_key dropout_key, spike_key;
    size_t sample_steps;    /* time-steps of all samples, each to its own end; 0: b * T */
    size_t shards, shard;   /* shard: the one backward_weights is asked for */
    /* Descriptors count the valid samples only (b <= planned). */
    struct tensor_view x[LAYER_INPUTS_MAX], y;
    struct tensor_view dx[LAYER_INPUTS_MAX], dy; /* dx data NULL: not wanted */
    /* x[1] and dx[1] of a joining point are of one time-step: see recurrent.c. */
    const float *w;         /* this layer's weights, packed */
    float *dw;              /* this shard's gradients of them, overwritten */
    float *buffers;
    unsigned char *saved, *scratch;
    unsigned char *state;   /* streams: what the layer carries to the next steps */
    size_t first_step;      /* streams: time-step that step 0 of the tensors is */
    const uint32_t *lengths;        /* time-steps of each sample; NULL: all have T */
    const struct step_probe *probe; /* NULL */
    /* Of a neuron layer, what is fused with it (fused.h); NULL: nothing. norm makes the input,
     * which no memory holds; dy is the gradient of what pool puts out. */
    const struct layer *norm, *pool;
    const struct step *norm_step;
    bool summed; /* of a fused batch norm: the neurons have made its sums of the backward pass */
};

struct layer;
struct layer_ops {
    const char *name;
    /* Why forward and backward_data must have all T in one call, whatever the step mode; NULL: they
     * take any spans, backward from the last to the first. neuron_layer says it of its model. */
    const char *all_steps;
    /* Shapes and needs. Errors: ERR_SPEC (text names what does not fit). */
    int (*reshape)(struct layer *l, const struct tensor_desc *in, size_t n_in,
                   struct tensor_desc *out, struct layer_needs *needs, struct err *e);
    void (*forward)(const struct layer *l, const struct step *s, struct span t); /* [begin, end) */
    void (*commit)(const struct layer *l, const struct step *s); /* running statistics */
    /* Always called in a backward walk, also when no dx is wanted: it may prepare sums. */
    void (*backward_data)(const struct layer *l, const struct step *s, struct span t);
    void (*backward_weights)(const struct layer *l, const struct step *s); /* one shard, all T */
    /* First values of parameter i in PyTorch's order, from (key, number). */
    void (*init)(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                 float *values);
    /* New values of buffers at the start of an epoch (0-based); NULL: none. */
    void (*schedule)(const struct layer *l, float *buffers, uint64_t epoch, uint64_t epochs);
    /* PyTorch's order <-> packed; NULL: the same order, padded at the end. */
    void (*pack)(const struct layer *l, size_t i, const float *values, float *packed);
    void (*unpack)(const struct layer *l, size_t i, const float *packed, float *values);
    /* Why time-steps cannot be evaluated as they come (net_stream_step), with these buffers; NULL
     * as function or result: they can. */
    const char *(*no_stream)(const struct layer *l, const float *buffers);
    /* Scale of the output for a scale of the input; NULL: the input's for bits and counts. */
    float (*scale)(const struct layer *l, float in, bool training);
    void (*deinit)(struct layer *l); /* safe on a zeroed layer and when repeated */
};

struct layer {
    const struct layer_ops *ops;
    const struct spec_layer *spec; /* borrowed */
    size_t number;                 /* position in the net: dropout's stream */
    enum isa isa;
    size_t shards;                 /* of a step: sums are kept for each */
    size_t time_steps;             /* T; in a stream in.t is less */
    bool stream;                   /* evaluation of time-steps as they come */
    size_t span_steps;             /* time-steps of a call; in.t: all */
    const char *all_steps;         /* see layer_ops */
    enum kernel_path path;         /* of convolutions and linear layers */
    struct {
        size_t rows, columns;
    } tile; /* of a neuron layer with neighbours: see fused.h */
    struct tensor_desc in, out;
    struct layer_param params[LAYER_PARAMS_MAX];
    size_t n_params;
    bool expands;                  /* input is bits or counts, the kernels want floats */
    struct tensor_desc in_float;   /* what the input is expanded to, first in saved */
    union {
        struct conv_shape conv;
        struct pool_shape pool;
        struct {
            size_t saved_bytes, scratch_bytes; /* of batch_norm, below what wraps it */
        } norm;
        struct neuron neuron;
        struct {
            struct tensor_desc back; /* what comes back, all T */
        } recurrent;
    } u;
};

/* The table: one row a layer type of the spec. */
const struct layer_ops *layer_ops_of(enum spec_layer_type type);

/* ---- shared by the layers -------------------------------------------------------------------- */
/* Appends a parameter and gives it its offset. */
void layer_add_param(struct layer *l, struct layer_needs *needs, struct layer_param p);
/* Output shape by the spec's arithmetic. Errors: ERR_SPEC. */
int layer_shape(const struct layer *l, const struct tensor_desc *in, struct spec_shape *out,
                struct err *e);
/* Plans an expanded copy when the input is BITS or COUNT8; call at the start of reshape. */
void layer_plan_float(struct layer *l, const struct tensor_desc *in, struct layer_needs *needs);
/* The input as floats; forward makes the copy of steps t, backward (LAYER_NO_STEPS) finds it in
 * saved. */
#define LAYER_NO_STEPS ((struct span){ 0, 0 })
struct tensor_view layer_float_input(const struct layer *l, const struct step *s, struct span t);
/* The same with the input's scale still to be applied: what a product reads on the dense path. */
struct tensor_view layer_dense_input(const struct layer *l, const struct step *s, struct span t);
/* Steps of t as they are stored: the one of a REPEAT tensor. */
struct span layer_stored(const struct tensor_desc *d, struct span t);
/* The part of saved behind that copy. */
void *layer_saved(const struct layer *l, const struct step *s);
/* Of a neuron layer: where the spikes that it draws stand among the random numbers. */
struct neuron_draws neuron_layer_draws(const struct layer *l, const struct step *s);
/* Samples of shard i. */
struct span step_shard(const struct step *s, size_t i);
/* Physical position of PyTorch's feature j; c of an image, or a flattened view. */
size_t layer_feature(const struct tensor_desc *d, size_t j);

#endif
