/* queue_read: reads from disk for the API, in the thread pool, with read-only connections of their
 * own. Answers on the loop. See queue.h. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/queue/folder_size.h"
#include "server/store/metrics_store.h"
#include "server/store/stmt.h"

#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define SIZE_FRESH_MS 10000

struct read_job {
    uv_work_t work;
    struct queue *q;
    enum queue_read_kind kind;
    int64_t experiment, index, max_points;
    uint64_t from, to;
    bool raw, binary;
    struct raster_window window;
    struct raster_cut cut; /* of window, when there is one */
    int64_t files_bytes; /* QUEUE_READ_DETAIL: -1 = to be added up */
    int64_t rev;
    bool fresh; /* it need not be */
    char *name, *cursor, *layer, *record_kind, *main_path, *metrics_path;
    char records[PATH_MAX], folder[PATH_MAX];
    void *data;
    size_t length;
    const char *content_type;
    struct err err;
    queue_read_fn done;
    void *ctx;
};

static int take_json(struct read_job *r, cJSON *json, struct err *e)
{
    r->data = json_print(json, &r->length);
    cJSON_Delete(json);
    return r->data != NULL ? 0 : err_set(e, ERR_NOMEM, "answer");
}

/* ---- spiked.db ------------------------------------------------------------------------------- */
static int read_detail(struct read_job *r, sqlite3 *db, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(&s, db,
                          "SELECT spec,result_hash,summary,notes,parameters FROM experiment"
                          " WHERE id=?1",
                          e);
    if (rc != 0) return rc;
    stmt_bind(&s, "i", r->experiment);
    cJSON *o = cJSON_CreateObject();
    bool ok = stmt_step(&s, e) == 1 && o != NULL &&
              cJSON_AddRawToObject(o, "spec", stmt_text(&s, 0)) != NULL &&
              cJSON_AddStringToObject(o, "result_hash", stmt_text(&s, 1)) != NULL &&
              cJSON_AddStringToObject(o, "notes", stmt_text(&s, 3)) != NULL &&
              json_add_int(o, "files_bytes", r->files_bytes) &&
              (stmt_is_null(&s, 4)
                   ? cJSON_AddNullToObject(o, "parameters") != NULL
                   : cJSON_AddRawToObject(o, "parameters", stmt_text(&s, 4)) != NULL);
    const char *summary = ok ? stmt_text(&s, 2) : "";
    cJSON *parsed = NULL;
    if (ok && summary[0] != '\0') (void)json_parse(summary, strlen(summary), &parsed, e);
    cJSON *warnings = parsed != NULL ? cJSON_DetachItemFromObjectCaseSensitive(parsed, "warnings")
                                     : NULL;
    if (warnings == NULL) warnings = cJSON_CreateArray();
    ok = ok && cJSON_AddItemToObject(o, "warnings", warnings) &&
         (parsed != NULL ? cJSON_AddItemToObject(o, "summary", parsed)
                         : cJSON_AddNullToObject(o, "summary") != NULL);
    stmt_finish(&s);
    if (ok) return take_json(r, o, e);
    cJSON_Delete(o);
    return err_set(e, ERR_NOT_FOUND, "there is no experiment %lld", (long long)r->experiment);
}

static bool add_optional_int(cJSON *o, const char *name, const struct stmt *s, int column)
{
    return stmt_is_null(s, column) ? cJSON_AddNullToObject(o, name) != NULL
                                   : json_add_int(o, name, stmt_int(s, column));
}

static bool add_attempt(cJSON *list, const struct stmt *s)
{
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    return json_add_int(o, "attempt", stmt_int(s, 0)) &&
           cJSON_AddStringToObject(o, "host", stmt_text(s, 1)) != NULL &&
           json_add_int(o, "pid", stmt_int(s, 2)) &&
           json_add_time(o, "started_at", stmt_int(s, 3)) &&
           json_add_time(o, "ended_at", stmt_int(s, 4)) &&
           json_add_int(o, "resume_step", stmt_int(s, 5)) &&
           cJSON_AddStringToObject(o, "reason", stmt_text(s, 6)) != NULL &&
           add_optional_int(o, "exit_code", s, 7) && add_optional_int(o, "signal", s, 8) &&
           cJSON_AddStringToObject(o, "memory_limit", stmt_text(s, 9)) != NULL;
}

static int read_attempts(struct read_job *r, sqlite3 *db, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(
        &s, db,
        "SELECT n,host,pid,started_ms,ended_ms,resume_step,reason,exit_code,signal,memory_limit"
        " FROM attempt WHERE experiment=?1 ORDER BY n",
        e);
    if (rc != 0) return rc;
    stmt_bind(&s, "i", r->experiment);
    cJSON *o = cJSON_CreateObject(), *list = o != NULL ? cJSON_AddArrayToObject(o, "items") : NULL;
    bool ok = list != NULL;
    while (ok && stmt_step(&s, e) == 1) ok = add_attempt(list, &s);
    stmt_finish(&s);
    if (ok) return take_json(r, o, e);
    cJSON_Delete(o);
    return err_set(e, ERR_NOMEM, "attempts");
}

/* ---- metrics.db ------------------------------------------------------------------------------ */
static const char *dtype_of(const char *kind)
{
    if (strcmp(kind, record_kind_name(RECORD_RASTER)) == 0) return "bits";
    return strcmp(kind, record_kind_name(RECORD_PROFILE)) == 0 ? "json" : "f32";
}

/* The record becomes the cells of the window. */
static int cut_raster(struct read_job *r, struct metrics_record *rec, struct err *e)
{
    long long t = 0, n = 0;
    if (strcmp(r->record_kind, record_kind_name(RECORD_RASTER)) != 0 ||
        sscanf(rec->dims, "[%lld,%lld]", &t, &n) != 2)
        return err_set(e, ERR_INVALID, "only of spike rasters there are windows");
    const int rc = raster_window_cut(rec->data, rec->length, t, n, &r->window, &r->cut, e);
    if (rc != 0) return rc;
    mem_free(rec->data);
    rec->data = r->cut.counts;
    rec->length = (size_t)r->cut.width * (size_t)r->cut.height;
    (void)snprintf(rec->dims, sizeof rec->dims, "[%lld,%lld]", (long long)r->cut.width,
                   (long long)r->cut.height);
    return 0;
}

/* null for a whole record. */
static bool add_window(cJSON *o, const struct raster_cut *c)
{
    if (c->counts == NULL) return cJSON_AddNullToObject(o, "window") != NULL;
    cJSON *w = cJSON_AddObjectToObject(o, "window");
    return w != NULL && json_add_int(w, "t0", c->window.t0) &&
           json_add_int(w, "t1", c->window.t1) && json_add_int(w, "n0", c->window.n0) &&
           json_add_int(w, "n1", c->window.n1) && json_add_int(w, "t_cell", c->t_cell) &&
           json_add_int(w, "n_cell", c->n_cell);
}

static int record_json(struct read_job *r, const struct metrics_record *rec, struct err *e)
{
    const size_t size = sodium_base64_ENCODED_LEN(rec->length, sodium_base64_VARIANT_ORIGINAL);
    char *text = mem_alloc(size);
    cJSON *o = text != NULL ? cJSON_CreateObject() : NULL;
    if (o == NULL) {
        mem_free(text);
        return err_set(e, ERR_NOMEM, "record");
    }
    (void)sodium_bin2base64(text, size, rec->data, rec->length, sodium_base64_VARIANT_ORIGINAL);
    const bool ok = cJSON_AddStringToObject(o, "layer", r->layer) != NULL &&
                    cJSON_AddStringToObject(o, "kind", r->record_kind) != NULL &&
                    json_add_int(o, "index", rec->index) && json_add_int(o, "step", rec->step) &&
                    json_add_int(o, "epoch", rec->epoch) &&
                    json_add_time(o, "time", rec->time_ms) &&
                    cJSON_AddRawToObject(o, "dims", rec->dims) != NULL &&
                    cJSON_AddStringToObject(o, "encoding", "base64") != NULL &&
                    cJSON_AddStringToObject(
                        o, "dtype", r->cut.counts != NULL ? "u8" : dtype_of(r->record_kind)) !=
                        NULL &&
                    add_window(o, &r->cut) && cJSON_AddStringToObject(o, "data", text) != NULL;
    mem_free(text);
    if (ok) return take_json(r, o, e);
    cJSON_Delete(o);
    return err_set(e, ERR_NOMEM, "record");
}

static int read_record(struct read_job *r, sqlite3 *db, struct err *e)
{
    struct metrics_record rec;
    int rc = metrics_read_record(db, r->experiment, r->layer, r->record_kind, r->index, r->records,
                                 &rec, e);
    if (rc == 0 && r->window.max_w > 0) {
        rc = cut_raster(r, &rec, e);
        if (rc != 0) mem_free(rec.data);
    }
    if (rc != 0) return rc;
    if (!r->binary) {
        rc = record_json(r, &rec, e);
        mem_free(rec.data);
        return rc;
    }
    r->data = rec.data;
    r->length = rec.length;
    r->content_type = "application/octet-stream";
    return 0;
}

/* The worker wrote it as it is shown. */
static int read_profile(struct read_job *r, sqlite3 *db, struct err *e)
{
    struct metrics_record rec;
    int rc = metrics_read_record(db, r->experiment, "@net", record_kind_name(RECORD_PROFILE), -1,
                                 r->records, &rec, e);
    if (rc == ERR_NOT_FOUND)
        return err_set(e, ERR_NOT_FOUND, "experiment %lld has no profile yet",
                       (long long)r->experiment);
    if (rc != 0) return rc;
    r->data = rec.data;
    r->length = rec.length;
    return 0;
}

static int read_points(struct read_job *r, sqlite3 *db, struct err *e)
{
    cJSON *json;
    const struct metrics_range range = { r->name, r->from, r->to, r->max_points };
    const int rc = r->raw ? metrics_read_page(db, r->experiment, &range, r->cursor, &json, e)
                          : metrics_read_points(db, r->experiment, &range, &json, e);
    return rc != 0 ? rc : take_json(r, json, e);
}

static int read_metrics(struct read_job *r, sqlite3 *db, struct err *e)
{
    cJSON *json = NULL;
    int rc;
    switch (r->kind) {
    case QUEUE_READ_POINTS: return read_points(r, db, e);
    case QUEUE_READ_RECORD: return read_record(r, db, e);
    case QUEUE_READ_PROFILE: return read_profile(r, db, e);
    case QUEUE_READ_SERIES: rc = metrics_read_series(db, r->experiment, &json, e); break;
    case QUEUE_READ_MONITORS: rc = metrics_read_monitors(db, r->experiment, &json, e); break;
    default:
        rc = metrics_read_records(db, r->experiment, r->layer, r->record_kind, &json, e);
        break;
    }
    return rc != 0 ? rc : take_json(r, json, e);
}

/* ---- pool and loop --------------------------------------------------------------------------- */
static void read_in_pool(uv_work_t *w)
{
    struct read_job *r = container_of(w, struct read_job, work);
    const bool main = r->kind == QUEUE_READ_DETAIL || r->kind == QUEUE_READ_ATTEMPTS;
    sqlite3 *db = NULL;
    r->content_type = "application/json";
    if (store_reader(main ? r->main_path : r->metrics_path, &db, &r->err) != 0) return;
    if (r->kind == QUEUE_READ_DETAIL && r->files_bytes < 0) r->files_bytes = folder_size(r->folder);
    if (r->kind == QUEUE_READ_DETAIL) (void)read_detail(r, db, &r->err);
    else if (r->kind == QUEUE_READ_ATTEMPTS) (void)read_attempts(r, db, &r->err);
    else (void)read_metrics(r, db, &r->err);
    (void)sqlite3_close(db);
}

/* What is asked for again soon is not added up again. */
static void keep_size(const struct read_job *r)
{
    struct entry *e = r->kind == QUEUE_READ_DETAIL ? queue_entry(r->q, r->experiment) : NULL;
    if (e == NULL || r->files_bytes < 0 || r->fresh) return;
    e->files_bytes = r->files_bytes;
    e->files_ms = clock_mono_ms();
    e->files_rev = r->rev;
}

static void read_done(uv_work_t *w, int status)
{
    struct read_job *r = container_of(w, struct read_job, work);
    (void)status;
    r->q->reads--;
    keep_size(r);
    r->done(r->ctx, r->data, r->length, r->content_type, &r->err);
    mem_free(r->data);
    mem_free(r->name);
    mem_free(r->cursor);
    mem_free(r->layer);
    mem_free(r->record_kind);
    mem_free(r->main_path);
    mem_free(r->metrics_path);
    mem_free(r);
}

static char *copy(const char *s) { return mem_strdup(s != NULL ? s : ""); }

void queue_read(struct queue *q, const struct queue_read *from, queue_read_fn done, void *ctx)
{
    struct entry *e = queue_entry(q, from->experiment);
    struct err fault = { 0 };
    struct read_job *r = NULL;
    if (e == NULL || e->deleted)
        (void)err_set(&fault, ERR_NOT_FOUND, "there is no experiment %lld",
                      (long long)from->experiment);
    else if (q->reads >= READS_MAX)
        (void)err_set(&fault, ERR_UNAVAILABLE, "%d reads are under way", READS_MAX);
    else if ((r = mem_calloc(1, sizeof *r)) == NULL) (void)err_set(&fault, ERR_NOMEM, "read");
    if (r == NULL) {
        done(ctx, NULL, 0, NULL, &fault);
        return;
    }
    *r = (struct read_job){ .q = q,
                            .kind = from->kind,
                            .experiment = from->experiment,
                            .index = from->index,
                            .max_points = from->max_points,
                            .from = from->from,
                            .to = from->to,
                            .raw = from->raw,
                            .binary = from->binary,
                            .window = from->window,
                            .name = copy(from->name),
                            .cursor = copy(from->cursor),
                            .layer = copy(from->layer),
                            .record_kind = copy(from->record_kind),
                            .main_path = copy(store_path(q->main)),
                            .metrics_path = copy(store_path(q->metrics)),
                            .done = done,
                            .ctx = ctx };
    r->rev = e->x.rev;
    r->fresh = e->files_rev == r->rev && clock_mono_ms() - e->files_ms < SIZE_FRESH_MS;
    r->files_bytes = r->fresh ? e->files_bytes : -1;
    (void)entry_dir(q, e, 0, r->folder, sizeof r->folder);
    (void)snprintf(r->records, sizeof r->records, "%s/%s/records.bin", q->files_dir, e->x.uid);
    q->reads++;
    (void)uv_queue_work(q->loop, &r->work, read_in_pool, read_done);
}
