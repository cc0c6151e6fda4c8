/* audit: GET /audit: who asked for which change. The rows are read in the thread pool. */
#include "server/api/api_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT 50
#define LIMIT_MAX 500

struct audit_work {
    struct api_work work;
    const char *db_path;
    char actor[IDENTITY_USER_MAX], object[AUDIT_OBJECT_MAX]; /* "" = any */
    int64_t before, limit;
    cJSON *json, *items;
    int64_t n, last; /* rows shown, seq of the last one */
    bool more;
};

static bool add_row(cJSON *o, const struct audit_row *row)
{
    return json_add_int(o, "seq", row->seq) && json_add_time(o, "at", row->at_ms) &&
           cJSON_AddStringToObject(o, "actor", row->actor) != NULL &&
           cJSON_AddStringToObject(o, "role", row->role) != NULL &&
           cJSON_AddStringToObject(o, "via", row->via) != NULL &&
           (row->token != 0 ? json_add_int(o, "token", row->token)
                            : cJSON_AddNullToObject(o, "token") != NULL) &&
           cJSON_AddStringToObject(o, "method", row->method) != NULL &&
           cJSON_AddStringToObject(o, "path", row->path) != NULL &&
           cJSON_AddStringToObject(o, "object", row->object) != NULL &&
           (row->status != 0 ? json_add_int(o, "status", row->status)
                             : cJSON_AddNullToObject(o, "status") != NULL) &&
           cJSON_AddStringToObject(o, "request_id", row->request_id) != NULL;
}

static bool take(void *ctx, const struct audit_row *row)
{
    struct audit_work *a = ctx;
    if (a->n == a->limit) {
        a->more = true;
        return false;
    }
    cJSON *o = cJSON_CreateObject();
    a->n++;
    a->last = row->seq;
    if (o != NULL && cJSON_AddItemToArray(a->items, o) && add_row(o, row)) return true;
    (void)err_set(&a->work.err, ERR_NOMEM, "audit");
    return false;
}

static void read_rows(struct api_work *w)
{
    struct audit_work *a = container_of(w, struct audit_work, work);
    const struct audit_query q = { .actor = a->actor[0] != '\0' ? a->actor : NULL,
                                   .object = a->object[0] != '\0' ? a->object : NULL,
                                   .before = a->before,
                                   .limit = a->limit + 1 };
    char cursor[24];
    a->json = cJSON_CreateObject();
    a->items = a->json != NULL ? cJSON_AddArrayToObject(a->json, "items") : NULL;
    if (a->items == NULL) (void)err_set(&w->err, ERR_NOMEM, "audit");
    else (void)audit_each(a->db_path, &q, take, a, &w->err);
    (void)snprintf(cursor, sizeof cursor, "%lld", (long long)a->last);
    if (w->err.code == ERR_OK && (a->more ? cJSON_AddStringToObject(a->json, "next_cursor", cursor)
                                          : cJSON_AddNullToObject(a->json, "next_cursor")) == NULL)
        (void)err_set(&w->err, ERR_NOMEM, "audit");
}

static void answer(struct api_work *w)
{
    struct audit_work *a = container_of(w, struct audit_work, work);
    if (w->err.code != ERR_OK) respond_problem(w->r, &w->err, NULL);
    else respond_json(w->r, 200, a->json);
    cJSON_Delete(a->json);
    mem_free(a);
}

void api_audit(struct request *r)
{
    int64_t limit, before;
    const char *actor = request_query(r, "actor"), *object = request_query(r, "object");
    if (!api_query_known(r, "actor|object|cursor|limit") ||
        !request_query_int(r, "limit", LIMIT_DEFAULT, 1, LIMIT_MAX, &limit) ||
        !request_query_int(r, "cursor", 0, 1, INT64_MAX, &before))
        return;
    struct audit_work *a = mem_calloc(1, sizeof *a);
    if (a == NULL) {
        api_problem(r, ERR_NOMEM, "request");
        return;
    }
    a->db_path = audit_db_path(api_of(r)->audit);
    a->before = before;
    a->limit = limit;
    (void)snprintf(a->actor, sizeof a->actor, "%s", actor != NULL ? actor : "");
    (void)snprintf(a->object, sizeof a->object, "%s", object != NULL ? object : "");
    api_work_start(&a->work, r, read_rows, answer);
}
