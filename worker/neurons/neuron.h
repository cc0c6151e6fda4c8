/* neuron: spiking neuron models behind one ops table. A model is one file isa_<name>.c, compiled
 * once per instruction set, and one row of common/spec_neurons.def.
 *
 * Used by layers/neuron_layer and by the monitors' membrane traces. neuron_forward and
 * neuron_backward run on the caller's thread and spread rows or samples over the pool; the ops are
 * pure loops over the cells of one sample and may run on any thread. Nothing allocates.
 *
 * A cell is one channel of one pixel of one sample; it owns T inputs and T outputs. Cells are
 * handled in columns: 64 channels of a pixel, all T steps, state in registers. */
#ifndef WORKER_NEURON_H
#define WORKER_NEURON_H

#include "common/philox.h"
#include "common/spec.h"
#include "worker/kernels/kernels.h"
#include "worker/neurons/surrogate.h"
#include "worker/tensor/tensor.h"

#define NEURON_PARAMS_MAX 3     /* tensors of one layer: masked PSN has weight, bias, lambda */
#define NEURON_CONSTANTS_MAX 8
#define NEURON_COLUMN 64        /* channels of a column = bits of a word */

/* ---- what the drivers hand to a model -------------------------------------------------------- */
/* F32 memory of some cells of one sample: channel block j (16 floats) of pixel (y, x) at step t is
 * at data + t*time + y*row + x*pixel + (j/2)*block32 + (j%2)*16. time is 0 for one step that stands
 * for all. data NULL = absent. */
struct neuron_plane {
    float *data;
    size_t time, row, pixel, block32;
};
struct neuron_cells {
    size_t rows, pixels, channels; /* pixels of a row */
    struct neuron_plane x;
    uint64_t *spikes; /* forward: word w of a pixel at spikes[t*time + y*row + x*pixel + w] */
    size_t spikes_time, spikes_row, spikes_pixel;
    struct neuron_plane v0;     /* potential before the first step; absent: v_reset (0 if soft) */
    struct neuron_plane u, v;   /* wanted traces: h - v_threshold before, v after the reset */
    struct neuron_plane ds, dv; /* dL/d(spikes); dL/d(v trace), usually absent */
    struct neuron_plane dx;     /* dL/dx; absent: not wanted. time 0: summed over t ascending */
    struct neuron_plane dv0;
    double *sums;               /* backward adds to ops->sums values; NULL for models without any */
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
    size_t dims[2], n_dims;
    bool buffer; /* not learned: kept with the running statistics */
};
struct neuron_ops {
    /* Learned parameters; returns how many. */
    size_t (*params)(const struct neuron *n, struct neuron_param out[NEURON_PARAMS_MAX]);
    /* First values of parameter i, PyTorch order; random ones from (key, number). */
    void (*init)(const struct neuron *n, size_t i, struct philox_key key, uint32_t number,
                 float *values);
    void (*prepare)(const struct neuron *n, const float *const w[], float k[]); /* may be NULL */
    size_t (*scratch_floats)(const struct neuron *n); /* a thread's, beyond that of neuron_cell */
    size_t (*sums)(const struct neuron *n); /* doubles a sample adds up for the parameters */
    void (*forward)(const struct neuron_run *r, const struct neuron_cells *c);
    void (*backward)(const struct neuron_run *r, const struct neuron_cells *c);
    /* New values of the buffers (by parameter number) at the start of an epoch; NULL: none. */
    void (*schedule)(const struct neuron *n, uint64_t epoch, uint64_t epochs,
                     float *const buffers[]);
    /* dL/d(parameter i) from the sums over all samples of a shard; NULL without parameters. */
    void (*gradient)(const struct neuron_run *r, const double *sums, size_t i, float *dw);
    double (*time_constant)(const struct neuron_run *r); /* in time-steps; NULL: none */
    uint64_t (*macs)(const struct neuron *n); /* of one cell over all T; 0 for serial models */
    /* Effective weights over time, [T][T]; NULL for serial models. */
    void (*over_time)(const struct neuron_run *r, float *out);
    bool membrane; /* has a potential that is reset; false for the PSN family */
};
/* A neuron of a spec, ready for T steps on one instruction set. Plain values, copied freely. */
struct neuron {
    const struct neuron_ops *ops;
    const struct spec_neuron *spec; /* borrowed */
    struct surrogate surrogate;
    size_t t;
    float v_threshold;
    float v_reset; /* 0 for a soft reset */
    bool soft, detach, decay_input;
};

struct neuron neuron_make(const struct spec_neuron *spec, size_t t, enum isa isa);
size_t neuron_scratch_bytes(const struct neuron *n); /* per thread */

/* ---- whole tensors --------------------------------------------------------------------------- */
/* Members mean what they mean in neuron_cells; data NULL: absent. x, v0 and gradients F32 or
 * REPEAT, spikes BITS; v0 and dv0 have one time-step. */
struct neuron_io {
    struct tensor_view x, spikes, v0, u, v, ds, dv, dx, dv0;
    const float *w[NEURON_PARAMS_MAX];
};
/* Writes spikes and the wanted traces of all samples of x. */
void neuron_forward(const struct kernel_ctx *kc, const struct neuron *n,
                    const struct neuron_io *io);
/* Writes dx and dv0, and the parameter sums of samples [b.begin, b.end): total [ops->sums] doubles
 * is the chain of their sums in sample order. partial: neuron_group * ops->sums doubles. Both NULL
 * for models without parameters. */
void neuron_backward(const struct kernel_ctx *kc, const struct neuron *n,
                     const struct neuron_io *io, struct span b, double *total, double *partial);
/* Samples whose sums are held at once: bounds the scratch of PSN with many steps. */
size_t neuron_group(const struct neuron *n, size_t samples);
size_t neuron_sums(const struct neuron *n); /* 0 for models without parameters */
struct neuron_run neuron_run_make(const struct neuron *n, const float *const w[], float *scratch);
/* One cell alone, for monitors: x, and out u and v, all [T]; u and v may be NULL. Same bits as in
 * the layer. */
void neuron_cell(const struct neuron_run *r, const float *x, float *u, float *v);

#endif
