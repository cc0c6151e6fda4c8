/* batch: one action on many experiments, by their numbers or by what they have in common. Each is
 * asked for as if it were alone: its own permission, its own row of the audit, its own answer. They
 * go to the writer in slices, the next one when the one before it is committed: no turn of the loop
 * carries more than a slice, and others are served in between. See api_internal.h. */
#include "server/api/api_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SLICE 50

struct batch_item {
    struct batch *batch;
    int64_t id;
    cJSON *result;
};
struct batch {
    struct request *r;
    enum batch_op op;
    double grace_s;
    struct batch_item *items;
    size_t n, next, under_way, done;
    bool sending; /* answers that come at once do not begin the next slice */
    bool ok;      /* no answer was lost for want of memory */
    batch_result_fn finished;
    void *ctx;
};

static const char *const ops[BATCH_OPS] = { [BATCH_CANCEL] = "cancel",
                                            [BATCH_PAUSE] = "pause",
                                            [BATCH_RESUME] = "resume",
                                            [BATCH_RETRY] = "retry",
                                            [BATCH_DELETE] = "delete" };

static void batch_free(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) cJSON_Delete(b->items[i].result);
    mem_free(b->items);
    mem_free(b);
}

/* ---- one of them ----------------------------------------------------------------------------- */
static cJSON *result_of(const struct batch *b, int64_t id, const struct experiment *x,
                        const struct err *e)
{
    cJSON *o = cJSON_CreateObject();
    const int status = x == NULL ? err_http_status(e->code) : b->op == BATCH_DELETE ? 204 : 202;
    bool ok = o != NULL && json_add_int(o, "id", id) && json_add_int(o, "status", status);
    if (ok && x != NULL)
        ok = cJSON_AddStringToObject(o, "state", state_name(x->state)) != NULL &&
             cJSON_AddNullToObject(o, "error") != NULL;
    else if (ok) {
        cJSON *error = cJSON_AddNullToObject(o, "state") != NULL
                           ? cJSON_AddObjectToObject(o, "error")
                           : NULL;
        ok = error != NULL && cJSON_AddStringToObject(error, "code", err_name(e->code)) != NULL &&
             cJSON_AddStringToObject(error, "detail", e->text) != NULL;
    }
    if (ok) return o;
    cJSON_Delete(o);
    return NULL;
}

static void go_on(struct batch *b);

static void one_done(void *ctx, const struct experiment *x, const struct err *e)
{
    struct batch_item *i = ctx;
    struct batch *b = i->batch;
    i->result = result_of(b, i->id, x, e);
    b->ok &= i->result != NULL;
    b->done += x != NULL;
    b->under_way--;
    if (!b->sending && b->under_way == 0) go_on(b);
}

static void act(struct batch_item *i)
{
    static const enum queue_action actions[] = { [BATCH_CANCEL] = QUEUE_CANCEL,
                                                 [BATCH_PAUSE] = QUEUE_PAUSE,
                                                 [BATCH_RESUME] = QUEUE_RESUME,
                                                 [BATCH_RETRY] = QUEUE_RETRY };
    const struct batch *b = i->batch;
    struct queue *q = api_of(b->r)->queue;
    const struct queue_actor actor = api_actor(b->r);
    const struct experiment *x = queue_find(q, i->id);
    const enum ownership owner = x == NULL                          ? OWNER_NONE
                                 : strcmp(x->user, actor.user) == 0 ? OWNER_SELF
                                                                    : OWNER_OTHER;
    if (permission_of(ACCESS_CHANGE, b->r->who.role, owner) != PERMITTED) {
        struct err e = { 0 };
        (void)err_set(&e, ERR_FORBIDDEN, "experiment/%lld belongs to %s", (long long)i->id,
                      x != NULL ? x->user : "nobody");
        one_done(i, NULL, &e);
    } else if (b->op == BATCH_DELETE) {
        queue_remove_experiment(q, i->id, REMOVAL_DELETE, 0, actor, one_done, i);
    } else {
        queue_act(q, i->id, actions[b->op], actor, b->grace_s, one_done, i);
    }
}

/* ---- all of them ----------------------------------------------------------------------------- */
static cJSON *whole(struct batch *b)
{
    cJSON *o = b->ok ? cJSON_CreateObject() : NULL;
    cJSON *list = NULL;
    const bool ok = o != NULL && cJSON_AddStringToObject(o, "op", ops[b->op]) != NULL &&
                    json_add_int(o, "done", (int64_t)b->done) &&
                    json_add_int(o, "refused", (int64_t)(b->n - b->done)) &&
                    (list = cJSON_AddArrayToObject(o, "items")) != NULL;
    for (size_t i = 0; ok && i < b->n; i++) {
        (void)cJSON_AddItemToArray(list, b->items[i].result);
        b->items[i].result = NULL;
    }
    if (ok) return o;
    cJSON_Delete(o);
    return NULL;
}

static void go_on(struct batch *b)
{
    while (b->under_way == 0 && b->next < b->n) {
        const size_t end = b->n - b->next < SLICE ? b->n : b->next + SLICE;
        b->sending = true;
        for (; b->next < end; b->next++) {
            b->under_way++;
            act(&b->items[b->next]);
        }
        b->sending = false;
    }
    if (b->under_way > 0) return;
    cJSON *answer = whole(b);
    b->finished(b->ctx, answer);
    cJSON_Delete(answer);
    batch_free(b);
}

void batch_begin(struct request *r, enum batch_op op, double grace_s, const int64_t *ids, size_t n,
                 batch_result_fn finished, void *ctx)
{
    struct batch *b = mem_calloc(1, sizeof *b);
    struct batch_item *items = mem_calloc(n + 1, sizeof items[0]);
    if (b == NULL || items == NULL) {
        mem_free(b);
        mem_free(items);
        finished(ctx, NULL);
        return;
    }
    *b = (struct batch){ .r = r,
                         .op = op,
                         .grace_s = grace_s,
                         .items = items,
                         .n = n,
                         .ok = true,
                         .finished = finished,
                         .ctx = ctx };
    for (size_t i = 0; i < n; i++) items[i] = (struct batch_item){ .batch = b, .id = ids[i] };
    go_on(b);
}

/* ---- the request ----------------------------------------------------------------------------- */
struct body {
    int op; /* BATCH_OPS: not given */
    double grace_s;
    bool has_grace, by_filter;
    struct experiment_filter filter;
    int64_t ids[BATCH_MAX];
    size_t n;
    bool too_many;
};

static void read_op(const cJSON *item, struct body *b, struct json_faults *faults)
{
    const char *word = cJSON_IsString(item) ? item->valuestring : "";
    for (b->op = 0; b->op < BATCH_OPS && strcmp(word, ops[b->op]) != 0;) b->op++;
    if (b->op == BATCH_OPS) json_fault_choice(faults, "/op", word, "action", ops, BATCH_OPS);
}

static void read_ids(const cJSON *list, struct body *b, struct json_faults *faults)
{
    const cJSON *item;
    if (!cJSON_IsArray(list) || list->child == NULL || cJSON_GetArraySize(list) > BATCH_MAX) {
        json_fault_add(faults, "/ids", "wrong_type", "must be a list of 1 to %d numbers",
                       BATCH_MAX);
        return;
    }
    cJSON_ArrayForEach(item, list) {
        const double v = cJSON_IsNumber(item) ? item->valuedouble : 0;
        if (v < 1 || v > 9e15 || v != floor(v)) {
            json_fault_add(faults, "/ids", "wrong_type",
                           "item %zu must be the number of an experiment", b->n);
            return;
        }
        b->ids[b->n++] = (int64_t)v;
    }
}

static int by_number(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Twice the same would be refused the second time for what the first has done. */
static void refuse_twice(const struct body *b, struct json_faults *faults)
{
    int64_t sorted[BATCH_MAX];
    memcpy(sorted, b->ids, b->n * sizeof sorted[0]);
    qsort(sorted, b->n, sizeof sorted[0], by_number);
    for (size_t i = 1; i < b->n; i++) {
        if (sorted[i] != sorted[i - 1]) continue;
        json_fault_add(faults, "/ids", "duplicate", "%lld stands there twice",
                       (long long)sorted[i]);
        return;
    }
}

static void read_field(const cJSON *item, struct body *b, struct json_faults *faults)
{
    static const char *const names[] = { "op", "ids", "filter", "grace_s" };
    if (strcmp(item->string, "op") == 0) {
        read_op(item, b, faults);
    } else if (strcmp(item->string, "ids") == 0) {
        read_ids(item, b, faults);
    } else if (strcmp(item->string, "filter") == 0) {
        b->by_filter = true;
        filter_read(item, "/filter", &b->filter, faults);
    } else if (strcmp(item->string, "grace_s") == 0) {
        b->has_grace = true;
        api_grace(item, &b->grace_s, faults);
    } else {
        const char *near = json_nearest(item->string, names, 4);
        json_fault_add(faults, "", "unknown_field", "'%.60s': op, ids, filter and grace_s are%s%s",
                       item->string, near != NULL ? "; did you mean " : "",
                       near != NULL ? near : "");
    }
}

static void check(const struct body *b, const cJSON *json, struct json_faults *faults)
{
    const bool ids = json_get(json, "ids") != NULL;
    if (json_get(json, "op") == NULL) json_fault_add(faults, "/op", "missing", "must be given");
    if (ids == b->by_filter)
        json_fault_add(faults, "", "missing", "one of ids and filter must be given");
    if (b->has_grace && b->op != BATCH_CANCEL && b->op != BATCH_PAUSE)
        json_fault_add(faults, "/grace_s", "not_allowed", "is for cancel and pause");
    refuse_twice(b, faults);
}

static bool collect(void *ctx, const struct experiment *x)
{
    struct body *b = ctx;
    if (!filter_fits(&b->filter, x)) return true;
    b->too_many = b->n == BATCH_MAX;
    if (!b->too_many) b->ids[b->n++] = x->id;
    return !b->too_many;
}

static void answer(void *ctx, const char *text, const struct err *e)
{
    struct request *r = ctx;
    if (text != NULL) respond_json_text(r, 200, text);
    else respond_problem(r, e, NULL);
}

static void finished(void *ctx, const cJSON *result)
{
    struct request *r = ctx;
    const struct queue_key key = api_key(r);
    char *text = result != NULL ? json_print(result, NULL) : NULL;
    if (text == NULL) api_problem(r, ERR_NOMEM, "answer");
    else if (key.key == NULL) respond_json_text(r, 200, text);
    else queue_keep_answer(api_of(r)->queue, &key, text, answer, r);
    mem_free(text);
}

static void begin(struct request *r)
{
    cJSON *json = api_body(r);
    struct body *b = json != NULL ? mem_calloc(1, sizeof *b) : NULL;
    struct json_faults *faults = b != NULL ? mem_calloc(1, sizeof *faults) : NULL;
    struct err e = { 0 };
    const cJSON *item;
    if (json == NULL) return;
    if (faults == NULL) {
        (void)err_set(&e, ERR_NOMEM, "request");
    } else {
        *b = (struct body){ .op = BATCH_OPS, .grace_s = API_GRACE_S };
        cJSON_ArrayForEach(item, json) read_field(item, b, faults);
        check(b, json, faults);
        if (faults->total > 0) (void)err_set(&e, ERR_INVALID, "the body has faults");
        else if (b->by_filter) queue_each(api_of(r)->queue, collect, b);
        if (b->too_many)
            (void)err_set(&e, ERR_INVALID, "the filter fits more than %d experiments", BATCH_MAX);
    }
    if (e.code != ERR_OK) {
        respond_problem(r, &e, faults);
    } else {
        request_suspend(r);
        batch_begin(r, (enum batch_op)b->op, b->grace_s, b->ids, b->n, finished, r);
    }
    mem_free(faults);
    mem_free(b);
    cJSON_Delete(json);
}

static void looked_up(void *ctx, const char *text, const struct err *e)
{
    if (text == NULL && e->code == ERR_OK) begin(ctx);
    else answer(ctx, text, e);
}

void api_batch(struct request *r)
{
    const struct queue_key key = api_key(r);
    if (key.key == NULL) {
        begin(r);
        return;
    }
    request_suspend(r);
    queue_answered(api_of(r)->queue, &key, looked_up, r);
}
