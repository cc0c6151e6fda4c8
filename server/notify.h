/* notify: tells systemd, or whoever listens at $NOTIFY_SOCKET, how the daemon stands (sd_notify's
 * protocol): READY=1, STATUS=..., WATCHDOG=1 from the loop itself, STOPPING=1. Without that
 * variable nothing happens. Loop thread. */
#ifndef SERVER_NOTIFY_H
#define SERVER_NOTIFY_H

#include <stddef.h>
#include <uv.h>

struct notify {
    uv_timer_t timer;
    int fd; /* -1: nobody listens */
    void (*status)(void *ctx, char *out, size_t size);
    void *ctx;
};
/* Everything is open: READY=1. From now on a loop that turns says so, twice in the time that
 * $WATCHDOG_USEC allows (30 s without one), with a line of status from `status`. Takes both
 * variables out of the environment: workers are none of the service. */
void notify_begin(struct notify *n, uv_loop_t *loop,
                  void (*status)(void *ctx, char *out, size_t size), void *ctx);
void notify_stopping(struct notify *n); /* the watchdog goes on being fed */
void notify_close(struct notify *n);    /* asynchronous; n stays until the loop has ended */

#endif
