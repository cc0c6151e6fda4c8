/* isa_eif: exponential integrate and fire,
 * h = v + (x + v_rest - v + delta_T exp((v - theta_rh) / delta_T)) / tau (docs/equations.md EIF-1).
 * Called through neuron_ops, any thread; compiled once per instruction set. */
#include "worker/neurons/isa_serial_types.h"

enum { EIF_A, EIF_DELTA, EIF_THETA, EIF_REST }; /* k: 1/tau, delta_T, theta_rh, v_rest */

static void eif_prepare(const struct neuron *n, const float *const w[], float k[])
{
    (void)w;
    k[EIF_A] = (float)(1.0 / spec_neuron_param(n->spec, "tau"));
    k[EIF_DELTA] = (float)spec_neuron_param(n->spec, "delta_T");
    k[EIF_THETA] = (float)spec_neuron_param(n->spec, "theta_rh");
    k[EIF_REST] = (float)spec_neuron_param(n->spec, "v_rest");
}

/* The upswing's exponential is limited to e^88 (lanes_exp). */
LANES_INLINE lanes_f eif_upswing(const float *k, lanes_f v)
{
    return lanes_exp((v - k[EIF_THETA]) / k[EIF_DELTA]);
}

LANES_INLINE lanes_f eif_charge(const float *k, lanes_f v, lanes_f x)
{
    return v + ((x + k[EIF_REST]) - v + eif_upswing(k, v) * k[EIF_DELTA]) * k[EIF_A];
}

/* dh/dv = 1 + (exp((v - theta_rh) / delta_T) - 1) / tau. */
LANES_INLINE void eif_charged(const float *k, const struct serial_seen *seen, lanes_f dh,
                              struct serial_flow *f)
{
    f->dx = dh * k[EIF_A];
    f->dv = dh + (eif_upswing(k, seen->v) - 1.0f) * f->dx;
}

#define SERIAL_CHARGE(m, s, x, t) eif_charge((m)->r->k, (s).v, x)
#define SERIAL_CHARGED(m, k, dh, f) eif_charged((m)->r->k, k, dh, f)
#include "worker/neurons/isa_serial.h"

extern const struct neuron_ops ISA_SYMBOL(neuron_eif_ops);
const struct neuron_ops ISA_SYMBOL(neuron_eif_ops) = {
    .prepare = eif_prepare,
    SERIAL_OPS,
};
