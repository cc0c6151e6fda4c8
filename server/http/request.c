/* request: from MHD's callbacks to a handler: checks of headers, body within its limit, identity,
 * route. See http.h. */
#include "server/http/http_internal.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/http/framing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *request_header(const struct request *r, const char *name)
{
    if (r->connection == NULL) return NULL;
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

const char *request_query(const struct request *r, const char *name)
{
    if (r->connection == NULL) return NULL;
    return MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, name);
}

bool request_query_int(struct request *r, const char *name, int64_t fallback, int64_t min,
                       int64_t max, int64_t *out)
{
    const char *text = request_query(r, name);
    *out = fallback;
    if (text == NULL) return true;
    char *end;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && v >= min && v <= max) {
        *out = v;
        return true;
    }
    struct err e = { 0 };
    (void)err_set(&e, ERR_INVALID, "%s must be a whole number from %lld to %lld, got '%.40s'", name,
                  (long long)min, (long long)max, text);
    respond_problem(r, &e, NULL);
    return false;
}

bool request_private(const struct request *r)
{
    if (r->who.via != VIA_NETWORK) return true;
    return r->connection != NULL && /* it may be over while its work still runs */
           MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION) != NULL;
}

void *http_app(const struct request *r) { return r->http->o.app; }

/* ---- sleeping -------------------------------------------------------------------------------- */
void request_suspend(struct request *r)
{
    if (r->response != NULL || r->suspended) return; /* answered, or asleep, already */
    r->suspended = r->working = true;
    r->http->suspended++;
    MHD_suspend_connection(r->connection);
}

void request_resume(struct request *r)
{
    if (!r->suspended) return;
    r->suspended = false;
    r->http->suspended--;
    MHD_resume_connection(r->connection);
    http_kick(
        r->http); /* MHD does not wake its epoll descriptor for this (service.md D2, trap 1) */
}

void request_expire(struct request *r)
{
    if (r == NULL || !r->working || r->response != NULL) return;
    struct err e = { 0 };
    (void)err_set(&e, ERR_UNAVAILABLE, "what is asked for could not be read in time");
    r->expired = true;
    respond_problem(r, &e, NULL);
}

static void free_request(struct request *r)
{
    for (size_t i = 0; i < HTTP_PARAMS_MAX; i++) mem_free(r->params[i]);
    mem_free(r->path);
    mem_free(r->body);
    mem_free(r);
}

/* Not at once: whoever has just answered still holds it. */
void requests_free_done(struct http *h)
{
    list_for_each_safe(it, &h->done) {
        list_remove(it);
        free_request(container_of(it, struct request, orphan));
    }
}

bool request_may_submit(struct request *r)
{
    if (rate_limit_take(r->http->submissions, r->who.user, clock_mono_ms(), &r->rate)) return true;
    struct err e = { 0 };
    (void)err_set(&e, ERR_RATE, "%s may submit %g a second, and %g at once", r->who.user,
                  r->http->submissions->per_s, r->http->submissions->burst);
    respond_problem(r, &e, NULL);
    return false;
}

/* ---- checks ---------------------------------------------------------------------------------- */
/* Host without its port, IPv6 brackets kept. */
static void host_name(const char *host, char *out, size_t size)
{
    (void)snprintf(out, size, "%s", host);
    char *colon = strrchr(out, ':');
    const char *bracket = strrchr(out, ']');
    if (colon != NULL && (bracket == NULL || colon > bracket)) *colon = '\0';
}

static bool host_allowed(const struct http *h, const char *host)
{
    char name[256];
    host_name(host, name, sizeof name);
    for (size_t i = 0; h->o.allowed_hosts[i] != NULL; i++)
        if (strcasecmp(name, h->o.allowed_hosts[i]) == 0) return true;
    return false;
}

static bool writes(const struct request *r)
{
    return strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0;
}

/* Against pages of other origins: DNS rebinding (Host) and forged requests (Origin). */
static int check_origin(const struct request *r, struct err *e)
{
    const char *host = request_header(r, "Host"), *origin = request_header(r, "Origin");
    if (host == NULL) return err_set(e, ERR_INVALID, "exactly one Host header is needed");
    if (!host_allowed(r->http, host))
        return err_set(e, ERR_MISDIRECTED, "Host '%.80s' is not served here", host);
    if (origin == NULL) return 0;
    const char *after = strstr(origin, "://");
    const struct connection *c = connection_of(r->connection);
    const bool plain = c != NULL && c->tls && strncasecmp(origin, "https://", 8) != 0;
    if (plain || after == NULL || strcasecmp(after + 3, host) != 0)
        return err_set(e, ERR_FORBIDDEN, "Origin '%.80s' is not ours", origin);
    const char *type = request_header(r, "Content-Type");
    if (writes(r) && r->length > 0 &&
        (type == NULL || strncasecmp(type, "application/json", 16) != 0))
        return err_set(e, ERR_FORBIDDEN, "a page must send application/json");
    return 0;
}

static int check_identity(struct request *r, struct err *e)
{
    const bool for_workers = r->route->access == ACCESS_WORKER;
    if (r->on_worker_socket != for_workers)
        return err_set(e, ERR_NOT_FOUND, "%.100s is not served here", r->path);
    if (for_workers || r->http->refusing) return 0; /* refusing: handle says so */
    return r->http->o.admit != NULL ? r->http->o.admit(r, e) : 0;
}

/* ---- MHD's callbacks ------------------------------------------------------------------------- */
static struct request *begin(struct listener *l, struct MHD_Connection *c, const char *url,
                             const char *method)
{
    struct request *r = mem_calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    r->http = l->http;
    r->connection = c;
    r->on_worker_socket = l->worker;
    r->began_ns = clock_mono_ns();
    (void)snprintf(r->method, sizeof r->method, "%s", method);
    (void)snprintf(r->id, sizeof r->id, "r-%" PRIu64, ++l->http->requests);
    r->path = mem_strdup(url);
    list_init(&r->orphan);
    struct connection *connection = connection_of(c);
    if (connection != NULL) {
        r->who = connection->who;
        connection->request = r;
    }
    return r;
}

/* Everything that can be refused before the body. */
static void check_head(struct request *r, const char *url, const char *method, const char *version)
{
    struct err e = { 0 };
    char allow[64] = "";
    int rc = r->path == NULL ? err_set(&e, ERR_NOMEM, "request")
                             : connection_admit(connection_of(r->connection), &e);
    if (rc == 0) rc = framing_check(r->connection, r->path, method, version, HTTP_BODY_MAX, &e);
    const bool framed = rc == 0;
    if (rc == 0) rc = router_match(r, url, allow, sizeof allow, &e);
    if (framed && !r->on_worker_socket && (r->route == NULL || !r->route->any_host)) {
        struct err foreign = { 0 };
        if (check_origin(r, &foreign) != 0) e = foreign; /* says more than "not found" */
        rc = (int)e.code;
    }
    if (rc == 0) rc = check_identity(r, &e);
    if (rc == 0) return;
    if (r->http->o.refused != NULL) r->http->o.refused(r, &e);
    else respond_problem(r, &e, NULL);
    if (r->response == NULL) return; /* no memory: the connection is closed */
    if (e.code == ERR_METHOD) respond_header(r, "Allow", allow);
    if (e.code == ERR_UNAUTHORIZED) respond_header(r, "WWW-Authenticate", "Bearer");
}

static void take_body(struct request *r, const char *data, size_t n)
{
    if (r->too_large || r->response != NULL) return; /* thrown away */
    if (n > HTTP_BODY_MAX - r->length) {
        r->too_large = true;
        return;
    }
    if (r->length + n + 1 > r->capacity) {
        const size_t capacity = 2 * (r->length + n) + 1024;
        unsigned char *grown = mem_realloc_array(r->body, capacity, 1);
        if (grown == NULL) {
            r->too_large = true;
            return;
        }
        r->body = grown;
        r->capacity = capacity;
    }
    memcpy(r->body + r->length, data, n);
    r->length += n;
}

static void handle(struct request *r)
{
    struct err e = { 0 };
    if (r->http->refusing) (void)err_set(&e, ERR_UNAVAILABLE, "the daemon is stopping");
    else if (r->too_large)
        (void)err_set(&e, ERR_TOO_LARGE, "the body is larger than %zu bytes", HTTP_BODY_MAX);
    else if (!r->on_worker_socket && !r->route->any_host) (void)check_origin(r, &e);
    if (e.code != ERR_OK) respond_problem(r, &e, NULL);
    else r->route->handler(r);
}

static enum MHD_Result queue_answer(struct request *r)
{
    r->queued = true;
    connection_enter(connection_of(r->connection), r->stream ? PHASE_STREAM : PHASE_ANSWER,
                     r->answer_bytes);
    http_stats_count(r);
    return MHD_queue_response(r->connection, r->status, r->response);
}

/* Longest a body can be, as far as the head tells. */
static uint64_t body_bytes(const struct request *r)
{
    const char *length = request_header(r, "Content-Length");
    return length != NULL ? strtoull(length, NULL, 10) : HTTP_BODY_MAX;
}

enum MHD_Result request_on_access(void *ctx, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **slot)
{
    struct request *r = *slot;
    if (r == NULL) {
        r = begin(ctx, c, url, method);
        if (r == NULL) return MHD_NO;
        *slot = r;
        check_head(r, url, method, version);
        if (r->response != NULL) return queue_answer(r);
        connection_enter(connection_of(c), PHASE_BODY, body_bytes(r));
        return MHD_YES;
    }
    if (*upload_size > 0) {
        take_body(r, upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    if (r->queued) return MHD_YES;
    if (r->response == NULL && !r->suspended) {
        connection_enter(connection_of(c), writes(r) ? PHASE_COMMIT : PHASE_WORK, 0);
        handle(r);
    }
    if (r->response != NULL && !r->suspended) return queue_answer(r);
    return r->suspended ? MHD_YES : MHD_NO;
}

void request_on_completed(void *ctx, struct MHD_Connection *c, void **slot,
                          enum MHD_RequestTerminationCode code)
{
    (void)ctx;
    (void)code;
    struct request *r = *slot;
    if (r == NULL) return;
    *slot = NULL;
    struct connection *connection = connection_of(c);
    if (connection != NULL) connection->request = NULL;
    connection_enter(connection, PHASE_HEAD, 0);
    if (r->response != NULL) MHD_destroy_response(r->response);
    r->response = NULL;
    r->connection = NULL;
    if (r->suspended) r->http->suspended--; /* MHD was stopped over it */
    r->suspended = false;
    if (r->working) list_append(&r->http->orphans, &r->orphan);
    else free_request(r);
}
