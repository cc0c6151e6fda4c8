/* reference_neurons: every neuron and surrogate again, in plain loops and double precision. Used by
 * tests (the engine against the twin, the twin against finite differences) and by check-golden for
 * primitives; never by training. Any thread. Uses libm freely. */
#ifndef WORKER_REFERENCE_NEURONS_H
#define WORKER_REFERENCE_NEURONS_H

#include "common/spec.h"

#include <stdbool.h>
#include <stddef.h>

double reference_surrogate(const struct spec_surrogate *s, double x); /* g(x) */
/* G(x) with G' = g; NaN for surrogates that have none. */
double reference_primitive(const struct spec_surrogate *s, double x);

/* n cells, T steps, arrays [T][n] unless stated. w: PLIF {w}; PSN and masked PSN {weight [T][T],
 * bias [T]}; sliding PSN {weight [k], bias}. Taps that no step reaches (k > T) keep the dw they
 * had. */
struct reference_neuron {
    const struct spec_neuron *spec;
    size_t t, n;
    double lambda;  /* of a masked PSN */
    bool primitive; /* spikes are G(u), a smooth function: for finite differences */
    const double *w[2];
    const double *x, *v0; /* v0 [n] or NULL */
    double *s, *u, *v;    /* out: spikes, h - v_threshold (PSN: h), v after the reset */
    const double *ds, *dv; /* in: dL/ds, dL/dv; dv may be NULL */
    double *dx, *dv0;      /* out; dv0 [n] or NULL */
    double *dw[2];         /* out, shapes of w */
};
void reference_neuron_forward(const struct reference_neuron *r);
void reference_neuron_backward(const struct reference_neuron *r); /* after forward */

#endif
