/* store: one database with one writer thread. Jobs are handed over by the loop thread; those that
 * wait together share a transaction (group commit); results come back on the loop thread, and only
 * after the commit. Reads use read-only connections of their own (store_reader). */
#ifndef SERVER_STORE_H
#define SERVER_STORE_H

#include "common/err.h"
#include "common/list.h"
#include "server/meter/histogram.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <uv.h>

#define STORE_JOBS_MAX 100000 /* waiting; one more fails with ERR_UNAVAILABLE */

struct store_job {
    struct list link;
    /* Writer thread, inside the transaction. Non-zero takes back this job alone. */
    int (*run)(struct store_job *job, sqlite3 *db, struct err *e);
    /* Loop thread, after the commit (e->code 0) or its failure; frees the job. */
    void (*done)(struct store_job *job, const struct err *e);
    struct err err;
    bool durable; /* a checkpoint synced everything up to and including this job */
    bool alone;   /* run between two transactions, with none open; never too many of these */
};
struct store;
/* full: synchronous=FULL, and a copy before it is migrated. Errors: ERR_DB, ERR_IO, ERR_CONFLICT
 * (newer schema), ERR_NOMEM. */
int store_open(struct store **out, uv_loop_t *loop, const char *path, const char *migrations_prefix,
               bool full, struct err *e);
void store_submit(struct store *s, struct store_job *job);
/* True when every job was delivered; loop thread. */
bool store_idle(const struct store *s);
/* The writer's connection, only before the first job was submitted (loading at start). */
sqlite3 *store_db_at_start(struct store *s);
/* Finishes all jobs and ends the writer thread; those that are submitted later fail. Nothing is
 * delivered: for a process that ends at once. store_close may follow. */
void store_finish(struct store *s);
/* Finishes all jobs, checkpoints, closes; on_closed on the loop. */
void store_close(struct store *s, void (*on_closed)(void *ctx), void *ctx);
/* A fresh read-only connection; any thread; caller closes with sqlite3_close. Errors: ERR_DB. */
int store_reader(const char *path, sqlite3 **out, struct err *e);
const char *store_path(const struct store *s);
/* Since the start. Loop thread. */
struct store_stats {
    struct histogram batch_s; /* a transaction of jobs that waited together, commit included */
    uint64_t jobs;            /* handed to transactions */
    size_t waiting;           /* jobs of no transaction yet */
};
struct store_stats store_stats_of(struct store *s);
/* ERR_INVALID when path lies on a network file system: WAL needs shared memory. */
int store_check_file_system(const char *path, struct err *e);

#endif
