/* loop_lag: how late the loop comes to what is due, sampled 20 times a second. Loop thread. */
#ifndef SERVER_LOOP_LAG_H
#define SERVER_LOOP_LAG_H

#include "server/meter/histogram.h"

#include <uv.h>

struct loop_lag {
    struct histogram seconds; /* the clock of the loop ticks in ms: up to one is no lag */
    uv_timer_t timer;
    int64_t due_ns;
};
void loop_lag_start(struct loop_lag *l, uv_loop_t *loop);
void loop_lag_close(struct loop_lag *l); /* asynchronous; l stays until the loop has ended */

#endif
