/* metrics_store: writing. See metrics_store.h; reading is in metrics_read.c. Writer thread. */
#include "server/store/metrics_store.h"

#include "common/mem.h"
#include "server/store/points_blob.h"
#include "server/store/points_gather.h"
#include "server/store/rollup.h"
#include "server/store/stmt.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct ingest {
    sqlite3 *db;
    int64_t experiment;
    uint64_t until_step;
    const char *records_path;
    int records_fd;
    struct points_gather gathered;
    struct metrics_result *out;
};

void metrics_result_deinit(struct metrics_result *r)
{
    for (size_t i = 0; i < r->n_lots; i++) gather_deinit(&r->lots[i]);
    mem_free(r->lots);
    cJSON_Delete(r->records);
    *r = (struct metrics_result){ 0 };
}

/* ---- series and chunks ----------------------------------------------------------------------- */
struct series_row {
    int64_t id, n;
    double last, min, max; /* NaN = none */
    int64_t last_step, min_step, max_step;
};

static int load_series(sqlite3 *db, int64_t experiment, const char *name, struct series_row *row,
                       struct err *e)
{
    int rc = stmt_once(db,
                       "INSERT OR IGNORE INTO series(experiment,name,n,last_step,min_step,max_step)"
                       " VALUES(?1,?2,0,0,0,0)", e, "it", experiment, name);
    struct stmt s = { 0 };
    if (rc == 0)
        rc = stmt_prepare(&s, db,
                          "SELECT id,n,last,last_step,min,min_step,max,max_step FROM series"
                          " WHERE experiment=?1 AND name=?2", e);
    if (rc != 0) return rc;
    stmt_bind(&s, "it", experiment, name);
    if (stmt_step(&s, e) == 1)
        *row = (struct series_row){ stmt_int(&s, 0), stmt_int(&s, 1), stmt_double(&s, 2),
                                    stmt_double(&s, 4), stmt_double(&s, 6), stmt_int(&s, 3),
                                    stmt_int(&s, 5), stmt_int(&s, 7) };
    stmt_finish(&s);
    return 0;
}

/* SQLite keeps no NaN: it becomes NULL, which reads as NaN again. */
static int save_series(sqlite3 *db, const struct series_row *r, struct err *e)
{
    return stmt_once(
        db,
        "UPDATE series SET n=?2,last=?3,last_step=?4,min=?5,min_step=?6,max=?7,max_step=?8"
        " WHERE id=?1",
        e, "iidididi", r->id, r->n, r->last, r->last_step, r->min, r->min_step, r->max,
        r->max_step);
}

static void add_to_summary(struct series_row *r, const struct point *p)
{
    r->n++;
    r->last = p->value;
    r->last_step = (int64_t)p->step;
    if (isnan(p->value)) return;
    if (!(p->value >= r->min)) {
        r->min = p->value;
        r->min_step = (int64_t)p->step;
    }
    if (!(p->value <= r->max)) {
        r->max = p->value;
        r->max_step = (int64_t)p->step;
    }
}

/* The open chunk of a series, so that points are appended to it. */
struct tail {
    int64_t seq;
    size_t n; /* points in it */
    unsigned char points[CHUNK_POINTS_MAX * POINT_BYTES];
};

static int load_tail(sqlite3 *db, int64_t series, struct tail *t, struct err *e)
{
    struct stmt s;
    t->seq = 0;
    t->n = 0;
    int rc = stmt_prepare(
        &s, db, "SELECT seq,points FROM chunk WHERE series=?1 ORDER BY seq DESC LIMIT 1", e);
    if (rc != 0) return rc;
    stmt_bind(&s, "i", series);
    if (stmt_step(&s, e) == 1) {
        size_t bytes;
        const void *blob = stmt_blob(&s, 1, &bytes);
        t->seq = stmt_int(&s, 0);
        t->n = bytes / POINT_BYTES;
        if (t->n < CHUNK_POINTS_MAX) memcpy(t->points, blob, bytes);
    }
    stmt_finish(&s);
    if (t->n >= CHUNK_POINTS_MAX) {
        t->seq++;
        t->n = 0;
    }
    return 0;
}

static int save_tail(sqlite3 *db, int64_t series, const struct tail *t, struct err *e)
{
    const struct point first = point_unpack(t->points);
    const struct point last = point_unpack(t->points + (t->n - 1) * POINT_BYTES);
    return stmt_once(db,
                     "INSERT INTO chunk(series,seq,step0,step1,points) VALUES(?1,?2,?3,?4,?5)"
                     " ON CONFLICT(series,seq) DO UPDATE SET step1=?4,points=?5",
                     e, "iiiib", series, t->seq, (int64_t)first.step, (int64_t)last.step, t->points,
                     (int)(t->n * POINT_BYTES));
}

static int append_points(sqlite3 *db, int64_t experiment, const char *name,
                         const struct point *points, size_t n, struct err *e)
{
    struct series_row row = { .last = NAN, .min = NAN, .max = NAN };
    struct tail tail;
    int rc = load_series(db, experiment, name, &row, e);
    if (rc == 0) rc = load_tail(db, row.id, &tail, e);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        point_pack(&points[i], tail.points + tail.n++ * POINT_BYTES);
        add_to_summary(&row, &points[i]);
        if (tail.n < CHUNK_POINTS_MAX) continue;
        rc = save_tail(db, row.id, &tail, e);
        if (rc == 0) rc = rollup_chunk(db, row.id, tail.seq, tail.points, e);
        tail.seq++;
        tail.n = 0;
    }
    if (rc == 0 && tail.n > 0) rc = save_tail(db, row.id, &tail, e);
    return rc != 0 ? rc : save_series(db, &row, e);
}

/* ---- frames ---------------------------------------------------------------------------------- */
/* What was written is told; a further lot begins. */
static int keep_lot(struct ingest *in, struct err *e)
{
    struct metrics_result *r = in->out;
    struct points_gather *grown = mem_realloc_array(r->lots, r->n_lots + 1, sizeof grown[0]);
    if (grown == NULL) return err_set(e, ERR_NOMEM, "points");
    r->lots = grown;
    r->lots[r->n_lots++] = in->gathered;
    in->gathered = (struct points_gather){ 0 };
    return 0;
}

/* Rows once a series, however many frames the message had. */
static int write_gathered(struct ingest *in, struct err *e)
{
    int rc = 0;
    if (in->gathered.n == 0) return 0;
    for (size_t i = 0; rc == 0 && i < in->gathered.n; i++) {
        const struct gathered *s = &in->gathered.series[i];
        rc = append_points(in->db, in->experiment, s->name, s->points, s->n, e);
        in->out->n_points += s->n;
    }
    return rc != 0 ? rc : keep_lot(in, e);
}

static int one_series(void *ctx, const char *name, const struct point *points, size_t n,
                      struct err *e)
{
    struct ingest *in = ctx;
    size_t keep = n;
    while (in->until_step > 0 && keep > 0 && points[keep - 1].step > in->until_step) keep--;
    if (keep == 0) return 0;
    if (in->gathered.n == GATHER_SERIES_MAX && write_gathered(in, e) != 0) return (int)e->code;
    return gather_points(&in->gathered, name, points, keep, e);
}

/* Appends the bytes and syncs them before the index row is committed. */
static int write_bytes(struct ingest *in, const struct record *r, int64_t *place, struct err *e)
{
    if (in->records_fd < 0)
        in->records_fd = open(in->records_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct stat st;
    if (in->records_fd < 0 || fstat(in->records_fd, &st) != 0)
        return err_errno(e, errno, "%.150s", in->records_path);
    const ssize_t n = write(in->records_fd, r->data, r->data_bytes);
    if (n != (ssize_t)r->data_bytes)
        return err_errno(e, n < 0 ? errno : ENOSPC, "%.150s", in->records_path);
    *place = (int64_t)st.st_size;
    return 0;
}

static int next_index(struct ingest *in, const struct record *r, const char *kind, int64_t *out,
                      struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(
        &s, in->db,
        "SELECT coalesce(max(idx)+1,0) FROM record WHERE experiment=?1 AND layer=?2"
        " AND kind=?3",
        e);
    if (rc != 0) return rc;
    stmt_bind(&s, "itt", in->experiment, r->layer, kind);
    *out = stmt_step(&s, e) == 1 ? stmt_int(&s, 0) : 0;
    stmt_finish(&s);
    return 0;
}

/* Watchers are told a profile itself, not only that there is one. */
static int add_profile(cJSON *o, const struct record *r, struct err *e)
{
    cJSON *json = NULL;
    unsigned char *plain = NULL;
    const char *text = r->data;
    size_t length = r->data_bytes;
    int rc = 0;
    if (r->kind != RECORD_PROFILE) return 0;
    if (r->encoding == RECORD_ZSTD) {
        rc = metrics_decompress(r->data, r->data_bytes, &plain, &length, e);
        text = (const char *)plain;
    }
    if (rc == 0) rc = json_parse(text, length, &json, e);
    mem_free(plain);
    if (rc != 0 || !cJSON_IsObject(json)) {
        cJSON_Delete(json);
        return err_set(e, ERR_INVALID, "a profile is damaged");
    }
    if (cJSON_AddItemToObject(o, "profile", json)) return 0;
    cJSON_Delete(json);
    return err_set(e, ERR_NOMEM, "profile");
}

static int one_record(struct ingest *in, const struct wire_frame *f, struct err *e)
{
    struct record r;
    int rc = wire_read_record(f, &r, e);
    if (rc != 0 || (in->until_step > 0 && r.step > in->until_step)) return rc;
    const char *kind = record_kind_name(r.kind);
    char dims[80] = "[";
    for (uint32_t i = 0; i < r.n_dims; i++) {
        const size_t at = strlen(dims);
        (void)snprintf(dims + at, sizeof dims - at, "%s%" PRIu32, i > 0 ? "," : "", r.dims[i]);
    }
    (void)strncat(dims, "]", sizeof dims - strlen(dims) - 1);
    int64_t index = 0, place = 0;
    rc = next_index(in, &r, kind, &index, e);
    if (rc == 0) rc = write_bytes(in, &r, &place, e);
    if (rc == 0)
        rc = stmt_once(
            in->db,
            "INSERT INTO "
            "record(experiment,layer,kind,idx,step,epoch,time_ms,dims,encoding,place,bytes)"
            " VALUES(?,?,?,?,?,?,?,?,?,?,?)",
            e, "ittiiiitiii", in->experiment, r.layer, kind, index, (int64_t)r.step,
            (int64_t)r.epoch, r.time_ms, dims, (int64_t)r.encoding, place, (int64_t)r.data_bytes);
    if (rc != 0) return rc;
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(in->out->records, o) ||
        cJSON_AddStringToObject(o, "layer", r.layer) == NULL ||
        cJSON_AddStringToObject(o, "kind", kind) == NULL || !json_add_int(o, "index", index) ||
        !json_add_int(o, "step", (int64_t)r.step) || !json_add_int(o, "epoch", r.epoch))
        return err_set(e, ERR_NOMEM, "record");
    return add_profile(o, &r, e);
}

int metrics_acked(sqlite3 *db, int64_t experiment, int64_t attempt, uint64_t *out, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(&s, db, "SELECT frame FROM ack WHERE experiment=?1 AND attempt=?2", e);
    if (rc != 0) return rc;
    stmt_bind(&s, "ii", experiment, attempt);
    *out = stmt_step(&s, e) == 1 ? (uint64_t)stmt_int(&s, 0) : 0;
    stmt_finish(&s);
    return 0;
}

static int one_frame(struct ingest *in, const struct wire_frame *f, struct err *e)
{
    return f->kind == WIRE_POINTS ? wire_each_series(f, one_series, in, e) : one_record(in, f, e);
}

static int all_frames(struct ingest *in, const unsigned char *body, size_t length, struct err *e)
{
    size_t at = 0, used = 0;
    struct wire_frame f;
    int got;
    while ((got = wire_next(body + at, length - at, &used, &f, e)) == 1) {
        at += used;
        if (f.number <= in->out->acked_frame) continue; /* sent twice */
        const int rc = one_frame(in, &f, e);
        if (rc != 0) return rc;
        in->out->acked_frame = f.number;
    }
    if (got != 0) return (int)e->code;
    return at == length ? 0 : err_set(e, ERR_INVALID, "the last frame is cut");
}

int metrics_ingest(sqlite3 *db, int64_t experiment, int64_t attempt, uint64_t until_step,
                   const unsigned char *body, size_t length, const char *records_path,
                   struct metrics_result *out, struct err *e)
{
    struct ingest in = { .db = db,
                         .experiment = experiment,
                         .until_step = until_step,
                         .records_path = records_path,
                         .records_fd = -1,
                         .out = out };
    out->records = cJSON_CreateArray();
    if (out->records == NULL) return err_set(e, ERR_NOMEM, "frames");
    int rc = metrics_acked(db, experiment, attempt, &out->acked_frame, e);
    if (rc == 0) rc = all_frames(&in, body, length, e);
    if (rc == 0) rc = write_gathered(&in, e);
    gather_deinit(&in.gathered);
    if (rc == 0)
        rc = stmt_once(db,
                       "INSERT INTO ack(experiment,attempt,frame) VALUES(?1,?2,?3)"
                       " ON CONFLICT DO UPDATE SET frame=?3", e, "iii", experiment, attempt,
                       (int64_t)out->acked_frame);
    if (in.records_fd >= 0) {
        if (rc == 0 && fdatasync(in.records_fd) != 0)
            rc = err_errno(e, errno, "%.150s", records_path);
        (void)close(in.records_fd);
    }
    return rc;
}

/* ---- cutting --------------------------------------------------------------------------------- */
/* Points of one chunk up to `step` stay; also rebuilds the summary on the way. */
static int cut_chunk(sqlite3 *db, int64_t id, const unsigned char *points, size_t n, uint64_t step,
                     struct series_row *row, struct err *e)
{
    size_t keep = 0;
    while (keep < n) {
        const struct point p = point_unpack(points + keep * POINT_BYTES);
        if (p.step > step) break;
        add_to_summary(row, &p);
        keep++;
    }
    if (keep == n) return 0;
    if (keep == 0) return stmt_once(db, "DELETE FROM chunk WHERE id=?1", e, "i", id);
    const struct point last = point_unpack(points + (keep - 1) * POINT_BYTES);
    return stmt_once(db, "UPDATE chunk SET step1=?2,points=substr(points,1,?3) WHERE id=?1", e,
                     "iii", id, (int64_t)last.step, (int64_t)(keep * POINT_BYTES));
}

static int cut_series(sqlite3 *db, int64_t series, uint64_t step, struct err *e)
{
    struct series_row row = { .id = series, .last = NAN, .min = NAN, .max = NAN };
    struct stmt s;
    int rc = stmt_prepare(&s, db, "SELECT id,points FROM chunk WHERE series=?1 ORDER BY seq", e);
    if (rc != 0) return rc;
    stmt_bind(&s, "i", series);
    int got;
    while (rc == 0 && (got = stmt_step(&s, e)) == 1) {
        size_t bytes;
        const unsigned char *blob = stmt_blob(&s, 1, &bytes);
        rc = cut_chunk(db, stmt_int(&s, 0), blob, bytes / POINT_BYTES, step, &row, e);
    }
    stmt_finish(&s);
    if (rc == 0) rc = rollup_cut(db, series, step, e);
    if (rc == 0 && row.n == 0)
        return stmt_once(db, "DELETE FROM series WHERE id=?1", e, "i", series);
    return rc != 0 ? rc : save_series(db, &row, e);
}

#define SERIES_LIST_MAX SERIES_PER_EXPERIMENT_MAX
int metrics_cut(sqlite3 *db, int64_t experiment, uint64_t step, struct err *e)
{
    int64_t *ids = mem_calloc(SERIES_LIST_MAX, sizeof ids[0]);
    if (ids == NULL) return err_set(e, ERR_NOMEM, "series");
    size_t n = 0;
    struct stmt s;
    int rc = stmt_prepare(&s, db, "SELECT id FROM series WHERE experiment=?1 AND last_step>?2", e);
    if (rc == 0) {
        stmt_bind(&s, "ii", experiment, (int64_t)step);
        while (n < SERIES_LIST_MAX && stmt_step(&s, e) == 1) ids[n++] = stmt_int(&s, 0);
        stmt_finish(&s);
    }
    for (size_t i = 0; rc == 0 && i < n; i++) rc = cut_series(db, ids[i], step, e);
    mem_free(ids);
    if (rc != 0) return rc;
    return stmt_once(db, "DELETE FROM record WHERE experiment=?1 AND step>?2", e, "ii", experiment,
                     (int64_t)step);
}

/* 500 chunks are a quarter of a million points: a transaction of some 10 ms. The series go last, by
 * which chunks are found. */
#define DELETE_ROWS "500"
int metrics_delete(sqlite3 *db, int64_t experiment, bool *more, struct err *e)
{
    static const char *const slices[] = {
        "DELETE FROM rollup WHERE id IN(SELECT r.id FROM series s JOIN rollup r ON r.series=s.id"
        " WHERE s.experiment=?1 LIMIT " DELETE_ROWS ")",
        "DELETE FROM chunk WHERE id IN(SELECT c.id FROM series s JOIN chunk c ON c.series=s.id"
        " WHERE s.experiment=?1 LIMIT " DELETE_ROWS ")",
        "DELETE FROM record WHERE id IN(SELECT id FROM record WHERE experiment=?1"
        " LIMIT " DELETE_ROWS ")",
        "DELETE FROM series WHERE experiment=?1",
        "DELETE FROM ack WHERE experiment=?1",
    };
    *more = false;
    for (size_t i = 0; i < sizeof slices / sizeof slices[0]; i++) {
        if (stmt_once(db, slices[i], e, "i", experiment) != 0) return (int)e->code;
        *more = sqlite3_changes(db) > 0;
        if (*more) return 0;
    }
    return 0;
}
