/* sse_hub: see sse_hub.h. A subscriber's reader copies from the ring; when nothing is new it
 * suspends its connection and returns 0 (returning 0 without suspending would spin, service.md D2).
 */
#include "server/stream/sse_hub.h"

#include "common/clock.h"
#include "common/list.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/stream/epoch.h"
#include "server/stream/points_text.h"
#include "server/stream/points_window.h"
#include "server/stream/unheard.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BLOCK_BYTES 4096
#define POINTS_TURN_MS 50
#define POINTS_UNHEARD_MAX 500  /* at a time, of an experiment that nobody listens to */
#define SEND_BUFFER_BYTES 65536 /* of the socket: a reader that never reads holds no more */

struct sse_hub {
    struct replay_ring ring;
    struct http **http;
    uint64_t epoch;
    struct list subscribers;
    size_t count;
    uv_timer_t heartbeat, points_timer;
    struct points_windows points;
    struct unheard unheard;
    int handles_left;
    bool ending;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};
struct subscriber {
    struct list link;
    struct sse_hub *hub;
    struct MHD_Connection *connection;
    struct identity who; /* as the request came */
    uint64_t next;   /* number of the next event to look at */
    bool experiments;
    int64_t ids[SSE_EXPERIMENTS_MAX];
    size_t n_ids;
    bool suspended, beat, said_bye;
    bool shut_out;      /* may see nothing further */
    bool left;          /* the client has closed its side */
    char pending[1024]; /* control events: hello, reset, heartbeat, bye */
    size_t pending_length, pending_at;
    uint64_t current; /* event being copied; 0 = none */
    size_t current_at;
    char head[SSE_ID_MAX + 8];
};

void sse_hub_last_id(const struct sse_hub *h, char out[SSE_ID_MAX])
{
    (void)snprintf(out, SSE_ID_MAX, "%" PRIu64 "-%" PRIu64, h->epoch, h->ring.next - 1);
}

struct sse_stats sse_hub_stats(const struct sse_hub *h)
{
    return (struct sse_stats){ h->count, h->ring.next - 1, h->ring.bytes };
}

/* ---- waking ---------------------------------------------------------------------------------- */
static bool wants(const struct subscriber *s, const struct ring_event *ev)
{
    if (ev->everybody && s->experiments) return true;
    for (size_t i = 0; i < s->n_ids; i++)
        if (s->ids[i] == ev->experiment) return true;
    return false;
}

static void wake(struct subscriber *s)
{
    if (!s->suspended) return;
    s->suspended = false;
    MHD_resume_connection(s->connection);
    http_kick(*s->hub->http);
}

static void push(struct sse_hub *h, const char *event, int64_t experiment, const char *data_json)
{
    /* What a training says is for those who look at the experiment; lists need the rest only. */
    const bool everybody = strcmp(event, "experiment.points") != 0 &&
                           strcmp(event, "experiment.record") != 0 &&
                           strcmp(event, "experiment.profile") != 0;
    if (!ring_push(&h->ring, event, data_json, experiment, everybody)) {
        log_error("server.stream", "out of memory: an event is lost");
        return;
    }
    const struct ring_event *ev = ring_get(&h->ring, h->ring.next - 1);
    list_for_each_safe(it, &h->subscribers)
    {
        struct subscriber *s = container_of(it, struct subscriber, link);
        if (wants(s, ev)) wake(s);
        else if (s->suspended)
            s->next = h->ring.next; /* had all before; or others' would reset it */
    }
}

static bool listened(const struct sse_hub *h, int64_t experiment)
{
    list_for_each(it, &h->subscribers) {
        const struct subscriber *s = container_of(it, struct subscriber, link);
        for (size_t i = 0; i < s->n_ids; i++)
            if (s->ids[i] == experiment) return true;
    }
    return false;
}

static void push_points(void *ctx, int64_t experiment, const struct points_gather *points)
{
    struct sse_hub *h = ctx;
    if (gather_points_count(points) > POINTS_UNHEARD_MAX && !listened(h, experiment)) {
        unheard_add(&h->unheard, experiment, h->ring.next);
        return;
    }
    char *text = points_text(experiment, points);
    if (text != NULL) push(h, "experiment.points", experiment, text);
    else unheard_add(&h->unheard, experiment, h->ring.next);
    mem_free(text);
}

static void on_points_timer(uv_timer_t *t)
{
    struct sse_hub *h = container_of(t, struct sse_hub, points_timer);
    if (!points_windows_turn(&h->points, clock_mono_ms())) (void)uv_timer_stop(t);
}

/* An end, or a cut, is told when the points before it have been; what is told often may pass. */
static bool comes_after_points(const char *event)
{
    return strcmp(event, "experiment.record") != 0 && strcmp(event, "experiment.profile") != 0 &&
           strcmp(event, "experiment.progress") != 0;
}

void sse_hub_publish(void *ctx, const char *event, int64_t experiment, const char *data_json)
{
    struct sse_hub *h = ctx;
    if (comes_after_points(event)) points_windows_flush(&h->points, experiment, clock_mono_ms());
    push(h, event, experiment, data_json);
}

void sse_hub_points(void *ctx, int64_t experiment, const struct points_gather *points)
{
    struct sse_hub *h = ctx;
    points_windows_put(&h->points, experiment, points, clock_mono_ms());
    if (!uv_is_active((uv_handle_t *)&h->points_timer))
        (void)uv_timer_start(&h->points_timer, on_points_timer, POINTS_TURN_MS, POINTS_TURN_MS);
}

void sse_hub_beat(struct sse_hub *h)
{
    list_for_each_safe(it, &h->subscribers)
    {
        struct subscriber *s = container_of(it, struct subscriber, link);
        s->beat = true;
        wake(s);
    }
}

static void on_heartbeat(uv_timer_t *t)
{
    sse_hub_beat(container_of(t, struct sse_hub, heartbeat));
}

/* ---- reading --------------------------------------------------------------------------------- */
static void say(struct subscriber *s, const char *text)
{
    s->pending_length = (size_t)snprintf(s->pending, sizeof s->pending, "%s", text);
    s->pending_at = 0;
}

static void say_reset(struct subscriber *s)
{
    char text[120];
    s->next = s->hub->ring.next;
    (void)snprintf(text, sizeof text,
                   "id: %" PRIu64 "-%" PRIu64 "\nevent: reset\ndata: {\"reason\":\"gap\"}\n\n",
                   s->hub->epoch, s->next - 1);
    say(s, text);
}

/* Decides what comes next when nothing is half sent; false = nothing. */
static bool choose_next(struct subscriber *s)
{
    struct sse_hub *h = s->hub;
    if (s->next < h->ring.first) {
        say_reset(s);
        return true;
    }
    for (; s->next < h->ring.next; s->next++) {
        if (!wants(s, ring_get(&h->ring, s->next))) continue;
        s->current = s->next++;
        s->current_at = 0;
        (void)snprintf(s->head, sizeof s->head, "id: %" PRIu64 "-%" PRIu64 "\n", h->epoch,
                       s->current);
        return true;
    }
    if (s->beat) {
        s->beat = false;
        say(s, "event: heartbeat\ndata: {}\n\n");
        return true;
    }
    return false;
}

static size_t copy_part(char *to, size_t room, const char *from, size_t length, size_t *at)
{
    const size_t n = length - *at < room ? length - *at : room;
    memcpy(to, from + *at, n);
    *at += n;
    return n;
}

/* The event is head + text + a blank line; current_at counts through all three. */
static size_t copy_event(struct subscriber *s, char *to, size_t room)
{
    const struct ring_event *ev = ring_get(&s->hub->ring, s->current);
    if (ev == NULL) { /* fell out of the ring half sent: the client must come again */
        s->said_bye = true;
        s->current = 0;
        return 0;
    }
    const size_t head = strlen(s->head);
    size_t done = 0;
    if (s->current_at < head) {
        done = copy_part(to, room, s->head, head, &s->current_at);
        if (s->current_at < head) return done;
    }
    size_t at = s->current_at - head;
    if (at < ev->length) {
        done += copy_part(to + done, room - done, ev->text, ev->length, &at);
        s->current_at = head + at;
    }
    if (at == ev->length && done < room) {
        to[done++] = '\n';
        s->current = 0;
    }
    return done;
}

static ssize_t read_events(void *ctx, uint64_t pos, char *to, size_t room)
{
    struct subscriber *s = ctx;
    (void)pos;
    size_t done = 0;
    if (s->left) return MHD_CONTENT_READER_END_WITH_ERROR;
    while (done < room) {
        if (s->pending_at < s->pending_length)
            done += copy_part(to + done, room - done, s->pending, s->pending_length,
                              &s->pending_at);
        else if (s->current != 0) done += copy_event(s, to + done, room - done);
        else if (s->said_bye || s->shut_out || !choose_next(s)) break;
    }
    if (done > 0) return (ssize_t)done;
    if (s->said_bye) return MHD_CONTENT_READER_END_OF_STREAM;
    if (s->hub->ending || s->shut_out) {
        s->said_bye = true;
        say(s, "event: bye\ndata: {}\n\n");
        return (ssize_t)copy_part(to, room, s->pending, s->pending_length, &s->pending_at);
    }
    s->suspended = true;
    MHD_suspend_connection(s->connection);
    return 0;
}

static void client_left(void *ctx)
{
    struct subscriber *s = ctx;
    s->left = true;
    wake(s);
}

static void subscriber_gone(void *ctx)
{
    struct subscriber *s = ctx;
    list_remove(&s->link);
    s->hub->count--;
    mem_free(s);
}

/* ---- subscribing ----------------------------------------------------------------------------- */
/* "experiments,experiment:12"; 0, or the position of the word that is not a topic. */
static const char *parse_topics(struct subscriber *s, const char *text)
{
    static const char one[] = "experiment:";
    while (*text != '\0') {
        const size_t n = strcspn(text, ",");
        char *end;
        if (n == 11 && strncmp(text, "experiments", n) == 0) {
            s->experiments = true;
        } else if (strncmp(text, one, sizeof one - 1) == 0 && s->n_ids < SSE_EXPERIMENTS_MAX) {
            const long long id = strtoll(text + sizeof one - 1, &end, 10);
            if (end != text + n || id < 1) return text;
            s->ids[s->n_ids++] = id;
        } else {
            return text;
        }
        text += n + (text[n] == ',');
    }
    return NULL;
}

/* Whether points of what it listens to were left out behind event seq. */
static bool misses_points(const struct subscriber *s, uint64_t seq)
{
    for (size_t i = 0; i < s->n_ids; i++)
        if (unheard_since(&s->hub->unheard, s->ids[i], seq)) return true;
    return false;
}

static size_t streams_of(const struct sse_hub *h, const char *user)
{
    size_t n = 0;
    list_for_each(it, &h->subscribers)
        n += strcmp(container_of(it, struct subscriber, link)->who.user, user) == 0;
    return n;
}

/* From the id the client saw last; without one, from now. */
static void find_place(struct subscriber *s, const struct request *r)
{
    const char *last = request_header(r, "Last-Event-ID");
    if (last == NULL) last = request_query(r, "last_event_id");
    uint64_t epoch, seq;
    s->next = s->hub->ring.next;
    const bool known = last != NULL && sscanf(last, "%" SCNu64 "-%" SCNu64, &epoch, &seq) == 2;
    const bool here = known && epoch == s->hub->epoch && seq + 1 >= s->hub->ring.first &&
                      seq < s->hub->ring.next && !misses_points(s, seq);
    if (here) s->next = seq + 1;
    char hello[200];
    (void)snprintf(hello, sizeof hello, "retry: 2000\nid: %" PRIu64 "-%" PRIu64
                   "\nevent: hello\ndata: {\"server\":\"spiked\",\"heartbeat_s\":%d}\n\n",
                   s->hub->epoch, s->next - 1, SSE_HEARTBEAT_S);
    char reset[120] = "";
    if (last != NULL && !here)
        (void)snprintf(reset, sizeof reset,
                       "id: %" PRIu64 "-%" PRIu64 "\nevent: reset\ndata: {\"reason\":\"gap\"}\n\n",
                       s->hub->epoch, s->next - 1);
    s->pending_length = (size_t)snprintf(s->pending, sizeof s->pending, "%s%s", hello, reset);
}

static int admit(struct sse_hub *h, const struct request *r, struct err *e)
{
    if (h->ending) return err_set(e, ERR_UNAVAILABLE, "the daemon is stopping");
    if (h->count >= SSE_STREAMS_MAX)
        return err_set(e, ERR_UNAVAILABLE, "%d streams are open", SSE_STREAMS_MAX);
    if (streams_of(h, r->who.user) >= SSE_STREAMS_PER_USER_MAX)
        return err_set(e, ERR_RATE, "%s has %d streams open", r->who.user,
                       SSE_STREAMS_PER_USER_MAX);
    return 0;
}

void sse_hub_subscribe(struct sse_hub *h, struct request *r)
{
    struct err e = { 0 };
    struct subscriber *s = admit(h, r, &e) == 0 ? mem_calloc(1, sizeof *s) : NULL;
    if (s == NULL) {
        if (e.code == ERR_OK) (void)err_set(&e, ERR_NOMEM, "stream");
        respond_problem(r, &e, NULL);
        return;
    }
    const char *topics = request_query(r, "topics");
    const char *wrong = parse_topics(s, topics != NULL ? topics : "experiments");
    if (wrong != NULL) {
        (void)err_set(&e, ERR_INVALID, "topics: '%.60s' is neither experiments nor experiment:ID",
                      wrong);
        mem_free(s);
        respond_problem(r, &e, NULL);
        return;
    }
    s->hub = h;
    s->connection = r->connection;
    s->who = r->who;
    find_place(s, r);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const int bytes = SEND_BUFFER_BYTES;
    (void)setsockopt(info->connect_fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    list_append(&h->subscribers, &s->link);
    h->count++;
    struct MHD_Response *m = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES,
                                                               read_events, s, subscriber_gone);
    if (m == NULL) {
        subscriber_gone(s);
        (void)err_set(&e, ERR_NOMEM, "stream");
        respond_problem(r, &e, NULL);
        return;
    }
    (void)MHD_add_response_header(m, "Content-Type", "text/event-stream");
    (void)MHD_add_response_header(m, "Cache-Control", "no-store");
    (void)MHD_add_response_header(m, "X-Accel-Buffering", "no");
    (void)MHD_add_response_header(m, "Connection",
                                  "close"); /* it is counted as a stream to its end */
    request_is_stream(r, client_left, s);
    respond_with(r, 200, m);
}

/* ---- life ------------------------------------------------------------------------------------ */
int sse_hub_create(struct sse_hub **out, uv_loop_t *loop, struct http **http, const char *state_dir,
                   struct err *e)
{
    struct sse_hub *h = mem_calloc(1, sizeof *h);
    if (h == NULL) return err_set(e, ERR_NOMEM, "event hub");
    list_init(&h->subscribers);
    h->http = http;
    int rc = epoch_raise(&h->epoch, state_dir, e);
    if (rc == 0) rc = ring_init(&h->ring, e);
    if (rc != 0) {
        mem_free(h);
        return rc;
    }
    (void)uv_timer_init(loop, &h->heartbeat);
    (void)uv_timer_start(&h->heartbeat, on_heartbeat, SSE_HEARTBEAT_S * 1000,
                         SSE_HEARTBEAT_S * 1000);
    points_windows_init(&h->points, push_points, h);
    (void)uv_timer_init(loop, &h->points_timer);
    *out = h;
    return 0;
}

void sse_hub_end(struct sse_hub *h)
{
    points_windows_flush(&h->points, 0, clock_mono_ms());
    h->ending = true;
    list_for_each_safe(it, &h->subscribers) wake(container_of(it, struct subscriber, link));
}

/* One that is being sent to may be stuck: it is cut off, the others hear `bye`. */
static void shut_out(struct subscriber *s)
{
    s->shut_out = true;
    if (s->suspended) {
        wake(s);
        return;
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        s->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    (void)shutdown(info->connect_fd, SHUT_RDWR);
}

void sse_hub_check(struct sse_hub *h, bool (*still)(void *ctx, const struct identity *who),
                   void *ctx)
{
    list_for_each_safe(it, &h->subscribers) {
        struct subscriber *s = container_of(it, struct subscriber, link);
        if (!s->shut_out && !still(ctx, &s->who)) shut_out(s);
    }
}

static void timer_closed(uv_handle_t *handle)
{
    struct sse_hub *h = handle->data;
    if (--h->handles_left > 0) return;
    void (*on_closed)(void *) = h->on_closed;
    void *ctx = h->closed_ctx;
    points_windows_deinit(&h->points);
    ring_deinit(&h->ring);
    mem_free(h);
    on_closed(ctx);
}

void sse_hub_close(struct sse_hub *h, void (*on_closed)(void *ctx), void *ctx)
{
    h->on_closed = on_closed;
    h->closed_ctx = ctx;
    h->handles_left = 2;
    h->heartbeat.data = h->points_timer.data = h;
    uv_close((uv_handle_t *)&h->heartbeat, timer_closed);
    uv_close((uv_handle_t *)&h->points_timer, timer_closed);
}
