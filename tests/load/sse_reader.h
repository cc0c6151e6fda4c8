/* sse_reader: one event stream read as it comes, without a library: HTTP/1.1, chunked. Nothing is
 * asserted: it runs in children as well. */
#ifndef TESTS_SSE_READER_H
#define TESTS_SSE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sse_event {
    uint64_t epoch, seq; /* 0, 0: it had no id */
    const char *name;    /* "" = none */
    const char *data;
};
struct sse_reader {
    int fd;     /* non-blocking */
    int status; /* of the answer; 0 = not here yet */
    /* The chunked body: */
    int part; /* 0 head, 1 size, 2 data, 3 line after data */
    uint64_t left;
    char *line; /* growing */
    size_t length, capacity;
    char name[40], *data;
    uint64_t epoch, seq;
    bool any;
    void (*event)(void *ctx, const struct sse_event *ev);
    void *ctx;
};
/* topics as in the query; last: Last-Event-ID or NULL. false = no connection. */
bool sse_open(struct sse_reader *r, int port, const char *topics, const char *last,
              void (*event)(void *ctx, const struct sse_event *ev), void *ctx);
/* Reads what is there; false = the stream has ended. */
bool sse_read(struct sse_reader *r);
void sse_close(struct sse_reader *r); /* harmless when repeated */

#endif
