/* Samples with a time of their own are learned: the built-in memory task only by a network with a
 * memory, events well above what the mean picture of a class gives. */
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
