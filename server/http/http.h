/* http: libmicrohttpd inside the libuv loop, requests and answers. Loop thread.
 *
 * MHD has no thread of its own: its epoll descriptor is watched by the loop, and MHD_run is called
 * in one place only, once a turn (service.md D1). A handler answers at once with respond_*, or
 * calls request_suspend and answers later from the loop; then the connection sleeps until
 * request_resume. */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include "common/err.h"
#include "common/json.h"
#include "common/list.h"
#include "server/auth/permission.h"
#include "server/http/rate_limit.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define HTTP_BODY_MAX ((size_t)1024 * 1024)
#define HTTP_PARAMS_MAX 4
#define HTTP_REQUEST_ID_MAX 32

struct http;
struct request;
typedef void (*http_handler)(struct request *r);
struct http_route {
    const char *method;   /* "GET" */
    const char
        *pattern; /* "/api/v1/experiments/{}/metrics/{...}": {} one segment, {...} the rest */
    enum access access;   /* ACCESS_WORKER: on worker.sock only; all others never there */
    enum object object;   /* what {} or the answer names */
    bool any_host;        /* nothing to protect: the page that explains needs it under any name */
    http_handler handler;
};
struct request {
    struct http *http;
    struct MHD_Connection *connection;
    const struct http_route *route;
    char method[8];
    char *path;
    char *params[HTTP_PARAMS_MAX]; /* what {} and {...} matched; owned */
    struct identity who; /* the peer; after http_options.admit, whoever the request is from */
    bool on_worker_socket;
    bool stale_session; /* it came with a session that is over */
    int64_t audit;      /* its row that waits for the answer; 0 = none */
    char object[96];    /* what it is about, "experiment/12"; "" = not known yet */
    char id[HTTP_REQUEST_ID_MAX];
    int64_t began_ns; /* monotonic */
    unsigned char *body;
    size_t length, capacity;
    bool too_large;
    struct MHD_Response *response; /* set = answered */
    unsigned status;
    bool suspended, queued, stream;
    bool working; /* suspended, and whoever works for it has not answered yet */
    bool expired; /* answered in the place of that work */
    bool dropped; /* the work's own answer came after that */
    uint64_t answer_bytes;
    struct rate_state rate; /* limit 0 = no turn was taken */
    struct list orphan;
    void *ctx;                     /* the handler's, freed by it */
};

/* Times in ms, 0 = the default. */
struct http_limits {
    int64_t head_ms;     /* from accept to a whole head: 10 s */
    int64_t idle_ms;     /* from an answer to the next whole head: 60 s */
    int64_t transfer_ms; /* a body, or an answer that is read: 60 s, and 1 s for each 64 KiB */
    int64_t work_ms;     /* a read that somebody waits for: 30 s */
    unsigned connections, connections_per_peer;   /* 2048, 256; streams are not among them */
    int64_t submissions_per_s, submissions_burst; /* of one user: 100, 1000 */
};

struct http_options {
    const struct http_route *routes;
    size_t n_routes;
    const char *allowed_hosts[16]; /* Host header without port; NULL-terminated */
    void *app;                     /* handlers find their world here */
    struct http_limits limits;
    /* Who is asking, and whether they may; before the body. Errors: of the refusal. */
    int (*admit)(struct request *r, struct err *e);
    /* Answers a request refused before its handler; NULL = respond_problem. */
    void (*refused)(struct request *r, const struct err *e);
    /* An answer was given, by whomever; status is set. */
    void (*answered)(struct request *r);
};
/* Errors: ERR_NOMEM. */
int http_create(struct http **out, uv_loop_t *loop, const struct http_options *o, struct err *e);
/* tls: with the certificate of tls_use. Errors: ERR_IO (address in use: says so), ERR_INVALID. */
int http_listen_tcp(struct http *h, const char *address, int port, bool tls, struct err *e);
/* An existing socket file is replaced. mode: of the file. */
int http_listen_unix(struct http *h, const char *path, unsigned mode, bool worker, struct err *e);
/* Call after anything that gives MHD work outside its own callbacks. */
void http_kick(struct http *h);
void *http_app(const struct request *r);
/* From now on every request is answered 503: what handlers use is about to go. */
void http_refuse(struct http *h);
/* Stops listening, lets answers go out for at most 2 s, then closes. Streams must have ended. */
void http_close(struct http *h, void (*on_closed)(void *ctx), void *ctx);

/* ---- reading a request ----------------------------------------------------------------------- */
const char *request_header(const struct request *r, const char *name); /* NULL when absent */
const char *request_query(const struct request *r,
                          const char *name); /* decoded; NULL when absent */
/* Nobody on the way can read along: TLS, or never left this machine. */
bool request_private(const struct request *r);
/* Whole number from the query; false after a problem was answered. */
bool request_query_int(struct request *r, const char *name, int64_t fallback, int64_t min,
                       int64_t max, int64_t *out);
/* Until an answer is given. A GET that waits longer than limits.work_ms is answered 503 instead,
 * and what its work answers later is dropped: r stays valid until then. */
void request_suspend(struct request *r);
/* Takes one of the caller's turns to submit; false after 429 was answered. */
bool request_may_submit(struct request *r);
/* The answer to r will be a stream: it has no deadline and is not among the connections that are
 * limited. left is called, once, when the client closes its side; not after r is completed. */
void request_is_stream(struct request *r, void (*left)(void *ctx), void *ctx);

/* ---- answering: exactly once ----------------------------------------------------------------- */
void respond_text(struct request *r, unsigned status, const char *type, const void *data, size_t n);
void respond_json(struct request *r, unsigned status, const cJSON *json);
void respond_json_text(struct request *r, unsigned status, const char *text);
void respond_empty(struct request *r, unsigned status);
/* application/problem+json; faults may be NULL. */
void respond_problem(struct request *r, const struct err *e, const struct json_faults *faults);
/* Static memory that outlives the server. */
void respond_static(struct request *r, const char *type, const void *data, size_t n,
                    const char *etag);
/* Takes the response over; adds the common headers. */
void respond_with(struct request *r, unsigned status, struct MHD_Response *response);
/* Added to the answer; only after respond_*. */
void respond_header(struct request *r, const char *name, const char *value);

#endif
