/* notify: see notify.h. */
#include "server/notify.h"

#include "common/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PERIOD_MS 15000 /* without a watchdog */
#define STATUS_MAX 120

static int open_socket(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const size_t n = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || n < 2 || n >= sizeof a.sun_path) return -1;
    memcpy(a.sun_path, path, n);
    if (path[0] == '@') a.sun_path[0] = '\0'; /* an abstract name */
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, length) == 0) return fd;
    log_warn("server", "NOTIFY_SOCKET %.100s: %s", path, strerror(errno));
    if (fd >= 0) (void)close(fd);
    return -1;
}

static void tell(const struct notify *n, const char *text)
{
    if (send(n->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        log_debug("server", "notify: %s", strerror(errno));
}

static void tell_status(const struct notify *n, const char *state)
{
    char status[STATUS_MAX], text[STATUS_MAX + 40];
    n->status(n->ctx, status, sizeof status);
    (void)snprintf(text, sizeof text, "%s\nSTATUS=%s\n", state, status);
    tell(n, text);
}

static void on_timer(uv_timer_t *t) { tell_status(t->data, "WATCHDOG=1"); }

/* Half of what is allowed; another process's time is not ours. */
static uint64_t period_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    const unsigned long long us = usec != NULL ? strtoull(usec, NULL, 10) : 0;
    const bool ours = pid == NULL || strtol(pid, NULL, 10) == getpid();
    return us >= 2000 && ours ? us / 2000 : PERIOD_MS;
}

void notify_begin(struct notify *n, uv_loop_t *loop,
                  void (*status)(void *ctx, char *out, size_t size), void *ctx)
{
    const char *path = getenv("NOTIFY_SOCKET");
    *n = (struct notify){ .fd = path != NULL ? open_socket(path) : -1,
                          .status = status,
                          .ctx = ctx };
    const uint64_t ms = period_ms();
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    (void)uv_timer_init(loop, &n->timer);
    n->timer.data = n;
    if (n->fd < 0) return;
    tell_status(n, "READY=1");
    (void)uv_timer_start(&n->timer, on_timer, ms, ms);
}

void notify_stopping(struct notify *n)
{
    if (n->fd >= 0) tell(n, "STOPPING=1\nSTATUS=stopping\n");
}

void notify_close(struct notify *n)
{
    if (n->fd >= 0) (void)close(n->fd);
    n->fd = -1;
    uv_close((uv_handle_t *)&n->timer, NULL);
}
