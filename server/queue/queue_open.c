/* queue_open: a queue begins, and ends in order: nothing is started any more, what was handed over
 * is written, then the stores and the launcher are closed. Loop thread. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/store/state_lock.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define STOP_WORKERS_MS 10000

/* ---- opening --------------------------------------------------------------------------------- */
static int copy_options(struct queue *q, const struct queue_options *o, struct err *e)
{
    q->o = *o;
    q->state_dir = mem_strdup(o->state_dir);
    q->files_dir = mem_strdup(o->files_dir);
    q->data_dir = mem_strdup(o->data_dir);
    q->worker_program = mem_strdup(o->worker_program);
    q->worker_socket = mem_strdup(o->worker_socket);
    if (q->state_dir == NULL || q->files_dir == NULL || q->data_dir == NULL ||
        q->worker_program == NULL || q->worker_socket == NULL)
        return err_set(e, ERR_NOMEM, "queue options");
    q->o.state_dir = q->state_dir;
    q->o.files_dir = q->files_dir;
    q->o.data_dir = q->data_dir;
    q->o.worker_program = q->worker_program;
    q->o.worker_socket = q->worker_socket;
    return 0;
}

static void on_tick(uv_timer_t *t)
{
    struct queue *q = container_of(t, struct queue, tick);
    scheduler_tick(q);
    deletion_tick(q);
    idempotency_tick(q);
    disk_floor_tick(q);
    sweeps_tick(q);
    rungs_tick(q);
}

static void queue_free(struct queue *q)
{
    list_for_each_safe(it, &q->entries) queue_remove(q, container_of(it, struct entry, link));
    order_deinit(&q->order);
    sweeps_free(q);
    mem_free(q->by_id);
    if (q->lock_fd >= 0) (void)close(q->lock_fd);
    mem_free(q->state_dir);
    mem_free(q->files_dir);
    mem_free(q->data_dir);
    mem_free(q->worker_program);
    mem_free(q->worker_socket);
    mem_free(q);
}

static int open_stores(struct queue *q, struct err *e)
{
    char path[PATH_MAX];
    int rc = store_check_file_system(q->state_dir, e);
    if (rc != 0) return rc;
    (void)snprintf(path, sizeof path, "%s/spiked.db", q->state_dir);
    rc = store_open(&q->main, q->loop, path, "", true, e);
    if (rc != 0) return rc;
    (void)snprintf(path, sizeof path, "%s/metrics.db", q->state_dir);
    return store_open(&q->metrics, q->loop, path, "metrics_", false, e);
}

static void ignore_closed(void *ctx) { (void)ctx; }

int queue_open(struct queue **out, uv_loop_t *loop, const struct queue_options *options,
               struct launcher *launcher, struct queue_observer observer, struct err *e)
{
    struct queue *q = mem_calloc(1, sizeof *q);
    if (q == NULL) return err_set(e, ERR_NOMEM, "queue");
    q->loop = loop;
    q->launcher = launcher;
    q->observer = observer;
    q->lock_fd = -1;
    q->opened_ms = clock_mono_ms();
    list_init(&q->entries);
    list_init(&q->unwritten);
    list_init(&q->trash);
    list_init(&q->graves);
    list_init(&q->timed);
    list_init(&q->moves);
    list_init(&q->rungs);
    order_init(&q->order);
    q->wait_s = (struct histogram){ histogram_long_bounds, histogram_long_count, { 0 }, 0 };
    q->claim_s = (struct histogram){ histogram_tiny_bounds, histogram_tiny_count, { 0 }, 0 };
    int rc = copy_options(q, options, e);
    if (rc == 0 && mkdir(q->files_dir, 0700) != 0 && errno != EEXIST)
        rc = err_errno(e, errno, "%.150s", q->files_dir);
    if (rc == 0) rc = state_lock(q->state_dir, &q->lock_fd, e);
    if (rc == 0) rc = open_stores(q, e);
    if (rc == 0) rc = recovery_load(q, e);
    if (rc == 0) rc = deletion_load(q, e);
    if (rc == 0) rc = rungs_catch_up(q, e);
    if (rc != 0) {
        if (q->main != NULL) store_close(q->main, ignore_closed, NULL);
        if (q->metrics != NULL) store_close(q->metrics, ignore_closed, NULL);
        (void)uv_run(loop, UV_RUN_NOWAIT);
        queue_free(q);
        return rc;
    }
    disk_floor_begin(q);
    launcher->on_exit = scheduler_worker_exit;
    launcher->on_exit_ctx = q;
    (void)uv_timer_init(loop, &q->tick);
    (void)uv_timer_start(&q->tick, on_tick, TICK_MS, TICK_MS);
    recovery_adopt(q);
    scheduler_run(q);
    ingest_fill_rollups(q);
    *out = q;
    return 0;
}

/* ---- closing --------------------------------------------------------------------------------- */
static void one_closed(void *ctx)
{
    struct queue *q = ctx;
    if (--q->closes_left > 0) return;
    void (*on_closed)(void *) = q->on_closed;
    void *closed_ctx = q->closed_ctx;
    queue_free(q);
    on_closed(closed_ctx);
}

static void tick_closed(uv_handle_t *h)
{
    one_closed(container_of((uv_timer_t *)h, struct queue, tick));
}

static void ignore_exit(void *ctx, int64_t experiment, int64_t attempt, struct launcher_exit how)
{
    (void)ctx;
    (void)experiment;
    (void)attempt;
    (void)how;
}

static void close_all(struct queue *q)
{
    q->launcher->on_exit = ignore_exit; /* it lives longer than the queue */
    q->closes_left = 3;
    uv_close((uv_handle_t *)&q->tick, tick_closed);
    store_close(q->main, one_closed, q);
    store_close(q->metrics, one_closed, q);
}

/* With --workers stop waits for the last messages of workers, which were asked to pause; then for
 * writes and reads, whose answers come back to the queue. */
static void on_stopping(uv_timer_t *t)
{
    struct queue *q = container_of(t, struct queue, tick);
    bool workers = false;
    list_for_each(it, &q->entries)
    {
        const struct entry *e = container_of(it, struct entry, link);
        workers |= q->o.stop_workers && (entry_active(e) || e->process.pid != 0);
    }
    if (workers && clock_mono_ms() < q->stop_until_ms) return;
    q->on_quiet(q->closed_ctx);
    if (q->reads > 0 || q->telling > 0 || !store_idle(q->main) || !store_idle(q->metrics)) return;
    (void)uv_timer_stop(&q->tick);
    change_drop_unwritten(q);
    rungs_drop(q);
    close_all(q);
}

void queue_finish_writes(struct queue *q)
{
    store_finish(q->metrics);
    store_finish(q->main);
}

void queue_close(struct queue *q, void (*on_quiet)(void *ctx), void (*on_closed)(void *ctx),
                 void *ctx)
{
    q->closing = true;
    atomic_store(&q->purges_end, true);
    q->on_quiet = on_quiet;
    q->on_closed = on_closed;
    q->closed_ctx = ctx;
    q->stop_until_ms = clock_mono_ms() + STOP_WORKERS_MS;
    signs_write(q, true);
    list_for_each(it, &q->entries)
    {
        const struct entry *e = container_of(it, struct entry, link);
        if (q->o.stop_workers && entry_active(e))
            q->launcher->ops->stop(q->launcher, e->x.id, e->x.attempt, false);
    }
    (void)uv_timer_start(&q->tick, on_stopping, 0, 50);
}
