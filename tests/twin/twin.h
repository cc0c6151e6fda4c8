/* twin: a whole network once more, in plain double loops over PyTorch's layout: no packing, no
 * kernels, no threads. Forward and backward are written from the formulas of docs/equations.md.
 *
 * For proofs only, never linked into a program: with `primitive` on, spikes are the surrogate's
 * primitive and every gradient can be held against finite differences (slopes.h); with true spikes
 * the engine is held against the twin (match.h). One thread. Memory or shapes that fail end the
 * program by assert. */
#ifndef TEST_TWIN_H
#define TEST_TWIN_H

#include "common/spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TWIN_PARAMS_MAX 8

struct twin_size { /* of an array [T][B][C][H][W] */
    size_t t, b, c, h, w;
};
static inline size_t twin_values(struct twin_size s)
{
    return s.t * s.b * s.c * s.h * s.w;
}

struct twin_param {   /* PyTorch's shape and order */
    const char *name; /* "weight" */
    bool buffer;      /* not learned: running statistics, lambda; has no gradient */
    size_t values;
    size_t rows; /* output channels that have values/rows each; 1: shared by all */
    double *at;
    double *gradient; /* of a buffer: its value after the step */
};

/* Whether a spec lets this model have this surrogate, with a soft or a hard reset. */
static inline bool twin_pairs(size_t model, size_t surrogate, bool soft)
{
    size_t count;
    const enum spec_firing firing = spec_surrogate_kinds(&count)[surrogate].firing;
    const unsigned traits = spec_neuron_models(&count)[model].traits;
    if (firing == SPEC_FIRES_STEP || (traits & SPEC_SILENT) != 0) return true;
    return (traits & SPEC_PLAIN) != 0 && (soft || firing != SPEC_FIRES_COUNT);
}

struct twin_options {
    struct twin_size input;
    bool primitive; /* spikes are G(u) */
    bool training;  /* statistics of the batch, dropout on */
    uint64_t seed;  /* dropout's masks: those of the engine for this seed and step */
    uint64_t step;
};

struct twin;
struct twin_node;
/* layers: borrowed, as net_build takes them. Parameters are 0. */
struct twin *twin_make(const struct spec_layer *layers, size_t n, const struct twin_options *o);
void twin_free(struct twin *tw);

size_t twin_nodes(const struct twin *tw);
const struct spec_layer *twin_layer(const struct twin *tw, size_t node);
size_t twin_params(const struct twin *tw, size_t node);
struct twin_param *twin_param(struct twin *tw, size_t node, size_t i);
double *twin_input(struct twin *tw, struct twin_size *size);
const double *twin_input_gradient(const struct twin *tw);
const double *twin_value(const struct twin *tw, size_t node, struct twin_size *size);
const double *twin_output(const struct twin *tw, struct twin_size *size);

/* Nodes [first, end); those before keep what they had. */
void twin_forward(struct twin *tw, size_t first, size_t end);
/* Buffers after the step of the last forward pass. */
void twin_commit(struct twin *tw);
/* Every gradient of sum(up * output), after a forward pass. */
void twin_backward(struct twin *tw, const double *up);
/* Smallest |u| of a neuron node in the last forward pass, by channel or feature of its output. */
double twin_margin(const struct twin *tw, size_t node, size_t channel);

#endif
