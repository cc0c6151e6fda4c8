/* metrics: reads of series, records and attempts; the work is queue_read's. */
#include "server/api/api_internal.h"

#include <stdlib.h>
#include <string.h>

#define CELLS_MAX 4096 /* of a window, in each direction */

static void answered(void *ctx, const void *data, size_t length, const char *type,
                     const struct err *e)
{
    struct api_call *c = ctx;
    if (data == NULL) respond_problem(c->r, e, NULL);
    else respond_text(c->r, 200, type, data, length);
    api_call_end(c);
}

static void read_and_answer(struct request *r, struct queue_read *read)
{
    const struct experiment *x = api_experiment(r);
    struct api_call *c = x != NULL ? api_call_new(r, x->id) : NULL;
    if (c == NULL) return;
    read->experiment = x->id;
    queue_read(api_of(r)->queue, read, answered, c);
    request_suspend(r);
}

void api_attempts(struct request *r)
{
    read_and_answer(r, &(struct queue_read){ .kind = QUEUE_READ_ATTEMPTS });
}

void api_series(struct request *r)
{
    enum points_format format;
    bool text;
    if (!api_query_known(r, "format") || !api_export_format(r, &text, &format)) return;
    if (text) api_export(r, format, "", 0, 0);
    else read_and_answer(r, &(struct queue_read){ .kind = QUEUE_READ_SERIES });
}

/* format=<other> turns *on; false after a problem was answered. */
static bool read_format(struct request *r, const char *other, bool *on)
{
    const char *format = request_query(r, "format");
    *on = format != NULL && strcmp(format, other) == 0;
    if (format == NULL || *on || strcmp(format, "json") == 0) return true;
    api_problem(r, ERR_INVALID, "format must be json or %s, got '%.40s'", other, format);
    return false;
}

/* agg=raw: points in pages of limit, from cursor on. */
static bool read_page(struct request *r, struct queue_read *read)
{
    const char *agg = request_query(r, "agg");
    read->raw = agg != NULL && strcmp(agg, "raw") == 0;
    read->cursor = request_query(r, "cursor");
    if (agg != NULL && !read->raw && strcmp(agg, "minmax") != 0) {
        api_problem(r, ERR_INVALID, "agg must be minmax or raw, got '%.40s'", agg);
        return false;
    }
    if (!read->raw && (read->cursor != NULL || request_query(r, "limit") != NULL)) {
        api_problem(r, ERR_INVALID, "limit and cursor go with agg=raw");
        return false;
    }
    return request_query_int(r, read->raw ? "limit" : "max_points", read->raw ? 10000 : 1000, 1,
                             10000, &read->max_points);
}

void api_points(struct request *r)
{
    struct queue_read read = { .kind = QUEUE_READ_POINTS, .name = r->params[1] };
    enum points_format format;
    int64_t from, to;
    bool text;
    if (!api_query_known(r, "from|to|max_points|format|agg|limit|cursor") ||
        !request_query_int(r, "from", 0, 0, INT64_MAX, &from) ||
        !request_query_int(r, "to", 0, 0, INT64_MAX, &to) || !read_page(r, &read) ||
        !api_export_format(r, &text, &format))
        return;
    read.from = (uint64_t)from;
    read.to = (uint64_t)to;
    if (text) api_export(r, format, r->params[1], read.from, read.to);
    else read_and_answer(r, &read);
}

void api_monitors(struct request *r)
{
    read_and_answer(r, &(struct queue_read){ .kind = QUEUE_READ_MONITORS });
}

void api_profile(struct request *r)
{
    read_and_answer(r, &(struct queue_read){ .kind = QUEUE_READ_PROFILE });
}

void api_records(struct request *r)
{
    read_and_answer(r, &(struct queue_read){ .kind = QUEUE_READ_RECORDS, .layer = r->params[1],
                                             .record_kind = r->params[2] });
}

/* One of its parameters asks for a window, cells as many as a large screen has by default. */
static bool read_window(struct request *r, struct raster_window *w)
{
    static const char *const names[] = { "t0", "t1", "n0", "n1", "max_w", "max_h" };
    int64_t *const fields[] = { &w->t0, &w->t1, &w->n0, &w->n1, &w->max_w, &w->max_h };
    static const int64_t defaults[] = { 0, 0, 0, 0, 1200, 600 };
    bool any = false;
    for (size_t i = 0; i < 6; i++) any |= request_query(r, names[i]) != NULL;
    for (size_t i = 0; any && i < 6; i++)
        if (!request_query_int(r, names[i], defaults[i], i < 4 ? 0 : 1,
                               i < 4 ? INT64_MAX : CELLS_MAX, fields[i]))
            return false;
    return true;
}

void api_record(struct request *r)
{
    struct queue_read read = { .kind = QUEUE_READ_RECORD, .layer = r->params[1],
                               .record_kind = r->params[2], .index = -1 };
    const char *which = r->params[3];
    if (strcmp(which, "last") != 0) {
        char *end;
        read.index = strtoll(which, &end, 10);
        if (*end != '\0' || which[0] < '0' || which[0] > '9') {
            api_problem(r, ERR_INVALID, "a record is named by its number or 'last', got '%.40s'",
                        which);
            return;
        }
    }
    if (!api_query_known(r, "format|t0|t1|n0|n1|max_w|max_h") ||
        !read_format(r, "bin", &read.binary) || !read_window(r, &read.window))
        return;
    read_and_answer(r, &read);
}
