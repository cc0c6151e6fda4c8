/* Experiment specs: parsing, normal form, identity, shapes and every kind of refusal. */
#include "common/mem.h"
#include "common/spec.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS \
    "{\"type\":\"flatten\"},{\"type\":\"linear\",\"out_features\":10},{\"type\":\"neuron\"}"
#define MINIMAL \
    "{\"version\":1,\"dataset\":{\"name\":\"glyphs\"},\"network\":{\"layers\":[" LAYERS "]}}"

static struct json_faults faults;
static struct err fault;

static int parse(const char *text, struct spec *s)
{
    fault = (struct err){ 0 };
    return spec_parse_text(text, strlen(text), s, &faults, &fault);
}

static struct spec *good(const char *text)
{
    struct spec *s = mem_calloc(1, sizeof *s);
    const int rc = parse(text, s);
    cr_assert_eq(rc, 0, "%s: %s: %s", fault.text, faults.items[0].pointer, faults.items[0].detail);
    cr_assert_eq(faults.total, 0);
    return s;
}

static void drop(struct spec *s)
{
    spec_deinit(s);
    mem_free(s);
}

/* MINIMAL with `with` written over `what`. */
static char *changed(const char *what, const char *with)
{
    const char *at = strstr(MINIMAL, what);
    cr_assert_not_null(at, "%s", what);
    return mem_printf("%.*s%s%s", (int)(at - MINIMAL), MINIMAL, with, at + strlen(what));
}
static char *with_field(const char *field)
{
    return changed("{\"version\":1", field);
}
static char *with_layers(const char *layers)
{
    return changed(LAYERS, layers);
}

static const struct json_fault *fault_at(const char *pointer)
{
    for (size_t i = 0; i < faults.count; i++)
        if (strcmp(faults.items[i].pointer, pointer) == 0) return &faults.items[i];
    return NULL;
}

/* Parses (and frees) a text that must have exactly this one fault. */
static void refused(char *text, const char *pointer, const char *code, const char *detail)
{
    struct spec s = { 0 };
    cr_expect_eq(parse(text, &s), ERR_SPEC, "accepted: %s", text);
    cr_expect_eq(faults.total, 1, "%zu faults: %s", faults.total, text);
    const struct json_fault *f = fault_at(pointer);
    cr_expect_not_null(f, "no fault at %s but at %s: %s", pointer, faults.items[0].pointer, text);
    cr_expect(f == NULL || strcmp(f->code, code) == 0, "%s: %s", pointer, f ? f->code : "");
    cr_expect(f == NULL || strstr(f->detail, detail) != NULL, "%s: %s", pointer,
              f ? f->detail : "");
    cr_expect_null(s.layers, "output is written on success only");
    mem_free(text);
}

static char *normal_text(const struct spec *s)
{
    cJSON *json = spec_normalize(s);
    char *text = json_print(json, NULL);
    cJSON_Delete(json);
    return text;
}

static void hash_of(const char *text, uint8_t out[DIGEST_BYTES])
{
    struct spec *s = good(text);
    cr_assert_eq(spec_result_hash(s, out, &fault), 0);
    drop(s);
}

/* Goal: version, dataset and layers are enough; all else has the documented default. */
Test(spec_parse, minimal_spec_gets_defaults, .timeout = 5)
{
    struct spec *s = good(MINIMAL);
    cr_expect(s->n_layers == 3 && s->time_steps == 4 && s->seed == 0 && s->max_attempts == 3);
    cr_expect(s->train.epochs == 10 && s->train.batch_size == 64 && s->train.shards == 1);
    cr_expect(s->train.optimizer.type == SPEC_ADAM && s->train.optimizer.beta2 == 0.999);
    cr_expect(s->dataset.validation_fraction == 0.1 && s->dataset.n_normalize == 0);
    cr_expect_str_eq(s->layers[1].path, "1");
    cr_expect_str_eq(s->layers[1].pointer, "/network/layers/1");
    size_t n;
    cr_expect_str_eq(spec_neuron_models(&n)[s->layers[2].u.neuron.model].name, "lif");
    cr_expect(spec_neuron_param(&s->layers[2].u.neuron, "tau") == 2.0);
    cr_expect_eq(s->n_monitors, 2, "firing_rate and raster fit a LIF layer");
    drop(s);
}

/* Goal: normalise, parse, normalise is a fixed point, for a spec that uses every part too. */
Test(spec_normalize, is_a_fixed_point, .timeout = 5)
{
    static const char everything[] =
        "{\"version\":1,\"name\":\"n\\u00e9\\n\",\"tags\":[\"a\",\"b\"],\"priority\":-3,"
        "\"seed\":9007199254740992,\"time_steps\":8,\"dataset\":{\"name\":\"mnist\","
        "\"train_limit\":100,\"validation\":{\"fraction\":0.3},\"transforms\":[{\"type\":"
        "\"random_crop\",\"padding\":2},{\"type\":\"horizontal_flip\"}],\"normalize\":{\"mean\":"
        "0.1307,\"std\":[0.3081]}},\"network\":{\"neuron\":{\"model\":\"plif\",\"init_tau\":3.3,"
        "\"v_reset\":null,\"surrogate\":\"erf\"},\"layers\":[{\"type\":\"conv2d\",\"name\":\"c\","
        "\"out_channels\":4,\"kernel_size\":[3,5],\"stride\":2},{\"type\":\"batch_norm\"},"
        "{\"type\":\"neuron\"},{\"type\":\"avg_pool2d\",\"kernel_size\":2},{\"type\":\"neuron\","
        "\"model\":\"psn\",\"surrogate\":{\"type\":\"s2nn\",\"beta\":0.1}},{\"type\":\"flatten\"},"
        "{\"type\":\"dropout\",\"p\":0.1},{\"type\":\"linear\",\"out_features\":20,\"bias\":false},"
        "{\"type\":\"voting\",\"size\":2}]},\"train\":{\"epochs\":2,\"optimizer\":{\"type\":"
        "\"sgd\","
        "\"lr\":0.1,\"momentum\":0.9,\"nesterov\":true},\"schedule\":{\"type\":\"step\","
        "\"step_size\":3},\"loss\":{\"type\":\"cross_entropy\",\"label_smoothing\":0.1},"
        "\"shards\":4,\"numerics\":\"exact\",\"readout\":\"mean\"},\"monitors\":[{\"type\":"
        "\"grad_norm\",\"layers\":[\"c\",\"7\"]},{\"type\":\"psn_weight\",\"layers\":\"?\"}],"
        "\"checkpoint\":{\"every_steps\":7},\"resources\":{\"threads\":1,\"memory_mib\":512},"
        "\"retry\":{\"max_attempts\":1,\"on\":[\"oom\"]},\"export\":[\"safetensors\"]}";
    static const char *const texts[] = { MINIMAL, everything };
    for (size_t i = 0; i < 2; i++) {
        struct spec *first = good(texts[i]);
        char *once = normal_text(first);
        struct spec *second = good(once);
        char *twice = normal_text(second);
        cr_expect_str_eq(once, twice);
        uint8_t a[DIGEST_BYTES], b[DIGEST_BYTES];
        hash_of(texts[i], a);
        hash_of(once, b);
        cr_expect_arr_eq(a, b, DIGEST_BYTES);
        mem_free(once);
        mem_free(twice);
        drop(first);
        drop(second);
    }
}

/* Goal: every file of examples/ is a valid spec with a stable normal form. */
Test(spec_parse, examples_are_valid, .timeout = 10)
{
    DIR *folder = opendir("examples");
    cr_assert_not_null(folder, "run from the root of the repository");
    size_t n = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (strstr(entry->d_name, ".json") == NULL) continue;
        static char text[SPEC_BYTES_MAX];
        char path[300];
        (void)snprintf(path, sizeof path, "examples/%s", entry->d_name);
        FILE *f = fopen(path, "re");
        text[fread(text, 1, sizeof text - 1, f)] = '\0';
        (void)fclose(f);
        struct spec *s = good(text);
        char *once = normal_text(s);
        struct spec *again = good(once);
        char *twice = normal_text(again);
        cr_expect_str_eq(once, twice, "%s", path);
        mem_free(once);
        mem_free(twice);
        drop(s);
        drop(again);
        n++;
    }
    (void)closedir(folder);
    cr_expect_gt(n, 0);
}

/* Goal: label and execution fields leave the result's hash alone. */
Test(spec_result_hash, labels_and_execution_do_not_count, .timeout = 10)
{
    static const char *const fields[] = {
        "\"name\":\"x\"",
        "\"tags\":[\"t\"]",
        "\"priority\":5",
        "\"monitors\":[]",
        "\"monitors\":[{\"type\":\"raster\"}]",
        "\"checkpoint\":{\"every_steps\":9,\"keep\":1}",
        "\"resources\":{\"threads\":7,\"memory_mib\":9,\"time_limit_s\":9}",
        "\"train\":{\"recompute\":\"auto\"}",
        "\"retry\":{\"max_attempts\":9,\"on\":[\"error\",\"oom\"]}",
        "\"resources\":{\"no_progress_s\":9}",
        "\"export\":[\"safetensors\"]",
    };
    uint8_t want[DIGEST_BYTES], got[DIGEST_BYTES];
    hash_of(MINIMAL, want);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        char *field = mem_printf("{\"version\":1,%s", fields[i]), *text = with_field(field);
        hash_of(text, got);
        cr_expect_arr_eq(got, want, DIGEST_BYTES, "%s", fields[i]);
        mem_free(field);
        mem_free(text);
    }
}

/* Goal: every result field changes the hash, each to a value of its own. */
Test(spec_result_hash, result_fields_count, .timeout = 10)
{
    static const char *const fields[] = {
        "\"seed\":0",
        "\"seed\":1",
        "\"seed\":9007199254740991",
        "\"time_steps\":5",
        "\"train\":{\"epochs\":11}",
        "\"train\":{\"batch_size\":32}",
        "\"train\":{\"shards\":2}",
        "\"train\":{\"from\":{\"experiment\":3}}",
        "\"train\":{\"from\":{\"experiment\":3,\"checkpoint\":\"last\"}}",
        "\"train\":{\"numerics\":\"exact\"}",
        "\"train\":{\"max_steps\":3}",
        "\"train\":{\"grad_clip\":1}",
        "\"train\":{\"drop_last\":true}",
        "\"train\":{\"eval_every\":2}",
        "\"train\":{\"optimizer\":{\"type\":\"sgd\"}}",
        "\"train\":{\"optimizer\":{\"lr\":0.0010000000000000002}}",
        "\"train\":{\"optimizer\":{\"betas\":[0.9,0.99]}}",
        "\"train\":{\"schedule\":{\"type\":\"cosine\"}}",
        "\"train\":{\"loss\":{\"type\":\"cross_entropy\"}}",
    };
    enum { N = sizeof fields / sizeof fields[0] };
    uint8_t hashes[N][DIGEST_BYTES], plain[DIGEST_BYTES];
    hash_of(MINIMAL, plain);
    for (size_t i = 0; i < N; i++) {
        char *field = mem_printf("{\"version\":1,%s", fields[i]), *text = with_field(field);
        hash_of(text, hashes[i]);
        for (size_t j = 0; j < i; j++)
            cr_expect_neq(memcmp(hashes[i], hashes[j], DIGEST_BYTES), 0, "%s", fields[i]);
        mem_free(field);
        mem_free(text);
    }
    cr_expect_arr_eq(hashes[0], plain, DIGEST_BYTES, "a default that is written out is the same");
    char *renamed = changed("{\"type\":\"flatten\"}", "{\"type\":\"flatten\",\"name\":\"f\"}");
    hash_of(renamed, hashes[0]);
    cr_expect_neq(memcmp(hashes[0], plain, DIGEST_BYTES), 0, "names name parameters");
    mem_free(renamed);
}

/* Goal: all faults are reported at once, each where it stands. */
Test(spec_parse, many_faults_have_their_pointers, .timeout = 5)
{
    static const char text[] =
        "{\"version\":2,\"sed\":1,\"time_steps\":0,\"tags\":[1],\"dataset\":{\"name\":\"Gl/yphs\","
        "\"validation\":{\"fraction\":\"x\"},\"transforms\":[{\"type\":\"rotate\"}]},\"network\":"
        "{\"depth\":1,\"layers\":[{\"type\":\"conv2d\",\"out_channels\":1.5},{\"type\":\"lineer\"},"
        "7,{\"type\":\"neuron\",\"model\":\"lif\",\"tau\":1,\"a/b~\":0},{},{\"type\":\"flatten\","
        "\"name\":\"no "
        "dots.\"}]},\"train\":{\"shards\":3,\"betas\":1,\"optimizer\":{\"betas\":[1]},"
        "\"readout\":\"sum\"},\"monitors\":{}}";
    static const struct {
        const char *pointer, *code;
    } want[] = {
        { "/version", "out_of_range" },
        { "/sed", "unknown_field" },
        { "/time_steps", "out_of_range" },
        { "/tags/0", "wrong_type" },
        { "/dataset/name", "not_allowed" },
        { "/dataset/validation/fraction", "wrong_type" },
        { "/dataset/transforms/0/type", "not_allowed" },
        { "/network/depth", "unknown_field" },
        { "/network/layers/0/out_channels", "wrong_type" },
        { "/network/layers/0/kernel_size", "missing" },
        { "/network/layers/1/type", "not_allowed" },
        { "/network/layers/2", "wrong_type" },
        { "/network/layers/3/tau", "out_of_range" },
        { "/network/layers/3/a~1b~0", "unknown_field" },
        { "/network/layers/4/type", "missing" },
        { "/network/layers/5/name", "not_allowed" },
        { "/train/shards", "out_of_range" },
        { "/train/betas", "unknown_field" },
        { "/train/optimizer/betas", "wrong_type" },
        { "/train/readout", "not_allowed" },
        { "/monitors", "wrong_type" },
    };
    struct spec s = { 0 };
    cr_assert_eq(parse(text, &s), ERR_SPEC);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        const struct json_fault *f = fault_at(want[i].pointer);
        cr_expect_not_null(f, "no fault at %s", want[i].pointer);
        if (f != NULL) cr_expect_str_eq(f->code, want[i].code, "%s", f->pointer);
    }
    cr_expect_eq(faults.total, sizeof want / sizeof want[0], "%zu faults", faults.total);
    cr_expect_str_eq(fault.text, "21 fields are wrong");
}

/* Goal: what arithmetic in float cannot hold is refused: an eps of Adam that would round to 0, and
 * a period of the cosine series close to it. */
Test(spec_parse, numbers_that_float_cannot_hold_are_refused, .timeout = 5)
{
    refused(with_field("{\"version\":1,\"train\":{\"optimizer\":{\"type\":\"adam\","
                       "\"eps\":1e-31}}"),
            "/train/optimizer/eps", "out_of_range", "");
    refused(changed("\"type\":\"neuron\"", "\"type\":\"neuron\",\"surrogate\":{\"type\":"
                    "\"squarewave_fourier_series\",\"T_period\":1e-7}"),
            "/network/layers/2/surrogate/T_period", "out_of_range", "");
}

/* Goal: a slip in a name is answered with the name that was meant. */
Test(spec_parse, slips_get_a_suggestion, .timeout = 5)
{
    refused(with_field("{\"version\":1,\"time_step\":4"), "/time_step", "unknown_field",
            "did you mean 'time_steps'?");
    refused(with_field("{\"version\":1,\"train\":{\"epoch\":4}"), "/train/epoch", "unknown_field",
            "did you mean 'epochs'?");
    refused(with_layers("{\"type\":\"flaten\"}"), "/network/layers/0/type", "not_allowed",
            "did you mean 'flatten'?");
    refused(changed("\"type\":\"neuron\"", "\"type\":\"neuron\",\"v_treshold\":1"),
            "/network/layers/2/v_treshold", "unknown_field", "did you mean 'v_threshold'?");
    refused(changed("\"type\":\"neuron\"", "\"type\":\"neuron\",\"surrogate\":\"sigmoit\""),
            "/network/layers/2/surrogate/type", "not_allowed", "did you mean 'sigmoid'?");
    refused(
        with_field("{\"version\":1,\"train\":{\"optimizer\":{\"type\":\"adam\",\"momentum\":0}}"),
        "/train/optimizer/momentum", "unknown_field", "belongs to type 'sgd'");
}

/* Goal: networks whose shapes cannot work are refused at the layer that does not fit. */
Test(spec_shapes, impossible_shapes_are_refused, .timeout = 5)
{
#define TAIL ",{\"type\":\"flatten\"},{\"type\":\"linear\",\"out_features\":10}"
    static const struct {
        const char *layers, *pointer, *detail;
    } cases[] = {
        { "{\"type\":\"conv2d\",\"out_channels\":4,\"kernel_size\":29}" TAIL,
          "/network/layers/0/kernel_size", "must be at most 28, got 29" },
        { "{\"type\":\"conv2d\",\"out_channels\":4,\"kernel_size\":8,\"dilation\":4}" TAIL,
          "/network/layers/0/kernel_size", "must be at most 7, got 8: it reaches 29" },
        { "{\"type\":\"conv2d\",\"out_channels\":4,\"kernel_size\":3,\"groups\":2}" TAIL,
          "/network/layers/0/groups", "1 input and 4 output channels (1), got 2" },
        { "{\"type\":\"max_pool2d\",\"kernel_size\":[28,29]}" TAIL,
          "/network/layers/0/kernel_size", "must be at most 28, got 29" },
        { "{\"type\":\"max_pool2d\",\"kernel_size\":2,\"padding\":2}" TAIL,
          "/network/layers/0/padding", "half the window, 1, got 2" },
        { "{\"type\":\"linear\",\"out_features\":10}", "/network/layers/0", "flatten first" },
        { "{\"type\":\"flatten\"},{\"type\":\"voting\",\"size\":10}",
          "/network/layers/1/size", "must divide the 784 features" },
        { "{\"type\":\"flatten\"},{\"type\":\"linear\",\"out_features\":9}",
          "/network/layers/1/out_features", "must be the 10 classes of the dataset, got 9" },
        { "{\"type\":\"conv2d\",\"out_channels\":10,\"kernel_size\":27}", "/network/layers/0",
          "10x2x2, not 10 classes" },
        { "{\"type\":\"conv2d\",\"out_channels\":5,\"kernel_size\":[28,27]}", "/network/layers/0",
          "5x1x2, not 10 classes" },
        { "{\"type\":\"flatten\"},{\"type\":\"neuron\"},{\"type\":\"conv2d\",\"out_channels\":10,"
          "\"kernel_size\":1}", "/network/layers/2", "follow flatten" },
        { "{\"type\":\"flatten\"},{\"type\":\"max_pool2d\",\"kernel_size\":1}" TAIL,
          "/network/layers/1", "follow flatten" },
        { "{\"type\":\"flatten\"},{\"type\":\"adaptive_avg_pool2d\"}" TAIL, "/network/layers/1",
          "follow flatten" },
        { "{\"type\":\"adaptive_avg_pool2d\",\"output_size\":[2,1]},{\"type\":\"conv2d\","
          "\"out_channels\":10,\"kernel_size\":1}", "/network/layers/1", "10x2x1, not" },
        { "{\"type\":\"conv2d\",\"out_channels\":65536,\"kernel_size\":1,\"padding\":64}" TAIL,
          "/network/layers/0/out_channels", "too large" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refused(with_layers(cases[i].layers), cases[i].pointer, "bad_shape", cases[i].detail);
}

/* Goal: every fault of a network is reported at once, static ones and those of shapes, at the field
 * that is wrong; a fault that leaves a shape does not end the walk, one that leaves none hides only
 * what depends on it. */
Test(spec_shapes, all_faults_at_once, .timeout = 5)
{
    static const struct {
        const char *layers, *pointers[6];
    } cases[] = {
        { "{\"type\":\"conv2d\",\"out_channels\":4,\"kernel_size\":3,\"stride\":4},{\"type\":"
          "\"multi_dimensional_attention\",\"reduction_t\":9,\"reduction_c\":9,\"kernel_size\":4},"
          "{\"type\":\"group_norm\",\"groups\":3},{\"type\":\"flatten\"},{\"type\":\"linear\","
          "\"out_features\":9}",
          { "1/kernel_size", "1/reduction_t", "1/reduction_c", "2/groups", "4/out_features" } },
        { "{\"type\":\"conv2d\",\"out_channels\":4,\"kernel_size\":29,\"groups\":3},{\"type\":"
          "\"group_norm\",\"groups\":3},{\"type\":\"flatten\"},{\"type\":\"linear\","
          "\"out_features\":9},{\"type\":\"neuron\"},{\"type\":\"voting\",\"size\":2}",
          { "0/groups", "0/kernel_size", "5/size" } },
        { "{\"type\":\"flaten\"},{\"type\":\"group_norm\",\"groups\":3},{\"type\":\"linear\","
          "\"out_features\":9},{\"type\":\"neuron\",\"v_threshold\":0}",
          { "0/type", "3/v_threshold", "2/out_features" } },
        { "{\"type\":\"sew_block\",\"out_channels\":3,\"downsample\":\"no\"},{\"type\":"
          "\"flatten\"},{\"type\":\"synapse_filter\"},{\"type\":\"linear\",\"out_features\":7}",
          { "0/downsample", "2", "3/out_features" } },
        { "{\"type\":\"residual\",\"body\":[]},{\"type\":\"conv_transpose2d\",\"out_channels\":"
          "4,\"kernel_size\":3,\"groups\":3,\"padding\":3,\"output_padding\":1},{\"type\":"
          "\"group_norm\"}",
          { "0/body", "1/groups", "1/padding", "1/output_padding", "2/groups" } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec s = { 0 };
        char *text = with_layers(cases[i].layers);
        size_t n = 0;
        cr_expect_eq(parse(text, &s), ERR_SPEC, "%s", text);
        for (; n < 6 && cases[i].pointers[n] != NULL; n++) {
            char here[80];
            (void)snprintf(here, sizeof here, "/network/layers/%s", cases[i].pointers[n]);
            cr_expect_not_null(fault_at(here), "case %zu: none at %s", i, here);
        }
        cr_expect_eq(faults.total, n, "case %zu: %zu faults", i, faults.total);
        mem_free(text);
    }
}

/* Goal: a monitor and a fault elsewhere are reported together; a faulty number of time-steps makes
 * no fault of the layers that count them. */
Test(spec_shapes, faults_outside_do_not_hide_or_make_others, .timeout = 5)
{
    struct spec s = { 0 };
    char *text = with_field("{\"version\":1,\"seed\":-1,\"monitors\":[{\"type\":\"psn_weight\"}]");
    cr_expect_eq(parse(text, &s), ERR_SPEC);
    cr_expect(faults.total == 2 && fault_at("/seed") && fault_at("/monitors/0"));
    mem_free(text);
    refused(mem_printf("{\"version\":1,\"time_steps\":0,\"dataset\":{\"name\":\"glyphs\"},"
                       "\"network\":{\"layers\":[{\"type\":\"temporal_attention\",\"reduction\":"
                       "6}" TAIL "]}}"),
            "/time_steps", "out_of_range", "");
    refused(with_field("{\"version\":1,\"monitors\":[{\"type\":\"psn\"}]"), "/monitors/0/type",
            "not_allowed", "");
}

/* The first n layers of a network on images of 1 x 28 x 28 have these shapes and parameters; frees
 * the text. */
static void have_shapes(char *text, const struct spec_shape *want, const int64_t *parameters,
                        size_t n)
{
    struct spec *s = good(text);
    struct spec_shape shapes[8], in = { 1, 28, 28 };
    spec_shapes(s, in, 10, shapes, &faults);
    cr_assert_eq(faults.total, 0);
    for (size_t i = 0; i < n; i++) {
        cr_expect_arr_eq(&shapes[i], &want[i], sizeof want[i], "layer %zu: %d x %d x %d", i,
                         (int)shapes[i].c, (int)shapes[i].h, (int)shapes[i].w);
        cr_expect_eq(spec_layer_parameters(&s->layers[i], in, 4), parameters[i], "layer %zu", i);
        in = shapes[i];
    }
    drop(s);
    mem_free(text);
}

/* Goal: shapes and learned numbers of a small network, by hand. */
Test(spec_shapes, sizes_by_hand, .timeout = 5)
{
    char *text = with_layers("{\"type\":\"conv2d\",\"out_channels\":6,\"kernel_size\":[3,5],"
                             "\"stride\":2,\"padding\":[1,0]},{\"type\":\"batch_norm\"},"
                             "{\"type\":\"neuron\",\"model\":\"psn\"},{\"type\":\"max_pool2d\","
                             "\"kernel_size\":3,\"stride\":2,\"ceil_mode\":true}" TAIL);
    static const struct spec_shape want[] = { { 6, 14, 12 }, { 6, 14, 12 }, { 6, 14, 12 },
                                              { 6, 7, 6 },   { 252, 1, 1 }, { 10, 1, 1 } };
    static const int64_t parameters[] = { 6 * 15 + 6, 12, 4 * 5, 0, 0, 2530 };
    have_shapes(text, want, parameters, 6);
}

/* Goal: shapes and learned numbers of normalisations, upsampling and dilated maxima, by hand. */
Test(spec_shapes, later_layers_by_hand, .timeout = 5)
{
    char *text = with_layers("{\"type\":\"upsample\",\"scale_factor\":[1,2]},{\"type\":"
                             "\"group_norm\",\"groups\":1},{\"type\":\"threshold_batch_norm\"},"
                             "{\"type\":\"temporal_batch_norm\"},{\"type\":\"max_pool2d\","
                             "\"kernel_size\":3,\"stride\":4,\"dilation\":2}" TAIL);
    static const struct spec_shape want[] = { { 1, 28, 56 }, { 1, 28, 56 }, { 1, 28, 56 },
                                              { 1, 28, 56 }, { 1, 6, 13 } };
    static const int64_t parameters[] = { 0, 2, 2, 2 + 4, 0 };
    have_shapes(text, want, parameters, 5);
    refused(with_layers("{\"type\":\"group_norm\",\"groups\":2}" TAIL),
            "/network/layers/0/groups", "bad_shape", "must divide the 1 channels (1), got 2");
    refused(with_layers("{\"type\":\"max_pool2d\",\"kernel_size\":3,\"dilation\":14}" TAIL),
            "/network/layers/0/kernel_size", "bad_shape", "must be at most 2, got 3");
    refused(with_layers("{\"type\":\"flatten\"},{\"type\":\"upsample\"}" TAIL),
            "/network/layers/1", "bad_shape", "cannot follow flatten: put it before flatten");
}

/* Goal: shapes and learned numbers of convolutions of one dimension, transposed and standardised;
 * what does not fit is named. */
Test(spec_shapes, later_convolutions_by_hand, .timeout = 5)
{
    char *text = with_layers("{\"type\":\"conv_transpose2d\",\"out_channels\":2,\"kernel_size\":"
                             "[3,2],\"stride\":2,\"padding\":[1,0],\"output_padding\":1},"
                             "{\"type\":\"conv2d\",\"out_channels\":4,\"kernel_size\":[56,3],"
                             "\"weight_standardization\":true},{\"type\":\"conv1d\",\"out_channels"
                             "\":6,\"kernel_size\":5,\"stride\":2,\"groups\":2,\"bias\":false}"
                             TAIL);
    static const struct spec_shape want[] = { { 2, 56, 57 }, { 4, 1, 55 }, { 6, 1, 26 } };
    static const int64_t parameters[] = { 12 + 2, 4 * 2 * 168 + 4 + 4, 6 * 2 * 5 };
    have_shapes(text, want, parameters, 3);
#define UP "{\"type\":\"conv_transpose2d\",\"out_channels\":1,\"kernel_size\":3,"
    refused(with_layers(UP "\"padding\":3}" TAIL), "/network/layers/0/padding", "bad_shape",
            "must be at most dilation * (kernel_size - 1), 2, got 3");
    refused(with_layers(UP "\"output_padding\":1}" TAIL), "/network/layers/0/output_padding",
            "bad_shape", "must be less than the stride, 1, got 1");
    refused(with_layers("{\"type\":\"conv1d\",\"out_channels\":1,\"kernel_size\":3}" TAIL),
            "/network/layers/0", "bad_shape", "needs a height of 1");
}

/* Goal: parameters of a neuron that are counts or switches are taken as such, come back in the
 * normal form and make the learned numbers. */
Test(spec_parse, counts_and_switches_of_neurons, .timeout = 5)
{
    char *text = changed("\"type\":\"neuron\"", "\"type\":\"neuron\",\"model\":\"sliding_psn\","
                         "\"k\":5,\"exp_init\":false");
    struct spec *s = good(text);
    const struct spec_neuron *n = &s->layers[2].u.neuron;
    cr_expect(spec_neuron_param(n, "k") == 5.0 && spec_neuron_param(n, "exp_init") == 0.0);
    cr_expect_eq(spec_layer_parameters(&s->layers[2], (struct spec_shape){ 10, 1, 1 }, 4), 6);
    char *normal = normal_text(s);
    cr_expect_not_null(strstr(normal, "\"k\":5,\"exp_init\":false"), "%s", normal);
    mem_free(normal);
    drop(s);
    mem_free(text);
#define SLIDING "\"type\":\"neuron\",\"model\":\"sliding_psn\","
    refused(changed("\"type\":\"neuron\"", SLIDING "\"k\":2.5"), "/network/layers/2/k",
            "wrong_type", "");
    refused(changed("\"type\":\"neuron\"", SLIDING "\"k\":0"), "/network/layers/2/k",
            "out_of_range", "");
    refused(changed("\"type\":\"neuron\"", SLIDING "\"exp_init\":1"),
            "/network/layers/2/exp_init", "wrong_type", "true or false");
}

/* Goal: two layers may not have one path, be it a name or an index. */
Test(spec_parse, duplicate_names_are_refused, .timeout = 5)
{
    refused(with_layers("{\"type\":\"flatten\",\"name\":\"a\"},{\"type\":\"linear\","
                        "\"out_features\":10,\"name\":\"a\"}"),
            "/network/layers/1/name", "duplicate", "layer 0");
    refused(with_layers("{\"type\":\"flatten\",\"name\":\"1\"},{\"type\":\"linear\","
                        "\"out_features\":10}"),
            "/network/layers/1/name", "duplicate", "'1'");
}

/* Goal: monitors that would record nothing are refused. */
Test(spec_parse, monitors_without_match_are_refused, .timeout = 5)
{
    static const struct {
        const char *monitor, *pointer, *code;
    } cases[] = {
        { "{\"type\":\"raster\",\"layers\":\"conv*\"}", "/monitors/0/layers", "no_match" },
        { "{\"type\":\"raster\",\"layers\":[\"2\",\"1\"]}", "/monitors/0/layers", "no_match" },
        { "{\"type\":\"psn_weight\"}", "/monitors/0", "no_match" },
        { "{\"type\":\"time_constant\",\"layers\":\"*\"}", "/monitors/0/layers", "no_match" },
        { "{\"type\":\"raster\",\"every_epochs\":0}", "/monitors/0", "missing" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *field = mem_printf("{\"version\":1,\"monitors\":[%s]", cases[i].monitor);
        refused(with_field(field), cases[i].pointer, cases[i].code, "");
        mem_free(field);
    }
}

/* Goal: "*", "?" and literal text match whole paths. */
Test(spec_glob, matches_whole_paths, .timeout = 5)
{
    static const struct {
        const char *glob, *path;
        bool match;
    } cases[] = {
        { "*", "", true },
        { "*", "conv1", true },
        { "conv?", "conv1", true },
        { "conv?", "conv", false },
        { "conv", "conv1", false },
        { "*1", "conv1", true },
        { "c*v*", "conv1", true },
        { "c*x*", "conv1", false },
        { "", "a", false },
        { "**a**", "bab", true },
        { "a*b*c", "axbxbc", true },
        { "?", "", false },
        { "a*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
          false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        cr_expect_eq(spec_glob(cases[i].glob, cases[i].path), cases[i].match, "%s", cases[i].glob);
}

/* Goal: rules between fields are refused at the field that breaks them. */
Test(spec_parse, rules_across_fields, .timeout = 5)
{
    refused(with_field("{\"version\":1,\"train\":{\"batch_size\":2,\"shards\":4}"), "/train/shards",
            "out_of_range", "at most batch_size");
    refused(
        with_field("{\"version\":1,\"train\":{\"optimizer\":{\"type\":\"sgd\",\"nesterov\":true}}"),
        "/train/optimizer/nesterov", "not_allowed", "momentum");
    refused(changed("\"name\":\"glyphs\"",
                    "\"name\":\"glyphs\",\"normalize\":{\"mean\":[0,0],\"std\":[1,1]}"),
            "/dataset/normalize/mean", "out_of_range", "1 channels");
    refused(changed("\"name\":\"glyphs\"",
                    "\"name\":\"glyphs\",\"normalize\":{\"mean\":0,\"std\":1},"
                    "\"encoder\":{\"type\":\"poisson\"}"),
            "/dataset/normalize", "not_allowed", "poisson");
    refused(changed("\"name\":\"glyphs\"", "\"name\":\"../etc\""), "/dataset/name", "not_allowed",
            "");
    refused(changed("\"type\":\"neuron\"", "\"type\":\"neuron\",\"model\":\"psn\",\"v_reset\":0"),
            "/network/layers/2/v_reset", "unknown_field", "model 'psn'");
}

/* Goal: frames belong to events: part of the normal form there, refused elsewhere. */
Test(spec_parse, frames_belong_to_events, .timeout = 5)
{
    struct spec s = { 0 };
    refused(changed("\"name\":\"glyphs\"", "\"name\":\"glyphs\",\"frames\":{}"),
            "/dataset/frames", "not_allowed", "'glyphs' has no events");
    refused(changed("\"name\":\"glyphs\"",
                    "\"name\":\"somebodys\",\"frames\":{\"split_by\":\"duration\"}"),
            "/dataset/frames/duration_us", "missing", "");
    refused(changed("\"name\":\"glyphs\"",
                    "\"name\":\"somebodys\",\"frames\":{\"split_by\":\"time\",\"gaps\":\"skip\"}"),
            "/dataset/frames/gaps", "unknown_field", "belongs to split_by 'duration'");
    refused(changed("\"name\":\"glyphs\"", "\"name\":\"moving-glyphs\",\"encoder\":"
                                           "{\"type\":\"poisson\"}"),
            "/dataset/encoder/type", "not_allowed", "time of their own");
    cr_assert_eq(parse("{\"version\":1,\"time_steps\":3,\"dataset\":{\"name\":\"delayed-recall\"},"
                       "\"network\":{\"layers\":[{\"type\":\"linear\",\"out_features\":8}]}}", &s),
                 ERR_SPEC);
    cr_assert_str_eq(faults.items[0].pointer, "/time_steps");
    char *text = changed("\"name\":\"glyphs\"", "\"name\":\"moving-glyphs\"");
    cr_assert_eq(parse(text, &s), 0);
    mem_free(text);
    cJSON *json = spec_normalize(&s);
    const cJSON *frames = json_get(json_get(json, "dataset"), "frames");
    cr_assert_str_eq(json_get_string(frames, "split_by", ""), "number");
    cJSON_Delete(json);
    spec_deinit(&s);
    cr_assert_eq(parse(MINIMAL, &s), 0);
    json = spec_normalize(&s);
    cr_assert_null(json_get(json_get(json, "dataset"), "frames"));
    cJSON_Delete(json);
    spec_deinit(&s);
}

/* Goal: what is no object, no JSON or too long is refused with its own code. */
Test(spec_parse, texts_that_are_no_spec, .timeout = 5)
{
    struct spec s = { 0 };
    static const char *const values[] = { "null", "[]", "1", "\"x\"", "{}" };
    for (size_t i = 0; i < 5; i++) {
        cr_expect_eq(parse(values[i], &s), ERR_SPEC, "%s", values[i]);
        cr_expect_gt(faults.total, 0);
    }
    cr_expect_eq(parse("{", &s), ERR_SYNTAX);
    char *large = mem_alloc(SPEC_BYTES_MAX + 2);
    memset(large, ' ', SPEC_BYTES_MAX + 1);
    large[SPEC_BYTES_MAX + 1] = '\0';
    cr_expect_eq(parse(large, &s), ERR_TOO_LARGE);
    mem_free(large);
    spec_deinit(&s);
    spec_deinit(&s);
}

/* Goal: more faults than the list holds are counted, and the layers' limit is kept. */
Test(spec_parse, hostile_sizes_are_bounded, .timeout = 10)
{
    const size_t n = SPEC_LAYERS_MAX + 1, part = strlen("{\"type\":\"x\"},");
    char *layers = mem_alloc(n * part + 1);
    for (size_t i = 0; i < n; i++) memcpy(layers + i * part, "{\"type\":\"x\"},", part + 1);
    layers[n * part - 1] = '\0';
    refused(with_layers(layers), "/network/layers", "wrong_type", "2000 layers");
    layers[(n - 1) * part - 1] = '\0';
    char *text = with_layers(layers);
    struct spec s = { 0 };
    cr_expect_eq(parse(text, &s), ERR_SPEC);
    cr_expect(faults.count == JSON_FAULTS_MAX && faults.total == SPEC_LAYERS_MAX);
    mem_free(text);
    mem_free(layers);
}

/* Goal: whichever allocation fails, the parser says so and leaks nothing of ours. */
Test(spec_parse, memory_faults_are_reported, .timeout = 10)
{
    bool failed = true;
    size_t n = 1;
    for (; failed && n < 100; n++) {
        struct spec s = { 0 };
        mem_fail_after(n);
        const int rc = parse(MINIMAL, &s);
        mem_fail_after(0);
        failed = rc != 0;
        cr_expect(rc == 0 || rc == ERR_NOMEM, "allocation %zu: %s", n, fault.text);
        spec_deinit(&s);
    }
    cr_expect(n > 2 && n < 100);
}
