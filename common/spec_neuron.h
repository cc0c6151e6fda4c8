/* spec_neuron: neurons and surrogate gradients of a spec: rows of spec_neurons.def and
 * spec_surrogates.def. Any thread; read-only after parsing.
 *
 * A row names the model, its parameters with defaults and bounds, and (for the worker) the ops
 * table: adding a neuron is one file in worker/neurons and one row there. Apart from spec.h because
 * the loops over neurons, compiled once per instruction set, need nothing else of a spec. */
#ifndef COMMON_SPEC_NEURON_H
#define COMMON_SPEC_NEURON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPEC_NEURON_PARAMS_MAX 16
#define SPEC_SURROGATE_PARAMS_MAX 4

enum spec_param_kind {
    SPEC_PARAM_NUMBER,
    SPEC_PARAM_WHOLE, /* a number without a fraction */
    SPEC_PARAM_FLAG,  /* true or false, held as 1 or 0 */
    SPEC_PARAM_CHOICE /* one of `choices`, held as its index */
};
struct spec_param {
    const char *name; /* "tau" */
    double fallback, min, max;
    bool min_open; /* min itself is not allowed */
    const char *meaning;
    enum spec_param_kind kind; /* rows leave it out: a number */
    const char *choices;       /* "relu|tanh" */
};
/* What a neuron puts out, and its reset sees, of x: h - v_threshold, of counts h / v_threshold. */
enum spec_firing {
    SPEC_FIRES_STEP,     /* a spike where x >= 0 */
    SPEC_FIRES_COUNT,    /* a number of spikes up to D, its first parameter; soft reset only */
    SPEC_FIRES_BERNOULLI /* a spike with probability x */
};
struct spec_surrogate_kind {
    const char *name; /* "atan" */
    const struct spec_param *params;
    size_t n_params;
    enum spec_firing firing;
    const char *meaning;
};
struct spec_surrogate {
    int kind; /* index into the table = order of spec_surrogates.def */
    double params[SPEC_SURROGATE_PARAMS_MAX];
};
/* Traits of a model, the third column of its row. One of serial, gated, silent says that it has a
 * state; none of them: the PSN family. */
#define SPEC_SERIAL 1u   /* has a state, and the fields that all serial neurons share */
#define SPEC_GATED 2u    /* has a state; of the shared fields only `scope` */
#define SPEC_ANALOG 4u   /* puts out values, not spikes */
#define SPEC_TAU 8u      /* learns a time constant */
#define SPEC_LEARNS(n) ((unsigned)(n) << 4)           /* n parameters, each sized by `scope` */
#define SPEC_LEARNS_EACH_STEP(n) ((unsigned)(n) << 8) /* n such parameters for every time-step */
#define SPEC_LEARNS_ANY (SPEC_LEARNS(15) | SPEC_LEARNS_EACH_STEP(15))
#define SPEC_SILENT (1u << 12) /* has a state, never fires; of the shared fields `decay_input` */
#define SPEC_LEAK (1u << 13)   /* `decay_input` says whether its leak divides the input too */
#define SPEC_WINDOW (1u << 14) /* of the PSN family: the last k inputs are enough */
#define SPEC_PLAIN (1u << 15)  /* what fires is only put out and reset: takes every surrogate */
/* Why a model of the PSN family cannot be called for one time-step after the other. */
#define SPEC_NEEDS_ALL "its weights reach over all time-steps"
#define SPEC_NEEDS_WINDOW "it needs its last k inputs at once, and a body gets one time-step a call"
struct spec_neuron_model {
    const char *name; /* "plif" */
    const struct spec_param *params; /* beyond those that all serial neurons share */
    size_t n_params;
    unsigned traits;
    bool serial; /* has a state that is carried from step to step; false for the PSN family */
    const char *meaning;
};
/* What one learned value of a neuron layer is for. */
enum spec_scope { SPEC_SCOPE_LAYER, SPEC_SCOPE_CHANNEL, SPEC_SCOPE_NEURON };
struct spec_neuron {
    int model; /* index into the table = order of spec_neurons.def */
    double v_threshold;
    double v_reset;
    bool soft_reset; /* "v_reset": null */
    double v_init;   /* potential before the first step; n_v_init 0: v_reset, or 0 if soft */
    size_t n_v_init;
    bool detach_reset;
    bool decay_input;
    bool learn_threshold;
    int64_t refractory_steps; /* after a spike */
    enum spec_scope scope;
    struct spec_surrogate surrogate;
    double params[SPEC_NEURON_PARAMS_MAX]; /* in the order of the model's table */
};
const struct spec_neuron_model *spec_neuron_models(size_t *count);
const struct spec_surrogate_kind *spec_surrogate_kinds(size_t *count);
/* Value of a parameter by name; the name must exist in the model (assert). */
double spec_neuron_param(const struct spec_neuron *n, const char *name);

#endif
