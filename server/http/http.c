/* http: the listening side and the loop. See http.h; requests are in request.c, answers in
 * response.c. */
#include "server/http/http_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/http/framing.h"
#include "server/http/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define TICK_MS 250
#define DRAIN_MS 2000
#define LINGER_MS 300                 /* keep-alive connections need no longer */
#define LISTENER_CONNECTIONS_MAX 4000 /* never met: connections.c refuses before, and says so */
#define CONNECTION_MEMORY 16384
#define IDLE_TIMEOUT_S 60
#define BACKLOG 512
#define TLS_PRIORITIES "SECURE192:SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* ---- the loop -------------------------------------------------------------------------------- */
static void noop(uv_idle_t *i) { (void)i; }

static void on_readable(uv_poll_t *p, int status, int events)
{
    struct listener *l = container_of(p, struct listener, poll);
    (void)status;
    (void)events;
    l->http->need_run = true;
}

static void on_timer(uv_timer_t *t) { container_of(t, struct http, timer)->need_run = true; }
static void on_tick(uv_timer_t *t)
{
    struct http *h = container_of(t, struct http, tick);
    connections_tick(h);
    h->need_run = true;
}

void http_kick(struct http *h) { h->need_run = true; }
void http_refuse(struct http *h) { h->refusing = true; }

/* Before the loop sleeps: how soon does MHD want to run? A turn without sleeping when at once. */
static void on_prepare(uv_prepare_t *p)
{
    struct http *h = container_of(p, struct http, prepare);
    uint64_t soonest = UINT64_MAX;
    for (size_t i = 0; i < h->n_listeners && !h->need_run && !h->stopped; i++) {
        MHD_UNSIGNED_LONG_LONG ms;
        if (MHD_get_timeout(h->listeners[i].daemon, &ms) == MHD_YES && ms < soonest) soonest = ms;
    }
    if (soonest == 0) h->need_run = true;
    if (h->need_run) {
        (void)uv_idle_start(&h->idle, noop);
    } else {
        (void)uv_idle_stop(&h->idle);
        if (soonest != UINT64_MAX) (void)uv_timer_start(&h->timer, on_timer, soonest, 0);
        else (void)uv_timer_stop(&h->timer);
    }
}

static void on_check(uv_check_t *c)
{
    struct http *h = container_of(c, struct http, check);
    if (!h->need_run) return;
    h->need_run = false;
    requests_free_done(h);
    for (size_t i = 0; i < h->n_listeners && !h->stopped; i++)
        (void)MHD_run(h->listeners[i].daemon);
    uv_update_time(h->loop); /* long callbacks would make timers late */
}

int http_create(struct http **out, uv_loop_t *loop, const struct http_options *o, struct err *e)
{
    struct http *h = mem_calloc(1, sizeof *h);
    if (h == NULL) return err_set(e, ERR_NOMEM, "http");
    h->loop = loop;
    h->o = *o;
    h->submissions = mem_calloc(1, sizeof *h->submissions);
    if (h->submissions == NULL) (void)err_set(e, ERR_NOMEM, "http");
    if (h->submissions == NULL || http_stats_init(h, e) != 0) {
        mem_free(h->submissions);
        mem_free(h);
        return (int)e->code;
    }
    const struct http_limits *l = &o->limits;
    h->submissions->per_s = l->submissions_per_s > 0 ? (double)l->submissions_per_s : 100;
    h->submissions->burst = l->submissions_burst > 0 ? (double)l->submissions_burst : 1000;
    list_init(&h->connections);
    list_init(&h->peers);
    list_init(&h->bodies);
    list_init(&h->orphans);
    list_init(&h->done);
    (void)uv_prepare_init(loop, &h->prepare);
    (void)uv_check_init(loop, &h->check);
    (void)uv_idle_init(loop, &h->idle);
    (void)uv_timer_init(loop, &h->timer);
    (void)uv_timer_init(loop, &h->tick);
    (void)uv_prepare_start(&h->prepare, on_prepare);
    (void)uv_check_start(&h->check, on_check);
    (void)uv_timer_start(&h->tick, on_tick, TICK_MS, TICK_MS);
    *out = h;
    return 0;
}

/* ---- listening ------------------------------------------------------------------------------- */
static void mhd_log(void *ctx, const char *fmt, va_list args)
{
    (void)ctx;
    char text[200];
    (void)vsnprintf(text, sizeof text, fmt, args);
    text[strcspn(text, "\n")] = '\0';
    log_debug("server.http", "%s", text);
}

static size_t unescape(void *ctx, struct MHD_Connection *c, char *text)
{
    (void)ctx;
    (void)c;
    return framing_unescape(text);
}

static int add_listener(struct http *h, int fd, bool worker, bool tls, struct err *e)
{
    struct listener *l = &h->listeners[h->n_listeners];
    *l = (struct listener){ .http = h, .worker = worker, .tls = tls };
    struct MHD_OptionItem secure[] = {
        { MHD_OPTION_HTTPS_CERT_CALLBACK, 0, tls ? tls_callback() : NULL },
        { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES },
        { MHD_OPTION_END, 0, NULL },
    };
    l->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | (tls ? MHD_USE_TLS : 0), 0,
        NULL, NULL, request_on_access, l, MHD_OPTION_EXTERNAL_LOGGER, mhd_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)LISTENER_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, connection_notify, l, MHD_OPTION_NOTIFY_COMPLETED,
        request_on_completed, NULL, MHD_OPTION_ARRAY, tls ? secure : &secure[2], MHD_OPTION_END);
    if (l->daemon == NULL) {
        (void)close(fd);
        return err_set(e, ERR_IO, "the HTTP library does not start");
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    (void)uv_poll_init(h->loop, &l->poll, info->epoll_fd);
    (void)uv_poll_start(&l->poll, UV_READABLE, on_readable);
    h->n_listeners++;
    h->need_run = true;
    return 0;
}

int http_listen_tcp(struct http *h, const char *address, int port, bool tls, struct err *e)
{
    struct sockaddr_storage a = { 0 };
    struct sockaddr_in *four = (void *)&a;
    struct sockaddr_in6 *six = (void *)&a;
    socklen_t size = sizeof *four;
    four->sin_family = AF_INET;
    four->sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, address, &four->sin_addr) != 1) {
        size = sizeof *six;
        six->sin6_family = AF_INET6;
        six->sin6_port = htons((uint16_t)port);
        if (inet_pton(AF_INET6, address, &six->sin6_addr) != 1)
            return err_set(e, ERR_INVALID, "--listen: '%.60s' is not an IP address", address);
    }
    const int fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) return err_errno(e, errno, "socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&a, size) != 0 || listen(fd, BACKLOG) != 0) {
        const int why = errno;
        (void)close(fd);
        if (why == EADDRINUSE)
            return err_set(e, ERR_IO,
                           "%s:%d is in use by another program; choose another with --listen",
                           address, port);
        return err_errno(e, why, "listening on %s:%d", address, port);
    }
    return add_listener(h, fd, false, tls, e);
}

int http_listen_unix(struct http *h, const char *path, unsigned mode, bool worker, struct err *e)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof a.sun_path)
        return err_set(e, ERR_INVALID, "socket path %.120s is longer than %zu bytes", path,
                       sizeof a.sun_path - 1);
    memcpy(a.sun_path, path, strlen(path) + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return err_errno(e, errno, "socket");
    (void)unlink(path); /* ours: the state directory is locked */
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || chmod(path, mode) != 0 ||
        listen(fd, BACKLOG) != 0) {
        const int why = errno;
        (void)close(fd);
        return err_errno(e, why, "listening on %.150s", path);
    }
    return add_listener(h, fd, worker, false, e);
}

/* ---- closing --------------------------------------------------------------------------------- */
static void finish_close(struct http *h)
{
    void (*on_closed)(void *) = h->on_closed;
    void *ctx = h->closed_ctx;
    mem_free(h->submissions);
    mem_free(h->stats);
    mem_free(h);
    on_closed(ctx);
}

static void handle_closed(uv_handle_t *handle)
{
    struct http *h = handle->data;
    if (--h->handles_left == 0) finish_close(h);
}

static void close_handle(struct http *h, uv_handle_t *handle)
{
    handle->data = h;
    h->handles_left++;
    uv_close(handle, handle_closed);
}

static unsigned connections(const struct http *h)
{
    unsigned n = 0;
    for (size_t i = 0; i < h->n_listeners; i++)
        n += MHD_get_daemon_info(h->listeners[i].daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)
                 ->num_connections;
    return n;
}

static void expire_all(struct http *h)
{
    list_for_each_safe(it, &h->connections)
        request_expire(container_of(it, struct connection, link)->request);
    body_streams_cut(h, NULL);
}

/* MHD must not be stopped over a connection that sleeps: what still works by then is answered in
 * its place. */
static bool drained(struct http *h)
{
    const int64_t now = clock_mono_ms();
    if (h->suspended > 0 && !h->expired) {
        if (now < h->drain_until_ms + DRAIN_MS) return false;
        h->expired = true;
        expire_all(h);
        h->drain_until_ms = now + LINGER_MS;
        return false;
    }
    return connections(h) == 0 || now >= h->drain_until_ms;
}

static void stop_mhd(struct http *h)
{
    h->stopped = true;
    h->handles_left = 1; /* on_drain's own, or the last of these would free h */
    for (size_t i = 0; i < h->n_listeners; i++) {
        close_handle(h, (uv_handle_t *)&h->listeners[i].poll);
        MHD_stop_daemon(h->listeners[i].daemon);
    }
}

static void on_drain(uv_timer_t *t)
{
    struct http *h = container_of(t, struct http, tick);
    h->need_run = true;
    if (!h->stopped && !drained(h)) return;
    if (!h->stopped) stop_mhd(h);
    requests_free_done(h);
    if (!list_empty(&h->orphans)) return; /* their work still holds h */
    close_handle(h, (uv_handle_t *)&h->prepare);
    close_handle(h, (uv_handle_t *)&h->check);
    close_handle(h, (uv_handle_t *)&h->idle);
    close_handle(h, (uv_handle_t *)&h->timer);
    close_handle(h, (uv_handle_t *)&h->tick);
    h->handles_left--;
}

void http_close(struct http *h, void (*on_closed)(void *ctx), void *ctx)
{
    h->on_closed = on_closed;
    h->closed_ctx = ctx;
    h->drain_until_ms = clock_mono_ms() + LINGER_MS;
    for (size_t i = 0; i < h->n_listeners; i++) {
        const MHD_socket fd = MHD_quiesce_daemon(h->listeners[i].daemon);
        if (fd != MHD_INVALID_SOCKET) (void)close(fd);
    }
    (void)uv_timer_start(&h->tick, on_drain, 0, 20);
}
