/* conv_groups: convolutions of more than one group (private to worker/kernels). Groups of whole
 * panels are convolutions of their own on a slice of the channels (conv_kernel.c, conv_data.c);
 * all others go by conv_narrow.c. */
#ifndef WORKER_CONV_GROUPS_H
#define WORKER_CONV_GROUPS_H

#include "worker/kernels/kernels.h"

/* Whether every group has whole panels of input and of output channels. */
bool conv_groups_wide(const struct conv_shape *cs);
/* The shape of one group. */
struct conv_shape conv_groups_one(const struct conv_shape *cs);
/* The channels of wide group g of a tensor of floats, blocked too: their descriptor, and where they
 * begin, in elements. */
struct tensor_desc conv_groups_slice(const struct tensor_desc *d, size_t groups, size_t g,
                                     size_t *at);

#endif
