/* Streams in a loop of the test's own: resuming, gaps, slow readers, clients that leave. */
#include "server/stream/sse_hub.h"

#include "common/mem.h"
#include "tests/unit/server/http_fixture.h"

#include <stdlib.h>

#define EVENTS(query, version) "GET /events" query " HTTP/" version "\r\nHost: here\r\n\r\n"

struct stage {
    struct rig g;
    struct sse_hub *hub;
    char state[64];
};

static void subscribe(struct request *r) { sse_hub_subscribe(*(struct sse_hub **)http_app(r), r); }
static void say_ok(struct request *r) { respond_text(r, 200, "text/plain", "ok", 2); }

static const struct http_route routes[] = {
    { .method = "GET", .pattern = "/events", .handler = subscribe },
    { .method = "GET", .pattern = "/a", .handler = say_ok },
};

static void stage_open(struct stage *s, struct http_limits limits)
{
    struct err e = { 0 };
    (void)snprintf(s->state, sizeof s->state, "/tmp/spiked-hub-XXXXXX");
    cr_assert(mkdtemp(s->state) != NULL);
    rig_open(&s->g, routes, 2, limits, &s->hub);
    cr_assert_eq(sse_hub_create(&s->hub, &s->g.loop, &s->g.http, s->state, &e), 0, "%s", e.text);
}

static void hub_closed(void *ctx) { (void)ctx; }
static void http_closed(void *ctx)
{
    struct stage *s = ctx;
    s->g.closed = true;
    sse_hub_close(s->hub, hub_closed, s);
}

static void stage_close(struct stage *s)
{
    char path[96];
    sse_hub_end(s->hub);
    http_close(s->g.http, http_closed, s);
    rig_end(&s->g);
    cr_assert(s->g.closed);
    (void)snprintf(path, sizeof path, "%s/epoch", s->state);
    (void)unlink(path);
    (void)rmdir(s->state);
}

/* Asks for a stream and reads its hello. */
static int stream(struct stage *s, const char *request)
{
    char out[4096];
    const int fd = rig_connect(&s->g);
    rig_send(fd, request, strlen(request));
    cr_assert(rig_read(&s->g, fd, out, sizeof out, "event: hello", 2000), "%s", out);
    return fd;
}

static void publish(struct stage *s, int64_t experiment, int n)
{
    char data[40];
    (void)snprintf(data, sizeof data, "{\"n\":%d}", n);
    sse_hub_publish(s->hub, "experiment.state", experiment, data);
}

/* Goal: whoever comes back with the last id gets what came after it, and nothing twice; an id of
 * another epoch, of the future, or none at all gives a reset. */
Test(sse_hub, resumes_exactly_or_says_reset, .timeout = 20)
{
    struct stage s;
    char out[8192];
    stage_open(&s, (struct http_limits){ 0 });
    for (int i = 1; i <= 5; i++) publish(&s, 1, i);
    const char *after_three = EVENTS("?last_event_id=1-3", "1.1");
    int fd = rig_connect(&s.g);
    rig_send(fd, after_three, strlen(after_three));
    cr_expect(rig_read(&s.g, fd, out, sizeof out, "{\"n\":5}", 2000), "%s", out);
    cr_expect(strstr(out, "id: 1-4\nevent: experiment.state\ndata: {\"n\":4}\n\n") != NULL, "%s",
              out);
    cr_expect(strstr(out, "{\"n\":3}") == NULL && strstr(out, "reset") == NULL, "%s", out);
    (void)close(fd);
    static const char *const lost[] = { EVENTS("?last_event_id=9-3", "1.1"),
                                        EVENTS("?last_event_id=1-99", "1.1"),
                                        EVENTS("?last_event_id=x", "1.1") };
    for (size_t i = 0; i < 3; i++) {
        fd = rig_connect(&s.g);
        rig_send(fd, lost[i], strlen(lost[i]));
        cr_expect(rig_read(&s.g, fd, out, sizeof out, "event: reset", 2000), "%s", out);
        cr_expect(strstr(out, "id: 1-5\nevent: reset") != NULL, "%s", out);
        (void)close(fd);
    }
    stage_close(&s);
}

/* Goal: a reader that falls out of the ring is told so, and gets what comes then. */
Test(sse_hub, a_slow_reader_is_reset, .timeout = 30)
{
    struct stage s;
    char out[16384];
    stage_open(&s, (struct http_limits){ 0 });
    const int fd = stream(&s, EVENTS("", "1.1"));
    for (int i = 0; i < RING_EVENTS_MAX + 100; i++) publish(&s, 1, i);
    cr_expect(rig_read(&s.g, fd, out, sizeof out, "event: reset", 2000), "%s", out);
    cr_expect(strstr(out, "experiment.state") == NULL, "%s", out);
    publish(&s, 1, -7);
    cr_expect(rig_read(&s.g, fd, out, sizeof out, "{\"n\":-7}", 2000), "%s", out);
    (void)close(fd);
    stage_close(&s);
}

/* Goal: an event that is lost while it is being sent ends the stream; the next one says reset.
 * Others are not held up, and the reader that stands still costs its socket's buffer alone. */
Test(sse_hub, one_that_stands_still_costs_nothing, .timeout = 30)
{
    struct stage s;
    const size_t size = (size_t)1 << 20;
    char *big = mem_alloc(size + 1), out[4096];
    memset(big, '7', size);
    big[size] = '\0';
    stage_open(&s, (struct http_limits){ 0 });
    const int still = stream(&s, EVENTS("?topics=experiment:1", "1.1"));
    const int other = stream(&s, EVENTS("?topics=experiment:2", "1.1"));
    sse_hub_publish(s.hub, "experiment.state", 1, big);
    rig_turn(&s.g, 100);
    for (int i = 0; i < 40; i++) sse_hub_publish(s.hub, "experiment.state", 3, big);
    publish(&s, 2, 11);
    cr_expect(rig_read(&s.g, other, out, sizeof out, "{\"n\":11}", 2000), "%s", out);
    static char rest[2 << 20];
    size_t got = 0;
    const int64_t late = clock_mono_ms() + 3000;
    ssize_t n = -1;
    while (n != 0 && clock_mono_ms() < late) {
        rig_turn(&s.g, 1);
        n = recv(still, rest, sizeof rest, 0);
        if (n > 0) got += (size_t)n;
    }
    cr_expect(n == 0, "the stream goes on after %zu bytes", got);
    cr_expect(got < 160000, "%zu bytes were waiting for a reader that stood still", got);
    (void)close(still);
    (void)close(other);
    mem_free(big);
    stage_close(&s);
}

/* Goal: to a client of HTTP/1.0, as proxies are, the stream is the plain text up to the end. */
Test(sse_hub, answers_http_1_0, .timeout = 20)
{
    struct stage s;
    char out[4096];
    stage_open(&s, (struct http_limits){ 0 });
    const char *old = EVENTS("", "1.0");
    const int fd = rig_connect(&s.g);
    rig_send(fd, old, strlen(old));
    cr_expect(rig_read(&s.g, fd, out, sizeof out, "event: hello", 2000), "%s", out);
    cr_expect(strstr(out, "chunked") == NULL &&
                  strstr(out, "\r\n\r\nretry: 2000\nid: 1-0\n") != NULL,
              "%s", out);
    publish(&s, 1, 5);
    sse_hub_beat(s.hub);
    cr_expect(rig_read(&s.g, fd, out, sizeof out, "event: heartbeat\ndata: {}\n\n", 2000), "%s",
              out);
    cr_expect(strstr(out, "id: 1-1\nevent: experiment.state\ndata: {\"n\":5}\n\n") != NULL, "%s",
              out);
    sse_hub_end(s.hub);
    cr_expect(rig_read(&s.g, fd, out, sizeof out, NULL, 2000));
    cr_expect(strstr(out, "event: bye") != NULL, "%s", out);
    (void)close(fd);
    stage_close(&s);
}

/* Goal: who leaves is noticed at once, so its place is free; descriptors that are used again are
 * watched as what they are now. */
Test(sse_hub, places_of_those_who_left_are_free, .timeout = 30)
{
    struct stage s;
    char out[4096];
    int fds[SSE_STREAMS_PER_USER_MAX];
    stage_open(&s, (struct http_limits){ 0 });
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < SSE_STREAMS_PER_USER_MAX; i++) fds[i] = stream(&s, EVENTS("", "1.1"));
        (void)rig_ask(&s.g, EVENTS("", "1.1"), strlen(EVENTS("", "1.1")), out, sizeof out, 50);
        cr_expect(strncmp(out, "HTTP/1.1 429", 12) == 0, "%s", out);
        publish(&s, 1, 100 + round);
        for (int i = 0; i < SSE_STREAMS_PER_USER_MAX; i++) {
            char wanted[24];
            (void)snprintf(wanted, sizeof wanted, "{\"n\":%d}", 100 + round);
            cr_expect(rig_read(&s.g, fds[i], out, sizeof out, wanted, 2000), "%s", out);
            (void)close(fds[i]);
            if (i % 2 == 0) rig_turn(&s.g, 0);
        }
        rig_turn(&s.g, 30);
    }
    stage_close(&s);
}

/* Goal: streams are not among the connections that are limited: readers keep nobody out. */
Test(sse_hub, streams_keep_no_request_out, .timeout = 20)
{
    struct stage s;
    char out[4096];
    int fds[20];
    stage_open(&s, (struct http_limits){ .connections_per_peer = 2, .connections = 3 });
    for (int i = 0; i < 20; i++) fds[i] = stream(&s, EVENTS("", "1.1"));
    const int fd = rig_connect(&s.g);
    rig_send(fd, "GET /a HTTP/1.1\r\nHost: here\r\n\r\n", 31);
    cr_expect(rig_read(&s.g, fd, out, sizeof out, "\r\n\r\nok", 1000), "%s", out);
    (void)close(fd);
    for (int i = 0; i < 20; i++) (void)close(fds[i]);
    stage_close(&s);
}

/* n points of series a, from step on. */
static void tell_points(struct stage *s, int64_t experiment, int step, size_t n)
{
    static struct point p[1000];
    struct gathered a = { .name = "a", .points = p, .n = n };
    const struct points_gather g = { .series = &a, .n = 1 };
    for (size_t i = 0; i < n; i++) p[i] = (struct point){ (uint64_t)step + i, 0, 1 };
    sse_hub_points(s->hub, experiment, &g);
}

/* Goal: many points that nobody listens to take no place among the events; whoever comes back from
 * before them hears of the gap, and nobody else does. */
Test(sse_hub, points_that_nobody_hears_are_a_gap, .timeout = 20)
{
    static const struct {
        const char *request;
        bool gap;
    } readers[] = { { EVENTS("?topics=experiment:1&last_event_id=1-1", "1.1"), true },
                    { EVENTS("?topics=experiment:2&last_event_id=1-1", "1.1"), false },
                    { EVENTS("?topics=experiments&last_event_id=1-1", "1.1"), false },
                    { EVENTS("?topics=experiment:1&last_event_id=1-2", "1.1"), false } };
    struct stage s;
    char out[65536];
    stage_open(&s, (struct http_limits){ 0 });
    publish(&s, 1, 1);
    const size_t before = sse_hub_stats(s.hub).ring_bytes;
    tell_points(&s, 1, 1, 1000);
    cr_expect_eq(sse_hub_stats(s.hub).ring_bytes, before);
    tell_points(&s, 2, 1, 10);
    cr_expect_gt(sse_hub_stats(s.hub).ring_bytes, before);
    for (size_t i = 0; i < 4; i++) {
        const int fd = rig_connect(&s.g);
        rig_send(fd, readers[i].request, strlen(readers[i].request));
        const char *until = readers[i].gap ? "event: reset" : "event: hello";
        cr_expect(rig_read(&s.g, fd, out, sizeof out, until, 2000), "%zu: %s", i, out);
        cr_expect((strstr(out, "event: reset") != NULL) == readers[i].gap, "%zu: %s", i, out);
        (void)close(fd);
    }
    stage_close(&s);
}

/* Goal: with a listener every point is told, however many. */
Test(sse_hub, points_that_somebody_hears_are_told, .timeout = 20)
{
    struct stage s;
    static char out[1 << 17];
    stage_open(&s, (struct http_limits){ 0 });
    const int fd = stream(&s, EVENTS("?topics=experiment:1", "1.1"));
    tell_points(&s, 1, 1, 1000);
    cr_expect(rig_read(&s.g, fd, out, sizeof out, "[1000,0,1]]}}", 2000), "%.200s", out);
    (void)close(fd);
    stage_close(&s);
}

/* Goal: points are put together, a state never is and comes after its points. */
Test(sse_hub, points_are_put_together_and_states_are_not, .timeout = 20)
{
    struct stage s;
    char out[8192];
    stage_open(&s, (struct http_limits){ 0 });
    const int fd = stream(&s, EVENTS("?topics=experiment:1", "1.1"));
    for (int i = 1; i <= 9; i++) {
        tell_points(&s, 1, i, 1);
        if (i == 4) publish(&s, 1, 1);
        if (i == 4) publish(&s, 1, 2);
    }
    cr_expect(rig_read(&s.g, fd, out, sizeof out, "[9,0,1]]}}", 2000), "%s", out);
    static const char *const order[] = { "\"a\":[[1,0,1]]}", "[[2,0,1],[3,0,1],[4,0,1]]",
                                         "{\"n\":1}", "{\"n\":2}",
                                         "[[5,0,1],[6,0,1],[7,0,1],[8,0,1],[9,0,1]]" };
    const char *at = out;
    for (size_t i = 0; i < 5 && at != NULL; i++) {
        at = strstr(at, order[i]);
        cr_expect(at != NULL, "%s is not in its place: %s", order[i], out);
    }
    (void)close(fd);
    stage_close(&s);
}
