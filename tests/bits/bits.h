/* bits: runs every kernel and neuron model on fixed numbers and prints a hash of each result, one
 * `name case hash` a line. tests/bits.sh compares the lines of instruction sets and of machines:
 * the same bits everywhere (numerics exact). One thread runs it; memory is taken from one list. */
#ifndef TESTS_BITS_H
#define TESTS_BITS_H

#include "worker/neurons/neuron.h"

struct bits {
    struct kernel_ctx kc;
    enum isa isa;
};
/* Zeroed, 64-byte aligned, with room behind; ends the program when there is none. */
void *bits_take(size_t bytes);
void bits_release(void);                   /* all that was taken */
float *bits_floats(size_t n, size_t seed); /* in [-1, 1) */
struct tensor_view bits_tensor(struct tensor_desc d);
/* Every logical element: floats; spikes at `rate`; counts 0 to 4, the share `rate` not 0. */
struct tensor_view bits_filled(struct tensor_desc d, size_t seed, float rate);
void bits_print(const char *name, size_t i, const void *data, size_t bytes);
void bits_print_view(const char *name, size_t i, const struct tensor_view *v);

void bits_of_convolutions(struct bits *b);
void bits_of_layers(struct bits *b); /* linear, norm, pools, branches, dropout */
void bits_of_floats(struct bits *b); /* element by element, sums, optimisers */
void bits_of_neurons(struct bits *b);

#endif
