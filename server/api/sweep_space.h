/* sweep_space: the body of POST /sweeps, and the members that it stands for. Reads and makes JSON;
 * knows no request and no queue, so that it runs in the pool. */
#ifndef SERVER_SWEEP_SPACE_H
#define SERVER_SWEEP_SPACE_H

#include "server/queue/queue.h"

#define SPACE_MAX 16          /* pointers */
#define SPACE_VALUES_MAX 1000 /* of one of them */

/* One place of the spec and what may stand there. */
struct space_axis {
    const char *pointer; /* borrowed from the body */
    const cJSON *values; /* a list, or NULL: from min to max */
    double min, max;
    int64_t steps; /* so many of them, equally far apart; 0 = any */
    bool log, integer;
};
enum sweep_strategy { SWEEP_GRID, SWEEP_RANDOM, SWEEP_ASHA, SWEEP_STRATEGIES };
struct sweep_plan {
    struct sweep like;
    const cJSON *base; /* borrowed from the body, as are the axes' */
    enum sweep_strategy strategy;
    struct space_axis axes[SPACE_MAX];
    size_t n_axes;
    int64_t n; /* members */
    uint64_t seed;
};
/* Reads the body; every fault at once. Borrows from it. Errors: ERR_INVALID (see faults). */
int sweep_plan_read(const cJSON *body, struct sweep_plan *p, struct json_faults *faults,
                    struct err *e);
/* How many values a grid takes of it; 0: any. */
int64_t sweep_axis_choices(const struct space_axis *a);
/* "/space/~1train~1epochs": where the body speaks of a pointer. */
void sweep_space_pointer(const char *pointer, char *out, size_t size);
/* What member i gets: {"/train/optimizer/lr": 0.01}. NULL: out of memory. */
cJSON *sweep_parameters(const struct sweep_plan *p, int64_t i);
/* The rows of all members. Faults name the place in the space, or in the base, and the member.
 * *rows: [p->n], owned by the caller. Errors: ERR_SPEC (see faults), ERR_NOMEM. */
int sweep_members(const struct sweep_plan *p, const struct queue_actor *actor,
                  struct queue_row **rows, struct json_faults *faults, struct err *e);

#endif
