/* metrics_points: the points of a series for the API: all of them, or buckets. See metrics_store.h.
 * Pool threads. */
#include "server/store/metrics_store.h"

#include "server/store/points_chart.h"
#include "server/store/points_walk.h"
#include "server/store/stmt.h"

#include <stdio.h>

static bool add_whole(cJSON *row, double v)
{
    return cJSON_AddItemToArray(row, cJSON_CreateNumber(v));
}

static cJSON *next_row(cJSON *list)
{
    cJSON *row = cJSON_CreateArray();
    if (row != NULL && cJSON_AddItemToArray(list, row)) return row;
    cJSON_Delete(row);
    return NULL;
}

static bool list_point(cJSON *list, const struct point *p)
{
    cJSON *row = next_row(list);
    return row != NULL && add_whole(row, (double)p->step) && add_whole(row, (double)p->time_ms) &&
           cJSON_AddItemToArray(row, json_number(p->value));
}

static bool list_bucket(void *ctx, const struct bucket *b)
{
    cJSON *row = next_row(ctx);
    return row != NULL && add_whole(row, (double)b->step0) && add_whole(row, (double)b->step1) &&
           cJSON_AddItemToArray(row, json_number(b->min)) &&
           cJSON_AddItemToArray(row, json_number(b->max)) &&
           cJSON_AddItemToArray(row, json_number(b->last)) && add_whole(row, (double)b->time_ms) &&
           cJSON_AddItemToArray(row, json_number(b->mean));
}

static int list_points(sqlite3 *db, const struct points_chart *c, cJSON *list, struct err *e)
{
    struct points_walk w;
    struct point p;
    points_walk_begin(&w, c->series, c->from, c->to);
    int got;
    while ((got = points_walk_next(&w, db, &p, e)) == 1)
        if (!list_point(list, &p)) return err_set(e, ERR_NOMEM, "points");
    return got < 0 ? (int)e->code : 0;
}

/* {"name", "unit", KIND: [], the other: null}; the list, NULL = no memory. */
static cJSON *body_with(cJSON *body, const char *name, bool all)
{
    const struct series_info *info = series_find(name);
    const bool ok = body != NULL && cJSON_AddStringToObject(body, "name", name) != NULL &&
                    cJSON_AddStringToObject(body, "unit", info != NULL ? info->unit : "1") !=
                        NULL &&
                    cJSON_AddNullToObject(body, all ? "buckets" : "points") != NULL;
    return ok ? cJSON_AddArrayToObject(body, all ? "points" : "buckets") : NULL;
}

static int fill_body(sqlite3 *db, const struct points_chart *c, const struct metrics_range *range,
                     cJSON *body, struct err *e)
{
    const bool all = c->total <= (size_t)range->max_points;
    cJSON *list = body_with(body, range->name, all);
    if (list == NULL) return err_set(e, ERR_NOMEM, "points");
    return all ? list_points(db, c, list, e)
               : points_chart_buckets(c, db, (size_t)range->max_points, list_bucket, list, e);
}

static int read_body(sqlite3 *db, int64_t experiment, const struct metrics_range *range,
                     cJSON *body, struct err *e)
{
    int64_t series = 0;
    struct points_chart c = { 0 };
    int rc = points_series(db, experiment, range->name, &series, e);
    if (rc == 0) rc = points_chart_open(&c, db, series, range->from, range->to, e);
    if (rc == 0) rc = fill_body(db, &c, range, body, e);
    points_chart_deinit(&c);
    return rc;
}

int metrics_read_points(sqlite3 *db, int64_t experiment, const struct metrics_range *range,
                        cJSON **out, struct err *e)
{
    struct err ignored = { 0 };
    cJSON *body = cJSON_CreateObject();
    int rc = stmt_exec(db, "BEGIN", e); /* chunks and their buckets of one moment */
    if (rc == 0) rc = read_body(db, experiment, range, body, e);
    (void)stmt_exec(db, "COMMIT", &ignored);
    if (rc == 0) *out = body;
    else cJSON_Delete(body);
    return rc;
}

/* ---- one ------------------------------------------------------------------------------------- */
int metrics_point_from(sqlite3 *db, int64_t experiment, const char *name, uint64_t step,
                       struct point *out, bool *found, struct err *e)
{
    struct points_walk w;
    int64_t series = 0;
    *found = false;
    const int rc = points_series(db, experiment, name, &series, e);
    if (rc == ERR_NOT_FOUND) err_clear(e);
    if (rc != 0) return rc == ERR_NOT_FOUND ? 0 : rc;
    points_walk_begin(&w, series, step, 0);
    const int got = points_walk_next(&w, db, out, e);
    *found = got == 1;
    return got < 0 ? (int)e->code : 0;
}

/* ---- pages ----------------------------------------------------------------------------------- */
/* A cursor is the place of the next point: "CHUNK.INDEX". */
static int walk_from(struct points_walk *w, int64_t series, const struct metrics_range *range,
                     const char *cursor, struct err *e)
{
    long long seq = 0;
    unsigned at = 0;
    int used = 0;
    points_walk_begin(w, series, range->from, range->to);
    if (cursor[0] == '\0') return 0;
    if (sscanf(cursor, "%18lld.%4u%n", &seq, &at, &used) != 2 || cursor[used] != '\0' || seq < 0 ||
        at > CHUNK_POINTS_MAX)
        return err_set(e, ERR_INVALID, "cursor '%.40s' is none of an answer before", cursor);
    w->seq = seq;
    w->at = at;
    return 0;
}

static int fill_page(sqlite3 *db, struct points_walk *w, int64_t max, cJSON *body, cJSON *list,
                     struct err *e)
{
    struct point p;
    char cursor[40];
    int got = 1;
    for (int64_t n = 0; n < max && (got = points_walk_next(w, db, &p, e)) == 1; n++)
        if (!list_point(list, &p)) return err_set(e, ERR_NOMEM, "points");
    if (got < 0) return (int)e->code;
    (void)snprintf(cursor, sizeof cursor, "%lld.%zu", (long long)w->seq, w->at);
    const bool ok = got == 0 ? cJSON_AddNullToObject(body, "next_cursor") != NULL
                             : cJSON_AddStringToObject(body, "next_cursor", cursor) != NULL;
    return ok ? 0 : err_set(e, ERR_NOMEM, "points");
}

int metrics_read_page(sqlite3 *db, int64_t experiment, const struct metrics_range *range,
                      const char *cursor, cJSON **out, struct err *e)
{
    int64_t series = 0;
    struct points_walk w;
    cJSON *body = cJSON_CreateObject();
    cJSON *list = body_with(body, range->name, true);
    int rc = list == NULL ? err_set(e, ERR_NOMEM, "points")
                          : points_series(db, experiment, range->name, &series, e);
    if (rc == 0) rc = walk_from(&w, series, range, cursor, e);
    if (rc == 0) rc = fill_page(db, &w, range->max_points, body, list, e);
    if (rc == 0) *out = body;
    else cJSON_Delete(body);
    return rc;
}
