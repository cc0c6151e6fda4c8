/* spec: parses a whole experiment spec: the tables, the network, then the rules across fields. See
 * spec.h. */
#include "common/spec.h"

#include "common/mem.h"
#include "common/spec_presets.h"

#include <stdio.h>
#include <string.h>

static void read_list(struct spec_builder *b, const cJSON *json)
{
    static const char *const names[] = { "layers", "neuron", "preset" };
    struct json_faults *faults = b->faults;
    for (const cJSON *item = json->child; item != NULL; item = item->next) {
        char here[200];
        spec_pointer(here, sizeof here, "/network", item->string);
        if (strcmp(item->string, "layers") != 0 && strcmp(item->string, "neuron") != 0) {
            spec_unknown_field(item->string, names, 3, here, faults);
        }
    }
    struct spec_neuron given;
    spec_default_neuron(&b->neuron, 1); /* lif */
    const cJSON *defaults = json_get(json, "neuron");
    if (defaults != NULL) {
        spec_read_neuron(defaults, "/network/neuron", &b->neuron, NULL, 0, &given, faults);
        spec_refuse_idle(b, defaults, "/network/neuron", &given, false);
        b->neuron = given;
    }
    const cJSON *layers = json_get(json, "layers");
    int count = cJSON_IsArray(layers) ? cJSON_GetArraySize(layers) : 0;
    if (count < 1 || count > SPEC_LAYERS_MAX) {
        json_fault_add(faults, "/network/layers", "wrong_type", "must be a list of 1 to %d layers",
                       SPEC_LAYERS_MAX);
        return;
    }
    struct spec_place at = spec_build_begin(b->s);
    spec_read_layers(b, layers, "/network/layers", "", &at);
}

/* A list of layers, or a preset. false: out of memory. */
static bool read_network(const cJSON *spec, struct spec *s, struct json_faults *faults)
{
    struct spec_builder b = { .s = s, .faults = faults, .normal = spec_says_everything(spec) };
    const cJSON *json = json_get(spec, "network");
    if (!cJSON_IsObject(json))
        json_fault_add(faults, "/network", json == NULL ? "missing" : "wrong_type",
                       "'network' must be an object with 'layers' or 'preset'");
    else if (json_get(json, "preset") != NULL) spec_read_preset(&b, json);
    else read_list(&b, json);
    return !b.out_of_memory;
}

int spec_parse(const cJSON *json, struct spec *out, struct json_faults *faults, struct err *e)
{
    return spec_parse_with(json, NULL, out, faults, e);
}

int spec_parse_with(const cJSON *json, const struct spec_dataset_info *data, struct spec *out,
                    struct json_faults *faults, struct err *e)
{
    static const char *const own[] = { "network" };
    struct spec *s = mem_calloc(1, sizeof *s);
    if (s == NULL) return err_set(e, ERR_NOMEM, "spec");
    bool out_of_memory = false;
    *faults = (struct json_faults){ 0 };
    spec_default_object(&spec_object_top, s);
    spec_read_object(&spec_object_top, json, "", own, 1, s, faults);
    s->data = data != NULL ? data : spec_dataset_find(s->dataset.name);
    if (cJSON_IsObject(json)) {
        out_of_memory = !read_network(json, s, faults);
        if (json_get(json, "monitors") == NULL) spec_default_monitors(s);
        spec_settle_frames(s, json);
        out_of_memory |= !spec_check_rules(s, json, faults);
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
    mem_free(s->groups);
    s->layers = NULL;
    s->groups = NULL;
    s->n_layers = s->n_groups = 0;
}
