/* Neurons of a spec: fields that came later keep the hash of those that do not use them, models
 * refuse what is not theirs, parameters are counted by scope. */
#include "common/mem.h"
#include "common/spec.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct json_faults faults;

static int parse_neuron(const char *fields, struct spec *s)
{
    struct err e = { 0 };
    char *text = mem_printf("{\"version\":1,\"dataset\":{\"name\":\"x\"},\"monitors\":[],"
                            "\"network\":{\"layers\":[{\"type\":\"neuron\"%s}]}}",
                            fields);
    cr_assert_not_null(text);
    const int rc = spec_parse_text(text, strlen(text), s, &faults, &e);
    mem_free(text);
    return rc;
}

/* The layer in the normalised spec. */
static cJSON *normal_layer(const char *fields, cJSON **whole)
{
    struct spec s = { 0 };
    cr_assert_eq(parse_neuron(fields, &s), 0, "%s: %s", fields, faults.items[0].detail);
    *whole = spec_normalize(&s);
    spec_deinit(&s);
    return cJSON_GetArrayItem(json_get(json_get(*whole, "network"), "layers"), 0);
}

/* Goal: scope, learn_threshold and refractory_steps show in the normal form, and so in the hash,
 * only where they say something. */
Test(spec_neuron, later_fields_do_not_touch_older_specs, .timeout = 5)
{
    static const char *const later[] = { "scope", "learn_threshold", "refractory_steps", "v_init" };
    cJSON *whole, *layer = normal_layer(",\"model\":\"plif\"", &whole);
    for (size_t i = 0; i < 4; i++) cr_expect_null(json_get(layer, later[i]), "%s", later[i]);
    cr_expect_not_null(json_get(layer, "decay_input"));
    cJSON_Delete(whole);
    layer = normal_layer(",\"model\":\"plif\",\"scope\":\"channel\",\"learn_threshold\":true,"
                         "\"refractory_steps\":2,\"v_init\":0", &whole);
    cr_expect_str_eq(json_get_string(layer, "scope", ""), "channel");
    cr_expect(json_get_bool(layer, "learn_threshold", false));
    cr_expect_eq(json_get_int(layer, "refractory_steps", 0), 2);
    /* as given, also where it is v_reset */
    cr_expect_eq(json_get_number(layer, "v_init", 1.0), 0.0);
    cJSON_Delete(whole);
}

/* Goal: a choice is read, written and refused by its name. */
Test(spec_neuron, choices_have_names, .timeout = 5)
{
    cJSON *whole, *layer = normal_layer(",\"model\":\"liaf\",\"act\":\"tanh\"", &whole);
    cr_expect_str_eq(json_get_string(layer, "act", ""), "tanh");
    cr_expect(json_get_bool(layer, "threshold_related", false));
    cJSON_Delete(whole);
    static const char *const bad[] = { "\"softmax\"", "\"tan\"", "1", "\"relu|tanh\"" };
    for (size_t i = 0; i < 4; i++) {
        struct spec s = { 0 };
        char fields[64];
        (void)snprintf(fields, sizeof fields, ",\"model\":\"liaf\",\"act\":%s", bad[i]);
        cr_expect_neq(parse_neuron(fields, &s), 0, "%s", bad[i]);
        cr_expect_str_eq(faults.items[0].pointer, "/network/layers/0/act");
        cr_expect_not_null(strstr(faults.items[0].detail, "relu|sigmoid|tanh"));
        spec_deinit(&s);
    }
}

/* Goal: who asks for a surrogate that is not there is told all that are. */
Test(spec_neuron, unknown_surrogate_names_every_one, .timeout = 5)
{
    struct spec s = { 0 };
    size_t count;
    const struct spec_surrogate_kind *kinds = spec_surrogate_kinds(&count);
    cr_assert_neq(parse_neuron(",\"surrogate\":{\"type\":\"heaviside\"}", &s), 0);
    cr_expect_str_eq(faults.items[0].pointer, "/network/layers/0/surrogate/type");
    for (size_t i = 0; i < count; i++)
        cr_expect_not_null(strstr(faults.items[0].detail, kinds[i].name), "%s", kinds[i].name);
    spec_deinit(&s);
}

/* Goal: counts and drawn spikes are refused, at their pointer, where more than output and a reset
 * that fits would see them. */
Test(spec_neuron, firing_that_a_model_cannot_take_is_refused, .timeout = 5)
{
    static const struct {
        const char *fields, *pointer, *detail; /* pointer NULL: good */
    } cases[] = {
        { "\"surrogate\":\"multi_level_spike_count\",\"v_reset\":null", NULL, NULL },
        { "\"model\":\"plif\",\"v_reset\":null,\"learn_threshold\":true,\"surrogate\":"
          "{\"type\":\"multi_level_spike_count\",\"D\":255}", NULL, NULL },
        { "\"model\":\"cuba_lif\",\"surrogate\":\"poisson_pass\"", NULL, NULL },
        { "\"surrogate\":\"multi_level_spike_count\",\"v_reset\":0.5", "v_reset",
          "needs a soft reset, null, got 0.5" },
        { "\"surrogate\":\"multi_level_spike_count\"", "v_reset", "null, got 0" },
        { "\"model\":\"psn\",\"surrogate\":\"poisson_pass\"", "surrogate",
          "if, lif, plif, qif, eif and cuba_lif, got 'psn'" },
        { "\"model\":\"alif\",\"v_reset\":null,\"surrogate\":\"multi_level_spike_count\"",
          "surrogate", "got 'alif'" },
        { "\"v_reset\":null,\"surrogate\":{\"type\":\"multi_level_spike_count\",\"D\":256}",
          "surrogate/D", "256" },
        { "\"v_reset\":null,\"surrogate\":{\"type\":\"multi_level_spike_count\",\"D\":0}",
          "surrogate/D", "got 0" },
        { "\"v_reset\":null,\"surrogate\":{\"type\":\"multi_level_spike_count\",\"D\":1.5}",
          "surrogate/D", "1.5" },
        { "\"surrogate\":{\"type\":\"poisson_pass\",\"alpha\":2}", "surrogate/alpha", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec s = { 0 };
        char fields[300], pointer[64];
        (void)snprintf(fields, sizeof fields, ",\"model\":\"lif\",%s", cases[i].fields);
        const bool model = strstr(cases[i].fields, "model") != NULL;
        const int rc = parse_neuron(model ? fields + strlen(",\"model\":\"lif\"") : fields, &s);
        spec_deinit(&s);
        if (cases[i].pointer == NULL) {
            cr_expect_eq(rc, 0, "%s: %s", fields, faults.items[0].detail);
            continue;
        }
        (void)snprintf(pointer, sizeof pointer, "/network/layers/0/%s", cases[i].pointer);
        cr_expect_neq(rc, 0, "%s", fields);
        cr_expect_str_eq(faults.items[0].pointer, pointer, "%s", fields);
        cr_expect_not_null(strstr(faults.items[0].detail, cases[i].detail), "%s: %s", fields,
                           faults.items[0].detail);
    }
}

/* Goal: each model takes the shared fields it has and refuses those of others, at their pointer. */
Test(spec_neuron, foreign_fields_are_refused, .timeout = 5)
{
    static const struct {
        const char *model, *field, *value;
        bool good;
    } cases[] = {
        { "psn", "scope", "\"channel\"", false },
        { "psn", "learn_threshold", "true", false },
        { "gated_lif", "scope", "\"channel\"", true },
        { "gated_lif", "v_threshold", "1", false },
        { "gated_lif", "refractory_steps", "1", false },
        { "izhikevich", "tau_w", "0.5", false },
        { "izhikevich", "tau_w", "1", true },
        { "qif", "delta_T", "1", false },
        { "eif", "delta_T", "0", false },
        { "klif", "scale_reset", "1", false },
        { "klif", "scale_reset", "true", true },
        { "lif", "scope", "\"pixel\"", false },
        { "lif", "refractory_steps", "1.5", false },
        { "lif", "refractory_steps", "-1", false },
        { "alif", "refractory_steps", "3", true },
        { "cuba_lif", "v_reset", "null", true },
        { "non_spiking_if", "surrogate", "\"atan\"", false },
        { "non_spiking_if", "detach_reset", "true", false },
        { "non_spiking_if", "tau", "2", false },
        { "non_spiking_lif", "v_threshold", "1", false },
        { "non_spiking_lif", "v_reset", "0", false },
        { "non_spiking_lif", "learn_threshold", "true", false },
        { "non_spiking_lif", "refractory_steps", "1", false },
        { "non_spiking_lif", "scope", "\"channel\"", false },
        { "non_spiking_lif", "decay_input", "false", true },
        { "non_spiking_lif", "v_rest", "-0.5", true },
        { "lif", "v_init", "-0.25", true },
        { "lif", "v_init", "null", false },
        { "lif", "v_init", "2e6", false },
        { "psn", "v_init", "0.5", false },
        { "gated_lif", "v_init", "0.5", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec s = { 0 };
        char fields[96], pointer[64];
        (void)snprintf(fields, sizeof fields, ",\"model\":\"%s\",\"%s\":%s", cases[i].model,
                       cases[i].field, cases[i].value);
        (void)snprintf(pointer, sizeof pointer, "/network/layers/0/%s", cases[i].field);
        cr_expect_eq(parse_neuron(fields, &s) == 0, cases[i].good, "%s", fields);
        if (!cases[i].good) cr_expect_str_eq(faults.items[0].pointer, pointer);
        spec_deinit(&s);
    }
}

/* ---- fields that change nothing -------------------------------------------------------------- */
static int parse_network(const char *network, struct spec *s)
{
    struct err e = { 0 };
    char *text = mem_printf("{\"version\":1,\"dataset\":{\"name\":\"x\"},\"network\":{%s}}",
                            network);
    const int rc = spec_parse_text(text, strlen(text), s, &faults, &e);
    mem_free(text);
    return rc;
}

/* Goal: a field that changes nothing is refused where it was written; the default said aloud, and
 * what is inherited, is not. */
Test(spec_neuron, idle_fields_are_refused, .timeout = 5)
{
#define CONV "{\"type\":\"conv2d\",\"out_channels\":4,\"kernel_size\":3},"
    static const struct {
        const char *network, *pointer; /* NULL: taken */
    } cases[] = {
        { "\"layers\":[{\"type\":\"neuron\",\"model\":\"if\",\"decay_input\":false}]",
          "/network/layers/0/decay_input" },
        { "\"layers\":[{\"type\":\"neuron\",\"model\":\"if\",\"decay_input\":true}]", NULL },
        { "\"layers\":[{\"type\":\"neuron\",\"model\":\"non_spiking_if\",\"decay_input\":"
          "false}]",
          "/network/layers/0/decay_input" },
        { "\"layers\":[{\"type\":\"neuron\",\"decay_input\":false}]", NULL },
        { "\"neuron\":{\"decay_input\":false},\"layers\":[{\"type\":\"neuron\",\"model\":\"if\"},"
          "{\"type\":\"neuron\",\"model\":\"psn\"},{\"type\":\"neuron\",\"model\":\"cuba_lif\"}]",
          NULL },
        { "\"neuron\":{\"model\":\"cuba_lif\",\"decay_input\":false},\"layers\":[{\"type\":"
          "\"neuron\"}]", "/network/neuron/decay_input" },
        { "\"neuron\":{\"model\":\"qif\"},\"layers\":[{\"type\":\"recurrent\",\"neuron\":{"
          "\"decay_input\":false}}]", "/network/layers/0/neuron/decay_input" },
        { "\"layers\":[{\"type\":\"neuron\",\"scope\":\"channel\"}]", "/network/layers/0/scope" },
        { "\"layers\":[{\"type\":\"neuron\",\"scope\":\"layer\"}]", NULL },
        { "\"layers\":[{\"type\":\"neuron\",\"scope\":\"channel\",\"learn_threshold\":true}]",
          NULL },
        { "\"layers\":[{\"type\":\"neuron\",\"model\":\"klif\",\"scope\":\"neuron\"}]", NULL },
        { "\"neuron\":{\"model\":\"lif\",\"scope\":\"channel\"},\"layers\":[{\"type\":\"neuron\"}"
          ",{\"type\":\"neuron\",\"learn_threshold\":true}]", NULL },
        { "\"layers\":[" CONV "{\"type\":\"sew_block\",\"out_channels\":4,\"neuron\":{\"scope\":"
          "\"channel\"}}]", "/network/layers/1/neuron/scope" },
        { "\"preset\":\"sew_resnet\",\"classes\":9,\"neuron\":{\"decay_input\":false}", NULL },
        { "\"preset\":\"sew_resnet\",\"classes\":9,\"neuron\":{\"model\":\"if\",\"decay_input\":"
          "false}", "/network/neuron/decay_input" },
        { "\"layers\":[{\"type\":\"recurrent\",\"connect\":\"element_wise\",\"bias\":false}]",
          "/network/layers/0/bias" },
        { "\"layers\":[{\"type\":\"recurrent\",\"connect\":\"element_wise\",\"bias\":true}]",
          NULL },
        { "\"layers\":[{\"type\":\"recurrent\",\"bias\":false}]", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec s = { 0 };
        const bool taken = cases[i].pointer == NULL;
        cr_expect_eq(parse_network(cases[i].network, &s) == 0, taken, "case %zu: %s", i,
                     faults.items[0].detail);
        cr_expect_eq(faults.total, taken ? 0 : 1, "case %zu: %zu", i, faults.total);
        if (!taken) {
            cr_expect_str_eq(faults.items[0].pointer, cases[i].pointer);
            cr_expect_not_null(strstr(faults.items[0].detail, "changes nothing"));
        }
        spec_deinit(&s);
    }
}

/* Goal: the normal form says at each neuron what it inherited, also where that changes nothing: it
 * is read as it was written, with the same hash. */
Test(spec_neuron, what_was_inherited_is_read_again, .timeout = 5)
{
    struct spec s = { 0 }, again = { 0 };
    struct err e = { 0 };
    uint8_t a[DIGEST_BYTES], b[DIGEST_BYTES];
    cr_assert_eq(parse_network("\"neuron\":{\"decay_input\":false,\"scope\":\"channel\"},"
                               "\"layers\":[{\"type\":\"neuron\"},{\"type\":\"neuron\",\"model\":"
                               "\"if\"},{\"type\":\"recurrent\",\"connect\":\"element_wise\","
                               "\"neuron\":{\"model\":\"cuba_lif\"}}]", &s),
                 0, "%s", faults.items[0].detail);
    cJSON *json = spec_normalize(&s);
    const cJSON *layer = cJSON_GetArrayItem(json_get(json_get(json, "network"), "layers"), 1);
    cr_expect(!json_get_bool(layer, "decay_input", true));
    cr_expect_str_eq(json_get_string(layer, "scope", ""), "channel");
    cr_assert_eq(spec_parse(json, &again, &faults, &e), 0, "%s: %s", faults.items[0].pointer,
                 faults.items[0].detail);
    cJSON *other = spec_normalize(&again);
    cr_expect(cJSON_Compare(json, other, true));
    cr_assert(spec_result_hash(&s, a, &e) == 0 && spec_result_hash(&again, b, &e) == 0);
    cr_expect_arr_eq(a, b, DIGEST_BYTES);
    cJSON_DeleteItemFromObject(json, "retry");
    spec_deinit(&again);
    cr_expect_eq(spec_parse(json, &again, &faults, &e), ERR_SPEC, "not a normal form any more");
    cJSON_Delete(json);
    cJSON_Delete(other);
    spec_deinit(&s);
}

/* Goal: parameters are counted as the engine makes them. */
Test(spec_neuron, parameters_follow_the_scope, .timeout = 5)
{
    static const struct {
        const char *fields;
        int64_t want;
    } cases[] = {
        { ",\"model\":\"lif\"", 0 },
        { ",\"model\":\"lif\",\"learn_threshold\":true", 1 },
        { ",\"model\":\"plif\"", 1 },
        { ",\"model\":\"plif\",\"scope\":\"channel\"", 5 },
        { ",\"model\":\"plif\",\"scope\":\"neuron\",\"learn_threshold\":true", 2 * 5 * 6 },
        { ",\"model\":\"klif\",\"scope\":\"neuron\"", 5 * 6 },
        { ",\"model\":\"non_spiking_lif\"", 0 },
        { ",\"model\":\"gated_lif\"", 7 + 4 },
        { ",\"model\":\"gated_lif\",\"scope\":\"channel\"", (7 + 4) * 5 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec s = { 0 };
        cr_assert_eq(parse_neuron(cases[i].fields, &s), 0);
        cr_expect_eq(spec_layer_parameters(&s.layers[0], (struct spec_shape){ 5, 2, 3 }, 4),
                     cases[i].want, "%s", cases[i].fields);
        spec_deinit(&s);
    }
}

/* Goal: neurons that never fire, as the default of a network too, have potentials to record but
 * neither spikes nor a surrogate. */
Test(spec_neuron, silent_models, .timeout = 5)
{
    static const struct {
        const char *monitor;
        bool good;
    } cases[] = { { "membrane_potential", true }, { "firing_rate", false }, { "raster", false } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec s = { 0 };
        struct err e = { 0 };
        char *text = mem_printf(
            "{\"version\":1,\"dataset\":{\"name\":\"x\"},\"monitors\":[{\"type\":\"%s\"}],"
            "\"network\":{\"neuron\":{\"model\":\"non_spiking_lif\",\"tau\":3},"
            "\"layers\":[{\"type\":\"neuron\"}]}}",
            cases[i].monitor);
        cr_expect_eq(spec_parse_text(text, strlen(text), &s, &faults, &e) == 0, cases[i].good,
                     "%s", cases[i].monitor);
        if (!cases[i].good) cr_expect_str_eq(faults.items[0].pointer, "/monitors/0");
        else cr_expect_eq(spec_neuron_param(&s.layers[0].u.neuron, "tau"), 3.0);
        spec_deinit(&s);
        mem_free(text);
    }
    cJSON *whole, *layer = normal_layer(",\"model\":\"non_spiking_lif\"", &whole);
    cr_expect_null(json_get(layer, "surrogate"));
    cr_expect_null(json_get(layer, "v_threshold"));
    cr_expect(json_get_bool(layer, "decay_input", false));
    cJSON_Delete(whole);
}

/* ---- recurrent layers ------------------------------------------------------------------------ */
static int parse_recurrent(const char *fields, struct spec *s)
{
    struct err e = { 0 };
    char *text = mem_printf(
        "{\"version\":1,\"dataset\":{\"name\":\"x\"},\"network\":{\"neuron\":"
        "{\"model\":\"lif\",\"tau\":3},\"layers\":[{\"type\":\"recurrent\"%s}]}}",
        fields);
    const int rc = spec_parse_text(text, strlen(text), s, &faults, &e);
    mem_free(text);
    return rc;
}

/* Goal: a recurrent layer is a joining point and the neuron whose output comes back, which lies on
 * top of network.neuron, is one for monitors, and must step; parameters are a weight over inputs
 * and outputs, a bias, and the neuron's own. */
Test(spec_neuron, recurrent_layers, .timeout = 5)
{
    const struct spec_shape in = { 20, 1, 1 }, image = { 20, 2, 3 };
    struct spec_shape out;
    struct err e = { 0 };
    struct spec s = { 0 };
    cr_assert_eq(parse_recurrent("", &s), 0, "%s", faults.items[0].detail);
    const struct spec_layer *l = &s.layers[0];
    const struct spec_shape shapes[] = { in, in };
    cr_assert(s.n_layers == 2 && l->type == SPEC_RECURRENT && l->u.recurrent.body == 1);
    cr_expect_str_eq(l->path, "0.rc");
    cr_expect_str_eq(s.layers[1].path, "0.sub_module");
    cr_expect_null(spec_layer_neuron(l));
    cr_expect_eq(spec_neuron_param(spec_layer_neuron(&s.layers[1]), "tau"), 3.0);
    cr_expect_eq(spec_parameters(&s, 0, in, shapes), 20 * 40 + 20);
    cr_expect_eq(spec_layer_shape(l, image, &out, &e), ERR_SPEC);
    cr_expect_not_null(strstr(e.text, "flatten first"));
    bool rates = false, potentials = false;
    for (size_t i = 0; i < s.n_monitors; i++) {
        rates |= s.monitors[i].type == SPEC_MONITOR_FIRING_RATE;
        potentials |= s.monitors[i].type == SPEC_MONITOR_MEMBRANE;
    }
    cr_expect(rates && !potentials);
    spec_deinit(&s);
    cr_assert_eq(parse_recurrent(",\"connect\":\"element_wise\",\"neuron\":{\"model\":\"plif\","
                                 "\"scope\":\"channel\"}",
                                 &s),
                 0, "%s", faults.items[0].detail);
    cr_expect_eq(spec_layer_parameters(&s.layers[0], image, 4), 0);
    cr_expect_eq(spec_layer_parameters(&s.layers[1], image, 4), 20);
    cr_expect_eq(spec_layer_shape(&s.layers[0], image, &out, &e), 0);
    spec_deinit(&s);
    static const char *const wrong[] = { "psn", "masked_psn", "sliding_psn" };
    for (size_t i = 0; i < 3; i++) {
        char fields[80];
        (void)snprintf(fields, sizeof fields, ",\"neuron\":{\"model\":\"%s\"}", wrong[i]);
        cr_assert_eq(parse_recurrent(fields, &s), ERR_SPEC, "%s", wrong[i]);
        cr_expect_str_eq(faults.items[0].pointer, "/network/layers/0/neuron/model");
        cr_expect_not_null(strstr(faults.items[0].detail, i < 2 ? "reach over all time-steps"
                                                                : "its last k inputs at once"));
    }
}

static void expect_fault(const char *fields, const char *pointer, const char *detail)
{
    struct spec s = { 0 };
    cr_assert_eq(parse_recurrent(fields, &s), ERR_SPEC, "%s", fields);
    cr_expect_str_eq(faults.items[0].pointer, pointer);
    cr_expect_not_null(strstr(faults.items[0].detail, detail), "%s", faults.items[0].detail);
}

/* Goal: a body is a list of layers in place of the neuron, blocks and recurrent layers among them;
 * written back it is what was read, and one that mixes time is refused where it stands. */
Test(spec_neuron, recurrent_bodies, .timeout = 5)
{
    static const char *const paths[] = { "0.rc", "0.sub_module.0", "0.sub_module.act.rc",
                                         "0.sub_module.act.sub_module", "0.sub_module.2" };
    struct spec s = { 0 }, again = { 0 };
    struct err e = { 0 };
    const char *fields = ",\"bias\":false,\"body\":[{\"type\":\"linear\",\"out_features\":7},"
                         "{\"type\":\"recurrent\",\"name\":\"act\"},{\"type\":\"dropout\"}]";
    cr_assert_eq(parse_recurrent(fields, &s), 0, "%s", faults.items[0].detail);
    cr_assert_eq(s.n_layers, 5);
    for (size_t i = 0; i < 5; i++) cr_expect_str_eq(s.layers[i].path, paths[i]);
    cr_expect(s.layers[0].u.recurrent.body == 4 && s.layers[2].u.recurrent.body == 1);
    const struct spec_shape in = { 20, 1, 1 }, out = { 7, 1, 1 };
    const struct spec_shape shapes[] = { in, out, out, out, out };
    cr_expect_eq(spec_parameters(&s, 0, in, shapes), 20 * 27);
    cJSON *json = spec_normalize(&s), *other;
    cr_expect_null(json_get(json_get(json_get(json, "network"), "layers")->child, "neuron"));
    cr_assert_eq(spec_parse(json, &again, &faults, &e), 0, "%s", faults.items[0].detail);
    other = spec_normalize(&again);
    cr_expect(cJSON_Compare(json, other, true));
    cr_expect_str_eq(again.layers[3].path, paths[3]);
    cJSON_Delete(json);
    cJSON_Delete(other);
    spec_deinit(&s);
    spec_deinit(&again);
    expect_fault(",\"neuron\":{},\"body\":[{\"type\":\"dropout\"}]", "/network/layers/0/body",
                 "takes the place");
    expect_fault(",\"body\":[]", "/network/layers/0/body", "1 or more");
    expect_fault(",\"body\":[{\"type\":\"neuron\"},{\"type\":\"batch_norm\"}]",
                 "/network/layers/0/body/1", "statistics are those of all time-steps");
    expect_fault(",\"body\":[{\"type\":\"sequential\",\"body\":[{\"type\":\"neuron\",\"model\":"
                 "\"psn\"}]}]",
                 "/network/layers/0/body/0/body/0/model", "psn cannot be in the body");
    expect_fault(",\"body\":[{\"type\":\"sew_block\",\"out_channels\":4,\"downsample\":\"no\"}]",
                 "/network/layers/0/body/0", "batch_norm cannot be in the body");
}

/* Goal: what comes back must fit: the shape of the input, or features. */
Test(spec_neuron, recurrent_shapes, .timeout = 5)
{
    static const struct {
        const char *fields, *why;
    } cases[] = {
        { ",\"connect\":\"element_wise\",\"body\":[{\"type\":\"linear\",\"out_features\":7}]", "" },
        { ",\"connect\":\"element_wise\",\"body\":[{\"type\":\"linear\",\"out_features\":9}]",
          "the body gives 9x1x1" },
        { ",\"body\":[{\"type\":\"upsample\"}]", "flatten it" },
        { ",\"body\":[{\"type\":\"upsample\"},{\"type\":\"flatten\"}]", "" },
    };
    const struct spec_shape in = { 7, 1, 1 };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec s = { 0 };
        struct json_faults found = { 0 };
        struct spec_shape shapes[4];
        cr_assert_eq(parse_recurrent(cases[i].fields, &s), 0, "%s", faults.items[0].detail);
        cr_assert(spec_shapes(&s, in, i == 3 ? 28 : 7, shapes, &found));
        cr_expect_eq(found.total > 0, cases[i].why[0] != '\0', "case %zu", i);
        if (found.total > 0)
            cr_expect_not_null(strstr(found.items[0].detail, cases[i].why), "%s",
                               found.items[0].detail);
        spec_deinit(&s);
    }
}
