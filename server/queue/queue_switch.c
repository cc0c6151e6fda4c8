/* queue_switch: pausing and draining the queue as a whole, and what it says of itself. Both
 * switches are rows: a daemon that starts again, or crashed, stands as the admin left it. See
 * queue.h. Loop thread. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/crash.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/stmt.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *on, *off; /* row, events of the audit */
} switches[QUEUE_SWITCHES] = {
    [QUEUE_PAUSED] = { "paused", "queue_pause", "queue_resume" },
    [QUEUE_DRAINING] = { "draining", "drain", "undrain" },
};

struct switch_job {
    struct store_job job;
    struct queue *q;
    enum queue_switch which;
    bool on;
    char actor[QUEUE_USER_MAX];
    queue_switch_fn done;
    void *ctx;
};

int queue_load_switches(struct queue *q, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(&s, store_db_at_start(q->main), "SELECT name,value FROM setting", e);
    int got = 0;
    while (rc == 0 && (got = stmt_step(&s, e)) == 1)
        for (int i = 0; i < QUEUE_SWITCHES; i++)
            if (strcmp(stmt_text(&s, 0), switches[i].name) == 0)
                q->switched[i] = stmt_int(&s, 1) != 0;
    stmt_finish(&s);
    if (q->switched[QUEUE_PAUSED])
        log_warn("server.queue", "the queue is paused: POST /api/v1/queue/resume lets it go on");
    if (q->switched[QUEUE_DRAINING])
        log_warn("server.queue", "the daemon drains: POST /api/v1/admin/undrain ends that");
    return rc != 0 ? rc : got < 0 ? (int)e->code : 0;
}

bool queue_is(const struct queue *q, enum queue_switch which) { return q->switched[which]; }

bool queue_starts(const struct queue *q)
{
    return !q->closing && !q->switched[QUEUE_PAUSED] && !q->switched[QUEUE_DRAINING] &&
           q->disk.room == DISK_ENOUGH;
}

bool queue_ready(const struct queue *q, struct err *e)
{
    if (q->closing) (void)err_set(e, ERR_UNAVAILABLE, "the daemon is stopping");
    else if (q->switched[QUEUE_DRAINING])
        (void)err_set(e, ERR_UNAVAILABLE, "the daemon drains: an admin lets nothing new in");
    else if (q->disk.room != DISK_ENOUGH)
        (void)err_set(
            e, ERR_UNAVAILABLE,
            "less than %lld %% of the disk is free: nothing is taken or started",
            (long long)(q->disk.room == DISK_LOW ? q->o.disk_low_percent : q->o.disk_full_percent));
    return e->code == ERR_OK;
}

/* ---- switching ------------------------------------------------------------------------------- */
static int write_switch(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct switch_job *s = container_of(job, struct switch_job, job);
    int rc = stmt_once(db, "INSERT OR REPLACE INTO setting(name,value) VALUES(?,?)", e, "ti",
                       switches[s->which].name, (int64_t)s->on);
    if (rc == 0)
        rc = stmt_once(db,
                       "INSERT INTO audit(at_ms,actor,experiment,event,state) VALUES(?,?,0,?,'')",
                       e, "itt", clock_wall_ms(), s->actor,
                       s->on ? switches[s->which].on : switches[s->which].off);
    crash_point(CRASH_ACTION_BEFORE_COMMIT);
    return rc;
}

static void switch_done(struct store_job *job, const struct err *e)
{
    struct switch_job *s = container_of(job, struct switch_job, job);
    struct queue *q = s->q;
    if (e->code == ERR_OK) {
        crash_point(CRASH_ACTION_AFTER_COMMIT);
        q->switched[s->which] = s->on;
        cJSON *o = queue_object(q);
        char *text = o != NULL ? json_print(o, NULL) : NULL;
        if (text != NULL) q->observer.publish(q->observer.ctx, "queue.state", 0, text);
        mem_free(text);
        cJSON_Delete(o);
    }
    s->done(s->ctx, e);
    mem_free(s);
    scheduler_run(q);
}

void queue_set(struct queue *q, enum queue_switch which, bool on, struct queue_actor actor,
               queue_switch_fn done, void *ctx)
{
    struct err e = { 0 };
    struct switch_job *s = NULL;
    if (!actor.admin) (void)err_set(&e, ERR_FORBIDDEN, "only admins may do this");
    else if ((s = mem_calloc(1, sizeof *s)) == NULL) (void)err_set(&e, ERR_NOMEM, "switch");
    if (s == NULL) {
        done(ctx, &e);
        return;
    }
    *s = (struct switch_job){ { .run = write_switch, .done = switch_done },
                              .q = q,
                              .which = which,
                              .on = on,
                              .done = done,
                              .ctx = ctx };
    (void)snprintf(s->actor, sizeof s->actor, "%s", actor.user);
    store_submit(q->main, &s->job);
}

/* ---- what the queue says of itself ----------------------------------------------------------- */
static bool add_user(cJSON *list, const struct order_user *u)
{
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    return cJSON_AddStringToObject(o, "user", u->name) != NULL &&
           json_add_int(o, "running", u->running) && json_add_int(o, "waiting", u->waiting) &&
           json_add_int(o, "usage_s", (int64_t)u->usage) && json_add_int(o, "share", -u->share);
}

cJSON *queue_object(struct queue *q)
{
    cJSON *o = cJSON_CreateObject();
    scheduler_refresh(q);
    bool ok = o != NULL && cJSON_AddBoolToObject(o, "paused", q->switched[QUEUE_PAUSED]) != NULL &&
              cJSON_AddBoolToObject(o, "draining", q->closing || q->switched[QUEUE_DRAINING]) !=
                  NULL &&
              json_add_int(o, "running", q->running) &&
              json_add_int(o, "slots", q->o.max_running) &&
              json_add_int(o, "queued", (int64_t)q->order.n);
    cJSON *list = ok ? cJSON_AddArrayToObject(o, "users") : NULL;
    ok = list != NULL;
    list_for_each(it, &q->order.users) {
        const struct order_user *u = container_of(it, struct order_user, link);
        if (ok && (u->running > 0 || u->waiting > 0 || u->usage >= 1)) ok = add_user(list, u);
    }
    if (ok) return o;
    cJSON_Delete(o);
    return NULL;
}
