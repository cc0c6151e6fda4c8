/* http_internal: what the files of server/http share. */
#ifndef SERVER_HTTP_INTERNAL_H
#define SERVER_HTTP_INTERNAL_H

#include "common/list.h"
#include "server/http/http.h"

#define LISTENERS_MAX 4

struct listener {
    struct http *http;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    bool worker;
};
struct http {
    uv_loop_t *loop;
    struct http_options o;
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

#endif
