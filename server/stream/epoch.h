/* epoch: the first half of event ids, raised at each start. Loop thread, once. */
#ifndef SERVER_EPOCH_H
#define SERVER_EPOCH_H

#include "common/err.h"

#include <stdint.h>

/* Reads, raises and syncs state_dir/epoch. Errors: ERR_IO. */
int epoch_raise(uint64_t *epoch, const char *state_dir, struct err *e);

#endif
