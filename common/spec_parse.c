/* spec_parse: walks JSON along the field tables. Private to common/spec*.c; any thread. */
#include "common/spec_table.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 64

/* ---- small helpers --------------------------------------------------------------------------- */
void spec_pointer(char *out, size_t size, const char *parent, const char *name)
{
    size_t at = (size_t)snprintf(out, size, "%s/", parent);
    for (; at + 2 < size && *name != '\0'; name++) {
        if (*name == '~' || *name == '/') {
            out[at++] = '~';
            out[at++] = *name == '~' ? '0' : '1';
        } else {
            out[at++] = *name;
        }
    }
    out[at < size ? at : size - 1] = '\0';
}

size_t spec_choices(const char *choices, char names[][32], size_t max)
{
    size_t n = 0;
    while (choices != NULL && n < max) {
        const char *bar = strchr(choices, '|');
        size_t length = bar != NULL ? (size_t)(bar - choices) : strlen(choices);
        (void)snprintf(names[n++], 32, "%.*s", (int)length, choices);
        choices = bar != NULL ? bar + 1 : NULL;
    }
    return n;
}

static const char *kind_of(const cJSON *v)
{
    if (cJSON_IsNull(v)) return "null";
    if (cJSON_IsBool(v)) return "a boolean";
    if (cJSON_IsNumber(v)) return "a number";
    if (cJSON_IsString(v)) return "a string";
    return cJSON_IsArray(v) ? "a list" : "an object";
}

static void wrong_type(const cJSON *v, const char *wanted, const char *pointer,
                       struct json_faults *faults)
{
    json_fault_add(faults, pointer, "wrong_type", "must be %s, got %s", wanted, kind_of(v));
}

bool spec_check_number(double value, double min, bool min_open, double max, bool whole,
                       const char *pointer, struct json_faults *faults)
{
    if (whole && value != floor(value)) {
        json_fault_add(faults, pointer, "wrong_type", "must be a whole number, got %.17g", value);
        return false;
    }
    if ((min_open ? value > min : value >= min) && value <= max) return true;
    json_fault_add(faults, pointer, "out_of_range", "must be %s %.15g and <= %.15g, got %.15g",
                   min_open ? ">" : ">=", min, max, value);
    return false;
}

void spec_unknown_field(const char *name, const char *const *names, size_t n, const char *pointer,
                        struct json_faults *faults)
{
    const char *near = json_nearest(name, names, n);
    if (near != NULL) {
        json_fault_add(faults, pointer, "unknown_field", "did you mean '%s'?", near);
    } else {
        json_fault_add(faults, pointer, "unknown_field", "'%.60s' is not a field here", name);
    }
}

/* ---- reading one field ----------------------------------------------------------------------- */
static void read_choice(const struct spec_field *f, const cJSON *v, const char *pointer, int *out,
                        struct json_faults *faults)
{
    char names[16][32];
    size_t n = spec_choices(f->choices, names, 16);
    if (!cJSON_IsString(v)) {
        wrong_type(v, "a string", pointer, faults);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (strcmp(v->valuestring, names[i]) == 0) {
            if (out != NULL) *out = (int)i;
            return;
        }
    }
    json_fault_add(faults, pointer, "not_allowed", "must be one of %s, got '%.60s'", f->choices,
                   v->valuestring);
}

static void read_string(const cJSON *v, size_t size, const char *pointer, char *out,
                        struct json_faults *faults)
{
    if (!cJSON_IsString(v)) {
        wrong_type(v, "a string", pointer, faults);
    } else if (strlen(v->valuestring) >= size) {
        json_fault_add(faults, pointer, "too_long", "must have at most %zu bytes, got %zu",
                       size - 1, strlen(v->valuestring));
    } else {
        (void)snprintf(out, size, "%s", v->valuestring);
    }
}

static void read_pair(const struct spec_field *f, const cJSON *v, const char *pointer, int64_t *out,
                      struct json_faults *faults)
{
    if (cJSON_IsNumber(v)) {
        if (spec_check_number(v->valuedouble, f->min, false, f->max, true, pointer, faults)) {
            out[0] = out[1] = (int64_t)v->valuedouble;
        }
        return;
    }
    if (!cJSON_IsArray(v) || cJSON_GetArraySize(v) != 2) {
        json_fault_add(faults, pointer, "wrong_type", "must be a number or [height, width]");
        return;
    }
    int i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, v)
    {
        if (!cJSON_IsNumber(item)) {
            wrong_type(item, "a number", pointer, faults);
        } else if (spec_check_number(item->valuedouble, f->min, false, f->max, true, pointer,
                                     faults)) {
            out[i] = (int64_t)item->valuedouble;
        }
        i++;
    }
}

static void read_numbers(const struct spec_field *f, const cJSON *v, const char *pointer,
                         void *base, struct json_faults *faults)
{
    double *out = (double *)(void *)((char *)base + f->at);
    size_t n = cJSON_IsNumber(v) ? 1 : (size_t)cJSON_GetArraySize(v);
    bool fixed = f->count_at == 0;
    if ((!cJSON_IsNumber(v) && !cJSON_IsArray(v)) || n == 0 || n > f->size ||
        (fixed && n != f->size)) {
        json_fault_add(faults, pointer, "wrong_type", "must be a list of %s%zu numbers",
                       fixed ? "" : "1 to ", f->size);
        return;
    }
    const cJSON *item = cJSON_IsNumber(v) ? v : v->child;
    for (size_t i = 0; i < n; i++, item = item->next) {
        if (!cJSON_IsNumber(item)) {
            wrong_type(item, "a number", pointer, faults);
        } else if (spec_check_number(item->valuedouble, f->min, f->min_open, f->max, false, pointer,
                                     faults)) {
            out[i] = item->valuedouble;
        }
    }
    if (!fixed) *(size_t *)(void *)((char *)base + f->count_at) = n;
}

static void read_strings(const struct spec_field *f, const cJSON *v, const char *pointer,
                         void *base, struct json_faults *faults)
{
    size_t *count = (size_t *)(void *)((char *)base + f->count_at);
    char *out = (char *)base + f->at;
    bool one = cJSON_IsString(v);
    if (!one && !cJSON_IsArray(v)) {
        wrong_type(v, "a string or a list of strings", pointer, faults);
        return;
    }
    *count = 0;
    for (const cJSON *item = one ? v : v->child; item != NULL; item = one ? NULL : item->next) {
        if (*count >= (size_t)f->max) {
            json_fault_add(faults, pointer, "too_long", "must have at most %g entries", f->max);
            return;
        }
        char here[200], index[24];
        (void)snprintf(index, sizeof index, "%zu", *count);
        spec_pointer(here, sizeof here, pointer, index);
        read_string(item, f->size, one ? pointer : here, out + *count * f->size, faults);
        if (f->choices != NULL && cJSON_IsString(item))
            read_choice(f, item, one ? pointer : here, NULL, faults);
        (*count)++;
    }
}

static void read_objects(const struct spec_field *f, const cJSON *v, const char *pointer,
                         void *base, struct json_faults *faults)
{
    size_t *count = (size_t *)(void *)((char *)base + f->count_at);
    if (!cJSON_IsArray(v)) {
        wrong_type(v, "a list", pointer, faults);
        return;
    }
    *count = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, v)
    {
        if (*count >= (size_t)f->max) {
            json_fault_add(faults, pointer, "too_long", "must have at most %g entries", f->max);
            return;
        }
        char here[200], index[24];
        (void)snprintf(index, sizeof index, "%zu", *count);
        spec_pointer(here, sizeof here, pointer, index);
        void *at = (char *)base + f->at + *count * f->size;
        spec_read_object(f->object, item, here, NULL, 0, at, faults);
        (*count)++;
    }
}

static void read_only(const struct spec_field *f, const cJSON *v, const char *pointer,
                      struct json_faults *faults)
{
    if (f->max == 0) {
        read_choice(f, v, pointer, NULL, faults);
        return;
    }
    if (!cJSON_IsArray(v) || cJSON_GetArraySize(v) != 1) {
        json_fault_add(faults, pointer, "wrong_type", "must be [\"%s\"]", f->choices);
        return;
    }
    read_choice(f, cJSON_GetArrayItem(v, 0), pointer, NULL, faults);
}

static void read_number(const struct spec_field *f, const cJSON *v, const char *pointer, void *at,
                        struct json_faults *faults)
{
    bool whole = f->kind == FIELD_INT;
    if (!cJSON_IsNumber(v)) {
        wrong_type(v, whole ? "a whole number" : "a number", pointer, faults);
    } else if (spec_check_number(v->valuedouble, f->min, f->min_open, f->max, whole, pointer,
                                 faults)) {
        if (whole) *(int64_t *)at = (int64_t)v->valuedouble;
        else *(double *)at = v->valuedouble;
    }
}

void spec_read_field(const struct spec_field *f, const cJSON *v, const char *pointer, void *base,
                     struct json_faults *faults)
{
    void *at = (char *)base + f->at;
    switch (f->kind) {
    case FIELD_INT:
    case FIELD_NUMBER:
        read_number(f, v, pointer, at, faults);
        if (f->count_at != 0) *(size_t *)(void *)((char *)base + f->count_at) = 1;
        break;
    case FIELD_BOOL:
        if (cJSON_IsBool(v)) *(bool *)at = cJSON_IsTrue(v);
        else wrong_type(v, "true or false", pointer, faults);
        break;
    case FIELD_STRING: read_string(v, f->size, pointer, at, faults); break;
    case FIELD_CHOICE: read_choice(f, v, pointer, at, faults); break;
    case FIELD_PAIR: read_pair(f, v, pointer, at, faults); break;
    case FIELD_NUMBERS: read_numbers(f, v, pointer, base, faults); break;
    case FIELD_STRINGS: read_strings(f, v, pointer, base, faults); break;
    case FIELD_OBJECT: spec_read_object(f->object, v, pointer, NULL, 0, at, faults); break;
    case FIELD_OBJECTS: read_objects(f, v, pointer, base, faults); break;
    case FIELD_SURROGATE: spec_read_surrogate(v, pointer, at, faults); break;
    case FIELD_ONLY: read_only(f, v, pointer, faults); break;
    case FIELD_LAYERS:
    case FIELD_NEURON: break; /* spec_layers.c */
    }
}

/* ---- defaults -------------------------------------------------------------------------------- */
static void default_field(const struct spec_field *f, void *base)
{
    void *at = (char *)base + f->at;
    switch (f->kind) {
    case FIELD_INT: *(int64_t *)at = (int64_t)f->fallback; break;
    case FIELD_NUMBER: *(double *)at = f->fallback; break;
    case FIELD_BOOL: *(bool *)at = f->fallback != 0; break;
    case FIELD_CHOICE: *(int *)at = (int)f->fallback; break;
    case FIELD_PAIR: ((int64_t *)at)[0] = ((int64_t *)at)[1] = (int64_t)f->fallback; break;
    case FIELD_NUMBERS: {
        char texts[8][32];
        size_t n = f->count_at == 0 ? spec_choices(f->choices, texts, 8) : 0;
        for (size_t i = 0; i < n; i++) ((double *)at)[i] = strtod(texts[i], NULL);
        break;
    }
    case FIELD_OBJECT: spec_default_object(f->object, at); break;
    case FIELD_SURROGATE: spec_default_surrogate(at); break;
    case FIELD_STRING:
    case FIELD_STRINGS:
    case FIELD_OBJECTS:
    case FIELD_ONLY:
    case FIELD_LAYERS:
    case FIELD_NEURON: break; /* empty */
    }
}

void spec_default_object(const struct spec_object *o, void *base)
{
    /* Fields of every variant: a field read later finds its default whatever variant was chosen.
     * Variants of one object never share an offset with different defaults, layers excepted. */
    for (size_t i = 0; i < o->n_fields; i++) default_field(&o->fields[i], base);
    if (o->key == NULL) return;
    int variant = *(int *)(void *)((char *)base + o->key_at);
    if (o->key_fallback >= 0) {
        variant = o->key_fallback;
        *(int *)(void *)((char *)base + o->key_at) = variant;
    }
    const struct spec_variant *v = &o->variants[variant];
    for (size_t i = 0; i < v->n_fields; i++) default_field(&v->fields[i], base);
}

/* ---- reading an object ----------------------------------------------------------------------- */
static const struct spec_field *find(const struct spec_field *fields, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(fields[i].name, name) == 0) return &fields[i];
    }
    return NULL;
}

/* The variant an object asks for; NULL with a fault when it is not known. */
static const struct spec_variant *choose(const struct spec_object *o, const cJSON *json,
                                         const char *pointer, void *base,
                                         struct json_faults *faults)
{
    char here[200];
    spec_pointer(here, sizeof here, pointer, o->key);
    const cJSON *v = json_get(json, o->key);
    if (v == NULL && o->key_fallback < 0) {
        json_fault_add(faults, here, "missing", "'%s' is needed", o->key);
        return NULL;
    }
    if (v == NULL) return &o->variants[o->key_fallback];
    if (!cJSON_IsString(v)) {
        wrong_type(v, "a string", here, faults);
        return NULL;
    }
    const char *names[NAMES_MAX];
    for (size_t i = 0; i < o->n_variants; i++) {
        names[i] = o->variants[i].name;
        if (strcmp(names[i], v->valuestring) == 0) {
            *(int *)(void *)((char *)base + o->key_at) = (int)i;
            return &o->variants[i];
        }
    }
    char what[60];
    (void)snprintf(what, sizeof what, "%s type", o->title);
    json_fault_choice(faults, here, v->valuestring, what, names, o->n_variants);
    return NULL;
}

/* Says to which variant a field belongs, or that nobody knows it. */
static void stray_field(const struct spec_object *o, const struct spec_variant *chosen,
                        const char *name, const char *pointer, struct json_faults *faults)
{
    for (size_t i = 0; i < o->n_variants; i++) {
        if (find(o->variants[i].fields, o->variants[i].n_fields, name) != NULL) {
            json_fault_add(faults, pointer, "unknown_field", "'%.60s' belongs to %s '%s'", name,
                           o->key, o->variants[i].name);
            return;
        }
    }
    const char *names[NAMES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < o->n_fields && n < NAMES_MAX; i++) names[n++] = o->fields[i].name;
    for (size_t i = 0; chosen != NULL && i < chosen->n_fields && n < NAMES_MAX; i++) {
        names[n++] = chosen->fields[i].name;
    }
    spec_unknown_field(name, names, n, pointer, faults);
}

static bool listed(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], name) == 0) return true;
    }
    return false;
}

static void report_missing(const struct spec_field *fields, size_t n, const cJSON *json,
                           const char *pointer, struct json_faults *faults)
{
    for (size_t i = 0; i < n; i++) {
        char here[200];
        spec_pointer(here, sizeof here, pointer, fields[i].name);
        if (fields[i].required && json_get(json, fields[i].name) == NULL) {
            json_fault_add(faults, here, "missing", "'%s' is needed", fields[i].name);
        }
    }
}

void spec_read_object(const struct spec_object *o, const cJSON *json, const char *pointer,
                      const char *const *skip, size_t n_skip, void *base,
                      struct json_faults *faults)
{
    if (!cJSON_IsObject(json)) {
        wrong_type(json, "an object", pointer, faults);
        return;
    }
    const struct spec_variant *v = NULL;
    if (o->key != NULL) {
        v = choose(o, json, pointer, base, faults);
        if (v == NULL) return;
        for (size_t i = 0; i < v->n_fields; i++) default_field(&v->fields[i], base);
    }
    for (size_t i = 0; i < o->n_fields; i++) default_field(&o->fields[i], base);
    for (const cJSON *item = json->child; item != NULL; item = item->next) {
        if (o->key != NULL && strcmp(item->string, o->key) == 0) continue;
        if (listed(item->string, skip, n_skip)) continue;
        char here[200];
        spec_pointer(here, sizeof here, pointer, item->string);
        const struct spec_field *f = find(o->fields, o->n_fields, item->string);
        if (f == NULL && v != NULL) f = find(v->fields, v->n_fields, item->string);
        if (f != NULL) spec_read_field(f, item, here, base, faults);
        else stray_field(o, v, item->string, here, faults);
    }
    report_missing(o->fields, o->n_fields, json, pointer, faults);
    if (v != NULL) report_missing(v->fields, v->n_fields, json, pointer, faults);
}
