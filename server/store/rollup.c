/* rollup: see rollup.h. */
#include "server/store/rollup.h"

#include "server/store/stmt.h"

#include <string.h>

#define FILL_CHUNKS 64 /* a slice: some ten milliseconds between other jobs */

struct row {
    int64_t series, seq;
    int level;
    struct bucket buckets[ROLLUP_BUCKETS];
};

static int save(sqlite3 *db, const struct row *r, struct err *e)
{
    uint64_t step1 = 0; /* the largest, should steps go back */
    for (int i = 0; i < ROLLUP_BUCKETS; i++)
        if (r->buckets[i].step1 > step1) step1 = r->buckets[i].step1;
    return stmt_once(db,
                     "INSERT OR REPLACE INTO rollup(series,level,seq,step1,buckets)"
                     " VALUES(?1,?2,?3,?4,?5)",
                     e, "iiiib", r->series, (int64_t)r->level, r->seq, (int64_t)step1, r->buckets,
                     (int)sizeof r->buckets);
}

static void buckets_of_points(const unsigned char *points, struct bucket out[ROLLUP_BUCKETS])
{
    memset(out, 0, ROLLUP_BUCKETS * sizeof out[0]);
    for (size_t i = 0; i < CHUNK_POINTS_MAX; i++) {
        const struct point p = point_unpack(points + i * POINT_BYTES);
        const struct bucket one = bucket_of_point(&p);
        bucket_join(&out[i / ROLLUP_FAN], &one);
    }
}

/* The row above r from the 16 rows beside and with it; 0 = one of them is missing, 1 = made. */
static int row_above(sqlite3 *db, const struct row *r, struct row *above, struct err *e)
{
    struct stmt s;
    *above = (struct row){ .series = r->series, .seq = r->seq / ROLLUP_FAN, .level = r->level + 1 };
    if (stmt_prepare(&s, db,
                     "SELECT buckets FROM rollup WHERE series=?1 AND level=?2 AND seq>=?3"
                     " AND seq<?3+?4 ORDER BY seq",
                     e) != 0)
        return -1;
    stmt_bind(&s, "iiii", r->series, (int64_t)r->level, above->seq * ROLLUP_FAN,
              (int64_t)ROLLUP_FAN);
    int got, n = 0;
    while ((got = stmt_step(&s, e)) == 1) {
        struct bucket below[ROLLUP_BUCKETS];
        size_t bytes;
        const void *blob = stmt_blob(&s, 0, &bytes);
        if (bytes != sizeof below) continue;
        memcpy(below, blob, bytes);
        for (int i = 0; i < ROLLUP_BUCKETS; i++)
            bucket_join(&above->buckets[(n * ROLLUP_BUCKETS + i) / ROLLUP_FAN], &below[i]);
        n++;
    }
    stmt_finish(&s);
    return got < 0 ? -1 : n == ROLLUP_FAN;
}

int rollup_chunk(sqlite3 *db, int64_t series, int64_t seq, const unsigned char *points,
                 struct err *e)
{
    struct row r = { .series = series, .seq = seq, .level = 1 }, above;
    buckets_of_points(points, r.buckets);
    int rc = save(db, &r, e), full = 1;
    while (rc == 0 && full == 1 && r.level < ROLLUP_LEVELS) {
        full = row_above(db, &r, &above, e);
        if (full < 0) return (int)e->code;
        if (full == 1) rc = save(db, &above, e);
        r = above;
    }
    return rc;
}

int rollup_cut(sqlite3 *db, int64_t series, uint64_t step, struct err *e)
{
    return stmt_once(db, "DELETE FROM rollup WHERE series=?1 AND step1>?2", e, "ii", series,
                     (int64_t)step);
}

int rollup_read(sqlite3 *db, int64_t series, int level, int64_t seq,
                struct bucket out[ROLLUP_BUCKETS], struct err *e)
{
    struct stmt s;
    if (stmt_prepare(&s, db, "SELECT buckets FROM rollup WHERE series=?1 AND level=?2 AND seq=?3",
                     e) != 0)
        return -1;
    stmt_bind(&s, "iii", series, (int64_t)level, seq);
    int got = stmt_step(&s, e);
    if (got == 1) {
        size_t bytes;
        const void *blob = stmt_blob(&s, 0, &bytes);
        got = bytes == ROLLUP_BUCKETS * sizeof out[0];
        if (got == 1) memcpy(out, blob, bytes);
    }
    stmt_finish(&s);
    return got;
}

/* ---- chunks from before ---------------------------------------------------------------------- */
/* Rolls up the full chunks among up to FILL_CHUNKS with ids from the mark down; *next: the mark
 * below them, 0 = there are none left. */
static int fill_from(sqlite3 *db, int64_t mark, int64_t *next, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(
        &s, db, "SELECT id,series,seq,points FROM chunk WHERE id<=?1 ORDER BY id DESC LIMIT ?2", e);
    if (rc != 0) return rc;
    stmt_bind(&s, "ii", mark, (int64_t)FILL_CHUNKS);
    int got = 0;
    *next = 0;
    while (rc == 0 && (got = stmt_step(&s, e)) == 1) {
        size_t bytes;
        const void *points = stmt_blob(&s, 3, &bytes);
        *next = stmt_int(&s, 0) - 1;
        if (bytes == (size_t)CHUNK_POINTS_MAX * POINT_BYTES)
            rc = rollup_chunk(db, stmt_int(&s, 1), stmt_int(&s, 2), points, e);
    }
    stmt_finish(&s);
    return rc != 0 ? rc : got < 0 ? (int)e->code : 0;
}

int rollup_fill_some(sqlite3 *db, bool *left, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(&s, db, "SELECT max(chunk) FROM rollup_old", e);
    if (rc != 0) return rc;
    int64_t mark = stmt_step(&s, e) == 1 ? stmt_int(&s, 0) : 0;
    stmt_finish(&s);
    *left = false;
    if (mark == 0) return 0;
    rc = fill_from(db, mark, &mark, e);
    *left = mark > 0;
    if (rc != 0) return rc;
    return *left ? stmt_once(db, "UPDATE rollup_old SET chunk=?1", e, "i", mark)
                 : stmt_exec(db, "DELETE FROM rollup_old", e);
}
