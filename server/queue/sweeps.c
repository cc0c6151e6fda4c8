/* sweeps: groups of experiments made from one base and a space. A sweep's row is what it was asked
 * to be; all that becomes of it is told by its members, which are experiments like others. Loop
 * thread, but for what runs in the writer. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/crash.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/stmt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE 50 /* members that a tick ends, and that are told to the world in a turn */

/* ---- the index ------------------------------------------------------------------------------- */
/* How many have an id below this one. */
static size_t count_below(const struct queue *q, int64_t id)
{
    size_t low = 0, high = q->n_sweeps;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (q->sweeps[middle]->id < id) low = middle + 1;
        else high = middle;
    }
    return low;
}

struct sweep *sweep_entry(const struct queue *q, int64_t id)
{
    if (id <= 0) return NULL;
    const size_t at = count_below(q, id);
    return at < q->n_sweeps && q->sweeps[at]->id == id ? q->sweeps[at] : NULL;
}

const struct sweep *queue_sweep_find(const struct queue *q, int64_t id)
{
    return sweep_entry(q, id);
}

const struct sweep *queue_sweep_below(const struct queue *q, int64_t id)
{
    const size_t n = id > 0 ? count_below(q, id) : q->n_sweeps;
    return n > 0 ? q->sweeps[n - 1] : NULL;
}

static void sweep_free(struct sweep *s)
{
    const int64_t n = halving_rungs(&s->halving);
    for (int64_t i = 0; s->rungs != NULL && i < n; i++) mem_free(s->rungs[i].values);
    mem_free(s->rungs);
    mem_free(s);
}

/* NULL: out of memory. */
static struct sweep *sweep_add(struct queue *q, const struct sweep *like, struct err *e)
{
    if (q->n_sweeps == q->sweeps_capacity) {
        const size_t capacity = 2 * q->sweeps_capacity + 16;
        struct sweep **grown = mem_realloc_array(q->sweeps, capacity, sizeof grown[0]);
        if (grown == NULL) goto fail;
        q->sweeps = grown;
        q->sweeps_capacity = capacity;
    }
    struct sweep *s = mem_calloc(1, sizeof *s);
    if (s == NULL) goto fail;
    *s = *like;
    const int64_t n = halving_rungs(&s->halving);
    s->rungs = n > 0 ? mem_calloc((size_t)n, sizeof s->rungs[0]) : NULL;
    if (n > 0 && s->rungs == NULL) {
        mem_free(s);
        goto fail;
    }
    q->sweeps[q->n_sweeps++] = s;
    return s;
fail:
    (void)err_set(e, ERR_NOMEM, "sweep");
    return NULL;
}

void sweeps_free(struct queue *q)
{
    for (size_t i = 0; i < q->n_sweeps; i++) sweep_free(q->sweeps[i]);
    mem_free(q->sweeps);
}

/* ---- what its members come to ---------------------------------------------------------------- */
int64_t sweep_live(const struct sweep *s)
{
    int64_t n = 0;
    for (int i = 0; i < STATE_COUNT; i++)
        if (!state_is_final((enum experiment_state)i)) n += s->states[i];
    return n;
}

const char *sweep_state(const struct sweep *s)
{
    const int64_t *n = s->states;
    if (s->active > 0) return "running";
    if (n[STATE_QUEUED] + n[STATE_BACKOFF] + n[STATE_BLOCKED] > 0) return "queued";
    if (n[STATE_PAUSED] + n[STATE_HELD] > 0) return "paused";
    if (n[STATE_FAILED] > 0) return "failed";
    if (n[STATE_CANCELLED] > s->pruned) return "cancelled";
    return "succeeded";
}

bool sweep_stopped(const struct sweep *s)
{
    return s->max_fails > 0 && s->states[STATE_FAILED] >= s->max_fails;
}

bool sweep_has_room(const struct sweep *s)
{
    return !sweep_stopped(s) && (s->max_parallel == 0 || s->active + s->claiming < s->max_parallel);
}

static void end_member(struct queue *q, struct entry *e)
{
    struct change *c = change_new(q, e, EVENT_PRUNE);
    if (c == NULL) return;
    c->reason = REASON_SWEEP_STOPPED;
    c->grace_s = LIMIT_GRACE_S;
    (void)snprintf(c->message, sizeof c->message, "%lld members of sweep %lld have failed",
                   (long long)e->sweep->states[STATE_FAILED], (long long)e->sweep->id);
    change_submit(c);
}

/* Meanwhile none begins. A daemon that starts again sees the same and goes on. */
void sweeps_tick(struct queue *q)
{
    size_t n = 0;
    for (size_t i = 0; i < q->n_sweeps && n < SLICE; i++) {
        const struct sweep *s = q->sweeps[i];
        if (!sweep_stopped(s) || sweep_live(s) == 0) continue;
        for (int64_t id = s->first; id < s->first + s->n && n < SLICE; id++) {
            struct entry *e = queue_entry(q, id);
            if (e == NULL || e->deleted || state_is_final(e->x.state) ||
                e->x.desired == DESIRED_CANCEL || e->writing || !list_empty(&e->changes))
                continue;
            end_member(q, e);
            n++;
        }
    }
}

/* ---- creation -------------------------------------------------------------------------------- */
struct creation {
    struct store_job job;
    uv_timer_t turns; /* members are told to the world some at a time */
    struct queue *q;
    struct order_user *user;
    struct sweep s;
    char *definition;
    struct queue_row *rows;
    struct fork *forks; /* [n] */
    size_t n, told;
    struct key_row key;
    int64_t repeated; /* the sweep that the key made before */
    queue_sweep_fn done;
    void *ctx;
};

static void creation_free(struct creation *c)
{
    for (size_t i = 0; i < c->n; i++) queue_row_deinit(&c->rows[i]);
    mem_free(c->rows);
    mem_free(c->forks);
    mem_free(c->definition);
    key_row_deinit(&c->key);
    mem_free(c);
}

static int insert_sweep(struct creation *c, sqlite3 *db, struct err *e)
{
    struct sweep *s = &c->s;
    const int rc = stmt_once(
        db,
        "INSERT INTO sweep(name,user,definition,strategy,metric,higher,eta,budget_min,budget_max,"
        "unit,max_parallel,max_fails,first,members,created_ms)"
        " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,0,?,?)",
        e, "tttttiiiiiiiii", s->name, s->user, c->definition, s->strategy, s->metric,
        (int64_t)s->higher, s->halving.eta, s->halving.min, s->halving.max,
        (int64_t)s->halving.steps, s->max_parallel, s->max_fails, (int64_t)c->n, s->created_ms);
    s->id = sqlite3_last_insert_rowid(db);
    return rc;
}

static int insert_members(struct creation *c, sqlite3 *db, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < c->n; i++) {
        c->rows[i].x.sweep = c->s.id;
        if (c->forks[i].experiment != 0)
            rc = fork_link(&c->forks[i], c->q->files_dir, c->rows[i].x.uid, e);
        if (rc == 0) rc = queue_row_insert(&c->rows[i], db, e);
    }
    c->s.first = c->rows[0].x.id;
    c->s.n = (int64_t)c->n;
    if (rc != 0) return rc;
    return stmt_once(db, "UPDATE sweep SET first=?2 WHERE id=?1", e, "ii", c->s.id, c->s.first);
}

static int keep_key(struct creation *c, sqlite3 *db, struct err *e)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)c->s.id);
    return idempotency_keep(db, &c->key, &(struct key_made){ .answer = text }, e);
}

static int find_key(struct creation *c, sqlite3 *db, struct err *e)
{
    struct key_made made;
    const int rc = idempotency_find(db, &c->key, &made, e);
    if (made.answer != NULL) c->repeated = strtoll(made.answer, NULL, 10);
    mem_free(made.answer);
    return rc;
}

static int write_sweep(struct store_job *job, sqlite3 *db, struct err *e)
{
    struct creation *c = container_of(job, struct creation, job);
    int rc = c->key.key != NULL ? find_key(c, db, e) : 0;
    if (rc != 0 || c->repeated != 0) return rc;
    rc = insert_sweep(c, db, e);
    if (rc == 0) rc = insert_members(c, db, e);
    if (rc == 0 && c->key.key != NULL) rc = keep_key(c, db, e);
    crash_point(CRASH_SWEEP_BEFORE_COMMIT);
    return rc;
}

static void turns_closed(uv_handle_t *h)
{
    struct creation *c = container_of((uv_timer_t *)h, struct creation, turns);
    c->q->telling--;
    creation_free(c);
}

static void tell_some(uv_timer_t *t)
{
    struct creation *c = container_of(t, struct creation, turns);
    for (size_t i = 0; i < SLICE && c->told < c->n && !c->q->closing; i++) {
        const struct entry *e = queue_entry(c->q, c->rows[c->told++].x.id);
        if (e != NULL && !e->deleted) queue_publish_state(c->q, e);
    }
    if (c->told < c->n && !c->q->closing) return;
    uv_close((uv_handle_t *)t, turns_closed);
}

static const struct sweep *add_all(struct creation *c, struct err *e)
{
    const struct sweep *s = sweep_add(c->q, &c->s, e);
    for (size_t i = 0; s != NULL && i < c->n; i++) {
        if (queue_add(c->q, &c->rows[i].x, e) != NULL) continue;
        log_error("server.queue", "experiment %lld is not there before a restart: %s",
                  (long long)c->rows[i].x.id, e->text);
        err_clear(e);
    }
    return s;
}

static void sweep_committed(struct store_job *job, const struct err *e)
{
    struct creation *c = container_of(job, struct creation, job);
    struct queue *q = c->q;
    struct err fault = *e;
    const struct sweep *s = NULL;
    c->user->arriving -= (int64_t)c->n;
    if (fault.code == ERR_OK) crash_point(CRASH_SWEEP_AFTER_COMMIT);
    const bool made = fault.code == ERR_OK && c->repeated == 0;
    if (made) s = add_all(c, &fault);
    else if (fault.code == ERR_OK && (s = sweep_entry(q, c->repeated)) == NULL)
        (void)err_set(&fault, ERR_NOT_FOUND, "sweep %lld of that Idempotency-Key was deleted",
                      (long long)c->repeated);
    if (fault.code != ERR_OK)
        for (size_t i = 0; i < c->n; i++)
            if (c->forks[i].experiment != 0) fork_unlink(q->files_dir, c->rows[i].x.uid);
    c->done(c->ctx, s, &fault);
    if (!made) {
        creation_free(c);
        return;
    }
    q->telling++;
    (void)uv_timer_init(q->loop, &c->turns);
    (void)uv_timer_start(&c->turns, tell_some, 0, 1);
    scheduler_run(q);
}

static int prepare(struct queue *q, struct creation *c, const struct queue_sweep *from,
                   struct err *e)
{
    c->definition = mem_strdup(from->definition);
    c->forks = mem_calloc(c->n, sizeof c->forks[0]);
    if (c->definition == NULL || c->forks == NULL) return err_set(e, ERR_NOMEM, "sweep");
    if (!queue_ready(q, e)) return (int)e->code;
    c->user = order_user(&q->order, from->actor.user);
    if (c->user == NULL) return err_set(e, ERR_NOMEM, "user");
    if (queue_room(q, c->user, (int64_t)c->n, e) != 0) return (int)e->code;
    for (size_t i = 0; i < c->n; i++)
        if (fork_prepare(q, &c->rows[i].from, &c->forks[i], e) != 0) return (int)e->code;
    return from->key.key != NULL ? key_row_init(&c->key, &from->key, e) : 0;
}

void queue_sweep_create(struct queue *q, struct queue_sweep *from, queue_sweep_fn done, void *ctx)
{
    struct err e = { 0 };
    struct creation *c = mem_calloc(1, sizeof *c);
    if (c == NULL) {
        (void)err_set(&e, ERR_NOMEM, "sweep");
        for (size_t i = 0; i < from->n; i++) queue_row_deinit(&from->rows[i]);
        mem_free(from->rows);
        done(ctx, NULL, &e);
        return;
    }
    *c = (struct creation){
        .q = q, .s = from->like, .rows = from->rows, .n = from->n, .done = done, .ctx = ctx
    };
    (void)snprintf(c->s.user, sizeof c->s.user, "%s", from->actor.user);
    c->s.created_ms = clock_wall_ms();
    if (prepare(q, c, from, &e) != 0) {
        creation_free(c);
        done(ctx, NULL, &e);
        return;
    }
    c->user->arriving += (int64_t)c->n;
    c->job = (struct store_job){ .run = write_sweep, .done = sweep_committed };
    store_submit(q->main, &c->job);
}

/* ---- changes --------------------------------------------------------------------------------- */
struct sweep_change {
    struct store_job job;
    struct queue *q;
    int64_t id;
    bool remove;
    char name[SPEC_NAME_MAX];        /* "": as it is */
    int64_t max_parallel, max_fails; /* -1: as it is */
    queue_sweep_fn done;
    void *ctx;
};

static int write_sweep_change(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct sweep_change *c = container_of(job, struct sweep_change, job);
    if (!c->remove)
        return stmt_once(db,
                         "UPDATE sweep SET name=coalesce(nullif(?2,''),name),"
                         "max_parallel=iif(?3<0,max_parallel,?3),"
                         "max_fails=iif(?4<0,max_fails,?4) WHERE id=?1",
                         e, "itii", c->id, c->name, c->max_parallel, c->max_fails);
    const int rc = stmt_once(db, "UPDATE experiment SET sweep=0 WHERE sweep=?1", e, "i", c->id);
    return rc != 0 ? rc : stmt_once(db, "DELETE FROM sweep WHERE id=?1", e, "i", c->id);
}

/* Its members are experiments of their own from here on. */
static void let_go(struct queue *q, struct sweep *s)
{
    for (int64_t id = s->first; id < s->first + s->n; id++) {
        struct entry *e = queue_entry(q, id);
        if (e == NULL) continue;
        e->sweep = NULL;
        e->x.sweep = 0;
    }
    const size_t at = count_below(q, s->id);
    memmove(q->sweeps + at, q->sweeps + at + 1, (q->n_sweeps - at - 1) * sizeof q->sweeps[0]);
    q->n_sweeps--;
}

static void sweep_changed(struct store_job *job, const struct err *e)
{
    struct sweep_change *c = container_of(job, struct sweep_change, job);
    struct sweep *s = sweep_entry(c->q, c->id);
    struct err fault = *e;
    if (fault.code == ERR_OK && s == NULL)
        (void)err_set(&fault, ERR_NOT_FOUND, "sweep %lld is gone", (long long)c->id);
    if (fault.code == ERR_OK && c->remove) {
        let_go(c->q, s);
    } else if (fault.code == ERR_OK) {
        if (c->name[0] != '\0') (void)snprintf(s->name, sizeof s->name, "%s", c->name);
        if (c->max_parallel >= 0) s->max_parallel = c->max_parallel;
        if (c->max_fails >= 0) s->max_fails = c->max_fails;
    }
    c->done(c->ctx, fault.code == ERR_OK ? s : NULL, &fault);
    if (fault.code == ERR_OK && c->remove) sweep_free(s);
    scheduler_run(c->q);
    mem_free(c);
}

/* NULL after the problem was told. */
static struct sweep_change *change_of(struct queue *q, int64_t id, const struct queue_actor *actor,
                                      queue_sweep_fn done, void *ctx)
{
    const struct sweep *s = sweep_entry(q, id);
    struct sweep_change *c = NULL;
    struct err e = { 0 };
    if (s == NULL) (void)err_set(&e, ERR_NOT_FOUND, "there is no sweep %lld", (long long)id);
    else if (!actor->admin && strcmp(actor->user, s->user) != 0)
        (void)err_set(&e, ERR_FORBIDDEN, "sweep %lld belongs to %s", (long long)id, s->user);
    else if ((c = mem_calloc(1, sizeof *c)) == NULL) (void)err_set(&e, ERR_NOMEM, "sweep");
    if (c == NULL) {
        done(ctx, NULL, &e);
        return NULL;
    }
    *c = (struct sweep_change){
        .q = q, .id = id, .max_parallel = -1, .max_fails = -1, .done = done, .ctx = ctx
    };
    c->job = (struct store_job){ .run = write_sweep_change, .done = sweep_changed };
    return c;
}

void queue_sweep_patch(struct queue *q, int64_t id, const struct queue_sweep_patch *patch,
                       struct queue_actor actor, queue_sweep_fn done, void *ctx)
{
    struct sweep_change *c = change_of(q, id, &actor, done, ctx);
    if (c == NULL) return;
    if (patch->name != NULL) (void)snprintf(c->name, sizeof c->name, "%s", patch->name);
    if (patch->max_parallel != NULL) c->max_parallel = *patch->max_parallel;
    if (patch->max_fails != NULL) c->max_fails = *patch->max_fails;
    store_submit(q->main, &c->job);
}

void queue_sweep_delete(struct queue *q, int64_t id, struct queue_actor actor, queue_sweep_fn done,
                        void *ctx)
{
    struct sweep_change *c = change_of(q, id, &actor, done, ctx);
    if (c == NULL) return;
    const int64_t live = sweep_live(sweep_entry(q, id));
    if (live > 0) {
        struct err e = { 0 };
        (void)err_set(&e, ERR_BAD_STATE,
                      "%lld members of sweep %lld have not ended: cancel it first", (long long)live,
                      (long long)id);
        mem_free(c);
        done(ctx, NULL, &e);
        return;
    }
    c->remove = true;
    store_submit(q->main, &c->job);
}

/* ---- at start -------------------------------------------------------------------------------- */
int sweeps_load(struct queue *q, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(&s, store_db_at_start(q->main),
                          "SELECT id,name,user,strategy,metric,higher,eta,budget_min,budget_max,"
                          "unit,max_parallel,max_fails,first,members,created_ms FROM sweep"
                          " ORDER BY id",
                          e);
    int got = 0;
    while (rc == 0 && (got = stmt_step(&s, e)) == 1) {
        struct sweep w = { .id = stmt_int(&s, 0),
                           .higher = stmt_int(&s, 5) != 0,
                           .halving = { stmt_int(&s, 6), stmt_int(&s, 7), stmt_int(&s, 8),
                                        stmt_int(&s, 9) != 0 },
                           .max_parallel = stmt_int(&s, 10),
                           .max_fails = stmt_int(&s, 11),
                           .first = stmt_int(&s, 12),
                           .n = stmt_int(&s, 13),
                           .created_ms = stmt_int(&s, 14) };
        (void)snprintf(w.name, sizeof w.name, "%s", stmt_text(&s, 1));
        (void)snprintf(w.user, sizeof w.user, "%s", stmt_text(&s, 2));
        (void)snprintf(w.strategy, sizeof w.strategy, "%s", stmt_text(&s, 3));
        (void)snprintf(w.metric, sizeof w.metric, "%s", stmt_text(&s, 4));
        if (sweep_add(q, &w, e) == NULL) rc = (int)e->code;
    }
    stmt_finish(&s);
    return rc != 0 ? rc : got < 0 ? (int)e->code : 0;
}
