/* Monitors during whole trainings: rates count the samples there were, a series has one point a
 * step, and an attempt that goes on says nothing twice. */
#include "worker/monitor/monitor.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#define POINTS_MAX 4000

/* %s: further top-level fields, dataset */
static const char *const spec_text =
    "{\"version\": 1, %s \"time_steps\": 3, \"dataset\": {\"name\": \"%s\", \"train_limit\":"
    " 150, \"test_limit\": 45}, \"network\": {\"layers\": [{\"type\": \"flatten\"},"
    " {\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 10},"
    " {\"type\": \"neuron\", \"model\": \"lif\"}]},"
    " \"train\": {\"epochs\": 2, \"batch_size\": 32, \"optimizer\": {\"type\": \"sgd\","
    " \"lr\": 0.001}}}";

struct said {
    char series[40];
    uint64_t step;
    double value;
};
/* What a run said, as a daemon would keep it. */
struct heard {
    struct said points[POINTS_MAX];
    size_t n;
    size_t records[RECORD_PROFILE + 1]; /* by kind */
    struct record input;              /* the last of its kind, data gone */
    unsigned long long input_bytes;   /* of it, not compressed */
    const char *fail_at;              /* series whose point cannot be written; NULL = none */
    double samples_per_s;
};

static int hear_points(void *ctx, const struct wire_series *series, size_t n, struct err *e)
{
    struct heard *h = ctx;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < series[i].n_points; j++) {
            if (h->fail_at != NULL && strcmp(series[i].name, h->fail_at) == 0)
                return err_set(e, ERR_IO, "no room");
            cr_assert(h->n < POINTS_MAX);
            struct said *s = &h->points[h->n++];
            (void)snprintf(s->series, sizeof s->series, "%s", series[i].name);
            s->step = series[i].points[j].step;
            s->value = series[i].points[j].value;
        }
    return 0;
}

static int hear_record(void *ctx, const struct record *r, struct err *e)
{
    struct heard *h = ctx;
    (void)e;
    h->records[r->kind]++;
    if (r->kind != RECORD_INPUT) return 0;
    h->input = *r;
    h->input_bytes = r->encoding == RECORD_ZSTD ? ZSTD_getFrameContentSize(r->data, r->data_bytes)
                                                : r->data_bytes;
    return 0;
}

static void hear_progress(void *ctx, const struct train_progress *p)
{
    ((struct heard *)ctx)->samples_per_s = p->samples_per_s;
}

/* As the daemon does at hello: later points are cut. */
static void cut(struct heard *h, uint64_t resume_step)
{
    size_t kept = 0;
    for (size_t i = 0; i < h->n; i++)
        if (h->points[i].step <= resume_step) h->points[kept++] = h->points[i];
    h->n = kept;
}

static size_t count_of(const struct heard *h, const char *series)
{
    size_t n = 0;
    for (size_t i = 0; i < h->n; i++) n += strcmp(h->points[i].series, series) == 0;
    return n;
}

static void expect_no_point_twice(const struct heard *h)
{
    for (size_t i = 0; i < h->n; i++)
        for (size_t j = i + 1; j < h->n; j++)
            cr_assert(h->points[i].step != h->points[j].step ||
                          strcmp(h->points[i].series, h->points[j].series) != 0,
                      "%s at step %d is said twice", h->points[i].series,
                      (int)h->points[i].step);
}

struct world {
    struct spec spec;
    struct trainer t;
    struct monitors *monitors;
};

static struct world *world_on(const char *dataset, const char *fields, const char *dir,
                              struct heard *h)
{
    char *text = mem_printf(spec_text, fields, dataset);
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct world *w = mem_calloc(1, sizeof *w);
    struct err e = { 0 };
    bool resumed;
    log_set_level(LOG_ERROR);
    cr_assert_eq(spec_parse_text(text, strlen(text), &w->spec, faults, &e), 0, "%s %s",
                 faults->items[0].pointer, faults->items[0].detail);
    cr_assert_eq(monitors_create(&w->monitors, &w->spec, &e), 0);
    const struct trainer_options o = {
        .dir = dir, .training = true, .observer = monitors_observer(w->monitors),
        .output = { .ctx = h, .points = hear_points, .record = hear_record,
                    .progress = hear_progress },
    };
    cr_assert_eq(trainer_init(&w->t, &w->spec, &o, &e), 0, "%s", e.text);
    if (dir != NULL) cr_assert_eq(trainer_resume(&w->t, &resumed, &e), 0, "%s", e.text);
    cut(h, w->t.at.step);
    mem_free(faults);
    mem_free(text);
    return w;
}

static struct world *world_make(const char *fields, const char *dir, struct heard *h)
{
    return world_on("glyphs", fields, dir, h);
}

static void world_drop(struct world *w)
{
    monitors_destroy(w->monitors);
    trainer_deinit(&w->t);
    spec_deinit(&w->spec);
    mem_free(w);
}

/* Trains up to max_steps, 0 = all; gives the code that trainer_run ended with. */
static int run(const char *fields, const char *dir, uint64_t max_steps, struct heard *h)
{
    struct world *w = world_make(fields, dir, h);
    struct trainer_result r;
    struct err e = { 0 };
    w->t.o.max_steps = max_steps;
    const int rc = trainer_run(&w->t, &r, &e);
    world_drop(w);
    return rc;
}

static void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), f->d_name, 0);
    if (d != NULL) (void)closedir(d);
    (void)rmdir(dir);
}

/* Every neuron fires at every step: its rate is 1 whatever the batch. */
static void let_all_fire(struct net *n)
{
    float bias[10];
    for (size_t i = 0; i < 10; i++) bias[i] = 1000.0f;
    for (size_t i = 0; i < net_param_count(n); i++)
        if (strcmp(net_param(n, i)->name, "fc.bias") == 0) net_param_write(n, i, bias);
}

/* Goal: a rate is of the samples of the pass it was counted in, be it the last and smaller batch of
 * an epoch or of a validation. */
Test(monitor, rates_are_of_the_samples_there_were, .timeout = 60)
{
    static const char *const fields[] = {
        "\"monitors\": [{\"type\": \"firing_rate\", \"every_steps\": 1}],",
        "\"monitors\": [{\"type\": \"firing_rate\", \"every_steps\": 0, \"every_epochs\": 1}],"
    };
    for (size_t k = 0; k < 2; k++) {
        struct heard *h = mem_calloc(1, sizeof *h);
        struct world *w = world_make(fields[k], NULL, h);
        struct trainer_result r;
        struct err e = { 0 };
        const size_t train = w->t.train.count % 32, val = w->t.validation.count % 32;
        cr_assert(train != 0 && val != 0 && train != val);
        let_all_fire(w->t.net);
        cr_assert_eq(trainer_run(&w->t, &r, &e), 0, "%s", e.text);
        cr_assert_eq(count_of(h, "2/firing_rate"), k == 0 ? w->t.at.step : 2);
        for (size_t i = 0; i < h->n; i++)
            if (strcmp(h->points[i].series, "2/firing_rate") == 0)
                cr_assert_eq(h->points[i].value, 1.0, "step %d: %g", (int)h->points[i].step,
                             h->points[i].value);
        world_drop(w);
        mem_free(h);
    }
}

/* Goal: monitors that overlap, in layers or at the end of an epoch, say a series once a step. */
Test(monitor, a_series_has_one_point_a_step, .timeout = 60)
{
    struct heard *h = mem_calloc(1, sizeof *h);
    cr_assert_eq(run("\"monitors\": [{\"type\": \"firing_rate\", \"every_steps\": 1},"
                     " {\"type\": \"firing_rate\", \"layers\": \"2\", \"every_epochs\": 1},"
                     " {\"type\": \"grad_norm\", \"every_steps\": 2, \"every_epochs\": 1},"
                     " {\"type\": \"grad_norm\", \"every_steps\": 5}],",
                     NULL, 0, h), 0);
    cr_assert_gt(count_of(h, "fc/grad_norm"), 4);
    expect_no_point_twice(h);
    mem_free(h);
}

/* Goal: the picture beside the rasters is recorded once in an experiment, wherever it was
 * interrupted; a part that is cut by the resume is recorded again. */
Test(monitor, the_input_is_recorded_once_in_an_experiment, .timeout = 60)
{
    static const char *const fields[] = {
        "\"monitors\": [{\"type\": \"raster\", \"every_steps\": 0, \"every_epochs\": 1}],",
        "\"monitors\": [{\"type\": \"raster\", \"every_steps\": 3, \"every_epochs\": 1}],",
    };
    static const size_t rasters[] = { 2, 6 }; /* 5 steps an epoch: 1, 3, 5, 6, 9, 10 */
    static const uint64_t stops[] = { 2, 5, 7, 10 };
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
            char dir[] = "/tmp/spiked-monitor-XXXXXX";
            struct heard *h = mem_calloc(1, sizeof *h);
            cr_assert(mkdtemp(dir) != NULL);
            cr_assert_eq(run(fields[k], dir, stops[i], h), 0);
            cr_assert_eq(run(fields[k], dir, 0, h), 0);
            cr_assert_eq(h->records[RECORD_INPUT], 1, "stopped at %d: %zu times", (int)stops[i],
                         h->records[RECORD_INPUT]);
            cr_assert_eq(h->records[RECORD_RASTER], rasters[k], "%zu rasters",
                         h->records[RECORD_RASTER]);
            remove_folder(dir);
            mem_free(h);
        }
}

/* Goal: of a sample that changes with time all frames are recorded. */
Test(monitor, an_input_of_frames_is_recorded_whole, .timeout = 60)
{
    static const uint32_t dims[] = { 3, 2, 28, 28 };
    struct heard *h = mem_calloc(1, sizeof *h);
    struct world *w =
        world_on("moving-glyphs", "\"monitors\": [{\"type\": \"raster\"}],", NULL, h);
    struct trainer_result r;
    struct err e = { 0 };
    cr_assert_eq(trainer_run(&w->t, &r, &e), 0, "%s", e.text);
    cr_assert_eq(h->records[RECORD_INPUT], 1);
    cr_assert_eq(h->input.n_dims, 4, "%u", h->input.n_dims);
    for (size_t i = 0; i < 4; i++) cr_expect_eq(h->input.dims[i], dims[i], "%u", h->input.dims[i]);
    cr_expect_eq(h->input_bytes, 3 * 2 * 28 * 28 * sizeof(float), "%llu", h->input_bytes);
    world_drop(w);
    mem_free(h);
}

/* Goal: an attempt that dies between its last step and its end leaves the next one no point to say
 * twice, whatever the distance of checkpoints. */
Test(monitor, an_end_that_was_cut_off_says_nothing_twice, .timeout = 60)
{
    static const char *const cuts[] = { "val/accuracy", "test/loss", "test/accuracy" };
    struct heard *whole = mem_calloc(1, sizeof *whole);
    cr_assert_eq(run("\"checkpoint\": {\"every_steps\": 5},", NULL, 8, whole), 0);
    for (size_t i = 0; i < 3; i++) {
        char dir[] = "/tmp/spiked-monitor-XXXXXX";
        struct heard *h = mem_calloc(1, sizeof *h);
        cr_assert(mkdtemp(dir) != NULL);
        cr_assert_eq(run("\"checkpoint\": {\"every_steps\": 4},", dir, 4, h), 0);
        h->fail_at = cuts[i];
        cr_assert_eq(run("\"checkpoint\": {\"every_steps\": 4},", dir, 8, h), ERR_IO);
        h->fail_at = NULL;
        cr_assert_eq(run("\"checkpoint\": {\"every_steps\": 4},", dir, 8, h), 0);
        expect_no_point_twice(h);
        cr_assert_eq(count_of(h, "train/loss"), 8);
        cr_assert_eq(count_of(h, "train/loss"), count_of(whole, "train/loss"));
        remove_folder(dir);
        mem_free(h);
    }
    mem_free(whole);
}

/* One second passes between the beginning of a run and everything after it. */
static int64_t second_after_first(void)
{
    static int calls;
    return calls++ == 0 ? 0 : 1000;
}

/* Goal: the speed counts samples, not steps times the batch size. */
Test(monitor, the_speed_is_of_real_samples, .timeout = 60)
{
    struct heard *h = mem_calloc(1, sizeof *h);
    struct world *w = world_make("", NULL, h);
    struct trainer_result r;
    struct err e = { 0 };
    const double samples = 2.0 * (double)w->t.train.count;
    clock_override(second_after_first, NULL);
    cr_assert_eq(trainer_run(&w->t, &r, &e), 0, "%s", e.text);
    clock_override(NULL, NULL);
    cr_assert_eq(h->samples_per_s, samples, "%g, not %g", h->samples_per_s, samples);
    world_drop(w);
    mem_free(h);
}
