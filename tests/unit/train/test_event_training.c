/* Samples with a time of their own are learned: the built-in memory task only by a network with a
 * memory, events well above what the mean picture of a class gives. */
#include "tests/unit/data/folder_fixture.h"
#include "worker/train/trainer.h"

#include "common/log.h"
#include "common/mem.h"

#include <criterion/criterion.h>
#include <string.h>

/* %s dataset, time_steps, layers, epochs */
static const char *const spec_text =
    "{\"version\": 1, \"seed\": 2, \"time_steps\": %d, \"dataset\": {%s}, \"network\": {\"layers\":"
    " [%s]}, \"train\": {\"epochs\": %d, \"batch_size\": 32, \"optimizer\": {\"type\": \"adam\","
    " \"lr\": 0.003}, \"schedule\": {\"type\": \"cosine\"},"
    " \"loss\": {\"type\": \"cross_entropy\"}}, \"monitors\": []}";
#define HIDDEN(n) "{\"type\": \"linear\", \"out_features\": " #n "}, {\"type\": \"batch_norm\"}, "
#define PSN "{\"type\": \"neuron\", \"model\": \"psn\"}, "
#define LAST "{\"type\": \"linear\", \"out_features\": 8}"
#define CONV(n)                                                                                    \
    "{\"type\": \"conv2d\", \"out_channels\": " #n ", \"kernel_size\": 3, \"stride\": 2,"          \
    " \"padding\": 1, \"bias\": false}, {\"type\": \"batch_norm\"},"                               \
    " {\"type\": \"neuron\", \"model\": \"plif\"}, "

static double test_accuracy(int time_steps, const char *dataset, const char *layers, int epochs)
{
    char *text = mem_printf(spec_text, time_steps, dataset, layers, epochs);
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct spec s;
    struct err e = { 0 };
    struct trainer t;
    struct trainer_result r;
    log_set_level(LOG_ERROR);
    cr_assert_eq(spec_parse_text(text, strlen(text), &s, faults, &e), 0, "%s %s",
                 faults->items[0].pointer, faults->items[0].detail);
    const struct trainer_options o = { .training = true };
    cr_assert_eq(trainer_init(&t, &s, &o, &e), 0, "%s", e.text);
    cr_assert_eq(trainer_run(&t, &r, &e), 0, "%s", e.text);
    trainer_deinit(&t);
    spec_deinit(&s);
    mem_free(faults);
    mem_free(text);
    return r.test_accuracy;
}

/* Goal: parallel spiking neurons carry a symbol over the delay; a network that sees each step alone
 * cannot do better than one of two. */
Test(event_training, the_memory_task_needs_a_memory, .timeout = 60)
{
    static const char dataset[] = "\"name\": \"delayed-recall\", \"train_limit\": 3000";
    const double with = test_accuracy(8, dataset, HIDDEN(96) PSN HIDDEN(96) PSN LAST, 8);
    const double without = test_accuracy(8, dataset, HIDDEN(96) LAST, 8);
    cr_log_info("with a memory %.3f, without %.3f", with, without);
    cr_assert_gt(with, 0.9);
    cr_assert(without > 0.2 && without < 0.55, "%g", without);
}

/* Goal: a small convolutional network reads events better than mean pictures do (below 50 %, see
 * test_moving_glyphs.c). */
Test(event_training, events_are_learned, .timeout = 120)
{
    const double got = test_accuracy(
        4, "\"name\": \"moving-glyphs\", \"frames\": {\"split_by\": \"time\"},"
        " \"train_limit\": 2000, \"test_limit\": 500",
        CONV(16) CONV(32) "{\"type\": \"flatten\"}, "
                          "{\"type\": \"linear\", \"out_features\": 10}",
        4);
    cr_log_info("accuracy %.3f", got);
    cr_assert_gt(got, 0.6, "%g", got);
}

/* ---- lengths --------------------------------------------------------------------------------- */
#define SEQUENCES 24
#define STEPS 6

static void write_npy(const char *name, const char *dims, const char *type, const void *values,
                      size_t bytes)
{
    static uint8_t all[1 << 16];
    memset(all, ' ', 128);
    memcpy(all, "\x93NUMPY\x01\x00\x76\x00", 10);
    char *head = mem_printf("{'descr': '%s', 'fortran_order': False, 'shape': %s}", type, dims);
    memcpy(all + 10, head, strlen(head));
    all[127] = '\n';
    memcpy(all + 128, values, bytes);
    char *path = mem_printf("sequences/%s", name);
    folder_write(path, all, 128 + bytes);
    mem_free(path);
    mem_free(head);
}

/* Sequences of one feature pair that end early; what lies behind the ends is `behind`. */
static void write_sequences(float behind, bool with_lengths)
{
    float x[SEQUENCES][STEPS][2];
    uint8_t y[SEQUENCES], lengths[SEQUENCES];
    for (size_t i = 0; i < SEQUENCES; i++) {
        y[i] = i % 2;
        lengths[i] = (uint8_t)(1 + i * 5 % STEPS);
        for (size_t t = 0; t < STEPS; t++)
            for (size_t c = 0; c < 2; c++)
                x[i][t][c] = t >= lengths[i] ? behind
                                             : (float)(y[i] == c) + 0.1f * (float)(t + i % 5);
    }
    write_npy("train-x.npy", "(24, 6, 2, 1, 1)", "<f4", x, sizeof x);
    write_npy("test-x.npy", "(24, 6, 2, 1, 1)", "<f4", x, sizeof x);
    write_npy("train-y.npy", "(24,)", "|u1", y, sizeof y);
    write_npy("test-y.npy", "(24,)", "|u1", y, sizeof y);
    if (!with_lengths) return;
    write_npy("train-lengths.npy", "(24,)", "|u1", lengths, sizeof lengths);
    write_npy("test-lengths.npy", "(24,)", "|u1", lengths, sizeof lengths);
}

static struct trainer_result train_sequences(float *rate)
{
    char *text = mem_printf(
        "{\"version\": 1, \"time_steps\": 6, \"dataset\": {\"name\": \"%s\", \"normalize\":"
        " {\"mean\": [0.3], \"std\": [0.5]}}, \"network\": {\"layers\": [" HIDDEN(16)
        "{\"type\": \"neuron\", \"model\": \"lif\"}, " HIDDEN(16) PSN
        "{\"type\": \"linear\", \"out_features\": 2}]}, \"train\": {\"epochs\": 3,"
        " \"batch_size\": 8}, \"monitors\": []}", "sequences");
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct spec s;
    struct err e = { 0 };
    struct trainer t;
    struct trainer_result r;
    log_set_level(LOG_ERROR);
    cr_assert_eq(spec_parse_text(text, strlen(text), &s, faults, &e), 0, "%s %s",
                 faults->items[0].pointer, faults->items[0].detail);
    const struct trainer_options o = { .training = true, .data_dir = folder };
    cr_assert_eq(trainer_init(&t, &s, &o, &e), 0, "%s", e.text);
    cr_assert_eq(trainer_run(&t, &r, &e), 0, "%s", e.text);
    *rate = (float)net_firing_rate(t.net, 2);
    trainer_deinit(&t);
    spec_deinit(&s);
    mem_free(faults);
    mem_free(text);
    return r;
}

/* Goal: a run over sequences with lengths does not depend on what lies behind their ends, not even
 * by normalisation; without lengths it does. */
Test(event_training, sequences_may_end_early, .timeout = 60)
{
    struct trainer_result r[4];
    float rate[4];
    for (int k = 0; k < 4; k++) {
        folder_make();
        write_sequences(k % 2 == 0 ? 0.0f : 2.0f, k < 2);
        r[k] = train_sequences(&rate[k]);
        folder_remove();
    }
    cr_assert(r[0].val_loss == r[1].val_loss && r[0].test_loss == r[1].test_loss);
    cr_assert_eq(rate[0], rate[1]);
    cr_assert(r[2].test_loss != r[3].test_loss && r[0].test_loss != r[2].test_loss);
}
