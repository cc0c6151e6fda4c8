/* What an evaluation says of layers: rates and operations over the whole test set. */
#include "worker/train/summary.h"

#include "common/log.h"
#include "common/mem.h"

#include <criterion/criterion.h>
#include <string.h>

/* 75 samples in batches of 32: the last one is smaller. */
static const char *const spec_text =
    "{\"version\": 1, \"time_steps\": 3, \"dataset\": {\"name\": \"glyphs\", \"train_limit\":"
    " 150, \"test_limit\": 75}, \"network\": {\"layers\": [{\"type\": \"flatten\"},"
    " {\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 20},"
    " {\"type\": \"neuron\", \"model\": \"lif\"},"
    " {\"type\": \"linear\", \"name\": \"out\", \"out_features\": 10, \"bias\": false},"
    " {\"type\": \"neuron\", \"model\": \"lif\"}]}, \"train\": {\"batch_size\": 32}}";

/* The bias fires the first `firing` hidden neurons at every step, and none of the others. */
static void let_fire(struct net *n, size_t firing)
{
    float bias[20];
    for (size_t i = 0; i < 20; i++) bias[i] = i < firing ? 1000.0f : -1000.0f;
    for (size_t i = 0; i < net_param_count(n); i++)
        if (strcmp(net_param(n, i)->name, "fc.bias") == 0) net_param_write(n, i, bias);
}

static double number_at(const cJSON *json, int layer, const char *name)
{
    return json_get_number(cJSON_GetArrayItem(json_get(json, "layers"), layer), name, -1);
}

/* Goal: rates and accumulates are means of all samples; a dense layer is charged with MACs, one fed
 * by spikes with its spikes times fan-out. */
Test(activity, an_evaluation_counts_spikes_and_operations, .timeout = 60)
{
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct spec s;
    struct trainer t;
    struct activity a;
    struct err e = { 0 };
    log_set_level(LOG_ERROR);
    cr_assert_eq(spec_parse_text(spec_text, strlen(spec_text), &s, faults, &e), 0, "%s %s",
                 faults->items[0].pointer, faults->items[0].detail);
    cr_assert_eq(trainer_init(&t, &s, &(struct trainer_options){ 0 }, &e), 0, "%s", e.text);
    cr_assert_neq(t.test.count % 32, 0);
    let_fire(t.net, 5);
    cr_assert_eq(activity_init(&a, t.net, &e), 0);
    t.activity = &a;
    const struct evaluation v = trainer_evaluate(&t, &t.test);
    cJSON *json = summary_evaluation(&t, &v);
    cr_assert(json != NULL && json_get_int(json, "samples", 0) == 75);
    cr_assert_eq(number_at(json, 2, "firing_rate"), 0.25);
    cr_assert_eq(number_at(json, 1, "macs"), 784 * 20); /* once: the frame is the same at all t */
    cr_assert_eq(number_at(json, 1, "accumulates"), -1);
    cr_assert_eq(number_at(json, 3, "accumulates"), 5 * 3 * 10);
    cr_assert_eq(number_at(json, 3, "dense_macs"), 20 * 3 * 10);
    cr_assert_eq(number_at(json, 3, "macs"), -1);
    const cJSON *all = json_get(json, "operations_per_sample");
    cr_assert_eq(json_get_number(all, "accumulates", -1), 5 * 3 * 10);
    cr_assert_eq(json_get_number(all, "macs", -1), 784 * 20);
    cr_assert_eq(json_get_number(all, "dense_macs", -1), 784 * 20 + 20 * 3 * 10);
    cJSON_Delete(json);
    activity_deinit(&a);
    trainer_deinit(&t);
    spec_deinit(&s);
    mem_free(faults);
}
