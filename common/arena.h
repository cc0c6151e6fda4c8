/* arena: one big aligned block, given out front to back, freed as a whole. One thread at a time.
 * The worker plans every byte first (nets/memory_plan) and then takes one arena. */
#ifndef COMMON_ARENA_H
#define COMMON_ARENA_H

#include "common/err.h"

#include <stddef.h>

#define ARENA_ALIGN 64 /* one cache line, one AVX-512 register */

struct arena {
    unsigned char *base;
    size_t size_bytes;
    size_t used_bytes;
    size_t high_water_bytes;
};

/* Maps size_bytes (huge pages asked for from 2 MiB on) and touches every page.
 * Errors: ERR_NOMEM. */
int arena_init(struct arena *a, size_t size_bytes, struct err *e);
/* Next `bytes` (rounded up to ARENA_ALIGN), zeroed at init only. NULL when the arena is full. */
void *arena_take(struct arena *a, size_t bytes);
void arena_deinit(struct arena *a); /* safe on a zeroed arena and when repeated */

#endif
