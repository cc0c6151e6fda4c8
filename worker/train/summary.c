/* summary: see summary.h. */
#include "worker/train/summary.h"

#include "build_id.h"

#include <math.h>
#include <stdio.h>

/* Mean of one sample. */
static double mean(const struct activity *a, uint64_t sum)
{
    return a->samples > 0 ? (double)sum / (double)a->samples : 0.0;
}

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
              json_add_int(o, "dense_macs", (int64_t)n.macs);
    if (ok && net_spike_fed(t->net, i))
        ok = json_add_number(o, "accumulates", mean(t->activity, t->activity->accumulates[i]));
    else if (ok) ok = json_add_int(o, "macs", (int64_t)n.macs);
    const bool fires = n.out.kind == TENSOR_BITS || n.out.kind == TENSOR_COUNT8;
    if (ok && spec_layer_neuron(n.spec) != NULL && fires)
        ok = json_add_number(o, "firing_rate", activity_rate(t->activity, t->net, i));
    return ok;
}

/* Dense layers multiply and accumulate; layers fed by spikes accumulate. dense_macs: all of it done
 * densely. */
static bool add_operations(cJSON *object, const struct trainer *t)
{
    uint64_t macs = 0, accumulates = 0;
    for (size_t i = 0; i < net_node_count(t->net); i++) {
        struct net_node_info n;
        net_node(t->net, i, &n);
        accumulates += t->activity->accumulates[i];
        if (!net_spike_fed(t->net, i)) macs += n.macs;
    }
    cJSON *o = cJSON_AddObjectToObject(object, "operations_per_sample");
    return o != NULL && json_add_int(o, "macs", (int64_t)macs) &&
           json_add_number(o, "accumulates", mean(t->activity, accumulates)) &&
           json_add_int(o, "dense_macs", (int64_t)net_plan(t->net)->macs);
}

cJSON *summary_evaluation(const struct trainer *t, const struct evaluation *v)
{
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && json_add_number(o, "test_loss", v->loss) &&
              json_add_number(o, "test_accuracy", v->accuracy) &&
              json_add_int(o, "samples", (int64_t)v->samples) && add_operations(o, t);
    cJSON *list = ok ? cJSON_AddArrayToObject(o, "layers") : NULL;
    ok = list != NULL;
    for (size_t i = 0; ok && i < net_node_count(t->net); i++) ok = add_layer(list, t, i);
    if (ok) return o;
    cJSON_Delete(o);
    return NULL;
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
              cJSON_AddBoolToObject(o, "stopped_early", r->stopped_early) != NULL &&
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
