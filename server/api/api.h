/* api: the HTTP API of docs/api.md as one table of routes. Loop thread. */
#ifndef SERVER_API_H
#define SERVER_API_H

#include "server/api/digest_cache.h"
#include "server/auth/accounts.h"
#include "server/auth/audit_log.h"
#include "server/http/http.h"
#include "server/meter/loop_lag.h"
#include "server/queue/queue.h"
#include "server/stream/sse_hub.h"

struct backup;

/* What the handlers need; http_options.app points to it. */
struct api {
    uv_loop_t *loop;
    struct queue *queue;
    struct sse_hub *hub;
    struct accounts *accounts;
    struct audit_log *audit; /* NULL when its store is closed */
    struct backup *backup;   /* the one under way; NULL = none */
    const char *data_dir, *state_dir, *files_dir;
    const struct loop_lag *lag;
    int64_t started_ms; /* wall clock */
    char host[256]; /* of this machine, for the page that says how to reach it */
    int port;
    size_t work_under_way;
    size_t exports; /* that are sent */
    struct digest_cache digests;
    bool stopping; /* the queue is quiet: only what sleeps is still answered from the store */
};
extern const struct http_route api_routes[];
extern const size_t api_routes_count;

/* http_options.admit: identity, permission, and the audit of what will change something. */
int api_admit(struct request *r, struct err *e);
/* The daemon ends: a backup that still copies databases does, too. May be repeated. */
void api_backup_stop(struct api *a);
/* http_options.answered: the status of what was audited. */
void api_answered(struct request *r);
/* http_options.refused: a browser gets a page that explains, everybody else a problem. */
void api_refused(struct request *r, const struct err *e);

#endif
