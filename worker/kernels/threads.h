/* threads: persistent pool with static partition. Work is cut by output, never by thread, so the
 * number of threads cannot change a bit (design 5.8). One caller at a time. */
#ifndef WORKER_THREADS_H
#define WORKER_THREADS_H

#include "common/err.h"

#include <stddef.h>

struct threads;
/* n >= 1; the caller is thread 0. Errors: ERR_NOMEM, ERR_IO. */
int threads_create(struct threads **out, size_t n, struct err *e);
void threads_destroy(struct threads *t); /* NULL is fine */
size_t threads_count(const struct threads *t);
/* fn(ctx, item, thread) for item = 0 .. items-1; thread k gets a contiguous share. Returns when all
 * are done. No allocation. thread indexes per-thread scratch and must not influence results. */
void threads_run(struct threads *t, size_t items, void (*fn)(void *ctx, size_t item, size_t thread),
                 void *ctx);

#endif
