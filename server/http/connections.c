/* connections: who may hold how many, and how long each may take. See http_internal.h and, for the
 * numbers, docs/operations.md. */
#include "server/http/http_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define HEAD_MS 10000
#define IDLE_MS 60000
#define TRANSFER_MS 60000
#define WORK_MS 30000
#define SLOWEST_BYTES_PER_MS 64
#define CONNECTIONS_MAX 2048
#define CONNECTIONS_PER_PEER_MAX 256
#define REFUSED_MAX 256 /* wait for their refusal at once; further ones are cut off */
#define REFUSED_MS 2000

static int64_t or_default(int64_t value, int64_t standard) { return value > 0 ? value : standard; }

/* ---- peers ----------------------------------------------------------------------------------- */
static void fill_address(struct peer *p, int fd)
{
    struct sockaddr_storage a = { 0 };
    socklen_t size = sizeof a;
    if (getpeername(fd, (struct sockaddr *)&a, &size) != 0) return;
    if (a.ss_family == AF_INET)
        memcpy(p->address, &((struct sockaddr_in *)(void *)&a)->sin_addr, 4);
    else if (a.ss_family == AF_INET6) /* one customer has a whole /64 */
        memcpy(p->address, &((struct sockaddr_in6 *)(void *)&a)->sin6_addr, 8);
}

static struct peer *peer_of(struct http *h, const struct identity *who, int fd)
{
    struct peer key = { .via = who->via, .uid = who->uid };
    if (who->via == VIA_NETWORK) fill_address(&key, fd);
    else key.via = VIA_SOCKET; /* a user is one peer, whichever way */
    list_for_each(it, &h->peers) {
        struct peer *p = container_of(it, struct peer, link);
        if (p->via == key.via && p->uid == key.uid &&
            memcmp(p->address, key.address, sizeof key.address) == 0)
            return p;
    }
    struct peer *p = mem_alloc(sizeof *p);
    if (p == NULL) return NULL;
    *p = key;
    list_append(&h->peers, &p->link);
    return p;
}

/* ---- the other end leaves -------------------------------------------------------------------- */
/* MHD does not look at a connection that sleeps. Its descriptor is in an epoll set of MHD's, so
 * this one is the loop's own. */
struct leave_watch {
    uv_poll_t poll;
    int fd;
    void (*left)(void *ctx);
    void *ctx;
};

static void watch_closed(uv_handle_t *handle)
{
    mem_free(container_of((uv_poll_t *)handle, struct leave_watch, poll));
}

/* Must come before MHD closes the descriptor: its number may be another connection's at once. */
static void watch_end(struct connection *c)
{
    if (c->watch == NULL) return;
    uv_close((uv_handle_t *)&c->watch->poll, watch_closed);
    c->watch = NULL;
}

static void on_left(uv_poll_t *poll, int status, int events)
{
    struct leave_watch *w = container_of(poll, struct leave_watch, poll);
    if (status == 0 && (events & UV_DISCONNECT) == 0) return;
    (void)uv_poll_stop(poll); /* it would be said again in every turn */
    w->left(w->ctx);
    (void)shutdown(w->fd, SHUT_RDWR); /* one that is being sent to may be stuck */
}

static void watch_begin(struct connection *c, void (*left)(void *ctx), void *ctx)
{
    struct leave_watch *w = mem_calloc(1, sizeof *w);
    if (w == NULL) return; /* the next heartbeat finds out */
    w->fd = c->fd;
    w->left = left;
    w->ctx = ctx;
    if (uv_poll_init(c->http->loop, &w->poll, c->fd) != 0) {
        mem_free(w);
        return;
    }
    c->watch = w;
    (void)uv_poll_start(&w->poll, UV_DISCONNECT, on_left);
}

/* ---- counting -------------------------------------------------------------------------------- */
static void count_in(struct connection *c)
{
    struct http *h = c->http;
    const struct http_limits *l = &h->o.limits;
    c->over_all = h->requests_open >= or_default(l->connections, CONNECTIONS_MAX);
    c->over_peer = !c->over_all && c->peer->requests >= or_default(l->connections_per_peer,
                                                                   CONNECTIONS_PER_PEER_MAX);
    if (!c->over_all && !c->over_peer) {
        c->counted = true;
        c->peer->requests++;
        h->requests_open++;
        return;
    }
    if (++h->refused_open > REFUSED_MAX) (void)shutdown(c->fd, SHUT_RDWR);
    c->deadline_ms = clock_mono_ms() + REFUSED_MS;
}

static void count_out(struct connection *c)
{
    if (c->over_all || c->over_peer) c->http->refused_open--;
    if (!c->counted) return;
    c->counted = false;
    c->peer->requests--;
    c->http->requests_open--;
}

int connection_admit(const struct connection *c, struct err *e)
{
    if (c == NULL || (!c->over_all && !c->over_peer)) return 0;
    const struct http_limits *l = &c->http->o.limits;
    if (c->over_all)
        return err_set(e, ERR_UNAVAILABLE, "%lld connections are open",
                       (long long)or_default(l->connections, CONNECTIONS_MAX));
    return err_set(e, ERR_RATE, "%s has %lld connections open",
                   c->who.via == VIA_NETWORK ? "this address" : c->who.user,
                   (long long)or_default(l->connections_per_peer, CONNECTIONS_PER_PEER_MAX));
}

/* ---- life ------------------------------------------------------------------------------------ */
static struct connection *begin(struct listener *l, int fd)
{
    struct connection *c = mem_calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    c->http = l->http;
    c->fd = fd;
    c->tls = l->tls;
    c->who = identity_of(fd);
    if (!l->worker) {
        c->peer = peer_of(l->http, &c->who, fd);
        if (c->peer == NULL) {
            mem_free(c);
            return NULL;
        }
        c->peer->connections++;
        c->deadline_ms = clock_mono_ms() + or_default(l->http->o.limits.head_ms, HEAD_MS);
        count_in(c);
    }
    list_append(&l->http->connections, &c->link);
    return c;
}

static void end(struct connection *c)
{
    watch_end(c);
    if (c->peer != NULL) {
        count_out(c);
        if (--c->peer->connections == 0) {
            list_remove(&c->peer->link);
            mem_free(c->peer);
        }
    }
    list_remove(&c->link);
    mem_free(c);
}

void connection_notify(void *ctx, struct MHD_Connection *c, void **slot,
                       enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*slot != NULL) end(*slot);
        *slot = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        c, MHD_CONNECTION_INFO_CONNECTION_FD);
    *slot = begin(ctx, info->connect_fd);
    if (*slot == NULL) (void)shutdown(info->connect_fd, SHUT_RDWR);
}

struct connection *connection_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

/* ---- time ------------------------------------------------------------------------------------ */
void connection_enter(struct connection *c, enum connection_phase phase, uint64_t bytes)
{
    if (c == NULL) return;
    c->phase = phase;
    if (phase == PHASE_HEAD) watch_end(c);
    if (c->peer == NULL || c->over_all || c->over_peer) return; /* its time is set */
    const struct http_limits *l = &c->http->o.limits;
    int64_t ms = 0;
    if (phase == PHASE_HEAD) ms = or_default(l->idle_ms, IDLE_MS);
    if (phase == PHASE_WORK) ms = or_default(l->work_ms, WORK_MS);
    if (phase == PHASE_BODY || phase == PHASE_ANSWER)
        ms = or_default(l->transfer_ms, TRANSFER_MS) + (int64_t)(bytes / SLOWEST_BYTES_PER_MS);
    c->deadline_ms = ms > 0 ? clock_mono_ms() + ms : 0;
}

void request_is_stream(struct request *r, void (*left)(void *ctx), void *ctx)
{
    struct connection *c = connection_of(r->connection);
    r->stream = true;
    if (c == NULL) return;
    count_out(c);
    watch_begin(c, left, ctx);
}

static void too_slow(struct connection *c)
{
    static const char *const waits[] = { "head", "body", "work", "commit", "reader", "stream" };
    c->deadline_ms = 0;
    log_debug("server.http", "too slow: %s", waits[c->phase]);
    if (c->phase == PHASE_WORK) request_expire(c->request);
    else (void)shutdown(c->fd, SHUT_RDWR); /* MHD sees the end and closes */
    body_streams_cut(c->http, c);
}

void connections_tick(struct http *h)
{
    const int64_t now = clock_mono_ms();
    list_for_each_safe(it, &h->connections) {
        struct connection *c = container_of(it, struct connection, link);
        if (c->deadline_ms != 0 && now >= c->deadline_ms) too_slow(c);
    }
}
