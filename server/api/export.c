/* export: every point as CSV or NDJSON, made while it is sent. */
#include "server/api/api_internal.h"

#include "common/series.h"
#include "server/http/body_stream.h"
#include "server/store/points_export.h"
#include "server/store/store.h"

#include <stdio.h>
#include <string.h>

#define EXPORTS_MAX 8 /* sent at a time */

struct export
{
    struct api_work work;
    struct body_source body;
    struct api *api;
    struct points_export_of of;
    struct points_export *points;
    char name[SERIES_NAME_MAX + 1];
};

static int read_part(struct body_source *body, unsigned char *out, size_t room, size_t *got,
                     struct err *e)
{
    return points_export_read(container_of(body, struct export, body)->points, out, room, got, e);
}

static void close_in_pool(struct body_source *body)
{
    points_export_close(container_of(body, struct export, body)->points);
}

static void sent(struct body_source *body, const struct err *e)
{
    struct export *x = container_of(body, struct export, body);
    (void)e;
    x->api->exports--;
    mem_free(x);
}

static void open_in_pool(struct api_work *w)
{
    struct export *x = container_of(w, struct export, work);
    (void)points_export_open(&x->points, &x->of, &w->err);
}

static void answer(struct api_work *w)
{
    struct export *x = container_of(w, struct export, work);
    struct request *r = w->r;
    struct MHD_Response *m = NULL;
    x->body = (struct body_source){ read_part, close_in_pool, sent };
    if (w->err.code == ERR_OK && x->api->exports >= EXPORTS_MAX)
        (void)err_set(&w->err, ERR_UNAVAILABLE, "%d exports are under way", EXPORTS_MAX);
    if (w->err.code == ERR_OK) {
        m = body_stream_response(r, &x->body, MHD_SIZE_UNKNOWN);
        if (m == NULL) (void)err_set(&w->err, ERR_NOMEM, "answer");
    }
    if (m == NULL) {
        respond_problem(r, &w->err, NULL);
        points_export_close(x->points);
        mem_free(x);
        return;
    }
    x->api->exports++;
    (void)MHD_add_response_header(m, "Content-Type",
                                  x->of.format == POINTS_CSV ? "text/csv; charset=utf-8"
                                                             : "application/x-ndjson");
    (void)MHD_add_response_header(m, "Cache-Control", "no-store");
    respond_with(r, 200, m);
}

/* In a list of types, where weights do not matter: JSON is what everybody else gets. */
static bool accepts(const struct request *r, const char *type)
{
    const char *accept = request_header(r, "Accept");
    return accept != NULL && strstr(accept, type) != NULL;
}

bool api_export_format(struct request *r, bool *text, enum points_format *format)
{
    const char *word = request_query(r, "format");
    *text = true;
    *format = POINTS_CSV;
    if (word == NULL && accepts(r, "text/csv")) return true;
    if (word != NULL && strcmp(word, "csv") == 0) return true;
    *format = POINTS_NDJSON;
    if (word == NULL && accepts(r, "application/x-ndjson")) return true;
    if (word != NULL && strcmp(word, "ndjson") == 0) return true;
    *text = false;
    if (word == NULL || strcmp(word, "json") == 0) return true;
    api_problem(r, ERR_INVALID, "format must be json, csv or ndjson, got '%.40s'", word);
    return false;
}

void api_export(struct request *r, enum points_format format, const char *name, uint64_t from,
                uint64_t to)
{
    struct api *a = api_of(r);
    const struct experiment *found = api_experiment(r);
    if (found == NULL) return;
    struct export *x = mem_calloc(1, sizeof *x);
    if (x == NULL) {
        api_problem(r, ERR_NOMEM, "export");
        return;
    }
    x->api = a;
    (void)snprintf(x->name, sizeof x->name, "%s", name);
    x->of = (struct points_export_of){ .path = store_path(queue_metrics_store(a->queue)),
                                       .experiment = found->id,
                                       .name = x->name,
                                       .from = from,
                                       .to = to,
                                       .format = format };
    api_work_start(&x->work, r, open_in_pool, answer);
}
