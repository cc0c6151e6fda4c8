/* reference_neurons: every neuron and surrogate again, in plain loops and double precision. Used by
 * tests (the engine against the twin, the twin against finite differences) and by check-golden for
 * primitives; never by training. Any thread. Uses libm freely. */
#ifndef WORKER_REFERENCE_NEURONS_H
#define WORKER_REFERENCE_NEURONS_H

#include "common/spec_neuron.h"

#include <stdbool.h>
#include <stddef.h>

/* What a spike is a function of: x = h - threshold, or h / threshold of counts. */
bool reference_fires_counts(const struct spec_surrogate *s);
/* The spikes of x; drawn: a number in [0, 1) for those that are drawn. */
double reference_spikes(const struct spec_surrogate *s, double x, double drawn);
double reference_surrogate(const struct spec_surrogate *s, double x); /* g(x) */
/* G(x) with G' = g; NaN for surrogates that have none. */
double reference_primitive(const struct spec_surrogate *s, double x);

#define REFERENCE_PARAMS_MAX 8

/* n cells, T steps, arrays [T][n] unless stated. w: the parameters in the order of the engine, in
 * PyTorch's shapes: PLIF {w}, KLIF {k}, PSN and masked PSN {weight [T][T], bias [T]}, sliding PSN
 * {weight [k], bias}; a learned v_threshold comes last. Taps that no step reaches (k > T) keep the
 * dw they had. */
struct reference_neuron {
    const struct spec_neuron *spec;
    size_t t, n;
    double lambda;  /* of a masked PSN */
    bool primitive; /* spikes are G(u), a smooth function: for finite differences */
    size_t channels, pixels; /* of a sample: whose parameters a cell has; scope layer needs none */
    const double *w[REFERENCE_PARAMS_MAX];
    const double *x, *v0, *w0; /* states [n] or NULL */
    const double *drawn; /* [T][n] in [0, 1): where a surrogate draws its spikes */
    double *s, *u, *v; /* out: spikes, what the surrogate is taken of (PSN: h), v after the reset */
    double *y;         /* out: the output where that is not s; may be NULL */
    const double *ds, *dv; /* in: dL/d(output), dL/dv; dv may be NULL */
    double *dx, *dv0, *dw0; /* out; of states [n] or NULL */
    double *dw[REFERENCE_PARAMS_MAX]; /* out, shapes of w; NULL: not wanted */
};
void reference_neuron_forward(const struct reference_neuron *r);
void reference_neuron_backward(const struct reference_neuron *r); /* after forward */

#endif
