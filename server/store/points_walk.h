/* points_walk: the points of a series one after the other, a chunk of them in memory; nothing is
 * held in the database between two. Pool threads. */
#ifndef SERVER_POINTS_WALK_H
#define SERVER_POINTS_WALK_H

#include "common/err.h"
#include "server/store/points_blob.h"

#include <sqlite3.h>

struct points_walk {
    int64_t series;
    uint64_t from, to; /* steps, both included */
    int64_t seq;       /* of the chunk that is walked; where to go on: seq, at */
    size_t at, n;      /* the next point in it; how many it has, 0 = it was not read */
    unsigned char chunk[CHUNK_POINTS_MAX * POINT_BYTES];
};
/* to 0: to the end. */
void points_walk_begin(struct points_walk *w, int64_t series, uint64_t from, uint64_t to);
/* 1 = *out is the next point, 0 = there is none (yet), -1 = error. Errors: ERR_DB. */
int points_walk_next(struct points_walk *w, sqlite3 *db, struct point *out, struct err *e);
/* Reads chunk seq, of at most CHUNK_POINTS_MAX points, into out: their number; 0 = there is no such
 * chunk, -1 = error. Errors: ERR_DB. */
int points_chunk(sqlite3 *db, int64_t series, int64_t seq, unsigned char *out, struct err *e);
/* Id of a series. Errors: ERR_NOT_FOUND, ERR_DB. */
int points_series(sqlite3 *db, int64_t experiment, const char *name, int64_t *out, struct err *e);

#endif
