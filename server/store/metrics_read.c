/* metrics_read: reading of metrics.db for the API. See metrics_store.h. Pool threads, each with a
 * read-only connection of its own. */
#include "server/store/metrics_store.h"

#include "common/mem.h"
#include "server/store/points_blob.h"
#include "server/store/stmt.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>
#include <zstd.h>

#define RECORD_BYTES_MAX ((size_t)64 << 20)

static cJSON *number(double v)
{
    if (isfinite(v)) return cJSON_CreateNumber(v);
    return cJSON_CreateString(isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity");
}

static int list_body(cJSON **list, cJSON **body, struct err *e)
{
    *body = cJSON_CreateObject();
    *list = *body != NULL ? cJSON_AddArrayToObject(*body, "items") : NULL;
    if (*list != NULL) return 0;
    cJSON_Delete(*body);
    return err_set(e, ERR_NOMEM, "answer");
}

static cJSON *next_item(cJSON *list)
{
    cJSON *o = cJSON_CreateObject();
    if (o != NULL && cJSON_AddItemToArray(list, o)) return o;
    cJSON_Delete(o);
    return NULL;
}

/* ---- series ---------------------------------------------------------------------------------- */
static bool add_series(cJSON *o, const struct stmt *s)
{
    const char *name = stmt_text(s, 0);
    const struct series_info *info = series_find(name);
    const bool higher = info != NULL && info->higher_is_better;
    return cJSON_AddStringToObject(o, "name", name) != NULL &&
           cJSON_AddStringToObject(o, "unit", info != NULL ? info->unit : "1") != NULL &&
           json_add_int(o, "n", stmt_int(s, 1)) && json_add_number(o, "last", stmt_double(s, 2)) &&
           json_add_int(o, "last_step", stmt_int(s, 3)) &&
           json_add_number(o, "min", stmt_double(s, 4)) &&
           json_add_int(o, "min_step", stmt_int(s, 5)) &&
           json_add_number(o, "max", stmt_double(s, 6)) &&
           json_add_int(o, "max_step", stmt_int(s, 7)) &&
           json_add_number(o, "best", stmt_double(s, higher ? 6 : 4)) &&
           json_add_int(o, "best_step", stmt_int(s, higher ? 7 : 5));
}

int metrics_read_series(sqlite3 *db, int64_t experiment, cJSON **out, struct err *e)
{
    cJSON *list, *body;
    struct stmt s = { 0 };
    int rc = list_body(&list, &body, e);
    if (rc == 0)
        rc = stmt_prepare(&s, db,
                          "SELECT name,n,last,last_step,min,min_step,max,max_step FROM series"
                          " WHERE experiment=?1 ORDER BY name", e);
    if (rc != 0) return rc;
    stmt_bind(&s, "i", experiment);
    while (rc == 0 && stmt_step(&s, e) == 1) {
        cJSON *o = next_item(list);
        if (o == NULL || !add_series(o, &s)) rc = err_set(e, ERR_NOMEM, "series");
    }
    stmt_finish(&s);
    if (rc == 0) *out = body;
    else cJSON_Delete(body);
    return rc;
}

/* ---- points ---------------------------------------------------------------------------------- */
/* Calls fn for every point of [from, to]; *total counts them. */
typedef bool (*point_fn)(void *ctx, const struct point *p);
static int each_point(sqlite3 *db, int64_t experiment, const char *name, uint64_t from, uint64_t to,
                      point_fn fn, void *ctx, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(&s, db,
                          "SELECT c.points FROM chunk c JOIN series s ON s.id=c.series"
                          " WHERE s.experiment=?1 AND s.name=?2 AND c.step1>=?3 AND c.step0<=?4"
                          " ORDER BY c.seq", e);
    if (rc != 0) return rc;
    const uint64_t end = to == 0 ? INT64_MAX : to;
    stmt_bind(&s, "itii", experiment, name, (int64_t)from, (int64_t)end);
    int got = 0;
    while (rc == 0 && (got = stmt_step(&s, e)) == 1) {
        size_t bytes;
        const unsigned char *blob = stmt_blob(&s, 0, &bytes);
        for (size_t i = 0; rc == 0 && i < bytes / POINT_BYTES; i++) {
            const struct point p = point_unpack(blob + i * POINT_BYTES);
            if (p.step < from || p.step > end) continue;
            if (!fn(ctx, &p)) rc = err_set(e, ERR_NOMEM, "points");
        }
    }
    stmt_finish(&s);
    return rc != 0 ? rc : got < 0 ? (int)e->code : 0;
}

static bool count_point(void *ctx, const struct point *p)
{
    (void)p;
    ++*(size_t *)ctx;
    return true;
}

static bool list_point(void *ctx, const struct point *p)
{
    cJSON *three = cJSON_CreateArray();
    return three != NULL && cJSON_AddItemToArray(ctx, three) &&
           cJSON_AddItemToArray(three, cJSON_CreateNumber((double)p->step)) &&
           cJSON_AddItemToArray(three, cJSON_CreateNumber((double)p->time_ms)) &&
           cJSON_AddItemToArray(three, number(p->value));
}

/* Buckets of equal numbers of points: no peak is lost, unlike with samples. */
struct buckets {
    cJSON *list;
    size_t per, n;
    struct point first, last;
    double min, max;
};

static bool close_bucket(struct buckets *b)
{
    if (b->n == 0) return true;
    cJSON *row = cJSON_CreateArray();
    const double ends[2] = { (double)b->first.step, (double)b->last.step };
    bool ok = row != NULL && cJSON_AddItemToArray(b->list, row);
    for (int i = 0; ok && i < 2; i++) ok = cJSON_AddItemToArray(row, cJSON_CreateNumber(ends[i]));
    b->n = 0;
    return ok && cJSON_AddItemToArray(row, number(b->min)) &&
           cJSON_AddItemToArray(row, number(b->max)) &&
           cJSON_AddItemToArray(row, number(b->last.value)) &&
           cJSON_AddItemToArray(row, cJSON_CreateNumber((double)b->last.time_ms));
}

static bool bucket_point(void *ctx, const struct point *p)
{
    struct buckets *b = ctx;
    if (b->n == 0) {
        b->first = *p;
        b->min = b->max = p->value;
    }
    b->last = *p;
    if (!(p->value >= b->min)) b->min = p->value;
    if (!(p->value <= b->max)) b->max = p->value;
    return ++b->n < b->per || close_bucket(b);
}

static int require_series(sqlite3 *db, int64_t experiment, const char *name, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(&s, db, "SELECT 1 FROM series WHERE experiment=?1 AND name=?2", e);
    if (rc != 0) return rc;
    stmt_bind(&s, "it", experiment, name);
    const bool there = stmt_step(&s, e) == 1;
    stmt_finish(&s);
    return there ? 0 : err_set(e, ERR_NOT_FOUND, "experiment %" PRId64 " has no series '%.128s'",
                               experiment, name);
}

int metrics_read_points(sqlite3 *db, int64_t experiment, const char *name, uint64_t from,
                        uint64_t to, int64_t max_points, cJSON **out, struct err *e)
{
    size_t total = 0;
    int rc = require_series(db, experiment, name, e);
    if (rc == 0) rc = each_point(db, experiment, name, from, to, count_point, &total, e);
    if (rc != 0) return rc;
    const struct series_info *info = series_find(name);
    const bool all = total <= (size_t)max_points;
    cJSON *body = cJSON_CreateObject();
    bool ok = body != NULL && cJSON_AddStringToObject(body, "name", name) != NULL &&
              cJSON_AddStringToObject(body, "unit", info != NULL ? info->unit : "1") != NULL &&
              cJSON_AddNullToObject(body, all ? "buckets" : "points") != NULL;
    cJSON *list = ok ? cJSON_AddArrayToObject(body, all ? "points" : "buckets") : NULL;
    if (list == NULL) {
        rc = err_set(e, ERR_NOMEM, "points");
    } else if (all) {
        rc = each_point(db, experiment, name, from, to, list_point, list, e);
    } else {
        struct buckets b = { .list = list,
                             .per = (total + (size_t)max_points - 1) / (size_t)max_points };
        rc = each_point(db, experiment, name, from, to, bucket_point, &b, e);
        if (rc == 0 && !close_bucket(&b)) rc = err_set(e, ERR_NOMEM, "buckets");
    }
    if (rc == 0) *out = body;
    else cJSON_Delete(body);
    return rc;
}

struct csv {
    char *text;
    size_t length, capacity;
};

static bool csv_point(void *ctx, const struct point *p)
{
    struct csv *c = ctx;
    if (c->capacity - c->length < 128) {
        const size_t capacity = 2 * c->capacity + 4096;
        char *grown = mem_realloc_array(c->text, capacity, 1);
        if (grown == NULL) return false;
        c->text = grown;
        c->capacity = capacity;
    }
    c->length += (size_t)snprintf(c->text + c->length, 128, "%" PRIu64 ",%" PRId64 ",%.17g\n",
                                  p->step, p->time_ms, p->value);
    return true;
}

int metrics_read_csv(sqlite3 *db, int64_t experiment, const char *name, uint64_t from, uint64_t to,
                     char **out, size_t *length, struct err *e)
{
    static const char head[] = "step,time_ms,value\n";
    struct csv c = { mem_strdup(head), sizeof head - 1, sizeof head };
    int rc = c.text == NULL ? err_set(e, ERR_NOMEM, "CSV")
                            : require_series(db, experiment, name, e);
    if (rc == 0) rc = each_point(db, experiment, name, from, to, csv_point, &c, e);
    if (rc != 0) {
        mem_free(c.text);
        return rc;
    }
    *out = c.text;
    *length = c.length;
    return 0;
}

/* ---- records --------------------------------------------------------------------------------- */
int metrics_read_monitors(sqlite3 *db, int64_t experiment, cJSON **out, struct err *e)
{
    cJSON *list, *body;
    struct stmt s = { 0 };
    int rc = list_body(&list, &body, e);
    if (rc == 0)
        rc = stmt_prepare(
            &s, db,
            "SELECT layer,kind,count(*),max(step),max(epoch) FROM record WHERE experiment=?1"
            " GROUP BY layer,kind ORDER BY length(layer),layer,kind",
            e);
    if (rc != 0) return rc;
    stmt_bind(&s, "i", experiment);
    while (rc == 0 && stmt_step(&s, e) == 1) {
        cJSON *o = next_item(list);
        if (o == NULL || cJSON_AddStringToObject(o, "layer", stmt_text(&s, 0)) == NULL ||
            cJSON_AddStringToObject(o, "kind", stmt_text(&s, 1)) == NULL ||
            !json_add_int(o, "records", stmt_int(&s, 2)) ||
            !json_add_int(o, "last_step", stmt_int(&s, 3)) ||
            !json_add_int(o, "last_epoch", stmt_int(&s, 4)))
            rc = err_set(e, ERR_NOMEM, "monitors");
    }
    stmt_finish(&s);
    if (rc == 0) *out = body;
    else cJSON_Delete(body);
    return rc;
}

int metrics_read_records(sqlite3 *db, int64_t experiment, const char *layer, const char *kind,
                         cJSON **out, struct err *e)
{
    cJSON *list, *body;
    struct stmt s = { 0 };
    int rc = list_body(&list, &body, e);
    if (rc == 0)
        rc = stmt_prepare(
            &s, db,
            "SELECT idx,step,epoch,time_ms,dims,bytes FROM record WHERE experiment=?1 AND"
            " layer=?2 AND kind=?3 ORDER BY idx",
            e);
    if (rc != 0) return rc;
    stmt_bind(&s, "itt", experiment, layer, kind);
    while (rc == 0 && stmt_step(&s, e) == 1) {
        cJSON *o = next_item(list);
        if (o == NULL || !json_add_int(o, "index", stmt_int(&s, 0)) ||
            !json_add_int(o, "step", stmt_int(&s, 1)) ||
            !json_add_int(o, "epoch", stmt_int(&s, 2)) ||
            !json_add_time(o, "time", stmt_int(&s, 3)) ||
            cJSON_AddRawToObject(o, "dims", stmt_text(&s, 4)) == NULL ||
            !json_add_int(o, "bytes", stmt_int(&s, 5)))
            rc = err_set(e, ERR_NOMEM, "records");
    }
    stmt_finish(&s);
    if (rc == 0) *out = body;
    else cJSON_Delete(body);
    return rc;
}

int metrics_decompress(const void *data, size_t length, unsigned char **out, size_t *out_length,
                       struct err *e)
{
    const unsigned long long size = ZSTD_getFrameContentSize(data, length);
    if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN ||
        size > RECORD_BYTES_MAX)
        return err_set(e, ERR_IO, "record is damaged");
    unsigned char *plain = mem_alloc((size_t)size);
    if (plain == NULL) return err_set(e, ERR_NOMEM, "record");
    const size_t n = ZSTD_decompress(plain, (size_t)size, data, length);
    if (ZSTD_isError(n)) {
        mem_free(plain);
        return err_set(e, ERR_IO, "record is damaged: %s", ZSTD_getErrorName(n));
    }
    *out = plain;
    *out_length = n;
    return 0;
}

static int unpack(struct metrics_record *r, struct err *e)
{
    unsigned char *plain;
    const int rc = metrics_decompress(r->data, r->length, &plain, &r->length, e);
    if (rc != 0) return rc;
    mem_free(r->data);
    r->data = plain;
    return 0;
}

static int load_bytes(const char *path, int64_t place, struct metrics_record *r, struct err *e)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_errno(e, errno, "%.150s", path);
    r->data = mem_alloc(r->length);
    const ssize_t n = r->data != NULL ? pread(fd, r->data, r->length, place) : -1;
    (void)close(fd);
    if (n == (ssize_t)r->length) return 0;
    return err_set(e, ERR_IO, "%.150s: record at byte %" PRId64 " is cut", path, place);
}

int metrics_read_record(sqlite3 *db, int64_t experiment, const char *layer, const char *kind,
                        int64_t index, const char *records_path, struct metrics_record *out,
                        struct err *e)
{
    struct metrics_record r = { 0 };
    struct stmt s;
    int rc = stmt_prepare(
        &s, db,
        "SELECT idx,step,epoch,time_ms,dims,encoding,place,bytes FROM record WHERE"
        " experiment=?1 AND layer=?2 AND kind=?3 AND (idx=?4 OR ?4<0)"
        " ORDER BY idx DESC LIMIT 1",
        e);
    if (rc != 0) return rc;
    stmt_bind(&s, "itti", experiment, layer, kind, index);
    int64_t encoding = 0, place = 0;
    if (stmt_step(&s, e) == 1) {
        r.index = stmt_int(&s, 0);
        r.step = stmt_int(&s, 1);
        r.epoch = stmt_int(&s, 2);
        r.time_ms = stmt_int(&s, 3);
        (void)snprintf(r.dims, sizeof r.dims, "%s", stmt_text(&s, 4));
        encoding = stmt_int(&s, 5);
        place = stmt_int(&s, 6);
        r.length = (size_t)stmt_int(&s, 7);
    } else {
        rc = err_set(e, ERR_NOT_FOUND, "there is no such record");
    }
    stmt_finish(&s);
    if (rc == 0) rc = load_bytes(records_path, place, &r, e);
    if (rc == 0 && encoding == RECORD_ZSTD) rc = unpack(&r, e);
    if (rc == 0) *out = r;
    else mem_free(r.data);
    return rc;
}
