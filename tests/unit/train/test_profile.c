/* Profiles of trainings: whose time it was, what layers read, which paths their products took; when
 * a profile is said. A clock that moves by one millisecond with each reading makes times exact. */
#include "worker/train/profile.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "worker/monitor/monitor.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define LAYERS 9
#define CONV 3 /* fed by the spikes of layer 2; fit for Winograd */

/* Fields of "train". 12 steps an epoch. */
static const char *const spec_text =
    "{\"version\": 1, \"time_steps\": 4, \"dataset\": {\"name\": \"glyphs\", \"train_limit\": 192,"
    " \"test_limit\": 20, \"validation\": {\"fraction\": 0}}, \"monitors\": [], \"network\":"
    " {\"layers\": [{\"type\": \"conv2d\", \"out_channels\": 16, \"kernel_size\": 3, \"stride\": 2,"
    " \"bias\": false}, {\"type\": \"batch_norm\"}, {\"type\": \"neuron\", \"model\": \"plif\"},"
    " {\"type\": \"conv2d\", \"out_channels\": 16, \"kernel_size\": 3, \"padding\": 1},"
    " {\"type\": \"batch_norm\"}, {\"type\": \"neuron\", \"model\": \"if\"},"
    " {\"type\": \"max_pool2d\", \"kernel_size\": 2}, {\"type\": \"flatten\"},"
    " {\"type\": \"linear\", \"out_features\": 10}]},"
    " \"train\": {\"batch_size\": 16%s}}";

/* What a run said: its profiles. */
#define PROFILES_MAX 400
struct heard {
    cJSON *profiles[PROFILES_MAX];
    size_t n;
};

static int hear_record(void *ctx, const struct record *r, struct err *e)
{
    struct heard *h = ctx;
    static char text[1 << 16];
    size_t n = r->data_bytes;
    cr_assert_eq(r->kind, RECORD_PROFILE);
    cr_assert_str_eq(r->layer, "@net");
    cr_assert(r->n_dims == 1 && r->dims[0] == LAYERS && h->n < PROFILES_MAX);
    if (r->encoding == RECORD_ZSTD) n = ZSTD_decompress(text, sizeof text, r->data, n);
    else memcpy(text, r->data, n);
    cr_assert_lt(n, sizeof text);
    cr_assert_eq(json_parse(text, n, &h->profiles[h->n++], e), 0, "%s", e->text);
    return 0;
}

static void forget(struct heard *h)
{
    for (size_t i = 0; i < h->n; i++) cJSON_Delete(h->profiles[i]);
    h->n = 0;
}

struct world {
    struct spec spec;
    struct trainer t;
    struct monitors *monitors;
};

static struct world *world_make(const char *train, struct heard *h)
{
    char *text = mem_printf(spec_text, train);
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct world *w = mem_calloc(1, sizeof *w);
    struct err e = { 0 };
    log_set_level(LOG_ERROR);
    cr_assert_eq(spec_parse_text(text, strlen(text), &w->spec, faults, &e), 0, "%s %s",
                 faults->items[0].pointer, faults->items[0].detail);
    cr_assert_eq(monitors_create(&w->monitors, &w->spec, &e), 0);
    const struct trainer_options o = { .training = true,
                                       .threads = 1,
                                       .observer = monitors_observer(w->monitors),
                                       .output = { .ctx = h, .record = hear_record } };
    cr_assert_eq(trainer_init(&w->t, &w->spec, &o, &e), 0, "%s", e.text);
    mem_free(faults);
    mem_free(text);
    return w;
}

static void world_drop(struct world *w)
{
    monitors_destroy(w->monitors);
    trainer_deinit(&w->t);
    spec_deinit(&w->spec);
    mem_free(w);
}

/* Trains and leaves the profiles in h. */
static void run(const char *train, struct heard *h)
{
    struct world *w = world_make(train, h);
    struct trainer_result r;
    struct err e = { 0 };
    cr_assert_eq(trainer_run(&w->t, &r, &e), 0, "%s", e.text);
    world_drop(w);
}

static const cJSON *layer_of(const cJSON *profile, int i)
{
    const cJSON *list = json_get(profile, "layers");
    cr_assert_eq(cJSON_GetArraySize(list), LAYERS);
    return cJSON_GetArrayItem(list, i);
}

static void expect_text(const cJSON *o, const char *name, const char *want)
{
    cr_expect_str_eq(json_get_string(o, name, "nothing"), want, "%s: %s, not %s", name,
                     json_get_string(o, name, "nothing"), want);
}

static void step(struct world *w, struct profile *p)
{
    struct err e = { 0 };
    struct loss_result r;
    w->t.profile = p;
    const int64_t begin = profile_now(p);
    profile_begin(p, w->t.net);
    cr_assert_eq(trainer_update(&w->t, 16, &r, &e), 0, "%s", e.text);
    profile_end(p, w->t.net, begin);
    w->t.profile = NULL;
}

static void begin(struct world *w, struct profile *p)
{
    struct err e = { 0 };
    const struct tensor_desc *d;
    void *input = net_input_data(w->t.net, &d);
    batcher_begin(&w->t.batcher, &w->t.train, 0, true);
    batcher_fill(&w->t.batcher, &w->t.train, 0, 0, 16, true, d, input, w->t.labels);
    cr_assert_eq(profile_init(p, w->t.net, &e), 0);
}

/* ---- paths ----------------------------------------------------------------------------------- */
/* Goal: a profile tells the path that each product of a layer took, forced or free, and says
 * nothing of layers without a choice. */
Test(profile, paths_are_told_by_layer, .timeout = 60)
{
    static const struct {
        const char *path, *forward, *data, *weights;
        double events;
    } cases[] = { { "event", "event", "dense", "event", 1 },
                  { "dense", "dense", "dense", "dense", 0 },
                  { "winograd", "event", "winograd", "event", 1 },
                  { "auto", "event", NULL, "event", 1 } }; /* NULL: by shape alone */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct heard h = { 0 };
        setenv("SPIKED_PATH", cases[i].path, 1);
        run(", \"epochs\": 1", &h);
        cr_assert_gt(h.n, 0);
        const cJSON *conv = layer_of(h.profiles[0], CONV), *first = layer_of(h.profiles[0], 0),
                    *linear = layer_of(h.profiles[0], LAYERS - 1);
        expect_text(conv, "path", "3");
        expect_text(conv, "type", "conv2d");
        expect_text(conv, "forward_path", cases[i].forward);
        if (cases[i].data != NULL) expect_text(conv, "backward_data_path", cases[i].data);
        expect_text(conv, "backward_weights_path", cases[i].weights);
        cr_expect_eq(json_get_number(conv, "event_share", -1), cases[i].events);
        expect_text(first, "forward_path", "dense"); /* the input is a picture */
        expect_text(first, "backward_data_path", "nothing");
        cr_expect_eq(json_get_number(first, "event_share", -1), 0);
        const bool by_events = strcmp(json_get_string(linear, "forward_path", ""), "event") == 0;
        cr_expect_eq(by_events, cases[i].events > 0, "%s", cases[i].path);
        cr_expect_not_null(json_get(linear, "backward_data_path"));
        expect_text(layer_of(h.profiles[0], 2), "model", "plif");
        expect_text(layer_of(h.profiles[0], 2), "forward_path", "nothing");
        cr_expect_null(json_get(layer_of(h.profiles[0], 1), "event_share"));
        forget(&h);
    }
}

/* Goal: paths are those of the steps since the profile before; times go on. */
Test(profile, paths_are_of_the_newest_steps, .timeout = 60)
{
    struct heard h = { 0 };
    struct world *w = world_make("", &h);
    struct profile p;
    begin(w, &p);
    for (int steps = 0; steps < 2; steps++) {
        step(w, &p);
        cJSON *json = profile_json(&p, &w->t);
        cr_expect_eq(p.kernels[CONV].calls[KERNEL_conv_forward_events_bits], 1);
        expect_text(layer_of(json, CONV), "forward_path", "event");
        cr_expect_eq(json_get_int(json, "steps", 0), steps + 1);
        cJSON_Delete(json);
        profile_forget(&p);
        json = profile_json(&p, &w->t);
        expect_text(layer_of(json, CONV), "forward_path", "nothing");
        cr_expect_gt(json_get_number(layer_of(json, CONV), "backward_ms", 0), 0);
        cJSON_Delete(json);
    }
    profile_deinit(&p);
    world_drop(w);
}

/* Goal: every product of a convolution or linear layer has a form, and a kernel that is none has
 * none; forms are told by their names. */
Test(profile, every_product_has_a_form)
{
    size_t products = 0;
    for (size_t id = 0; id < KERNEL_ID_COUNT; id++) {
        const char *name = kernel_name(id);
        enum kernel_product product = PRODUCT_COUNT;
        const char *form = kernel_form(id, &product);
        const bool is = strncmp(name, "conv_", 5) == 0 || strncmp(name, "linear_", 7) == 0;
        cr_expect_eq(form != NULL, is, "%s", name);
        cr_expect(!is || product < PRODUCT_COUNT, "%s", name);
        cr_expect(strstr(name, "_events") == NULL || strcmp(form, "event") == 0, "%s: %s", name,
                  form);
        products += is;
    }
    cr_assert_gt(products, 15);
    static const struct {
        size_t id;
        const char *form;
        enum kernel_product product;
    } some[] = { { KERNEL_conv_forward_events_counts, "event", PRODUCT_FORWARD },
                 { KERNEL_conv_forward_bits, "dense", PRODUCT_FORWARD },
                 { KERNEL_conv_backward_data_winograd, "winograd", PRODUCT_BACKWARD_DATA },
                 { KERNEL_conv_backward_data_winograd_line, "winograd", PRODUCT_BACKWARD_DATA },
                 { KERNEL_conv_backward_weights_groups, "grouped", PRODUCT_BACKWARD_WEIGHTS },
                 { KERNEL_linear_backward_data, "dense", PRODUCT_BACKWARD_DATA } };
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        enum kernel_product product = PRODUCT_COUNT;
        cr_expect_str_eq(kernel_form(some[i].id, &product), some[i].form);
        cr_expect_eq(product, some[i].product);
    }
}

/* ---- time ------------------------------------------------------------------------------------ */
static int64_t clock_ms, clock_pace;
static int64_t tick(void) { return clock_ms += clock_pace; }

/* Goal: a step reads the clock twice for each pass of a layer and takes no memory; a layer has the
 * time between its readings, the whole step what lies between the first and the last. */
Test(profile, a_step_costs_two_readings_a_layer, .timeout = 60)
{
    struct heard h = { 0 };
    struct world *w = world_make("", &h);
    struct profile p;
    begin(w, &p);
    clock_override(tick, NULL);
    clock_pace = 1;
    step(w, &p);
    step(w, &p);
    cJSON *layers = profile_layers(&p, w->t.net);
    for (int i = 0; i < LAYERS; i++) {
        const cJSON *l = cJSON_GetArrayItem(layers, i);
        cr_expect_eq(json_get_number(l, "forward_ms", -1), 1, "layer %d", i);
        cr_expect_eq(json_get_number(l, "backward_ms", -1), 1, "layer %d", i);
    }
    cr_expect_eq(profile_last(&p, PROFILE_FORWARD), LAYERS);
    cr_expect_eq(profile_last(&p, PROFILE_BACKWARD), LAYERS);
    cr_expect_eq(profile_last(&p, PROFILE_OPTIMIZER), 1);
    /* Readings of the step: its two, two of the optimiser, two of each pass of a layer. */
    cr_expect_eq(profile_last(&p, PROFILE_STEP), 3 + 4 * LAYERS);
    cJSON_Delete(layers);
    const size_t before = mem_allocation_count();
    step(w, &p);
    cr_expect_eq(mem_allocation_count(), before);
    const int64_t at = clock_ms;
    step(w, NULL);
    cr_expect_eq(clock_ms, at, "without a profile the clock is read");
    clock_override(NULL, NULL);
    profile_deinit(&p);
    world_drop(w);
}

/* Goal: times are medians of the newest steps: one that was disturbed does not show, nor do those
 * that are long gone. */
Test(profile, times_are_medians_of_the_newest_steps, .timeout = 60)
{
    struct heard h = { 0 };
    struct world *w = world_make("", &h);
    clock_override(tick, NULL);
    clock_pace = 100;
    struct profile p;
    begin(w, &p);
    for (int i = 0; i < 10; i++) step(w, &p);
    for (int i = 0; i < PROFILE_STEPS_MAX; i++) {
        clock_pace = i == 20 ? 5000 : 3;
        step(w, &p);
    }
    cJSON *json = profile_json(&p, &w->t);
    cr_expect_eq(json_get_number(json, "forward_ms", -1), 3 * LAYERS);
    cr_expect_eq(json_get_number(layer_of(json, CONV), "backward_ms", -1), 3);
    cr_expect_eq(json_get_int(json, "steps", 0), PROFILE_STEPS_MAX);
    cr_expect_eq(json_get_int(json, "samples", 0), 16);
    cJSON_Delete(json);
    clock_override(NULL, NULL);
    profile_deinit(&p);
    world_drop(w);
}

/* ---- density --------------------------------------------------------------------------------- */
/* Goal: the density of a layer is the share of what it reads that is not zero: the rate of the
 * neurons before it, what a pool has made of it, nothing where floats come in. */
Test(profile, densities_are_those_of_the_last_batch, .timeout = 60)
{
    struct heard h = { 0 };
    struct world *w = world_make("", &h);
    struct profile p;
    begin(w, &p);
    step(w, &p);
    struct net *n = w->t.net;
    cJSON *layers = profile_layers(&p, n);
    const cJSON *conv = cJSON_GetArrayItem(layers, CONV), *lif = cJSON_GetArrayItem(layers, 2);
    const double rate = net_firing_rate(n, 2);
    cr_assert(rate > 0.01 && rate < 0.9, "%g", rate);
    cr_expect_float_eq(json_get_number(conv, "input_density", -1), rate, 1e-6);
    cr_expect_float_eq(json_get_number(lif, "firing_rate", -1), rate, 1e-6);
    cr_expect_null(json_get(cJSON_GetArrayItem(layers, 0), "input_density"));
    cr_expect_null(json_get(cJSON_GetArrayItem(layers, 1), "input_density"));
    const struct tensor_desc *d;
    const void *pooled = net_node_output(n, 6, &d);
    size_t events = 0;
    for (size_t i = 0; i < d->b * d->t * d->h * d->w * d->c; i++) {
        const size_t c = i % d->c, x = i / d->c % d->w, y = i / d->c / d->w % d->h,
                     t = i / d->c / d->w / d->h % d->t, b = i / d->c / d->w / d->h / d->t;
        events += tensor_get(d, pooled, b, t, c, y, x) != 0;
    }
    const double share = (double)events / (double)(d->b * d->t * d->h * d->w * d->c);
    cr_assert_gt(share, 0);
    for (int i = 7; i < LAYERS; i++)
        cr_expect_float_eq(json_get_number(cJSON_GetArrayItem(layers, i), "input_density", -1),
                           share, 1e-6);
    cJSON_Delete(layers);
    profile_deinit(&p);
    world_drop(w);
}

/* ---- when ------------------------------------------------------------------------------------ */
/* Goal: the first profile comes after ten steps that were measured, the last one with the last
 * step; what is validated and tested in between is nobody's time. */
Test(profile, a_short_run_has_one_soon_and_one_at_its_end, .timeout = 60)
{
    struct heard h = { 0 };
    run(", \"epochs\": 2", &h);
    cr_assert_eq(h.n, 2, "%zu profiles", h.n);
    cr_expect_eq(json_get_int(h.profiles[0], "step", 0), 11);
    cr_expect_eq(json_get_int(h.profiles[0], "steps", 0), 10);
    cr_expect_eq(json_get_int(h.profiles[0], "epoch", -1), 0);
    cr_expect_eq(json_get_int(h.profiles[1], "step", 0), 24);
    cr_expect_eq(json_get_int(h.profiles[1], "steps", 0), 23);
    cr_expect_gt(json_get_number(h.profiles[1], "data_ms", 0), 0);
    forget(&h);
    run(", \"epochs\": 1, \"max_steps\": 1", &h);
    cr_expect_eq(h.n, 0, "one step, met by cold memory");
}

/* Of profile i and the one before. */
static int64_t steps_between(const struct heard *h, size_t i)
{
    cr_assert(i > 0 && i < h->n);
    return json_get_int(h->profiles[i], "step", 0) - json_get_int(h->profiles[i - 1], "step", 0);
}

/* Goal: a run that goes on is profiled every ten seconds, not more often; one that goes on for long
 * once in a hundredth of its time. */
Test(profile, a_long_run_has_one_every_ten_seconds, .timeout = 60)
{
    struct heard h = { 0 };
    clock_override(tick, NULL);
    clock_pace = 60; /* a step reads the clock some forty times: 2.6 s */
    run(", \"epochs\": 3", &h);
    cr_assert(h.n >= 5 && h.n <= 9, "%zu profiles", h.n);
    for (size_t i = 1; i + 1 < h.n; i++) {
        const int64_t apart = steps_between(&h, i);
        cr_expect(apart >= 4 && apart <= 5, "%lld steps", (long long)apart);
    }
    forget(&h);
    clock_pace = 500; /* 22 s */
    run(", \"epochs\": 25", &h);
    clock_override(NULL, NULL);
    cr_expect_eq(steps_between(&h, 1), 1);
    cr_expect_eq(json_get_int(h.profiles[80], "step", 0), 91);
    const int64_t late = steps_between(&h, h.n - 2);
    cr_expect(late == 3 || late == 4, "%lld steps", (long long)late);
    forget(&h);
}
