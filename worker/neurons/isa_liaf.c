/* isa_liaf: leaky integrate and analog fire: LIF that puts out act(h) or act(h - threshold), while
 * its spikes only reset it (docs/equations.md LIAF-1). Called through neuron_ops, any thread;
 * compiled once per instruction set. */
#include "worker/neurons/isa_leak.h"

enum { LIAF_ACT = 1, LIAF_RELATED };         /* in r->k, behind 1/tau */
enum { LIAF_RELU, LIAF_SIGMOID, LIAF_TANH }; /* order of the spec's choices */

static void liaf_prepare(const struct neuron *n, const float *const w[], float k[])
{
    leak_prepare(n, w, k);
    k[LIAF_ACT] = (float)spec_neuron_param(n->spec, "act");
    k[LIAF_RELATED] = (float)spec_neuron_param(n->spec, "threshold_related");
}

LANES_INLINE bool liaf_related(const struct serial_cell *m)
{
    return m->r->k[LIAF_RELATED] != 0.0f;
}

LANES_INLINE lanes_f liaf_output(const struct serial_cell *m, lanes_f h)
{
    const lanes_f z = liaf_related(m) ? h - m->threshold : h;
    const int act = (int)m->r->k[LIAF_ACT];
    if (act == LIAF_RELU) return lanes_max(z, lanes_set(0.0f));
    return act == LIAF_SIGMOID ? lanes_sigmoid(z) : lanes_tanh(z);
}

/* dL/dh of the output: dy act'. */
LANES_INLINE lanes_f liaf_direct(const struct serial_cell *m, const struct serial_seen *k,
                                 lanes_f dy, struct serial_flow *f)
{
    const lanes_f y = liaf_output(m, k->h), zero = lanes_set(0.0f);
    const int act = (int)m->r->k[LIAF_ACT];
    lanes_f dh = act == LIAF_RELU      ? lanes_select(lanes_gt(y, zero), dy, zero)
                 : act == LIAF_SIGMOID ? dy * (y * (1.0f - y))
                                       : dy * (1.0f - y * y);
    if (liaf_related(m)) f->dtheta = f->dtheta - dh;
    return dh;
}

#define SERIAL_STORES 1
#define SERIAL_LEARNED LEAK_FIXED
#define SERIAL_CHARGE(m, s, x, t) leak_charge(m, (s).v, x)
#define SERIAL_OUTPUT liaf_output
#define SERIAL_FIRED(m, k, ds, f) serial_fired(m, k, lanes_set(0.0f), f)
#define SERIAL_DIRECT liaf_direct
#define SERIAL_CHARGED(m, k, dh, f) leak_charged(m, dh, f)
#include "worker/neurons/isa_serial.h"

extern const struct neuron_ops ISA_SYMBOL(neuron_liaf_ops);
const struct neuron_ops ISA_SYMBOL(neuron_liaf_ops) = {
    .prepare = liaf_prepare,
    SERIAL_OPS,
    .time_constant = leak_time_constant,
    .analog = true,
};
