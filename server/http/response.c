/* response: answers with the headers that all of them carry. See http.h. */
#include "server/http/http_internal.h"

#include "common/mem.h"

#include <stdio.h>
#include <string.h>

void respond_header(struct request *r, const char *name, const char *value)
{
    if (r->response == NULL || r->dropped) return;
    (void)MHD_add_response_header(r->response, name, value);
}

/* The answer of work that took too long: its request was answered, or is over. */
static void drop(struct request *r, struct MHD_Response *response)
{
    MHD_destroy_response(response);
    r->dropped = true;
    if (!r->working) return;
    r->working = false;
    if (r->connection != NULL) return; /* request_on_completed frees it */
    list_remove(&r->orphan);
    list_append(&r->http->done, &r->orphan);
    http_kick(r->http);
}

static void add_rate(struct request *r)
{
    char limit[24], remaining[24], reset[24];
    if (r->rate.limit == 0) return;
    (void)snprintf(limit, sizeof limit, "%lld", (long long)r->rate.limit);
    (void)snprintf(remaining, sizeof remaining, "%lld", (long long)r->rate.remaining);
    (void)snprintf(reset, sizeof reset, "%lld", (long long)r->rate.full_s);
    respond_header(r, "RateLimit-Limit", limit);
    respond_header(r, "RateLimit-Remaining", remaining);
    respond_header(r, "RateLimit-Reset", reset);
}

/* Not to this machine: its name may stand for plain http on another port as well. */
static void add_hsts(struct request *r)
{
    const struct connection *c = connection_of(r->connection);
    if (c != NULL && c->tls && r->who.via == VIA_NETWORK)
        respond_header(r, "Strict-Transport-Security", "max-age=31536000");
}

void respond_with(struct request *r, unsigned status, struct MHD_Response *response)
{
    if (r->response != NULL || r->connection == NULL) {
        drop(r, response);
        return;
    }
    if (!r->expired) r->working = false;
    r->response = response;
    r->status = status;
    respond_header(r, "X-Request-Id", r->id);
    respond_header(r, "X-Content-Type-Options", "nosniff");
    respond_header(r, "Referrer-Policy", "no-referrer");
    respond_header(r, "Cross-Origin-Resource-Policy", "same-origin");
    respond_header(
        r, "Content-Security-Policy",
        "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'self'; object-src 'none'");
    add_rate(r);
    add_hsts(r);
    if (r->http->o.answered != NULL) r->http->o.answered(r);
    request_resume(r);
}

void respond_text(struct request *r, unsigned status, const char *type, const void *data, size_t n)
{
    struct MHD_Response *m =
        MHD_create_response_from_buffer(n, (void *)(uintptr_t)data, MHD_RESPMEM_MUST_COPY);
    if (m == NULL) m = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (m == NULL) return; /* no memory at all: the connection is closed */
    (void)MHD_add_response_header(m, "Content-Type", type);
    (void)MHD_add_response_header(m, "Cache-Control", "no-store");
    r->answer_bytes = n;
    respond_with(r, status, m);
}

void respond_json_text(struct request *r, unsigned status, const char *text)
{
    respond_text(r, status, "application/json", text, strlen(text));
}

void respond_json(struct request *r, unsigned status, const cJSON *json)
{
    size_t n = 0;
    char *text = json != NULL ? json_print(json, &n) : NULL;
    if (text != NULL) {
        respond_text(r, status, "application/json", text, n);
    } else {
        struct err e = { 0 };
        (void)err_set(&e, ERR_NOMEM, "answer");
        respond_problem(r, &e, NULL);
    }
    mem_free(text);
}

void respond_empty(struct request *r, unsigned status)
{
    respond_text(r, status, "application/json", "", 0);
}

static bool add_faults(cJSON *o, const struct json_faults *faults)
{
    cJSON *list = cJSON_AddArrayToObject(o, "errors");
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < faults->count; i++) {
        cJSON *f = cJSON_CreateObject();
        ok = f != NULL && cJSON_AddItemToArray(list, f) &&
             cJSON_AddStringToObject(f, "pointer", faults->items[i].pointer) != NULL &&
             cJSON_AddStringToObject(f, "code", faults->items[i].code) != NULL &&
             cJSON_AddStringToObject(f, "detail", faults->items[i].detail) != NULL;
    }
    return ok;
}

void respond_problem(struct request *r, const struct err *e, const struct json_faults *faults)
{
    char type[64];
    const int status = err_http_status(e->code);
    (void)snprintf(type, sizeof type, "/errors/%s", err_name(e->code));
    cJSON *o = cJSON_CreateObject();
    const bool ok = o != NULL && cJSON_AddStringToObject(o, "type", type) != NULL &&
                    cJSON_AddStringToObject(o, "title", err_meaning(e->code)) != NULL &&
                    json_add_int(o, "status", status) &&
                    cJSON_AddStringToObject(o, "code", err_name(e->code)) != NULL &&
                    cJSON_AddStringToObject(o, "detail", e->text) != NULL &&
                    cJSON_AddStringToObject(o, "instance", r->path != NULL ? r->path : "") !=
                        NULL &&
                    cJSON_AddStringToObject(o, "request_id", r->id) != NULL &&
                    (faults == NULL || faults->count == 0 || add_faults(o, faults));
    size_t n = 0;
    char *text = ok ? json_print(o, &n) : NULL;
    cJSON_Delete(o);
    const char *body = text != NULL ? text : "{\"status\":503,\"code\":\"out_of_memory\"}";
    respond_text(r, (unsigned)status, "application/problem+json", body, strlen(body));
    if (r->response != NULL && (status == 429 || status == 503))
        respond_header(r, "Retry-After", "2");
    mem_free(text);
}

void respond_static(struct request *r, const char *type, const void *data, size_t n,
                    const char *etag)
{
    const char *have = request_header(r, "If-None-Match");
    const bool same = have != NULL && strcmp(have, etag) == 0;
    struct MHD_Response *m = MHD_create_response_from_buffer(same ? 0 : n, (void *)(uintptr_t)data,
                                                             MHD_RESPMEM_PERSISTENT);
    if (m == NULL) return;
    (void)MHD_add_response_header(m, "Content-Type", type);
    (void)MHD_add_response_header(m, "ETag", etag);
    (void)MHD_add_response_header(m, "Cache-Control", "no-cache");
    r->answer_bytes = same ? 0 : n;
    respond_with(r, same ? 304 : 200, m);
}
