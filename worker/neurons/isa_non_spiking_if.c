/* isa_non_spiking_if: the sum of its inputs, v = v + x without spikes, as a readout
 * (docs/equations.md NSIF-1). Called through neuron_ops, any thread; compiled once per instruction
 * set. */
#define SERIAL_SILENT 1
#define SERIAL_CHARGE(m, s, x, t) ((s).v + (x))
#define SERIAL_CHARGED(m, k, dh, f) ((f)->dx = (f)->dv = (dh))
#include "worker/neurons/isa_serial.h"

extern const struct neuron_ops ISA_SYMBOL(neuron_non_spiking_if_ops);
const struct neuron_ops ISA_SYMBOL(neuron_non_spiking_if_ops) = {
    SERIAL_OPS,
    .analog = true,
};
