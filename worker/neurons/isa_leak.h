/* isa_leak: the leaky charge that LIF and its kin share (docs/equations.md LIF-1), with a = 1/tau
 * in m->p[0]. Included by isa_lif.c and others before isa_serial.h. */
#ifndef WORKER_ISA_LEAK_H
#define WORKER_ISA_LEAK_H

#include "worker/neurons/isa_serial_types.h"

/* r: the potential that v leaks to; a model may bring its own. */
#ifndef LEAK_REST
#define LEAK_REST(run) ((run)->n->v_reset)
#endif

/* decay_input: h = v + (x - (v - r)) a;  else h = v - (v - r) a + x. */
LANES_INLINE lanes_f leak_charge(const struct serial_cell *m, lanes_f v, lanes_f x)
{
    lanes_f above = v - LEAK_REST(m->r);
    if (m->n->decay_input) return v + (x - above) * m->p[0];
    return v - above * m->p[0] + x;
}

LANES_INLINE void leak_charged(const struct serial_cell *m, lanes_f dh, struct serial_flow *f)
{
    f->dx = m->n->decay_input ? dh * m->p[0] : dh;
    f->dv = dh * (1.0f - m->p[0]);
}

/* For models with a fixed tau: a in r->k[0]. */
#define LEAK_FIXED(m) ((m)->p[0] = lanes_set((m)->r->k[0]))

static inline void leak_prepare(const struct neuron *n, const float *const w[], float k[])
{
    (void)w;
    k[0] = (float)(1.0 / spec_neuron_param(n->spec, "tau"));
}

static inline double leak_time_constant(const struct neuron_run *r)
{
    return spec_neuron_param(r->n->spec, "tau");
}

#endif
