/* api_submit: POST /experiments: parse, report every fault, store; or only say what would run. */
#include "common/mem.h"
#include "server/api/api_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- dry run --------------------------------------------------------------------------------- */
static bool add_shape(cJSON *o, const struct spec_shape *s)
{
    cJSON *list = s != NULL ? cJSON_AddArrayToObject(o, "shape")
                            : cJSON_AddNullToObject(o, "shape");
    if (s == NULL || list == NULL) return list != NULL;
    const int64_t sizes[3] = { s->c, s->h, s->w };
    for (int i = 0; i < 3; i++)
        if (!cJSON_AddItemToArray(list, cJSON_CreateNumber((double)sizes[i]))) return false;
    return true;
}

static bool add_layer(cJSON *list, const struct spec_layer *l, const struct spec_shape *out,
                      int64_t parameters)
{
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    return cJSON_AddStringToObject(o, "path", l->path) != NULL &&
           cJSON_AddStringToObject(o, "type", spec_layer_type_name(l->type)) != NULL &&
           add_shape(o, out) &&
           (out != NULL ? json_add_int(o, "parameters", parameters)
                        : cJSON_AddNullToObject(o, "parameters") != NULL);
}

/* Shapes are known without reading a file for datasets of the table only. */
static bool add_layers(cJSON *list, const struct spec *s, const struct spec_dataset_info *d,
                       const struct spec_shape *shapes, int64_t *total)
{
    for (size_t i = 0; i < s->n_layers; i++) {
        const size_t input = spec_layer_input(s->layers, i, 0);
        const struct spec_shape none = { 0 };
        const struct spec_shape in = d == NULL ? none
                                     : input == SPEC_INPUT ? d->shape : shapes[input];
        const int64_t n =
            d == NULL ? 0 : spec_parameters(s, i, in, shapes);
        if (!add_layer(list, &s->layers[i], d != NULL ? &shapes[i] : NULL, n)) return false;
        *total += n;
    }
    return true;
}

static cJSON *describe(const struct spec *s)
{
    const struct spec_dataset_info *d = spec_dataset_find(s->dataset.name);
    struct spec_shape *shapes = mem_calloc(s->n_layers + 1, sizeof shapes[0]);
    struct json_faults *none = mem_calloc(1, sizeof *none); /* the spec was accepted */
    cJSON *o = cJSON_CreateObject(), *list = NULL;
    int64_t total = 0;
    const bool ok =
        shapes != NULL && none != NULL && o != NULL &&
        (d == NULL || spec_shapes(s, d->shape, d->classes, shapes, none)) &&
        cJSON_AddItemToObject(o, "spec", spec_normalize(s)) &&
        (list = cJSON_AddArrayToObject(o, "layers")) != NULL &&
        add_layers(list, s, d, shapes, &total) &&
        (d != NULL ? json_add_int(o, "parameters", total)
                   : cJSON_AddNullToObject(o, "parameters") != NULL);
    mem_free(shapes);
    mem_free(none);
    if (ok) return o;
    cJSON_Delete(o);
    return NULL;
}

/* ---- for real -------------------------------------------------------------------------------- */
void api_answer_created(struct request *r, const struct experiment *x)
{
    cJSON *o = experiment_object(api_of(r)->queue, x);
    char place[64];
    respond_json(r, 201, o);
    cJSON_Delete(o);
    (void)snprintf(place, sizeof place, "/api/v1/experiments/%lld", (long long)x->id);
    if (r->response != NULL) respond_header(r, "Location", place);
    api_add_etag(r, x);
}

static void submitted(void *ctx, const struct experiment *x, const struct err *e)
{
    struct api_call *c = ctx;
    if (x == NULL) {
        respond_problem(c->r, e, NULL);
    } else {
        api_audit_id(c->r, x->id);
        api_answer_created(c->r, x);
    }
    api_call_end(c);
}

static void store(struct request *r, const struct submission *b)
{
    struct api_call *c = api_call_new(r, 0);
    if (c == NULL) return;
    const struct queue_submission s = { .actor = api_actor(r),
                                        .spec = &b->spec,
                                        .key = api_key(r),
                                        .request_id = r->id,
                                        .after = b->after,
                                        .n_after = b->n_after };
    queue_submit(api_of(r)->queue, &s, submitted, c);
    request_suspend(r);
}

bool api_query_bool(struct request *r, const char *name, bool *out)
{
    const char *text = request_query(r, name);
    *out = text != NULL && strcmp(text, "true") == 0;
    if (text == NULL || *out || strcmp(text, "false") == 0) return true;
    api_problem(r, ERR_INVALID, "%s must be true or false, got '%.40s'", name, text);
    return false;
}

bool api_dry_run(struct request *r, bool *dry)
{
    return api_query_known(r, "dry_run") && api_query_bool(r, "dry_run", dry);
}

void api_begin(struct request *r, cJSON *json, bool dry)
{
    struct submission *s = mem_calloc(1, sizeof *s);
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct err e = { 0 };
    if (s == NULL || faults == NULL) {
        api_problem(r, ERR_NOMEM, "request");
    } else if (submission_read(s, json, api_of(r)->queue, faults, &e) != 0) {
        respond_problem(r, &e, faults);
    } else if (dry) {
        cJSON *o = describe(&s->spec);
        respond_json(r, 200, o);
        cJSON_Delete(o);
    } else {
        store(r, s);
    }
    if (s != NULL) submission_deinit(s);
    mem_free(s);
    mem_free(faults);
}

static void begin(struct request *r)
{
    const char *text = r->length > 0 ? (const char *)r->body : "";
    struct err e = { 0 };
    cJSON *json = NULL;
    bool dry;
    if (!api_dry_run(r, &dry) || !request_may_submit(r)) return;
    if (json_parse(text, r->length, &json, &e) != 0) respond_problem(r, &e, NULL);
    else api_begin(r, json, dry);
    cJSON_Delete(json);
}

void api_submit(struct request *r)
{
    bool dry;
    if (!api_dry_run(r, &dry)) return;
    if (dry) begin(r);
    else api_once(r, begin);
}
