/* api: the table of routes, and what all handlers share. See api.h. */
#include "server/api/api_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PERSON(method, path, handler) { method, path, ROLE_USER, false, false, handler }
#define ADMIN(method, path, handler)                    \
    {                                                   \
        method, path, ROLE_ADMIN, false, false, handler \
    }
#define OPEN(method, path, handler) { method, path, ROLE_NOBODY, false, false, handler }
#define ASSET(method, path, handler) { method, path, ROLE_NOBODY, false, true, handler }
#define WORKER(method, path, handler) { method, path, ROLE_NOBODY, true, false, handler }
#define V1 "/api/v1"
#define X V1 "/experiments/{}"
const struct http_route api_routes[] = {
    PERSON("POST", V1 "/experiments", api_submit),
    PERSON("GET", V1 "/experiments", api_list),
    PERSON("GET", X, api_get),
    PERSON("PATCH", X, api_patch),
    PERSON("DELETE", X, api_delete),
    PERSON("POST", X "/cancel", api_cancel),
    PERSON("POST", X "/pause", api_pause),
    PERSON("POST", X "/resume", api_resume),
    PERSON("POST", X "/retry", api_retry),
    PERSON("POST", X "/clone", api_clone),
    PERSON("GET", X "/queue", api_queue_place),
    PERSON("GET", X "/attempts", api_attempts),
    PERSON("GET", X "/metrics", api_series),
    PERSON("GET", X "/metrics/{...}", api_points),
    PERSON("GET", X "/monitors", api_monitors),
    PERSON("GET", X "/monitors/{}/{}", api_records),
    PERSON("GET", X "/monitors/{}/{}/{}", api_record),
    PERSON("GET", X "/profile", api_profile),
    PERSON("GET", X "/logs", api_logs),
    PERSON("GET", X "/artifacts", api_artifacts),
    PERSON("GET", X "/artifacts/{...}", api_artifact),
    PERSON("GET", V1 "/datasets", api_datasets),
    PERSON("GET", V1 "/queue", api_queue),
    ADMIN("POST", V1 "/queue/pause", api_queue_pause),
    ADMIN("POST", V1 "/queue/resume", api_queue_resume),
    ADMIN("POST", V1 "/admin/drain", api_drain),
    ADMIN("POST", V1 "/admin/undrain", api_undrain),
    PERSON("GET", V1 "/events", api_events),
    OPEN("GET", V1 "/me", api_me),
    OPEN("GET", V1 "/schema", api_schema),
    OPEN("GET", V1 "/version", api_version),
    OPEN("GET", "/healthz", api_healthz),
    OPEN("GET", "/readyz", api_readyz),
    PERSON("GET", "/", api_page),
    ASSET("GET", "/app.js", api_page_file),
    ASSET("GET", "/app.css", api_page_file),
    WORKER("GET", "/worker/v1/spec", api_worker_spec),
    WORKER("POST", "/worker/v1/hello", api_worker_hello),
    WORKER("POST", "/worker/v1/renew", api_worker_renew),
    WORKER("POST", "/worker/v1/frames", api_worker_frames),
    WORKER("POST", "/worker/v1/finish", api_worker_finish),
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

const struct experiment *api_experiment(struct request *r)
{
    const char *name = r->params[0];
    char *end;
    const long long id = strtoll(name, &end, 10);
    const struct experiment *x = NULL;
    if (*end == '\0' && name[0] >= '1' && name[0] <= '9') x = queue_find(api_of(r)->queue, id);
    else if (uid_valid(name)) x = queue_find_uid(api_of(r)->queue, name);
    if (x == NULL) api_problem(r, ERR_NOT_FOUND, "there is no experiment %.60s", name);
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
