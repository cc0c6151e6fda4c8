/* summary: what a run came to, as JSON: for summary.json and the daemon. Main thread. */
#ifndef WORKER_SUMMARY_H
#define WORKER_SUMMARY_H

#include "common/json.h"
#include "worker/train/trainer.h"

/* Caller owns; NULL when out of memory. */
cJSON *summary_json(const struct trainer *t, const struct trainer_result *r);
/* An evaluation of the test set during which t->activity was set: loss, accuracy, operations of one
 * sample, and for each layer shape, parameters, operations and firing rate. Caller owns; NULL when
 * out of memory. */
cJSON *summary_evaluation(const struct trainer *t, const struct evaluation *v);

#endif
