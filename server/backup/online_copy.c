/* online_copy: see online_copy.h.
 *
 * Both copies are brought near their end, one after the other; what the writers write from then on
 * goes into the copied pages as well. The rest of both is handed to the two writers in one turn of
 * the loop: what was submitted before that turn is in the copies, what came later is in neither. As
 * the end of an attempt is submitted when its points are committed, no copy says more than the
 * other knows. */
#include "server/backup/online_copy.h"

#include "common/crash.h"
#include "common/mem.h"
#include "server/backup/db_copy.h"

#include <limits.h>
#include <stdio.h>

#define PAUSE_MS 10 /* between two slices of a mebibyte: training has the disk, too */

enum task { TASK_SLICE, TASK_REST, TASK_END };
struct side {
    struct store_job job;
    struct online_copy *c;
    struct store *store;
    struct db_copy copy;
    enum task task;
    bool near_end;
    char path[PATH_MAX];
};
enum { METRICS, MAIN, SIDES };
struct online_copy {
    struct side sides[SIDES];
    int turn;      /* whose slices are copied; SIDES: what is left of both */
    int under_way; /* jobs */
    bool ending, stopping;
    atomic_bool stop_check;
    uv_timer_t pause;
    uv_work_t check;
    uv_loop_t *loop;
    struct err err;
    void (*done)(void *ctx, const struct err *e);
    void *ctx;
};

static void go_on(struct online_copy *c);

/* ---- writer threads -------------------------------------------------------------------------- */
static int run_task(struct store_job *job, sqlite3 *db, struct err *e)
{
    struct side *s = container_of(job, struct side, job);
    if (s->task == TASK_END) {
        db_copy_end(&s->copy);
        return 0;
    }
    if (s->task == TASK_SLICE) {
        const int rc = db_copy_slice(&s->copy, db, s->path, &s->near_end, e);
        crash_point(CRASH_BACKUP_SLICE);
        return rc;
    }
    return db_copy_rest(&s->copy, db, s->path, e);
}

/* ---- pool ------------------------------------------------------------------------------------ */
static void check_copies(uv_work_t *w)
{
    struct online_copy *c = container_of(w, struct online_copy, check);
    for (int i = 0; i < SIDES && c->err.code == ERR_OK; i++)
        (void)db_copy_check(c->sides[i].path, &c->stop_check, &c->err);
}

/* ---- loop ------------------------------------------------------------------------------------ */
static void pause_closed(uv_handle_t *h)
{
    mem_free(container_of((uv_timer_t *)h, struct online_copy, pause));
}

static void over(struct online_copy *c)
{
    if (c->err.code == ERR_OK) crash_point(CRASH_BACKUP_COPIED);
    c->done(c->ctx, &c->err);
    uv_close((uv_handle_t *)&c->pause, pause_closed);
}

static void checked(uv_work_t *w, int status)
{
    (void)status;
    over(container_of(w, struct online_copy, check));
}

static void task_done(struct store_job *job, const struct err *e)
{
    struct side *s = container_of(job, struct side, job);
    struct online_copy *c = s->c;
    c->under_way--;
    if (c->err.code == ERR_OK) c->err = *e;
    if (c->under_way == 0) go_on(c);
}

static void submit(struct online_copy *c, int which, enum task task)
{
    struct side *s = &c->sides[which];
    s->job = (struct store_job){ .run = run_task, .done = task_done, .alone = true };
    s->task = task;
    c->under_way++;
    store_submit(s->store, &s->job);
}

static void pause_over(uv_timer_t *t)
{
    struct online_copy *c = container_of(t, struct online_copy, pause);
    submit(c, c->turn, TASK_SLICE);
}

/* What comes after jobs that have ended. */
static void go_on(struct online_copy *c)
{
    if (c->ending) {
        if (c->err.code == ERR_OK) (void)uv_queue_work(c->loop, &c->check, check_copies, checked);
        else over(c);
        return;
    }
    if (c->stopping && c->err.code == ERR_OK)
        (void)err_set(&c->err, ERR_STOPPED, "the daemon ends");
    if (c->err.code != ERR_OK || c->turn == SIDES) {
        c->ending = true;
        submit(c, METRICS, TASK_END);
        submit(c, MAIN, TASK_END);
    } else if (!c->sides[c->turn].near_end) {
        (void)uv_timer_start(&c->pause, pause_over, PAUSE_MS, 0);
    } else if (++c->turn < SIDES) {
        submit(c, c->turn, TASK_SLICE);
    } else {
        submit(c, MAIN, TASK_REST);
        submit(c, METRICS, TASK_REST);
    }
}

int online_copy_start(struct online_copy **out, uv_loop_t *loop, struct store *metrics,
                      struct store *main, const char *dir,
                      void (*done)(void *ctx, const struct err *e), void *ctx, struct err *e)
{
    struct online_copy *c = mem_calloc(1, sizeof *c);
    if (c == NULL) return err_set(e, ERR_NOMEM, "copies of the databases");
    c->loop = loop;
    c->done = done;
    c->ctx = ctx;
    c->sides[METRICS].store = metrics;
    c->sides[MAIN].store = main;
    for (int i = 0; i < SIDES; i++) {
        c->sides[i].c = c;
        (void)snprintf(c->sides[i].path, sizeof c->sides[i].path, "%s/%s", dir,
                       i == METRICS ? "metrics.db" : "spiked.db");
    }
    (void)uv_timer_init(loop, &c->pause);
    submit(c, METRICS, TASK_SLICE);
    *out = c;
    return 0;
}

void online_copy_stop(struct online_copy *c)
{
    c->stopping = true;
    atomic_store(&c->stop_check, true);
    if (!uv_is_active((uv_handle_t *)&c->pause)) return; /* what is under way looks */
    (void)uv_timer_stop(&c->pause);
    go_on(c);
}
