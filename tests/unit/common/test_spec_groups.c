/* Groups of layers in a spec: residuals, lists with a name, blocks; paths, inputs, normal form. */
#include "common/mem.h"
#include "common/spec.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct json_faults faults;

/* A spec of these layers for 1 x 28 x 28 glyphs, or for a folder of unknown shape. */
static int parse_with(const char *dataset, const char *layers, struct spec *s)
{
    struct err e = { 0 };
    char *text = mem_printf("{\"version\":1,\"monitors\":[],\"dataset\":{\"name\":\"%s\"},"
                            "\"network\":{\"neuron\":{\"model\":\"if\"},\"layers\":[%s]}}",
                            dataset, layers);
    const int rc = spec_parse_text(text, strlen(text), s, &faults, &e);
    mem_free(text);
    return rc;
}

static struct spec good(const char *layers)
{
    struct spec s = { 0 };
    cr_assert_eq(parse_with("some-folder", layers, &s), 0, "%s: %s", faults.items[0].pointer,
                 faults.items[0].detail);
    return s;
}

static char *normal_layers(const struct spec *s)
{
    cJSON *json = spec_normalize(s);
    char *text = json_print(json_get(json_get(json, "network"), "layers"), NULL);
    cJSON_Delete(json);
    return text;
}

/* Path and inputs of every layer, "path<input,input" or "path<-" for the net's own input. */
static void expect_graph(const struct spec *s, const char *want)
{
    char *got = mem_printf("%s", "");
    for (size_t i = 0; i < s->n_layers; i++) {
        char *more = mem_printf("%s%s%s<", got, i > 0 ? " " : "", s->layers[i].path);
        for (size_t k = 0; k < s->layers[i].n_inputs; k++) {
            const size_t from = s->layers[i].inputs[k];
            char *next = from == SPEC_INPUT ? mem_printf("%s%s-", more, k > 0 ? "," : "")
                                            : mem_printf("%s%s%zu", more, k > 0 ? "," : "", from);
            mem_free(more);
            more = next;
        }
        mem_free(got);
        got = more;
    }
    cr_expect_str_eq(got, want);
    mem_free(got);
}

#define CONV "{\"type\":\"conv2d\",\"out_channels\":4,\"kernel_size\":3,\"padding\":1}"
#define NEURON "{\"type\":\"neuron\"}"

/* Goal: a body adds nothing to a path, a shortcut is called downsample, names replace numbers; the
 * node where they meet reads both and has the residual's own path. */
Test(spec_groups, paths_and_inputs_of_a_residual, .timeout = 5)
{
    struct spec s = good(CONV ",{\"type\":\"residual\",\"name\":\"r\",\"connect\":\"iand\","
                              "\"body\":[" CONV ",{\"type\":\"neuron\",\"name\":\"sn\"}],"
                              "\"shortcut\":[" CONV "]}," NEURON
                              ",{\"type\":\"residual\",\"body\":[" CONV "]}");
    expect_graph(&s, "0<- r.0<0 r.sn<1 r.downsample.0<0 r<2,3 2<4 3.0<5 3<6,5");
    cr_expect_eq(s.layers[4].type, SPEC_RESIDUAL);
    cr_expect_eq(s.layers[4].u.residual.connect, SPEC_IAND);
    cr_expect_str_eq(s.layers[3].pointer, "/network/layers/1/shortcut/0");
    spec_deinit(&s);
}

/* Goal: groups nest; a residual may begin with a residual, and lists with names join with dots. */
Test(spec_groups, groups_nest, .timeout = 5)
{
    struct spec s =
        good("{\"type\":\"sequential\",\"name\":\"layer1\",\"body\":[{\"type\":\"residual\","
             "\"body\":[{\"type\":\"residual\",\"body\":[" CONV "]}]}]}," NEURON);
    expect_graph(&s, "layer1.0.0.0<- layer1.0.0<0,- layer1.0<1,- 1<2");
    spec_deinit(&s);
}

/* Goal: the layers of a block have the names of SpikingJelly's classes; the downsample path comes
 * where stride or channels change; a spiking block fires after the sum. */
Test(spec_groups, blocks_are_resolved, .timeout = 5)
{
    struct spec s = good(CONV ",{\"type\":\"sew_block\",\"out_channels\":4},{\"type\":"
                              "\"spiking_block\",\"out_channels\":4,\"stride\":2}");
    expect_graph(&s, "0<- 1.conv1<0 1.bn1<1 1.sn1<2 1.conv2<3 1.bn2<4 1.sn2<5 1<6,0 "
                     "2.conv1<7 2.bn1<8 2.sn1<9 2.conv2<10 2.bn2<11 2.downsample.0<7 "
                     "2.downsample.1<13 2<12,14 2.sn2<15");
    cr_expect_eq(s.layers[8].u.conv2d.stride[0], 2);
    cr_expect_eq(s.layers[13].u.conv2d.stride[1], 2);
    spec_deinit(&s);
    s = good(CONV ",{\"type\":\"sew_block\",\"style\":\"bottleneck\",\"out_channels\":2,\"stride\":"
                  "2,\"neuron\":{\"model\":\"plif\"}}");
    expect_graph(&s, "0<- 1.conv1<0 1.bn1<1 1.sn1<2 1.conv2<3 1.bn2<4 1.sn2<5 1.conv3<6 1.bn3<7 "
                     "1.sn3<8 1.downsample.0<0 1.downsample.1<10 1.downsample_sn<11 1<9,12");
    static const int64_t channels[] = { 2, 2, 8 }, stride[] = { 1, 2, 1 }, size[] = { 1, 3, 1 };
    for (size_t i = 0; i < 3; i++) {
        const struct spec_conv2d *c = &s.layers[1 + 3 * i].u.conv2d;
        cr_expect(c->out_channels == channels[i] && c->stride[0] == stride[i] && !c->bias);
        cr_expect(c->kernel_size[1] == size[i] && c->padding[1] == size[i] / 2);
    }
    size_t n;
    cr_expect_str_eq(spec_neuron_models(&n)[s.layers[12].u.neuron.model].name, "plif");
    spec_deinit(&s);
}

/* Goal: multi-dimensional attention is its three parts in their order, those that are wanted, and a
 * relu; parts have its fields and their own parameters. */
Test(spec_groups, attention_is_resolved, .timeout = 5)
{
    static const struct {
        const char *fields, *graph;
        int64_t parameters;
    } cases[] = {
        { "", "0<- 1.ta<0 1.ca<1 1.sa<2 1.relu<3", 2 * 6 * 3 + 2 * 4 * 2 + 2 * 9 },
        { ",\"reduction_t\":6,\"reduction_c\":4,\"kernel_size\":7",
          "0<- 1.ta<0 1.ca<1 1.sa<2 1.relu<3", 2 * 6 + 2 * 4 + 2 * 49 },
        { ",\"temporal\":false", "0<- 1.ca<0 1.sa<1 1.relu<2", 2 * 4 * 2 + 2 * 9 },
        { ",\"channel\":false", "0<- 1.ta<0 1.sa<1 1.relu<2", 2 * 6 * 3 + 2 * 9 },
        { ",\"temporal\":false,\"channel\":false,\"kernel_size\":5", "0<- 1.sa<0 1.relu<1",
          2 * 25 },
    };
    const struct spec_shape in = { 4, 8, 8 };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = mem_printf(CONV ",{\"type\":\"multi_dimensional_attention\"%s}",
                                cases[i].fields);
        struct spec s = good(text);
        expect_graph(&s, cases[i].graph);
        int64_t parameters = 0;
        for (size_t k = 1; k < s.n_layers; k++)
            parameters += spec_layer_parameters(&s.layers[k], in, 6);
        cr_expect_eq(parameters, cases[i].parameters, "%s: %lld", cases[i].fields,
                     (long long)parameters);
        cr_expect_eq(s.layers[s.n_layers - 1].type, SPEC_RELU);
        spec_deinit(&s);
        mem_free(text);
    }
}

/* Goal: the normal form nests as it was written, is a fixed point, and has the same hash. */
Test(spec_groups, normal_form_is_a_fixed_point, .timeout = 5)
{
    static const char layers[] =
        CONV ",{\"type\":\"sequential\",\"body\":[{\"type\":\"sew_block\",\"name\":\"b\","
             "\"out_channels\":8,\"connect\":\"and\",\"neuron\":{\"v_threshold\":0.5}},"
             "{\"type\":\"residual\",\"body\":[{\"type\":\"residual\",\"body\":[" CONV
             "],\"shortcut\":[" CONV "]}," CONV "],\"shortcut\":[{\"type\":\"sequential\","
             "\"body\":[" CONV "," NEURON "]}]}]},{\"type\":\"spiking_block\",\"out_channels\":4,"
             "\"downsample\":\"yes\"},{\"type\":\"multi_dimensional_attention\",\"channel\":false,"
             "\"reduction_t\":3}";
    struct spec a = good(layers);
    char *once = normal_layers(&a);
    cr_expect_not_null(strstr(once, "\"v_threshold\":0.5"));
    cr_expect_null(strstr(once, "conv1"), "a block is written as a block");
    struct spec b = { 0 };
    char *inside = mem_printf("%.*s", (int)strlen(once) - 2, once + 1);
    cr_assert_eq(parse_with("some-folder", inside, &b), 0, "%s", faults.items[0].detail);
    char *twice = normal_layers(&b);
    cr_expect_str_eq(twice, once);
    cr_assert_eq(a.n_layers, b.n_layers);
    for (size_t i = 0; i < a.n_layers; i++) {
        cr_expect_str_eq(a.layers[i].path, b.layers[i].path);
        cr_expect_arr_eq(a.layers[i].inputs, b.layers[i].inputs, sizeof a.layers[i].inputs);
    }
    uint8_t x[DIGEST_BYTES], y[DIGEST_BYTES];
    struct err e = { 0 };
    cr_assert(spec_result_hash(&a, x, &e) == 0 && spec_result_hash(&b, y, &e) == 0);
    cr_expect_arr_eq(x, y, DIGEST_BYTES);
    mem_free(once);
    mem_free(twice);
    mem_free(inside);
    spec_deinit(&a);
    spec_deinit(&b);
}

/* Goal: shapes of branches are compared at submission, where the data's shape is known. */
Test(spec_groups, impossible_groups_are_refused, .timeout = 5)
{
#define TAIL ",{\"type\":\"flatten\"},{\"type\":\"linear\",\"out_features\":10}"
    static const struct {
        const char *dataset, *layers, *pointer, *code, *detail;
    } cases[] = {
        { "glyphs", "{\"type\":\"residual\",\"body\":[" CONV "]}" TAIL, "/network/layers/0",
          "bad_shape", "the body gives 4x28x28, the shortcut 1x28x28" },
        { "glyphs", "{\"type\":\"sew_block\",\"out_channels\":4,\"downsample\":\"no\"}" TAIL,
          "/network/layers/0/downsample", "bad_shape", "shortcut 1x28x28" },
        { "glyphs", "{\"type\":\"flatten\"},{\"type\":\"residual\",\"body\":[{\"type\":\"linear\","
                    "\"out_features\":784}]}" TAIL,
          "/network/layers/1", "bad_shape", "only one of the branches" },
        { "x", "{\"type\":\"sew_block\",\"out_channels\":4}", "/network/layers/0/downsample",
          "bad_shape", "not known yet" },
        { "x", CONV ",{\"type\":\"multi_dimensional_attention\",\"temporal\":false,"
                    "\"channel\":false,\"spatial\":false}",
          "/network/layers/1", "not_allowed", "no attention is left" },
        { "x", CONV ",{\"type\":\"multi_dimensional_attention\",\"reduction\":2}",
          "/network/layers/1/reduction", "unknown_field", "belongs to type" },
        { "glyphs", CONV ",{\"type\":\"multi_dimensional_attention\",\"reduction_t\":5}" TAIL,
          "/network/layers/1/reduction_t", "bad_shape", "must be at most the 4 time-steps, got 5" },
        { "glyphs", CONV ",{\"type\":\"multi_dimensional_attention\",\"reduction_c\":5}" TAIL,
          "/network/layers/1/reduction_c", "bad_shape", "must be at most the 4 channels, got 5" },
        { "glyphs", CONV ",{\"type\":\"multi_dimensional_attention\",\"kernel_size\":4}" TAIL,
          "/network/layers/1/kernel_size", "bad_shape", "must be odd, got 4" },
        { "x", "{\"type\":\"residual\"}", "/network/layers/0/body", "missing", "" },
        { "x", CONV ",{\"type\":\"flatten\"},{\"type\":\"sew_block\",\"out_channels\":4}",
          "/network/layers/2/downsample", "bad_shape", "not known yet" },
        { "x", "{\"type\":\"residual\",\"body\":[]}", "/network/layers/0/body", "wrong_type",
          "1 or more" },
        { "x", "{\"type\":\"sequential\",\"body\":[" CONV ",{\"type\":\"conv2\"}]}",
          "/network/layers/0/body/1/type", "not_allowed", "conv2d" },
        { "x", "{\"type\":\"residual\",\"connect\":\"xor\",\"body\":[" CONV "]}",
          "/network/layers/0/connect", "not_allowed", "iand_swapped" },
        { "x", "{\"type\":\"sequential\",\"body\":[" CONV "],\"shortcut\":[]}",
          "/network/layers/0/shortcut", "unknown_field", "" },
        { "x", CONV ",{\"type\":\"sew_block\",\"out_channels\":4,\"neuron\":{\"tau\":2}}",
          "/network/layers/1/neuron/tau", "unknown_field", "model 'if'" },
        { "x", "{\"type\":\"residual\",\"name\":\"a\",\"body\":[{\"type\":\"sequential\",\"name\":"
               "\"downsample\",\"body\":[" CONV "]}],\"shortcut\":[" CONV "]}",
          "/network/layers/0/shortcut/0/name", "duplicate", "a.downsample.0" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec s = { 0 };
        cr_expect_eq(parse_with(cases[i].dataset, cases[i].layers, &s), ERR_SPEC, "case %zu", i);
        const struct json_fault *f = &faults.items[0];
        cr_expect_eq(faults.total, 1, "case %zu: %zu faults", i, faults.total);
        cr_expect_str_eq(f->pointer, cases[i].pointer, "case %zu", i);
        cr_expect_str_eq(f->code, cases[i].code, "case %zu", i);
        cr_expect_not_null(strstr(f->detail, cases[i].detail), "case %zu: %s", i, f->detail);
    }
}

/* Goal: what nests too deep, is too long or too much is refused, not cut. */
Test(spec_groups, bounds_hold, .timeout = 20)
{
    struct spec s = { 0 };
    char *layers = mem_printf(CONV);
    for (int i = 0; i < 9; i++) {
        char *outer = mem_printf("{\"type\":\"sequential\",\"body\":[%s]}", layers);
        mem_free(layers);
        layers = outer;
        const int rc = parse_with("x", layers, &s);
        cr_expect_eq(rc, i < 8 ? 0 : ERR_SPEC, "%d groups", i + 1);
        cr_expect(rc == 0 || strcmp(faults.items[0].code, "too_long") == 0);
        if (rc == 0) spec_deinit(&s);
    }
    mem_free(layers);
    char name[100] = { 0 };
    memset(name, 'n', sizeof name - 1);
    layers = mem_printf("{\"type\":\"sequential\",\"name\":\"%s\",\"body\":[{\"type\":\"flatten\","
                        "\"name\":\"%s\"}]}", name, name);
    cr_expect_eq(parse_with("x", layers, &s), ERR_SPEC);
    cr_expect_str_eq(faults.items[0].pointer, "/network/layers/0/body/0/name");
    mem_free(layers);
    layers = mem_printf(CONV);
    for (int i = 0; i < 300; i++) { /* seven layers each */
        char *more = mem_printf("%s,{\"type\":\"sew_block\",\"out_channels\":4}", layers);
        mem_free(layers);
        layers = more;
    }
    cr_expect_eq(parse_with("x", layers, &s), ERR_SPEC);
    cr_expect_eq(faults.total, 1);
    cr_expect_not_null(strstr(faults.items[0].detail, "2000 layers"), "%s", faults.items[0].detail);
    mem_free(layers);
}

/* Goal: memory that runs out anywhere gives ERR_NOMEM, nothing leaks and nothing is written. */
Test(spec_groups, memory_faults_are_reported, .timeout = 10)
{
    static const char text[] =
        "{\"version\":1,\"monitors\":[],\"dataset\":{\"name\":\"glyphs\"},\"network\":{\"layers\":["
        "{\"type\":\"sew_block\",\"out_channels\":4},{\"type\":\"residual\",\"body\":[" NEURON "]}"
        TAIL "]}}";
    for (size_t k = 1; k < 200; k++) {
        struct spec s = { 0 };
        struct err e = { 0 };
        mem_fail_after(k);
        const int rc = spec_parse_text(text, sizeof text - 1, &s, &faults, &e);
        mem_fail_after(0);
        if (rc == 0) {
            cr_expect_gt(k, 3);
            spec_deinit(&s);
            return;
        }
        cr_expect_eq(rc, (int)ERR_NOMEM, "allocation %zu: %s", k, e.text);
        cr_expect_null(s.layers);
    }
    cr_assert_fail("never succeeded");
}
