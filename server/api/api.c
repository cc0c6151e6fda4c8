/* api: the table of routes, and what all handlers share. See api.h. */
#include "server/api/api_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define V1 "/api/v1"
#define X V1 "/experiments/{}"
#define S V1 "/sweeps/{}"
#define ROUTE(access, object, method, path, handler)                   \
    {                                                                  \
        method, path, ACCESS_##access, OBJECT_##object, false, handler \
    }
#define ASSET(path)                                                \
    {                                                              \
        "GET", path, ACCESS_OPEN, OBJECT_NONE, true, api_page_file \
    }
const struct http_route api_routes[] = {
    ROUTE(BEGIN, EXPERIMENT, "POST", V1 "/experiments", api_submit),
    ROUTE(READ, NONE, "GET", V1 "/experiments", api_list),
    ROUTE(BEGIN, EXPERIMENT, "POST", V1 "/experiments/batch", api_batch),
    ROUTE(READ, EXPERIMENT, "GET", X, api_get),
    ROUTE(CHANGE, EXPERIMENT, "PATCH", X, api_patch),
    ROUTE(CHANGE, EXPERIMENT, "DELETE", X, api_delete),
    ROUTE(CHANGE, EXPERIMENT, "POST", X "/restore", api_restore),
    ROUTE(CHANGE, EXPERIMENT, "POST", X "/cancel", api_cancel),
    ROUTE(CHANGE, EXPERIMENT, "POST", X "/pause", api_pause),
    ROUTE(CHANGE, EXPERIMENT, "POST", X "/resume", api_resume),
    ROUTE(CHANGE, EXPERIMENT, "POST", X "/retry", api_retry),
    ROUTE(CHANGE, EXPERIMENT, "POST", X "/move", api_move),
    ROUTE(BEGIN, EXPERIMENT, "POST", X "/clone", api_clone),
    ROUTE(READ, EXPERIMENT, "GET", X "/queue", api_queue_place),
    ROUTE(READ, EXPERIMENT, "GET", X "/attempts", api_attempts),
    ROUTE(READ, EXPERIMENT, "GET", X "/metrics", api_series),
    ROUTE(READ, EXPERIMENT, "GET", X "/metrics/{...}", api_points),
    ROUTE(READ, EXPERIMENT, "GET", X "/monitors", api_monitors),
    ROUTE(READ, EXPERIMENT, "GET", X "/monitors/{}/{}", api_records),
    ROUTE(READ, EXPERIMENT, "GET", X "/monitors/{}/{}/{}", api_record),
    ROUTE(READ, EXPERIMENT, "GET", X "/profile", api_profile),
    ROUTE(READ, EXPERIMENT, "GET", X "/logs", api_logs),
    ROUTE(READ, EXPERIMENT, "GET", X "/artifacts", api_artifacts),
    ROUTE(READ, EXPERIMENT, "GET", X "/artifacts.tar", api_artifacts_tar),
    ROUTE(READ, EXPERIMENT, "GET", X "/artifacts/{...}", api_artifact),
    ROUTE(BEGIN, SWEEP, "POST", V1 "/sweeps", api_sweep_create),
    ROUTE(READ, NONE, "GET", V1 "/sweeps", api_sweeps),
    ROUTE(READ, SWEEP, "GET", S, api_sweep),
    ROUTE(CHANGE, SWEEP, "PATCH", S, api_sweep_patch),
    ROUTE(CHANGE, SWEEP, "DELETE", S, api_sweep_delete),
    ROUTE(CHANGE, SWEEP, "POST", S "/pause", api_sweep_pause),
    ROUTE(CHANGE, SWEEP, "POST", S "/resume", api_sweep_resume),
    ROUTE(CHANGE, SWEEP, "POST", S "/cancel", api_sweep_cancel),
    ROUTE(CHANGE, SWEEP, "POST", S "/retry-failed", api_sweep_retry_failed),
    ROUTE(READ, NONE, "GET", V1 "/datasets", api_datasets),
    ROUTE(READ, QUEUE, "GET", V1 "/queue", api_queue),
    ROUTE(ADMIN, QUEUE, "POST", V1 "/queue/pause", api_queue_pause),
    ROUTE(ADMIN, QUEUE, "POST", V1 "/queue/resume", api_queue_resume),
    ROUTE(ADMIN, DAEMON, "POST", V1 "/admin/drain", api_drain),
    ROUTE(ADMIN, DAEMON, "POST", V1 "/admin/undrain", api_undrain),
    ROUTE(ADMIN, DAEMON, "POST", V1 "/admin/backup", api_backup),
    ROUTE(ADMIN, DAEMON, "POST", V1 "/admin/gc", api_gc),
    ROUTE(READ, NONE, "GET", V1 "/events", api_events),
    ROUTE(SELF, TOKEN, "POST", V1 "/tokens", api_token_create),
    ROUTE(SELF, NONE, "GET", V1 "/tokens", api_tokens),
    ROUTE(PRIVATE, TOKEN, "DELETE", V1 "/tokens/{}", api_token_revoke),
    ROUTE(OPEN, SESSION, "POST", V1 "/sessions", api_login),
    ROUTE(SELF, SESSION, "DELETE", V1 "/sessions", api_logout),
    ROUTE(ADMIN, NONE, "GET", V1 "/users", api_users),
    ROUTE(ADMIN, USER, "PATCH", V1 "/users/{}", api_user_change),
    ROUTE(ADMIN, NONE, "GET", V1 "/audit", api_audit),
    ROUTE(OPEN, NONE, "GET", V1 "/me", api_me),
    ROUTE(OPEN, NONE, "GET", V1 "/schema", api_schema),
    ROUTE(OPEN, NONE, "GET", V1 "/version", api_version),
    ROUTE(OPEN, NONE, "GET", "/healthz", api_healthz),
    ROUTE(OPEN, NONE, "GET", "/readyz", api_readyz),
    ROUTE(READ, NONE, "GET", "/metrics", api_prometheus),
    ROUTE(READ, NONE, "GET", "/", api_page),
    ASSET("/app.js"),
    ASSET("/app.css"),
    ASSET("/login.js"),
    ROUTE(WORKER, NONE, "GET", "/worker/v1/spec", api_worker_spec),
    ROUTE(WORKER, NONE, "POST", "/worker/v1/hello", api_worker_hello),
    ROUTE(WORKER, NONE, "POST", "/worker/v1/renew", api_worker_renew),
    ROUTE(WORKER, NONE, "POST", "/worker/v1/frames", api_worker_frames),
    ROUTE(WORKER, NONE, "POST", "/worker/v1/finish", api_worker_finish),
};
const size_t api_routes_count = sizeof api_routes / sizeof api_routes[0];

/* ---- arguments ------------------------------------------------------------------------------- */
struct queue_actor api_actor(const struct request *r)
{
    return (struct queue_actor){ .user = r->who.user, .uid = r->who.uid,
                                 .admin = r->who.role == ROLE_ADMIN };
}

void api_problem(struct request *r, enum err_code code, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    struct err e = { 0 };
    (void)err_set(&e, code, "%s", text);
    respond_problem(r, &e, NULL);
}

int64_t api_param_id(const struct request *r)
{
    const char *name = r->params[0];
    char *end;
    if (name == NULL || name[0] < '1' || name[0] > '9') return 0;
    const long long id = strtoll(name, &end, 10);
    return *end == '\0' ? id : 0;
}

const struct experiment *api_find_experiment(const struct request *r)
{
    const int64_t id = api_param_id(r);
    if (id != 0) return queue_find(api_of(r)->queue, id);
    return uid_valid(r->params[0]) ? queue_find_uid(api_of(r)->queue, r->params[0]) : NULL;
}

const struct experiment *api_find_deleted(const struct request *r)
{
    const int64_t id = api_param_id(r);
    return id != 0 ? queue_find_deleted(api_of(r)->queue, id) : NULL;
}

const struct experiment *api_experiment(struct request *r)
{
    const struct experiment *x = api_find_experiment(r);
    if (x == NULL) api_problem(r, ERR_NOT_FOUND, "there is no experiment %.60s", r->params[0]);
    return x;
}

cJSON *api_body(struct request *r)
{
    struct err e = { 0 };
    cJSON *json = NULL;
    const char *text = r->length > 0 ? (const char *)r->body : "{}";
    int rc = json_parse(text, r->length > 0 ? r->length : 2, &json, &e);
    if (rc == 0 && !cJSON_IsObject(json))
        rc = err_set(&e, ERR_INVALID, "the body must be a JSON object");
    if (rc == 0) return json;
    cJSON_Delete(json);
    respond_problem(r, &e, NULL);
    return NULL;
}

bool api_empty_body(struct request *r)
{
    cJSON *body = api_body(r);
    const bool empty = body != NULL && body->child == NULL;
    if (body != NULL && !empty)
        api_problem(r, ERR_INVALID, "'%.60s' is not a field of this body", body->child->string);
    cJSON_Delete(body);
    return empty;
}

struct query_check {
    const char *names;
    char unknown[64];
};

static enum MHD_Result check_name(void *ctx, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    struct query_check *c = ctx;
    (void)kind;
    (void)value;
    const size_t n = strlen(name);
    for (const char *at = c->names; *at != '\0';) {
        const size_t length = strcspn(at, "|");
        if (length == n && strncmp(at, name, n) == 0) return MHD_YES;
        at += length + (at[length] == '|');
    }
    (void)snprintf(c->unknown, sizeof c->unknown, "%.60s", name);
    return MHD_NO;
}

bool api_query_known(struct request *r, const char *names)
{
    struct query_check c = { .names = names };
    (void)MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, check_name, &c);
    if (c.unknown[0] == '\0') return true;
    api_problem(r, ERR_INVALID, "'%s' is not a parameter of this path; %s are", c.unknown, names);
    return false;
}

/* ---- answers that come later ----------------------------------------------------------------- */
struct api_call *api_call_new(struct request *r, int64_t experiment)
{
    struct api_call *c = mem_calloc(1, sizeof *c);
    if (c == NULL) {
        api_problem(r, ERR_NOMEM, "request");
        return NULL;
    }
    c->r = r;
    c->experiment = experiment;
    sse_hub_last_id(api_of(r)->hub, c->event_id);
    return c;
}

void api_call_end(struct api_call *c)
{
    if (c->r->response != NULL) respond_header(c->r, "X-Event-Id", c->event_id);
    mem_free(c);
}

void api_call_drop(struct api_call *c) { mem_free(c); }

static void run_in_pool(uv_work_t *uv)
{
    struct api_work *w = container_of(uv, struct api_work, uv);
    w->run(w);
}

static void answer_on_loop(uv_work_t *uv, int status)
{
    struct api_work *w = container_of(uv, struct api_work, uv);
    (void)status;
    api_of(w->r)->work_under_way--;
    w->answer(w);
}

void api_work_start(struct api_work *w, struct request *r, void (*run)(struct api_work *),
                    void (*answer)(struct api_work *))
{
    struct api *a = api_of(r);
    if (a->work_under_way >= API_WORK_MAX) {
        api_problem(r, ERR_UNAVAILABLE, "%d file reads are under way", API_WORK_MAX);
        mem_free(w);
        return;
    }
    w->r = r;
    w->run = run;
    w->answer = answer;
    a->work_under_way++;
    (void)uv_queue_work(a->loop, &w->uv, run_in_pool, answer_on_loop);
    request_suspend(r);
}
