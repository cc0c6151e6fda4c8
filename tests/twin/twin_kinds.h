/* twin_kinds: what a layer of the twin is; one row of twin_kinds.c and one place in a twin_*.c for
 * every layer type of the spec. */
#ifndef TEST_TWIN_KINDS_H
#define TEST_TWIN_KINDS_H

#include "tests/twin/twin.h"

struct twin_node {
    const struct spec_layer *spec;
    const struct twin_options *options;
    size_t number; /* place in the list */
    struct twin_size in, out;
    struct twin_size image; /* of out, before it was flattened */
    size_t walk_begin, walk_end; /* nodes between which an output comes back; [i, i + 1): none */
    size_t back;                 /* of a joining point: whose output; else 0 */
    struct twin_size back_size;
    /* Of a joining point x[1] is all of what comes back, dx[1] what it hands back for it. */
    const double *x[SPEC_INPUTS_MAX];
    double *dx[SPEC_INPUTS_MAX]; /* backward adds to them */
    double *y, *dy;
    struct twin_param params[TWIN_PARAMS_MAX];
    size_t n_params;
    double *kept;       /* what forward leaves to backward */
    size_t kept_values; /* set by plan */
};

struct twin_kind {
    void (*plan)(struct twin_node *n); /* parameters and kept_values; NULL: none */
    void (*forward)(const struct twin_node *n);
    void (*backward)(const struct twin_node *n); /* after forward; adds to dx and gradients */
    void (*commit)(const struct twin_node *n);   /* moves running statistics; NULL: none */
};
const struct twin_kind *twin_kind(enum spec_layer_type type);

extern const struct twin_kind twin_conv, twin_conv_transpose, twin_linear, twin_batch_norm,
    twin_temporal_norm, twin_group_norm, twin_max_pool, twin_avg_pool, twin_adaptive_pool,
    twin_flatten, twin_dropout, twin_voting, twin_residual, twin_upsample, twin_synapse_filter,
    twin_attention, twin_spatial_attention, twin_relu, twin_neuron, twin_recurrent;

/* Parameters come in the order of the calls. rows: see twin_param. */
void twin_add_param(struct twin_node *n, const char *name, size_t values, size_t rows);
void twin_add_buffer(struct twin_node *n, const char *name, size_t values);

/* Smallest |u| of a neuron's cells in a channel. */
double twin_neuron_margin(const struct twin_node *n, size_t channel);

static inline size_t twin_pixels(struct twin_size s)
{
    return s.h * s.w;
}
static inline size_t twin_images(struct twin_size s)
{
    return s.t * s.b;
} /* in memory order */
static inline size_t twin_at(struct twin_size s, size_t t, size_t b, size_t c, size_t pixel)
{
    return ((t * s.b + b) * s.c + c) * s.h * s.w + pixel;
}

#endif
