/* sse_reader: see sse_reader.h. */
#include "tests/load/sse_reader.h"

#include "common/mem.h"
#include "tests/load/swarm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD, SIZE, DATA, AFTER };

bool sse_open(struct sse_reader *r, int port, const char *topics, const char *last,
              void (*event)(void *ctx, const struct sse_event *ev), void *ctx)
{
    char text[500], id[120] = "";
    *r = (struct sse_reader){ .fd = swarm_connect(port, NULL), .event = event, .ctx = ctx };
    if (last != NULL) (void)snprintf(id, sizeof id, "Last-Event-ID: %s\r\n", last);
    const int n = snprintf(text, sizeof text,
                           "GET /api/v1/events?topics=%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
                           topics, id);
    return r->fd >= 0 && send(r->fd, text, (size_t)n, MSG_NOSIGNAL) == n &&
           fcntl(r->fd, F_SETFL, O_NONBLOCK) == 0;
}

static void keep(struct sse_reader *r, char c)
{
    if (r->length + 1 >= r->capacity) {
        r->capacity = 2 * r->capacity + 256;
        r->line = mem_realloc_array(r->line, r->capacity, 1);
        if (r->line == NULL) abort();
    }
    r->line[r->length++] = c;
    r->line[r->length] = '\0';
}

static void end_event(struct sse_reader *r)
{
    const struct sse_event ev = { r->epoch, r->seq, r->name, r->data != NULL ? r->data : "" };
    if (r->any) r->event(r->ctx, &ev);
    mem_free(r->data);
    r->data = NULL;
    r->name[0] = '\0';
    r->epoch = r->seq = 0;
    r->any = false;
}

/* A line of the event stream itself. */
static void take_line(struct sse_reader *r)
{
    const char *line = r->length > 0 ? r->line : "";
    if (line[0] == '\0') {
        end_event(r);
        return;
    }
    if (strncmp(line, "id: ", 4) == 0) {
        if (sscanf(line + 4, "%" SCNu64 "-%" SCNu64, &r->epoch, &r->seq) != 2) r->seq = 0;
    } else if (strncmp(line, "event: ", 7) == 0) {
        r->any = true;
        (void)snprintf(r->name, sizeof r->name, "%s", line + 7);
    } else if (strncmp(line, "data: ", 6) == 0) {
        r->any = true;
        mem_free(r->data);
        r->data = mem_strdup(line + 6);
    }
}

static void take_byte(struct sse_reader *r, char c)
{
    if (r->part == DATA) {
        if (c != '\n') {
            keep(r, c);
        } else {
            take_line(r);
            r->length = 0;
        }
        if (--r->left == 0) r->part = AFTER;
        return;
    }
    /* Head, sizes of chunks and ends of chunks are lines that end with \r\n. A line of data may be
     * cut by them, so they are not kept in the same place. */
    static const char digits[] = "0123456789abcdef";
    const char *digit = c != '\0' ? strchr(digits, c | 0x20) : NULL;
    if (r->part == SIZE && digit != NULL) r->left = 16 * r->left + (uint64_t)(digit - digits);
    if (r->part == HEAD && c != '\r' && c != '\n') keep(r, c);
    if (c != '\n') return;
    if (r->part == SIZE) {
        r->part = DATA;
    } else if (r->part == AFTER) {
        r->part = SIZE;
    } else {
        if (r->status == 0 && r->length > 9) r->status = atoi(r->line + 9);
        if (r->length == 0) r->part = SIZE;
        r->length = 0;
    }
    if (r->part == SIZE) r->left = 0;
}

bool sse_read(struct sse_reader *r)
{
    char bytes[16384];
    for (;;) {
        const ssize_t n = recv(r->fd, bytes, sizeof bytes, 0);
        if (n < 0) return errno == EAGAIN || errno == EINTR;
        if (n == 0) return false;
        for (ssize_t i = 0; i < n; i++) {
            if (r->part == DATA && r->left == 0) return false; /* the last chunk */
            take_byte(r, bytes[i]);
        }
        if (n < (ssize_t)sizeof bytes) return true;
    }
}

void sse_close(struct sse_reader *r)
{
    if (r->fd >= 0) (void)close(r->fd);
    mem_free(r->line);
    mem_free(r->data);
    *r = (struct sse_reader){ .fd = -1 };
}
