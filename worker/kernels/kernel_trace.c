/* kernel_trace: names of the counted kernels, and what they say. See kernel_trace.h. */
#include "worker/kernels/kernel_trace.h"

#include <assert.h>
#include <string.h>

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

static const char *after(const char *text, const char *prefix)
{
    const size_t n = strlen(prefix);
    return strncmp(text, prefix, n) == 0 ? text + n : NULL;
}

const char *kernel_form(size_t id, enum kernel_product *product)
{
    static const char *const products[PRODUCT_COUNT] = { "forward", "backward_data",
                                                         "backward_weights" };
    static const struct {
        const char *mark, *form;
    } marks[] = { { "_events", "event" }, { "_winograd", "winograd" }, { "_groups", "grouped" } };
    const char *conv = after(kernel_name(id), "conv_"), *linear = after(kernel_name(id), "linear_");
    const char *name = conv != NULL ? conv : linear, *rest = NULL;
    for (size_t i = 0; name != NULL && rest == NULL && i < PRODUCT_COUNT; i++) {
        rest = after(name, products[i]);
        if (rest != NULL) *product = (enum kernel_product)i;
    }
    if (rest == NULL) return NULL;
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (strstr(rest, marks[i].mark) != NULL) return marks[i].form;
    return "dense";
}
