/* loop_lag: see loop_lag.h. */
#include "server/meter/loop_lag.h"

#include "common/clock.h"
#include "common/list.h"

#define PERIOD_MS 50

static void on_sample(uv_timer_t *t)
{
    struct loop_lag *l = container_of(t, struct loop_lag, timer);
    histogram_add(&l->seconds, (double)(clock_mono_ns() - l->due_ns) * 1e-9);
    l->due_ns = (int64_t)(uv_now(t->loop) + PERIOD_MS) * 1000000; /* as libuv counts it */
}

void loop_lag_start(struct loop_lag *l, uv_loop_t *loop)
{
    *l = (struct loop_lag){ .seconds = { .bounds = histogram_short_bounds,
                                         .n_bounds = histogram_short_count } };
    (void)uv_timer_init(loop, &l->timer);
    l->due_ns = (int64_t)(uv_now(loop) + PERIOD_MS) * 1000000;
    (void)uv_timer_start(&l->timer, on_sample, PERIOD_MS, PERIOD_MS);
}

void loop_lag_close(struct loop_lag *l) { uv_close((uv_handle_t *)&l->timer, NULL); }
