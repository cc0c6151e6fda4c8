/* points_window: see points_window.h. */
#include "server/stream/points_window.h"

#include "common/mem.h"

struct window {
    struct list link;
    int64_t experiment, sent_ms;
    struct points_gather waiting;
};

void points_windows_init(struct points_windows *w,
                         void (*send)(void *ctx, int64_t experiment,
                                      const struct points_gather *points),
                         void *ctx)
{
    *w = (struct points_windows){ .send = send, .ctx = ctx };
    list_init(&w->open);
}

static struct window *find(struct points_windows *w, int64_t experiment)
{
    list_for_each(it, &w->open) {
        struct window *one = container_of(it, struct window, link);
        if (one->experiment == experiment) return one;
    }
    return NULL;
}

static void send_waiting(struct points_windows *w, struct window *one, int64_t now_ms)
{
    if (one->waiting.n == 0) return;
    w->send(w->ctx, one->experiment, &one->waiting);
    gather_deinit(&one->waiting);
    one->sent_ms = now_ms;
}

/* All of it or nothing; false: nothing, there is no room or no memory. */
static bool keep(struct window *one, const struct points_gather *points)
{
    struct points_gather both = { 0 };
    struct err e = { 0 };
    if (gather_all(&both, &one->waiting, &e) != 0 || gather_all(&both, points, &e) != 0) {
        gather_deinit(&both);
        return false;
    }
    gather_deinit(&one->waiting);
    one->waiting = both;
    return true;
}

void points_windows_put(struct points_windows *w, int64_t experiment,
                        const struct points_gather *points, int64_t now_ms)
{
    struct window *one = find(w, experiment);
    if (one == NULL) {
        one = mem_calloc(1, sizeof *one);
        if (one != NULL) {
            *one = (struct window){ .experiment = experiment, .sent_ms = now_ms };
            list_append(&w->open, &one->link);
        }
        w->send(w->ctx, experiment, points);
        return;
    }
    if (!keep(one, points)) {
        send_waiting(w, one, now_ms);
        w->send(w->ctx, experiment, points);
        one->sent_ms = now_ms;
        return;
    }
    if (now_ms - one->sent_ms >= POINTS_EVERY_MS ||
        gather_points_count(&one->waiting) > POINTS_WAITING_MAX)
        send_waiting(w, one, now_ms);
}

void points_windows_flush(struct points_windows *w, int64_t experiment, int64_t now_ms)
{
    list_for_each(it, &w->open) {
        struct window *one = container_of(it, struct window, link);
        if (experiment == 0 || one->experiment == experiment) send_waiting(w, one, now_ms);
    }
}

bool points_windows_turn(struct points_windows *w, int64_t now_ms)
{
    list_for_each_safe(it, &w->open) {
        struct window *one = container_of(it, struct window, link);
        if (now_ms - one->sent_ms < POINTS_EVERY_MS) continue;
        if (one->waiting.n > 0) {
            send_waiting(w, one, now_ms);
            continue;
        }
        list_remove(&one->link);
        mem_free(one);
    }
    return !list_empty(&w->open);
}

void points_windows_deinit(struct points_windows *w)
{
    list_for_each_safe(it, &w->open) {
        struct window *one = container_of(it, struct window, link);
        gather_deinit(&one->waiting);
        list_remove(&one->link);
        mem_free(one);
    }
}
