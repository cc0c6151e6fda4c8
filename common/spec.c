/* spec: parses a whole experiment spec: the tables, the list of layers, then the rules across
 * fields. See spec.h. */
#include "common/spec.h"

#include "common/mem.h"
#include "common/spec_table.h"

#include <stdio.h>
#include <string.h>

static bool path_valid(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n < SPEC_PATH_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == n;
}

static void read_name(const cJSON *json, const char *pointer, size_t index, struct spec_layer *l,
                      struct json_faults *faults)
{
    (void)snprintf(l->path, sizeof l->path, "%zu", index);
    const cJSON *v = json_get(json, "name");
    if (v == NULL) return;
    char here[200];
    spec_pointer(here, sizeof here, pointer, "name");
    if (!cJSON_IsString(v) || !path_valid(v->valuestring)) {
        json_fault_add(faults, here, "not_allowed", "a layer's name has letters, digits and '_'");
        return;
    }
    (void)snprintf(l->path, sizeof l->path, "%s", v->valuestring);
}

static void read_layer(const cJSON *json, size_t index, const struct spec_neuron *neuron,
                       struct spec_layer *l, struct json_faults *faults)
{
    static const char *const own[] = { "name", "type" };
    (void)snprintf(l->pointer, sizeof l->pointer, "/network/layers/%zu", index);
    if (!cJSON_IsObject(json)) {
        json_fault_add(faults, l->pointer, "wrong_type", "must be an object");
        return;
    }
    read_name(json, l->pointer, index, l, faults);
    const char *type = json_get_string(json, "type", "");
    if (strcmp(type, spec_layer_type_name(SPEC_NEURON)) == 0) {
        l->type = SPEC_NEURON;
        spec_read_neuron(json, l->pointer, neuron, own, 2, &l->u.neuron, faults);
    } else {
        spec_read_object(&spec_object_layer, json, l->pointer, own, 1, l, faults);
    }
    bool pool = l->type == SPEC_MAX_POOL2D || l->type == SPEC_AVG_POOL2D;
    for (int axis = 0; pool && axis < 2; axis++) {
        if (l->u.pool.stride[axis] == 0) l->u.pool.stride[axis] = l->u.pool.kernel_size[axis];
    }
}

static void read_network(const cJSON *json, struct spec *s, struct json_faults *faults,
                         bool *out_of_memory)
{
    static const char *const names[] = { "layers", "neuron" };
    if (!cJSON_IsObject(json)) {
        json_fault_add(faults, "/network", json == NULL ? "missing" : "wrong_type",
                       "'network' must be an object with 'layers'");
        return;
    }
    for (const cJSON *item = json->child; item != NULL; item = item->next) {
        char here[200];
        spec_pointer(here, sizeof here, "/network", item->string);
        if (strcmp(item->string, "layers") != 0 && strcmp(item->string, "neuron") != 0) {
            spec_unknown_field(item->string, names, 2, here, faults);
        }
    }
    struct spec_neuron neuron, given;
    spec_default_neuron(&neuron, 1); /* lif */
    const cJSON *defaults = json_get(json, "neuron");
    if (defaults != NULL) {
        spec_read_neuron(defaults, "/network/neuron", &neuron, NULL, 0, &given, faults);
        neuron = given;
    }
    const cJSON *layers = json_get(json, "layers");
    int count = cJSON_IsArray(layers) ? cJSON_GetArraySize(layers) : 0;
    if (count < 1 || count > SPEC_LAYERS_MAX) {
        json_fault_add(faults, "/network/layers", "wrong_type", "must be a list of 1 to %d layers",
                       SPEC_LAYERS_MAX);
        return;
    }
    s->layers = mem_calloc((size_t)count, sizeof s->layers[0]);
    if (s->layers == NULL) {
        *out_of_memory = true;
        return;
    }
    const cJSON *item;
    cJSON_ArrayForEach(item, layers)
    {
        read_layer(item, s->n_layers, &neuron, &s->layers[s->n_layers], faults);
        s->n_layers++;
    }
}

int spec_parse(const cJSON *json, struct spec *out, struct json_faults *faults, struct err *e)
{
    static const char *const own[] = { "network" };
    struct spec *s = mem_calloc(1, sizeof *s);
    if (s == NULL) return err_set(e, ERR_NOMEM, "spec");
    bool out_of_memory = false;
    *faults = (struct json_faults){ 0 };
    spec_default_object(&spec_object_top, s);
    spec_read_object(&spec_object_top, json, "", own, 1, s, faults);
    if (cJSON_IsObject(json)) {
        read_network(json_get(json, "network"), s, faults, &out_of_memory);
        if (json_get(json, "monitors") == NULL) spec_default_monitors(s);
        spec_check_rules(s, json, faults);
    }
    int rc = 0;
    if (out_of_memory) {
        rc = err_set(e, ERR_NOMEM, "layers of a spec");
    } else if (faults->total > 0) {
        rc = err_set(e, ERR_SPEC, "%zu field%s wrong", faults->total,
                     faults->total == 1 ? " is" : "s are");
    }
    if (rc == 0) {
        *out = *s;
    } else {
        spec_deinit(s);
    }
    mem_free(s);
    return rc;
}

int spec_parse_text(const char *text, size_t length, struct spec *out, struct json_faults *faults,
                    struct err *e)
{
    *faults = (struct json_faults){ 0 };
    if (length > SPEC_BYTES_MAX) {
        return err_set(e, ERR_TOO_LARGE, "a spec of %zu bytes, at most %d", length, SPEC_BYTES_MAX);
    }
    cJSON *json;
    int rc = json_parse(text, length, &json, e);
    if (rc != 0) return rc;
    rc = spec_parse(json, out, faults, e);
    cJSON_Delete(json);
    return rc;
}

void spec_deinit(struct spec *s)
{
    mem_free(s->layers);
    s->layers = NULL;
    s->n_layers = 0;
}
