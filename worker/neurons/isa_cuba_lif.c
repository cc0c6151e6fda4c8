/* isa_cuba_lif: current-based LIF, the second state w is the synaptic current (docs/equations.md
 * CUBA-1). Called through neuron_ops, any thread; compiled once per instruction set. */
#include "worker/neurons/isa_serial_types.h"

enum { CUBA_C, CUBA_V }; /* k: c_decay, v_decay */

static void cuba_prepare(const struct neuron *n, const float *const w[], float k[])
{
    (void)w;
    k[CUBA_C] = (float)spec_neuron_param(n->spec, "c_decay");
    k[CUBA_V] = (float)spec_neuron_param(n->spec, "v_decay");
}

LANES_INLINE lanes_f cuba_current(const float *k, lanes_f w, lanes_f x)
{
    return w * k[CUBA_C] + x;
}

/* The new current gets dw from the next step and dh from this one. */
LANES_INLINE void cuba_charged(const float *k, lanes_f dh, struct serial_flow *f)
{
    f->dx = f->dw + dh;
    f->dw = f->dx * k[CUBA_C];
    f->dv = dh * k[CUBA_V];
}

#define SERIAL_STORES 1
#define SERIAL_CHARGE(m, s, x, t) ((s).v * (m)->r->k[CUBA_V] + cuba_current((m)->r->k, (s).w, x))
#define SERIAL_NEXT(m, s, x, h, spike) cuba_current((m)->r->k, (s).w, x)
#define SERIAL_CHARGED(m, k, dh, f) cuba_charged((m)->r->k, dh, f)
#include "worker/neurons/isa_serial.h"

extern const struct neuron_ops ISA_SYMBOL(neuron_cuba_lif_ops);
const struct neuron_ops ISA_SYMBOL(neuron_cuba_lif_ops) = {
    .prepare = cuba_prepare,
    SERIAL_OPS,
};
