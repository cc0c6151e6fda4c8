/* clone: a new experiment from the spec of another, changed by a merge patch, perhaps from its
 * weights. Goes the way of a submission from there on. */
#include "server/api/api_internal.h"
#include "server/api/merge_patch.h"

#include <string.h>

struct clone {
    struct request *r;
    int64_t source;
    cJSON *body;
    bool dry;
};

static void clone_free(struct clone *c)
{
    cJSON_Delete(c->body);
    mem_free(c);
}

/* The member train.from of a fork: {"train": {"from": {...}}}. NULL: out of memory. */
static cJSON *from_patch(const struct clone *c, const char *checkpoint)
{
    cJSON *o = cJSON_CreateObject();
    cJSON *train = o != NULL ? cJSON_AddObjectToObject(o, "train") : NULL;
    cJSON *from = train != NULL ? cJSON_AddObjectToObject(train, "from") : NULL;
    if (from != NULL && json_add_int(from, "experiment", c->source) &&
        cJSON_AddStringToObject(from, "checkpoint", checkpoint) != NULL)
        return o;
    cJSON_Delete(o);
    return NULL;
}

/* The body of a submission. Takes spec over. NULL: out of memory. */
static cJSON *changed(struct clone *c, cJSON *spec)
{
    const cJSON *patch = json_get(c->body, "patch");
    const char *checkpoint = json_get_string(c->body, "from", NULL);
    cJSON *json = patch != NULL ? merge_patch(spec, patch) : spec;
    if (json != NULL && checkpoint != NULL) {
        cJSON *fork = from_patch(c, checkpoint);
        if (fork != NULL) json = merge_patch(json, fork);
        cJSON_Delete(fork);
        if (fork == NULL) {
            cJSON_Delete(json);
            return NULL;
        }
    }
    cJSON *after = cJSON_DetachItemFromObjectCaseSensitive(c->body, "after");
    if (after != NULL && (json == NULL || !cJSON_AddItemToObject(json, "after", after))) {
        cJSON_Delete(after);
        cJSON_Delete(json);
        return NULL;
    }
    return json;
}

static void spec_read(void *ctx, const void *data, size_t length, const char *type,
                      const struct err *e)
{
    struct clone *c = ctx;
    struct err fault = *e;
    cJSON *detail = NULL;
    (void)type;
    if (data == NULL || json_parse(data, length, &detail, &fault) != 0) {
        respond_problem(c->r, &fault, NULL);
        clone_free(c);
        return;
    }
    cJSON *json = changed(c, cJSON_DetachItemFromObjectCaseSensitive(detail, "spec"));
    if (json != NULL) api_begin(c->r, json, c->dry);
    else api_problem(c->r, ERR_NOMEM, "clone");
    cJSON_Delete(json);
    cJSON_Delete(detail);
    clone_free(c);
}

static void check_field(const cJSON *item, struct json_faults *faults)
{
    static const char *const names[] = { "patch", "after", "from" };
    static const char *const checkpoints[] = { "best", "last" };
    const char *name = item->string;
    if (strcmp(name, "patch") == 0) {
        if (!cJSON_IsObject(item))
            json_fault_add(faults, "/patch", "wrong_type", "must be an object");
    } else if (strcmp(name, "from") == 0) {
        const char *word = cJSON_IsString(item) ? item->valuestring : "";
        if (strcmp(word, "best") != 0 && strcmp(word, "last") != 0)
            json_fault_choice(faults, "/from", word, "checkpoint", checkpoints, 2);
    } else if (strcmp(name, "after") != 0) { /* submission.c reads that */
        const char *near = json_nearest(name, names, 3);
        json_fault_add(faults, "", "unknown_field", "'%.60s': patch, from and after are%s%s", name,
                       near != NULL ? "; did you mean " : "", near != NULL ? near : "");
    }
}

static bool body_fits(struct request *r, const cJSON *body)
{
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct err e = { 0 };
    const cJSON *item;
    if (faults == NULL) (void)err_set(&e, ERR_NOMEM, "request");
    cJSON_ArrayForEach(item, body) {
        if (faults != NULL) check_field(item, faults);
    }
    if (faults != NULL && faults->total > 0) (void)err_set(&e, ERR_INVALID, "the body has faults");
    if (e.code != ERR_OK) respond_problem(r, &e, faults);
    mem_free(faults);
    return e.code == ERR_OK;
}

static void begin(struct request *r)
{
    const struct experiment *x = api_experiment(r);
    bool dry;
    if (x == NULL || !api_dry_run(r, &dry) || !request_may_submit(r)) return;
    cJSON *body = api_body(r);
    if (body == NULL) return;
    struct clone *c = body_fits(r, body) ? mem_calloc(1, sizeof *c) : NULL;
    if (c == NULL) {
        if (r->response == NULL) api_problem(r, ERR_NOMEM, "request");
        cJSON_Delete(body);
        return;
    }
    *c = (struct clone){ r, x->id, body, dry };
    const struct queue_read read = { .kind = QUEUE_READ_DETAIL, .experiment = x->id };
    queue_read(api_of(r)->queue, &read, spec_read, c);
    request_suspend(r);
}

void api_clone(struct request *r)
{
    bool dry;
    if (!api_dry_run(r, &dry)) return;
    if (dry) begin(r);
    else api_once(r, begin);
}
