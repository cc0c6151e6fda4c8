/* profile: where the time of training steps goes, layer by layer: medians of the newest steps, the
 * density of what layers read, the forms that their products took. For `bench` and for the monitors
 * of a run; training thread.
 *
 * A step costs two readings of the clock a layer and allocates nothing. Wall time differs from run
 * to run: nothing that must have the same bits may look at a profile. */
#ifndef WORKER_PROFILE_H
#define WORKER_PROFILE_H

#include "common/json.h"
#include "worker/kernels/kernel_trace.h"
#include "worker/nets/net.h"

#define PROFILE_STEPS_MAX 64 /* the newest steps, of which medians are taken */

enum profile_part {
    PROFILE_STEP,
    PROFILE_FORWARD,
    PROFILE_BACKWARD,
    PROFILE_OPTIMIZER,
    PROFILE_DATA,
    PROFILE_PARTS
};
struct profile {
    size_t layers;
    uint64_t steps;               /* measured */
    float *ms;                    /* [PROFILE_STEPS_MAX][PROFILE_PARTS + 2 * layers] */
    float *sorted;                /* [PROFILE_STEPS_MAX], of a median */
    struct kernel_trace *kernels; /* [layers]: calls since profile_forget */
    double part[PROFILE_PARTS];   /* of the step under way, or the last one; ms */
};
/* Errors: ERR_NOMEM. */
int profile_init(struct profile *p, const struct net *n, struct err *e);
void profile_deinit(struct profile *p); /* safe on a zeroed one and when repeated */

/* ---- one step; p NULL does nothing ----------------------------------------------------------- */
int64_t profile_now(const struct profile *p); /* ns; 0 when p is NULL */
void profile_begin(struct profile *p, struct net *n);
void profile_add(struct profile *p, enum profile_part part, int64_t since_ns);
void profile_end(struct profile *p, struct net *n, int64_t begin_ns);

/* ---- what came of them ----------------------------------------------------------------------- */
/* Paths are told of the steps that follow; times stay. */
void profile_forget(struct profile *p);
double profile_last(const struct profile *p, enum profile_part part); /* of the last step, ms */
/* [{"path", "type", "forward_ms", "backward_ms", "input_density", ...}]: see docs/api.md. The last
 * pass's tensors are looked at. NULL when out of memory; caller owns. */
cJSON *profile_layers(const struct profile *p, const struct net *n);
/* The whole: medians of the steps measured, the layers, where the training stands. */
struct trainer;
cJSON *profile_json(const struct profile *p, const struct trainer *t);

#endif
