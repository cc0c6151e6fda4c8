/* client: the worker's HTTP connection to the daemon (libcurl over a unix socket). One thread at a
 * time for each client; an attempt has one for frames and one for renewals. */
#ifndef WORKER_CLIENT_H
#define WORKER_CLIENT_H

#include "common/err.h"
#include "common/json.h"

#include <stdint.h>

struct client;
/* server: "unix:/path/worker.sock". secret is copied. Errors: ERR_INVALID, ERR_NOMEM. */
int client_create(struct client **out, const char *server, int64_t experiment, int64_t attempt,
                  const char *secret, struct err *e);
void client_destroy(struct client *c); /* NULL is fine */
/* One request. body NULL = GET. *answer: the JSON object of a 2xx answer, owned by the caller.
 * Errors: ERR_LEASE_LOST and ERR_UNAUTHORIZED (stop at once), ERR_INVALID (the daemon refuses the
 * message for good), ERR_UNAVAILABLE (no answer, or 5xx: try again). */
int client_send(struct client *c, const char *path, const char *content_type, const void *body,
                size_t length, cJSON **answer, struct err *e);
int client_send_json(struct client *c, const char *path, const cJSON *body, cJSON **answer,
                     struct err *e);
/* How long client_insist waits for an answer, and how long once it is told to stop. */
struct client_patience {
    long unanswered_ms, stopped_ms;
    int (*stop_requested)(void); /* not 0 = stop */
};
/* client_send until the daemon answers or patience ends. Errors as there; on success *e is as it
 * was: failed tries leave no trace. */
int client_insist(struct client *c, const char *path, const char *content_type, const void *body,
                  size_t length, const struct client_patience *p, cJSON **answer, struct err *e);

#endif
