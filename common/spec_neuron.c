/* spec_neuron: neurons and surrogates of a spec. Their tables are spec_neurons.def and
 * spec_surrogates.def, which the worker reads too. Any thread. */
#include "common/spec_table.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define CHOICES_MAX 8
#define LENGTH(a) (sizeof(a) / sizeof(a)[0])
#define NO_PARAMS /* empty list; every table begins with an unused row, since C has no empty \
                     arrays */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* rows of numbers have no kind */
#define SURROGATE(id, name, firing, meaning, ...)                                                 \
    static const struct spec_param surrogate_##id##_params[] = { { 0 }, __VA_ARGS__ };
#include "common/spec_surrogates.def"
#undef SURROGATE
#define NEURON(id, name, traits, meaning, ...)                                                    \
    static const struct spec_param neuron_##id##_params[] = { { 0 }, __VA_ARGS__ };
#include "common/spec_neurons.def"
#undef NEURON
#pragma GCC diagnostic pop

#define ROWS(p) (p) + 1, LENGTH(p) - 1
static const struct spec_surrogate_kind surrogates[] = {
#define SURROGATE(id, name, firing, meaning, ...) \
    { name, ROWS(surrogate_##id##_params), firing, meaning },
#include "common/spec_surrogates.def"
#undef SURROGATE
};
static const struct spec_neuron_model models[] = {
#define NEURON(id, name, traits, meaning, ...) \
    { name, ROWS(neuron_##id##_params), traits, \
      ((traits) & (SPEC_SERIAL | SPEC_GATED | SPEC_SILENT)) != 0, meaning },
#include "common/spec_neurons.def"
#undef NEURON
};

#define AT(member) offsetof(struct spec_neuron, member)
const struct spec_field spec_serial_fields[] = {
    { "v_threshold", FIELD_NUMBER, SPEC_RESULT, AT(v_threshold), 1, 0, 1e6, true,
      .meaning = "potential that fires" },
    { "v_init", FIELD_NUMBER, SPEC_RESULT, AT(v_init), 0, -1e6, 1e6, .optional = true,
      .count_at = AT(n_v_init),
      .meaning = "potential before the first time-step; if not set, v_reset, or 0 with a soft "
                 "reset" },
    { "detach_reset", FIELD_BOOL, SPEC_RESULT, AT(detach_reset), 1,
      .meaning = "no gradient through the reset" },
    { "decay_input", FIELD_BOOL, SPEC_RESULT, AT(decay_input), 1,
      .meaning = "the input is divided by the time constant too; of the LIF family" },
    { "learn_threshold", FIELD_BOOL, SPEC_RESULT, AT(learn_threshold), 0, .optional = true,
      .meaning = "v_threshold is learned, from this value on" },
    { "refractory_steps", FIELD_INT, SPEC_RESULT, AT(refractory_steps), 0, 0, SPEC_TIME_STEPS_MAX,
      .optional = true,
      .meaning = "steps after a spike in which a neuron keeps its potential and cannot fire" },
    { "scope", FIELD_CHOICE, SPEC_RESULT, AT(scope), SPEC_SCOPE_LAYER, .optional = true,
      .choices = "layer|channel|neuron",
      .meaning = "what has a learned value of its own; where anything is learned" },
};
const size_t spec_serial_fields_count = LENGTH(spec_serial_fields);

const struct spec_neuron_model *spec_neuron_models(size_t *count)
{
    *count = LENGTH(models);
    return models;
}

const struct spec_surrogate_kind *spec_surrogate_kinds(size_t *count)
{
    *count = LENGTH(surrogates);
    return surrogates;
}

double spec_neuron_param(const struct spec_neuron *n, const char *name)
{
    const struct spec_neuron_model *m = &models[n->model];
    for (size_t i = 0; i < m->n_params; i++) {
        if (strcmp(m->params[i].name, name) == 0) return n->params[i];
    }
    assert(!"parameter of the model");
    return 0;
}

/* ---- surrogates ------------------------------------------------------------------------------ */
static void surrogate_of_kind(struct spec_surrogate *s, int kind)
{
    *s = (struct spec_surrogate){ .kind = kind };
    for (size_t i = 0; i < surrogates[kind].n_params; i++) {
        s->params[i] = surrogates[kind].params[i].fallback;
    }
}

void spec_default_surrogate(struct spec_surrogate *s) { surrogate_of_kind(s, 0); }

static int surrogate_kind(const cJSON *json, const char *pointer, struct json_faults *faults)
{
    const char *names[LENGTH(surrogates)];
    const char *wanted = cJSON_IsString(json) ? json->valuestring
                                              : json_get_string(json, "type", NULL);
    for (size_t i = 0; i < LENGTH(surrogates); i++) {
        names[i] = surrogates[i].name;
        if (wanted != NULL && strcmp(wanted, names[i]) == 0) return (int)i;
    }
    char here[200];
    spec_pointer(here, sizeof here, pointer, "type");
    if (wanted == NULL) {
        json_fault_add(faults, here, "missing", "a surrogate needs a 'type'");
        return -1;
    }
    json_fault_choice(faults, here, wanted, "surrogate", names, LENGTH(surrogates));
    return -1;
}

static void read_choice(const struct spec_param *p, const cJSON *item, const char *pointer,
                        double *value, struct json_faults *faults)
{
    char names[CHOICES_MAX][32];
    const size_t n = spec_choices(p->choices, names, CHOICES_MAX);
    for (size_t i = 0; cJSON_IsString(item) && i < n; i++) {
        if (strcmp(item->valuestring, names[i]) != 0) continue;
        *value = (double)i;
        return;
    }
    if (cJSON_IsString(item))
        json_fault_add(faults, pointer, "not_allowed", "must be one of %s, got '%.60s'", p->choices,
                       item->valuestring);
    else json_fault_add(faults, pointer, "wrong_type", "must be one of %s", p->choices);
}

/* One named parameter of a table into values[]; false when the table has no such name. */
static bool read_param(const struct spec_param *params, size_t n, const cJSON *item,
                       const char *pointer, double *values, struct json_faults *faults)
{
    for (size_t i = 0; i < n; i++) {
        const struct spec_param *p = &params[i];
        if (strcmp(p->name, item->string) != 0) continue;
        const bool whole = p->kind == SPEC_PARAM_WHOLE;
        if (p->kind == SPEC_PARAM_FLAG) {
            if (cJSON_IsBool(item)) values[i] = cJSON_IsTrue(item) ? 1.0 : 0.0;
            else json_fault_add(faults, pointer, "wrong_type", "must be true or false");
        } else if (p->kind == SPEC_PARAM_CHOICE) {
            read_choice(p, item, pointer, &values[i], faults);
        } else if (!cJSON_IsNumber(item)) {
            json_fault_add(faults, pointer, "wrong_type", "must be a number");
        } else if (spec_check_number(item->valuedouble, p->min, p->min_open, p->max, whole, pointer,
                                     faults)) {
            values[i] = item->valuedouble;
        }
        return true;
    }
    return false;
}

static bool write_params(cJSON *object, const struct spec_param *params, size_t n,
                         const double *values)
{
    for (size_t i = 0; i < n; i++) {
        const struct spec_param *p = &params[i];
        const cJSON *added;
        if (p->kind == SPEC_PARAM_FLAG) {
            added = cJSON_AddBoolToObject(object, p->name, values[i] != 0);
        } else if (p->kind == SPEC_PARAM_CHOICE) {
            char names[CHOICES_MAX][32];
            (void)spec_choices(p->choices, names, CHOICES_MAX);
            added = cJSON_AddStringToObject(object, p->name, names[(size_t)values[i]]);
        } else {
            added = cJSON_AddNumberToObject(object, p->name, values[i]);
        }
        if (added == NULL) return false;
    }
    return true;
}

void spec_read_surrogate(const cJSON *json, const char *pointer, struct spec_surrogate *out,
                         struct json_faults *faults)
{
    if (!cJSON_IsObject(json) && !cJSON_IsString(json)) {
        json_fault_add(faults, pointer, "wrong_type", "must be {\"type\": ...} or a name");
        return;
    }
    int kind = surrogate_kind(json, pointer, faults);
    if (kind < 0) return;
    surrogate_of_kind(out, kind);
    const struct spec_surrogate_kind *k = &surrogates[kind];
    for (const cJSON *item = json->child; item != NULL; item = item->next) {
        char here[200];
        spec_pointer(here, sizeof here, pointer, item->string);
        if (strcmp(item->string, "type") == 0) continue;
        if (read_param(k->params, k->n_params, item, here, out->params, faults)) continue;
        const char *names[SPEC_SURROGATE_PARAMS_MAX];
        for (size_t i = 0; i < k->n_params; i++) names[i] = k->params[i].name;
        spec_unknown_field(item->string, names, k->n_params, here, faults);
    }
}

cJSON *spec_write_surrogate(const struct spec_surrogate *s)
{
    const struct spec_surrogate_kind *k = &surrogates[s->kind];
    cJSON *object = cJSON_CreateObject();
    if (object != NULL && cJSON_AddStringToObject(object, "type", k->name) != NULL &&
        write_params(object, k->params, k->n_params, s->params))
        return object;
    cJSON_Delete(object);
    return NULL;
}

/* ---- neurons --------------------------------------------------------------------------------- */
static void default_params(struct spec_neuron *n)
{
    memset(n->params, 0, sizeof n->params);
    for (size_t i = 0; i < models[n->model].n_params; i++) {
        n->params[i] = models[n->model].params[i].fallback;
    }
}

void spec_default_neuron(struct spec_neuron *n, int model)
{
    *n = (struct spec_neuron){ .model = model, .v_threshold = 1, .detach_reset = true,
                               .decay_input = true };
    spec_default_surrogate(&n->surrogate);
    default_params(n);
}

static int neuron_model(const cJSON *json, const char *pointer, int fallback,
                        struct json_faults *faults)
{
    const cJSON *v = json_get(json, "model");
    if (v == NULL) return fallback;
    char here[200];
    spec_pointer(here, sizeof here, pointer, "model");
    const char *names[LENGTH(models)], *wanted = cJSON_IsString(v) ? v->valuestring : "";
    for (size_t i = 0; i < LENGTH(models); i++) {
        names[i] = models[i].name;
        if (strcmp(names[i], wanted) == 0) return (int)i;
    }
    json_fault_choice(faults, here, wanted, "neuron model", names, LENGTH(models));
    return -1;
}

static void read_v_reset(const cJSON *item, const char *pointer, struct spec_neuron *n,
                         struct json_faults *faults)
{
    if (cJSON_IsNull(item)) {
        n->soft_reset = true;
        n->v_reset = 0;
    } else if (!cJSON_IsNumber(item)) {
        json_fault_add(faults, pointer, "wrong_type", "must be a number, or null for a soft reset");
    } else if (spec_check_number(item->valuedouble, -1e6, false, 1e6, false, pointer, faults)) {
        n->soft_reset = false;
        n->v_reset = item->valuedouble;
    }
}

/* Whether a model takes a field that serial neurons share. */
static bool shares(const struct spec_neuron_model *m, const char *name)
{
    return (m->traits & SPEC_SERIAL) != 0 ||
           ((m->traits & SPEC_GATED) != 0 && strcmp(name, "scope") == 0) ||
           ((m->traits & SPEC_SILENT) != 0 && strcmp(name, "decay_input") == 0);
}

static bool fires(const struct spec_neuron_model *m) { return (m->traits & SPEC_SILENT) == 0; }

static bool read_serial(const cJSON *item, const char *pointer, struct spec_neuron *n,
                        struct json_faults *faults)
{
    if (!shares(&models[n->model], item->string)) return false;
    if (strcmp(item->string, "v_reset") == 0) {
        read_v_reset(item, pointer, n, faults);
        return true;
    }
    for (size_t i = 0; i < spec_serial_fields_count; i++) {
        const struct spec_field *f = &spec_serial_fields[i];
        if (strcmp(f->name, item->string) != 0) continue;
        spec_read_field(f, item, pointer, n, faults);
        return true;
    }
    return false;
}

static void stray(const struct spec_neuron *n, const char *name, const char *pointer,
                  struct json_faults *faults)
{
    const struct spec_neuron_model *m = &models[n->model];
    const char *names[SPEC_NEURON_PARAMS_MAX + 8];
    size_t count = 0;
    for (size_t i = 0; i < m->n_params; i++) names[count++] = m->params[i].name;
    for (size_t i = 0; i < spec_serial_fields_count; i++) {
        if (shares(m, spec_serial_fields[i].name)) names[count++] = spec_serial_fields[i].name;
    }
    if (shares(m, "v_reset")) names[count++] = "v_reset";
    if (fires(m)) names[count++] = "surrogate";
    names[count++] = "model";
    if (json_nearest(name, names, count) != NULL) {
        spec_unknown_field(name, names, count, pointer, faults);
    } else {
        json_fault_add(faults, pointer, "unknown_field", "'%.60s' is not a parameter of model '%s'",
                       name, m->name);
    }
}

/* Counts and drawn spikes: of models in which nothing but output and reset sees them. */
static void check_firing(const struct spec_neuron *n, const char *pointer,
                         struct json_faults *faults)
{
    const struct spec_neuron_model *m = &models[n->model];
    const struct spec_surrogate_kind *k = &surrogates[n->surrogate.kind];
    if (!fires(m) || k->firing == SPEC_FIRES_STEP) return;
    char here[200];
    if ((m->traits & SPEC_PLAIN) == 0) {
        spec_pointer(here, sizeof here, pointer, "surrogate");
        json_fault_add(faults, here, "not_allowed",
                       "%s is for models if, lif, plif, qif, eif and cuba_lif, got '%s'", k->name,
                       m->name);
    } else if (k->firing == SPEC_FIRES_COUNT && !n->soft_reset) {
        spec_pointer(here, sizeof here, pointer, "v_reset");
        json_fault_add(faults, here, "not_allowed",
                       "%s subtracts every spike: it needs a soft reset, null, got %.15g", k->name,
                       n->v_reset);
    }
}

void spec_read_neuron(const cJSON *json, const char *pointer, const struct spec_neuron *defaults,
                      const char *const *skip, size_t n_skip, struct spec_neuron *out,
                      struct json_faults *faults)
{
    *out = *defaults;
    if (!cJSON_IsObject(json)) {
        json_fault_add(faults, pointer, "wrong_type", "must be an object");
        return;
    }
    int model = neuron_model(json, pointer, defaults->model, faults);
    if (model < 0) return;
    if (model != defaults->model) {
        out->model = model;
        default_params(out);
    }
    const struct spec_neuron_model *m = &models[model];
    for (const cJSON *item = json->child; item != NULL; item = item->next) {
        char here[200];
        spec_pointer(here, sizeof here, pointer, item->string);
        bool mine = strcmp(item->string, "model") != 0;
        for (size_t i = 0; i < n_skip; i++) mine = mine && strcmp(item->string, skip[i]) != 0;
        if (!mine) continue;
        if (fires(m) && strcmp(item->string, "surrogate") == 0) {
            spec_read_surrogate(item, here, &out->surrogate, faults);
        } else if (!read_param(m->params, m->n_params, item, here, out->params, faults) &&
                   !read_serial(item, here, out, faults)) {
            stray(out, item->string, here, faults);
        }
    }
    check_firing(out, pointer, faults);
}

static bool write_shared(cJSON *object, const struct spec_neuron *n)
{
    const struct spec_neuron_model *m = &models[n->model];
    for (size_t i = 0; i < spec_serial_fields_count; i++) {
        const struct spec_field *f = &spec_serial_fields[i];
        if (!shares(m, f->name) || spec_left_out(f, n, SPEC_EVERY_IDENTITY)) continue;
        cJSON *value = spec_write_field(f, n, SPEC_EVERY_IDENTITY);
        if (value == NULL || !cJSON_AddItemToObject(object, f->name, value)) {
            cJSON_Delete(value);
            return false;
        }
        if (strcmp(f->name, "v_threshold") != 0) continue; /* v_reset, a number or null, follows */
        const cJSON *reset = n->soft_reset
                                 ? cJSON_AddNullToObject(object, "v_reset")
                                 : cJSON_AddNumberToObject(object, "v_reset", n->v_reset);
        if (reset == NULL) return false;
    }
    return true;
}

bool spec_write_neuron(cJSON *object, const struct spec_neuron *n)
{
    const struct spec_neuron_model *m = &models[n->model];
    bool ok = cJSON_AddStringToObject(object, "model", m->name) != NULL &&
              write_params(object, m->params, m->n_params, n->params) && write_shared(object, n);
    if (!fires(m)) return ok;
    cJSON *surrogate = ok ? spec_write_surrogate(&n->surrogate) : NULL;
    if (surrogate != NULL && cJSON_AddItemToObject(object, "surrogate", surrogate)) return true;
    cJSON_Delete(surrogate);
    return false;
}
