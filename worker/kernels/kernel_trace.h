/* kernel_trace: which kernels ran, for check-golden and profiles. Every entry point of kernels.h
 * and neuron.h notes itself on the caller's thread; without a trace that is one comparison a call.
 */
#ifndef WORKER_KERNEL_TRACE_H
#define WORKER_KERNEL_TRACE_H

#include "worker/kernels/kernels.h"

/* One number a kernel; models of neurons have two behind KERNEL_NEURONS, by the order of their
 * table. */
enum kernel_id {
#define KERNEL(name) KERNEL_##name,
#define FORMS(name) KERNEL_##name##_floats, KERNEL_##name##_bits, KERNEL_##name##_counts,
#include "worker/kernels/kernel_names.def"
#undef KERNEL
#undef FORMS
    KERNEL_NEURONS,
    KERNEL_BEFORE_NEURONS = KERNEL_NEURONS - 1,
#define NEURON(id, ...) KERNEL_neuron_##id##_forward, KERNEL_neuron_##id##_backward,
#include "common/spec_neurons.def"
#undef NEURON
    KERNEL_ID_COUNT
};
struct kernel_trace {
    uint64_t calls[KERNEL_ID_COUNT];
};
const char *kernel_name(size_t id); /* "conv_forward_bits" */
/* Products of convolutions and linear layers can be done in several forms. */
enum kernel_product {
    PRODUCT_FORWARD,
    PRODUCT_BACKWARD_DATA,
    PRODUCT_BACKWARD_WEIGHTS,
    PRODUCT_COUNT
};
/* The form that a kernel is: "event" (only inputs that are not zero are visited), "dense",
 * "winograd" or "grouped"; NULL when it is no such product. Read off its name. */
const char *kernel_form(size_t id, enum kernel_product *product);

static inline void kernel_note(const struct kernel_ctx *kc, size_t id)
{
    if (kc->trace != NULL) kc->trace->calls[id]++;
}
/* The kernel of FORMS whose first one is `floats`. */
static inline void kernel_note_form(const struct kernel_ctx *kc, size_t floats,
                                    const struct tensor_desc *d)
{
    const size_t form = d->kind == TENSOR_BITS ? 1 : d->kind == TENSOR_COUNT8 ? 2 : 0;
    kernel_note(kc, floats + form);
}

#endif
