/* isa_qif: quadratic integrate and fire, h = v + (x + a0 (v - v_rest)(v - v_c)) / tau
 * (docs/equations.md QIF-1). Called through neuron_ops, any thread; compiled once per instruction
 * set. */
#include "worker/neurons/isa_serial_types.h"

enum { QIF_A, QIF_A0, QIF_REST, QIF_C }; /* k: 1/tau, a0, v_rest, v_c */

static void qif_prepare(const struct neuron *n, const float *const w[], float k[])
{
    (void)w;
    k[QIF_A] = (float)(1.0 / spec_neuron_param(n->spec, "tau"));
    k[QIF_A0] = (float)spec_neuron_param(n->spec, "a0");
    k[QIF_REST] = (float)spec_neuron_param(n->spec, "v_rest");
    k[QIF_C] = (float)spec_neuron_param(n->spec, "v_c");
}

LANES_INLINE lanes_f qif_charge(const float *k, lanes_f v, lanes_f x)
{
    return v + (x + (v - k[QIF_REST]) * (v - k[QIF_C]) * k[QIF_A0]) * k[QIF_A];
}

/* dh/dv = 1 + a0 (2v - v_rest - v_c) / tau. */
LANES_INLINE void qif_charged(const float *k, const struct serial_seen *seen, lanes_f dh,
                              struct serial_flow *f)
{
    f->dx = dh * k[QIF_A];
    f->dv = dh + ((seen->v - k[QIF_REST]) + (seen->v - k[QIF_C])) * k[QIF_A0] * f->dx;
}

#define SERIAL_CHARGE(m, s, x, t) qif_charge((m)->r->k, (s).v, x)
#define SERIAL_CHARGED(m, k, dh, f) qif_charged((m)->r->k, k, dh, f)
#include "worker/neurons/isa_serial.h"

extern const struct neuron_ops ISA_SYMBOL(neuron_qif_ops);
const struct neuron_ops ISA_SYMBOL(neuron_qif_ops) = {
    .prepare = qif_prepare,
    SERIAL_OPS,
};
