/* isa_klif: LIF whose charge goes through relu(k h) with a learned slope k (docs/equations.md
 * KLIF-1). Called through neuron_ops, any thread; compiled once per instruction set. */
#include "worker/neurons/isa_leak.h"

enum { KLIF_SCALE = 1 }; /* in r->k, behind 1/tau: scale_reset */

static void klif_prepare(const struct neuron *n, const float *const w[], float k[])
{
    leak_prepare(n, w, k);
    k[KLIF_SCALE] = (float)spec_neuron_param(n->spec, "scale_reset");
}

LANES_INLINE void klif_learned(struct serial_cell *m)
{
    LEAK_FIXED(m);
    m->p[1] = serial_learned(m, 0, 0);
}

LANES_INLINE bool klif_scales(const struct serial_cell *m) { return m->r->k[KLIF_SCALE] != 0.0f; }

LANES_INLINE lanes_f klif_charge(const struct serial_cell *m, lanes_f v, lanes_f x)
{
    return lanes_max(leak_charge(m, v, x) * m->p[1], lanes_set(0.0f));
}

/* soft: (F - s v_threshold) / k, hard: (1 - s) F / k + s v_reset; k = 1 without scale_reset. */
LANES_INLINE lanes_f klif_reset(const struct serial_cell *m, lanes_f h, lanes_mask spike)
{
    if (!klif_scales(m)) return serial_reset(m, h, spike);
    if (!m->n->soft) return lanes_select(spike, lanes_set(m->n->v_reset), h / m->p[1]);
    return lanes_select(spike, h - m->threshold, h) / m->p[1];
}

/* dL/dF of spike and reset. With scale_reset what is reset is F / k, and k has a gradient here. */
LANES_INLINE lanes_f klif_fired(const struct serial_cell *m, const struct serial_seen *k,
                                lanes_f ds, struct serial_flow *f)
{
    if (!klif_scales(m)) return serial_fired(m, k, ds, f);
    const lanes_f zero = lanes_set(0.0f), dv = f->dv / m->p[1]; /* of F, not of F / k */
    lanes_f kept = m->n->soft ? lanes_select(k->spike, k->h - m->threshold, k->h)
                              : lanes_select(k->spike, zero, k->h);
    f->sum[0] = f->sum[0] - dv * kept / m->p[1];
    if (m->n->soft) {
        if (!m->n->detach) ds = ds - dv * m->threshold;
        f->dtheta = f->dtheta - lanes_select(k->spike, dv, zero);
    } else if (!m->n->detach) {
        ds = ds + f->dv * m->n->v_reset - dv * k->h;
    }
    lanes_f du = ds * k->g;
    f->dtheta = f->dtheta - du;
    return du + (m->n->soft ? dv : lanes_select(k->spike, zero, dv));
}

LANES_INLINE void klif_charged(const struct serial_cell *m, const struct serial_seen *k, lanes_f dh,
                               struct serial_flow *f)
{
    lanes_f c = leak_charge(m, k->v, k->x);
    dh = lanes_select(lanes_gt(c * m->p[1], lanes_set(0.0f)), dh, lanes_set(0.0f));
    f->sum[0] = f->sum[0] + dh * c;
    leak_charged(m, dh * m->p[1], f);
}

#define SERIAL_STORES 1
#define SERIAL_SUMS 1
#define SERIAL_LEARNED klif_learned
#define SERIAL_CHARGE(m, s, x, t) klif_charge(m, (s).v, x)
#define SERIAL_RESET klif_reset
#define SERIAL_FIRED klif_fired
#define SERIAL_CHARGED klif_charged
#include "worker/neurons/isa_serial.h"

static size_t klif_params(const struct neuron *n, struct neuron_param out[NEURON_PARAMS_MAX])
{
    out[0] = neuron_cell_param(n, "k", 0);
    return 1;
}

static void klif_init(const struct neuron *n, size_t i, struct philox_key key, uint32_t number,
                      float *values)
{
    (void)key;
    (void)number;
    const float k = (float)spec_neuron_param(n->spec, "init_k");
    for (size_t j = 0; j < n->params[i].values; j++) values[j] = k;
}

extern const struct neuron_ops ISA_SYMBOL(neuron_klif_ops);
const struct neuron_ops ISA_SYMBOL(neuron_klif_ops) = {
    .params = klif_params,
    .init = klif_init,
    .prepare = klif_prepare,
    SERIAL_OPS,
    .gradient = serial_gradient,
    .time_constant = leak_time_constant,
};
