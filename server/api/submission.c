/* submission: what people send to begin an experiment: a spec and, beside its fields, `after`: the
 * experiments that it waits for. See api_internal.h. */
#include "server/api/api_internal.h"

#include <stdio.h>
#include <string.h>

static bool known_before(const struct submission *s, int64_t id)
{
    for (size_t i = 0; i < s->n_after; i++)
        if (s->after[i].experiment == id) return true;
    return false;
}

/* One field of an entry of `after`; at: its pointer. */
static void read_field(const cJSON *field, const char *at, struct dependency *d,
                       const struct queue *q, struct json_faults *faults)
{
    char pointer[120];
    (void)snprintf(pointer, sizeof pointer, "%s/%.60s", at, field->string);
    if (strcmp(field->string, "experiment") == 0) {
        d->experiment = cJSON_IsNumber(field) ? (int64_t)field->valuedouble : 0;
        if (d->experiment < 1 || (double)d->experiment != field->valuedouble)
            json_fault_add(faults, pointer, "wrong_type", "must be the number of an experiment");
        else if (queue_find(q, d->experiment) == NULL)
            json_fault_add(faults, pointer, "not_found", "there is no experiment %lld",
                           (long long)d->experiment);
    } else if (strcmp(field->string, "on") == 0) {
        static const char *const words[] = { "ok", "any" };
        const char *word = cJSON_IsString(field) ? field->valuestring : "";
        d->any = strcmp(word, "any") == 0;
        if (!d->any && strcmp(word, "ok") != 0)
            json_fault_choice(faults, pointer, word, "condition", words, 2);
    } else {
        json_fault_add(faults, pointer, "unknown_field", "experiment and on are the fields");
    }
}

static void read_dependency(const cJSON *item, const char *at, struct submission *s,
                            const struct queue *q, struct json_faults *faults)
{
    struct dependency d = { 0 };
    const size_t before = faults->total;
    const cJSON *field;
    if (!cJSON_IsObject(item)) {
        json_fault_add(faults, at, "wrong_type", "must be {\"experiment\": ID, \"on\": \"ok\"}");
        return;
    }
    cJSON_ArrayForEach(field, item) read_field(field, at, &d, q, faults);
    if (faults->total != before) return;
    if (d.experiment == 0) json_fault_add(faults, at, "missing", "experiment must be given");
    else if (known_before(s, d.experiment))
        json_fault_add(faults, at, "duplicate", "experiment %lld stands here twice",
                       (long long)d.experiment);
    else s->after[s->n_after++] = d;
}

static void read_after(const cJSON *list, struct submission *s, const struct queue *q,
                       struct json_faults *faults)
{
    size_t i = 0;
    const cJSON *item;
    if (list == NULL) return;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) > QUEUE_AFTER_MAX) {
        json_fault_add(faults, "/after", "wrong_type", "must be a list of at most %d",
                       QUEUE_AFTER_MAX);
        return;
    }
    cJSON_ArrayForEach(item, list) {
        char at[32];
        (void)snprintf(at, sizeof at, "/after/%zu", i++);
        read_dependency(item, at, s, q, faults);
    }
}

int submission_read(struct submission *s, cJSON *json, const struct queue *q,
                    struct json_faults *faults, struct err *e)
{
    *s = (struct submission){ 0 };
    cJSON *after = cJSON_DetachItemFromObjectCaseSensitive(json, "after");
    int rc = spec_parse(json, &s->spec, faults, e);
    if (rc == 0 || rc == ERR_SPEC) {
        const int64_t from = rc == 0 ? s->spec.train.from.experiment : 0;
        if (from != 0 && queue_find(q, from) == NULL)
            json_fault_add(faults, "/train/from/experiment", "not_found",
                           "there is no experiment %lld", (long long)from);
        read_after(after, s, q, faults);
        if (faults->total > 0)
            rc = err_set(e, ERR_SPEC, "%zu field%s wrong", faults->total,
                         faults->total == 1 ? " is" : "s are");
    }
    cJSON_Delete(after);
    if (rc != 0) submission_deinit(s);
    return rc;
}

void submission_deinit(struct submission *s)
{
    spec_deinit(&s->spec);
    *s = (struct submission){ 0 };
}
