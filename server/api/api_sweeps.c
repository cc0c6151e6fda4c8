/* api_sweeps: many experiments from one base and a space. Members are made in the pool, a thousand
 * specs would hold the loop up; they are stored in one transaction. See api_internal.h. */
#include "server/api/api_internal.h"
#include "server/api/sweep_space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_MAX 200

/* The sweep of the path; NULL after the problem was answered. */
static const struct sweep *sweep_of(struct request *r)
{
    const struct sweep *s = queue_sweep_find(api_of(r)->queue, api_param_id(r));
    if (s == NULL) api_problem(r, ERR_NOT_FOUND, "there is no sweep %.60s", r->params[0]);
    return s;
}

/* ---- creation -------------------------------------------------------------------------------- */
struct creation {
    struct api_work work;
    cJSON *body;
    struct sweep_plan plan;
    char user[QUEUE_USER_MAX];
    struct queue_actor actor;
    struct queue_row *rows;
    char *definition;
    cJSON *members; /* of a dry run */
    struct json_faults faults;
    bool dry;
};

static void creation_free(struct creation *c)
{
    for (int64_t i = 0; c->rows != NULL && i < c->plan.n; i++) queue_row_deinit(&c->rows[i]);
    mem_free(c->rows);
    mem_free(c->definition);
    cJSON_Delete(c->members);
    cJSON_Delete(c->body);
    mem_free(c);
}

static bool add_member(cJSON *list, const struct queue_row *row)
{
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    return cJSON_AddStringToObject(o, "name", row->x.name) != NULL &&
           cJSON_AddRawToObject(o, "parameters", row->parameters) != NULL;
}

static bool add_rungs(cJSON *o, const struct halving *h)
{
    cJSON *list = cJSON_AddArrayToObject(o, "rungs");
    for (int64_t i = 0; list != NULL && i < halving_rungs(h); i++)
        (void)cJSON_AddItemToArray(list, cJSON_CreateNumber((double)halving_budget(h, i)));
    return list != NULL;
}

static cJSON *describe(const struct creation *c)
{
    cJSON *o = cJSON_CreateObject(), *list = NULL;
    bool ok = o != NULL && json_add_int(o, "n", c->plan.n) && add_rungs(o, &c->plan.like.halving) &&
              (list = cJSON_AddArrayToObject(o, "members")) != NULL;
    for (int64_t i = 0; ok && i < c->plan.n; i++) ok = add_member(list, &c->rows[i]);
    if (ok) return o;
    cJSON_Delete(o);
    return NULL;
}

static void make_members(struct api_work *w)
{
    struct creation *c = (struct creation *)w;
    if (sweep_members(&c->plan, &c->actor, &c->rows, &c->faults, &w->err) != 0) return;
    if (c->dry) c->members = describe(c);
    else c->definition = json_print(c->body, NULL);
    if (c->members == NULL && c->definition == NULL) (void)err_set(&w->err, ERR_NOMEM, "sweep");
}

static void answer_created(struct request *r, const struct sweep *s)
{
    char place[64];
    cJSON *o = queue_sweep_object(s);
    (void)snprintf(place, sizeof place, "/api/v1/sweeps/%lld", (long long)s->id);
    respond_json(r, 201, o);
    respond_header(r, "Location", place);
    cJSON_Delete(o);
}

static void created(void *ctx, const struct sweep *s, const struct err *e)
{
    struct request *r = ctx;
    if (s == NULL) {
        respond_problem(r, e, NULL);
        return;
    }
    api_audit_id(r, s->id);
    answer_created(r, s);
}

/* Which experiments there are only the loop knows. */
static void check_forks(struct creation *c)
{
    struct queue *q = api_of(c->work.r)->queue;
    for (int64_t i = 0; c->rows != NULL && i < c->plan.n; i++) {
        const int64_t from = c->rows[i].from.experiment;
        if (from == 0 || queue_find(q, from) != NULL) continue;
        json_fault_add(&c->faults, "/base/train/from/experiment", "not_found",
                       "member %lld: there is no experiment %lld", (long long)i + 1,
                       (long long)from);
        (void)err_set(&c->work.err, ERR_SPEC, "members of the sweep have faults");
        return;
    }
}

static void members_made(struct api_work *w)
{
    struct creation *c = (struct creation *)w;
    struct request *r = w->r;
    check_forks(c);
    if (w->err.code != ERR_OK) {
        respond_problem(r, &w->err, &c->faults);
    } else if (c->dry) {
        respond_json(r, 200, c->members);
    } else {
        struct queue_sweep s = { .actor = c->actor,
                                 .like = c->plan.like,
                                 .definition = c->definition,
                                 .rows = c->rows,
                                 .n = (size_t)c->plan.n,
                                 .key = api_key(r) };
        c->rows = NULL; /* the queue's */
        queue_sweep_create(api_of(r)->queue, &s, created, r);
    }
    creation_free(c);
}

static void begin(struct request *r)
{
    bool dry;
    if (!api_dry_run(r, &dry) || !request_may_submit(r)) return;
    cJSON *body = api_body(r);
    if (body == NULL) return;
    struct creation *c = mem_calloc(1, sizeof *c);
    if (c == NULL) {
        cJSON_Delete(body);
        api_problem(r, ERR_NOMEM, "request");
        return;
    }
    c->body = body;
    c->dry = dry;
    c->actor = api_actor(r);
    (void)snprintf(c->user, sizeof c->user, "%s", c->actor.user);
    c->actor.user = c->user;
    struct err e = { 0 };
    if (sweep_plan_read(body, &c->plan, &c->faults, &e) != 0) {
        respond_problem(r, &e, &c->faults);
        creation_free(c);
    } else {
        api_work_start(&c->work, r, make_members, members_made);
    }
}

static void looked_up(void *ctx, const char *text, const struct err *e)
{
    struct request *r = ctx;
    const struct sweep *s = NULL;
    if (text != NULL) s = queue_sweep_find(api_of(r)->queue, strtoll(text, NULL, 10));
    if (s != NULL) answer_created(r, s);
    else if (text != NULL)
        api_problem(r, ERR_NOT_FOUND, "sweep %s of that Idempotency-Key was deleted", text);
    else if (e->code != ERR_OK) respond_problem(r, e, NULL);
    else begin(r);
}

void api_sweep_create(struct request *r)
{
    const struct queue_key key = api_key(r);
    bool dry;
    if (!api_dry_run(r, &dry)) return;
    if (dry || key.key == NULL) {
        begin(r);
        return;
    }
    request_suspend(r);
    queue_answered(api_of(r)->queue, &key, looked_up, r);
}

/* ---- reading --------------------------------------------------------------------------------- */
void api_sweeps(struct request *r)
{
    const struct queue *q = api_of(r)->queue;
    int64_t limit, cursor;
    if (!api_query_known(r, "limit|cursor") ||
        !request_query_int(r, "limit", 50, 1, LIMIT_MAX, &limit) ||
        !request_query_int(r, "cursor", 0, 1, INT64_MAX, &cursor))
        return;
    cJSON *o = cJSON_CreateObject(), *items = o != NULL ? cJSON_AddArrayToObject(o, "items") : NULL;
    const struct sweep *s = queue_sweep_below(q, cursor);
    bool ok = items != NULL;
    for (; ok && s != NULL && limit > 0; limit--) {
        ok = cJSON_AddItemToArray(items, queue_sweep_object(s));
        cursor = s->id;
        s = queue_sweep_below(q, cursor);
    }
    char next[24];
    (void)snprintf(next, sizeof next, "%lld", (long long)cursor);
    ok = ok && (s != NULL ? cJSON_AddStringToObject(o, "next_cursor", next) != NULL
                          : cJSON_AddNullToObject(o, "next_cursor") != NULL);
    respond_json(r, 200, ok ? o : NULL);
    cJSON_Delete(o);
}

static void page_read(void *ctx, const void *data, size_t length, const char *type,
                      const struct err *e)
{
    struct request *r = ctx;
    if (data != NULL) respond_text(r, 200, type, data, length);
    else respond_problem(r, e, NULL);
}

void api_sweep(struct request *r)
{
    const struct sweep *s = sweep_of(r);
    int64_t limit, cursor;
    if (s == NULL || !api_query_known(r, "limit|cursor") ||
        !request_query_int(r, "limit", 50, 1, LIMIT_MAX, &limit) ||
        !request_query_int(r, "cursor", 0, 1, INT64_MAX, &cursor))
        return;
    request_suspend(r);
    queue_sweep_read(api_of(r)->queue, s->id, cursor, (size_t)limit, page_read, r);
}

/* ---- changing -------------------------------------------------------------------------------- */
static void changed(void *ctx, const struct sweep *s, const struct err *e)
{
    struct request *r = ctx;
    if (s == NULL) {
        respond_problem(r, e, NULL);
    } else if (strcmp(r->route->method, "DELETE") == 0) {
        respond_empty(r, 204);
    } else {
        cJSON *o = queue_sweep_object(s);
        respond_json(r, 200, o);
        cJSON_Delete(o);
    }
}

static void read_change(const cJSON *item, struct queue_sweep_patch *p, int64_t numbers[2],
                        struct json_faults *faults)
{
    const bool parallel = strcmp(item->string, "max_parallel") == 0;
    if (strcmp(item->string, "name") == 0) {
        p->name = cJSON_IsString(item) ? item->valuestring : "";
        if (p->name[0] == '\0' || strlen(p->name) > SPEC_NAME_MAX - 8)
            json_fault_add(faults, "/name", "out_of_range", "a text of 1 to %d bytes",
                           SPEC_NAME_MAX - 8);
    } else if (parallel || strcmp(item->string, "max_fails") == 0) {
        const double v = cJSON_IsNumber(item) ? item->valuedouble : -1;
        int64_t *number = &numbers[parallel];
        *number = v >= 0 && v <= SWEEP_MEMBERS_MAX ? (int64_t)v : -1;
        if ((double)*number != v || v < 0)
            json_fault_add(faults, parallel ? "/max_parallel" : "/max_fails", "out_of_range",
                           "must be a whole number from 0 to %d; 0 = no limit", SWEEP_MEMBERS_MAX);
        *(parallel ? &p->max_parallel : &p->max_fails) = number;
    } else {
        json_fault_add(faults, "", "unknown_field",
                       "'%.60s': name, max_parallel and max_fails can be changed", item->string);
    }
}

void api_sweep_patch(struct request *r)
{
    const struct sweep *s = sweep_of(r);
    cJSON *body = s != NULL ? api_body(r) : NULL;
    if (body == NULL) return;
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct queue_sweep_patch p = { 0 };
    int64_t numbers[2];
    struct err e = { 0 };
    const cJSON *item;
    if (faults == NULL) (void)err_set(&e, ERR_NOMEM, "request");
    cJSON_ArrayForEach(item, body) {
        if (faults != NULL) read_change(item, &p, numbers, faults);
    }
    if (faults != NULL && faults->total > 0) (void)err_set(&e, ERR_INVALID, "the body has faults");
    if (e.code != ERR_OK) {
        respond_problem(r, &e, faults);
    } else {
        request_suspend(r);
        queue_sweep_patch(api_of(r)->queue, s->id, &p, api_actor(r), changed, r);
    }
    mem_free(faults);
    cJSON_Delete(body);
}

void api_sweep_delete(struct request *r)
{
    const struct sweep *s = sweep_of(r);
    if (s == NULL || !api_empty_body(r)) return;
    request_suspend(r);
    queue_sweep_delete(api_of(r)->queue, s->id, api_actor(r), changed, r);
}

/* ---- all members ----------------------------------------------------------------------------- */
static void acted(void *ctx, const cJSON *result)
{
    struct request *r = ctx;
    if (result != NULL) respond_json(r, 202, result);
    else api_problem(r, ERR_NOMEM, "answer");
}

#define BIT(s) (1U << (s))
static void act(struct request *r, enum batch_op op, uint32_t states)
{
    const struct sweep *s = sweep_of(r);
    const struct queue *q = api_of(r)->queue;
    if (s == NULL || !api_empty_body(r)) return;
    int64_t ids[SWEEP_MEMBERS_MAX];
    size_t n = 0;
    for (int64_t id = s->first; id < s->first + s->n; id++) {
        const struct experiment *x = queue_find(q, id);
        if (x != NULL && (states & BIT(x->state)) != 0) ids[n++] = id;
    }
    request_suspend(r);
    batch_begin(r, op, API_GRACE_S, ids, n, acted, r);
}

void api_sweep_pause(struct request *r)
{
    act(r, BATCH_PAUSE,
        BIT(STATE_QUEUED) | BIT(STATE_BACKOFF) | BIT(STATE_STARTING) | BIT(STATE_RUNNING));
}
void api_sweep_resume(struct request *r)
{
    act(r, BATCH_RESUME, BIT(STATE_PAUSED) | BIT(STATE_HELD));
}
void api_sweep_cancel(struct request *r)
{
    act(r, BATCH_CANCEL, ~(BIT(STATE_SUCCEEDED) | BIT(STATE_FAILED) | BIT(STATE_CANCELLED)));
}
void api_sweep_retry_failed(struct request *r) { act(r, BATCH_RETRY, BIT(STATE_FAILED)); }
