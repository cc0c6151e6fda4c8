/* isa_lif: leaky integrate and fire with a fixed time constant (docs/equations.md LIF-1). Called
 * through neuron_ops, any thread; compiled once per instruction set. */
#include "worker/neurons/isa_leak.h"

#define SERIAL_LEARNED LEAK_FIXED
#define SERIAL_CHARGE(m, s, x, t) leak_charge(m, (s).v, x)
#define SERIAL_CHARGED(m, k, dh, f) leak_charged(m, dh, f)
#include "worker/neurons/isa_serial.h"

extern const struct neuron_ops ISA_SYMBOL(neuron_lif_ops);
const struct neuron_ops ISA_SYMBOL(neuron_lif_ops) = {
    .prepare = leak_prepare,
    SERIAL_OPS,
    .time_constant = leak_time_constant,
};
