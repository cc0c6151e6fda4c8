/* scheduler: which experiment runs next, and what happens when a worker starts, dies or falls
 * silent. Loop thread. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/crash.h"
#include "common/log.h"
#include "server/store/stmt.h"

#include "common/mem.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define AGE_MINUTES_MAX 999

bool entry_active(const struct entry *e)
{
    return e->x.state == STATE_STARTING || e->x.state == STATE_RUNNING ||
           e->x.state == STATE_STOPPING;
}

static int64_t running_of(const struct queue *q, const char *user)
{
    int64_t n = 0;
    list_for_each(it, &q->entries)
    {
        const struct entry *e = container_of(it, struct entry, link);
        n += entry_active(e) && (user == NULL || strcmp(e->x.user, user) == 0);
    }
    return n;
}

/* Priority first, then waiting time in minutes, so that nothing waits for ever (service.md C2). */
static int64_t rank(const struct experiment *x, int64_t now)
{
    int64_t age = (now - x->queued_ms) / 60000;
    if (age > AGE_MINUTES_MAX) age = AGE_MINUTES_MAX;
    return x->priority * 1000 + (age > 0 ? age : 0);
}

static bool before(const struct experiment *a, const struct experiment *b, int64_t now)
{
    const int64_t ra = rank(a, now), rb = rank(b, now);
    if (ra != rb) return ra > rb;
    if (a->queued_ms != b->queued_ms) return a->queued_ms < b->queued_ms;
    return a->id < b->id;
}

static bool may_start(const struct queue *q, const struct entry *e)
{
    if (e->x.state != STATE_QUEUED || e->x.desired != DESIRED_RUN || e->writing || e->deleted ||
        !list_empty(&e->changes))
        return false;
    if (e->process.pid != 0) return false; /* its last worker has finished but is still there */
    return q->o.running_per_user_max == 0 ||
           running_of(q, e->x.user) < q->o.running_per_user_max;
}

static struct entry *next_to_start(struct queue *q)
{
    struct entry *best = NULL;
    const int64_t now = clock_wall_ms();
    list_for_each(it, &q->entries)
    {
        struct entry *e = container_of(it, struct entry, link);
        if (may_start(q, e) && (best == NULL || before(&e->x, &best->x, now))) best = e;
    }
    return best;
}

/* Claims that are being written count as running, or two would share a slot. */
static int64_t slots_used(const struct queue *q)
{
    int64_t n = 0;
    list_for_each(it, &q->entries)
    {
        const struct entry *e = container_of(it, struct entry, link);
        n += entry_active(e) || (e->x.state == STATE_QUEUED && e->writing);
    }
    return n;
}

void scheduler_run(struct queue *q)
{
    if (clock_mono_ms() < q->claim_after_ms) return;
    while (!q->draining && slots_used(q) < q->o.max_running) {
        struct entry *e = next_to_start(q);
        if (e == NULL) return;
        struct change *c = change_new(q, e, EVENT_CLAIM);
        if (c == NULL) return;
        change_submit(c);
    }
}

/* ---- a worker's beginning -------------------------------------------------------------------- */
struct pid_job {
    struct store_job job;
    struct queue *q;
    int64_t experiment, attempt;
    struct launched process;
};

static int write_pid(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct pid_job *p = container_of(job, struct pid_job, job);
    return stmt_once(
        db, "UPDATE attempt SET pid=?3,start_ticks=?4,boot_id=?5 WHERE experiment=?1 AND n=?2", e,
        "iiiit", p->experiment, p->attempt, p->process.pid, p->process.start_ticks,
        p->process.boot_id);
}

/* A process that cannot become a worker ends, which is then told as any worker's death. */
static void give_up(struct queue *q, int64_t experiment, int64_t attempt, const struct err *e)
{
    struct entry *entry = queue_entry(q, experiment);
    log_error("server.queue", "experiment %lld: %s", (long long)experiment, e->text);
    if (entry != NULL && entry->x.attempt == attempt) entry->kill_reason = REASON_SPAWN_FAILED;
    q->launcher->ops->stop(q->launcher, experiment, attempt, true);
}

/* The row names the process: a later daemon would find it, so it may become the worker. */
static void pid_done(struct store_job *job, const struct err *e)
{
    struct pid_job *p = container_of(job, struct pid_job, job);
    struct err fault = *e;
    if (fault.code == ERR_OK)
        (void)p->q->launcher->ops->release(p->q->launcher, p->experiment, p->attempt, &fault);
    if (fault.code != ERR_OK) give_up(p->q, p->experiment, p->attempt, &fault);
    mem_free(p);
}

static int make_dirs(const struct queue *q, const struct entry *e, char *dir, size_t size,
                     struct err *out)
{
    if (entry_dir(q, e, 0, dir, size) != 0 || (mkdir(dir, 0700) != 0 && errno != EEXIST))
        return err_errno(out, errno, "%.150s", dir);
    if (entry_dir(q, e, e->x.attempt, dir, size) != 0 || (mkdir(dir, 0700) != 0 && errno != EEXIST))
        return err_errno(out, errno, "%.150s", dir);
    return 0;
}

void scheduler_spawn(struct queue *q, struct entry *e, const char *secret)
{
    char dir[PATH_MAX], output[PATH_MAX];
    struct err fault = { 0 };
    int rc = make_dirs(q, e, dir, sizeof dir, &fault);
    if (rc == 0 && snprintf(output, sizeof output, "%s/stdout.log", dir) >= (int)sizeof output)
        rc = err_set(&fault, ERR_IO, "path is too long");
    const struct launch what = { e->x.id, e->x.attempt, q->worker_program, q->worker_socket, secret,
                                 output, 0 };
    if (rc == 0) rc = q->launcher->ops->start(q->launcher, &what, &e->process, &fault);
    if (rc != 0) {
        log_error("server.queue", "experiment %lld: %s", (long long)e->x.id, fault.text);
        e->process = (struct launched){ 0 };
        scheduler_fault(q, e, REASON_SPAWN_FAILED, fault.text);
        return;
    }
    crash_point(CRASH_SPAWN_BEFORE_PID_ROW);
    log_info("server.queue", "experiment %lld attempt %lld started, pid %lld", (long long)e->x.id,
             (long long)e->x.attempt, (long long)e->process.pid);
    struct pid_job *p = mem_calloc(1, sizeof *p);
    if (p == NULL) {
        (void)err_set(&fault, ERR_NOMEM, "row of a worker");
        give_up(q, e->x.id, e->x.attempt, &fault);
        return;
    }
    *p = (struct pid_job){ .job = { .run = write_pid, .done = pid_done },
                           .q = q,
                           .experiment = e->x.id,
                           .attempt = e->x.attempt,
                           .process = e->process };
    store_submit(q->main, &p->job);
}

/* ---- a worker's end -------------------------------------------------------------------------- */
void scheduler_fault(struct queue *q, struct entry *e, enum experiment_reason reason,
                     const char *message)
{
    enum experiment_event event = EVENT_FAULT_RETRY;
    if (reason == REASON_HOST_REBOOT || reason == REASON_DAEMON_RESTART || q->draining)
        event = EVENT_FAULT_FREE;
    else if (e->faults + 1 >= e->x.max_attempts) event = EVENT_FAULT_FINAL;
    struct change *c = change_new(q, e, event);
    if (c == NULL) return;
    c->reason = reason;
    (void)snprintf(c->message, sizeof c->message, "%s", message);
    change_submit(c);
}

void scheduler_worker_exit(void *ctx, int64_t experiment, int64_t attempt, int exit_code,
                           int signal)
{
    struct queue *q = ctx;
    struct entry *e = queue_entry(q, experiment);
    log_info("server.queue", "experiment %lld attempt %lld ended, exit %d signal %d",
             (long long)experiment, (long long)attempt, exit_code, signal);
    if (e == NULL || e->x.attempt != attempt) return;
    e->process.pid = 0;
    if (!entry_active(e)) { /* its finish message was committed before it went */
        scheduler_run(q);
        return;
    }
    char text[120];
    if (signal != 0) (void)snprintf(text, sizeof text, "the worker was ended by signal %d", signal);
    else
        (void)snprintf(text, sizeof text, "the worker ended with code %d and no final message",
                       exit_code);
    const enum experiment_reason why = e->kill_reason != REASON_NONE ? e->kill_reason
                                                                     : REASON_WORKER_LOST;
    scheduler_fault(q, e, why, text);
}

/* ---- time ------------------------------------------------------------------------------------ */
static void kill_silent(struct queue *q, struct entry *e, enum experiment_reason reason)
{
    e->lease_until_ms = 0;
    e->kill_reason = reason;
    if (e->process.pid == 0) {
        scheduler_fault(q, e, reason, reason_meaning(reason));
        return;
    }
    e->killed = true;
    q->launcher->ops->stop(q->launcher, e->x.id, e->x.attempt, true);
}

/* A worker that said its last word long ago and does not go keeps the next one from beginning. */
static void end_lingering(struct queue *q, struct entry *e, int64_t mono)
{
    if (e->process.pid == 0 || e->lease_until_ms == 0 || mono < e->lease_until_ms) return;
    log_warn("server.queue", "experiment %lld attempt %lld finished and did not end: it is killed",
             (long long)e->x.id, (long long)e->x.attempt);
    e->lease_until_ms = 0;
    q->launcher->ops->stop(q->launcher, e->x.id, e->x.attempt, true);
}

static void tick_entry(struct queue *q, struct entry *e, int64_t mono)
{
    if (e->x.state == STATE_BACKOFF && e->backoff_until_ms <= mono && !e->writing &&
        list_empty(&e->changes)) {
        struct change *c = change_new(q, e, EVENT_BACKOFF_OVER);
        if (c != NULL) change_submit(c);
    }
    if (!entry_active(e)) {
        end_lingering(q, e, mono);
        return;
    }
    if (e->grace_until_ms != 0 && mono >= e->grace_until_ms) {
        e->grace_until_ms = 0;
        struct change *c = change_new(q, e, EVENT_GRACE_OVER);
        if (c != NULL) change_submit(c);
    }
    if (e->lease_until_ms != 0 && mono >= e->lease_until_ms &&
        mono - q->opened_ms > START_TIMEOUT_MS)
        kill_silent(q, e,
                    e->x.state == STATE_STARTING ? REASON_START_TIMEOUT : REASON_LEASE_EXPIRED);
}

void scheduler_tick(struct queue *q)
{
    const int64_t mono = clock_mono_ms();
    change_write_again(q, mono);
    list_for_each_safe(it, &q->entries) tick_entry(q, container_of(it, struct entry, link), mono);
    scheduler_run(q);
}
