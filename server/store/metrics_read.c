/* metrics_read: reading of metrics.db for the API. See metrics_store.h. Pool threads, each with a
 * read-only connection of its own. */
#include "server/store/metrics_store.h"

#include "common/mem.h"
#include "server/store/stmt.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>
#include <zstd.h>

#define RECORD_BYTES_MAX ((size_t)64 << 20)

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
