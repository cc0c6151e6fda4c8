/* isa_plif: LIF with a learned time constant, 1/tau = sigmoid(w), one w for the layer, every
 * channel or every cell (docs/equations.md PLIF-1). Called through neuron_ops, any thread; compiled
 * once per instruction set. */
#include "worker/neurons/isa_leak.h"

LANES_INLINE void plif_learned(struct serial_cell *m)
{
    if (m->n->scope == SPEC_SCOPE_LAYER) m->p[0] = lanes_set(m->r->k[0]);
    else m->p[0] = lanes_sigmoid(serial_learned(m, 0, 0));
}

/* dh/da with a = 1/tau: x - (v - r), or -(v - r) without decay_input. */
LANES_INLINE void plif_charged(const struct serial_cell *m, const struct serial_seen *k, lanes_f dh,
                               struct serial_flow *f)
{
    lanes_f above = k->v - m->n->v_reset;
    f->sum[0] = f->sum[0] + dh * (m->n->decay_input ? k->x - above : -above);
    leak_charged(m, dh, f);
}

#define SERIAL_SUMS 1
#define SERIAL_LEARNED plif_learned
#define SERIAL_CHARGE(m, s, x, t) leak_charge(m, (s).v, x)
#define SERIAL_CHARGED plif_charged
#include "worker/neurons/isa_serial.h"

static size_t plif_params(const struct neuron *n, struct neuron_param out[NEURON_PARAMS_MAX])
{
    out[0] = neuron_cell_param(n, "w", 0);
    return 1;
}

/* w = -ln(init_tau - 1), so that sigmoid(w) = 1 / init_tau. */
static void plif_init(const struct neuron *n, size_t i, struct philox_key key, uint32_t number,
                      float *values)
{
    (void)key;
    (void)number;
    const float w =
        -lanes_log(lanes_set((float)(spec_neuron_param(n->spec, "init_tau") - 1.0)))[0];
    for (size_t j = 0; j < n->params[i].values; j++) values[j] = w;
}

static float plif_sigmoid(float w) { return lanes_sigmoid(lanes_set(w))[0]; }

/* Of the layer's one w; those of channels and cells are computed where they are used. */
static void plif_prepare(const struct neuron *n, const float *const w[], float k[])
{
    (void)n;
    k[0] = plif_sigmoid(w[0][0]);
}

static void plif_gradient(const struct neuron_run *r, const double *sums, size_t i, float *dw)
{
    const struct neuron_param *p = &r->n->params[i];
    for (size_t j = 0; j < p->floats; j++) {
        const double a = (double)plif_sigmoid(r->w[i][j]);
        dw[j] = (float)(sums[p->sums + j] * a * (1.0 - a));
    }
}

/* Mean over the values there are. */
static double plif_time_constant(const struct neuron_run *r)
{
    const struct neuron *n = r->n;
    const size_t channels = n->scope == SPEC_SCOPE_LAYER ? 1 : cells_stored(n->c);
    double sum = 0.0;
    for (size_t j = 0; j < n->params[0].floats; j++)
        if (n->scope == SPEC_SCOPE_LAYER || j % channels < n->c)
            sum += 1.0 / (double)plif_sigmoid(r->w[0][j]);
    return sum / (double)n->params[0].values;
}

extern const struct neuron_ops ISA_SYMBOL(neuron_plif_ops);
const struct neuron_ops ISA_SYMBOL(neuron_plif_ops) = {
    .params = plif_params,
    .init = plif_init,
    .prepare = plif_prepare,
    SERIAL_OPS,
    .gradient = plif_gradient,
    .time_constant = plif_time_constant,
};
