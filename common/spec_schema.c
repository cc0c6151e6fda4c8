/* spec_schema: the JSON Schema (2020-12) of a spec, made from the field tables. Any thread. */
#include "common/mem.h"
#include "common/spec_presets.h"

#include <stdio.h>
#include <string.h>

static cJSON *object_schema(const struct spec_object *o);

static bool put(cJSON *object, const char *name, cJSON *value)
{
    if (value == NULL) return false;
    if (object != NULL && cJSON_AddItemToObject(object, name, value)) return true;
    cJSON_Delete(value);
    return false;
}

static cJSON *typed(const char *type)
{
    cJSON *o = cJSON_CreateObject();
    if (o != NULL && cJSON_AddStringToObject(o, "type", type) != NULL) return o;
    cJSON_Delete(o);
    return NULL;
}

static bool put_bounds(cJSON *o, double min, bool min_open, double max)
{
    return put(o, min_open ? "exclusiveMinimum" : "minimum", cJSON_CreateNumber(min)) &&
           put(o, "maximum", cJSON_CreateNumber(max));
}

static cJSON *number_schema(const char *type, const struct spec_field *f)
{
    cJSON *o = typed(type);
    if (o != NULL && put_bounds(o, f->min, f->min_open, f->max)) return o;
    cJSON_Delete(o);
    return NULL;
}

/* A list of `item`, lengths as given; takes item over. */
static cJSON *list_schema(cJSON *item, size_t min, size_t max)
{
    cJSON *o = typed("array");
    const bool ok = put(o, "items", item) && put(o, "minItems", cJSON_CreateNumber((double)min)) &&
                    put(o, "maxItems", cJSON_CreateNumber((double)max));
    if (ok) return o;
    cJSON_Delete(o);
    return NULL;
}

static cJSON *either(cJSON *a, cJSON *b)
{
    cJSON *o = cJSON_CreateObject(), *list = o != NULL ? cJSON_AddArrayToObject(o, "anyOf") : NULL;
    if (list != NULL && a != NULL && b != NULL) {
        (void)cJSON_AddItemToArray(list, a);
        (void)cJSON_AddItemToArray(list, b);
        return o;
    }
    cJSON_Delete(a);
    cJSON_Delete(b);
    cJSON_Delete(o);
    return NULL;
}

static cJSON *choice_schema(const char *choices)
{
    char names[16][32];
    const size_t n = spec_choices(choices, names, 16);
    cJSON *o = cJSON_CreateObject(), *list = o != NULL ? cJSON_AddArrayToObject(o, "enum") : NULL;
    for (size_t i = 0; list != NULL && i < n; i++)
        (void)cJSON_AddItemToArray(list, cJSON_CreateString(names[i]));
    return o;
}

static cJSON *string_schema(size_t size)
{
    cJSON *o = typed("string");
    if (o != NULL) (void)put(o, "maxLength", cJSON_CreateNumber((double)size - 1));
    return o;
}

#define NEURON_POINTER "/properties/network/oneOf/0/properties/neuron"
/* The schema at a pointer of this document. */
static cJSON *reference_schema(const char *pointer)
{
    char text[80];
    (void)snprintf(text, sizeof text, "#%s", pointer);
    cJSON *o = cJSON_CreateObject();
    if (o != NULL && cJSON_AddStringToObject(o, "$ref", text) != NULL) return o;
    cJSON_Delete(o);
    return NULL;
}

static cJSON *field_schema(const struct spec_field *f)
{
    switch (f->kind) {
    case FIELD_INT: return number_schema("integer", f);
    case FIELD_NUMBER: return number_schema("number", f);
    case FIELD_BOOL: return typed("boolean");
    case FIELD_STRING: return string_schema(f->size);
    case FIELD_CHOICE: return choice_schema(f->choices);
    case FIELD_PAIR:
        return either(number_schema("integer", f), list_schema(number_schema("integer", f), 2, 2));
    case FIELD_NUMBERS:
        return f->count_at == 0 ? list_schema(number_schema("number", f), f->size, f->size)
                                : either(number_schema("number", f),
                                         list_schema(number_schema("number", f), 1, f->size));
    case FIELD_STRINGS:
        return list_schema(f->choices != NULL ? choice_schema(f->choices) : string_schema(f->size),
                           0, (size_t)f->max);
    case FIELD_OBJECT: return object_schema(f->object);
    case FIELD_OBJECTS: return list_schema(object_schema(f->object), 0, (size_t)f->max);
    case FIELD_SURROGATE: return spec_schema_surrogate();
    case FIELD_LAYERS:
        return list_schema(reference_schema("/properties/network/oneOf/0/properties/layers/items"),
                           f->required ? 1 : 0, SPEC_LAYERS_MAX);
    case FIELD_NEURON: return reference_schema(NEURON_POINTER);
    case FIELD_ONLY:
        if (f->max > 0) return list_schema(choice_schema(f->choices), 1, 1);
        return choice_schema(f->choices);
    }
    return NULL;
}

static cJSON *default_of(const struct spec_field *f)
{
    char names[16][32];
    switch (f->kind) {
    case FIELD_INT:
    case FIELD_NUMBER:
    case FIELD_PAIR: return cJSON_CreateNumber(f->fallback);
    case FIELD_BOOL: return cJSON_CreateBool(f->fallback != 0);
    case FIELD_CHOICE:
        return spec_choices(f->choices, names, 16) > 0 ? cJSON_CreateString(names[(int)f->fallback])
                                                       : NULL;
    default: return NULL;
    }
}

/* Adds properties and the names that must be given. */
static bool put_fields(cJSON *properties, cJSON *required, const struct spec_field *fields,
                       size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cJSON *s = field_schema(&fields[i]);
        if (!put(properties, fields[i].name, s) ||
            cJSON_AddStringToObject(s, "description", fields[i].meaning) == NULL)
            return false;
        const bool none = fields[i].required || fields[i].optional;
        cJSON *fallback = none ? NULL : default_of(&fields[i]);
        if (fallback != NULL && !put(s, "default", fallback)) return false;
        if (fields[i].required &&
            !cJSON_AddItemToArray(required, cJSON_CreateString(fields[i].name)))
            return false;
    }
    return true;
}

struct parts {
    cJSON *object, *properties, *required;
};

static struct parts begin_object(const char *title, const char *meaning)
{
    struct parts p = { .object = typed("object") };
    if (p.object == NULL) return p;
    (void)cJSON_AddStringToObject(p.object, "title", title);
    if (meaning != NULL) (void)cJSON_AddStringToObject(p.object, "description", meaning);
    p.properties = cJSON_AddObjectToObject(p.object, "properties");
    p.required = cJSON_AddArrayToObject(p.object, "required");
    (void)cJSON_AddFalseToObject(p.object, "additionalProperties");
    return p;
}

static cJSON *variant_schema(const struct spec_object *o, const struct spec_variant *v)
{
    struct parts p = begin_object(v != NULL ? v->name : o->title, v != NULL ? v->meaning : NULL);
    bool ok = p.properties != NULL && p.required != NULL;
    if (ok && v != NULL) {
        cJSON *key = cJSON_CreateObject();
        ok = key != NULL && cJSON_AddStringToObject(key, "const", v->name) != NULL &&
             put(p.properties, o->key, key);
        if (ok && o->key_fallback < 0)
            ok = cJSON_AddItemToArray(p.required, cJSON_CreateString(o->key));
    }
    ok = ok && put_fields(p.properties, p.required, o->fields, o->n_fields);
    if (v != NULL) ok = ok && put_fields(p.properties, p.required, v->fields, v->n_fields);
    if (ok && o == &spec_object_preset)
        ok = put(p.properties, "neuron", reference_schema(NEURON_POINTER));
    if (ok && o == &spec_object_layer) ok = put(p.properties, "name", string_schema(SPEC_PATH_MAX));
    if (ok) return p.object;
    cJSON_Delete(p.object);
    return NULL;
}

static cJSON *object_schema(const struct spec_object *o)
{
    if (o->key == NULL) return variant_schema(o, NULL);
    cJSON *any = cJSON_CreateObject(),
          *list = any != NULL ? cJSON_AddArrayToObject(any, "oneOf") : NULL;
    for (size_t i = 0; list != NULL && i < o->n_variants; i++) {
        const bool neuron = o == &spec_object_layer && i == SPEC_NEURON;
        cJSON *v = neuron ? spec_schema_neuron(true) : variant_schema(o, &o->variants[i]);
        if (v == NULL || !cJSON_AddItemToArray(list, v)) list = NULL;
    }
    if (list != NULL) return any;
    cJSON_Delete(any);
    return NULL;
}

/* ---- neurons and surrogates ------------------------------------------------------------------ */
static bool put_choices(cJSON *s, const struct spec_param *p)
{
    char names[8][32];
    const size_t n = spec_choices(p->choices, names, 8);
    cJSON *list = cJSON_AddArrayToObject(s, "enum");
    for (size_t i = 0; list != NULL && i < n; i++)
        if (!cJSON_AddItemToArray(list, cJSON_CreateString(names[i]))) return false;
    return list != NULL && put(s, "default", cJSON_CreateString(names[(size_t)p->fallback]));
}

static cJSON *param_schema(const struct spec_param *p)
{
    static const char *const types[] = { "number", "integer", "boolean", "string" };
    cJSON *s = typed(types[p->kind]);
    bool ok = s != NULL && cJSON_AddStringToObject(s, "description", p->meaning) != NULL;
    if (p->kind == SPEC_PARAM_CHOICE) ok = ok && put_choices(s, p);
    else if (p->kind == SPEC_PARAM_FLAG)
        ok = ok && put(s, "default", cJSON_CreateBool(p->fallback != 0));
    else
        ok = ok && put_bounds(s, p->min, p->min_open, p->max) &&
             put(s, "default", cJSON_CreateNumber(p->fallback));
    if (ok) return s;
    cJSON_Delete(s);
    return NULL;
}

static bool put_params(cJSON *properties, const struct spec_param *params, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (cJSON_GetObjectItemCaseSensitive(properties, params[i].name) != NULL) continue;
        cJSON *s = param_schema(&params[i]);
        if (s == NULL || !put(properties, params[i].name, s)) return false;
    }
    return true;
}

cJSON *spec_schema_surrogate(void)
{
    size_t n;
    const struct spec_surrogate_kind *kinds = spec_surrogate_kinds(&n);
    cJSON *any = cJSON_CreateObject(),
          *list = any != NULL ? cJSON_AddArrayToObject(any, "oneOf") : NULL;
    cJSON *names = list != NULL ? cJSON_CreateObject() : NULL;
    cJSON *words = names != NULL ? cJSON_AddArrayToObject(names, "enum") : NULL;
    bool ok = words != NULL && cJSON_AddItemToArray(list, names);
    for (size_t i = 0; ok && i < n; i++) {
        struct parts p = begin_object(kinds[i].name, kinds[i].meaning);
        cJSON *key = cJSON_CreateObject();
        ok = cJSON_AddItemToArray(words, cJSON_CreateString(kinds[i].name)) &&
             p.properties != NULL && cJSON_AddItemToArray(list, p.object) && key != NULL &&
             cJSON_AddStringToObject(key, "const", kinds[i].name) != NULL &&
             put(p.properties, "type", key) &&
             cJSON_AddItemToArray(p.required, cJSON_CreateString("type")) &&
             put_params(p.properties, kinds[i].params, kinds[i].n_params);
    }
    if (ok) return any;
    cJSON_Delete(any);
    return NULL;
}

static bool put_shared(struct parts *p)
{
    static const char *const reset[] = { "number", "null" };
    cJSON *v_reset = cJSON_CreateObject();
    return put_fields(p->properties, p->required, spec_serial_fields, spec_serial_fields_count) &&
           v_reset != NULL && put(v_reset, "type", cJSON_CreateStringArray(reset, 2)) &&
           cJSON_AddStringToObject(v_reset, "description",
                                   "potential after a spike; null = soft reset") != NULL &&
           put(p->properties, "v_reset", v_reset) &&
           put(p->properties, "surrogate", spec_schema_surrogate());
}

/* Parameters of all models in one object: the parser says which belong to which. */
cJSON *spec_schema_neuron(bool layer)
{
    size_t n;
    const struct spec_neuron_model *models = spec_neuron_models(&n);
    struct parts p = begin_object("neuron", "spiking neurons");
    bool ok = p.required != NULL;
    if (ok && layer) {
        cJSON *key = cJSON_CreateObject();
        ok = key != NULL && cJSON_AddStringToObject(key, "const", "neuron") != NULL &&
             put(p.properties, "type", key) &&
             cJSON_AddItemToArray(p.required, cJSON_CreateString("type")) &&
             put(p.properties, "name", string_schema(SPEC_PATH_MAX));
    }
    cJSON *model = cJSON_CreateObject(),
          *names = model != NULL ? cJSON_AddArrayToObject(model, "enum") : NULL;
    ok = ok && names != NULL && put(p.properties, "model", model);
    for (size_t i = 0; ok && i < n; i++)
        ok = cJSON_AddItemToArray(names, cJSON_CreateString(models[i].name)) &&
             put_params(p.properties, models[i].params, models[i].n_params);
    if (ok && put_shared(&p)) return p.object;
    cJSON_Delete(p.object);
    return NULL;
}

/* ---- the whole ------------------------------------------------------------------------------- */
static cJSON *list_network_schema(void)
{
    struct parts p = begin_object("network", "layers from input to output");
    const bool ok = p.required != NULL &&
                    put(p.properties, "layers",
                        list_schema(object_schema(&spec_object_layer), 1, SPEC_LAYERS_MAX)) &&
                    put(p.properties, "neuron", spec_schema_neuron(false)) &&
                    cJSON_AddItemToArray(p.required, cJSON_CreateString("layers"));
    if (ok) return p.object;
    cJSON_Delete(p.object);
    return NULL;
}

/* A list of layers first: references point there; then the presets. */
static cJSON *network_schema(void)
{
    cJSON *presets = object_schema(&spec_object_preset), *list = list_network_schema();
    cJSON *one_of = cJSON_GetObjectItemCaseSensitive(presets, "oneOf");
    if (one_of != NULL && list != NULL && cJSON_InsertItemInArray(one_of, 0, list)) return presets;
    cJSON_Delete(list);
    cJSON_Delete(presets);
    return NULL;
}

cJSON *spec_schema(void)
{
    cJSON *o = object_schema(&spec_object_top);
    cJSON *properties = cJSON_GetObjectItemCaseSensitive(o, "properties");
    cJSON *required = cJSON_GetObjectItemCaseSensitive(o, "required");
    if (properties != NULL && put(properties, "network", network_schema()) &&
        cJSON_AddItemToArray(required, cJSON_CreateString("network")) &&
        cJSON_AddStringToObject(o, "$schema", "https://json-schema.org/draft/2020-12/schema") !=
            NULL)
        return o;
    cJSON_Delete(o);
    return NULL;
}
