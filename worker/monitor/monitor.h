/* monitor: records SNN data while a trainer runs: firing rates, rasters, membrane potentials, time
 * constants, PSN weights, gradient norms; and where the time goes (train/profile.h). An observer of
 * the trainer, on its thread. */
#ifndef WORKER_MONITOR_H
#define WORKER_MONITOR_H

#include "worker/train/trainer.h"

struct monitors;
/* Errors: ERR_NOMEM. spec is borrowed. */
int monitors_create(struct monitors **out, const struct spec *spec, struct err *e);
void monitors_destroy(struct monitors *m); /* NULL is fine */
struct train_observer monitors_observer(struct monitors *m);

/* Evenly spread choice of `wanted` of `total` neurons: index of the i-th one. */
size_t monitor_pick(size_t i, size_t wanted, size_t total);

#endif
