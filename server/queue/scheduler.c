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

bool entry_active(const struct entry *e) { return state_is_active(e->x.state); }

int64_t entry_ran_ms(const struct entry *e)
{
    if (e->x.run_began_ms == 0) return e->x.ran_ms;
    if (e->signs.gone_ms == 0) return e->x.ran_ms + clock_mono_ms() - e->run_began_ms;
    const int64_t ran = e->signs.gone_ms - e->x.run_began_ms;
    return e->x.ran_ms + (ran > 0 ? ran : 0);
}

static bool may_start(void *ctx, const struct order_item *item)
{
    const struct entry *e = container_of(item, struct entry, item);
    (void)ctx;
    /* The last: the earlier attempt's worker is not seen dead yet. */
    return e->x.desired == DESIRED_RUN && !e->writing && list_empty(&e->changes) &&
           e->process.pid == 0 && (e->sweep == NULL || sweep_has_room(e->sweep));
}

#define SHARES_MS 1000
void scheduler_refresh(struct queue *q)
{
    const int64_t mono = clock_mono_ms();
    if (q->shares_ms != 0 && mono - q->shares_ms < SHARES_MS) return;
    q->shares_ms = mono;
    order_refresh(&q->order, mono);
}

/* Claims that are being written count as running, or two would share a slot. */
void scheduler_run(struct queue *q)
{
    if (clock_mono_ms() < q->claim_after_ms) return;
    scheduler_refresh(q);
    while (queue_starts(q) && q->running + q->claiming < q->o.max_running) {
        const int64_t began_ns = clock_mono_ns();
        struct order_item *item = order_next(&q->order, clock_wall_ms(), q->o.running_per_user_max,
                                             may_start, NULL);
        if (item == NULL) return;
        struct change *c = change_new(q, container_of(item, struct entry, item), EVENT_CLAIM);
        if (c == NULL) return;
        change_submit(c);
        histogram_add(&q->claim_s, (double)(clock_mono_ns() - began_ns) * 1e-9);
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
        db,
        "UPDATE attempt SET pid=?3,start_ticks=?4,boot_id=?5,memory_limit=?6 WHERE experiment=?1"
        " AND n=?2",
        e, "iiiitt", p->experiment, p->attempt, p->process.pid, p->process.start_ticks,
        p->process.boot_id, launcher_limit_name(p->process.memory_limit));
}

/* A process that cannot become a worker ends, which is then told as any worker's death. */
static void give_up(struct queue *q, int64_t experiment, int64_t attempt, const struct err *e)
{
    struct entry *entry = queue_entry(q, experiment);
    log_error("server.queue", "experiment %lld: %s", (long long)experiment, e->text);
    if (entry != NULL && entry->x.attempt == attempt) {
        entry->kill_reason = REASON_SPAWN_FAILED;
        (void)snprintf(entry->kill_words, sizeof entry->kill_words, "%.119s", e->text);
    }
    q->launcher->ops->stop(q->launcher, experiment, attempt, true);
}

/* The row names the process: a later daemon would find it, so it may become the worker. */
static void pid_done(struct store_job *job, const struct err *e)
{
    struct pid_job *p = container_of(job, struct pid_job, job);
    if (e->code == ERR_OK) p->q->launcher->ops->release(p->q->launcher, p->experiment, p->attempt);
    else give_up(p->q, p->experiment, p->attempt, e);
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
    if (q->closing) { /* nobody would be there to stop it, or to see that it begins */
        scheduler_fault(q, e, REASON_DAEMON_RESTART, "the daemon ended before the worker began");
        return;
    }
    int rc = make_dirs(q, e, dir, sizeof dir, &fault);
    if (rc == 0 && snprintf(output, sizeof output, "%s/stdout.log", dir) >= (int)sizeof output)
        rc = err_set(&fault, ERR_IO, "path is too long");
    const struct launch what = { e->x.id, e->x.attempt, q->worker_program, q->worker_socket,
                                 secret,  output,       e->x.threads,      e->x.memory_mib };
    if (rc == 0) rc = q->launcher->ops->start(q->launcher, &what, &e->process, &fault);
    if (rc != 0) {
        log_error("server.queue", "experiment %lld: %s", (long long)e->x.id, fault.text);
        e->process = (struct launched){ 0 };
        scheduler_fault(q, e, REASON_SPAWN_FAILED, fault.text);
        return;
    }
    crash_point(CRASH_SPAWN_BEFORE_PID_ROW);
    log_info("server.queue", "experiment %lld attempt %lld started, pid %lld, memory limit %s",
             (long long)e->x.id, (long long)e->x.attempt, (long long)e->process.pid,
             launcher_limit_name(e->process.memory_limit));
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
struct failure_verdict scheduler_verdict(const struct queue *q, const struct entry *e,
                                         enum experiment_reason cause, const char *words)
{
    /* What the daemon's own stop may have caused is tried again and counts for nothing. */
    const struct failure_policy policy = { q->closing ? INT64_MAX : e->x.max_attempts,
                                           e->x.retry_on };
    const struct failure_counts before = { q->closing ? 0 : e->faults,
                                           q->closing ? 0 : e->crashes };
    struct failure_verdict v = failure_judge(cause, words, policy, before);
    if (q->closing && v.event == EVENT_FAULT_RETRY) {
        v.event = EVENT_FAULT_FREE;
        v.counts = v.crash = false;
    }
    return v;
}

void scheduler_fault(struct queue *q, struct entry *e, enum experiment_reason reason,
                     const char *message)
{
    const struct failure_verdict v = scheduler_verdict(q, e, reason, message);
    struct change *c = change_new(q, e, v.event);
    if (c == NULL) return;
    c->reason = v.reason;
    c->cause = reason;
    c->fault = v.counts;
    c->crash = v.crash;
    (void)snprintf(c->message, sizeof c->message, "%s", v.message);
    change_submit(c);
}

struct exit_job {
    struct store_job job;
    int64_t experiment, attempt, code, signal;
};

static int write_exit(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct exit_job *x = container_of(job, struct exit_job, job);
    return stmt_once(db,
                     "UPDATE attempt SET exit_code=iif(?4=0,?3,NULL),signal=nullif(?4,0)"
                     " WHERE experiment=?1 AND n=?2",
                     e, "iiii", x->experiment, x->attempt, x->code, x->signal);
}

static void exit_done(struct store_job *job, const struct err *e)
{
    if (e->code != ERR_OK) log_error("server.queue", "exit was not stored: %s", e->text);
    mem_free(container_of(job, struct exit_job, job));
}

/* How a process ended is kept for people; nothing depends on it. */
static void keep_exit(struct queue *q, int64_t experiment, int64_t attempt, int code, int signal)
{
    const bool known = code >= 0 || signal != 0;
    struct exit_job *x = known ? mem_calloc(1, sizeof *x) : NULL;
    if (x == NULL) return;
    *x = (struct exit_job){
        { .run = write_exit, .done = exit_done }, experiment, attempt, code, signal
    };
    store_submit(q->main, &x->job);
}

void scheduler_worker_exit(void *ctx, int64_t experiment, int64_t attempt, struct launcher_exit how)
{
    struct queue *q = ctx;
    struct entry *e = queue_entry(q, experiment);
    log_info("server.queue", "experiment %lld attempt %lld ended, exit %d signal %d",
             (long long)experiment, (long long)attempt, how.code, how.signal);
    if (e == NULL || e->x.attempt != attempt) return;
    keep_exit(q, experiment, attempt, how.code, how.signal);
    e->process.pid = 0;
    queue_place(q, e);
    if (!entry_active(e)) { /* its finish message was committed before it went */
        scheduler_run(q);
        return;
    }
    char words[FAILURE_TEXT_MAX];
    enum experiment_reason why = failure_of_exit(how.code, how.signal, words, sizeof words);
    if (how.oom_killed) {
        why = REASON_OOM_KILLED;
        (void)snprintf(words, sizeof words,
                       "the kernel ended the worker: it used more than memory_mib %lld",
                       (long long)e->x.memory_mib);
    } else if (how.exec_error != 0) {
        why = REASON_SPAWN_FAILED;
        (void)snprintf(words, sizeof words, "starting %.120s: %s", q->worker_program,
                       strerror(how.exec_error));
    } else if (e->kill_reason != REASON_NONE) {
        why = e->kill_reason;
        (void)snprintf(words, sizeof words, "%s", e->kill_words);
    }
    scheduler_fault(q, e, why, words);
}

/* ---- time ------------------------------------------------------------------------------------ */
static void kill_worker(struct queue *q, struct entry *e, enum experiment_reason reason,
                        const char *words)
{
    e->lease_until_ms = e->progress_ms = e->start_until_ms = 0;
    e->kill_reason = reason;
    (void)snprintf(e->kill_words, sizeof e->kill_words, "%s", words);
    if (e->process.pid == 0) {
        scheduler_fault(q, e, reason, words);
        return;
    }
    e->killed = true;
    q->launcher->ops->stop(q->launcher, e->x.id, e->x.attempt, true);
}

static void judge_lease(struct queue *q, struct entry *e, int64_t mono)
{
    if (e->lease_until_ms == 0 || mono < e->lease_until_ms || mono - q->opened_ms <= OPEN_GRACE_MS)
        return;
    const enum experiment_reason why = e->x.state == STATE_STARTING ? REASON_START_TIMEOUT
                                                                    : REASON_LEASE_EXPIRED;
    kill_worker(q, e, why, reason_meaning(why));
}

/* A worker that loads its data renews its lease; what never ends is not loading. */
static void judge_start(struct queue *q, struct entry *e, int64_t mono)
{
    if (e->x.state != STATE_STARTING || e->start_until_ms == 0 || mono < e->start_until_ms) return;
    char words[120];
    (void)snprintf(words, sizeof words,
                   "the worker was not ready to train in %lld s (--start-timeout-s)",
                   (long long)q->o.start_timeout_s);
    kill_worker(q, e, REASON_START_TIMEOUT, words);
}

/* Killed at once: a worker looks at requests to stop between its steps, and makes none. */
static void judge_progress(struct queue *q, struct entry *e, int64_t mono)
{
    if (e->x.state != STATE_RUNNING || e->x.no_progress_s == 0 || e->progress_ms == 0 ||
        e->killed || mono - e->progress_ms < 1000 * e->x.no_progress_s)
        return;
    char words[120];
    (void)snprintf(words, sizeof words, "no batch was done in %lld s (resources.no_progress_s)",
                   (long long)e->x.no_progress_s);
    kill_worker(q, e, REASON_NO_PROGRESS, words);
}

static void judge_time_limit(struct queue *q, struct entry *e)
{
    if (e->x.state != STATE_RUNNING || e->x.desired != DESIRED_RUN || e->x.time_limit_s == 0 ||
        e->writing || !list_empty(&e->changes) || entry_ran_ms(e) < 1000 * e->x.time_limit_s)
        return;
    struct change *c = change_new(q, e, EVENT_LIMIT);
    if (c == NULL) return;
    c->reason = REASON_TIME_LIMIT;
    c->grace_s = LIMIT_GRACE_S;
    (void)snprintf(c->message, sizeof c->message,
                   "%lld running seconds over all attempts are used up (resources.time_limit_s)",
                   (long long)e->x.time_limit_s);
    change_submit(c);
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
    if (e->unwatched) recovery_adopt_again(q, e);
    if (!entry_active(e)) {
        end_lingering(q, e, mono);
        return;
    }
    if (e->grace_until_ms != 0 && mono >= e->grace_until_ms) {
        e->grace_until_ms = 0;
        struct change *c = change_new(q, e, EVENT_GRACE_OVER);
        if (c != NULL) change_submit(c);
    }
    judge_lease(q, e, mono);
    judge_start(q, e, mono);
    judge_progress(q, e, mono);
    judge_time_limit(q, e);
}

/* A loop that stood still (a halted machine, a slow disk) could not hear its workers: that time is
 * none of theirs. */
static void forgive(struct entry *e, int64_t ms)
{
    if (e->lease_until_ms != 0) e->lease_until_ms += ms;
    if (e->progress_ms != 0) e->progress_ms += ms;
    if (e->start_until_ms != 0) e->start_until_ms += ms;
}

void scheduler_tick(struct queue *q)
{
    const int64_t mono = clock_mono_ms();
    const int64_t late = q->ticked_ms != 0 ? mono - q->ticked_ms : 0;
    q->ticked_ms = mono;
    change_write_again(q, mono);
    list_for_each_safe(it, &q->timed) {
        struct entry *e = container_of(it, struct entry, timed);
        if (late > LATE_MS) forgive(e, late);
        tick_entry(q, e, mono);
    }
    signs_write(q, false);
    scheduler_run(q);
}
