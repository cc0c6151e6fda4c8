/* sweep_read: a sweep as the API shows it: what it is and comes to, from memory; its definition,
 * the best member and a page of members with what they got and what became of the sweep's metric,
 * from disk, in the pool. Loop thread, but for what says otherwise. */
#include "server/queue/queue_internal.h"

#include "common/mem.h"
#include "server/store/stmt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct page_member {
    int64_t id;
    char name[SPEC_NAME_MAX];
    enum experiment_state state;
    enum experiment_reason reason;
};
struct page {
    uv_work_t work;
    struct queue *q;
    cJSON *o; /* the answer */
    int64_t sweep, first, end;
    bool higher;
    struct halving halving;
    char metric[SERIES_NAME_MAX + 1];
    char *main_path, *metrics_path;
    struct page_member *members;
    size_t n;
    int64_t next; /* cursor; 0 = no more */
    char *text;
    size_t length;
    struct err err;
    queue_read_fn done;
    void *ctx;
};

static bool add_states(cJSON *o, const struct sweep *s)
{
    cJSON *states = cJSON_AddObjectToObject(o, "states");
    bool ok = states != NULL;
    for (int i = 0; ok && i < STATE_COUNT; i++)
        if (s->states[i] > 0)
            ok = json_add_int(states, state_name((enum experiment_state)i), s->states[i]);
    return ok;
}

cJSON *queue_sweep_object(const struct sweep *s)
{
    cJSON *o = cJSON_CreateObject();
    if (o != NULL && json_add_int(o, "id", s->id) &&
        cJSON_AddStringToObject(o, "name", s->name) != NULL &&
        cJSON_AddStringToObject(o, "user", s->user) != NULL &&
        cJSON_AddStringToObject(o, "state", sweep_state(s)) != NULL &&
        cJSON_AddStringToObject(o, "strategy", s->strategy) != NULL &&
        cJSON_AddStringToObject(o, "metric", s->metric) != NULL &&
        cJSON_AddStringToObject(o, "goal", s->higher ? "max" : "min") != NULL &&
        json_add_int(o, "max_parallel", s->max_parallel) &&
        json_add_int(o, "max_fails", s->max_fails) && json_add_int(o, "members", s->n) &&
        json_add_int(o, "first", s->first) && add_states(o, s) &&
        json_add_int(o, "pruned", s->pruned) && json_add_time(o, "created_at", s->created_ms))
        return o;
    cJSON_Delete(o);
    return NULL;
}

/* ---- from disk (pool) ------------------------------------------------------------------------ */
static bool add_raw(cJSON *o, const char *name, const struct stmt *s, int column)
{
    return stmt_is_null(s, column) ? cJSON_AddNullToObject(o, name) != NULL
                                   : cJSON_AddRawToObject(o, name, stmt_text(s, column)) != NULL;
}

static int add_definition(struct page *p, sqlite3 *db, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(&s, db, "SELECT definition FROM sweep WHERE id=?1", e);
    if (rc != 0) return rc;
    stmt_bind(&s, "i", p->sweep);
    const int got = stmt_step(&s, e);
    if (got == 0) rc = err_set(e, ERR_NOT_FOUND, "sweep %lld was deleted", (long long)p->sweep);
    else if (got < 0) rc = (int)e->code;
    else if (!add_raw(p->o, "definition", &s, 0)) rc = err_set(e, ERR_NOMEM, "sweep");
    stmt_finish(&s);
    return rc;
}

static int add_parameters(cJSON *o, struct stmt *s, int64_t id, struct err *e)
{
    stmt_bind(s, "i", id);
    const int got = stmt_step(s, e);
    const bool ok = got == 1 ? add_raw(o, "parameters", s, 0)
                             : cJSON_AddNullToObject(o, "parameters") != NULL;
    stmt_reset(s);
    if (got < 0) return (int)e->code;
    return ok ? 0 : err_set(e, ERR_NOMEM, "member");
}

static int add_metric(const struct page *p, cJSON *o, struct stmt *s, int64_t id, struct err *e)
{
    const int best = p->higher ? 4 : 2;
    stmt_bind(s, "it", id, p->metric);
    const int got = stmt_step(s, e);
    cJSON *m = got == 1 ? cJSON_AddObjectToObject(o, "metric") : cJSON_AddNullToObject(o, "metric");
    const bool ok = m != NULL &&
                    (got != 1 || (json_add_number(m, "last", stmt_double(s, 0)) &&
                                  json_add_int(m, "last_step", stmt_int(s, 1)) &&
                                  json_add_number(m, "best", stmt_double(s, best)) &&
                                  json_add_int(m, "best_step", stmt_int(s, best + 1))));
    stmt_reset(s);
    if (got < 0) return (int)e->code;
    return ok ? 0 : err_set(e, ERR_NOMEM, "member");
}

static bool add_rung(const struct page *p, cJSON *list, const struct stmt *s)
{
    static const char *const words[] = { "stops", "goes_on", "retried" };
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    const int64_t verdict = stmt_int(s, 5);
    return json_add_int(o, "rung", stmt_int(s, 0)) &&
           json_add_int(o, "budget", halving_budget(&p->halving, stmt_int(s, 0))) &&
           json_add_int(o, "step", stmt_int(s, 1)) &&
           json_add_number(o, "value", stmt_double(s, 2)) &&
           json_add_int(o, "rank", stmt_int(s, 3)) && json_add_int(o, "of", stmt_int(s, 4)) &&
           cJSON_AddStringToObject(o, "verdict", words[verdict < 0 || verdict > 2 ? 2 : verdict]) !=
               NULL;
}

static int add_rungs(const struct page *p, cJSON *o, struct stmt *s, int64_t id, struct err *e)
{
    cJSON *list = cJSON_AddArrayToObject(o, "rungs");
    bool ok = list != NULL;
    int got = 0;
    stmt_bind(s, "ii", id, p->sweep);
    while (ok && (got = stmt_step(s, e)) == 1) ok = add_rung(p, list, s);
    stmt_reset(s);
    if (got < 0) return (int)e->code;
    return ok ? 0 : err_set(e, ERR_NOMEM, "member");
}

struct member_stmts {
    struct stmt parameters, metric, rungs;
};

static int add_member(const struct page *p, const struct page_member *m, cJSON *list,
                      struct member_stmts *s, struct err *e)
{
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return err_set(e, ERR_NOMEM, "member");
    }
    if (!json_add_int(o, "id", m->id) || cJSON_AddStringToObject(o, "name", m->name) == NULL ||
        cJSON_AddStringToObject(o, "state", state_name(m->state)) == NULL ||
        cJSON_AddStringToObject(o, "reason", reason_name(m->reason)) == NULL ||
        cJSON_AddBoolToObject(o, "stopped_early",
                              m->state == STATE_CANCELLED && m->reason == REASON_SWEEP_PRUNED) ==
            NULL)
        return err_set(e, ERR_NOMEM, "member");
    int rc = add_parameters(o, &s->parameters, m->id, e);
    if (rc == 0) rc = add_metric(p, o, &s->metric, m->id, e);
    return rc == 0 ? add_rungs(p, o, &s->rungs, m->id, e) : rc;
}

static int add_members(struct page *p, sqlite3 *main, sqlite3 *metrics, struct err *e)
{
    struct member_stmts s = { 0 };
    cJSON *list = cJSON_AddArrayToObject(p->o, "items");
    int rc = list != NULL ? 0 : err_set(e, ERR_NOMEM, "members");
    if (rc == 0)
        rc = stmt_prepare(&s.parameters, main, "SELECT parameters FROM experiment WHERE id=?1", e);
    if (rc == 0)
        rc = stmt_prepare(&s.metric, metrics,
                          "SELECT last,last_step,min,min_step,max,max_step FROM series"
                          " WHERE experiment=?1 AND name=?2",
                          e);
    if (rc == 0)
        rc = stmt_prepare(&s.rungs, main,
                          "SELECT rung,step,value,rank,of,goes_on FROM rung"
                          " WHERE experiment=?1 AND sweep=?2 ORDER BY rung",
                          e);
    for (size_t i = 0; rc == 0 && i < p->n; i++) rc = add_member(p, &p->members[i], list, &s, e);
    stmt_finish(&s.parameters);
    stmt_finish(&s.metric);
    stmt_finish(&s.rungs);
    return rc;
}

/* Of all members that are there, the stopped ones among them. */
static int add_best(struct page *p, sqlite3 *main, sqlite3 *metrics, struct err *e)
{
    struct stmt s, parameters = { 0 };
    int rc = stmt_prepare(
        &s, metrics,
        p->higher ? "SELECT experiment,max,max_step FROM series WHERE name=?1 AND experiment>=?2"
                    " AND experiment<?3 AND max IS NOT NULL ORDER BY max DESC,experiment LIMIT 1"
                  : "SELECT experiment,min,min_step FROM series WHERE name=?1 AND experiment>=?2"
                    " AND experiment<?3 AND min IS NOT NULL ORDER BY min,experiment LIMIT 1",
        e);
    if (rc == 0)
        rc = stmt_prepare(&parameters, main, "SELECT parameters FROM experiment WHERE id=?1", e);
    if (rc == 0) stmt_bind(&s, "tii", p->metric, p->first, p->end);
    const int got = rc == 0 ? stmt_step(&s, e) : 0;
    cJSON *o = got == 1 ? cJSON_AddObjectToObject(p->o, "best")
                        : cJSON_AddNullToObject(p->o, "best");
    if (got < 0) rc = (int)e->code;
    else if (o == NULL || (got == 1 && (!json_add_int(o, "id", stmt_int(&s, 0)) ||
                                        !json_add_number(o, "value", stmt_double(&s, 1)) ||
                                        !json_add_int(o, "step", stmt_int(&s, 2)))))
        rc = rc != 0 ? rc : err_set(e, ERR_NOMEM, "sweep");
    else if (got == 1) rc = add_parameters(o, &parameters, stmt_int(&s, 0), e);
    stmt_finish(&s);
    stmt_finish(&parameters);
    return rc;
}

static int fill_page(struct page *p, struct err *e)
{
    sqlite3 *main = NULL, *metrics = NULL;
    char cursor[24];
    int rc = store_reader(p->main_path, &main, e);
    if (rc == 0) rc = store_reader(p->metrics_path, &metrics, e);
    if (rc == 0) rc = add_definition(p, main, e);
    if (rc == 0) rc = add_best(p, main, metrics, e);
    if (rc == 0) rc = add_members(p, main, metrics, e);
    (void)sqlite3_close(main);
    (void)sqlite3_close(metrics);
    if (rc != 0) return rc;
    (void)snprintf(cursor, sizeof cursor, "%lld", (long long)p->next);
    const bool ok = p->next != 0 ? cJSON_AddStringToObject(p->o, "next_cursor", cursor) != NULL
                                 : cJSON_AddNullToObject(p->o, "next_cursor") != NULL;
    p->text = ok ? json_print(p->o, &p->length) : NULL;
    return p->text != NULL ? 0 : err_set(e, ERR_NOMEM, "sweep");
}

static void read_in_pool(uv_work_t *w)
{
    struct page *p = container_of(w, struct page, work);
    (void)fill_page(p, &p->err);
}

static void page_free(struct page *p)
{
    cJSON_Delete(p->o);
    mem_free(p->members);
    mem_free(p->main_path);
    mem_free(p->metrics_path);
    mem_free(p->text);
    mem_free(p);
}

static void read_done(uv_work_t *w, int status)
{
    struct page *p = container_of(w, struct page, work);
    (void)status;
    p->q->reads--;
    p->done(p->ctx, p->text, p->length, "application/json", &p->err);
    page_free(p);
}

/* ---- what memory knows ----------------------------------------------------------------------- */
static void take_members(struct page *p, const struct sweep *s, int64_t after, size_t limit)
{
    int64_t id = after >= s->first ? after + 1 : s->first;
    for (; id < p->end; id++) {
        const struct entry *e = queue_entry(p->q, id);
        if (e == NULL || e->deleted) continue;
        if (p->n == limit) {
            p->next = p->members[p->n - 1].id;
            return;
        }
        struct page_member *m = &p->members[p->n++];
        *m = (struct page_member){ .id = id, .state = e->x.state, .reason = e->x.reason };
        (void)snprintf(m->name, sizeof m->name, "%s", e->x.name);
    }
}

void queue_sweep_read(struct queue *q, int64_t id, int64_t after, size_t limit, queue_read_fn done,
                      void *ctx)
{
    const struct sweep *s = sweep_entry(q, id);
    struct err e = { 0 };
    struct page *p = NULL;
    if (s == NULL) (void)err_set(&e, ERR_NOT_FOUND, "there is no sweep %lld", (long long)id);
    else if (q->reads >= READS_MAX)
        (void)err_set(&e, ERR_UNAVAILABLE, "%d reads are under way", READS_MAX);
    else if ((p = mem_calloc(1, sizeof *p)) == NULL) (void)err_set(&e, ERR_NOMEM, "read");
    if (p != NULL) {
        *p = (struct page){ .q = q,
                            .o = queue_sweep_object(s),
                            .sweep = id,
                            .first = s->first,
                            .end = s->first + s->n,
                            .higher = s->higher,
                            .halving = s->halving,
                            .main_path = mem_strdup(store_path(q->main)),
                            .metrics_path = mem_strdup(store_path(q->metrics)),
                            .members = mem_calloc(limit, sizeof p->members[0]),
                            .done = done,
                            .ctx = ctx };
        (void)snprintf(p->metric, sizeof p->metric, "%s", s->metric);
        if (p->o == NULL || p->main_path == NULL || p->metrics_path == NULL || p->members == NULL) {
            (void)err_set(&e, ERR_NOMEM, "read");
            page_free(p);
            p = NULL;
        }
    }
    if (p == NULL) {
        done(ctx, NULL, 0, NULL, &e);
        return;
    }
    take_members(p, s, after, limit);
    q->reads++;
    (void)uv_queue_work(q->loop, &p->work, read_in_pool, read_done);
}
