/* Whole trainings: same bits for any number of threads, after a stop and resume, and whatever
 * labels and execution fields say; faults end a training by name. */
#include "worker/train/summary.h"
#include "worker/train/trainer.h"

#include "common/log.h"
#include "common/mem.h"
#include "worker/monitor/monitor.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* %s: further top-level fields, %s: fields of the optimiser, %d: threads */
static const char *const spec_text =
    "{\"version\": 1, %s \"time_steps\": 4, \"dataset\": {\"name\": \"glyphs\", \"train_limit\": "
    "200,"
    " \"test_limit\": 40, \"transforms\": [{\"type\": \"random_crop\", \"padding\": 2}]},"
    "\"network\": {\"layers\": [{\"type\": \"conv2d\", \"out_channels\": 8, \"kernel_size\": 3, "
    "\"bias\": false},"
    " {\"type\": \"batch_norm\"}, {\"type\": \"neuron\", \"model\": \"plif\"},"
    " {\"type\": \"max_pool2d\", \"kernel_size\": 2}, {\"type\": \"conv2d\", \"out_channels\": 16,"
    " \"kernel_size\": 3}, {\"type\": \"batch_norm\"}, {\"type\": \"neuron\", \"model\": \"lif\"},"
    " {\"type\": \"avg_pool2d\", \"kernel_size\": 2}, {\"type\": \"flatten\"}, {\"type\": "
    "\"dropout\"},"
    " {\"type\": \"linear\", \"out_features\": 40}, {\"type\": \"batch_norm\"},"
    " {\"type\": \"neuron\", \"model\": \"psn\"},"
    " {\"type\": \"voting\", \"size\": 4}]},"
    "\"train\": {\"epochs\": 2, \"batch_size\": 16, \"optimizer\": {%s}, \"loss\": {\"type\": "
    "\"cross_entropy\"}},"
    "\"resources\": {\"threads\": %d}}";

static struct spec parse(const char *fields, const char *optimizer, int threads)
{
    char *text = mem_printf(spec_text, fields, optimizer, threads);
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct spec s;
    struct err e = { 0 };
    cr_assert_eq(spec_parse_text(text, strlen(text), &s, faults, &e), 0, "%s %s",
                 faults->items[0].pointer, faults->items[0].detail);
    mem_free(faults);
    mem_free(text);
    return s;
}

struct outcome {
    float *weights;
    size_t floats;
    struct trainer_result result;
    size_t records, layer_points; /* what monitors said */
};

static int count_points(void *ctx, const struct wire_series *series, size_t n, struct err *e)
{
    (void)e;
    for (size_t i = 0; i < n; i++)
        ((struct outcome *)ctx)->layer_points += series[i].name[0] >= '0' &&
                                                 series[i].name[0] <= '9';
    return 0;
}

static int count_record(void *ctx, const struct record *r, struct err *e)
{
    (void)e;
    ((struct outcome *)ctx)->records += r->kind != RECORD_PROFILE;
    return 0;
}

/* Trains up to max_steps (0 = all), resuming from dir when it holds a checkpoint. */
static struct outcome train(const char *fields, const char *optimizer, int threads, const char *dir,
                            uint64_t max_steps)
{
    log_set_level(LOG_ERROR);
    struct spec s = parse(fields, optimizer, threads);
    struct trainer t;
    struct outcome out = { 0 };
    struct err e = { 0 };
    bool resumed = false;
    struct monitors *monitors;
    cr_assert_eq(monitors_create(&monitors, &s, &e), 0);
    const struct trainer_options o = {
        .dir = dir, .training = true, .max_steps = max_steps,
        .output = { .ctx = &out, .points = count_points, .record = count_record },
        .observer = monitors_observer(monitors),
    };
    cr_assert_eq(trainer_init(&t, &s, &o, &e), 0, "%s", e.text);
    if (dir != NULL) cr_assert_eq(trainer_resume(&t, &resumed, &e), 0, "%s", e.text);
    cr_assert_eq(trainer_run(&t, &out.result, &e), 0, "%s", e.text);
    out.floats = weights_floats(t.net);
    out.weights = mem_calloc(out.floats, sizeof(float));
    weights_collect(t.net, out.weights);
    trainer_deinit(&t);
    monitors_destroy(monitors);
    spec_deinit(&s);
    return out;
}

static void expect_same(struct outcome a, struct outcome b, const char *what)
{
    cr_assert(a.floats == b.floats && memcmp(a.weights, b.weights, a.floats * sizeof(float)) == 0,
              "%s: weights", what);
    cr_assert(a.result.test_loss == b.result.test_loss &&
                  a.result.val_accuracy == b.result.val_accuracy,
              "%s", what);
    mem_free(b.weights);
}

static void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), f->d_name, 0);
    if (d != NULL) (void)closedir(d);
    (void)rmdir(dir);
}

#define ADAM "\"type\": \"adam\", \"lr\": 0.01"

/* Goal: threads, names, tags and checkpoints change no bit; the seed does. */
Test(trainer, bits_depend_on_the_result_fields_only, .timeout = 60)
{
    const struct outcome one = train("\"seed\": 3,", ADAM, 1, NULL, 0);
    cr_assert(fabs(one.result.val_loss - log(10)) > 1e-3,
              "a silent network: equal bits would say little");
    expect_same(one, train("\"seed\": 3,", ADAM, 2, NULL, 0), "two threads");
    expect_same(one, train("\"seed\": 3,", ADAM, 3, NULL, 0), "three threads");
    expect_same(
        one,
        train("\"seed\": 3, \"name\": \"x\", \"tags\": [\"y\"], \"priority\": 5,"
              "\"checkpoint\": {\"every_steps\": 7},",
              ADAM, 1, NULL, 0),
        "labels");
    const struct outcome silent = train("\"seed\": 3, \"monitors\": [],", ADAM, 1, NULL, 0);
    const struct outcome watched = train(
        "\"seed\": 3, \"monitors\": [{\"type\": \"firing_rate\", \"every_steps\": 1},"
        " {\"type\": \"raster\", \"samples\": 3, \"every_steps\": 2}, {\"type\": \"grad_norm\"},"
        " {\"type\": \"membrane_potential\", \"layers\": [\"2\"], \"every_steps\": 3},"
        " {\"type\": \"time_constant\"}, {\"type\": \"psn_weight\", \"every_steps\": 1}],",
        ADAM, 1, NULL, 0);
    cr_assert(silent.records == 0 && silent.layer_points == 0, "no monitors, yet %zu and %zu",
              silent.records, silent.layer_points);
    cr_assert(watched.records > 24 && watched.layer_points > 24, "%zu records, %zu points",
              watched.records, watched.layer_points);
    expect_same(one, silent, "no monitors");
    expect_same(one, watched, "all monitors");
    struct outcome other = train("\"seed\": 4,", ADAM, 1, NULL, 0);
    cr_assert(memcmp(one.weights, other.weights, one.floats * sizeof(float)) != 0,
              "the seed changes nothing");
    mem_free(other.weights);
    mem_free(one.weights);
}

/* Goal: a training cut at any step and taken up again ends with the same bits; with the first
 * optimiser at every kind of place, with the others inside an epoch and at its end. */
Test(trainer, a_resumed_training_has_the_same_bits, .timeout = 120)
{
    static const char *const optimizers[] = {
        ADAM, "\"type\": \"sgd\", \"lr\": 0.05, \"momentum\": 0.9",
        "\"type\": \"adamw\", \"amsgrad\": true",
        "\"type\": \"rmsprop\", \"momentum\": 0.9, \"centered\": true"
    };
    static const uint64_t cuts[] = { 5, 12, 1, 11, 13, 23 }; /* 12 steps an epoch */
    for (int k = 0; k < 4; k++) {
        const struct outcome whole = train("", optimizers[k], 1, NULL, 0);
        for (size_t i = 0; i < (k == 0 ? sizeof cuts / sizeof cuts[0] : 2); i++) {
            char dir[] = "/tmp/spiked-resume-XXXXXX";
            cr_assert(mkdtemp(dir) != NULL);
            struct outcome part = train("", optimizers[k], 2, dir, cuts[i]);
            cr_assert_eq(part.result.step, cuts[i]);
            mem_free(part.weights);
            char what[40];
            (void)snprintf(what, sizeof what, "cut after step %d", (int)cuts[i]);
            expect_same(whole, train("", optimizers[k], 1, dir, 0), what);
            remove_folder(dir);
        }
        mem_free(whole.weights);
    }
}

/* Goal: going on at the step limit trains no further step, says the same figures, and the folder
 * still leads to the end of the whole training. Limits inside an epoch and at its end. */
Test(trainer, a_resume_at_the_limit_trains_no_further, .timeout = 60)
{
    static const uint64_t limits[] = { 3, 12 };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        char dir[] = "/tmp/spiked-limit-XXXXXX";
        cr_assert(mkdtemp(dir) != NULL);
        const struct outcome first = train("", ADAM, 1, dir, limits[i]);
        const struct outcome again = train("", ADAM, 1, dir, limits[i]);
        cr_assert_eq(first.result.step, limits[i]);
        cr_assert_eq(again.result.step, limits[i], "went on to step %d", (int)again.result.step);
        cr_assert_eq(memcmp(first.weights, again.weights, first.floats * sizeof(float)), 0);
        cr_assert_eq(first.result.test_loss, again.result.test_loss);
        mem_free(first.weights);
        mem_free(again.weights);
        remove_folder(dir);
    }
}

/* Goal: a step limit inside an epoch ends with a validation, so that there is a best; a resume
 * there has the same figures. */
Test(trainer, the_limit_is_validated_and_a_resume_keeps_it, .timeout = 60)
{
    char dir[] = "/tmp/spiked-validate-XXXXXX";
    cr_assert(mkdtemp(dir) != NULL);
    struct outcome first = train("", ADAM, 1, dir, 3);
    cr_assert(isfinite(first.result.val_loss) && isfinite(first.result.val_accuracy));
    cr_assert_eq(first.result.best_step, 3);
    struct outcome again = train("", ADAM, 1, dir, 3);
    cr_assert_eq(first.result.val_loss, again.result.val_loss);
    cr_assert_eq(first.result.val_accuracy, again.result.val_accuracy);
    cr_assert_eq(first.result.best_val_accuracy, again.result.best_val_accuracy);
    mem_free(first.weights);
    mem_free(again.weights);
    remove_folder(dir);
}

/* Flips a byte in the middle of the newest checkpoint. */
static void damage_newest(const char *dir, uint64_t step)
{
    char path[200];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/checkpoint-%d.safetensors", dir, (int)step);
    const int fd = open(path, O_RDWR);
    cr_assert(fd >= 0 && fstat(fd, &st) == 0);
    unsigned char byte;
    cr_assert(pread(fd, &byte, 1, st.st_size / 2) == 1);
    byte ^= 0x20;
    cr_assert(pwrite(fd, &byte, 1, st.st_size / 2) == 1);
    (void)close(fd);
}

/* Goal: a damaged checkpoint is passed over for the one before, with the same bits in the end. */
Test(trainer, a_damaged_checkpoint_is_skipped, .timeout = 60)
{
    char dir[] = "/tmp/spiked-damage-XXXXXX";
    cr_assert(mkdtemp(dir) != NULL);
    const char *often = "\"checkpoint\": {\"every_steps\": 4, \"keep\": 3},";
    const struct outcome whole = train("", ADAM, 1, NULL, 0);
    struct outcome part = train(often, ADAM, 1, dir, 16);
    mem_free(part.weights);
    damage_newest(dir, 16);
    expect_same(whole, train(often, ADAM, 1, dir, 0), "after damage");
    mem_free(whole.weights);
    remove_folder(dir);
}

/* Goal: a checkpoint of another spec is refused by name. */
Test(trainer, another_spec_does_not_resume, .timeout = 60)
{
    char dir[] = "/tmp/spiked-other-XXXXXX";
    cr_assert(mkdtemp(dir) != NULL);
    struct outcome part = train("\"seed\": 1,", ADAM, 1, dir, 3);
    mem_free(part.weights);
    struct spec s = parse("\"seed\": 2,", ADAM, 1);
    struct trainer t;
    struct err e = { 0 };
    bool resumed;
    const struct trainer_options o = { .dir = dir, .training = true };
    cr_assert_eq(trainer_init(&t, &s, &o, &e), 0);
    cr_assert_eq(trainer_resume(&t, &resumed, &e), ERR_CONFLICT);
    cr_assert(strstr(e.text, "another spec") != NULL, "%s", e.text);
    trainer_deinit(&t);
    spec_deinit(&s);
    remove_folder(dir);
}

/* Goal: a training that diverges ends at that step, naming what was not finite. */
Test(trainer, divergence_is_named, .timeout = 60)
{
    struct spec s = parse("", "\"type\": \"sgd\", \"lr\": 1000, \"momentum\": 1", 1);
    struct trainer t;
    struct trainer_result r;
    struct err e = { 0 };
    const struct trainer_options o = { .training = true };
    cr_assert_eq(trainer_init(&t, &s, &o, &e), 0);
    t.optimizer.groups[0].lr = 1e36; /* beyond what a spec may say */
    cr_assert_eq(trainer_run(&t, &r, &e), ERR_DIVERGED, "%s", e.text);
    char want[40];
    (void)snprintf(want, sizeof want, "step %llu: the ", (unsigned long long)t.at.step + 1);
    cr_assert(strncmp(e.text, want, strlen(want)) == 0 &&
                  strstr(e.text, " is not finite, first in layer ") != NULL,
              "%s", e.text);
    trainer_deinit(&t);
    spec_deinit(&s);
}

/* Goal: a run that goes on from a checkpoint of another build trains to its end, and its summary
 * says that the bits may differ. */
Test(trainer, a_run_of_two_builds_says_so, .timeout = 60)
{
    char dir[] = "/tmp/spiked-builds-XXXXXX";
    struct spec s = parse("", ADAM, 1);
    struct trainer t;
    struct trainer_result r;
    struct err e = { 0 };
    bool resumed = false;
    log_set_level(LOG_ERROR);
    cr_assert(mkdtemp(dir) != NULL);
    const struct trainer_options o = { .dir = dir, .training = true, .max_steps = 2 };
    for (int again = 0; again < 2; again++) {
        cr_assert_eq(trainer_init(&t, &s, &o, &e), 0, "%s", e.text);
        cr_assert(t.at.build[0] != '\0' && t.at.cpu[0] != '\0', "%s", t.at.cpu);
        if (again == 0) (void)snprintf(t.at.build, sizeof t.at.build, "an older build");
        cr_assert_eq(trainer_resume(&t, &resumed, &e), 0, "%s", e.text);
        cr_assert(resumed == (again == 1));
        t.o.max_steps += (uint64_t)again;
        cr_assert_eq(trainer_run(&t, &r, &e), 0, "%s", e.text);
        cJSON *json = summary_json(&t, &r);
        const cJSON *warning = cJSON_GetArrayItem(json_get(json, "warnings"), 0);
        cr_assert((warning != NULL) == (again == 1));
        if (again == 1)
            cr_assert(strstr(warning->valuestring, "an older build on ") != NULL, "%s",
                      warning->valuestring);
        cJSON_Delete(json);
        trainer_deinit(&t);
    }
    spec_deinit(&s);
    remove_folder(dir);
}

/* A layer whose weights grow a thousandfold each step while its gradient vanishes: the
 * window's derivative is 0 far from the threshold. */
static const char *const growing_text =
    "{\"version\": 1, \"dataset\": {\"name\": \"glyphs\", \"train_limit\": 200,"
    " \"test_limit\": 40}, \"network\": {\"layers\": [{\"type\": \"flatten\"},"
    " {\"type\": \"linear\", \"name\": \"grows\", \"out_features\": 10},"
    " {\"type\": \"neuron\", \"model\": \"lif\", \"surrogate\": {\"type\": \"rect\"}}]},"
    " \"train\": {\"epochs\": 2, \"batch_size\": 16, \"optimizer\": {\"type\": \"sgd\","
    " \"lr\": 1000, \"momentum\": 0, \"weight_decay\": 1}}}";

/* Goal: weights that are not finite end a training, though loss and gradient stay finite; no
 * checkpoint holds them. */
Test(trainer, weights_that_are_not_finite_are_a_divergence, .timeout = 60)
{
    char dir[] = "/tmp/spiked-grows-XXXXXX";
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct spec s;
    struct trainer t;
    struct trainer_result r;
    struct err e = { 0 };
    log_set_level(LOG_ERROR);
    cr_assert(mkdtemp(dir) != NULL);
    cr_assert_eq(spec_parse_text(growing_text, strlen(growing_text), &s, faults, &e), 0, "%s %s",
                 faults->items[0].pointer, faults->items[0].detail);
    const struct trainer_options o = { .dir = dir, .training = true };
    cr_assert_eq(trainer_init(&t, &s, &o, &e), 0, "%s", e.text);
    cr_assert_eq(trainer_run(&t, &r, &e), ERR_DIVERGED, "%s", e.text);
    cr_assert(strstr(e.text, "step 24: a weight is not finite, first in layer grows") != NULL,
              "%s", e.text);
    cr_assert_eq(rmdir(dir), 0, "a checkpoint was written");
    trainer_deinit(&t);
    spec_deinit(&s);
    mem_free(faults);
}

/* Goal: means and deviations are one for all channels or one for each, else the numbers are
 * named. */
Test(trainer, normalisation_must_fit_the_channels, .timeout = 60)
{
    struct spec s = parse("", ADAM, 1);
    struct trainer t;
    struct err e = { 0 };
    const struct trainer_options o = { .training = true };
    s.dataset.n_normalize = 2;
    cr_assert_eq(trainer_init(&t, &s, &o, &e), ERR_SPEC, "%s", e.text);
    cr_assert(strstr(e.text, "/dataset/normalize/mean: 2 values") != NULL, "%s", e.text);
    s.dataset.n_normalize = 0;
    spec_deinit(&s);
}

/* One update of plain SGD on the first batch, against p - lr * scale * g; the norm of g comes
 * back. */
static double check_one_update(double clip)
{
    struct spec s = parse("", "\"type\": \"sgd\", \"lr\": 0.5, \"momentum\": 0", 1);
    struct trainer t;
    struct loss_result r;
    struct err e = { 0 };
    const struct trainer_options o = { .training = true };
    s.train.grad_clip = clip;
    cr_assert_eq(trainer_init(&t, &s, &o, &e), 0, "%s", e.text);
    const struct tensor_desc *desc;
    void *input = net_input_data(t.net, &desc);
    batcher_begin(&t.batcher, &t.train, 0, true);
    batcher_fill(&t.batcher, &t.train, 0, 0, 16, true, desc, input, t.labels);
    size_t floats;
    const float *p = net_weights(t.net, &floats), *g = net_gradients(t.net, &floats);
    float *before = mem_calloc(floats, sizeof(float));
    memcpy(before, p, floats * sizeof(float));
    cr_assert_eq(trainer_update(&t, 16, &r, &e), 0, "%s", e.text);
    double squares = 0;
    for (size_t i = 0; i < floats; i++) squares += (double)g[i] * (double)g[i];
    const double norm = sqrt(squares);
    const double scale = clip > 0 && norm > clip ? clip / (norm + 1e-6) : 1;
    for (size_t i = 0; i < floats; i++) {
        const double want = (double)before[i] - 0.5 * scale * (double)g[i];
        cr_assert(fabs((double)p[i] - want) <= 2e-7 * (fabs(want) + 0.1), "%zu: %g, %g", i,
                  (double)p[i], want);
    }
    mem_free(before);
    trainer_deinit(&t);
    spec_deinit(&s);
    return norm;
}

/* Goal: gradients longer than grad_clip are cut to it by one factor for all parameters; shorter
 * ones, and all without it, stay. */
Test(trainer, gradients_are_clipped_by_their_common_norm, .timeout = 60)
{
    const double norm = check_one_update(0);
    cr_assert(norm > 0.01, "%g: nothing to clip", norm);
    (void)check_one_update(norm / 10);
    (void)check_one_update(norm * 10);
}

/* Goal: a plan over memory_mib is refused before anything is allocated. */
Test(trainer, a_plan_that_does_not_fit_is_refused, .timeout = 60)
{
    struct spec s = parse("", ADAM, 1);
    struct trainer t;
    struct err e = { 0 };
    s.memory_mib = 1;
    const struct trainer_options o = { .training = true };
    cr_assert_eq(trainer_init(&t, &s, &o, &e), ERR_OUT_OF_PLAN, "%s", e.text);
    cr_assert(strstr(e.text, "MiB") != NULL, "%s", e.text);
    spec_deinit(&s);
}
