/* filter: which experiments are meant: by state, user, tag and text. The query of a list and the
 * body of a batch say the same. See api_internal.h. */
#include "server/api/api_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool has_tag(const struct experiment *x, const char *tag)
{
    for (size_t i = 0; i < x->n_tags; i++)
        if (strcmp(x->tags[i], tag) == 0) return true;
    return false;
}

static bool holds(const struct experiment *x, const char *text)
{
    return strcasestr(x->name, text) != NULL || strcasestr(x->dataset, text) != NULL ||
           strcasestr(x->user, text) != NULL;
}

bool filter_fits(const struct experiment_filter *f, const struct experiment *x)
{
    if (f->states != 0 && (f->states & (1U << x->state)) == 0) return false;
    if (f->user != NULL && strcmp(f->user, x->user) != 0) return false;
    if (f->tag != NULL && !has_tag(x, f->tag)) return false;
    if (f->sweep != 0 && f->sweep != x->sweep) return false;
    return f->text == NULL || holds(x, f->text);
}

bool filter_of_states(const struct experiment_filter *f)
{
    return f->user == NULL && f->tag == NULL && f->text == NULL && f->sweep == 0;
}

/* ---- reading --------------------------------------------------------------------------------- */
/* "queued,running"; unknown: the first word that is no state. */
static bool read_states(const char *text, uint32_t *states, char unknown[32])
{
    while (*text != '\0') {
        enum experiment_state state;
        const size_t n = strcspn(text, ",");
        (void)snprintf(unknown, 32, "%.*s", (int)(n < 31 ? n : 31), text);
        if (state_from_name(unknown, &state) != 0) return false;
        *states |= 1U << state;
        text += n + (text[n] == ',');
    }
    return true;
}

bool filter_read_query(struct request *r, struct experiment_filter *f)
{
    const char *states = request_query(r, "state");
    char unknown[32];
    *f = (struct experiment_filter){ .user = request_query(r, "user"),
                                     .tag = request_query(r, "tag"),
                                     .text = request_query(r, "q") };
    if (!request_query_int(r, "sweep", 0, 1, INT64_MAX, &f->sweep)) return false;
    if (states == NULL || read_states(states, &f->states, unknown)) return true;
    api_problem(r, ERR_INVALID, "state: '%s' is not a state", unknown);
    return false;
}

static void read_member(const cJSON *item, struct experiment_filter *f, const char *at,
                        struct json_faults *faults)
{
    static const char *const names[] = { "state", "user", "tag", "q", "sweep" };
    const char **const texts[] = { NULL, &f->user, &f->tag, &f->text };
    char pointer[120], unknown[32];
    (void)snprintf(pointer, sizeof pointer, "%s/%.60s", at, item->string);
    size_t i = 0;
    while (i < 5 && strcmp(item->string, names[i]) != 0) i++;
    if (i == 5) {
        const char *near = json_nearest(item->string, names, 5);
        json_fault_add(faults, pointer, "unknown_field",
                       "state, user, tag, q and sweep are the fields%s%s",
                       near != NULL ? "; did you mean " : "", near != NULL ? near : "");
    } else if (i == 4) {
        f->sweep = cJSON_IsNumber(item) ? (int64_t)item->valuedouble : 0;
        if (f->sweep < 1 || (double)f->sweep != item->valuedouble)
            json_fault_add(faults, pointer, "wrong_type", "must be the number of a sweep");
    } else if (!cJSON_IsString(item) || item->valuestring[0] == '\0') {
        json_fault_add(faults, pointer, "wrong_type", "must be a text");
    } else if (i > 0) {
        *texts[i] = item->valuestring;
    } else if (!read_states(item->valuestring, &f->states, unknown)) {
        json_fault_add(faults, pointer, "out_of_range", "'%s' is not a state", unknown);
    }
}

void filter_read(const cJSON *json, const char *at, struct experiment_filter *f,
                 struct json_faults *faults)
{
    const cJSON *item;
    *f = (struct experiment_filter){ 0 };
    if (!cJSON_IsObject(json) || json->child == NULL) {
        json_fault_add(faults, at, "wrong_type",
                       "must be an object with state, user, tag, q or sweep");
        return;
    }
    cJSON_ArrayForEach(item, json) read_member(item, f, at, faults);
}
