/* load_watchers: many event streams at once. Streams a user are limited, so children stand for
 * users of this machine; without root there is one user, and as many streams as one may have. */
#ifndef TESTS_LOAD_WATCHERS_H
#define TESTS_LOAD_WATCHERS_H

#include "tests/load/load.h"

#define STREAMS_A_USER 62 /* below the limit of 64: two come again */
#define USERS_MAX 20

struct watchers { /* zero it to start */
    bool mixed;   /* one of ten watches all experiments, the others one; else all watch all */
    pid_t pids[USERS_MAX];
    int go[USERS_MAX], out[USERS_MAX];
    size_t n, streams;
};
struct watchers_report {
    int64_t streams, events;
    int64_t gaps;     /* numbers left out between two state events */
    int64_t disorder; /* numbers that came twice or too late */
    int64_t resets, ended, resumed_wrong;
    int64_t kept_out; /* 429 or 503 for 20 s after a break: all streams were taken */
    double p99_ms;    /* of names "at NS" */
};
/* Returns when the daemon has answered all. */
void watchers_open(struct load *l, struct watchers *u, size_t streams);
struct watchers_report watchers_end(struct watchers *u);

#endif
