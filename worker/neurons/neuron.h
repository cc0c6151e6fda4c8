/* neuron: spiking neuron models behind one ops table. A model is one file isa_<name>.c, compiled
 * once per instruction set, and one row of common/spec_neurons.def.
 *
 * Used by layers/neuron_layer and by the monitors' membrane traces. neuron_forward and
 * neuron_backward run on the caller's thread and spread rows or samples over the pool; the ops are
 * pure loops over the cells of one sample and may run on any thread. Nothing allocates.
 *
 * A cell is one channel of one pixel of one sample; it owns T inputs and T outputs. Cells are
 * handled in columns: 64 channels of a pixel, all T steps, state in registers. Serial models may
 * also get their steps in spans, one call each; state and gradients then cross from call to call in
 * memory of the caller, with the bits of one call. */
#ifndef WORKER_NEURON_H
#define WORKER_NEURON_H

#include "common/philox.h"
#include "common/spec_neuron.h"
#include "worker/kernels/kernels.h"
#include "worker/neurons/surrogate.h"
#include "worker/tensor/tensor.h"

#define NEURON_PARAMS_MAX 8 /* tensors of one layer: GatedLIF has all of them */
#define NEURON_CONSTANTS_MAX 8
#define NEURON_COLUMN 64        /* channels of a column = bits of a word */
#define NEURON_PADDED 16        /* channels are stored as a multiple */

/* ---- what the drivers hand to a model -------------------------------------------------------- */
/* F32 memory of some cells of one sample: channel block j (16 floats) of pixel (y, x) at step t is
 * at data + t*time + y*row + x*pixel + (j/2)*block32 + (j%2)*16. time is 0 for one step that stands
 * for all. data NULL = absent. */
struct neuron_plane {
    float *data;
    size_t time, row, pixel, block32;
};
/* Where spikes that are drawn stand in the stream of random numbers. */
struct neuron_draws {
    struct philox_key key;
    uint64_t sample, step; /* position in the global batch; optimiser updates done before */
    uint64_t times;        /* of time-step 0 of this layer; others follow */
};
struct neuron_cells {
    size_t rows, pixels, channels; /* pixels of a row */
    size_t row0, pixel0, block0;   /* where they lie in the image: for parameters of a cell's own */
    struct neuron_plane x;
    uint64_t *spikes; /* forward: word w of a pixel at spikes[t*time + y*row + x*pixel + w]; NULL */
    size_t spikes_time, spikes_row, spikes_pixel;
    uint8_t *counts; /* forward of models that fire counts: as spikes, a byte a channel; NULL */
    struct neuron_draws draws;
    struct neuron_plane y;         /* forward of models with ops->analog: the output */
    struct neuron_plane v0, w0;    /* state before the first step; absent: v_init, and the model's
                                      own start of its second state */
    struct neuron_plane u, v, w;   /* wanted traces: h - threshold before the reset, state after */
    struct neuron_plane ds, dv;    /* dL/d(output); dL/d(v trace), usually absent */
    struct neuron_plane dx;        /* dL/dx; absent: not wanted. time 0: summed over t ascending */
    struct neuron_plane dv0, dw0;
    struct span t;                 /* steps of this call */
    size_t first;                  /* time-step that step 0 of the planes is */
    struct neuron_plane before, after; /* neuron_carried planes, one a "step": state before t.begin,
                                          instead of v0 and w0; state after t.end, when wanted */
    struct neuron_plane flow;      /* backward in spans, neuron_flows planes: what the span behind
                                      left, then what this one leaves. Absent: there is one span */
    double *sums;                  /* backward adds neuron_sums values; NULL without parameters */
};
struct neuron;
struct neuron_run {
    const struct neuron *n;
    const float *w[NEURON_PARAMS_MAX]; /* packed parameters, buffers too */
    float k[NEURON_CONSTANTS_MAX];     /* ops->prepare */
    float *scratch;                    /* this thread's, neuron_scratch_bytes */
};

/* ---- a model --------------------------------------------------------------------------------- */
struct neuron_param {
    const char *name; /* PyTorch's: "w", "weight", "bias" */
    size_t dims[4], n_dims;
    bool buffer; /* not learned: kept with the running statistics */
    /* The rest is filled in by neuron_make. */
    bool cells;    /* made by neuron_cell_param: packed [steps][H][W][C padded to 16] */
    size_t values; /* product of dims */
    size_t floats; /* packed = sums that a sample adds up for it */
    size_t sums;   /* where they begin */
};
struct neuron_ops {
    /* Learned parameters: name and dims, or neuron_cell_param; returns how many. */
    size_t (*params)(const struct neuron *n, struct neuron_param out[NEURON_PARAMS_MAX]);
    /* First values of parameter i, n->params[i].values of them in PyTorch's order; random ones
     * from (key, number). */
    void (*init)(const struct neuron *n, size_t i, struct philox_key key, uint32_t number,
                 float *values);
    void (*prepare)(const struct neuron *n, const float *const w[], float k[]); /* may be NULL */
    size_t (*scratch_floats)(const struct neuron *n); /* a thread's, beyond that of neuron_cell */
    void (*forward)(const struct neuron_run *r, const struct neuron_cells *c);
    void (*backward)(const struct neuron_run *r, const struct neuron_cells *c);
    /* New values of the buffers (by parameter number) at the start of an epoch; NULL: none. */
    void (*schedule)(const struct neuron *n, uint64_t epoch, uint64_t epochs,
                     float *const buffers[]);
    /* dL/d(parameter i), packed, from the sums of all parameters over all samples of a shard; NULL
     * without parameters. */
    void (*gradient)(const struct neuron_run *r, const double *sums, size_t i, float *dw);
    double (*time_constant)(const struct neuron_run *r); /* in time-steps; NULL: none */
    uint64_t (*macs)(const struct neuron *n); /* of one cell over all T; 0 for serial models */
    /* Effective weights over time, [T][T]; NULL for serial models. */
    void (*over_time)(const struct neuron_run *r, float *out);
    /* Forward of models without state as time-steps come, from the last inputs of before: `history`
     * of them. NULL: never; no_stream says why not with these parameters, NULL: it can. */
    void (*stream)(const struct neuron_run *r, const struct neuron_cells *c);
    size_t (*history)(const struct neuron *n);
    const char *(*no_stream)(const struct neuron_run *r);
    size_t states; /* of a cell between two steps; 0: the model needs all steps in one call */
    size_t sums;   /* of a cell over all steps: serial models with parameters */
    bool membrane; /* has a potential that is reset; false for the PSN family */
    bool analog;   /* puts out F32 values, not spikes */
    bool plain;    /* takes surrogates that fire counts or draw spikes */
};
/* A neuron of a spec, ready for T steps on one instruction set. Plain values, copied freely. */
struct neuron {
    const struct neuron_ops *ops;
    const struct spec_neuron *spec; /* borrowed */
    struct surrogate surrogate;
    size_t t, c, h, w; /* of the image; a flattened one is seen through */
    bool flat;         /* for PyTorch it is a row of c*h*w features */
    float v_threshold;
    float v_reset; /* 0 for a soft reset */
    float v_init;  /* before the first step */
    bool soft, detach, decay_input;
    float refractory;     /* steps without charge after a spike */
    bool learn_threshold; /* the last parameter is v_threshold */
    enum spec_scope scope;
    size_t scope_floats; /* packed size of one value a layer, channel or cell */
    struct neuron_param params[NEURON_PARAMS_MAX];
    size_t n_params;
};

/* For inputs like x (F32 or REPEAT, any number of samples). */
struct neuron neuron_make(const struct spec_neuron *spec, const struct tensor_desc *x,
                          enum isa isa);
/* A parameter with a value for the layer, every channel or every cell, by the spec's scope; and for
 * each of `steps` time-steps, unless that is 0. */
struct neuron_param neuron_cell_param(const struct neuron *n, const char *name, size_t steps);
void neuron_init(const struct neuron *n, size_t i, struct philox_key key, uint32_t number,
                 float *values);
/* PyTorch's order <-> packed. */
void neuron_pack(const struct neuron *n, size_t i, const float *values, float *packed);
void neuron_unpack(const struct neuron *n, size_t i, const float *packed, float *values);
size_t neuron_scratch_bytes(const struct neuron *n); /* per thread */

/* ---- whole tensors --------------------------------------------------------------------------- */
/* Members mean what they mean in neuron_cells; data NULL: absent. x, y, states and gradients F32 or
 * REPEAT, spikes BITS, or COUNT8 where the surrogate fires counts; v0, w0, dv0 and dw0 have one
 * time-step. */
/* Neighbours of a layer that make what it reads, or take what it writes, tile by tile while that is
 * in cache, so that no memory holds all of it (layers/fused.h). Callbacks run on any thread. */
struct neuron_neighbours {
    const void *ctx;
    /* Writes steps at->t of the input, or of the output's gradient; NULL: they are in memory. */
    void (*input)(const void *ctx, const struct image_tile *at, const struct tensor_view *to);
    void (*output_gradient)(const void *ctx, const struct image_tile *at,
                            const struct tensor_view *to);
    /* dx of the tile is written; NULL: nobody waits. */
    void (*input_gradient)(const void *ctx, const struct image_tile *at);
    size_t rows, columns; /* of a tile; forward: one row */
};
struct neuron_io {
    struct tensor_view x, spikes, y, v0, w0, u, v, w_trace, ds, dv, dx, dv0, dw0;
    struct tensor_view before, after, flow; /* planes in the place of time-steps */
    const float *w[NEURON_PARAMS_MAX];
    struct neuron_draws draws; /* of the first sample */
    const struct neuron_neighbours *neighbours; /* NULL: x and ds are in memory */
    bool stream;   /* steps as they come; step 0 of t is kernel_ctx.first_step */
    struct span t; /* steps of this call; { 0, 0 } = all. Backward: last span first */
};
/* Beyond neuron_scratch_bytes, of each thread: memory of a tile of x (REPEAT has one step). */
size_t neuron_tile_bytes(const struct neuron *n, enum tensor_kind kind, size_t rows,
                         size_t columns);
/* Floats of a cell that cross from span to span: forward, backward. 0: all steps in one call. */
size_t neuron_states(const struct neuron *n);
size_t neuron_flows(const struct neuron *n);
/* Floats of a cell that a stream of time-steps carries: its state, or its last inputs. */
size_t neuron_carried(const struct neuron *n);
/* Why steps cannot be computed as they come; NULL: they can. */
const char *neuron_no_stream(const struct neuron_run *r);
/* Writes spikes and the wanted traces of all samples of x. */
void neuron_forward(const struct kernel_ctx *kc, const struct neuron *n,
                    const struct neuron_io *io);
/* Writes dx, dv0 and dw0, and the parameter sums of samples [b.begin, b.end): total [neuron_sums]
 * doubles is the chain of their sums in sample order, complete after the first span of steps.
 * partial: neuron_group * neuron_sums doubles. Both NULL for models without parameters. */
void neuron_backward(const struct kernel_ctx *kc, const struct neuron *n,
                     const struct neuron_io *io, struct span b, double *total, double *partial);
/* Samples whose sums are held at once: bounds the scratch of PSN with many steps. */
size_t neuron_group(const struct neuron *n, size_t samples);
size_t neuron_sums(const struct neuron *n); /* 0 for models without parameters */
struct neuron_run neuron_run_make(const struct neuron *n, const float *const w[], float *scratch);
/* dL/d(parameter i), packed, from the sums of a shard. */
void neuron_gradient(const struct neuron_run *r, const double *sums, size_t i, float *dw);
/* The cell of channel c at pixel (y, x) alone, for monitors: input in, and out u and v, all [T]; u
 * and v may be NULL. Same bits as in the layer. draws: of its sample. */
void neuron_cell(const struct neuron_run *r, const struct neuron_draws *draws, size_t c, size_t y,
                 size_t x, const float *in, float *u, float *v);

#endif
