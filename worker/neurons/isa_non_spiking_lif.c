/* isa_non_spiking_lif: the leaky integrator, a LIF that never fires, as a readout
 * (docs/equations.md NSLIF-1). Called through neuron_ops, any thread; compiled once per instruction
 * set. */
#define LEAK_REST(run) ((run)->k[1]) /* behind 1/tau */
#include "worker/neurons/isa_leak.h"

static void non_spiking_lif_prepare(const struct neuron *n, const float *const w[], float k[])
{
    leak_prepare(n, w, k);
    k[1] = (float)spec_neuron_param(n->spec, "v_rest");
}

#define SERIAL_SILENT 1
#define SERIAL_START_V LEAK_REST
#define SERIAL_LEARNED LEAK_FIXED
#define SERIAL_CHARGE(m, s, x, t) leak_charge(m, (s).v, x)
#define SERIAL_CHARGED(m, k, dh, f) leak_charged(m, dh, f)
#include "worker/neurons/isa_serial.h"

extern const struct neuron_ops ISA_SYMBOL(neuron_non_spiking_lif_ops);
const struct neuron_ops ISA_SYMBOL(neuron_non_spiking_lif_ops) = {
    .prepare = non_spiking_lif_prepare,
    SERIAL_OPS,
    .time_constant = leak_time_constant,
    .analog = true,
};
