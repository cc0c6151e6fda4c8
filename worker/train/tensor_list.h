/* tensor_list: what a safetensors file is going to hold: a net's weights and buffers by PyTorch's
 * names, and its counters. Private to train/: weights files and checkpoints. Main thread. */
#ifndef WORKER_TENSOR_LIST_H
#define WORKER_TENSOR_LIST_H

#include "worker/nets/net.h"
#include "worker/nets/safetensors.h"

struct tensor_list {
    struct safetensors_entry *entries;
    size_t count, capacity;
};
/* Room for `sets` of all parameters and counters. Errors: ERR_NOMEM. */
int tensor_list_init(struct tensor_list *l, const struct net *n, size_t sets, struct err *e);
void tensor_list_deinit(struct tensor_list *l);
/* prefix + the name of parameter i; data are borrowed. */
void tensor_list_add_param(struct tensor_list *l, const struct net_param *p, const char *prefix,
                           const float *data);
/* All parameters and buffers; values as collected by weights_collect. */
void tensor_list_add_values(struct tensor_list *l, const struct net *n, const char *prefix,
                            const float *values);
/* num_batches_tracked of every batch normalisation, as PyTorch has it. Eight bytes each: to be
 * added before any floats, so that they lie at multiples of eight. */
void tensor_list_add_counters(struct tensor_list *l, const struct net *n, const char *prefix,
                              const int64_t *batches);

#endif
