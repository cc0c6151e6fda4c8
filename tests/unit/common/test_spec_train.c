/* Specs of training: what is below train, its refusals, and hashes that newer fields leave
 * alone. */
#include "common/mem.h"
#include "common/spec.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define LAYERS \
    "{\"type\":\"flatten\"},{\"type\":\"linear\",\"out_features\":10},{\"type\":\"neuron\"}"
#define SPEC(layers, train)                                                              \
    "{\"version\":1,\"dataset\":{\"name\":\"glyphs\"},\"network\":{\"layers\":[" layers \
    "]},\"train\":{" train "}}"

static struct json_faults faults;
static struct err fault;

static int parse(const char *text, struct spec *s)
{
    fault = (struct err){ 0 };
    return spec_parse_text(text, strlen(text), s, &faults, &fault);
}

static struct spec good(const char *text)
{
    struct spec s = { 0 };
    cr_assert_eq(parse(text, &s), 0, "%s: %s %s", text, faults.items[0].pointer,
                 faults.items[0].detail);
    return s;
}

/* Refused for one reason, at `pointer`; `word` is in what it says. */
static void refused(const char *text, const char *pointer, const char *word)
{
    struct spec s = { 0 };
    cr_assert_eq(parse(text, &s), ERR_SPEC, "%s was taken", text);
    cr_expect_eq(faults.total, 1, "%s: %zu faults, second %s", text, faults.total,
                 faults.items[1].detail);
    cr_expect_str_eq(faults.items[0].pointer, pointer, "%s", faults.items[0].detail);
    cr_expect_not_null(strstr(faults.items[0].detail, word), "%s", faults.items[0].detail);
}

static void hash_of(const char *text, char hex[DIGEST_HEX_MAX])
{
    uint8_t bytes[DIGEST_BYTES];
    struct spec s = good(text);
    cr_assert_eq(spec_result_hash(&s, bytes, &fault), 0);
    digest_hex(bytes, hex);
    spec_deinit(&s);
}

/* Normal form of text and of its normal form. */
static void fixed_point(const char *text)
{
    char *once, *twice;
    struct spec s = good(text);
    cJSON *json = spec_normalize(&s);
    once = json_print(json, NULL);
    cJSON_Delete(json);
    spec_deinit(&s);
    s = good(once);
    json = spec_normalize(&s);
    twice = json_print(json, NULL);
    cJSON_Delete(json);
    spec_deinit(&s);
    cr_expect_str_eq(once, twice);
    mem_free(once);
    mem_free(twice);
}

/* Goal: specs that were hashed before a field came keep their hash, with the field's default
 * written out too; any other value has a hash of its own. */
Test(spec_train, newer_fields_keep_older_hashes, .timeout = 10)
{
    static const char plain[] = SPEC(LAYERS, "");
    char want[DIGEST_HEX_MAX], got[DIGEST_HEX_MAX];
    hash_of(plain, want);
    cr_expect_str_eq(want, "c4308fe47a72d05edeb1aa10887a953169d6f7ea4ac9ce83152c50ec040d1a9b");
    static const char *const same[] = {
        SPEC(LAYERS, "\"loss\":{\"type\":\"mse\",\"per_step\":false}"),
        SPEC(LAYERS, "\"readout\":\"mean\""),
        SPEC(LAYERS, "\"optimizer\":{\"amsgrad\":false}"),
        SPEC(LAYERS, "\"accumulate\":1,\"freeze\":[],\"parameter_groups\":[],\"early_stop\":{},"
                     "\"ema\":{\"decay\":0}"),
        SPEC(LAYERS, "\"schedule\":{\"unit\":\"epoch\",\"warmup\":0,\"warmup_factor\":0.01}"),
        SPEC(LAYERS, "\"step_mode\":\"single\""), /* how it runs, not what comes of it */
        SPEC(LAYERS, "\"step_mode\":\"chunk\",\"chunk_steps\":3"),
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        hash_of(same[i], got);
        cr_expect_str_eq(got, want, "%s", same[i]);
    }
    static const char *const other[] = {
        SPEC(LAYERS, "\"optimizer\":{\"amsgrad\":true}"),
        SPEC(LAYERS, "\"accumulate\":2"),
        SPEC(LAYERS, "\"ema\":{\"decay\":0.9}"),
        SPEC(LAYERS, "\"freeze\":\"*.bias\""),
        SPEC(LAYERS, "\"parameter_groups\":[{\"match\":\"*\"}]"),
        SPEC(LAYERS, "\"parameter_groups\":[{\"match\":\"*\",\"lr\":0.001}]"),
        SPEC(LAYERS, "\"parameter_groups\":[{\"match\":\"*\",\"weight_decay\":0}]"),
        SPEC(LAYERS, "\"early_stop\":{\"patience\":3}"),
        SPEC(LAYERS, "\"early_stop\":{\"patience\":3,\"metric\":\"loss\"}"),
        SPEC(LAYERS, "\"schedule\":{\"unit\":\"step\"}"),
        SPEC(LAYERS, "\"schedule\":{\"warmup\":1}"),
        SPEC(LAYERS, "\"schedule\":{\"warmup_factor\":0}"),
        SPEC(LAYERS, "\"schedule\":{\"type\":\"multi_step\",\"milestones\":[1,2]}"),
        SPEC(LAYERS, "\"schedule\":{\"type\":\"multi_step\",\"milestones\":[1,3]}"),
        SPEC(LAYERS, "\"schedule\":{\"type\":\"exponential\",\"gamma\":0.9}"),
        SPEC(LAYERS, "\"schedule\":{\"type\":\"linear\",\"total\":3}"),
        SPEC(LAYERS, "\"schedule\":{\"type\":\"one_cycle\"}"),
        SPEC(LAYERS, "\"schedule\":{\"type\":\"one_cycle\",\"anneal\":\"linear\"}"),
        SPEC(LAYERS, "\"optimizer\":{\"type\":\"adamw\"}"),
        SPEC(LAYERS, "\"optimizer\":{\"type\":\"adamw\",\"weight_decay\":0}"),
        SPEC(LAYERS, "\"optimizer\":{\"type\":\"rmsprop\"}"),
        SPEC(LAYERS, "\"optimizer\":{\"type\":\"rmsprop\",\"centered\":true}"),
        SPEC(LAYERS, "\"loss\":{\"per_step\":true}"),
        SPEC(LAYERS, "\"readout\":\"last\""),
        SPEC(LAYERS, "\"loss\":{\"type\":\"tet\"}"),
        SPEC(LAYERS, "\"loss\":{\"type\":\"tet\",\"lambda\":0.1}"),
        SPEC(LAYERS, "\"loss\":{\"type\":\"tet\",\"means\":0.5}"),
    };
    enum { N = sizeof other / sizeof other[0] };
    char seen[N][DIGEST_HEX_MAX];
    for (size_t i = 0; i < N; i++) {
        hash_of(other[i], seen[i]);
        cr_expect_str_neq(seen[i], want, "%s", other[i]);
        for (size_t j = 0; j < i; j++) cr_expect_str_neq(seen[i], seen[j], "%s", other[i]);
        fixed_point(other[i]);
    }
}

/* Goal: losses and readouts with their fields; fields of other losses and spikes where potentials
 * are read are refused. */
Test(spec_train, losses_and_readouts, .timeout = 5)
{
    struct spec s = good(SPEC(LAYERS, "\"loss\":{\"type\":\"tet\"}"));
    cr_expect(s.train.loss.type == SPEC_LOSS_TET && s.train.loss.lambda == 0.05 &&
              s.train.loss.means == 1 && s.train.readout == SPEC_READOUT_MEAN);
    spec_deinit(&s);
    s = good(SPEC("{\"type\":\"flatten\"},{\"type\":\"linear\",\"out_features\":10}",
                  "\"readout\":\"max_membrane\""));
    cr_expect_eq(s.train.readout, SPEC_READOUT_MAX_MEMBRANE);
    spec_deinit(&s);
    refused(SPEC(LAYERS, "\"readout\":\"max_membrane\""), "/train/readout", "spikes");
    refused(SPEC(LAYERS, "\"readout\":\"max_abs_membrane\""), "/train/readout",
            "max_abs_membrane reads potentials");
    s = good(SPEC("{\"type\":\"flatten\"},{\"type\":\"linear\",\"out_features\":10},"
                  "{\"type\":\"neuron\",\"model\":\"non_spiking_lif\"}",
                  "\"readout\":\"max_abs_membrane\""));
    cr_expect_eq(s.train.readout, SPEC_READOUT_MAX_ABS_MEMBRANE);
    spec_deinit(&s);
    refused(SPEC(LAYERS, "\"readout\":\"median\""), "/train/readout", "mean|last|max_membrane");
    refused(SPEC(LAYERS, "\"loss\":{\"lambda\":0.1}"), "/train/loss/lambda",
            "belongs to type 'tet'");
    refused(SPEC(LAYERS, "\"loss\":{\"type\":\"tet\",\"lambda\":1.5}"), "/train/loss/lambda",
            "<= 1");
}

/* Goal: optimisers with PyTorch's defaults; decay is AdamW's only without being asked. */
Test(spec_train, optimizers, .timeout = 5)
{
    struct spec s = good(SPEC(LAYERS, "\"optimizer\":{\"type\":\"adamw\",\"lr\":0.5}"));
    const struct spec_optimizer *o = &s.train.optimizer;
    cr_expect(o->type == SPEC_ADAMW && o->lr == 0.5 && o->weight_decay == 0.01);
    cr_expect(o->beta1 == 0.9 && o->beta2 == 0.999 && o->eps == 1e-8 && !o->amsgrad);
    spec_deinit(&s);
    s = good(SPEC(LAYERS, "\"optimizer\":{\"type\":\"rmsprop\"}"));
    cr_expect(o->type == SPEC_RMSPROP && o->alpha == 0.99 && o->momentum == 0 && !o->centered &&
              o->weight_decay == 0 && o->eps == 1e-8);
    spec_deinit(&s);
    refused(SPEC(LAYERS, "\"optimizer\":{\"type\":\"rmsprop\",\"alpha\":1}"),
            "/train/optimizer/alpha", "<= 0.9999999");
    refused(SPEC(LAYERS, "\"optimizer\":{\"type\":\"sgd\",\"amsgrad\":true}"),
            "/train/optimizer/amsgrad", "belongs to type 'adam'");
    refused(SPEC(LAYERS, "\"optimizer\":{\"type\":\"adamv\"}"), "/train/optimizer/type",
            "did you mean 'adam");
}

/* Goal: schedules with their defaults; milestones ascend in whole numbers, one_cycle has a warm-up
 * of its own. */
Test(spec_train, schedules, .timeout = 5)
{
    struct spec s = good(SPEC(LAYERS, "\"schedule\":{\"type\":\"one_cycle\"}"));
    const struct spec_schedule *c = &s.train.schedule;
    cr_expect(c->type == SPEC_SCHEDULE_ONE_CYCLE && c->pct_start == 0.3 && c->div_factor == 25 &&
              c->final_div_factor == 1e4 && c->anneal == SPEC_ANNEAL_COSINE);
    spec_deinit(&s);
    s = good(SPEC(LAYERS, "\"schedule\":{\"type\":\"multi_step\",\"milestones\":[3,3,7],"
                          "\"warmup\":2}"));
    cr_expect(c->n_milestones == 3 && c->milestones[2] == 7 && c->gamma == 0.1 && c->warmup == 2 &&
              c->warmup_factor == 0.01 && c->unit == SPEC_UNIT_EPOCH);
    spec_deinit(&s);
    refused(SPEC(LAYERS, "\"schedule\":{\"type\":\"multi_step\",\"milestones\":[3,2]}"),
            "/train/schedule/milestones/1", "below the one before, 3");
    refused(SPEC(LAYERS, "\"schedule\":{\"type\":\"multi_step\",\"milestones\":[1.5]}"),
            "/train/schedule/milestones/0", "whole number");
    refused(SPEC(LAYERS, "\"schedule\":{\"type\":\"multi_step\"}"),
            "/train/schedule/milestones", "is needed");
    refused(SPEC(LAYERS, "\"schedule\":{\"type\":\"exponential\"}"), "/train/schedule/gamma",
            "is needed");
    refused(SPEC(LAYERS, "\"schedule\":{\"type\":\"one_cycle\",\"warmup\":3}"),
            "/train/schedule/warmup", "belongs to type");
}

static size_t call_steps(const char *train)
{
    struct spec s = good(train);
    const size_t steps = spec_call_steps(&s.train);
    spec_deinit(&s);
    return steps;
}

/* Goal: the step mode says how many steps a call gets; a command line writes it in one word. */
Test(spec_train, step_modes, .timeout = 5)
{
    cr_expect_eq(call_steps(SPEC(LAYERS, "")), 0);
    cr_expect_eq(call_steps(SPEC(LAYERS, "\"step_mode\":\"single\"")), 1);
    cr_expect_eq(call_steps(SPEC(LAYERS, "\"step_mode\":\"chunk\",\"chunk_steps\":3")), 3);
    fixed_point(SPEC(LAYERS, "\"step_mode\":\"chunk\",\"chunk_steps\":3"));
    cr_expect_eq(call_steps(SPEC(LAYERS, "\"step_mode\":\"chunk\"")), 4);
    cr_expect_eq(call_steps(SPEC(LAYERS, "\"step_mode\":\"single\",\"chunk_steps\":3")), 1);
    refused(SPEC(LAYERS, "\"chunk_steps\":0"), "/train/chunk_steps", ">= 1");
    refused(SPEC(LAYERS, "\"step_mode\":\"steps\""), "/train/step_mode", "multi|single|chunk");
    struct spec_train t = { .step_mode = SPEC_STEP_CHUNK, .chunk_steps = 2 };
    cr_expect(spec_read_step_mode("single", &t, &fault) == 0 && spec_call_steps(&t) == 1);
    cr_expect(spec_read_step_mode("multi", &t, &fault) == 0 && spec_call_steps(&t) == 0);
    cr_expect(spec_read_step_mode("chunk:12", &t, &fault) == 0 && spec_call_steps(&t) == 12);
    static const char *const wrong[] = {
        "",     "chunk", "chunk:", "chunk:0", "chunk:2x", "chunk:-1", "chunk:99999999999999999999",
        "Multi"
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_expect_eq(spec_read_step_mode(wrong[i], &t, &fault), (int)ERR_INVALID, "%s", wrong[i]);
    cr_expect_eq(spec_call_steps(&t), 12);
}

/* Goal: encoders of spikes take values in [0, 1] and fields of their own. */
Test(spec_train, encoders, .timeout = 5)
{
#define ENCODED(more)                                                                     \
    "{\"version\":1,\"dataset\":{\"name\":\"glyphs\"," more "},\"network\":{\"layers\":[" \
    LAYERS "]}}"
    struct spec s = good(ENCODED("\"encoder\":{\"type\":\"latency\",\"function\":\"log\"}"));
    cr_expect(s.dataset.encoder == SPEC_ENCODER_LATENCY && s.dataset.latency == SPEC_LATENCY_LOG);
    spec_deinit(&s);
    s = good(ENCODED("\"encoder\":{\"type\":\"weighted_phase\"}"));
    cr_expect(s.dataset.encoder == SPEC_ENCODER_WEIGHTED_PHASE && s.dataset.phases == 8);
    spec_deinit(&s);
    refused(ENCODED("\"encoder\":{\"type\":\"weighted_phase\",\"phases\":33}"),
            "/dataset/encoder/phases", "<= 32");
    refused(ENCODED("\"encoder\":{\"type\":\"latency\"},\"normalize\":{\"mean\":0.1,\"std\":1}"),
            "/dataset/normalize", "leave normalize out");
    refused(ENCODED("\"encoder\":{\"type\":\"latency\",\"phases\":3}"),
            "/dataset/encoder/phases", "belongs to type 'weighted_phase'");
}

/* Goal: groups take what they do not say from the optimiser; an early stop needs a validation
 * split. */
Test(spec_train, groups_and_early_stop, .timeout = 5)
{
    struct spec s = good(SPEC(LAYERS, "\"parameter_groups\":[{\"match\":\"*.w\",\"lr\":1e-4,"
                                      "\"weight_decay\":0},{\"match\":\"*\"}],"
                                      "\"early_stop\":{\"patience\":2}"));
    const struct spec_parameter_group *g = s.train.groups;
    cr_expect(s.train.n_groups == 2 && g[0].lr == 1e-4 && g[0].weight_decay == 0);
    cr_expect(g[1].lr < 0 && g[1].weight_decay < 0 && s.train.accumulate == 1);
    cr_expect(s.train.early_stop.patience == 2 &&
              s.train.early_stop.metric == SPEC_STOP_ACCURACY);
    spec_deinit(&s);
    refused(SPEC(LAYERS, "\"parameter_groups\":[{\"lr\":1}]"), "/train/parameter_groups/0/match",
            "is needed");
    refused(SPEC(LAYERS, "\"parameter_groups\":[{\"match\":\"*\",\"lr\":-1}]"),
            "/train/parameter_groups/0/lr", ">= 0");
    refused(SPEC(LAYERS, "\"accumulate\":0"), "/train/accumulate", ">= 1");
    refused("{\"version\":1,\"dataset\":{\"name\":\"glyphs\",\"validation\":{\"fraction\":0}},"
            "\"network\":{\"layers\":[" LAYERS "]},\"train\":{\"early_stop\":{\"patience\":1}}}",
            "/train/early_stop", "validation split");
}
