/* isa_plif: LIF with a learned time constant, 1/tau = sigmoid(w), one w a layer (docs/equations.md
 * PLIF-1). Called through neuron_ops, any thread; compiled once per instruction set. */
#include "worker/neurons/isa_leak.h"

/* dh/da with a = 1/tau: x - (v - r), or -(v - r) without decay_input. */
LANES_INLINE lanes_f plif_dh_da(const struct neuron_run *r, lanes_f v, lanes_f x)
{
    lanes_f above = v - r->n->v_reset;
    return r->n->decay_input ? x - above : -above;
}

#define SERIAL_DH_DPARAM plif_dh_da
#include "worker/neurons/isa_serial.h"

static size_t plif_params(const struct neuron *n, struct neuron_param out[NEURON_PARAMS_MAX])
{
    (void)n;
    out[0] = (struct neuron_param){ .name = "w", .n_dims = 0 };
    return 1;
}

/* w = -ln(init_tau - 1), so that sigmoid(w) = 1 / init_tau. */
static void plif_init(const struct neuron *n, size_t i, struct philox_key key, uint32_t number,
                      float *values)
{
    (void)i;
    (void)key;
    (void)number;
    values[0] = -lanes_log(lanes_set((float)(spec_neuron_param(n->spec, "init_tau") - 1.0)))[0];
}

static float plif_sigmoid(float w)
{
    float e = lanes_exp(lanes_set(w < 0.0f ? w : -w))[0];
    return w < 0.0f ? e / (1.0f + e) : 1.0f / (1.0f + e);
}

static void plif_prepare(const struct neuron *n, const float *const w[], float k[])
{
    (void)n;
    k[0] = plif_sigmoid(w[0][0]);
}

static void plif_gradient(const struct neuron_run *r, const double *sums, size_t i, float *dw)
{
    (void)i;
    double a = (double)r->k[0];
    dw[0] = (float)(sums[0] * a * (1.0 - a));
}

static double plif_time_constant(const struct neuron_run *r) { return 1.0 / (double)r->k[0]; }
static size_t plif_sums(const struct neuron *n)
{
    (void)n;
    return 1;
}

extern const struct neuron_ops ISA_SYMBOL(neuron_plif_ops);
const struct neuron_ops ISA_SYMBOL(neuron_plif_ops) = {
    .params = plif_params,
    .init = plif_init,
    .prepare = plif_prepare,
    .scratch_floats = serial_scratch_floats,
    .sums = plif_sums,
    .forward = serial_forward,
    .backward = serial_backward,
    .gradient = plif_gradient,
    .time_constant = plif_time_constant,
    .membrane = true,
};
