/* spec_idle: fields that change nothing where they stand are refused, so that nobody believes they
 * do. What a neuron inherits of network.neuron is never a fault, nor is the default said aloud: the
 * normal form does, and parts of it may be copied. Any thread. */
#include "common/spec_build.h"

/* The normal form has every field, and at each neuron what it inherited. */
bool spec_says_everything(const cJSON *json)
{
    const cJSON *network = json_get(json, "network");
    for (size_t i = 0; i < spec_object_top.n_fields; i++) {
        const struct spec_field *f = &spec_object_top.fields[i];
        if (!f->newer && !f->optional && json_get(json, f->name) == NULL) return false;
    }
    return json_get(network, "neuron") == NULL && json_get(network, "preset") == NULL;
}

static void refuse(struct spec_builder *b, const cJSON *json, const char *name,
                   const char *pointer, const char *why, const char *model)
{
    char here[200];
    spec_pointer(here, sizeof here, pointer, name);
    if (json_get(json, name) != NULL && !json_fault_at(b->faults, here))
        json_fault_add(b->faults, here, "not_allowed", why, model);
}

void spec_refuse_idle(struct spec_builder *b, const cJSON *json, const char *pointer,
                      const struct spec_neuron *n, bool own)
{
    if (b->normal) return;
    size_t count;
    const struct spec_neuron_model *m = &spec_neuron_models(&count)[n->model];
    const bool takes_decay = (m->traits & (SPEC_SERIAL | SPEC_SILENT)) != 0;
    if (takes_decay && (m->traits & SPEC_LEAK) == 0 && !n->decay_input &&
        (own || json_get(json, "model") != NULL))
        refuse(b, json, "decay_input", pointer,
               "changes nothing: model '%s' has no leak that could divide the input", m->name);
    const bool learns = (m->traits & SPEC_LEARNS_ANY) != 0 || n->learn_threshold;
    if (own && (m->traits & SPEC_SERIAL) != 0 && !learns && n->scope != SPEC_SCOPE_LAYER)
        refuse(b, json, "scope", pointer,
               "changes nothing: model '%s' learns nothing unless learn_threshold is true",
               m->name);
}

void spec_refuse_idle_bias(struct spec_builder *b, const cJSON *json, const struct spec_layer *l)
{
    if (!b->normal && l->u.recurrent.connect == SPEC_ELEMENT_WISE && !l->u.recurrent.bias)
        refuse(b, json, "bias", l->pointer, "changes nothing: element_wise has no %s", "weights");
}
