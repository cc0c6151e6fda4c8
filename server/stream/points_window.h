/* points_window: an experiment's points go out at most five times a second, however often a worker
 * sends them. What comes in between is put together, in its order. Loop thread. */
#ifndef SERVER_POINTS_WINDOW_H
#define SERVER_POINTS_WINDOW_H

#include "common/list.h"
#include "server/store/points_gather.h"

#include <stdint.h>

#define POINTS_EVERY_MS 200
#define POINTS_WAITING_MAX 5000 /* of one experiment; then they go out */

struct points_windows {
    struct list open; /* one for each experiment that sent points a moment ago */
    void (*send)(void *ctx, int64_t experiment, const struct points_gather *points);
    void *ctx;
};
void points_windows_init(struct points_windows *w,
                         void (*send)(void *ctx, int64_t experiment,
                                      const struct points_gather *points),
                         void *ctx);
/* Sends them now or with what comes later, at most POINTS_EVERY_MS. Without memory they are sent
 * now. */
void points_windows_put(struct points_windows *w, int64_t experiment,
                        const struct points_gather *points, int64_t now_ms);
/* Before any other event of the experiment: its points come first. 0: of all. */
void points_windows_flush(struct points_windows *w, int64_t experiment, int64_t now_ms);
/* Sends what has waited long enough; false: nothing is open, no further turn is needed. */
bool points_windows_turn(struct points_windows *w, int64_t now_ms);
void points_windows_deinit(struct points_windows *w); /* what waits is dropped */

#endif
