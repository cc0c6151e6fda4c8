/* monitor_records: builds the records of monitors: rasters, potentials, matrices, the input
 * picture. Called by monitor.c on the training thread. All return 0 or the output's error. */
#ifndef WORKER_MONITOR_RECORDS_H
#define WORKER_MONITOR_RECORDS_H

#include "worker/train/trainer.h"

/* Runs the first `samples` validation samples (training ones if there are none) through the net in
 * evaluation mode, so that node outputs are theirs. */
void record_prepare(struct trainer *t, size_t samples);
/* Puts the batcher's order back to the epoch that goes on. */
void record_restore(struct trainer *t);
int record_input(struct trainer *t, struct err *e);
int record_rasters(struct trainer *t, const struct spec_monitor *m, size_t node,
                   const struct net_node_info *n, struct err *e);
int record_membrane(struct trainer *t, const struct spec_monitor *m, size_t node,
                    const struct net_node_info *n, struct err *e);
int record_psn_weight(struct trainer *t, size_t node, const struct net_node_info *n, struct err *e);
/* Where the time of the newest steps went; the net still holds the last training batch. */
struct profile;
int record_profile(struct trainer *t, const struct profile *p, struct err *e);

#endif
