/* activity: what neurons and synapses did over a whole set of samples: sums of every pass that
 * trainer_evaluate makes. For `eval`; main thread. */
#ifndef WORKER_ACTIVITY_H
#define WORKER_ACTIVITY_H

#include "worker/nets/net.h"

struct activity {
    uint64_t *spikes, *accumulates; /* of each node */
    uint64_t samples, steps; /* time-steps of all samples */
};
/* Errors: ERR_NOMEM. */
int activity_init(struct activity *a, const struct net *n, struct err *e);
void activity_deinit(struct activity *a); /* safe on a zeroed one and when repeated */
/* The last forward pass, or the last chunk of a stream; samples: those that it is the first of. */
void activity_add(struct activity *a, const struct net *n, size_t samples);
/* Spikes a neuron and time-step; NaN when there were no samples. */
double activity_rate(const struct activity *a, const struct net *n, size_t node);

#endif
