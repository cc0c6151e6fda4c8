/* spec_write: a spec back to JSON along the field tables: the normalised spec and what is hashed.
 * Any thread. */
#include "common/mem.h"
#include "common/spec_table.h"

#include <stdio.h>
#include <string.h>

static bool add(cJSON *object, const char *name, cJSON *value)
{
    if (value == NULL) return false;
    if (cJSON_AddItemToObject(object, name, value)) return true;
    cJSON_Delete(value);
    return false;
}

static cJSON *write_pair(const int64_t *pair)
{
    const double both[2] = { (double)pair[0], (double)pair[1] };
    return cJSON_CreateDoubleArray(both, 2);
}

/* Of a list; of what may be absent: 1 when it was given. */
static size_t count_of(const struct spec_field *f, const void *base)
{
    return *(const size_t *)(const void *)((const char *)base + f->count_at);
}

static cJSON *write_strings(const struct spec_field *f, const void *base)
{
    size_t n = count_of(f, base);
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; list != NULL && i < n; i++) {
        cJSON *s = cJSON_CreateString((const char *)base + f->at + i * f->size);
        if (s == NULL || !cJSON_AddItemToArray(list, s)) {
            cJSON_Delete(list);
            return NULL;
        }
    }
    return list;
}

static cJSON *write_objects(const struct spec_field *f, const void *base, unsigned mask)
{
    size_t n = count_of(f, base);
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; list != NULL && i < n; i++) {
        cJSON *o = spec_write_object(f->object, (const char *)base + f->at + i * f->size, mask);
        if (o == NULL || !cJSON_AddItemToArray(list, o)) {
            cJSON_Delete(list);
            return NULL;
        }
    }
    return list;
}

static cJSON *write_choice(const struct spec_field *f, int index)
{
    char names[16][32];
    size_t n = spec_choices(f->choices, names, 16);
    return (size_t)index < n ? cJSON_CreateString(names[index]) : NULL;
}

static cJSON *write_only(const struct spec_field *f)
{
    if (f->max == 0) return cJSON_CreateString(f->choices);
    const char *one = f->choices;
    return cJSON_CreateStringArray(&one, 1);
}

static cJSON *write_neuron(const struct spec_neuron *n)
{
    cJSON *object = cJSON_CreateObject();
    if (object != NULL && spec_write_neuron(object, n)) return object;
    cJSON_Delete(object);
    return NULL;
}

cJSON *spec_write_field(const struct spec_field *f, const void *base, unsigned mask)
{
    const void *at = (const char *)base + f->at;
    switch (f->kind) {
    case FIELD_INT: return cJSON_CreateNumber((double)*(const int64_t *)at);
    case FIELD_NUMBER: return cJSON_CreateNumber(*(const double *)at);
    case FIELD_BOOL: return cJSON_CreateBool(*(const bool *)at);
    case FIELD_STRING: return cJSON_CreateString(at);
    case FIELD_CHOICE: return write_choice(f, *(const int *)at);
    case FIELD_PAIR: return write_pair(at);
    case FIELD_NUMBERS: {
        size_t n = f->count_at == 0 ? f->size : count_of(f, base);
        return cJSON_CreateDoubleArray(at, (int)n);
    }
    case FIELD_STRINGS: return write_strings(f, base);
    case FIELD_OBJECT: return spec_write_object(f->object, at, mask);
    case FIELD_OBJECTS: return write_objects(f, base, mask);
    case FIELD_SURROGATE: return spec_write_surrogate(at);
    case FIELD_ONLY: return write_only(f);
    case FIELD_NEURON: return write_neuron(at);
    case FIELD_LAYERS: break; /* write_group */
    }
    return NULL;
}

/* An optional object (normalize, the neuron of a recurrent layer) that was not given has a count of
 * 0. */
static bool absent(const struct spec_field *f, const void *base)
{
    if (f->kind == FIELD_LAYERS) return true; /* write_group */
    return (f->kind == FIELD_OBJECT || f->kind == FIELD_NEURON) && f->count_at != 0 &&
           count_of(f, base) == 0;
}

static bool is_default(const struct spec_field *f, const void *base);

static bool all_default(const struct spec_field *fields, size_t n, const void *base)
{
    for (size_t i = 0; i < n; i++)
        if (!is_default(&fields[i], base)) return false;
    return true;
}

/* Of the kinds that newer and optional fields have; any other counts as given. */
static bool is_default(const struct spec_field *f, const void *base)
{
    const void *at = (const char *)base + f->at;
    switch (f->kind) {
    case FIELD_INT: return *(const int64_t *)at == (int64_t)f->fallback;
    case FIELD_NUMBER:
        return f->count_at != 0 ? count_of(f, base) == 0 : *(const double *)at == f->fallback;
    case FIELD_BOOL: return *(const bool *)at == (f->fallback != 0);
    case FIELD_CHOICE: return *(const int *)at == (int)f->fallback;
    case FIELD_PAIR: {
        const int64_t *pair = at;
        return pair[0] == (int64_t)f->fallback && pair[1] == (int64_t)f->fallback;
    }
    case FIELD_STRINGS:
    case FIELD_OBJECTS: return count_of(f, base) == 0;
    case FIELD_OBJECT:
        return f->object->key == NULL && all_default(f->object->fields, f->object->n_fields, at);
    default: return false;
    }
}

/* A hash made before a newer field came must stay: there it shows only when it says something. */
bool spec_left_out(const struct spec_field *f, const void *base, unsigned mask)
{
    const bool hash = mask != SPEC_EVERY_IDENTITY;
    return (f->optional || (f->newer && hash)) && is_default(f, base);
}

static bool write_fields(cJSON *object, const struct spec_field *fields, size_t n, const void *base,
                         unsigned mask)
{
    for (size_t i = 0; i < n; i++) {
        const struct spec_field *f = &fields[i];
        if ((mask & (1u << f->identity)) == 0 || absent(f, base) || spec_left_out(f, base, mask))
            continue;
        if (!add(object, f->name, spec_write_field(f, base, mask))) return false;
    }
    return true;
}

cJSON *spec_write_object(const struct spec_object *o, const void *base, unsigned mask)
{
    cJSON *object = cJSON_CreateObject();
    if (object == NULL) return NULL;
    bool ok = true;
    const struct spec_variant *v = NULL;
    if (o->key != NULL) {
        v = &o->variants[*(const int *)(const void *)((const char *)base + o->key_at)];
        ok = add(object, o->key, cJSON_CreateString(v->name));
    }
    ok = ok && write_fields(object, o->fields, o->n_fields, base, mask);
    if (v != NULL) ok = ok && write_fields(object, v->fields, v->n_fields, base, mask);
    if (ok) return object;
    cJSON_Delete(object);
    return NULL;
}

/* ---- network --------------------------------------------------------------------------------- */
/* Layers [begin, end) of a list whose paths begin with `prefix` bytes; *group is the next group.
 * mask: identities that are written. */
struct list {
    size_t begin, end, prefix, *group;
    unsigned mask;
};
static bool write_list(const struct spec *s, cJSON *to, struct list in);

/* Type and fields of a layer or of the head of a group, and its name when that is not its index. */
static cJSON *write_layer(const struct spec_layer *l, const struct list *in, size_t index)
{
    cJSON *object = spec_write_object(&spec_object_layer, l, in->mask);
    char own[24];
    (void)snprintf(own, sizeof own, "%zu", index);
    const char *name = l->path + in->prefix;
    bool ok = object != NULL;
    if (ok && strcmp(own, name) != 0) ok = add(object, "name", cJSON_CreateString(name));
    if (ok && l->type == SPEC_NEURON) ok = spec_write_neuron(object, &l->u.neuron);
    if (ok) return object;
    cJSON_Delete(object);
    return NULL;
}

static bool write_inner(const struct spec *s, cJSON *object, const char *name, struct list in)
{
    cJSON *list = cJSON_AddArrayToObject(object, name);
    return list != NULL && write_list(s, list, in);
}

/* The layers of a block follow from its fields. */
static bool write_group(const struct spec *s, const struct spec_group *g, cJSON *object,
                        const struct list *of)
{
    const size_t prefix = strlen(g->head.path);
    if (g->head.type == SPEC_RECURRENT)
        return g->head.u.recurrent.neurons > 0 ||
               write_inner(s, object, "body",
                           (struct list){ g->begin + 1, g->end, prefix + sizeof ".sub_module." - 1,
                                          of->group, of->mask });
    if (g->head.type != SPEC_RESIDUAL && g->head.type != SPEC_SEQUENTIAL) return true;
    struct list in = { g->begin, g->body_end, prefix + sizeof "." - 1, of->group, of->mask };
    if (!write_inner(s, object, "body", in)) return false;
    if (g->head.type == SPEC_SEQUENTIAL || g->body_end + 1 == g->end) return true;
    in = (struct list){ g->body_end, g->end - 1, prefix + sizeof ".downsample." - 1, of->group,
                        of->mask };
    return write_inner(s, object, "shortcut", in);
}

static bool write_list(const struct spec *s, cJSON *to, struct list in)
{
    size_t index = 0;
    for (size_t i = in.begin; i < in.end; index++) {
        const struct spec_group *g = *in.group < s->n_groups ? &s->groups[*in.group] : NULL;
        const bool grouped = g != NULL && g->begin == i;
        cJSON *o = write_layer(grouped ? &g->head : &s->layers[i], &in, index);
        if (o == NULL || !cJSON_AddItemToArray(to, o)) {
            cJSON_Delete(o);
            return false;
        }
        if (grouped) ++*in.group;
        if (grouped && !write_group(s, g, o, &in)) return false;
        i = grouped ? g->end : i + 1;
    }
    return true;
}

static cJSON *write_network(const struct spec *s, unsigned mask)
{
    cJSON *network = cJSON_CreateObject();
    cJSON *layers = network != NULL ? cJSON_AddArrayToObject(network, "layers") : NULL;
    size_t group = 0;
    if (layers != NULL && write_list(s, layers, (struct list){ 0, s->n_layers, 0, &group, mask }))
        return network;
    cJSON_Delete(network);
    return NULL;
}

static cJSON *write_spec(const struct spec *s, unsigned mask)
{
    cJSON *object = spec_write_object(&spec_object_top, s, mask);
    if (object != NULL && add(object, "network", write_network(s, mask))) return object;
    cJSON_Delete(object);
    return NULL;
}

cJSON *spec_normalize(const struct spec *s) { return write_spec(s, SPEC_EVERY_IDENTITY); }

int spec_result_hash(const struct spec *s, uint8_t out[DIGEST_BYTES], struct err *e)
{
    cJSON *json = write_spec(s, 1u << SPEC_RESULT);
    size_t length = 0;
    char *text = json != NULL ? json_print(json, &length) : NULL;
    cJSON_Delete(json);
    if (text == NULL) return err_set(e, ERR_NOMEM, "normalised spec");
    digest_bytes(text, length, out);
    mem_free(text);
    return 0;
}
