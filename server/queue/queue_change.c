/* queue_change: the pipeline every change of an experiment goes through. See queue_internal.h. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/queue/change_crash.h"
#include "server/store/stmt.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define BACKOFF_MAX_MS 600000
#define CLAIM_PAUSE_MS 5000 /* after a claim that could not be written */
#define AGAIN_MS 1000       /* after a change of the daemon's own that could not be written */

struct change *change_new(struct queue *q, struct entry *e, enum experiment_event event)
{
    struct change *c = mem_calloc(1, sizeof *c);
    if (c == NULL) {
        log_error("server.queue", "out of memory: %s of experiment %lld is lost", event_name(event),
                  (long long)e->x.id);
        return NULL;
    }
    c->q = q;
    c->entry = e;
    c->event = event;
    c->attempt = e->x.attempt;
    c->graces = e->graces;
    c->reason = REASON_NONE;
    (void)snprintf(c->actor, sizeof c->actor, "daemon");
    return c;
}

static void tell(struct change *c, const struct err *e)
{
    if (c->done != NULL) c->done(c->ctx, e->code == ERR_OK ? &c->entry->x : NULL, e);
    if (c->answer != NULL) c->answer(c->ctx, NULL, e);
}

static void change_free(struct change *c)
{
    sodium_memzero(c->secret, sizeof c->secret);
    mem_free(c->summary);
    mem_free(c->notes);
    mem_free(c);
}

/* Behind all that wait, wherever it stood before. */
static bool waits_anew(const struct change *c)
{
    return c->event == EVENT_RETRY || c->event == EVENT_RETRY_LATER;
}

/* ---- judging --------------------------------------------------------------------------------- */
/* min(600 s, first * 2^(faults - 1)), +-20 % by the experiment's number: the same after a
 * restart. */
int64_t change_backoff_ms(const struct queue *q, const struct entry *e, int64_t faults)
{
    int64_t ms = q->o.backoff_first_ms;
    for (int64_t i = 1; i < faults && ms < BACKOFF_MAX_MS; i++) ms *= 2;
    if (ms > BACKOFF_MAX_MS) ms = BACKOFF_MAX_MS;
    const int64_t spread = (e->x.id * 7919 + faults * 104729) % 401 - 200; /* per mille */
    return ms + ms * spread / 1000;
}

static void patch_next(struct change *c)
{
    struct experiment *n = &c->next;
    if (c->patch.name != NULL) (void)snprintf(n->name, sizeof n->name, "%s", c->patch.name);
    if (c->patch.priority != NULL) n->priority = *c->patch.priority;
    if (c->patch.time_limit_s != NULL) n->time_limit_s = *c->patch.time_limit_s;
    if (c->patch.tags != NULL) {
        memcpy(n->tags, c->patch.tags, c->patch.n_tags * sizeof n->tags[0]);
        n->n_tags = c->patch.n_tags;
    }
}

static void claim_next(struct change *c)
{
    uint8_t secret[32];
    randombytes_buf(secret, sizeof secret);
    (void)sodium_bin2hex(c->secret, sizeof c->secret, secret, sizeof secret);
    digest_bytes(c->secret, strlen(c->secret), c->secret_hash);
    sodium_memzero(secret, sizeof secret);
    c->next.attempt++;
    c->next.step = c->next.steps_total = 0;
}

/* Only what lies between hello and the end counts as running. */
static void judge_running(struct change *c)
{
    struct experiment *n = &c->next;
    if (c->event == EVENT_HELLO && n->run_began_ms == 0) n->run_began_ms = clock_wall_ms();
    if (!entry_active(c->entry) || state_is_active(n->state)) return;
    n->ran_ms = entry_ran_ms(c->entry);
    n->run_began_ms = 0;
}

static void judge_times(struct change *c)
{
    struct experiment *n = &c->next;
    const int64_t now = clock_wall_ms();
    const enum experiment_state was = c->entry->x.state;
    if (n->state == STATE_QUEUED && was != STATE_QUEUED && n->queued_ms == 0) n->queued_ms = now;
    if (n->state == STATE_RUNNING && was == STATE_STARTING && n->started_ms == 0)
        n->started_ms = now;
    if (state_is_final(n->state) != state_is_final(was))
        n->ended_ms = state_is_final(n->state) ? now : 0;
    if (waits_anew(c)) {
        c->next_faults = c->next_crashes = 0;
        n->queued_ms = now; /* it waits anew */
    }
    c->next_faults += c->fault;
    c->next_crashes += c->crash;
    c->next_delay_ms = (c->move.effects & EFFECT_DELAY) != 0
                           ? change_backoff_ms(c->q, c->entry, c->next_faults)
                           : 0;
}

/* Why it stops stays while it stops; and an attempt that a limit ended has that reason whatever its
 * end looks like, but for a fault that the worker itself tells. */
static bool reason_stays(const struct change *c)
{
    const struct experiment *x = &c->entry->x;
    if (x->state != STATE_STOPPING) return false;
    if (c->next.state == STATE_STOPPING) return c->event != EVENT_CANCEL;
    return x->desired == DESIRED_RUN && c->next.state == STATE_FAILED &&
           c->event != EVENT_FINISH_FAILED;
}

/* Its sweep has asked it to stop. */
static bool pruned(const struct experiment *x)
{
    return x->state == STATE_STOPPING &&
           (x->reason == REASON_SWEEP_PRUNED || x->reason == REASON_SWEEP_STOPPED);
}

/* An attempt that ends as somebody asked has that reason, however its worker went; a pause that the
 * worker did not live to see keeps the cause. */
static void judge_reason(struct change *c)
{
    const enum experiment_state next = c->next.state;
    c->next.reason = c->reason;
    (void)snprintf(c->next.message, sizeof c->next.message, "%s", c->message);
    if (!entry_active(c->entry)) return;
    if (next == STATE_CANCELLED && pruned(&c->entry->x)) {
        c->next.reason = c->entry->x.reason;
        (void)snprintf(c->next.message, sizeof c->next.message, "%s", c->entry->x.message);
        return;
    }
    if (next != STATE_CANCELLED && (next != STATE_PAUSED || c->event != EVENT_FINISH_PAUSED))
        return;
    c->next.reason = REASON_USER_REQUEST;
    c->next.message[0] = '\0';
}

/* What was decided is decided anew: what it needs may have been retried since. */
static int judge_dependencies(struct change *c, struct err *e)
{
    const struct experiment *x = &c->entry->x;
    char words[DEPENDENCIES_WORDS_MAX];
    if (c->event != EVENT_DEPENDENCIES_MET && c->event != EVENT_DEPENDENCY_BROKEN) return 0;
    const enum dependencies_state s = dependencies_of(c->q, x, words, sizeof words);
    if (s == DEPENDENCIES_OPEN)
        return err_set(e, ERR_BAD_STATE, "experiment %lld %s again", (long long)x->id, words);
    c->event = s == DEPENDENCIES_MET ? EVENT_DEPENDENCIES_MET : EVENT_DEPENDENCY_BROKEN;
    c->reason = s == DEPENDENCIES_MET ? REASON_NONE : REASON_DEPENDENCY;
    (void)snprintf(c->message, sizeof c->message, "%s", words);
    return 0;
}

/* A retry waits for what the experiment needs, like the first time. */
static int judge_retry(struct change *c, struct err *e)
{
    const struct experiment *x = &c->entry->x;
    char words[DEPENDENCIES_WORDS_MAX];
    const enum dependencies_state s = dependencies_of(c->q, x, words, sizeof words);
    if (!state_is_final(x->state)) return 0; /* the table refuses it */
    if (queue_room(c->q, c->entry->item.user, 1, e) != 0) return (int)e->code;
    if (x->time_limit_s > 0 && x->ran_ms >= 1000 * x->time_limit_s)
        return err_set(e, ERR_BAD_STATE,
                       "experiment %lld has used up its time_limit_s of %lld: raise it first",
                       (long long)x->id, (long long)x->time_limit_s);
    if (s == DEPENDENCIES_BROKEN)
        return err_set(e, ERR_BAD_STATE, "experiment %lld %s: retry that first", (long long)x->id,
                       words);
    if (s == DEPENDENCIES_MET) return 0;
    c->event = EVENT_RETRY_LATER;
    c->reason = REASON_DEPENDENCY;
    (void)snprintf(c->message, sizeof c->message, "%s", words);
    return 0;
}

/* What is said of an attempt, or of a grace time, is not about the one that came after it: a change
 * may have waited for others to be written, or for a disk with room. */
static int judge_fence(const struct change *c, struct err *e)
{
    const struct experiment *x = &c->entry->x;
    switch (c->event) {
    case EVENT_GRACE_OVER:
        if (c->graces != c->entry->graces)
            return err_set(e, ERR_BAD_STATE, "experiment %lld has a newer grace time",
                           (long long)x->id);
        break;
    case EVENT_HELLO:
    case EVENT_FINISH_SUCCEEDED:
    case EVENT_FINISH_FAILED:
    case EVENT_FINISH_PAUSED:
    case EVENT_FINISH_CANCELLED:
    case EVENT_FAULT_RETRY:
    case EVENT_FAULT_FINAL:
    case EVENT_FAULT_FREE:
    case EVENT_LIMIT: break;
    default: return 0; /* of the experiment, whichever attempt it is at */
    }
    if (c->attempt == x->attempt) return 0;
    return err_set(e, ERR_LEASE_LOST,
                   "attempt %lld of experiment %lld was followed by attempt %lld",
                   (long long)c->attempt, (long long)x->id, (long long)x->attempt);
}

/* Fills next from the committed state. Errors: ERR_BAD_STATE, ERR_PRECONDITION, ERR_NOT_FOUND,
 * ERR_LEASE_LOST. */
static int judge(struct change *c, struct err *e)
{
    const struct experiment *x = &c->entry->x;
    if (deletion_judge(c, e) != 0) return (int)e->code;
    if (c->patch.if_rev != 0 && c->patch.if_rev != x->rev)
        return err_set(e, ERR_PRECONDITION, "experiment %lld has revision r%lld, not r%lld",
                       (long long)x->id, (long long)x->rev, (long long)c->patch.if_rev);
    if (judge_fence(c, e) != 0 || judge_dependencies(c, e) != 0) return (int)e->code;
    if (c->event == EVENT_RETRY && judge_retry(c, e) != 0) return (int)e->code;
    c->move = experiment_next(x->state, x->desired, c->event);
    if (!c->move.allowed)
        return err_set(e, ERR_BAD_STATE, "experiment %lld is %s: %s is not possible",
                       (long long)x->id, state_name(x->state), event_name(c->event));
    c->next = *x;
    c->next.state = c->move.state;
    c->next.desired = c->move.desired;
    c->next.rev++;
    c->next_faults = c->entry->faults;
    c->next_crashes = c->entry->crashes;
    if (c->removal != REMOVAL_NONE) deletion_next(c);
    if (c->event == EVENT_PATCH) patch_next(c);
    else if (!reason_stays(c)) judge_reason(c);
    if (c->event == EVENT_CLAIM) claim_next(c);
    if (c->event == EVENT_GRACE_OVER && c->next.state == STATE_RUNNING)
        c->next.reason = REASON_PAUSE_FAILED;
    judge_running(c);
    judge_times(c);
    c->ended_ms = c->entry->signs.gone_ms != 0 ? c->entry->signs.gone_ms : clock_wall_ms();
    return 0;
}

/* ---- writing (writer thread) ----------------------------------------------------------------- */
static int write_attempt(const struct change *c, sqlite3 *db, struct err *e)
{
    const struct experiment *n = &c->next;
    if (c->event == EVENT_CLAIM)
        return stmt_once(
            db, "INSERT INTO attempt(experiment,n,secret_hash,started_ms) VALUES(?,?,?,?)", e,
            "iibi", n->id, n->attempt, c->secret_hash, DIGEST_BYTES, clock_wall_ms());
    if (c->event == EVENT_HELLO)
        return stmt_once(db,
                         "UPDATE attempt SET host=?3,resume_step=?4 WHERE experiment=?1 AND n=?2",
                         e, "iiti", n->id, n->attempt, c->host, c->resume_step);
    if (!entry_active(c->entry) || state_is_active(n->state)) return 0;
    return stmt_once(db, "UPDATE attempt SET ended_ms=?3,reason=?4 WHERE experiment=?1 AND n=?2", e,
                     "iiit", n->id, n->attempt, c->ended_ms,
                     reason_name(c->cause != REASON_NONE ? c->cause : n->reason));
}

static int write_change(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct change *c = container_of(job, struct change, job);
    const struct experiment *n = &c->next;
    if (c->removal != REMOVAL_NONE) return deletion_write(c, db, e);
    char tags[SPEC_TAGS_MAX * 68] = "";
    for (size_t i = 0; i < n->n_tags; i++) {
        const size_t at = strlen(tags);
        (void)snprintf(tags + at, sizeof tags - at, "%s%s", i > 0 ? "\n" : "", n->tags[i]);
    }
    const int64_t not_before_ms = c->next_delay_ms > 0 ? clock_wall_ms() + c->next_delay_ms : 0;
    int rc = stmt_once(
        db,
        "UPDATE experiment SET name=?2,tags=?3,priority=?4,state=?5,desired=?6,reason=?7,"
        "message=?8,attempt=?9,faults=?10,rev=?11,queued_ms=?12,started_ms=?13,ended_ms=?14,"
        "not_before_ms=?15,step=?16,steps_total=?17,epoch=?18,epochs=?19,"
        "summary=coalesce(?20,summary),crashes=?21,time_limit_s=?22,ran_ms=?23,run_began_ms=?24,"
        "notes=coalesce(?25,notes),place=iif(?26,0,place),lift=iif(?26,0,lift)"
        " WHERE id=?1 AND rev=?11-1",
        e,
        "itti"
        "tttt"
        "iiiiiii"
        "iiiit"
        "iiiiti",
        n->id, n->name, tags, n->priority, state_name(n->state), desired_name(n->desired),
        reason_name(n->reason), n->message, n->attempt, c->next_faults, n->rev, n->queued_ms,
        n->started_ms, n->ended_ms, not_before_ms, n->step, n->steps_total, n->epoch, n->epochs,
        c->summary, c->next_crashes, n->time_limit_s, n->ran_ms, n->run_began_ms, c->notes,
        (int64_t)waits_anew(c));
    if (rc == 0 && sqlite3_changes(db) != 1)
        rc = err_set(e, ERR_CONFLICT, "experiment %lld has left revision r%lld", (long long)n->id,
                     (long long)n->rev - 1);
    if (rc == 0) rc = write_attempt(c, db, e);
    if (rc == 0 && waits_anew(c)) rc = rungs_forgive(c, db, e);
    if (rc == 0)
        rc = stmt_once(
            db, "INSERT INTO audit(at_ms,actor,experiment,event,state) VALUES(?,?,?,?,?)", e,
            "itit"
            "t",
            clock_wall_ms(), c->actor, n->id, event_name(c->event), state_name(n->state));
    change_crash(c->event, false);
    return rc;
}

/* ---- after the commit (loop) ----------------------------------------------------------------- */
static void pump(struct entry *e);

static void take_effect(struct change *c)
{
    struct entry *e = c->entry;
    struct queue *q = c->q;
    const unsigned effects = c->move.effects;
    e->faults = c->next_faults;
    e->crashes = c->next_crashes;
    e->backoff_until_ms = clock_mono_ms() + c->next_delay_ms;
    if (c->event == EVENT_CLAIM) {
        memcpy(e->secret_hash, c->secret_hash, sizeof e->secret_hash);
        e->lease_until_ms = clock_mono_ms() + FIRST_WORD_MS;
        e->start_until_ms = clock_mono_ms() + 1000 * q->o.start_timeout_s;
        e->signs = (struct attempt_signs){ .began_ms = clock_wall_ms() };
        e->grace_until_ms = 0;
        e->pause_grace_s = LIMIT_GRACE_S;
        e->run_began_ms = e->progress_ms = e->batches = 0;
        e->killed = false;
        e->kill_reason = REASON_NONE;
        e->process = (struct launched){ 0 };
        if (e->x.attempt == 1) /* later ones were queued when the first was */
            histogram_add(&c->q->wait_s, (double)(clock_wall_ms() - e->x.queued_ms) / 1000.0);
    }
    if (c->event == EVENT_HELLO && e->run_began_ms == 0) /* the first one of the attempt */
        e->run_began_ms = e->progress_ms = clock_mono_ms();
    if (c->event == EVENT_PAUSE) e->pause_grace_s = c->grace_s;
    if ((effects & EFFECT_GRACE) != 0) {
        const double s = c->event == EVENT_HELLO ? e->pause_grace_s : c->grace_s;
        e->grace_until_ms = clock_mono_ms() + (int64_t)(s * 1000.0);
        e->graces++;
    }
    if (c->event == EVENT_GRACE_OVER) e->grace_until_ms = 0;
    if ((effects & EFFECT_SPAWN) != 0) scheduler_spawn(q, e, c->secret);
    if ((effects & EFFECT_KILL) != 0) {
        e->killed = true;
        q->launcher->ops->stop(q->launcher, e->x.id, e->x.attempt, true);
    }
    /* A stopping experiment without any process has nothing to wait for. */
    if ((effects & EFFECT_KILL) != 0 && e->process.pid == 0)
        scheduler_fault(q, e, REASON_USER_REQUEST, "");
}

/* What takes a slot, or a place among those that wait, counts while it is written. */
static void count_coming(const struct change *c, int64_t n)
{
    struct order_user *u = c->entry->item.user;
    if (waits_anew(c)) u->arriving += n;
    if (c->event != EVENT_CLAIM) return;
    c->q->claiming += n;
    u->claiming += n;
    if (c->entry->sweep != NULL) c->entry->sweep->claiming += n;
}

/* What the daemon saw by itself (a death, the end of a grace time, of others that were waited for)
 * nobody tells it again. A worker that waits for the answer does; a tick sees the rest anew. */
static bool own_observation(const struct change *c)
{
    if (c->done != NULL) return false;
    return c->event == EVENT_FAULT_RETRY || c->event == EVENT_FAULT_FINAL ||
           c->event == EVENT_FAULT_FREE || c->event == EVENT_GRACE_OVER ||
           c->event == EVENT_PRUNE || c->event == EVENT_DEPENDENCIES_MET ||
           c->event == EVENT_DEPENDENCY_BROKEN;
}

static void keep_for_later(struct change *c)
{
    c->again_ms = clock_mono_ms() + AGAIN_MS;
    c->job = (struct store_job){ 0 };
    list_append(&c->q->unwritten, &c->link);
}

void change_write_again(struct queue *q, int64_t mono)
{
    list_for_each_safe(it, &q->unwritten) {
        struct change *c = container_of(it, struct change, link);
        if (mono < c->again_ms) continue;
        list_remove(&c->link);
        if (queue_entry(q, c->next.id) == c->entry) change_submit(c);
        else change_free(c); /* deleted meanwhile */
    }
}

void change_drop_unwritten(struct queue *q)
{
    list_for_each_safe(it, &q->unwritten) {
        struct change *c = container_of(it, struct change, link);
        list_remove(&c->link);
        change_free(c);
    }
}

/* Workers do not wait for commits: what they have told since the change was judged stays. */
static void keep_told(struct experiment *next, const struct experiment *now)
{
    next->step = now->step;
    next->steps_total = now->steps_total;
    next->epoch = now->epoch;
    next->epochs = now->epochs;
    next->samples_per_s = now->samples_per_s;
    memcpy(next->headline, now->headline, sizeof next->headline);
}

static void change_done(struct store_job *job, const struct err *e)
{
    struct change *c = container_of(job, struct change, job);
    struct entry *entry = c->entry;
    struct queue *q = c->q;
    entry->writing = false;
    count_coming(c, -1);
    if (e->code == ERR_OK) change_crash(c->event, true);
    if (e->code != ERR_OK) {
        log_error("server.queue", "%s of experiment %lld was not stored: %s", event_name(c->event),
                  (long long)entry->x.id, e->text);
        if (c->event == EVENT_CLAIM) q->claim_after_ms = clock_mono_ms() + CLAIM_PAUSE_MS;
        tell(c, e);
    } else if (c->removal != REMOVAL_NONE) {
        deletion_committed(q, c);
        tell(c, e);
    } else {
        const bool was_blocked = entry->x.state == STATE_BLOCKED;
        keep_told(&c->next, &entry->x);
        c->next.place = waits_anew(c) ? 0 : entry->x.place;
        c->next.lift = waits_anew(c) ? 0 : entry->x.lift;
        c->next.sweep = entry->x.sweep;
        if (waits_anew(c)) entry->stops_early = false;
        if (c->event == EVENT_CLAIM) c->next.step = c->next.steps_total = 0;
        entry->x = c->next;
        queue_place(q, entry);
        take_effect(c);
        queue_publish_state(q, entry);
        tell(c, e);
        dependencies_moved(q, entry, was_blocked);
        if (state_is_final(entry->x.state)) dependencies_ended(q, entry);
        else if (c->event == EVENT_RETRY_LATER) dependencies_check(q, entry);
    }
    const bool schedule = e->code == ERR_OK && (c->move.effects & EFFECT_SCHEDULE) != 0;
    if (e->code != ERR_OK && own_observation(c)) keep_for_later(c);
    else change_free(c);
    pump(entry);
    if (schedule) scheduler_run(q);
}

static void pump(struct entry *e)
{
    while (!e->writing && !list_empty(&e->changes)) {
        struct change *c = container_of(e->changes.next, struct change, link);
        list_remove(&c->link);
        struct err fault = { 0 };
        if (judge(c, &fault) != 0) {
            tell(c, &fault);
            change_free(c);
            continue;
        }
        e->writing = true;
        count_coming(c, 1);
        c->job.run = write_change;
        c->job.done = change_done;
        store_submit(c->q->main, &c->job);
    }
}

void change_submit(struct change *c)
{
    list_append(&c->entry->changes, &c->link);
    pump(c->entry);
}
