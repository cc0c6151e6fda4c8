/* kernel_trace: names of the counted kernels. See kernel_trace.h. */
#include "worker/kernels/kernel_trace.h"

#include <assert.h>

const char *kernel_name(size_t id)
{
    static const char *const names[KERNEL_ID_COUNT] = {
#define KERNEL(name) [KERNEL_##name] = #name,
#define FORMS(name)                                                                                \
    [KERNEL_##name##_floats] = #name "_floats", [KERNEL_##name##_bits] = #name "_bits",            \
    [KERNEL_##name##_counts] = #name "_counts",
#include "worker/kernels/kernel_names.def"
#undef KERNEL
#undef FORMS
#define NEURON(id, ...)                                                                            \
    [KERNEL_neuron_##id##_forward] = "neuron_" #id "_forward",                                     \
    [KERNEL_neuron_##id##_backward] = "neuron_" #id "_backward",
#include "common/spec_neurons.def"
#undef NEURON
    };
    assert(id < KERNEL_ID_COUNT && names[id] != NULL);
    return names[id];
}
