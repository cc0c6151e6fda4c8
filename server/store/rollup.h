/* rollup: rows of buckets beside the chunks of a series. Level L has buckets of 16^L points, 32 a
 * row, written when all its points are there; what has no row is read from the level below, chunks
 * last. Writer thread, but for rollup_read. */
#ifndef SERVER_ROLLUP_H
#define SERVER_ROLLUP_H

#include "common/err.h"
#include "server/store/bucket.h"
#include "server/store/points_blob.h"

#include <sqlite3.h>
#include <stdbool.h>

#define ROLLUP_FAN 16
#define ROLLUP_BUCKETS (CHUNK_POINTS_MAX / ROLLUP_FAN) /* of a row */
#define ROLLUP_LEVELS 6                                /* 1 .. 6; 16^6 points a bucket */

/* A chunk is full: its row of level 1, and those above that it completes. points: packed,
 * [CHUNK_POINTS_MAX]. Errors: ERR_DB. */
int rollup_chunk(sqlite3 *db, int64_t series, int64_t seq, const unsigned char *points,
                 struct err *e);
/* Points after step are gone, and so are the rows that told of them. Errors: ERR_DB. */
int rollup_cut(sqlite3 *db, int64_t series, uint64_t step, struct err *e);
/* 1 = a row, 0 = there is none. Any connection. Errors: ERR_DB. */
int rollup_read(sqlite3 *db, int64_t series, int level, int64_t seq,
                struct bucket out[ROLLUP_BUCKETS], struct err *e);
/* Some chunks from before there were buckets get theirs; *left: there are more. Errors: ERR_DB. */
int rollup_fill_some(sqlite3 *db, bool *left, struct err *e);

#endif
