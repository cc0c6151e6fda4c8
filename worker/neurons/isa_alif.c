/* isa_alif: LIF with an adaptive threshold, the second state w is the trace of its spikes
 * (docs/equations.md ALIF-1). Called through neuron_ops, any thread; compiled once per instruction
 * set. */
#include "worker/neurons/isa_leak.h"

enum { ALIF_KEPT = 1, ALIF_BETA }; /* in r->k, behind 1/tau: exp(-1 / tau_adaptation), beta */

static void alif_prepare(const struct neuron *n, const float *const w[], float k[])
{
    leak_prepare(n, w, k);
    const double tau = spec_neuron_param(n->spec, "tau_adaptation");
    k[ALIF_KEPT] = lanes_exp(lanes_set((float)(-1.0 / tau)))[0];
    k[ALIF_BETA] = (float)spec_neuron_param(n->spec, "beta");
}

LANES_INLINE lanes_f alif_next(const float *k, lanes_f w, lanes_mask spike)
{
    return w * k[ALIF_KEPT] + lanes_select(spike, lanes_set(1.0f), lanes_set(0.0f));
}

/* The spike also feeds the trace; w before the step raised the threshold, which a soft reset does
 * not see. */
LANES_INLINE lanes_f alif_fired(const struct serial_cell *m, const struct serial_seen *k,
                                lanes_f ds, struct serial_flow *f)
{
    const lanes_f jump = m->n->soft ? -m->threshold : m->n->v_reset - k->h;
    lanes_f du = ds + f->dw;
    if (!m->n->detach) du = du + f->dv * jump;
    du = du * k->g;
    const lanes_f resets = lanes_select(k->spike, f->dv, lanes_set(0.0f));
    f->dw = f->dw * m->r->k[ALIF_KEPT] - du * m->r->k[ALIF_BETA];
    f->dtheta = f->dtheta - du;
    if (!m->n->soft) return du + (f->dv - resets);
    f->dtheta = f->dtheta - resets;
    return du + f->dv;
}

#define SERIAL_STORES 1
#define SERIAL_LEARNED LEAK_FIXED
#define SERIAL_CHARGE(m, s, x, t) leak_charge(m, (s).v, x)
#define SERIAL_THRESHOLD(m, s) ((m)->threshold + (s).w * (m)->r->k[ALIF_BETA])
#define SERIAL_NEXT(m, s, x, h, spike) alif_next((m)->r->k, (s).w, spike)
#define SERIAL_FIRED alif_fired
#define SERIAL_CHARGED(m, k, dh, f) leak_charged(m, dh, f)
#include "worker/neurons/isa_serial.h"

extern const struct neuron_ops ISA_SYMBOL(neuron_alif_ops);
const struct neuron_ops ISA_SYMBOL(neuron_alif_ops) = {
    .prepare = alif_prepare,
    SERIAL_OPS,
    .time_constant = leak_time_constant,
};
