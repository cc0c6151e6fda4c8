/* isa_lif: leaky integrate and fire with a fixed time constant (docs/equations.md LIF-1). Called
 * through neuron_ops, any thread; compiled once per instruction set. */
#include "worker/neurons/isa_leak.h"
#include "worker/neurons/isa_serial.h"

static void lif_prepare(const struct neuron *n, const float *const w[], float k[])
{
    (void)w;
    k[0] = (float)(1.0 / spec_neuron_param(n->spec, "tau"));
}

static double lif_time_constant(const struct neuron_run *r)
{
    return spec_neuron_param(r->n->spec, "tau");
}

extern const struct neuron_ops ISA_SYMBOL(neuron_lif_ops);
const struct neuron_ops ISA_SYMBOL(neuron_lif_ops) = {
    .prepare = lif_prepare,
    .scratch_floats = serial_scratch_floats,
    .forward = serial_forward,
    .backward = serial_backward,
    .time_constant = lif_time_constant,
    .membrane = true,
};
