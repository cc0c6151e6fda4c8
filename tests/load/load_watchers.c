/* load_watchers: see load_watchers.h. */
#include "tests/load/load_watchers.h"

#include "common/clock.h"
#include "tests/load/sse_reader.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST_UID 61001
#define COME_AGAIN_MS 20000 /* by then the daemon knows who left, whatever else it does */

/* ---- a child: some streams of one user ------------------------------------------------------ */
struct stream {
    struct sse_reader r;
    uint64_t epoch, last; /* of the state events */
    int64_t events, gaps, disorder, resets;
    struct samples *ms;
};

/* Every event of the topic has the next number: nothing else happens meanwhile. The time of its
 * making stands in its name. */
static void take_event(void *ctx, const struct sse_event *ev)
{
    struct stream *s = ctx;
    s->resets += strcmp(ev->name, "reset") == 0;
    if (strcmp(ev->name, "experiment.state") != 0) return;
    const char *made = strstr(ev->data, "\"name\":\"at ");
    if (made != NULL && s->ms != NULL)
        samples_add(s->ms, (double)(clock_mono_ns() - strtoll(made + 11, NULL, 10)) * 1e-6);
    s->gaps += s->last != 0 && ev->seq != s->last + 1;
    s->disorder += ev->epoch == s->epoch && ev->seq <= s->last;
    s->epoch = ev->epoch;
    s->last = ev->seq;
    s->events++;
}

/* Opens until the daemon has said hello to all; tells the parent by a byte. */
static int open_streams(struct stream *all, size_t n, int port, bool mixed, struct samples *ms)
{
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < n; i++) {
        all[i] = (struct stream){ .ms = ms };
        const char *topics = mixed && i % 10 != 0 ? "experiment:1" : "experiments";
        if (!sse_open(&all[i].r, port, topics, NULL, take_event, &all[i])) _exit(3);
        struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &all[i] };
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].r.fd, &ev);
    }
    return epoll;
}

static void read_some(int epoll, int ms, int64_t *ended)
{
    struct epoll_event events[64];
    const int n = epoll_wait(epoll, events, 64, ms);
    for (int i = 0; i < n; i++) {
        struct stream *s = events[i].data.ptr;
        if (sse_read(&s->r)) continue;
        ++*ended;
        (void)epoll_ctl(epoll, EPOLL_CTL_DEL, s->r.fd, NULL);
    }
}

/* One try to come again after `from`; the status of the answer, *again has what came. */
static int come_again(const struct stream *seen, uint64_t from, int port, struct stream *again)
{
    char id[60];
    int64_t ended = 0;
    *again = (struct stream){ .last = from };
    (void)snprintf(id, sizeof id, "%" PRIu64 "-%" PRIu64, seen->epoch, from);
    if (!sse_open(&again->r, port, "experiments", id, take_event, again)) return 0;
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = again };
    (void)epoll_ctl(epoll, EPOLL_CTL_ADD, again->r.fd, &ev);
    for (int i = 0; i < 100 && again->last < seen->last && again->r.status < 400; i++)
        read_some(epoll, 50, &ended);
    const int status = again->r.status;
    (void)close(epoll);
    sse_close(&again->r);
    return status;
}

/* Every stream is taken, or every one of this user: the one that was left, too, until the daemon
 * has seen its end. A browser tries again. */
static bool is_full(int status) { return status == 429 || status == 503; }

/* From the middle of what was seen: exactly what came after, in order. */
static bool resumes_exactly(const struct stream *seen, int port, int64_t *kept_out)
{
    const uint64_t from = seen->last - (uint64_t)seen->events / 2;
    struct stream again;
    const int64_t until_ms = clock_mono_ms() + COME_AGAIN_MS;
    int status;
    while (is_full(status = come_again(seen, from, port, &again)) && clock_mono_ms() < until_ms)
        sleep_ms(250);
    *kept_out += is_full(status);
    if (is_full(status)) return true; /* said so, and nothing wrong was told */
    return again.last == seen->last && again.gaps == 0 && again.resets == 0 &&
           again.events == (int64_t)(seen->last - from);
}

static void be_a_user(const struct load *l, const struct watchers *u, size_t n, int go, int out)
{
    static struct stream all[STREAMS_A_USER];
    struct samples ms = { 0 };
    struct watchers_report rep = { .streams = (int64_t)n };
    char byte = 'o';
    const uid_t uid = (uid_t)(FIRST_UID + u->n);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (geteuid() == 0 && (setgid(uid) != 0 || setuid(uid) != 0)) _exit(2);
    const int epoll = open_streams(all, n, l->s.port, u->mixed, &ms);
    for (int i = 0; i < 40; i++) read_some(epoll, 10, &rep.ended);
    if (write(out, &byte, 1) != 1) _exit(4);
    /* Until the parent says so, and what is on its way by then. */
    struct epoll_event ev = { .events = EPOLLIN };
    const int stop = epoll_create1(EPOLL_CLOEXEC);
    (void)epoll_ctl(stop, EPOLL_CTL_ADD, go, &ev);
    while (epoll_wait(stop, &ev, 1, 0) == 0) read_some(epoll, 20, &rep.ended);
    for (int i = 0; i < 50; i++) read_some(epoll, 10, &rep.ended);
    for (size_t i = 0; i < n; i++) {
        rep.events += all[i].events;
        rep.gaps += all[i].gaps;
        rep.disorder += all[i].disorder;
        rep.resets += all[i].resets;
    }
    for (size_t i = 0; i < n; i++) sse_close(&all[i].r); /* the break */
    for (size_t i = 0; i < 2 && i < n; i++)
        if (!u->mixed && all[i].events > 1)
            rep.resumed_wrong += !resumes_exactly(&all[i], l->s.port, &rep.kept_out);
    rep.p99_ms = samples_at(&ms, 0.99);
    if (write(out, &rep, sizeof rep) != (ssize_t)sizeof rep) _exit(5);
    _exit(0);
}

/* ---- the parent ----------------------------------------------------------------------------- */

static void add_user(struct load *l, struct watchers *u, size_t streams)
{
    int go[2], out[2];
    cr_assert(u->n < USERS_MAX && pipe(go) == 0 && pipe(out) == 0);
    const pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        (void)close(go[1]);
        be_a_user(l, u, streams, go[0], out[1]);
    }
    (void)close(go[0]);
    (void)close(out[1]);
    u->pids[u->n] = pid;
    u->go[u->n] = go[1];
    u->out[u->n++] = out[0];
    u->streams += streams;
    char byte;
    cr_assert(read(out[0], &byte, 1) == 1, "user %zu got no streams", u->n);
}

struct watchers_report watchers_end(struct watchers *u)
{
    struct watchers_report sum = { 0 };
    for (size_t i = 0; i < u->n; i++) (void)close(u->go[i]);
    for (size_t i = 0; i < u->n; i++) {
        struct watchers_report r;
        cr_assert(read(u->out[i], &r, sizeof r) == (ssize_t)sizeof r, "no report of a child");
        (void)waitpid(u->pids[i], NULL, 0);
        (void)close(u->out[i]);
        sum.streams += r.streams;
        sum.events += r.events;
        sum.gaps += r.gaps;
        sum.disorder += r.disorder;
        sum.resets += r.resets;
        sum.ended += r.ended;
        sum.resumed_wrong += r.resumed_wrong;
        sum.kept_out += r.kept_out;
        if (r.p99_ms > sum.p99_ms) sum.p99_ms = r.p99_ms;
    }
    return sum;
}

void watchers_open(struct load *l, struct watchers *u, size_t streams)
{
    const size_t most = geteuid() == 0 || streams < STREAMS_A_USER ? streams : STREAMS_A_USER;
    while (u->streams < most)
        add_user(l, u, most - u->streams < STREAMS_A_USER ? most - u->streams : STREAMS_A_USER);
}
