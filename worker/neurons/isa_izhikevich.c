/* isa_izhikevich: quadratic integrate and fire with a second state, the adaptation w
 * (docs/equations.md IZH-1). Called through neuron_ops, any thread; compiled once per instruction
 * set. */
#include "worker/neurons/isa_serial_types.h"

enum { IZH_TAU, IZH_A0, IZH_REST, IZH_C, IZH_TAU_W, IZH_COUPLING, IZH_JUMP, IZH_W_REST };
/* k: 1/tau, a0, v_rest, v_c, 1/tau_w, a, b, w_rest */

static void izh_prepare(const struct neuron *n, const float *const w[], float k[])
{
    (void)w;
    k[IZH_TAU] = (float)(1.0 / spec_neuron_param(n->spec, "tau"));
    k[IZH_A0] = (float)spec_neuron_param(n->spec, "a0");
    k[IZH_REST] = (float)spec_neuron_param(n->spec, "v_rest");
    k[IZH_C] = (float)spec_neuron_param(n->spec, "v_c");
    k[IZH_TAU_W] = (float)(1.0 / spec_neuron_param(n->spec, "tau_w"));
    k[IZH_COUPLING] = (float)spec_neuron_param(n->spec, "a");
    k[IZH_JUMP] = (float)spec_neuron_param(n->spec, "b");
    k[IZH_W_REST] = (float)spec_neuron_param(n->spec, "w_rest");
}

LANES_INLINE lanes_f izh_charge(const float *k, struct serial_state s, lanes_f x)
{
    return s.v + (x + (s.v - k[IZH_REST]) * (s.v - k[IZH_C]) * k[IZH_A0] - s.w) * k[IZH_TAU];
}

/* w moves towards a (h - v_rest), then jumps by b after a spike. */
LANES_INLINE lanes_f izh_next(const float *k, lanes_f w, lanes_f h, lanes_mask spike)
{
    w = w + ((h - k[IZH_REST]) * k[IZH_COUPLING] - w) * k[IZH_TAU_W];
    return w + lanes_select(spike, lanes_set(k[IZH_JUMP]), lanes_set(0.0f));
}

/* Through spike and reset; s v_reset and b s keep their gradient also in a detached reset. */
LANES_INLINE lanes_f izh_fired(const struct serial_cell *m, const struct serial_seen *k, lanes_f ds,
                               struct serial_flow *f)
{
    ds = ds + f->dw * m->r->k[IZH_JUMP];
    if (m->n->detach && !m->n->soft) ds = ds + f->dv * m->n->v_reset;
    return serial_fired(m, k, ds, f);
}

/* h moves w; dw then leaves the step. */
LANES_INLINE lanes_f izh_direct(const float *k, struct serial_flow *f)
{
    lanes_f dh = f->dw * (k[IZH_COUPLING] * k[IZH_TAU_W]);
    f->dw = f->dw * (1.0f - k[IZH_TAU_W]);
    return dh;
}

LANES_INLINE void izh_charged(const float *k, const struct serial_seen *seen, lanes_f dh,
                              struct serial_flow *f)
{
    f->dx = dh * k[IZH_TAU];
    f->dw = f->dw - f->dx;
    f->dv = dh + ((seen->v - k[IZH_REST]) + (seen->v - k[IZH_C])) * k[IZH_A0] * f->dx;
}

#define SERIAL_STORES 1
#define SERIAL_START_W(r) ((r)->k[IZH_W_REST])
#define SERIAL_CHARGE(m, s, x, t) izh_charge((m)->r->k, s, x)
#define SERIAL_NEXT(m, s, x, h, spike) izh_next((m)->r->k, (s).w, h, spike)
#define SERIAL_FIRED izh_fired
#define SERIAL_DIRECT(m, k, ds, f) izh_direct((m)->r->k, f)
#define SERIAL_CHARGED(m, k, dh, f) izh_charged((m)->r->k, k, dh, f)
#include "worker/neurons/isa_serial.h"

extern const struct neuron_ops ISA_SYMBOL(neuron_izhikevich_ops);
const struct neuron_ops ISA_SYMBOL(neuron_izhikevich_ops) = {
    .prepare = izh_prepare,
    SERIAL_OPS,
};
