/* Clients that are slow, too many, or gone; and work that does not end. */
#include "common/mem.h"
#include "tests/unit/server/http_fixture.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: here\r\n\r\n"
#define GET_A GET("/a")

static void say_ok(struct request *r) { respond_text(r, 200, "text/plain", "ok", 2); }

/* Larger than any socket buffer; by its size it would have minutes. */
static void say_much(struct request *r)
{
    static char much[8 << 20];
    respond_text(r, 200, "text/plain", much, sizeof much);
    r->answer_bytes = 0;
}

struct slow_work {
    uv_work_t uv;
    struct request *r;
};
static int slow_ms, slow_starts, slow_answers;

static void sleep_in_pool(uv_work_t *w)
{
    (void)w;
    (void)usleep((useconds_t)slow_ms * 1000);
}

static void slow_ended(uv_work_t *uv, int status)
{
    struct slow_work *w = uv->data;
    (void)status;
    slow_answers++;
    /* As handlers do: look at the request, answer, add headers. */
    const char *range = request_header(w->r, "Range");
    respond_text(w->r, 200, "text/plain", range != NULL ? range : "slow", 4);
    respond_header(w->r, "X-Late", "yes");
    mem_free(w);
}

static void work_slowly(struct request *r)
{
    struct slow_work *w = mem_calloc(1, sizeof *w);
    slow_starts++;
    w->r = r;
    w->uv.data = w;
    (void)uv_queue_work(http_app(r), &w->uv, sleep_in_pool, slow_ended);
    request_suspend(r);
}

static const struct http_route routes[] = {
    { .method = "GET", .pattern = "/a", .handler = say_ok },
    { .method = "POST", .pattern = "/a", .handler = say_ok },
    { .method = "GET", .pattern = "/much", .handler = say_much },
    { .method = "GET", .pattern = "/slow", .handler = work_slowly },
    { .method = "POST", .pattern = "/slow", .handler = work_slowly },
};

static void open_with(struct rig *g, struct http_limits limits)
{
    rig_open(g, routes, sizeof routes / sizeof routes[0], limits, &g->loop);
}

static void expect_ok(struct rig *g)
{
    char out[2048];
    const int fd = rig_connect(g);
    rig_send(fd, GET_A, strlen(GET_A));
    cr_expect(rig_read(g, fd, out, sizeof out, "\r\n\r\nok", 1000), "%s", out);
    (void)close(fd);
}

/* Goal: a head that does not become whole is given up, even when a byte comes now and then. */
Test(connections, slow_heads_are_cut_off, .timeout = 20)
{
    struct rig g;
    char out[1024];
    open_with(&g, (struct http_limits){ .head_ms = 400 });
    const int silent = rig_connect(&g), drips = rig_connect(&g);
    const int64_t from = clock_mono_ms();
    bool cut = false;
    for (int i = 0; !cut && clock_mono_ms() < from + 3000; i++) {
        (void)send(drips, &GET_A[i % 4], 1, MSG_NOSIGNAL);
        cut = rig_read(&g, drips, out, sizeof out, NULL, 50);
    }
    cr_expect(cut && clock_mono_ms() >= from + 400, "cut %d", cut);
    cr_expect(rig_read(&g, silent, out, sizeof out, NULL, 1000));
    expect_ok(&g);
    (void)close(silent);
    (void)close(drips);
    rig_close(&g);
}

/* Goal: a connection that does nothing between two requests is given up. */
Test(connections, idle_ones_are_cut_off, .timeout = 20)
{
    struct rig g;
    char out[1024];
    open_with(&g, (struct http_limits){ .head_ms = 5000, .idle_ms = 400 });
    const int fd = rig_connect(&g);
    for (int i = 0; i < 3; i++) {
        rig_send(fd, GET_A, strlen(GET_A));
        cr_expect(rig_read(&g, fd, out, sizeof out, "\r\n\r\nok", 1000), "%s", out);
        rig_turn(&g, 200);
    }
    cr_expect(rig_read(&g, fd, out, sizeof out, NULL, 2000));
    (void)close(fd);
    rig_close(&g);
}

/* Goal: a body that does not come, and an answer that nobody reads, are given up. */
Test(connections, slow_bodies_and_readers_are_cut_off, .timeout = 20)
{
    static const char post[] = "POST /a HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\nab";
    struct rig g;
    char out[1024];
    open_with(&g, (struct http_limits){ .transfer_ms = 400 });
    const int body = rig_connect(&g), reader = rig_connect(&g);
    rig_send(body, post, sizeof post - 1);
    rig_send(reader, GET("/much"), strlen(GET("/much")));
    cr_expect(rig_read(&g, body, out, sizeof out, NULL, 3000), "%s", out);
    rig_turn(&g, 1000);
    static char much[1 << 20];
    size_t got = 0;
    ssize_t n;
    while ((n = recv(reader, much, sizeof much, 0)) > 0) got += (size_t)n;
    cr_expect(n == 0 && got < 8 << 20, "%zd after %zu bytes", n, got);
    expect_ok(&g);
    (void)close(body);
    (void)close(reader);
    rig_close(&g);
}

/* Goal: a read that does not end is answered for, once; what comes later goes nowhere. */
Test(connections, slow_work_has_a_deadline, .timeout = 20)
{
    struct rig g;
    char out[4096];
    slow_ms = 1500;
    slow_answers = 0;
    open_with(&g, (struct http_limits){ .work_ms = 300 });
    const int fd = rig_connect(&g);
    rig_send(fd, GET("/slow"), strlen(GET("/slow")));
    cr_expect(rig_read(&g, fd, out, sizeof out, "could not be read in time", 1200), "%s", out);
    cr_expect(strncmp(out, "HTTP/1.1 503", 12) == 0 && strstr(out, "Retry-After:") != NULL, "%s",
              out);
    rig_send(fd, GET_A, strlen(GET_A));
    cr_expect(rig_read(&g, fd, out, sizeof out, "\r\n\r\nok", 1000), "%s", out);
    (void)close(fd);
    cr_expect_eq(slow_answers, 0);
    rig_turn(&g, 1600);
    cr_expect_eq(slow_answers, 1);
    rig_close(&g);
}

/* Goal: a change is answered as it ends, however long it takes. */
Test(connections, changes_have_no_deadline, .timeout = 20)
{
    static const char post[] = "POST /slow HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n";
    struct rig g;
    char out[4096];
    slow_ms = 900;
    open_with(&g, (struct http_limits){ .work_ms = 200, .transfer_ms = 300 });
    const int fd = rig_connect(&g);
    rig_send(fd, post, sizeof post - 1);
    cr_expect(rig_read(&g, fd, out, sizeof out, "\r\n\r\nslow", 3000), "%s", out);
    cr_expect(strstr(out, "X-Late: yes") != NULL, "%s", out);
    (void)close(fd);
    rig_close(&g);
}

/* Goal: neither clients that leave nor the end of the server touch what work still holds. */
Test(connections, the_end_waits_for_work, .timeout = 20)
{
    struct rig g;
    slow_ms = 1500;
    slow_starts = slow_answers = 0;
    open_with(&g, (struct http_limits){ .work_ms = 100 });
    for (int i = 0; i < 4; i++) {
        const int fd = rig_connect(&g);
        rig_send(fd, GET("/slow"), strlen(GET("/slow")));
        while (slow_starts == i) rig_turn(&g, 1);
        (void)close(fd);
    }
    rig_turn(&g, 600);
    cr_expect_eq(slow_answers, 0);
    rig_close(&g);
    cr_expect_eq(slow_answers, 4);
}

/* Goal: at the bounds there is an answer, and room again when somebody leaves. */
Test(connections, too_many_are_told_so, .timeout = 20)
{
    static const struct {
        struct http_limits limits;
        const char *status;
    } bounds[] = { { { .connections_per_peer = 3 }, "HTTP/1.1 429" },
                   { { .connections = 3 }, "HTTP/1.1 503" } };
    for (size_t i = 0; i < 2; i++) {
        struct rig g;
        char out[4096];
        int fds[3];
        open_with(&g, bounds[i].limits);
        for (int n = 0; n < 3; n++) fds[n] = rig_connect(&g);
        rig_turn(&g, 20);
        cr_expect(rig_ask(&g, GET_A, strlen(GET_A), out, sizeof out, 1000));
        cr_expect(strncmp(out, bounds[i].status, 12) == 0, "%s", out);
        cr_expect(strstr(out, "Retry-After:") != NULL && strstr(out, "3 connections") != NULL, "%s",
                  out);
        (void)close(fds[0]);
        rig_turn(&g, 20);
        expect_ok(&g);
        (void)close(fds[1]);
        (void)close(fds[2]);
        rig_close(&g);
    }
}

/* Goal: those who wait for a refusal are bounded, too. */
Test(connections, a_flood_is_cut_off, .timeout = 20)
{
    struct rig g;
    char out[1024];
    int fds[600];
    open_with(&g, (struct http_limits){ .connections_per_peer = 2 });
    for (int i = 0; i < 600; i++) {
        fds[i] = rig_connect(&g);
        if (i % 50 == 0) rig_turn(&g, 1);
    }
    rig_turn(&g, 500);
    const ssize_t last = recv(fds[599], out, sizeof out, 0);
    cr_expect(last == 0, "the last one is still open: %zd, %s", last, strerror(errno));
    rig_turn(&g, 2500);
    cr_expect(recv(fds[100], out, sizeof out, 0) == 0, "nobody waits for long to be refused");
    cr_expect(recv(fds[0], out, sizeof out, 0) < 0 && errno == EAGAIN, "the first ones stay");
    for (int i = 0; i < 600; i++) (void)close(fds[i]);
    rig_turn(&g, 50);
    expect_ok(&g);
    rig_close(&g);
}
