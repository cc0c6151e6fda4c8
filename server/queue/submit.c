/* submit: a new experiment: limits, idempotency, the row. Answers after the commit. See queue.h. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/crash.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/stmt.h"

#include <stdio.h>
#include <string.h>

struct submission {
    struct store_job job;
    struct queue *q;
    struct order_user *user;
    struct queue_row row;
    struct key_row key;
    struct fork fork;
    struct err broken; /* what it needs has ended otherwise already: a new row is refused */
    struct key_made repeated; /* what the key made before */
    queue_done_fn done;
    void *ctx;
};

static void submission_free(struct submission *s)
{
    queue_row_deinit(&s->row);
    key_row_deinit(&s->key);
    mem_free(s->repeated.answer);
    mem_free(s);
}

void queue_row_deinit(struct queue_row *r)
{
    mem_free(r->x.after);
    mem_free(r->spec);
    mem_free(r->parameters);
    *r = (struct queue_row){ 0 };
}

int queue_row_insert(struct queue_row *r, sqlite3 *db, struct err *e)
{
    const struct experiment *x = &r->x;
    char tags[SPEC_TAGS_MAX * 68] = "";
    for (size_t i = 0; i < x->n_tags; i++) {
        const size_t at = strlen(tags);
        (void)snprintf(tags + at, sizeof tags - at, "%s%s", i > 0 ? "\n" : "", x->tags[i]);
    }
    int rc = stmt_once(
        db,
        "INSERT INTO experiment(uid,name,user,owner_uid,tags,dataset,time_steps,priority,"
        "max_attempts,spec,result_hash,state,desired,reason,message,created_ms,queued_ms,epochs,"
        "retry_on,time_limit_s,no_progress_s,memory_mib,threads,sweep,parameters)"
        " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,'run',?,?,?,?,?,?,?,?,?,?,?,?)",
        e,
        "tttitt"
        "iiitt"
        "ttt"
        "iii"
        "iiiii"
        "it",
        x->uid, x->name, x->user, (int64_t)x->owner_uid, tags, x->dataset, x->time_steps,
        x->priority, x->max_attempts, r->spec, r->result_hash, state_name(x->state),
        reason_name(x->reason), x->message, x->created_ms, x->queued_ms, x->epochs,
        (int64_t)x->retry_on, x->time_limit_s, x->no_progress_s, x->memory_mib, x->threads,
        x->sweep, r->parameters);
    if (rc != 0) return rc;
    r->x.id = sqlite3_last_insert_rowid(db);
    rc = dependencies_write(&r->x, db, e);
    if (rc != 0) return rc;
    return stmt_once(
        db, "INSERT INTO audit(at_ms,actor,experiment,event,state) VALUES(?,?,?,'submit',?)", e,
        "itit", x->created_ms, x->user, r->x.id, state_name(x->state));
}

static int run(struct store_job *job, sqlite3 *db, struct err *e)
{
    struct submission *s = container_of(job, struct submission, job);
    int rc = s->key.key != NULL ? idempotency_find(db, &s->key, &s->repeated, e) : 0;
    if (rc != 0 || s->repeated.experiment != 0) return rc;
    if (s->broken.code != ERR_OK) {
        *e = s->broken;
        return (int)e->code;
    }
    if (s->fork.experiment != 0) rc = fork_link(&s->fork, s->q->files_dir, s->row.x.uid, e);
    if (rc == 0) rc = queue_row_insert(&s->row, db, e);
    if (rc == 0 && s->key.key != NULL)
        rc = idempotency_keep(db, &s->key, &(struct key_made){ .experiment = s->row.x.id }, e);
    crash_point(CRASH_SUBMIT_BEFORE_COMMIT);
    return rc;
}

static struct entry *add_entry(struct queue *q, struct submission *s, struct err *e)
{
    struct entry *entry = queue_add(q, &s->row.x, e);
    if (entry == NULL) return NULL;
    s->row.x.after = NULL; /* the entry's from here on */
    dependencies_name(q, entry);
    if (dependencies_attach(q, entry, e) != 0) {
        log_error("server.queue", "experiment %lld waits until a restart: %s",
                  (long long)entry->x.id, e->text);
        err_clear(e);
    }
    return entry;
}

static void committed(struct store_job *job, const struct err *e)
{
    struct submission *s = container_of(job, struct submission, job);
    struct queue *q = s->q;
    struct err fault = *e;
    struct entry *entry = NULL;
    s->user->arriving--; /* counted as what it has become from here on */
    if (fault.code == ERR_OK) crash_point(CRASH_SUBMIT_AFTER_COMMIT);
    if (fault.code == ERR_OK && s->repeated.experiment == 0) entry = add_entry(q, s, &fault);
    const struct entry *answer = entry;
    if (fault.code == ERR_OK && s->repeated.experiment != 0)
        answer = idempotency_entry(q, s->repeated.experiment, &fault);
    if (fault.code != ERR_OK && s->fork.experiment != 0) fork_unlink(q->files_dir, s->row.x.uid);
    if (entry != NULL) queue_publish_state(q, entry);
    s->done(s->ctx, answer != NULL ? &answer->x : NULL, &fault);
    /* What it needs may have ended while the row was written. */
    dependencies_check(q, entry);
    submission_free(s);
    scheduler_run(q);
}

/* What is being written counts, too: a burst comes before its first row is committed. */
int queue_room(const struct queue *q, const struct order_user *u, int64_t n, struct err *e)
{
    if (u->kept + u->arriving + n <= q->o.queued_per_user_max) return 0;
    return err_set(e, ERR_QUEUE_FULL,
                   "%s has %lld experiments that wait or are paused, at most %lld may%s", u->name,
                   (long long)(u->kept + u->arriving), (long long)q->o.queued_per_user_max,
                   n > 1 ? ", with the new ones" : "");
}

static void fill(struct experiment *x, const struct spec *spec, const struct queue_actor *actor)
{
    uid_make(x->uid);
    (void)snprintf(x->name, sizeof x->name, "%s", spec->name);
    (void)snprintf(x->user, sizeof x->user, "%s", actor->user);
    (void)snprintf(x->dataset, sizeof x->dataset, "%s", spec->dataset.name);
    x->owner_uid = actor->uid;
    memcpy(x->tags, spec->tags, sizeof x->tags);
    x->n_tags = spec->n_tags;
    x->time_steps = spec->time_steps;
    x->priority = spec->priority;
    x->max_attempts = spec->max_attempts;
    for (size_t i = 0; i < spec->n_retry_on; i++)
        x->retry_on |= strcmp(spec->retry_on[i], "oom") == 0 ? RETRY_ON_OOM : RETRY_ON_ERROR;
    x->time_limit_s = spec->time_limit_s;
    x->no_progress_s = spec->no_progress_s;
    x->memory_mib = spec->memory_mib;
    x->threads = spec->threads;
    x->epochs = spec->train.epochs;
    x->state = STATE_QUEUED;
    x->rev = 1;
    x->created_ms = x->queued_ms = clock_wall_ms();
}

int queue_row_init(struct queue_row *r, const struct spec *spec, const struct queue_actor *actor,
                   struct err *e)
{
    uint8_t hash[DIGEST_BYTES];
    *r = (struct queue_row){ .from = spec->train.from };
    fill(&r->x, spec, actor);
    cJSON *json = spec_normalize(spec);
    r->spec = json != NULL ? json_print(json, NULL) : NULL;
    cJSON_Delete(json);
    if (r->spec == NULL) return err_set(e, ERR_NOMEM, "normalised spec");
    const int rc = spec_result_hash(spec, hash, e);
    if (rc != 0) queue_row_deinit(r);
    else digest_hex(hash, r->result_hash);
    return rc;
}

static int depend(const struct queue *q, struct submission *s, const struct queue_submission *from,
                  struct err *e)
{
    struct experiment *x = &s->row.x;
    char words[DEPENDENCIES_WORDS_MAX];
    if (from->n_after == 0) return 0;
    x->after = mem_calloc(from->n_after, sizeof x->after[0]);
    if (x->after == NULL) return err_set(e, ERR_NOMEM, "dependencies");
    memcpy(x->after, from->after, from->n_after * sizeof x->after[0]);
    x->n_after = from->n_after;
    const enum dependencies_state state = dependencies_of(q, x, words, sizeof words);
    if (state == DEPENDENCIES_BROKEN) (void)err_set(&s->broken, ERR_BAD_STATE, "it %s", words);
    if (state != DEPENDENCIES_OPEN) return 0;
    x->state = STATE_BLOCKED;
    x->reason = REASON_DEPENDENCY;
    x->queued_ms = 0;
    (void)snprintf(x->message, sizeof x->message, "%s", words);
    return 0;
}

int fork_prepare(const struct queue *q, const struct spec_from *from, struct fork *f, struct err *e)
{
    if (from->experiment == 0) return 0;
    const struct experiment *source = queue_find(q, from->experiment);
    if (source == NULL)
        return err_set(e, ERR_NOT_FOUND, "there is no experiment %lld",
                       (long long)from->experiment);
    *f = (struct fork){ .experiment = source->id,
                        .attempts = source->attempt,
                        .best = from->checkpoint == SPEC_START_BEST };
    (void)snprintf(f->uid, sizeof f->uid, "%s", source->uid);
    return 0;
}

static int prepare(const struct queue *q, struct submission *s, const struct queue_submission *from,
                   struct err *e)
{
    if (queue_row_init(&s->row, from->spec, &from->actor, e) != 0 || depend(q, s, from, e) != 0 ||
        fork_prepare(q, &from->spec->train.from, &s->fork, e) != 0)
        return (int)e->code;
    return from->key.key != NULL ? key_row_init(&s->key, &from->key, e) : 0;
}

void queue_submit(struct queue *q, const struct queue_submission *from, queue_done_fn done,
                  void *ctx)
{
    struct err e = { 0 };
    struct submission *s = NULL;
    struct order_user *u = NULL;
    if (queue_ready(q, &e)) {
        u = order_user(&q->order, from->actor.user);
        if (u == NULL || (s = mem_calloc(1, sizeof *s)) == NULL)
            (void)err_set(&e, ERR_NOMEM, "submission");
        else if (queue_room(q, u, 1, &e) != 0) {
            mem_free(s);
            s = NULL;
        }
    }
    if (s == NULL || prepare(q, s, from, &e) != 0) {
        if (s != NULL) submission_free(s);
        done(ctx, NULL, &e);
        return;
    }
    s->q = q;
    s->user = u;
    u->arriving++;
    s->done = done;
    s->ctx = ctx;
    s->job.run = run;
    s->job.done = committed;
    store_submit(q->main, &s->job);
}
