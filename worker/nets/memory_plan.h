/* memory_plan: counts every byte of a net before anything runs, and says where each block lies in
 * the one arena. Used by net_build, main thread.
 *
 * A step is a line of moments: the forward passes of all nodes, then their backward passes in
 * reverse, with what is computed again in between. A block lives from its first to its last moment,
 * and once more when it is computed again; blocks of one kind whose lives do not meet share
 * memory. */
#ifndef WORKER_MEMORY_PLAN_H
#define WORKER_MEMORY_PLAN_H

#include "common/err.h"

#include <stdbool.h>
#include <stddef.h>

enum plan_kind {
    PLAN_PARAMETERS,
    PLAN_GRADIENTS, /* of parameters, one block a shard */
    PLAN_BUFFERS,
    PLAN_ACTIVATIONS, /* outputs of nodes and their gradients */
    PLAN_SAVED,
    PLAN_SCRATCH,
    PLAN_IO,
    PLAN_KIND_COUNT
};

struct plan_block {
    enum plan_kind kind;
    size_t bytes;       /* a multiple of ARENA_ALIGN */
    size_t first, last; /* moments */
    bool again;         /* and alive from again_first to again_last */
    size_t again_first, again_last;
    size_t floor;  /* lowest offset it may have */
    size_t offset; /* in the region of its kind, after memory_plan_solve */
};
struct memory_plan {
    struct plan_block *blocks;
    size_t count, capacity;
    size_t region_bytes[PLAN_KIND_COUNT];
    size_t total_bytes;
};

/* Notes a block and gives its index. Errors: ERR_NOMEM. */
int memory_plan_add(struct memory_plan *p, enum plan_kind kind, size_t bytes, size_t first,
                    size_t last, size_t *index, struct err *e);
/* Lengthens a block's first life. */
void memory_plan_extend(struct memory_plan *p, size_t index, size_t first, size_t last);
/* Places every block: lowest gap that is free during its lives, in the order they were added.
 * Errors: ERR_NOMEM when the sum does not fit a size_t. */
int memory_plan_solve(struct memory_plan *p, struct err *e);
void memory_plan_deinit(struct memory_plan *p);

#endif
