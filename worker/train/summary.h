/* summary: what a run came to, as JSON: for summary.json and the daemon. Main thread. */
#ifndef WORKER_SUMMARY_H
#define WORKER_SUMMARY_H

#include "common/json.h"
#include "worker/train/trainer.h"

/* Caller owns; NULL when out of memory. */
cJSON *summary_json(const struct trainer *t, const struct trainer_result *r);
/* "layers": path, type, output shape, parameters, firing rate of the last forward pass. */
bool summary_add_layers(cJSON *object, const struct trainer *t);

#endif
