/* schedule: learning rate by epoch (PyTorch's definitions). Pure. */
#ifndef WORKER_SCHEDULE_H
#define WORKER_SCHEDULE_H

#include "common/spec.h"

/* Rate of epoch 0, 1, ... epochs: train.epochs, the default of cosine's t_max. Cosine goes up again
 * after t_max. */
double schedule_rate(const struct spec_schedule *s, double lr, int64_t epochs, uint64_t epoch);

#endif
