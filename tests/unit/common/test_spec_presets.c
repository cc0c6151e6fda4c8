/* Presets: published parameter counts, names of SpikingJelly's classes, normal form, refusals. */
#include "common/mem.h"
#include "common/spec.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct json_faults faults;

static int parse(const char *dataset, int time_steps, const char *network, struct spec *s)
{
    struct err e = { 0 };
    char *text = mem_printf("{\"version\":1,\"monitors\":[],\"time_steps\":%d,\"dataset\":"
                            "{\"name\":\"%s\"},\"network\":{%s}}", time_steps, dataset, network);
    const int rc = spec_parse_text(text, strlen(text), s, &faults, &e);
    mem_free(text);
    return rc;
}

static struct spec good(const char *dataset, int time_steps, const char *network)
{
    struct spec s = { 0 };
    cr_assert_eq(parse(dataset, time_steps, network, &s), 0, "%s: %s: %s", network,
                 faults.items[0].pointer, faults.items[0].detail);
    return s;
}

static int64_t parameters_of(const struct spec *s, struct spec_shape in, int64_t classes)
{
    struct spec_shape *shapes = mem_calloc(s->n_layers, sizeof shapes[0]);
    int64_t total = 0;
    faults = (struct json_faults){ 0 };
    cr_assert(spec_shapes(s, in, classes, shapes, &faults));
    cr_assert_eq(faults.total, 0, "%s: %s", faults.items[0].pointer, faults.items[0].detail);
    for (size_t i = 0; i < s->n_layers; i++) {
        const size_t from = spec_layer_input(s->layers, i, 0);
        total += spec_layer_parameters(&s->layers[i], from == SPEC_INPUT ? in : shapes[from],
                                       s->time_steps);
    }
    mem_free(shapes);
    return total;
}

/* Of torchvision's ResNets and VGGs, whose convolutions and linear layers these are; of the papers'
 * networks by hand: layer widths of the papers, one w a PLIF layer, T*(T+1) a PSN layer. */
static const struct {
    const char *network;
    int time_steps;
    struct spec_shape in;
    int64_t classes, parameters;
} published[] = {
    { "\"preset\":\"sew_resnet\"", 4, { 3, 224, 224 }, 1000, 11689512 },
    { "\"preset\":\"sew_resnet\",\"depth\":34", 4, { 3, 224, 224 }, 1000, 21797672 },
    { "\"preset\":\"sew_resnet\",\"depth\":50", 4, { 3, 224, 224 }, 1000, 25557032 },
    { "\"preset\":\"sew_resnet\",\"depth\":101", 4, { 3, 224, 224 }, 1000, 44549160 },
    { "\"preset\":\"sew_resnet\",\"depth\":152", 4, { 3, 224, 224 }, 1000, 60192808 },
    { "\"preset\":\"spiking_resnet\"", 4, { 3, 224, 224 }, 1000, 11689512 },
    { "\"preset\":\"spiking_resnet\",\"depth\":34", 4, { 3, 224, 224 }, 1000, 21797672 },
    { "\"preset\":\"spiking_resnet\",\"depth\":50", 4, { 3, 224, 224 }, 1000, 25557032 },
    { "\"preset\":\"spiking_resnet\",\"depth\":101", 4, { 3, 224, 224 }, 1000, 44549160 },
    { "\"preset\":\"spiking_resnet\",\"depth\":152", 4, { 3, 224, 224 }, 1000, 60192808 },
    { "\"preset\":\"spiking_vgg\",\"batch_norm\":false", 4, { 3, 224, 224 }, 1000, 132863336 },
    { "\"preset\":\"spiking_vgg\"", 4, { 3, 224, 224 }, 1000, 132868840 },
    { "\"preset\":\"spiking_vgg\",\"depth\":13,\"batch_norm\":false", 4, { 3, 224, 224 }, 1000,
      133047848 },
    { "\"preset\":\"spiking_vgg\",\"depth\":16", 4, { 3, 224, 224 }, 1000, 138365992 },
    { "\"preset\":\"spiking_vgg\",\"depth\":19,\"batch_norm\":false", 4, { 3, 224, 224 }, 1000,
      143667240 },
    { "\"preset\":\"plif_mnist\"", 8, { 1, 28, 28 }, 10, 13201128 },
    { "\"preset\":\"plif_mnist\",\"bias\":false", 8, { 1, 28, 28 }, 10, 13198980 },
    { "\"preset\":\"plif_fashion_mnist\"", 8, { 1, 28, 28 }, 10, 13201128 },
    { "\"preset\":\"plif_nmnist\"", 10, { 2, 34, 34 }, 10, 17134440 },
    { "\"preset\":\"plif_cifar10\"", 8, { 3, 32, 32 }, 10, 36720492 },
    { "\"preset\":\"plif_cifar10_dvs\"", 20, { 2, 128, 128 }, 10, 4691818 },
    { "\"preset\":\"plif_dvs_gesture\"", 20, { 2, 128, 128 }, 11, 1698933 },
    { "\"preset\":\"sew_7b\"", 16, { 2, 128, 128 }, 11, 130426 },
    { "\"preset\":\"wide_7b\"", 16, { 2, 128, 128 }, 10, 1192218 },
    { "\"preset\":\"psn_cifar10\"", 4, { 3, 32, 32 }, 10, 70113174 },
    { "\"preset\":\"psn_sequential_cifar\"", 32, { 3, 1, 32 }, 10, 520810 },
};
#define PUBLISHED (sizeof published / sizeof published[0])

static struct spec published_spec(size_t i)
{
    char network[200];
    (void)snprintf(network, sizeof network, "%s,\"classes\":%lld", published[i].network,
                   (long long)published[i].classes);
    return good("some-folder", published[i].time_steps, network);
}

/* Goal: every preset fits the data of its paper and has the published number of parameters. */
Test(spec_presets, parameters_are_the_published_ones, .timeout = 10)
{
    for (size_t i = 0; i < PUBLISHED; i++) {
        struct spec s = published_spec(i);
        cr_expect_eq(parameters_of(&s, published[i].in, published[i].classes),
                     published[i].parameters, "%s", published[i].network);
        spec_deinit(&s);
    }
}

/* ---- names ----------------------------------------------------------------------------------- */
/* Every path of layers with a number behind it: groups[], each prefix + 0, 1, ... */
static void expect_paths(const struct spec *s, const char *const *want, size_t n)
{
    for (size_t i = 0; i < s->n_layers && i < n; i++) cr_expect_str_eq(s->layers[i].path, want[i]);
    cr_expect_eq(s->n_layers, n);
}

static size_t add_path(char paths[][64], size_t n, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static size_t add_path(char paths[][64], size_t n, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(paths[n], 64, fmt, args);
    va_end(args);
    return n + 1;
}

static size_t block_paths(char paths[][64], size_t n, int stage, int i, int convs, bool down,
                          bool sew)
{
    for (int k = 1; k <= convs; k++) {
        n = add_path(paths, n, "layer%d.%d.conv%d", stage, i, k);
        n = add_path(paths, n, "layer%d.%d.bn%d", stage, i, k);
        if (k < convs || sew) n = add_path(paths, n, "layer%d.%d.sn%d", stage, i, k);
    }
    if (down) n = add_path(paths, n, "layer%d.%d.downsample.0", stage, i);
    if (down) n = add_path(paths, n, "layer%d.%d.downsample.1", stage, i);
    if (down && sew) n = add_path(paths, n, "layer%d.%d.downsample_sn", stage, i);
    n = add_path(paths, n, "layer%d.%d", stage, i);
    if (!sew) n = add_path(paths, n, "layer%d.%d.sn%d", stage, i, convs);
    return n;
}

/* Goal: paths of residual networks are those of SEWResNet and SpikingResNet, all of them. */
Test(spec_presets, residual_networks_have_the_classes_names, .timeout = 10)
{
    static const int stages[2][4] = { { 2, 2, 2, 2 }, { 3, 4, 6, 3 } };
    for (int kind = 0; kind < 4; kind++) {
        const bool sew = kind % 2 == 0, deep = kind >= 2;
        char network[100], paths[400][64];
        (void)snprintf(network, sizeof network, "\"preset\":\"%s\",\"depth\":%d,\"classes\":10",
                       sew ? "sew_resnet" : "spiking_resnet", deep ? 50 : 18);
        struct spec s = good("x", 4, network);
        size_t n = add_path(paths, 0, "conv1");
        n = add_path(paths, n, "bn1");
        n = add_path(paths, n, "sn1");
        n = add_path(paths, n, "maxpool");
        for (int stage = 1; stage <= 4; stage++)
            for (int i = 0; i < stages[deep][stage - 1]; i++)
                n = block_paths(paths, n, stage, i, deep ? 3 : 2, i == 0 && (stage > 1 || deep),
                                sew);
        n = add_path(paths, n, "avgpool");
        n = add_path(paths, n, "flatten");
        n = add_path(paths, n, "fc");
        const char *want[400];
        for (size_t i = 0; i < n; i++) want[i] = paths[i];
        expect_paths(&s, want, n);
        spec_deinit(&s);
    }
}

/* Goal: the other presets have the numbers that PyTorch's Sequential gives in their classes. */
Test(spec_presets, lists_have_the_classes_numbers, .timeout = 10)
{
    static const char *const mnist[] = { "conv2d",     "batch_norm", "neuron",  "max_pool2d",
                                         "conv2d",     "batch_norm", "neuron",  "max_pool2d",
                                         "flatten",    "dropout",    "linear",  "neuron",
                                         "dropout",    "linear",     "neuron",  "voting" };
    struct spec s = good("mnist", 8, "\"preset\":\"plif_mnist\"");
    cr_assert_eq(s.n_layers, 16);
    for (size_t i = 0; i < 16; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "conv_fc.%zu", i);
        cr_expect_str_eq(s.layers[i].path, path);
        cr_expect_str_eq(spec_layer_type_name(s.layers[i].type), mnist[i], "%s", path);
    }
    size_t models;
    cr_expect_str_eq(spec_neuron_models(&models)[s.layers[2].u.neuron.model].name, "plif");
    cr_expect_eq(s.layers[2].u.neuron.v_reset, 0);
    spec_deinit(&s);
    static const char *const seven[] = {
        "conv.0.0.0",        "conv.0.0.1",        "conv.0.1",        "conv.1.conv.0.0.0",
        "conv.1.conv.0.0.1", "conv.1.conv.0.1",   "conv.1.conv.1.0.0", "conv.1.conv.1.0.1",
        "conv.1.conv.1.1",   "conv.1",            "conv.2",          "conv.3.conv.0.0.0",
    };
    s = good("x", 16, "\"preset\":\"sew_7b\",\"classes\":11");
    for (size_t i = 0; i < 12; i++) cr_expect_str_eq(s.layers[i].path, seven[i]);
    cr_expect_str_eq(s.layers[s.n_layers - 2].path, "conv.15");
    cr_expect_str_eq(s.layers[s.n_layers - 1].path, "out");
    spec_deinit(&s);
    s = good("x", 4, "\"preset\":\"psn_cifar10\",\"classes\":10");
    cr_expect_str_eq(s.layers[19].path, "conv.19");
    cr_expect_str_eq(s.layers[s.n_layers - 3].path, "fc.1");
    cr_expect_str_eq(s.layers[s.n_layers - 1].path, "fc.3");
    spec_deinit(&s);
    s = good("x", 4, "\"preset\":\"spiking_vgg\",\"classes\":10");
    cr_expect_str_eq(s.layers[0].path, "features.0");
    cr_expect_str_eq(s.layers[28].path, "features.28"); /* the last pool of vgg11_bn */
    cr_expect_str_eq(s.layers[29].path, "avgpool");
    cr_expect_str_eq(s.layers[s.n_layers - 1].path, "classifier.6");
    spec_deinit(&s);
}

/* ---- normal form ----------------------------------------------------------------------------- */
/* Goal: the normal form of a preset is its list; reading that gives the same layers and hash. */
Test(spec_presets, normal_form_is_the_list, .timeout = 20)
{
    for (size_t i = 0; i < PUBLISHED; i++) {
        struct spec a = published_spec(i), b = { 0 };
        struct err e = { 0 };
        cJSON *json = spec_normalize(&a);
        cr_assert_null(json_get(json_get(json, "network"), "preset"));
        cr_assert_eq(spec_parse(json, &b, &faults, &e), 0, "%s: %s", published[i].network,
                     faults.items[0].detail);
        cJSON *again = spec_normalize(&b);
        cr_expect(cJSON_Compare(json, again, true), "%s", published[i].network);
        cr_assert_eq(a.n_layers, b.n_layers);
        for (size_t k = 0; k < a.n_layers; k++) {
            cr_expect_str_eq(a.layers[k].path, b.layers[k].path);
            cr_expect_arr_eq(a.layers[k].inputs, b.layers[k].inputs, sizeof a.layers[k].inputs);
        }
        uint8_t x[DIGEST_BYTES], y[DIGEST_BYTES];
        cr_assert(spec_result_hash(&a, x, &e) == 0 && spec_result_hash(&b, y, &e) == 0);
        cr_expect_arr_eq(x, y, DIGEST_BYTES);
        cJSON_Delete(json);
        cJSON_Delete(again);
        spec_deinit(&a);
        spec_deinit(&b);
    }
}

/* Goal: network.neuron lies on top of the preset's neuron, and reaches every neuron. */
Test(spec_presets, neurons_can_be_changed, .timeout = 5)
{
    struct spec s = good("glyphs", 4, "\"preset\":\"sew_resnet\",\"stem\":\"cifar\",\"width\":8,"
                                      "\"neuron\":{\"model\":\"psn\",\"surrogate\":\"sigmoid\"}");
    size_t models, kinds, seen = 0;
    for (size_t i = 0; i < s.n_layers; i++) {
        if (s.layers[i].type != SPEC_NEURON) continue;
        seen++;
        const struct spec_neuron *n = &s.layers[i].u.neuron;
        cr_expect_str_eq(spec_neuron_models(&models)[n->model].name, "psn");
        cr_expect_str_eq(spec_surrogate_kinds(&kinds)[n->surrogate.kind].name, "sigmoid");
    }
    cr_expect_eq(seen, 1 + 8 * 2 + 3);
    spec_deinit(&s);
}

/* ---- refusals -------------------------------------------------------------------------------- */
/* Goal: what is no preset, or does not belong to it, is refused with its pointer. */
Test(spec_presets, faults_have_pointers, .timeout = 5)
{
    static const struct {
        const char *dataset, *network, *pointer, *code, *detail;
    } cases[] = {
        { "glyphs", "\"preset\":\"sew_resnt\"", "/network/preset", "not_allowed",
          "did you mean 'sew_resnet'?" },
        { "glyphs", "\"preset\":\"sew_resnet\",\"depth\":20", "/network/depth", "not_allowed",
          "18, 34, 50, 101 or 152" },
        { "glyphs", "\"preset\":\"spiking_vgg\",\"depth\":18", "/network/depth", "not_allowed",
          "11, 13, 16 or 19" },
        { "glyphs", "\"preset\":\"sew_resnet\",\"layers\":[]", "/network/layers", "unknown_field",
          "" },
        { "glyphs", "\"preset\":\"spiking_resnet\",\"connect\":\"add\"", "/network/connect",
          "unknown_field", "belongs to preset" },
        { "x", "\"preset\":\"plif_mnist\"", "/network/classes", "not_allowed", "say how many" },
        { "glyphs", "\"preset\":\"plif_mnist\",\"neuron\":{\"model\":\"if\",\"tau\":2}",
          "/network/neuron/tau", "unknown_field", "" },
        { "glyphs", "\"preset\":\"sew_7b\"", "/network/preset", "bad_shape",
          "layer conv.10: kernel_size must be at most 1, got 2" },
        { "glyphs", "\"preset\":\"plif_mnist\",\"classes\":9", "/network/classes", "bad_shape",
          "must be the 10 classes of the dataset, got 9" },
        { "glyphs", "\"preset\":\"sew_resnet\",\"classes\":1000", "/network/classes", "bad_shape",
          "must be the 10 classes of the dataset, got 1000" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec s = { 0 };
        cr_expect_eq(parse(cases[i].dataset, 4, cases[i].network, &s), ERR_SPEC, "%s",
                     cases[i].network);
        const struct json_fault *f = &faults.items[0];
        cr_expect_eq(faults.total, 1, "%s: %zu faults", cases[i].network, faults.total);
        cr_expect_str_eq(f->pointer, cases[i].pointer);
        cr_expect_str_eq(f->code, cases[i].code, "%s: %s", cases[i].network, f->detail);
        cr_expect_not_null(strstr(f->detail, cases[i].detail), "%s", f->detail);
    }
}

/* Goal: memory that runs out while a preset is resolved gives ERR_NOMEM and leaks nothing. */
Test(spec_presets, memory_faults_are_reported, .timeout = 10)
{
    static const char *const presets[] = { "sew_7b", "sew_resnet", "spiking_vgg", "psn_cifar10",
                                           "plif_mnist" };
    for (size_t p = 0; p < sizeof presets / sizeof presets[0]; p++) {
        char text[200];
        (void)snprintf(text, sizeof text, "{\"version\":1,\"dataset\":{\"name\":\"x\"},\"network\":"
                       "{\"preset\":\"%s\",\"classes\":10}}", presets[p]);
        int rc = ERR_NOMEM;
        for (size_t k = 1; rc != 0 && k < 200; k++) {
            struct spec s = { 0 };
            struct err e = { 0 };
            mem_fail_after(k);
            rc = spec_parse_text(text, strlen(text), &s, &faults, &e);
            mem_fail_after(0);
            cr_expect(rc == 0 || rc == ERR_NOMEM, "allocation %zu: %s", k, e.text);
            spec_deinit(&s);
        }
        cr_expect_eq(rc, 0, "never succeeded");
    }
}
