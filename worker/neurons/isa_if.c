/* isa_if: integrate and fire, h = v + x (docs/equations.md IF-1). Called through neuron_ops, any
 * thread; compiled once per instruction set. */
#define SERIAL_CHARGE(m, s, x, t) ((s).v + (x))
#define SERIAL_CHARGED(m, k, dh, f) ((f)->dx = (f)->dv = (dh))
#include "worker/neurons/isa_serial.h"

extern const struct neuron_ops ISA_SYMBOL(neuron_if_ops);
const struct neuron_ops ISA_SYMBOL(neuron_if_ops) = {
    SERIAL_OPS,
};
