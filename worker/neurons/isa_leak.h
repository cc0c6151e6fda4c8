/* isa_leak: the leaky charge that LIF and PLIF share, with a = 1/tau in k[0] (docs/equations.md
 * LIF-1). Included by isa_lif.c and isa_plif.c before isa_serial.h. */
#ifndef WORKER_ISA_LEAK_H
#define WORKER_ISA_LEAK_H

#include "worker/kernels/lanes.h"
#include "worker/neurons/neuron.h"

/* decay_input: h = v + (x - (v - r)) a;  else h = v - (v - r) a + x. */
LANES_INLINE lanes_f leak_charge(const struct neuron_run *r, lanes_f v, lanes_f x)
{
    lanes_f above = v - r->n->v_reset;
    if (r->n->decay_input) return v + (x - above) * r->k[0];
    return v - above * r->k[0] + x;
}

#define SERIAL_CHARGE leak_charge
#define SERIAL_DH_DV(r, v) lanes_set(1.0f - (r)->k[0])
#define SERIAL_DH_DX(r, v) lanes_set((r)->n->decay_input ? (r)->k[0] : 1.0f)

#endif
