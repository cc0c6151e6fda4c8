/* http_internal: what the files of server/http share. */
#ifndef SERVER_HTTP_INTERNAL_H
#define SERVER_HTTP_INTERNAL_H

#include "common/list.h"
#include "server/http/http.h"
#include "server/http/http_stats.h"
#include "server/http/rate_limit.h"

#define LISTENERS_MAX 4

struct listener {
    struct http *http;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    bool worker, tls;
};
enum connection_phase {
    PHASE_HEAD,   /* waits for a whole head; also between two requests */
    PHASE_BODY,   /* waits for the whole body */
    PHASE_WORK,   /* a read's turn */
    PHASE_COMMIT, /* a change's turn: what becomes of it must be told, so no end */
    PHASE_ANSWER, /* waits for the reader */
    PHASE_STREAM, /* waits for events: no end */
};
/* Whoever is at the other end: a user of this machine, or an address beyond it. */
struct peer {
    struct list link;
    enum identity_via via;
    uid_t uid;
    unsigned char address[16];
    unsigned connections; /* freed with the last one */
    unsigned requests;    /* of these: within the limit, and no stream */
};
struct connection {
    struct identity who; /* as the kernel says; first: request.c takes it from here */
    bool tls;
    struct list link;
    struct http *http;
    int fd;
    struct peer *peer;       /* NULL: a worker; these are not counted */
    struct request *request; /* NULL: between two of them */
    enum connection_phase phase;
    int64_t deadline_ms;      /* cut off then; 0 = never */
    bool counted;             /* in peer->requests and http->requests_open */
    bool over_peer, over_all; /* beyond a limit: its first request is refused */
    struct leave_watch *watch;
};

struct http {
    uv_loop_t *loop;
    struct http_options o;
    struct list connections, peers, bodies; /* bodies: answers that are read while they are sent */
    unsigned requests_open, refused_open;
    struct list orphans; /* requests that are over while their work still runs */
    struct list done;    /* orphans whose work has ended: freed in the next turn */
    struct rate_limit *submissions;
    bool expired, stopped; /* on the way to the end: drained as far as it goes, MHD is gone */
    struct listener listeners[LISTENERS_MAX];
    size_t n_listeners;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t timer, tick;
    bool need_run;
    bool refusing; /* no handler is called any more */
    size_t suspended;
    uint64_t requests;
    struct http_route_stats *stats; /* [o.n_routes + 1] */
    int handles_left;
    int64_t drain_until_ms;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

enum MHD_Result request_on_access(void *ctx, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **request);
void request_on_completed(void *ctx, struct MHD_Connection *c, void **request,
                          enum MHD_RequestTerminationCode code);
/* Fills route and params; on failure err says not found or method not allowed, allow lists
 * methods. */
int router_match(struct request *r, const char *url, char *allow, size_t allow_size, struct err *e);
/* After a late answer: wakes the connection. */
void request_resume(struct request *r);
/* Answers 503 in the place of work that does not end; what it answers later is dropped. */
void request_expire(struct request *r);
void requests_free_done(struct http *h);

/* Breaks off answers that wait for a read: of c, or all (NULL); what is read meanwhile is thrown
 * away (body_stream.c). */
void body_streams_cut(struct http *h, const struct connection *c);

/* ---- connections.c --------------------------------------------------------------------------- */
/* MHD_OPTION_NOTIFY_CONNECTION; ctx is the listener. */
void connection_notify(void *ctx, struct MHD_Connection *c, void **slot,
                       enum MHD_ConnectionNotificationCode code);
/* NULL when there was no memory for it: then it is already cut off. */
struct connection *connection_of(struct MHD_Connection *c);
/* Its time begins anew. bytes: of a body or an answer. NULL is fine. */
void connection_enter(struct connection *c, enum connection_phase phase, uint64_t bytes);
/* Errors: ERR_RATE, ERR_UNAVAILABLE: beyond a limit. */
int connection_admit(const struct connection *c, struct err *e);
/* Cuts off what is too slow; each 250 ms. */
void connections_tick(struct http *h);

#endif
