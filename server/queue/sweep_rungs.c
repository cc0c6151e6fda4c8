/* sweep_rungs: who goes on in a sweep with successive halving (halving.h). A value counts when it
 * has come from a worker and is in metrics.db; the decision is a row of spiked.db, in the order of
 * arrival, and a member is stopped only after its commit. What came in and was not decided when a
 * daemon died is decided by the next one, from the points, in the order of their times; a member
 * that was to stop and does not yet is asked again. Loop thread, but for what runs in the writer.
 */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/crash.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/metrics_store.h"
#include "server/store/stmt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_MS 1000

struct decision {
    struct store_job job;
    struct list link; /* of queue.rungs */
    struct queue *q;
    int64_t sweep, experiment, rung, step, again_ms;
    double value;
    struct halving_verdict v;
};

/* ---- stopping -------------------------------------------------------------------------------- */
static void prune(struct queue *q, struct entry *e, const char *words)
{
    struct change *c = change_new(q, e, EVENT_PRUNE);
    if (c == NULL) return;
    c->reason = REASON_SWEEP_PRUNED;
    c->grace_s = LIMIT_GRACE_S;
    (void)snprintf(c->message, sizeof c->message, "%s", words);
    change_submit(c);
}

static void words_of(const struct sweep *s, const struct decision *d, char *out, size_t size)
{
    (void)snprintf(out, size, "%s %.6g was number %zu of %zu at %lld %s of sweep %lld", s->metric,
                   d->value, d->v.rank, d->v.of, (long long)halving_budget(&s->halving, d->rung),
                   s->halving.steps ? "steps" : "epochs", (long long)s->id);
}

/* ---- writing --------------------------------------------------------------------------------- */
/* A sweep may have been deleted meanwhile: then there is nothing to write. */
static int write_decision(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct decision *d = container_of(job, struct decision, job);
    const int64_t now = clock_wall_ms();
    int rc = stmt_once(db,
                       "INSERT INTO rung(sweep,rung,experiment,step,value,rank,of,goes_on,at_ms)"
                       " SELECT ?1,?2,?3,?4,?5,?6,?7,?8,?9 FROM sweep WHERE id=?1",
                       e, "iiiidiiii", d->sweep, d->rung, d->experiment, d->step, d->value,
                       (int64_t)d->v.rank, (int64_t)d->v.of, (int64_t)d->v.goes_on, now);
    if (rc == 0)
        rc = stmt_once(db,
                       "INSERT INTO audit(at_ms,actor,experiment,event,state)"
                       " VALUES(?,'daemon',?,'rung',?)",
                       e, "iit", now, d->experiment, d->v.goes_on ? "goes_on" : "stops");
    crash_point(CRASH_RUNG_BEFORE_COMMIT);
    return rc;
}

static void decision_written(struct store_job *job, const struct err *e)
{
    struct decision *d = container_of(job, struct decision, job);
    struct entry *entry = queue_entry(d->q, d->experiment);
    if (e->code != ERR_OK) {
        log_error("server.queue", "a rung of experiment %lld was not stored: %s",
                  (long long)d->experiment, e->text);
        d->again_ms = clock_mono_ms() + AGAIN_MS;
        list_append(&d->q->rungs, &d->link);
        return;
    }
    crash_point(CRASH_RUNG_AFTER_COMMIT);
    if (!d->v.goes_on && entry != NULL && entry->sweep != NULL && entry->stops_early) {
        char words[300];
        words_of(entry->sweep, d, words, sizeof words);
        prune(d->q, entry, words);
    }
    mem_free(d);
}

static void submit_decision(struct decision *d)
{
    d->job = (struct store_job){ .run = write_decision, .done = decision_written };
    store_submit(d->q->main, &d->job);
}

void rungs_tick(struct queue *q)
{
    const int64_t mono = clock_mono_ms();
    list_for_each_safe(it, &q->rungs) {
        struct decision *d = container_of(it, struct decision, link);
        if (mono < d->again_ms) continue;
        list_remove(&d->link);
        submit_decision(d);
    }
}

void rungs_drop(struct queue *q)
{
    list_for_each_safe(it, &q->rungs) {
        list_remove(it);
        mem_free(container_of(it, struct decision, link));
    }
}

int rungs_forgive(const struct change *c, sqlite3 *db, struct err *e)
{
    return stmt_once(db, "UPDATE rung SET goes_on=2 WHERE experiment=?1 AND goes_on=0", e, "i",
                     c->next.id);
}

/* ---- deciding -------------------------------------------------------------------------------- */
static bool keep_value(struct rung_values *r, double value)
{
    if (r->n == r->capacity) {
        const size_t capacity = 2 * r->capacity + 16;
        double *grown = mem_realloc_array(r->values, capacity, sizeof grown[0]);
        if (grown == NULL) return false;
        r->values = grown;
        r->capacity = capacity;
    }
    r->values[r->n++] = value;
    return true;
}

/* false: out of memory; the next point asks again. */
static bool decide(struct queue *q, struct entry *e, int64_t step, double value)
{
    struct sweep *s = e->sweep;
    struct rung_values *r = &s->rungs[e->rungs];
    struct decision *d = mem_calloc(1, sizeof *d);
    if (d == NULL) return false;
    *d = (struct decision){ .q = q,
                            .sweep = s->id,
                            .experiment = e->x.id,
                            .rung = e->rungs,
                            .step = step,
                            .value = value };
    d->v = halving_judge(&s->halving, s->higher, r->values, r->n, value);
    if (!keep_value(r, value)) {
        mem_free(d);
        return false;
    }
    e->rungs++;
    e->stops_early = !d->v.goes_on;
    submit_decision(d);
    return true;
}

static bool stands_at_rung(const struct entry *e, int64_t step)
{
    const struct halving *h = &e->sweep->halving;
    if (e->stops_early || e->rungs >= halving_rungs(h)) return false;
    const int64_t at = halving_step(h, e->rungs, e->x.steps_total, e->x.epochs);
    return at >= 0 && step >= at;
}

void rungs_judge(struct queue *q, struct entry *e, const struct points_gather *points)
{
    if (e->sweep == NULL || e->sweep->halving.eta == 0) return;
    for (size_t k = 0; k < points->n; k++) {
        const struct gathered *s = &points->series[k];
        if (strcmp(s->name, e->sweep->metric) != 0) continue;
        for (size_t i = 0; i < s->n; i++)
            while (stands_at_rung(e, (int64_t)s->points[i].step))
                if (!decide(q, e, (int64_t)s->points[i].step, s->points[i].value)) return;
    }
}

/* ---- at start -------------------------------------------------------------------------------- */
static int load_decision(struct queue *q, const struct stmt *row, struct err *e)
{
    struct sweep *s = sweep_entry(q, stmt_int(row, 0));
    struct entry *entry = queue_entry(q, stmt_int(row, 2));
    const int64_t rung = stmt_int(row, 1);
    if (s == NULL || rung >= halving_rungs(&s->halving)) return 0;
    if (!keep_value(&s->rungs[rung], stmt_double(row, 3))) return err_set(e, ERR_NOMEM, "rungs");
    if (entry == NULL || entry->rungs > rung) return 0;
    entry->rungs = rung + 1;
    entry->stops_early = stmt_int(row, 4) == 0;
    return 0;
}

int rungs_load(struct queue *q, struct err *e)
{
    struct stmt s;
    int got = 0, rc = stmt_prepare(&s, store_db_at_start(q->main),
                                   "SELECT sweep,rung,experiment,value,goes_on FROM rung"
                                   " ORDER BY seq",
                                   e);
    while (rc == 0 && (got = stmt_step(&s, e)) == 1) rc = load_decision(q, &s, e);
    stmt_finish(&s);
    return rc != 0 ? rc : got < 0 ? (int)e->code : 0;
}

/* A value that stands at a rung. */
struct arrival {
    struct entry *entry;
    int64_t rung;
    struct point at;
};
struct arrivals {
    struct arrival *items;
    size_t n, capacity;
};

static int by_time(const void *a, const void *b)
{
    const struct arrival *x = a, *y = b;
    if (x->at.time_ms != y->at.time_ms) return x->at.time_ms < y->at.time_ms ? -1 : 1;
    if (x->entry != y->entry) return x->entry->x.id < y->entry->x.id ? -1 : 1;
    return x->rung < y->rung ? -1 : 1;
}

static int find_arrivals(struct queue *q, struct entry *x, struct arrivals *a, struct err *e)
{
    const struct halving *h = &x->sweep->halving;
    bool found = !x->stops_early;
    int rc = 0;
    for (int64_t rung = x->rungs; rc == 0 && found && rung < halving_rungs(h); rung++) {
        const int64_t step = halving_step(h, rung, x->x.steps_total, x->x.epochs);
        struct point p;
        if (step < 0) break;
        rc = metrics_point_from(store_db_at_start(q->metrics), x->x.id, x->sweep->metric,
                                (uint64_t)step, &p, &found, e);
        if (rc != 0 || !found) break;
        if (a->n == a->capacity) {
            const size_t capacity = 2 * a->capacity + 64;
            struct arrival *grown = mem_realloc_array(a->items, capacity, sizeof grown[0]);
            if (grown == NULL) return err_set(e, ERR_NOMEM, "rungs");
            a->items = grown;
            a->capacity = capacity;
        }
        a->items[a->n++] = (struct arrival){ x, rung, p };
    }
    return rc;
}

static void decide_all(struct queue *q, const struct arrivals *a)
{
    for (size_t i = 0; i < a->n; i++) {
        const struct arrival *x = &a->items[i];
        if (x->entry->stops_early || x->entry->rungs != x->rung) continue;
        if (!decide(q, x->entry, (int64_t)x->at.step, x->at.value)) return;
    }
}

static int catch_up(struct queue *q, const struct sweep *s, struct err *e)
{
    struct arrivals a = { 0 };
    int rc = 0;
    if (s->halving.eta == 0 || sweep_live(s) == 0) return 0;
    for (int64_t id = s->first; rc == 0 && id < s->first + s->n; id++) {
        struct entry *x = queue_entry(q, id);
        if (x == NULL || x->deleted) continue;
        if (x->stops_early && !state_is_final(x->x.state) && x->x.desired != DESIRED_CANCEL)
            prune(q, x, reason_meaning(REASON_SWEEP_PRUNED));
        rc = find_arrivals(q, x, &a, e);
    }
    if (rc == 0 && a.n > 0) qsort(a.items, a.n, sizeof a.items[0], by_time);
    if (rc == 0) decide_all(q, &a);
    mem_free(a.items);
    return rc;
}

int rungs_catch_up(struct queue *q, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < q->n_sweeps; i++) rc = catch_up(q, q->sweeps[i], e);
    return rc;
}
