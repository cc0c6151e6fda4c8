/* swarm: see swarm.h. */
#include "tests/load/swarm.h"

#include "common/clock.h"
#include "common/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_ROOM ((size_t)1 << 20)
#define PATIENCE_NS 5000000000LL

struct connection {
    int fd;
    bool waiting, done;
    int64_t sent_ns, due_ns;
    char *in;
    size_t length, capacity;
};
struct run {
    struct swarm *s;
    struct connection *all;
    int epoll;
    size_t open;
    int64_t began_ns, until_ns;
};

int swarm_connect(int port, const char *unix_path)
{
    struct sockaddr_in in = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    const bool tcp = unix_path == NULL;
    const int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) return -1;
    if (!tcp) (void)snprintf(un.sun_path, sizeof un.sun_path, "%s", unix_path);
    else (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const struct sockaddr *a = tcp ? (const void *)&in : (const void *)&un;
    if (connect(fd, a, tcp ? sizeof in : sizeof un) == 0) return fd;
    (void)close(fd);
    return -1;
}

size_t swarm_request(char *out, size_t room, const char *method, const char *path,
                     const char *extra, const char *body)
{
    const int n = snprintf(
        out, room, "%s %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %zu\r\n\r\n%s", method,
        path, extra, body != NULL ? strlen(body) : 0, body != NULL ? body : "");
    return n > 0 && (size_t)n < room ? (size_t)n : 0;
}

/* ---- one connection ------------------------------------------------------------------------- */
static void leave(struct run *r, struct connection *c)
{
    if (c->fd >= 0) (void)close(c->fd);
    c->fd = -1;
    if (!c->done) r->open--;
    c->done = true;
}

static void lose(struct run *r, struct connection *c)
{
    r->s->broken++;
    leave(r, c);
}

static void ask(struct run *r, struct connection *c, int64_t now)
{
    char text[SWARM_REQUEST_MAX];
    const size_t n = r->until_ns != 0 && now >= r->until_ns
                         ? 0
                         : r->s->next(r->s->ctx, (size_t)(c - r->all), text, sizeof text);
    if (n == 0) {
        leave(r, c);
        return;
    }
    c->sent_ns = r->s->rate > 0 ? c->due_ns : now;
    c->waiting = true;
    if (send(c->fd, text, n, MSG_NOSIGNAL) != (ssize_t)n) lose(r, c);
}

static bool join(struct run *r, struct connection *c)
{
    c->fd = swarm_connect(r->s->port, r->s->unix_path);
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
    return c->fd >= 0 && fcntl(c->fd, F_SETFL, O_NONBLOCK) == 0 &&
           epoll_ctl(r->epoll, EPOLL_CTL_ADD, c->fd, &ev) == 0;
}

/* Length of the whole answer once its head is here; 0 = not yet. */
static size_t answer_length(const struct connection *c, size_t *head)
{
    const char *end = memmem(c->in, c->length, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    *head = (size_t)(end + 4 - c->in);
    for (const char *line = c->in; line < end; line = strstr(line, "\r\n") + 2)
        if (strncasecmp(line, "Content-Length:", 15) == 0)
            return *head + strtoull(line + 15, NULL, 10);
    return *head;
}

static void take(struct run *r, struct connection *c, size_t head, size_t whole, int64_t now)
{
    struct swarm *s = r->s;
    const int status = atoi(c->in + 9);
    const char kept = c->in[whole];
    c->in[whole] = '\0';
    s->good += status / 100 == 2;
    s->refused += status / 100 != 2;
    samples_add(&s->ms, (double)(now - c->sent_ns) * 1e-6);
    if (s->answered != NULL)
        s->answered(s->ctx, (size_t)(c - r->all), status, c->in + head, whole - head);
    c->in[whole] = kept;
    memmove(c->in, c->in + whole, c->length - whole);
    c->length -= whole;
    c->waiting = false;
    if (s->rate > 0) c->due_ns += (int64_t)(1e9 * (double)s->connections / s->rate);
    else ask(r, c, now);
}

static void receive(struct run *r, struct connection *c)
{
    if (c->capacity - c->length < 65536) {
        c->capacity = 2 * c->capacity + 65536;
        c->in = mem_realloc_array(c->in, c->capacity + 1, 1);
        if (c->in == NULL || c->capacity > 64 * ANSWER_ROOM) abort();
    }
    const ssize_t n = recv(c->fd, c->in + c->length, c->capacity - c->length, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        lose(r, c);
        return;
    }
    c->length += (size_t)n;
    c->in[c->length] = '\0';
    size_t head = 0;
    const size_t whole = answer_length(c, &head);
    if (whole > 0 && c->length >= whole && c->waiting) take(r, c, head, whole, clock_mono_ns());
}

/* ---- all of them ---------------------------------------------------------------------------- */
/* Sends what is due; how long to sleep at most, in ms. */
static int pace(struct run *r, int64_t now)
{
    int64_t soonest = now + 100000000;
    for (size_t i = 0; i < r->s->connections; i++) {
        struct connection *c = &r->all[i];
        if (c->done || c->waiting) continue;
        if (c->due_ns <= now) ask(r, c, now);
        else if (c->due_ns < soonest) soonest = c->due_ns;
    }
    return (int)((soonest - now) / 1000000) + 1;
}

static void begin(struct run *r)
{
    for (size_t i = 0; i < r->s->connections; i++) {
        struct connection *c = &r->all[i];
        c->due_ns = r->began_ns;
        if (r->s->rate > 0) c->due_ns += (int64_t)(1e9 * (double)i / r->s->rate);
        if (!join(r, c)) lose(r, c);
        else if (r->s->rate <= 0) ask(r, c, clock_mono_ns());
    }
}

void swarm_run(struct swarm *s)
{
    struct run r = { .s = s, .open = s->connections, .epoll = epoll_create1(EPOLL_CLOEXEC) };
    struct epoll_event events[256];
    r.all = mem_calloc(s->connections, sizeof r.all[0]);
    if (r.all == NULL || r.epoll < 0) abort();
    for (size_t i = 0; i < s->connections; i++) r.all[i].fd = -1;
    r.began_ns = clock_mono_ns();
    r.until_ns = s->seconds > 0 ? r.began_ns + (int64_t)(s->seconds * 1e9) : 0;
    begin(&r);
    while (r.open > 0) {
        const int64_t now = clock_mono_ns();
        if (r.until_ns != 0 && now > r.until_ns + PATIENCE_NS) break;
        const int sleep = s->rate > 0 ? pace(&r, now) : 1000;
        const int n = epoll_wait(r.epoll, events, 256, sleep);
        for (int i = 0; i < n; i++) receive(&r, events[i].data.ptr);
    }
    s->took_s = (double)(clock_mono_ns() - r.began_ns) * 1e-9;
    for (size_t i = 0; i < s->connections; i++) {
        s->unanswered += !r.all[i].done && r.all[i].waiting;
        if (r.all[i].fd >= 0) (void)close(r.all[i].fd);
        mem_free(r.all[i].in);
    }
    mem_free(r.all);
    (void)close(r.epoll);
}

void swarm_deinit(struct swarm *s) { samples_deinit(&s->ms); }
