/* Trainings with masked PSN: lambda grows with the epochs, is kept in checkpoints and weight files,
 * and a stop in the middle changes no bit. */
#include "common/log.h"
#include "common/mem.h"
#include "worker/nets/safetensors.h"
#include "worker/train/trainer.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char spec_text[] =
    "{\"version\":1,\"dataset\":{\"name\":\"glyphs\",\"train_limit\":100,\"test_limit\":20},"
    "\"monitors\":[],\"network\":{\"layers\":[{\"type\":\"flatten\"},{\"type\":\"linear\","
    "\"out_features\":20},{\"type\":\"neuron\",\"model\":\"masked_psn\",\"k\":2,\"lambda_rate\":1},"
    "{\"type\":\"linear\",\"out_features\":10}]},"
    "\"train\":{\"epochs\":3,\"batch_size\":16},\"resources\":{\"threads\":1}}";

struct run {
    struct spec spec;
    struct trainer t;
    struct trainer_result result;
};

/* Trains up to max_steps (0: to the end), going on from a checkpoint in dir. */
static void run_begin(struct run *r, const char *dir, uint64_t max_steps)
{
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct err e = { 0 };
    bool resumed;
    log_set_level(LOG_ERROR);
    cr_assert_eq(spec_parse_text(spec_text, sizeof spec_text - 1, &r->spec, faults, &e), 0, "%s",
                 faults->items[0].detail);
    mem_free(faults);
    const struct trainer_options o = { .dir = dir, .training = true, .max_steps = max_steps };
    cr_assert_eq(trainer_init(&r->t, &r->spec, &o, &e), 0, "%s", e.text);
    cr_assert_eq(trainer_resume(&r->t, &resumed, &e), 0, "%s", e.text);
    cr_assert_eq(trainer_run(&r->t, &r->result, &e), 0, "%s", e.text);
}

static void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), f->d_name, 0);
    if (d != NULL) (void)closedir(d);
    (void)rmdir(dir);
}

static void run_end(struct run *r)
{
    trainer_deinit(&r->t);
    spec_deinit(&r->spec);
}

static float lambda_of(const struct net *n)
{
    float value = -1.0f;
    for (size_t i = 0; i < net_param_count(n); i++)
        if (strcmp(net_param(n, i)->name, "2._lambda_") == 0) {
            cr_assert_eq(net_param(n, i)->role, NET_BUFFER);
            net_param_read(n, i, &value);
        }
    return value;
}

/* Goal: lambda is 0, 1/2, 1 in three epochs; a run stopped in the second one has the checkpoint's
 * 1/2 before it trains on, and ends with the bits of a run without a stop. */
Test(masked_training, lambda_is_of_the_epoch_and_of_the_checkpoint, .timeout = 60)
{
    char whole[] = "/tmp/spiked-masked-XXXXXX", parts[] = "/tmp/spiked-masked-XXXXXX";
    cr_assert(mkdtemp(whole) != NULL && mkdtemp(parts) != NULL);
    struct run a, b;
    run_begin(&a, whole, 0);
    cr_expect_eq(lambda_of(a.t.net), 1.0f);
    const uint64_t per_epoch = a.t.steps_per_epoch;
    run_begin(&b, parts, 1);
    cr_expect_eq(lambda_of(b.t.net), 0.0f);
    run_end(&b);
    run_begin(&b, parts, per_epoch + 2);
    cr_expect_eq(lambda_of(b.t.net), 0.5f);
    run_end(&b);
    run_begin(&b, parts, per_epoch + 2); /* nothing left to do: lambda is the checkpoint's */
    cr_expect_eq(lambda_of(b.t.net), 0.5f);
    run_end(&b);
    run_begin(&b, parts, 0);
    const size_t floats = weights_floats(a.t.net);
    float *x = mem_calloc(2 * floats, sizeof x[0]);
    weights_collect(a.t.net, x);
    weights_collect(b.t.net, x + floats);
    cr_expect_eq(memcmp(x, x + floats, floats * sizeof x[0]), 0);
    cr_expect_eq(a.result.test_loss, b.result.test_loss);
    mem_free(x);
    run_end(&a);
    run_end(&b);
    remove_folder(whole);
    remove_folder(parts);
}

/* Goal: a weight file with the constant masks of PyTorch's module is taken, lambda with it. */
Test(masked_training, files_with_masks_are_taken, .timeout = 60)
{
    char dir[] = "/tmp/spiked-masked-XXXXXX", path[64];
    cr_assert(mkdtemp(dir) != NULL);
    struct run a;
    run_begin(&a, dir, 1);
    (void)snprintf(path, sizeof path, "%s/masks.safetensors", dir);
    struct safetensors_entry entries[16] = { 0 };
    struct err e = { 0 };
    const size_t n = net_param_count(a.t.net);
    float *values = mem_calloc(weights_floats(a.t.net), sizeof values[0]), *at = values;
    weights_collect(a.t.net, values);
    for (size_t i = 0; i < n; at += net_param(a.t.net, i++)->logical) {
        const struct net_param *p = net_param(a.t.net, i);
        entries[i] = (struct safetensors_entry){ .type = SAFETENSORS_F32, .n_dims = p->n_dims,
                                                 .elements = p->logical, .data = at };
        (void)snprintf(entries[i].name, sizeof entries[i].name, "%s", p->name);
        memcpy(entries[i].dims, p->dims, p->n_dims * sizeof p->dims[0]);
        if (strcmp(p->name, "2._lambda_") == 0) at[0] = 0.75f;
    }
    const float mask[16] = { 0 };
    for (size_t i = n; i < n + 2; i++)
        entries[i] = (struct safetensors_entry){ .type = SAFETENSORS_F32, .n_dims = 2,
                                                 .dims = { 4, 4 }, .elements = 16, .data = mask };
    (void)snprintf(entries[n].name, sizeof entries[n].name, "2.mask0");
    (void)snprintf(entries[n + 1].name, sizeof entries[n].name, "2.mask1");
    cr_assert_eq(safetensors_write(path, entries, n + 2, NULL, 0, &e), 0, "%s", e.text);
    cr_assert_eq(weights_load(path, a.t.net, &e), 0, "%s", e.text);
    cr_expect_eq(lambda_of(a.t.net), 0.75f);
    float w[16];
    cr_assert_eq(net_psn_weight(a.t.net, 2, w, &e), 0, "%s", e.text);
    cr_expect(w[4 * 3 + 3] != 0.0f && w[1] != 0.0f);
    mem_free(values);
    run_end(&a);
    remove_folder(dir);
}
