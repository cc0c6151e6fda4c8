/* The plan of a whole process against what the kernel says it took. */
#include "worker/train/trainer.h"

#include "common/log.h"
#include "common/mem.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 2.6 million weights: moments, copies and staging are larger than the network. */
static const char *const spec_text =
    "{\"version\": 1, \"time_steps\": 4, \"dataset\": {\"name\": \"glyphs\", \"train_limit\":"
    " 400, \"test_limit\": 40}, \"network\": {\"layers\": [{\"type\": \"conv2d\","
    " \"out_channels\": 32, \"kernel_size\": 3, \"padding\": 1}, {\"type\": \"batch_norm\"},"
    " {\"type\": \"neuron\", \"model\": \"plif\"}, {\"type\": \"max_pool2d\","
    " \"kernel_size\": 2}, {\"type\": \"flatten\"}, {\"type\": \"linear\","
    " \"out_features\": 600}, {\"type\": \"neuron\", \"model\": \"lif\"}, {\"type\": \"linear\","
    " \"out_features\": 10}]}, \"train\": {\"epochs\": 1, \"batch_size\": 16, \"optimizer\":"
    " {\"type\": \"adam\"}}, \"resources\": {\"threads\": 2}}";

static struct spec parse_text(const char *text)
{
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct spec s;
    struct err e = { 0 };
    log_set_level(LOG_ERROR);
    cr_assert_eq(spec_parse_text(text, strlen(text), &s, faults, &e), 0, "%s %s",
                 faults->items[0].pointer, faults->items[0].detail);
    mem_free(faults);
    return s;
}

static struct spec parse(void) { return parse_text(spec_text); }

/* The most memory this process ever had. */
static double peak_bytes(void)
{
    char line[200];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    cr_assert(f != NULL);
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "VmHWM: %ld kB", &kib) == 1) break;
    (void)fclose(f);
    cr_assert_gt(kib, 0);
    return (double)kib * 1024.0;
}

static void train(struct spec *s, const char *dir, uint64_t max_steps, struct footprint *planned)
{
    struct trainer t;
    struct trainer_result r;
    struct err e = { 0 };
    bool resumed;
    const struct trainer_options o = { .dir = dir, .training = true, .max_steps = max_steps };
    cr_assert_eq(trainer_init(&t, s, &o, &e), 0, "%s", e.text);
    cr_assert_eq(trainer_resume(&t, &resumed, &e), 0, "%s", e.text);
    cr_assert_eq(trainer_run(&t, &r, &e), 0, "%s", e.text);
    *planned = t.footprint;
    trainer_deinit(&t);
}

static void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), f->d_name, 0);
    if (d != NULL) (void)closedir(d);
    (void)rmdir(dir);
}

#ifdef __SANITIZE_ADDRESS__
#define MEASURABLE false /* shadow memory and quarantine are no part of any plan */
#else
#define MEASURABLE true
#endif

/* Goal: a training with validation, checkpoint and resume takes what was planned, within 5 % or
 * 16 MiB. */
Test(footprint, the_plan_is_what_a_process_takes, .timeout = 120, .disabled = !MEASURABLE)
{
    char dir[] = "/tmp/spiked-footprint-XXXXXX";
    struct spec s = parse();
    struct footprint f;
    cr_assert(mkdtemp(dir) != NULL);
    train(&s, dir, 3, &f);
    train(&s, dir, 5, &f);
    const double peak = peak_bytes(), total = (double)f.total_bytes, room = 16.0 * 1048576.0;
    const double allowed = 0.05 * total > room ? 0.05 * total : room;
    cr_assert(peak > total - allowed && peak < total + allowed, "planned %.1f MiB, took %.1f",
              total / 1048576.0, peak / 1048576.0);
    remove_folder(dir);
    spec_deinit(&s);
}

/* Goal: the kinds add up, and those of training are the sizes they say. */
Test(footprint, kinds_add_up, .timeout = 60)
{
    struct spec s = parse();
    for (int training = 0; training < 2; training++) {
        struct trainer t;
        struct err e = { 0 };
        const struct trainer_options o = { .training = training };
        cr_assert_eq(trainer_init(&t, &s, &o, &e), 0, "%s", e.text);
        const struct footprint *f = &t.footprint;
        cr_assert_eq(f->total_bytes, f->net_bytes + f->optimizer_bytes + f->best_bytes +
                                         f->staging_bytes + f->dataset_bytes + f->program_bytes);
        cr_assert_eq(f->net_bytes, net_arena_high_water(t.net));
        cr_assert_eq(f->optimizer_bytes, 2 * t.optimizer.floats * sizeof(float));
        cr_assert_eq(f->best_bytes, t.at.best_floats * sizeof(float));
        if (training) cr_assert_gt(f->optimizer_bytes, (size_t)8 << 20);
        trainer_deinit(&t);
    }
    spec_deinit(&s);
}

/* Goal: memory_mib is a limit of the whole: what leaves room for the network only is refused, by
 * kinds; what leaves room for all is not. */
Test(footprint, the_limit_is_of_the_whole, .timeout = 60)
{
    struct spec s = parse();
    struct trainer t;
    struct err e = { 0 };
    const struct trainer_options o = { .training = true };
    cr_assert_eq(trainer_init(&t, &s, &o, &e), 0, "%s", e.text);
    const int64_t net = (int64_t)(t.footprint.net_bytes >> 20) + 1;
    const int64_t all = (int64_t)(t.footprint.total_bytes >> 20) + 1;
    trainer_deinit(&t);
    s.memory_mib = net + 1;
    cr_assert_lt(s.memory_mib, all);
    cr_assert_eq(trainer_init(&t, &s, &o, &e), ERR_OUT_OF_PLAN);
    cr_assert(strstr(e.text, "the run needs") != NULL && strstr(e.text, "optimiser") != NULL, "%s",
              e.text);
    s.memory_mib = all;
    cr_assert_eq(trainer_init(&t, &s, &o, &e), 0, "%s", e.text);
    trainer_deinit(&t);
    spec_deinit(&s);
}

/* Activations are larger than all else, and the floats among them are not static. */
static const char *const deep_text =
    "{\"version\": 1, \"time_steps\": 4, \"dataset\": {\"name\": \"glyphs\", \"train_limit\":"
    " 200, \"test_limit\": 40}, \"network\": {\"layers\": [{\"type\": \"conv2d\","
    " \"out_channels\": 16, \"kernel_size\": 3, \"padding\": 1}, {\"type\": \"batch_norm\"},"
    " {\"type\": \"neuron\"}, {\"type\": \"sew_block\", \"out_channels\": 16},"
    " {\"type\": \"conv2d\", \"out_channels\": 16, \"kernel_size\": 3, \"padding\": 1},"
    " {\"type\": \"batch_norm\"}, {\"type\": \"neuron\"}, {\"type\": \"flatten\"},"
    " {\"type\": \"dropout\"}, {\"type\": \"linear\", \"out_features\": 10}], \"neuron\":"
    " {\"v_threshold\": 0.5}}, \"train\": {\"epochs\": 1, \"batch_size\": 64}}";

/* Weights after three steps; planned: what it took. */
static float *train_within(struct spec *s, enum spec_recompute how, int64_t memory_mib,
                           size_t *floats, struct net_plan *planned)
{
    struct trainer t;
    struct trainer_result r;
    struct err e = { 0 };
    const struct trainer_options o = { .training = true, .max_steps = 3 };
    s->train.recompute = how;
    s->memory_mib = memory_mib;
    cr_assert_eq(trainer_init(&t, s, &o, &e), 0, "%s", e.text);
    cr_assert_eq(trainer_run(&t, &r, &e), 0, "%s", e.text);
    const float *w = net_weights(t.net, floats);
    float *copy = mem_calloc(*floats, sizeof copy[0]);
    memcpy(copy, w, *floats * sizeof copy[0]);
    *planned = *net_plan(t.net);
    trainer_deinit(&t);
    return copy;
}

/* Goal: what is too much for memory_mib is refused; "auto" makes it fit and trains to the same
 * bits; where even that is too much, the text says what would do, and that does. */
Test(footprint, recomputation_makes_it_fit, .timeout = 120)
{
    struct spec s = parse_text(deep_text);
    struct trainer t;
    struct err e = { 0 };
    struct net_plan kept, least, fitted;
    size_t floats;
    const struct trainer_options o = { .training = true };
    float *a = train_within(&s, SPEC_RECOMPUTE_OFF, 0, &floats, &kept);
    float *b = train_within(&s, SPEC_RECOMPUTE_LEAST, 0, &floats, &least);
    cr_assert_lt(least.total_bytes + ((size_t)4 << 20), kept.total_bytes);
    cr_assert_eq(least.without_recompute_bytes, kept.total_bytes);
    s.memory_mib = 40;
    for (int auto_ = 0; auto_ < 2; auto_++) {
        s.train.recompute = auto_ ? SPEC_RECOMPUTE_AUTO : SPEC_RECOMPUTE_OFF;
        cr_assert_eq(trainer_init(&t, &s, &o, &e), ERR_OUT_OF_PLAN);
        cr_assert_eq(strstr(e.text, "the smallest memory_mib") != NULL, auto_, "%s", e.text);
    }
    int64_t smallest = 0;
    cr_assert_eq(sscanf(e.text, "the run needs %ld MiB", &smallest), 1, "%s", e.text);
    s.memory_mib = smallest - 1;
    cr_assert_eq(trainer_init(&t, &s, &o, &e), ERR_OUT_OF_PLAN);
    float *c = train_within(&s, SPEC_RECOMPUTE_AUTO, smallest, &floats, &fitted);
    cr_assert(fitted.recomputed_macs > 0 && fitted.recomputed_macs <= least.recomputed_macs);
    cr_assert_eq(memcmp(a, b, floats * sizeof a[0]), 0, "weights of least_memory differ");
    cr_assert_eq(memcmp(a, c, floats * sizeof a[0]), 0, "weights of auto differ");
    mem_free(a);
    mem_free(b);
    mem_free(c);
    spec_deinit(&s);
}
