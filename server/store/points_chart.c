/* points_chart: see points_chart.h. */
#include "server/store/points_chart.h"

#include "common/mem.h"
#include "server/store/points_walk.h"
#include "server/store/rollup.h"
#include "server/store/stmt.h"

struct chart_chunk {
    int64_t seq;
    bool whole; /* full, and all its points are asked for */
};
struct drawing {
    const struct points_chart *chart;
    sqlite3 *db;
    size_t per; /* points of a bucket, at least */
    int level;  /* the coarsest whose buckets are no larger */
    struct bucket open;
    points_bucket_fn fn;
    void *ctx;
    unsigned char points[CHUNK_POINTS_MAX * POINT_BYTES];
};

/* ---- what there is --------------------------------------------------------------------------- */
static bool asked(const struct points_chart *c, uint64_t step)
{
    return step >= c->from && step <= c->to;
}

static int add_chunk(struct points_chart *c, const struct chart_chunk *one, struct err *e)
{
    if (c->n == c->capacity) {
        const size_t capacity = 2 * c->capacity + 64;
        struct chart_chunk *grown = mem_realloc_array(c->chunks, capacity, sizeof grown[0]);
        if (grown == NULL) return err_set(e, ERR_NOMEM, "chunks of a series");
        c->chunks = grown;
        c->capacity = capacity;
    }
    c->chunks[c->n++] = *one;
    return 0;
}

/* Points of a chunk that only a part is asked of; -1 = error. */
static int count_asked(const struct points_chart *c, sqlite3 *db, int64_t seq, struct err *e)
{
    unsigned char points[CHUNK_POINTS_MAX * POINT_BYTES];
    const int n = points_chunk(db, c->series, seq, points, e);
    int found = n < 0 ? -1 : 0;
    for (int i = 0; i < n; i++) found += asked(c, point_unpack(points + i * POINT_BYTES).step);
    return found;
}

static int take_row(struct points_chart *c, sqlite3 *db, const struct stmt *s, struct err *e)
{
    const bool inside = asked(c, (uint64_t)stmt_int(s, 1)) && asked(c, (uint64_t)stmt_int(s, 2));
    const struct chart_chunk one = { stmt_int(s, 0), inside && stmt_int(s, 3) == CHUNK_POINTS_MAX };
    const int n = inside ? (int)stmt_int(s, 3) : count_asked(c, db, one.seq, e);
    if (n < 0) return (int)e->code;
    c->total += (size_t)n;
    return add_chunk(c, &one, e);
}

int points_chart_open(struct points_chart *c, sqlite3 *db, int64_t series, uint64_t from,
                      uint64_t to, struct err *e)
{
    struct stmt s;
    *c = (struct points_chart){ .series = series, .from = from, .to = to == 0 ? INT64_MAX : to };
    int rc = stmt_prepare(&s, db,
                          "SELECT seq,step0,step1,length(points)/?4 FROM chunk INDEXED BY"
                          " chunk_span WHERE series=?1 AND step1>=?2 AND step0<=?3 ORDER BY seq",
                          e);
    if (rc != 0) return rc;
    stmt_bind(&s, "iiii", series, (int64_t)c->from, (int64_t)c->to, (int64_t)POINT_BYTES);
    int got = 0;
    while (rc == 0 && (got = stmt_step(&s, e)) == 1) rc = take_row(c, db, &s, e);
    stmt_finish(&s);
    return rc != 0 ? rc : got < 0 ? (int)e->code : 0;
}

void points_chart_deinit(struct points_chart *c)
{
    mem_free(c->chunks);
    *c = (struct points_chart){ 0 };
}

/* ---- drawing --------------------------------------------------------------------------------- */
static int put(struct drawing *d, const struct bucket *b, struct err *e)
{
    bucket_join(&d->open, b);
    if (d->open.n < d->per) return 0;
    const bool ok = d->fn(d->ctx, &d->open);
    d->open.n = 0;
    return ok ? 0 : err_set(e, ERR_NOMEM, "buckets");
}

static int put_points(struct drawing *d, int64_t seq, struct err *e)
{
    const int n = points_chunk(d->db, d->chart->series, seq, d->points, e);
    int rc = n < 0 ? (int)e->code : 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        const struct point p = point_unpack(d->points + i * POINT_BYTES);
        const struct bucket one = bucket_of_point(&p);
        if (asked(d->chart, p.step)) rc = put(d, &one, e);
    }
    return rc;
}

/* Chunks of a row of that level. */
static size_t chunks_of(int level)
{
    size_t n = 1;
    for (int i = 1; i < level; i++) n *= ROLLUP_FAN;
    return n;
}

/* Whether a row of that level begins with chunk i and all of it is asked for. */
static bool row_fits(const struct points_chart *c, size_t i, int level)
{
    const size_t n = chunks_of(level);
    if (n > c->n - i || c->chunks[i].seq % (int64_t)n != 0) return false;
    for (size_t k = i; k < i + n; k++)
        if (!c->chunks[k].whole || c->chunks[k].seq != c->chunks[i].seq + (int64_t)(k - i))
            return false;
    return true;
}

/* Puts what begins with chunk i, from the coarsest row that is there; *used: chunks that were in
 * it. */
static int put_from(struct drawing *d, size_t i, size_t *used, struct err *e)
{
    const struct points_chart *c = d->chart;
    struct bucket row[ROLLUP_BUCKETS];
    for (int level = d->level; level > 0; level--) {
        if (!row_fits(c, i, level)) continue;
        *used = chunks_of(level);
        const int got = rollup_read(d->db, c->series, level, c->chunks[i].seq / (int64_t)*used, row,
                                    e);
        if (got < 0) return (int)e->code;
        if (got == 0) continue;
        int rc = 0;
        for (int k = 0; rc == 0 && k < ROLLUP_BUCKETS; k++) rc = put(d, &row[k], e);
        return rc;
    }
    *used = 1;
    return put_points(d, c->chunks[i].seq, e);
}

int points_chart_buckets(const struct points_chart *c, sqlite3 *db, size_t max_buckets,
                         points_bucket_fn fn, void *ctx, struct err *e)
{
    struct drawing d = { .chart = c,
                         .db = db,
                         .per = (c->total + max_buckets - 1) / max_buckets,
                         .fn = fn,
                         .ctx = ctx };
    for (size_t points = ROLLUP_FAN; points <= d.per && d.level < ROLLUP_LEVELS;
         points *= ROLLUP_FAN)
        d.level++;
    int rc = 0;
    for (size_t i = 0, used; rc == 0 && i < c->n; i += used) rc = put_from(&d, i, &used, e);
    if (rc == 0 && d.open.n > 0 && !fn(ctx, &d.open)) rc = err_set(e, ERR_NOMEM, "buckets");
    return rc;
}
