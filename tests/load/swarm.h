/* swarm: many keep-alive connections of one thread that ask a daemon as fast as it answers, or at a
 * rate. It asserts nothing, so it may run in a thread beside the test's. */
#ifndef TESTS_SWARM_H
#define TESTS_SWARM_H

#include "tests/load/samples.h"

#include <stdbool.h>
#include <stdint.h>

#define SWARM_REQUEST_MAX 8192

struct swarm {
    int port;              /* on 127.0.0.1 */
    const char *unix_path; /* instead of it; NULL = none */
    size_t connections;
    double seconds; /* then no new request begins; 0 = until next says so */
    double rate;    /* requests a second of all connections; 0 = as they are answered */
    /* The next request as text into out, its length; 0 = this connection has done. */
    size_t (*next)(void *ctx, size_t connection, char *out, size_t room);
    /* NULL = not needed. */
    void (*answered)(void *ctx, size_t connection, int status, const char *body, size_t length);
    void *ctx;
    /* Found: */
    struct samples ms;     /* of answers; at a rate from the moment the request was due */
    int64_t good, refused; /* 2xx, all others */
    int64_t broken;        /* connections that ended with a request under way, or never began */
    int64_t unanswered;    /* when the patience of 5 s after the end was over */
    double took_s;
};
void swarm_run(struct swarm *s);
void swarm_deinit(struct swarm *s);
/* A whole request; extra: header lines with \r\n, or "". */
size_t swarm_request(char *out, size_t room, const char *method, const char *path,
                     const char *extra, const char *body);
/* A connected socket, blocking; -1 when it is refused. */
int swarm_connect(int port, const char *unix_path);

#endif
