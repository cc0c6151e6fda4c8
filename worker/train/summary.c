/* summary: see summary.h. */
#include "worker/train/summary.h"

#include "build_id.h"

#include <math.h>
#include <stdio.h>

static bool add_layer(cJSON *list, const struct trainer *t, size_t i)
{
    struct net_node_info n;
    net_node(t->net, i, &n);
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    const double shape[3] = { (double)n.out.c, (double)n.out.h, (double)n.out.w };
    bool ok = cJSON_AddStringToObject(o, "path", n.path) != NULL &&
              cJSON_AddStringToObject(o, "type", n.type) != NULL &&
              cJSON_AddItemToObject(o, "shape", cJSON_CreateDoubleArray(shape, 3)) &&
              json_add_int(o, "parameters", (int64_t)n.parameters) &&
              json_add_int(o, "macs", (int64_t)n.macs);
    if (ok && n.spec != NULL && n.spec->type == SPEC_NEURON &&
        net_last_samples(t->net) > 0)
        ok = json_add_number(o, "firing_rate", net_firing_rate(t->net, i));
    return ok;
}

bool summary_add_layers(cJSON *object, const struct trainer *t)
{
    cJSON *list = cJSON_AddArrayToObject(object, "layers");
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < net_node_count(t->net); i++) ok = add_layer(list, t, i);
    return ok;
}

/* A number, or null where there was nothing to measure. */
static bool add(cJSON *o, const char *name, double v)
{
    return isnan(v) ? cJSON_AddNullToObject(o, name) != NULL : json_add_number(o, name, v);
}

cJSON *summary_json(const struct trainer *t, const struct trainer_result *r)
{
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && json_add_int(o, "step", (int64_t)r->step) &&
              add(o, "val_loss", r->val_loss) && add(o, "val_accuracy", r->val_accuracy) &&
              add(o, "best_val_accuracy", r->best_val_accuracy) &&
              json_add_int(o, "best_step", (int64_t)r->best_step) &&
              add(o, "test_loss", r->test_loss) && add(o, "test_accuracy", r->test_accuracy) &&
              add(o, "best_test_loss", r->best_test_loss) &&
              add(o, "best_test_accuracy", r->best_test_accuracy) &&
              json_add_int(o, "parameters", (int64_t)net_plan(t->net)->parameters) &&
              json_add_int(o, "train_samples", (int64_t)t->train.count) &&
              json_add_int(o, "validation_samples", (int64_t)t->validation.count) &&
              json_add_int(o, "test_samples", (int64_t)t->test.count) &&
              cJSON_AddStringToObject(o, "result_hash", t->at.result_hash) != NULL &&
              cJSON_AddStringToObject(o, "build", SPIKED_BUILD) != NULL;
    cJSON *warnings = ok ? cJSON_AddArrayToObject(o, "warnings") : NULL;
    if (warnings != NULL && t->warning[0] != '\0')
        ok = cJSON_AddItemToArray(warnings, cJSON_CreateString(t->warning));
    if (ok && warnings != NULL && t->at.mixed[0] != '\0') {
        char text[3 * CHECKPOINT_MAKER_MAX];
        (void)snprintf(text, sizeof text, "a part was trained by %s: the bits may differ",
                       t->at.mixed);
        ok = cJSON_AddItemToArray(warnings, cJSON_CreateString(text));
    }
    if (ok && warnings != NULL) return o;
    cJSON_Delete(o);
    return NULL;
}
