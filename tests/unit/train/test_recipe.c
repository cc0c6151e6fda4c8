/* Parameter groups, frozen parameters, accumulated gradients and early stops in whole trainings. */
#include "worker/train/trainer.h"

#include "common/log.h"
#include "common/mem.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* %s: fields of train */
static const char *const spec_text =
    "{\"version\": 1, \"time_steps\": 2, \"seed\": 5, \"dataset\": {\"name\": \"glyphs\","
    " \"train_limit\": 100, \"test_limit\": 20}, \"network\": {\"layers\": ["
    " {\"type\": \"conv2d\", \"name\": \"stem\", \"out_channels\": 4, \"kernel_size\": 5,"
    " \"stride\": 2}, {\"type\": \"neuron\", \"name\": \"sn\", \"model\": \"plif\"},"
    " {\"type\": \"flatten\"}, {\"type\": \"dropout\"},"
    " {\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 10}]},"
    " \"train\": {\"batch_size\": 8, \"loss\": {\"type\": \"cross_entropy\"}, %s}}";

#define SGD "\"optimizer\": {\"type\": \"sgd\", \"lr\": 0.5, \"weight_decay\": 0.1}"

static int open_trainer(struct trainer *t, struct spec *s, const char *train,
                        const struct trainer_options *o, struct err *e)
{
    char *text = mem_printf(spec_text, train);
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    log_set_level(LOG_ERROR);
    cr_assert_eq(spec_parse_text(text, strlen(text), s, faults, e), 0, "%s %s",
                 faults->items[0].pointer, faults->items[0].detail);
    mem_free(faults);
    mem_free(text);
    return trainer_init(t, s, o, e);
}

static void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), f->d_name, 0);
    if (d != NULL) (void)closedir(d);
    (void)rmdir(dir);
}

/* All weights after max_steps (0 = all) in dir; the caller frees. */
static float *train(const char *fields, const char *dir, uint64_t max_steps, size_t threads,
                    struct trainer_result *r, size_t *floats)
{
    struct trainer t;
    struct spec s;
    struct err e = { 0 };
    bool resumed;
    const struct trainer_options o = { .dir = dir, .training = true, .max_steps = max_steps,
                                       .threads = threads };
    cr_assert_eq(open_trainer(&t, &s, fields, &o, &e), 0, "%s", e.text);
    if (dir != NULL) cr_assert_eq(trainer_resume(&t, &resumed, &e), 0, "%s", e.text);
    cr_assert_eq(trainer_run(&t, r, &e), 0, "%s", e.text);
    *floats = weights_floats(t.net);
    float *w = mem_calloc(*floats, sizeof w[0]);
    weights_collect(t.net, w);
    trainer_deinit(&t);
    spec_deinit(&s);
    return w;
}

/* Goal: cut anywhere and taken up again, the state of every part of a recipe comes back. */
Test(recipe, a_resumed_training_has_the_same_bits, .timeout = 60)
{
    static const char fields[] =
        "\"epochs\": 4, \"accumulate\": 3, \"optimizer\": {\"type\": \"adamw\", \"lr\": 0.01,"
        " \"amsgrad\": true}, \"schedule\": {\"type\": \"cosine\", \"unit\": \"step\","
        " \"warmup\": 5}, \"parameter_groups\": [{\"match\": \"*.bias\", \"weight_decay\": 0},"
        " {\"match\": \"sn.*\", \"lr\": 0.002}], \"freeze\": [\"stem.bias\"],"
        " \"early_stop\": {\"patience\": 2, \"min_delta\": 0.01}, \"grad_clip\": 1,"
        " \"ema\": {\"decay\": 0.8}";
    struct trainer_result whole, part;
    size_t n;
    float *want = train(fields, NULL, 0, 1, &whole, &n);
    for (uint64_t cut = 1; cut < whole.step; cut += 3) {
        char dir[] = "/tmp/spiked-recipe-XXXXXX";
        cr_assert(mkdtemp(dir) != NULL);
        mem_free(train(fields, dir, cut, 2, &part, &n));
        float *got = train(fields, dir, 0, 1, &part, &n);
        cr_assert_eq(part.step, whole.step, "cut %d: %d, %d", (int)cut, (int)part.step,
                     (int)whole.step);
        cr_assert_eq(memcmp(got, want, n * sizeof got[0]), 0, "cut after step %d", (int)cut);
        cr_assert(part.val_loss == whole.val_loss && part.test_loss == whole.test_loss &&
                  part.stopped_early == whole.stopped_early);
        mem_free(got);
        remove_folder(dir);
    }
    mem_free(want);
}

/* One pass of batch k of the first update, as loss of `total` samples; its gradient. */
static float *gradient_of(struct trainer *t, size_t k, size_t n, size_t total)
{
    const struct tensor_desc *d, *yd, *gd;
    void *input = net_input_data(t->net, &d);
    const struct net_step s = { .samples = n, .sample_offset = k * 8, .training = true };
    batcher_fill(&t->batcher, &t->train, 0, k * 8, n, true, d, input, t->labels);
    net_forward(t->net, &s);
    const void *y = net_output(t->net, &yd);
    float *g = net_output_gradient(t->net, &gd);
    const struct loss_args a = { .loss = &t->spec->train.loss, .shards = 1, .samples = n,
                                 .total = total, .labels = t->labels };
    (void)loss_compute(&a, yd, y, gd, g);
    net_backward(t->net, &s);
    size_t floats;
    const float *from = net_gradients(t->net, &floats);
    float *copy = mem_calloc(floats, sizeof copy[0]);
    memcpy(copy, from, floats * sizeof copy[0]);
    return copy;
}

/* Goal: an update of three batches goes along g3 + ((g1 + g2)), each of the mean loss over all of
 * the update's samples, bit for bit; an epoch has as many updates as that makes. */
Test(recipe, accumulated_gradients_are_as_documented, .timeout = 60)
{
    struct trainer t;
    struct spec s;
    struct trainer_result r;
    struct err e = { 0 };
    const struct trainer_options o = { .training = true, .max_steps = 1 };
    cr_assert_eq(open_trainer(&t, &s, SGD ", \"accumulate\": 3", &o, &e), 0, "%s", e.text);
    cr_assert_eq(t.steps_per_epoch, (t.train.count + 23) / 24);
    batcher_begin(&t.batcher, &t.train, 0, true);
    float *g[3];
    for (size_t k = 0; k < 3; k++) g[k] = gradient_of(&t, k, 8, 24);
    size_t floats;
    float *p = net_weights(t.net, &floats), *before = mem_calloc(floats, sizeof before[0]);
    memcpy(before, p, floats * sizeof p[0]);
    cr_assert_eq(trainer_run(&t, &r, &e), 0, "%s", e.text);
    size_t moved = 0;
    for (size_t i = 0; i < floats; i++) {
        const float sum = g[2][i] + (g[0][i] + g[1][i]);
        const float d = fmaf(0.1f, before[i], sum), want = before[i] - d * 0.5f;
        cr_assert_eq(p[i], want, "%zu: %.9g, %.9g", i, (double)p[i], (double)want);
        moved += p[i] != before[i];
    }
    cr_assert_gt(moved, 1000);
    for (size_t k = 0; k < 3; k++) mem_free(g[k]);
    mem_free(before);
    trainer_deinit(&t);
    spec_deinit(&s);
}

/* Goal: groups have their own rate and decay, the first that matches counts, frozen parameters stay
 * and no norm sees their gradient. */
Test(recipe, groups_and_frozen_parameters, .timeout = 60)
{
    struct trainer t;
    struct spec s;
    struct loss_result r;
    struct err e = { 0 };
    const struct trainer_options o = { .training = true };
    const char *fields = SGD ", \"parameter_groups\": [{\"match\": \"fc.bias\", \"lr\": 0.25},"
                             " {\"match\": \"fc.*\", \"weight_decay\": 0}, {\"match\": \"sn.w\","
                             " \"lr\": 2, \"weight_decay\": 1}], \"freeze\": \"stem.weight\"";
    cr_assert_eq(open_trainer(&t, &s, fields, &o, &e), 0, "%s", e.text);
    const struct tensor_desc *d;
    void *input = net_input_data(t.net, &d);
    batcher_begin(&t.batcher, &t.train, 0, true);
    batcher_fill(&t.batcher, &t.train, 0, 0, 8, true, d, input, t.labels);
    size_t floats;
    float *p = net_weights(t.net, &floats), *before = mem_calloc(floats, sizeof before[0]);
    memcpy(before, p, floats * sizeof p[0]);
    cr_assert_eq(trainer_update(&t, 8, &r, &e), 0, "%s", e.text);
    const float *g = net_gradients(t.net, &floats);
    static const struct {
        const char *name;
        float lr, decay;
        bool frozen;
    } want[] = { { "stem.weight", 0, 0, true }, { "stem.bias", 0.5f, 0.1f, false },
                 { "sn.w", 2, 1, false },       { "fc.weight", 0.5f, 0, false },
                 { "fc.bias", 0.25f, 0.1f, false } };
    for (size_t i = 0; i < net_param_count(t.net); i++) {
        const struct net_param *q = net_param(t.net, i);
        cr_assert_str_eq(q->name, want[i].name);
        for (size_t k = q->offset; k < q->offset + q->floats; k++) {
            const float step = fmaf(want[i].decay, before[k], g[k]);
            cr_assert_eq(p[k], before[k] - step * want[i].lr, "%s %zu", q->name, k - q->offset);
            if (want[i].frozen) cr_assert_eq(g[k], 0.0f);
        }
    }
    mem_free(before);
    trainer_deinit(&t);
    spec_deinit(&s);
}

static void refused(const char *fields, const char *text)
{
    struct trainer t;
    struct spec s;
    struct err e = { 0 };
    const struct trainer_options o = { .training = true };
    cr_assert_eq(open_trainer(&t, &s, fields, &o, &e), ERR_SPEC, "%s", fields);
    cr_expect_str_eq(e.text, text);
    spec_deinit(&s);
}

/* Goal: globs that match nothing are named by pointer; something must be left to learn. */
Test(recipe, globs_without_parameters_are_refused, .timeout = 60)
{
    refused(SGD ", \"parameter_groups\": [{\"match\": \"*\"}, {\"match\": \"*.gamma\"}]",
            "/train/parameter_groups/1/match: '*.gamma' matches no parameter");
    refused(SGD ", \"freeze\": [\"fc.*\", \"head.*\"]",
            "/train/freeze/1: 'head.*' matches no parameter");
    refused(SGD ", \"freeze\": \"*\"", "/train/freeze: no parameter is left to learn");
}

static float *values_of(const char *fields, uint64_t steps, const char *dir, double *val_loss)
{
    struct trainer_result r;
    size_t n;
    float *w = train(fields, dir, steps, 1, &r, &n);
    *val_loss = r.val_loss;
    return w;
}

/* Goal: the average begins with the first update and follows the rule, bit for bit; it is what is
 * validated, the best and what is written, and training goes on without it. */
Test(recipe, averaged_weights, .timeout = 60)
{
    static const char plain[] = SGD, averaged[] = SGD ", \"ema\": {\"decay\": 0.75}";
    char dir[] = "/tmp/spiked-ema-XXXXXX", path[80];
    struct trainer t;
    struct spec s;
    struct err e = { 0 };
    double loss[4], with;
    const struct trainer_options o = { .training = true, .max_steps = 3 };
    float *w[4];
    cr_assert(mkdtemp(dir) != NULL);
    for (uint64_t k = 1; k <= 3; k++) w[k] = values_of(plain, k, NULL, &loss[k]);
    w[0] = values_of(averaged, 3, dir, &with);
    cr_assert_eq(open_trainer(&t, &s, averaged, &o, &e), 0, "%s", e.text);
    const size_t n = weights_floats(t.net);
    cr_assert_eq(memcmp(w[0], w[3], n * sizeof(float)), 0, "the average changes the training");
    (void)snprintf(path, sizeof path, "%s/weights.safetensors", dir);
    cr_assert_eq(weights_load(path, t.net, &e), 0, "%s", e.text);
    float *got = mem_calloc(n, sizeof got[0]);
    weights_collect(t.net, got);
    for (size_t i = 0; i < n; i++) {
        const float second = w[1][i] * 0.75f + w[2][i] * 0.25f,
                    want = second * 0.75f + w[3][i] * 0.25f;
        cr_assert_eq(got[i], want, "%zu: %.9g, %.9g", i, (double)got[i], (double)want);
    }
    cr_assert_eq(trainer_evaluate(&t, &t.validation).loss, with, "another's validation loss");
    cr_assert_neq(with, loss[3]);
    for (size_t k = 0; k < 4; k++) mem_free(w[k]);
    mem_free(got);
    trainer_deinit(&t);
    spec_deinit(&s);
    remove_folder(dir);
}

/* Goal: a run without gain ends after `patience` validations more, says so, and a resume trains no
 * further; with gain it goes on. */
Test(recipe, early_stop, .timeout = 60)
{
    static const char *const still[] = {
        "\"optimizer\": {\"lr\": 1e-30}, \"epochs\": 9, \"early_stop\": {\"patience\": 3}",
        "\"optimizer\": {\"lr\": 1e-30}, \"epochs\": 9, \"early_stop\": {\"patience\": 3,"
        " \"metric\": \"loss\", \"min_delta\": 0.001}"
    };
    struct trainer_result r;
    size_t n;
    for (size_t i = 0; i < 2; i++) {
        char dir[] = "/tmp/spiked-early-XXXXXX";
        cr_assert(mkdtemp(dir) != NULL);
        mem_free(train(still[i], dir, 0, 1, &r, &n));
        const uint64_t end = r.step;
        cr_assert(r.stopped_early && end == 4 * ((90 + 7) / 8), "%d steps", (int)end);
        mem_free(train(still[i], dir, 0, 1, &r, &n));
        cr_assert(r.stopped_early && r.step == end);
        remove_folder(dir);
    }
    mem_free(train("\"optimizer\": {\"lr\": 0.01}, \"epochs\": 4, \"early_stop\": {\"patience\":"
                   " 3, \"metric\": \"loss\"}", NULL, 0, 1, &r, &n));
    cr_assert(!r.stopped_early && r.step == 4 * ((90 + 7) / 8), "%d steps", (int)r.step);
}
