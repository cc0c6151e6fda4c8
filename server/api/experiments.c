/* experiments: one experiment: read, change, stop, go on, delete. */
#include "server/api/api_internal.h"

#include "common/digest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRACE_MAX_S 3600.0
#define PRIORITY_MAX 100
#define NOTES_MAX 10000
#define TIME_LIMIT_MAX_S 1000000000

/* ---- read ------------------------------------------------------------------------------------ */
#define ETAG_MAX 48
/* "r7-5f3a...": the revision, which If-Match looks at, and a digest of the list form: places in the
 * queue and what workers tell change without a revision. What else a body shows changes with one.
 * false: out of memory. */
static bool make_etag(const struct queue *q, const struct experiment *x, char out[ETAG_MAX])
{
    uint8_t digest[DIGEST_BYTES];
    char hex[DIGEST_HEX_MAX];
    size_t length = 0;
    cJSON *o = experiment_object(q, x);
    char *text = o != NULL ? json_print(o, &length) : NULL;
    cJSON_Delete(o);
    if (text == NULL) return false;
    digest_bytes(text, length, digest);
    digest_hex(digest, hex);
    (void)snprintf(out, ETAG_MAX, "\"r%lld-%.16s\"", (long long)x->rev, hex);
    mem_free(text);
    return true;
}

void api_add_etag(struct request *r, const struct experiment *x)
{
    char etag[ETAG_MAX];
    if (r->response != NULL && make_etag(api_of(r)->queue, x, etag))
        respond_header(r, "ETag", etag);
}

/* {"a":1} and {"b":2} become {"a":1,"b":2}. NULL: out of memory. */
static char *join_objects(const char *a, const char *b)
{
    return mem_printf("%.*s,%s", (int)strlen(a) - 1, a, b + 1);
}

static void detail_read(void *ctx, const void *data, size_t length, const char *type,
                        const struct err *e);

static void read_detail(struct api_call *c, const struct experiment *x)
{
    const struct queue_read read = { .kind = QUEUE_READ_DETAIL, .experiment = x->id };
    c->rev = x->rev;
    queue_read(api_of(c->r)->queue, &read, detail_read, c);
}

static void detail_read(void *ctx, const void *data, size_t length, const char *type,
                        const struct err *e)
{
    struct api_call *c = ctx;
    struct request *r = c->r;
    const struct experiment *x = queue_find(api_of(r)->queue, c->experiment);
    (void)length;
    (void)type;
    if (data != NULL && x != NULL && x->rev != c->rev) { /* one body, one revision */
        read_detail(c, x);
        return;
    }
    if (data == NULL) {
        respond_problem(r, e, NULL);
    } else if (x == NULL) {
        api_problem(r, ERR_NOT_FOUND, "experiment %lld was deleted", (long long)c->experiment);
    } else {
        cJSON *o = experiment_object(api_of(r)->queue, x);
        char *head = o != NULL ? json_print(o, NULL) : NULL;
        char *text = head != NULL ? join_objects(head, data) : NULL;
        if (text != NULL) respond_json_text(r, 200, text);
        else api_problem(r, ERR_NOMEM, "answer");
        api_add_etag(r, x);
        cJSON_Delete(o);
        mem_free(head);
        mem_free(text);
    }
    api_call_end(c);
}

static bool unchanged(const struct request *r, const struct experiment *x)
{
    const char *have = request_header(r, "If-None-Match");
    char etag[ETAG_MAX];
    return have != NULL && make_etag(api_of(r)->queue, x, etag) && strcmp(have, etag) == 0;
}

void api_get(struct request *r)
{
    const struct experiment *x = api_experiment(r);
    if (x == NULL) return;
    if (unchanged(r, x)) {
        respond_empty(r, 304);
        api_add_etag(r, x);
        return;
    }
    struct api_call *c = api_call_new(r, x->id);
    if (c == NULL) return;
    read_detail(c, x);
    request_suspend(r);
}

void api_queue_place(struct request *r)
{
    const struct experiment *x = api_experiment(r);
    if (x == NULL) return;
    cJSON *o = queue_explain(api_of(r)->queue, x->id);
    respond_json(r, 200, o);
    cJSON_Delete(o);
}

/* ---- act ------------------------------------------------------------------------------------- */
static void acted(void *ctx, const struct experiment *x, const struct err *e)
{
    struct request *r = ctx;
    if (x == NULL) {
        respond_problem(r, e, NULL);
    } else if (strcmp(r->route->method, "DELETE") == 0) {
        respond_empty(r, 204);
    } else {
        cJSON *o = experiment_object(api_of(r)->queue, x);
        respond_json(r, strcmp(r->route->method, "PATCH") == 0 ? 200 : 202, o);
        api_add_etag(r, x);
        cJSON_Delete(o);
    }
}

void api_grace(const cJSON *item, double *grace_s, struct json_faults *faults)
{
    if (!cJSON_IsNumber(item) || item->valuedouble < 0 || item->valuedouble > GRACE_MAX_S)
        json_fault_add(faults, "/grace_s", "out_of_range", "must be a number from 0 to %g",
                       GRACE_MAX_S);
    else *grace_s = item->valuedouble;
}

/* Body {} or {"grace_s": 30} where it means something. */
static bool read_grace(struct request *r, bool allowed, double *grace_s)
{
    *grace_s = API_GRACE_S;
    cJSON *body = api_body(r);
    if (body == NULL) return false;
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    const cJSON *item;
    cJSON_ArrayForEach(item, body)
    {
        if (faults == NULL) break;
        if (!allowed || strcmp(item->string, "grace_s") != 0)
            json_fault_add(faults, "", "unknown_field", "'%.60s' is not a field of this body",
                           item->string);
        else api_grace(item, grace_s, faults);
    }
    const bool ok = faults != NULL && faults->count == 0;
    if (!ok) {
        struct err e = { 0 };
        (void)err_set(&e, faults != NULL ? ERR_INVALID : ERR_NOMEM, "the body has faults");
        respond_problem(r, &e, faults);
    }
    mem_free(faults);
    cJSON_Delete(body);
    return ok;
}

static void act(struct request *r, enum queue_action action)
{
    const struct experiment *x = api_experiment(r);
    double grace_s;
    if (x == NULL || !read_grace(r, action == QUEUE_CANCEL || action == QUEUE_PAUSE, &grace_s))
        return;
    queue_act(api_of(r)->queue, x->id, action, api_actor(r), grace_s, acted, r);
    request_suspend(r);
}

void api_cancel(struct request *r) { act(r, QUEUE_CANCEL); }
void api_pause(struct request *r) { act(r, QUEUE_PAUSE); }
void api_resume(struct request *r) { act(r, QUEUE_RESUME); }
void api_retry(struct request *r) { act(r, QUEUE_RETRY); }

/* ---- another place in the queue -------------------------------------------------------------- */
static void read_place(const cJSON *item, struct queue_move *m, struct json_faults *faults)
{
    static const char *const words[] = { "front", "back" };
    const char *word = cJSON_IsString(item) ? item->valuestring : "";
    if (strcmp(item->string, "to") == 0) {
        m->to = strcmp(word, "back") == 0 ? MOVE_BACK : MOVE_FRONT;
        if (m->to == MOVE_FRONT && strcmp(word, "front") != 0)
            json_fault_choice(faults, "/to", word, "place", words, 2);
    } else if (strcmp(item->string, "before") == 0) {
        const double v = cJSON_IsNumber(item) ? item->valuedouble : 0;
        m->to = MOVE_BEFORE;
        if (v < 1 || v > 9e15 || v != floor(v))
            json_fault_add(faults, "/before", "wrong_type", "must be the number of an experiment");
        else m->before = (int64_t)v;
    } else {
        json_fault_add(faults, "", "unknown_field", "'%.60s': to and before are the fields",
                       item->string);
    }
}

void api_move(struct request *r)
{
    const struct experiment *x = api_experiment(r);
    cJSON *body = x != NULL ? api_body(r) : NULL;
    if (body == NULL) return;
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct queue_move m = { 0 };
    struct err e = { 0 };
    const cJSON *item;
    if (faults == NULL) (void)err_set(&e, ERR_NOMEM, "request");
    cJSON_ArrayForEach(item, body) {
        if (faults != NULL) read_place(item, &m, faults);
    }
    if (faults != NULL && faults->total == 0 && cJSON_GetArraySize(body) != 1)
        json_fault_add(faults, "", "missing", "one of to and before must be given");
    if (faults != NULL && faults->total > 0) (void)err_set(&e, ERR_INVALID, "the body has faults");
    if (e.code != ERR_OK) {
        respond_problem(r, &e, faults);
    } else {
        queue_move(api_of(r)->queue, x->id, &m, api_actor(r), acted, r);
        request_suspend(r);
    }
    mem_free(faults);
    cJSON_Delete(body);
}

/* ---- change labels --------------------------------------------------------------------------- */
struct labels {
    struct queue_patch patch;
    int64_t priority, time_limit_s;
    char tags[SPEC_TAGS_MAX][64];
};

static void read_tags(const cJSON *list, struct labels *l, struct json_faults *faults)
{
    const cJSON *tag;
    cJSON_ArrayForEach(tag, list)
    {
        if (!cJSON_IsString(tag) || tag->valuestring[0] == '\0' || strlen(tag->valuestring) >= 64 ||
            strchr(tag->valuestring, '\n') != NULL || l->patch.n_tags >= SPEC_TAGS_MAX) {
            json_fault_add(faults, "/tags", "out_of_range", "at most %d texts of 1 to 63 bytes",
                           SPEC_TAGS_MAX);
            return;
        }
        (void)snprintf(l->tags[l->patch.n_tags++], 64, "%s", tag->valuestring);
    }
    l->patch.tags = (const char(*)[64])l->tags;
}

static void read_label(const cJSON *item, struct labels *l, struct json_faults *faults)
{
    const char *name = item->string;
    if (strcmp(name, "name") == 0) {
        if (cJSON_IsString(item) && item->valuestring[0] != '\0' &&
            strlen(item->valuestring) < SPEC_NAME_MAX)
            l->patch.name = item->valuestring;
        else
            json_fault_add(faults, "/name", "out_of_range", "a text of 1 to %d bytes",
                           SPEC_NAME_MAX - 1);
    } else if (strcmp(name, "notes") == 0) {
        if (cJSON_IsString(item) && strlen(item->valuestring) <= NOTES_MAX)
            l->patch.notes = item->valuestring;
        else
            json_fault_add(faults, "/notes", "out_of_range", "a text of up to %d bytes", NOTES_MAX);
    } else if (strcmp(name, "priority") == 0) {
        l->priority = cJSON_IsNumber(item) ? (int64_t)item->valuedouble : PRIORITY_MAX + 1;
        l->patch.priority = &l->priority;
        if (l->priority < -PRIORITY_MAX || l->priority > PRIORITY_MAX ||
            (double)l->priority != item->valuedouble)
            json_fault_add(faults, "/priority", "out_of_range", "a whole number from -100 to 100");
    } else if (strcmp(name, "time_limit_s") == 0) {
        l->time_limit_s = cJSON_IsNumber(item) ? (int64_t)item->valuedouble : -1;
        l->patch.time_limit_s = &l->time_limit_s;
        if (l->time_limit_s < 0 || l->time_limit_s > TIME_LIMIT_MAX_S ||
            (double)l->time_limit_s != item->valuedouble)
            json_fault_add(faults, "/time_limit_s", "out_of_range",
                           "a whole number from 0 to %d; 0 = no limit", TIME_LIMIT_MAX_S);
    } else if (strcmp(name, "tags") == 0 && cJSON_IsArray(item)) {
        read_tags(item, l, faults);
    } else if (strcmp(name, "tags") == 0) {
        json_fault_add(faults, "/tags", "wrong_type", "must be a list of texts");
    } else {
        static const char *const names[] = { "name", "notes", "priority", "tags", "time_limit_s" };
        const char *near = json_nearest(name, names, 5);
        json_fault_add(faults, "", "unknown_field",
                       "'%.60s': name, notes, priority, tags and time_limit_s can be changed%s%s",
                       name, near != NULL ? "; did you mean " : "", near != NULL ? near : "");
    }
}

/* If-Match: "r7" or a whole ETag, of which the revision counts; false after a problem was answered.
 */
static bool read_if_match(struct request *r, int64_t *rev)
{
    const char *text = request_header(r, "If-Match");
    *rev = 0;
    if (text == NULL || strcmp(text, "*") == 0) return true;
    char *end;
    if (strncmp(text, "\"r", 2) == 0) {
        *rev = strtoll(text + 2, &end, 10);
        if (*rev > 0 && *end == '-') end += 1 + strspn(end + 1, "0123456789abcdef");
        if (*rev > 0 && strcmp(end, "\"") == 0) return true;
    }
    api_problem(r, ERR_PRECONDITION, "If-Match '%.40s' is not an ETag of an experiment", text);
    return false;
}

void api_delete(struct request *r)
{
    bool purge;
    int64_t rev;
    double none;
    if (!api_query_known(r, "purge") || !api_query_bool(r, "purge", &purge)) return;
    const struct experiment *x = purge ? api_find_deleted(r) : NULL;
    if (x == NULL) x = api_experiment(r);
    if (x == NULL || !read_if_match(r, &rev) || !read_grace(r, false, &none)) return;
    queue_remove_experiment(api_of(r)->queue, x->id, purge ? REMOVAL_PURGE : REMOVAL_DELETE, rev,
                            api_actor(r), acted, r);
    request_suspend(r);
}

void api_restore(struct request *r)
{
    const struct experiment *x = api_find_deleted(r);
    double none;
    if (x == NULL) x = api_experiment(r); /* which the queue then says is not deleted */
    if (x == NULL || !read_grace(r, false, &none)) return;
    queue_remove_experiment(api_of(r)->queue, x->id, REMOVAL_UNDO, 0, api_actor(r), acted, r);
    request_suspend(r);
}

void api_patch(struct request *r)
{
    const struct experiment *x = api_experiment(r);
    struct labels l = { 0 };
    if (x == NULL || !read_if_match(r, &l.patch.if_rev)) return;
    cJSON *body = api_body(r);
    if (body == NULL) return;
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct err e = { 0 };
    const cJSON *item;
    if (faults == NULL) (void)err_set(&e, ERR_NOMEM, "request");
    cJSON_ArrayForEach(item, body)
    {
        if (faults != NULL) read_label(item, &l, faults);
    }
    if (faults != NULL && faults->count > 0) (void)err_set(&e, ERR_INVALID, "the body has faults");
    if (e.code != ERR_OK) {
        respond_problem(r, &e, faults);
    } else {
        queue_patch(api_of(r)->queue, x->id, &l.patch, api_actor(r), acted, r);
        request_suspend(r);
    }
    mem_free(faults);
    cJSON_Delete(body);
}
