/* isa_if: integrate and fire, h = v + x (docs/equations.md IF-1). Called through neuron_ops, any
 * thread; compiled once per instruction set. */
#define SERIAL_CHARGE(r, v, x) ((v) + (x))
#define SERIAL_DH_DV(r, v) lanes_set(1.0f)
#define SERIAL_DH_DX(r, v) lanes_set(1.0f)
#include "worker/neurons/isa_serial.h"

extern const struct neuron_ops ISA_SYMBOL(neuron_if_ops);
const struct neuron_ops ISA_SYMBOL(neuron_if_ops) = {
    .scratch_floats = serial_scratch_floats,
    .forward = serial_forward,
    .backward = serial_backward,
    .membrane = true,
};
