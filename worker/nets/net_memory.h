/* net_memory: which memory every tensor of a net gets. Shared by the files of nets/ only; main
 * thread, when a net is built. */
#ifndef WORKER_NET_MEMORY_H
#define WORKER_NET_MEMORY_H

#include "worker/nets/net_internal.h"

/* Marks outputs that are kept to the end of a step whatever is computed again: spikes, counts, the
 * last one, and those that options.watched neurons are charged with. */
void net_mark_kept(struct net *n);
size_t net_kept_bytes(const struct net *n, size_t i); /* of such a one */
/* Gradient of the tensor that crosses into node `begin`; 0 when there is none. */
size_t net_crossing_bytes(const struct net *n, size_t begin);
/* Moments of these segments' nodes, as if they were the whole net. */
void net_number_moments(struct net *n, const struct net_segment *segments, size_t count);
/* Adds the blocks of one segment whose moments are numbered, from s->floor up, without those that
 * lie below all segments. held_bytes: what stays from its forward to its backward pass.
 * Errors: ERR_NOMEM. */
int net_plan_segment(struct net *n, struct memory_plan *p, const struct net_segment *s,
                     size_t *held_bytes, struct err *e);
/* Plans all of the net's memory, by its segments if it has any, and sums it up in n->plan.
 * Errors: ERR_NOMEM. */
int net_plan_blocks(struct net *n, struct err *e);
/* Plans as options.recompute says. Errors: ERR_OUT_OF_PLAN, ERR_NOMEM. */
int net_plan_memory(struct net *n, struct err *e);

#endif
