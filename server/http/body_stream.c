/* body_stream: see body_stream.h. */
#include "server/http/body_stream.h"

#include "common/log.h"
#include "common/mem.h"
#include "server/http/http_internal.h"

#include <string.h>

#define PART_BYTES ((size_t)256 * 1024)

struct body_stream {
    struct list link; /* of http.bodies until the response is gone */
    struct http *http;
    struct MHD_Connection *connection;
    struct body_source *source;
    uv_work_t work;
    unsigned char *data;
    size_t at, length;
    bool working, suspended, ended, cut, gone; /* cut: too slow, or the daemon ends */
    struct err err;
};

static void closed(uv_work_t *w, int status)
{
    struct body_stream *b = container_of(w, struct body_stream, work);
    (void)status;
    b->source->closed(b->source, &b->err);
    mem_free(b->data);
    mem_free(b);
}

static void close_in_pool(uv_work_t *w)
{
    struct body_stream *b = container_of(w, struct body_stream, work);
    b->source->close(b->source);
}

static void close_source(struct body_stream *b)
{
    (void)uv_queue_work(b->work.loop, &b->work, close_in_pool, closed);
}

static void wake(struct body_stream *b)
{
    if (!b->suspended) return;
    b->suspended = false;
    b->http->suspended--;
    MHD_resume_connection(b->connection);
    http_kick(b->http);
}

static void read_in_pool(uv_work_t *w)
{
    struct body_stream *b = container_of(w, struct body_stream, work);
    b->at = 0;
    if (b->source->read(b->source, b->data, PART_BYTES, &b->length, &b->err) != 0) b->length = 0;
}

static void part_read(uv_work_t *w, int status)
{
    struct body_stream *b = container_of(w, struct body_stream, work);
    (void)status;
    b->working = false;
    if (b->length == 0) b->ended = true;
    if (b->err.code != ERR_OK) log_error("server.http", "an answer broke off: %s", b->err.text);
    if (b->gone) close_source(b);
    else wake(b);
}

static ssize_t give(void *ctx, uint64_t pos, char *to, size_t room)
{
    struct body_stream *b = ctx;
    (void)pos;
    if (b->cut) return MHD_CONTENT_READER_END_WITH_ERROR;
    if (!b->working && b->at < b->length) {
        const size_t n = room < b->length - b->at ? room : b->length - b->at;
        memcpy(to, b->data + b->at, n);
        b->at += n;
        return (ssize_t)n;
    }
    if (b->err.code != ERR_OK) return MHD_CONTENT_READER_END_WITH_ERROR;
    if (b->ended) return MHD_CONTENT_READER_END_OF_STREAM;
    if (!b->working) {
        b->working = true;
        (void)uv_queue_work(b->http->loop, &b->work, read_in_pool, part_read);
    }
    connection_enter(connection_of(b->connection), PHASE_ANSWER, PART_BYTES);
    b->suspended = true;
    b->http->suspended++;
    MHD_suspend_connection(b->connection);
    return 0;
}

static void response_gone(void *ctx)
{
    struct body_stream *b = ctx;
    list_remove(&b->link);
    if (b->suspended) b->http->suspended--; /* MHD was stopped over it */
    b->gone = true;
    if (!b->working) close_source(b);
}

void body_streams_cut(struct http *h, const struct connection *c)
{
    list_for_each_safe(it, &h->bodies) {
        struct body_stream *b = container_of(it, struct body_stream, link);
        if (!b->suspended || (c != NULL && connection_of(b->connection) != c)) continue;
        b->cut = true;
        wake(b);
    }
}

struct MHD_Response *body_stream_response(struct request *r, struct body_source *source,
                                          uint64_t bytes)
{
    struct body_stream *b = mem_calloc(1, sizeof *b);
    unsigned char *data = b != NULL ? mem_alloc(PART_BYTES) : NULL;
    struct MHD_Response *m = NULL;
    if (data != NULL) m = MHD_create_response_from_callback(bytes, 65536, give, b, response_gone);
    if (m == NULL) {
        mem_free(data);
        mem_free(b);
        return NULL;
    }
    b->http = r->http;
    b->connection = r->connection;
    b->source = source;
    b->data = data;
    b->work.loop = r->http->loop;
    list_append(&r->http->bodies, &b->link);
    return m;
}
