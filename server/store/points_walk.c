/* points_walk: see points_walk.h. */
#include "server/store/points_walk.h"

#include "server/store/stmt.h"

#include <inttypes.h>

int points_series(sqlite3 *db, int64_t experiment, const char *name, int64_t *out, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(&s, db, "SELECT id FROM series WHERE experiment=?1 AND name=?2", e);
    if (rc != 0) return rc;
    stmt_bind(&s, "it", experiment, name);
    const int got = stmt_step(&s, e);
    if (got == 1) *out = stmt_int(&s, 0);
    stmt_finish(&s);
    if (got < 0) return (int)e->code;
    return got == 1 ? 0
                    : err_set(e, ERR_NOT_FOUND, "experiment %" PRId64 " has no series '%.128s'",
                              experiment, name);
}

static int take_chunk(struct stmt *s, int column, unsigned char *out)
{
    size_t bytes;
    const void *blob = stmt_blob(s, column, &bytes);
    const size_t n = bytes / POINT_BYTES;
    if (n > CHUNK_POINTS_MAX) return 0;
    memcpy(out, blob, n * POINT_BYTES);
    return (int)n;
}

int points_chunk(sqlite3 *db, int64_t series, int64_t seq, unsigned char *out, struct err *e)
{
    struct stmt s;
    if (stmt_prepare(&s, db, "SELECT points FROM chunk WHERE series=?1 AND seq=?2", e) != 0)
        return -1;
    stmt_bind(&s, "ii", series, seq);
    int n = stmt_step(&s, e);
    if (n == 1) n = take_chunk(&s, 0, out);
    stmt_finish(&s);
    return n;
}

void points_walk_begin(struct points_walk *w, int64_t series, uint64_t from, uint64_t to)
{
    w->series = series;
    w->from = from;
    w->to = to == 0 ? INT64_MAX : to;
    w->seq = 0;
    w->at = w->n = 0;
}

/* The chunk at seq once more, should it have grown, else the one behind it: 1, or 0 = all is
 * walked, -1 = error. */
static int next_chunk(struct points_walk *w, sqlite3 *db, struct err *e)
{
    struct stmt s;
    if (stmt_prepare(&s, db,
                     "SELECT seq,points FROM chunk INDEXED BY chunk_span WHERE series=?1"
                     " AND seq>=?2 AND (seq>?2 OR length(points)>?3)"
                     " AND step1>=?4 AND step0<=?5 ORDER BY seq LIMIT 1",
                     e) != 0)
        return -1;
    stmt_bind(&s, "iiiii", w->series, w->seq, (int64_t)(w->at * POINT_BYTES), (int64_t)w->from,
              (int64_t)w->to);
    const int got = stmt_step(&s, e);
    if (got == 1) {
        const int64_t seq = stmt_int(&s, 0);
        if (seq != w->seq) w->at = 0;
        w->seq = seq;
        w->n = (size_t)take_chunk(&s, 1, w->chunk);
    }
    stmt_finish(&s);
    return got;
}

int points_walk_next(struct points_walk *w, sqlite3 *db, struct point *out, struct err *e)
{
    for (;;) {
        while (w->at < w->n) {
            *out = point_unpack(w->chunk + w->at++ * POINT_BYTES);
            if (out->step >= w->from && out->step <= w->to) return 1;
        }
        const int got = next_chunk(w, db, e);
        if (got != 1) return got;
    }
}
