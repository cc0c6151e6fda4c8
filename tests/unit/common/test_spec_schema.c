/* The JSON Schema and the documentation of a spec against the parser: all come from one table, and
 * here it is shown that they say the same. */
#include "common/mem.h"
#include "common/spec_table.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* Every value the schema offers at one place: one for each variant below it. */
#define EXAMPLES_MAX 256
struct examples {
    cJSON *items[EXAMPLES_MAX];
    size_t n;
};
static void push(struct examples *x, cJSON *value)
{
    cr_assert_lt(x->n, EXAMPLES_MAX);
    x->items[x->n++] = value;
}
static void examples_drop(struct examples *x)
{
    for (size_t i = 0; i < x->n; i++) cJSON_Delete(x->items[i]);
}

static struct examples examples_of(const cJSON *schema);

static struct examples object_examples(const cJSON *schema)
{
    struct examples all = { 0 };
    const cJSON *property;
    /* All models' parameters stand in one object there; a test of its own tries them. */
    const bool neuron = strcmp(json_get_string(schema, "title", ""), "neuron") == 0;
    cJSON *base = cJSON_CreateObject();
    cJSON_ArrayForEach (property, json_get(schema, "properties")) {
        if (neuron && strcmp(property->string, "type") != 0) continue;
        struct examples x = examples_of(property);
        cr_assert_gt(x.n, 0, "no example of %s", property->string);
        (void)cJSON_AddItemToObject(base, property->string, cJSON_Duplicate(x.items[0], true));
        examples_drop(&x);
    }
    push(&all, base);
    cJSON_ArrayForEach (property, json_get(schema, "properties")) {
        struct examples x = examples_of(property);
        for (size_t i = 1; !neuron && i < x.n; i++) {
            cJSON *other = cJSON_Duplicate(base, true);
            (void)cJSON_ReplaceItemInObjectCaseSensitive(other, property->string,
                                                         cJSON_Duplicate(x.items[i], true));
            push(&all, other);
        }
        examples_drop(&x);
    }
    return all;
}

static struct examples array_examples(const cJSON *schema)
{
    struct examples all = { 0 }, x = examples_of(json_get(schema, "items"));
    const int64_t least = json_get_int(schema, "minItems", 0);
    for (size_t i = 0; i < x.n; i++) {
        cJSON *list = cJSON_CreateArray();
        for (int64_t k = 0; k < (least < 1 ? 1 : least); k++)
            (void)cJSON_AddItemToArray(list, cJSON_Duplicate(x.items[i], true));
        push(&all, list);
    }
    examples_drop(&x);
    return all;
}

static struct examples examples_of(const cJSON *schema)
{
    struct examples all = { 0 };
    const char *type = json_get_string(schema, "type", "");
    const cJSON *any = json_get(schema, "oneOf"), *one;
    if (any == NULL) any = json_get(schema, "anyOf");
    const char *ref = json_get_string(schema, "$ref", NULL); /* layers inside layers; a neuron */
    if (ref != NULL)
        push(&all, cJSON_Parse(strstr(ref, "items") != NULL ? "{\"type\":\"flatten\"}" : "{}"));
    if (strcmp(type, "object") == 0) return object_examples(schema);
    if (strcmp(type, "array") == 0) return array_examples(schema);
    cJSON_ArrayForEach (one, any) {
        struct examples x = examples_of(one);
        for (size_t i = 0; i < x.n; i++) push(&all, x.items[i]);
    }
    cJSON_ArrayForEach (one, json_get(schema, "enum")) push(&all, cJSON_Duplicate(one, true));
    if (all.n > 0) return all;
    if (json_get(schema, "const") != NULL) {
        push(&all, cJSON_Duplicate(json_get(schema, "const"), true));
    } else if (json_get(schema, "default") != NULL) {
        push(&all, cJSON_Duplicate(json_get(schema, "default"), true));
    } else if (strcmp(type, "string") == 0) {
        push(&all, cJSON_CreateString("x"));
    } else if (strcmp(type, "boolean") == 0) {
        push(&all, cJSON_CreateTrue());
    } else if (json_get(schema, "minimum") != NULL) {
        push(&all, cJSON_CreateNumber(json_get_number(schema, "minimum", 0)));
    } else if (json_get(schema, "maximum") != NULL) {
        push(&all, cJSON_CreateNumber(json_get_number(schema, "maximum", 0)));
    }
    return all;
}

/* Faults that would mean that schema and parser disagree; rules between fields are not in a schema.
 */
static const struct json_fault *disagreement(const struct json_faults *f)
{
    static const char *const codes[] = { "unknown_field", "wrong_type", "missing", "too_long",
                                         "out_of_range" };
    for (size_t i = 0; i < f->count; i++)
        for (size_t k = 0; k < sizeof codes / sizeof codes[0]; k++)
            if (strcmp(f->items[i].code, codes[k]) == 0) return &f->items[i];
    return NULL;
}

/* Goal: the schema is strict JSON of the 2020-12 dialect and refuses unknown fields. */
Test(spec_schema, is_json_of_its_dialect, .timeout = 5)
{
    cJSON *schema = spec_schema(), *back = NULL;
    size_t length;
    char *text = json_print(schema, &length);
    struct err e = { 0 };
    cr_assert_eq(json_parse(text, length, &back, &e), 0, "%s", e.text);
    cr_expect_str_eq(json_get_string(back, "$schema", ""),
                     "https://json-schema.org/draft/2020-12/schema");
    const cJSON *more = json_get(back, "additionalProperties");
    cr_expect(more != NULL && cJSON_IsFalse(more));
    mem_free(text);
    cJSON_Delete(schema);
    cJSON_Delete(back);
}

/* Goal: every property, variant, default and least value of the schema is accepted by the parser.
 */
Test(spec_schema, parser_accepts_what_it_offers, .timeout = 20)
{
    cJSON *schema = spec_schema();
    struct examples x = examples_of(schema);
    static struct json_faults faults;
    cr_expect_gt(x.n, 30, "%zu examples", x.n);
    for (size_t i = 0; i < x.n; i++) {
        struct spec s = { 0 };
        struct err e = { 0 };
        (void)spec_parse(x.items[i], &s, &faults, &e);
        const struct json_fault *f = disagreement(&faults);
        cr_expect_null(f, "example %zu: %s: %s", i, f ? f->pointer : "", f ? f->detail : "");
        spec_deinit(&s);
    }
    examples_drop(&x);
    cJSON_Delete(schema);
}

/* The neuron's schema among the layers'. */
static const cJSON *neuron_schema(const cJSON *schema)
{
    static const char *const way[] = { "properties", "layers", "items", "oneOf" };
    const cJSON *at = json_get(json_get(json_get(schema, "properties"), "network"), "oneOf"), *one;
    at = cJSON_GetArrayItem(at, 0); /* the list; presets follow */
    for (size_t i = 0; i < sizeof way / sizeof way[0]; i++) at = json_get(at, way[i]);
    cJSON_ArrayForEach (one, at) {
        if (strcmp(json_get_string(one, "title", ""), "neuron") == 0) return one;
    }
    return NULL;
}

/* A one-layer spec: a neuron of `model` with one more field; counts need the soft reset. */
static bool neuron_accepts(const char *model, const char *name, const cJSON *value)
{
    static struct json_faults faults;
    struct spec s = { 0 };
    struct err e = { 0 };
    cJSON *json = NULL;
    static const char text[] = "{\"version\":1,\"dataset\":{\"name\":\"x\"},\"monitors\":[],"
                               "\"network\":{\"neuron\":{\"v_reset\":null},"
                               "\"layers\":[{\"type\":\"neuron\"}]}}";
    cr_assert_eq(json_parse(text, sizeof text - 1, &json, &e), 0);
    cJSON *layer = cJSON_GetArrayItem(json_get(json_get(json, "network"), "layers"), 0);
    (void)cJSON_AddStringToObject(layer, "model", model);
    if (json_get(layer, name) == NULL)
        (void)cJSON_AddItemToObject(layer, name, cJSON_Duplicate(value, true));
    const int rc = spec_parse(json, &s, &faults, &e);
    spec_deinit(&s);
    cJSON_Delete(json);
    return rc == 0;
}

/* Goal: every parameter and surrogate of the neuron's schema is accepted for one of the models, and
 * every model for its own. */
Test(spec_schema, neuron_parameters_belong_to_a_model, .timeout = 10)
{
    cJSON *schema = spec_schema();
    const cJSON *neuron = neuron_schema(schema), *property;
    cr_assert_not_null(neuron);
    size_t n_models, tried = 0;
    const struct spec_neuron_model *models = spec_neuron_models(&n_models);
    cJSON_ArrayForEach (property, json_get(neuron, "properties")) {
        struct examples x = examples_of(property);
        if (x.n == 0) push(&x, cJSON_CreateNull()); /* v_reset: number or null */
        for (size_t i = 0; i < x.n; i++, tried++) {
            bool accepted = false;
            for (size_t m = 0; m < n_models; m++)
                accepted |= neuron_accepts(models[m].name, property->string, x.items[i]);
            cr_expect(accepted, "no model takes %s, example %zu", property->string, i);
        }
        examples_drop(&x);
    }
    for (size_t m = 0; m < n_models; m++)
        for (size_t p = 0; p < models[m].n_params; p++) {
            const struct spec_param *row = &models[m].params[p];
            char names[8][32];
            if (row->kind == SPEC_PARAM_CHOICE) (void)spec_choices(row->choices, names, 8);
            cJSON *fallback = row->kind == SPEC_PARAM_FLAG ? cJSON_CreateBool(row->fallback != 0)
                              : row->kind == SPEC_PARAM_CHOICE
                                  ? cJSON_CreateString(names[(size_t)row->fallback])
                                  : cJSON_CreateNumber(row->fallback);
            cr_expect(neuron_accepts(models[m].name, models[m].params[p].name, fallback));
            cJSON_Delete(fallback);
        }
    cr_expect_gt(tried, 20);
    cJSON_Delete(schema);
}

/* Goal: defaults of all neuron and surrogate parameters lie inside their own bounds. */
Test(spec_schema, parameter_defaults_lie_inside, .timeout = 5)
{
    size_t n_models, n_kinds;
    const struct spec_neuron_model *models = spec_neuron_models(&n_models);
    const struct spec_surrogate_kind *kinds = spec_surrogate_kinds(&n_kinds);
    cr_expect(n_models >= 4 && n_kinds >= 10);
    for (size_t i = 0; i < n_models + n_kinds; i++) {
        const bool neuron = i < n_models;
        const struct spec_param *p = neuron ? models[i].params : kinds[i - n_models].params;
        const size_t n = neuron ? models[i].n_params : kinds[i - n_models].n_params;
        cr_expect_leq(n, neuron ? SPEC_NEURON_PARAMS_MAX : SPEC_SURROGATE_PARAMS_MAX);
        for (size_t k = 0; k < n; k++) {
            cr_expect(p[k].min_open ? p[k].fallback > p[k].min : p[k].fallback >= p[k].min, "%s",
                      p[k].name);
            cr_expect(p[k].fallback <= p[k].max, "%s", p[k].name);
        }
    }
}

/* Goal: docs/spec.md, where it exists, is exactly what the tables make. */
Test(spec_docs, file_is_up_to_date, .timeout = 5)
{
    char *want = spec_docs();
    cr_assert_not_null(want);
    cr_expect_not_null(strstr(want, "| `time_steps` |"));
    cr_expect_not_null(strstr(want, "## Surrogates"));
    FILE *f = fopen("docs/spec.md", "re");
    if (f == NULL) {
        puts("SKIPPED spec_docs: docs/spec.md does not exist");
    } else {
        char *got = mem_calloc(1, 1 << 20);
        (void)fread(got, 1, (1 << 20) - 1, f);
        (void)fclose(f);
        cr_expect(strcmp(got, want) == 0, "run: build/spiked spec-docs >docs/spec.md");
        mem_free(got);
    }
    mem_free(want);
}

/* Goal: memory that runs out while documentation is made gives NULL and leaks nothing. */
Test(spec_docs, memory_faults_give_null, .timeout = 10)
{
    for (size_t n = 1; n < 400; n += 13) {
        mem_fail_after(n);
        char *text = spec_docs();
        mem_fail_after(0);
        cr_expect_null(text, "allocation %zu", n);
        mem_free(text);
    }
}
