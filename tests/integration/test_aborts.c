/* Story of clients that go away: while a read from disk is under way for them, in the middle of a
 * request, in the middle of an answer, out of a stream. SPIKED_ABORTS says how many (default 1500).
 */
#include "common/clock.h"
#include "common/mem.h"
#include "tests/support/service.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ONE "/api/v1/experiments/1"

/* Each ends at another place: in the pool, in the database's reader, in MHD, in a stream. */
static const char *const paths[] = { ONE "/logs",
                                     ONE "/metrics",
                                     ONE "/artifacts",
                                     ONE "/attempts",
                                     "/api/v1/datasets",
                                     ONE,
                                     ONE "/artifacts/stdout.log",
                                     "/api/v1/schema",
                                     ONE "/metrics/train/loss",
                                     "/api/v1/events" };
#define PATHS (sizeof paths / sizeof paths[0])

static unsigned draws = 12345;
static unsigned draw(unsigned below)
{
    draws = draws * 1103515245 + 12345;
    return (draws >> 16) % below;
}

static int connect_to(const struct service *s)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons((uint16_t)s->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0, "%s", strerror(errno));
    return fd;
}

/* How it goes: with FIN or RST; at once, after a moment, or after the first bytes of the answer;
 * one in eight before its head is whole, one in eight with a second request behind it. */
static void abort_one(const struct service *s, unsigned i)
{
    char text[400], byte[16];
    const char *path = paths[i % PATHS];
    const int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n%s%s%s",
                           path, i % 8 == 1 ? "GET " : "", i % 8 == 1 ? path : "",
                           i % 8 == 1 ? " HTTP/1.1\r\nHost: localhost\r\n\r\n" : "");
    const int fd = connect_to(s);
    const size_t length = i % 8 == 0 ? draw((unsigned)n) : (size_t)n;
    cr_assert(send(fd, text, length, MSG_NOSIGNAL) >= 0 || errno == EPIPE);
    if (i % 3 == 1) (void)usleep(draw(400));
    if (i % 3 == 2 && length == (size_t)n) (void)recv(fd, byte, sizeof byte, 0);
    if (i % 2 == 0) {
        const struct linger reset = { .l_onoff = 1 };
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    (void)close(fd);
}

/* Descriptors of the daemon that lead to "socket:", or to a file of the experiment. */
static int open_of(const struct service *s, const char *what)
{
    char path[64], to[256];
    int n = 0;
    for (int fd = 0; fd < 4096; fd++) {
        (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)s->pid, fd);
        const ssize_t length = readlink(path, to, sizeof to - 1);
        to[length > 0 ? length : 0] = '\0';
        n += strstr(to, what) != NULL;
    }
    return n;
}

static bool closed_down_to(const struct service *s, const char *what, int n)
{
    const int64_t until = clock_mono_ms() + 5000;
    while (open_of(s, what) > n && clock_mono_ms() < until) sleep_ms(20);
    return open_of(s, what) <= n;
}

static void still_serves(const struct service *s, unsigned i)
{
    struct answer a = http_get(s, paths[i % (PATHS - 1)]);
    const int64_t until = clock_mono_ms() + 5000;
    while (a.status == 503 && clock_mono_ms() < until) { /* the pool is busy for those who left */
        answer_free(&a);
        sleep_ms(5);
        a = http_get(s, paths[i % (PATHS - 1)]);
    }
    cr_assert_eq(a.status, 200, "%s after %u: %ld %s", paths[i % (PATHS - 1)], i, a.status,
                 a.body != NULL ? a.body : "");
    answer_free(&a);
}

/* Goal: whatever clients do, others are served, and nothing of those who left stays behind. */
Test(aborts, clients_that_leave_cost_nothing, .timeout = 240)
{
    const char *wanted = getenv("SPIKED_ABORTS");
    const unsigned aborts = wanted != NULL ? (unsigned)strtoul(wanted, NULL, 10) : 1500;
    struct service s = { 0 };
    service_start(&s);
    char *spec = small_spec(1, NULL);
    (void)submit(&s, spec);
    mem_free(spec);
    cr_assert(wait_state(&s, 1, "succeeded", 60));
    const int sockets = open_of(&s, "socket:");
    for (unsigned i = 0; i < aborts; i++) {
        abort_one(&s, i);
        if (i % 50 == 49) still_serves(&s, i / 50);
    }
    cr_expect(closed_down_to(&s, "socket:", sockets), "%d sockets before, %d after", sockets,
              open_of(&s, "socket:"));
    cr_expect(closed_down_to(&s, "/attempt-", 0));
    service_end(&s);
}
