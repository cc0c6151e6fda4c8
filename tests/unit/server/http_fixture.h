/* http_fixture: a listening http in the test's own loop and thread, and raw clients of it. */
#ifndef TESTS_HTTP_FIXTURE_H
#define TESTS_HTTP_FIXTURE_H

#include "common/clock.h"
#include "server/http/http.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct rig {
    uv_loop_t loop;
    struct http *http;
    char path[64];
    bool closed;
};

static inline void rig_open(struct rig *g, const struct http_route *routes, size_t n,
                            struct http_limits limits, void *app)
{
    struct err e = { 0 };
    const struct http_options o = {
        .routes = routes, .n_routes = n, .limits = limits, .app = app, .allowed_hosts = { "here" }
    };
    (void)signal(SIGPIPE, SIG_IGN);
    g->closed = false;
    (void)snprintf(g->path, sizeof g->path, "/tmp/spiked-http-%d.sock", (int)getpid());
    cr_assert_eq(uv_loop_init(&g->loop), 0);
    cr_assert_eq(http_create(&g->http, &g->loop, &o, &e), 0, "%s", e.text);
    cr_assert_eq(http_listen_unix(g->http, g->path, 0600, false, &e), 0, "%s", e.text);
}

static inline void rig_turn(struct rig *g, int ms)
{
    const int64_t until = clock_mono_ms() + ms;
    do {
        if (uv_run(&g->loop, UV_RUN_NOWAIT) == 0) break;
        (void)usleep(200);
    } while (clock_mono_ms() < until);
}

static inline void rig_closed(void *ctx) { ((struct rig *)ctx)->closed = true; }

static inline void rig_end(struct rig *g)
{
    while (uv_run(&g->loop, UV_RUN_NOWAIT) != 0) (void)usleep(200);
    cr_assert_eq(uv_loop_close(&g->loop), 0);
    (void)unlink(g->path);
}

static inline void rig_close(struct rig *g)
{
    http_close(g->http, rig_closed, g);
    rig_end(g);
    cr_assert(g->closed);
}

static inline int rig_connect(const struct rig *g)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", g->path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0, "%s", strerror(errno));
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static inline void rig_send(int fd, const char *text, size_t n)
{
    const ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);
    cr_assert(sent == (ssize_t)n || errno == EPIPE || errno == ECONNRESET, "sent %zd", sent);
}

/* Reads until `until` came (NULL: until the end), or ms have passed; true if it did. */
static inline bool rig_read(struct rig *g, int fd, char *out, size_t size, const char *until,
                            int ms)
{
    const int64_t late = clock_mono_ms() + ms;
    size_t n = 0;
    out[0] = '\0';
    while (clock_mono_ms() < late) {
        rig_turn(g, 1);
        const ssize_t got = recv(fd, out + n, size - 1 - n, 0);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) return until == NULL;
        if (got < 0) continue;
        n += (size_t)got;
        out[n] = '\0';
        if (until != NULL && strstr(out, until) != NULL) return true;
    }
    return false;
}

/* One request, read to the end of the connection or for ms; closes it. True: the server closed. */
static inline bool rig_ask(struct rig *g, const char *text, size_t n, char *out, size_t size,
                           int ms)
{
    const int fd = rig_connect(g);
    rig_send(fd, text, n);
    const bool ended = rig_read(g, fd, out, size, NULL, ms);
    (void)close(fd);
    return ended;
}

#endif
