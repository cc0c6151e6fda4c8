/* Sets and batches: disjoint, complete, and functions of seed, epoch and index alone. */
#include "worker/data/batcher.h"
#include "tests/unit/data/data_fixture.h"

#include "common/mem.h"
#include "worker/data/transforms.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

struct world {
    struct dataset *data;
    struct spec_dataset spec;
    struct sample_set train, validation, test;
    struct threads *threads;
    struct batcher batcher;
};

static struct world *make(size_t threads, enum spec_encoder encoder)
{
    struct world *k = mem_calloc(1, sizeof *k);
    struct err e = { 0 };
    cr_assert_eq(open_named(&k->data, "glyphs", NULL, &e), 0);
    k->spec = (struct spec_dataset){ .validation_fraction = 0.1,
                                     .train_limit = 1000,
                                     .encoder = encoder,
                                     .transforms = { { .type = SPEC_RANDOM_CROP, .padding = 2 },
                                                     { .type = SPEC_HORIZONTAL_FLIP, .p = 0.5 } },
                                     .n_transforms = 2 };
    cr_assert_eq(sample_sets_make(k->data, &k->spec, 3, &k->train, &k->validation, &k->test, &e),
                 0);
    cr_assert_eq(threads_create(&k->threads, threads, &e), 0);
    cr_assert_eq(batcher_init(&k->batcher, k->data, &k->spec, 4, 3, 2000, k->threads, &e), 0);
    return k;
}

static void drop(struct world *k)
{
    batcher_deinit(&k->batcher);
    threads_destroy(k->threads);
    sample_set_deinit(&k->train);
    sample_set_deinit(&k->validation);
    sample_set_deinit(&k->test);
    dataset_close(k->data);
    mem_free(k);
}

/* Goal: the validation split takes a tenth of every class and nothing is in both sets. */
Test(batcher, validation_is_cut_by_class)
{
    struct world *k = make(1, SPEC_ENCODER_DIRECT);
    size_t in_train[10] = { 0 }, held[10] = { 0 };
    bool seen[8000] = { false };
    cr_assert_eq(k->train.count + k->validation.count, 1000);
    for (size_t i = 0; i < k->train.count; i++) {
        seen[k->train.index[i]] = true;
        in_train[k->data->ops->label(k->data, DATASET_TRAIN, k->train.index[i])]++;
    }
    for (size_t i = 0; i < k->validation.count; i++) {
        cr_assert(!seen[k->validation.index[i]], "sample %u is in both", k->validation.index[i]);
        held[k->data->ops->label(k->data, DATASET_TRAIN, k->validation.index[i])]++;
    }
    for (int c = 0; c < 10; c++)
        cr_assert(fabs((double)held[c] - 0.1 * (double)(held[c] + in_train[c])) <= 0.5,
                  "class %d: %zu of %zu", c, held[c], held[c] + in_train[c]);
    drop(k);
}

/* One batch of an epoch, as floats and labels. */
static void batch_of(struct world *k, uint64_t epoch, size_t first, size_t n, bool augment,
                     float *out, uint32_t *labels)
{
    const struct tensor_desc d = tensor_make(TENSOR_F32, n, 2, 1, 28, 28);
    float *input = mem_calloc(d.elements, sizeof(float));
    batcher_begin(&k->batcher, &k->train, epoch, true);
    batcher_fill(&k->batcher, &k->train, epoch, first, n, augment, &d, input, labels);
    for (size_t b = 0; b < n; b++)
        for (size_t t = 0; t < 2; t++)
            for (size_t i = 0; i < 784; i++)
                out[(b * 2 + t) * 784 + i] = tensor_get(&d, input, b, t, 0, i / 28, i % 28);
    mem_free(input);
}

/* Goal: an epoch shows every sample once, in an order of its own. */
Test(batcher, an_epoch_is_a_permutation)
{
    struct world *k = make(1, SPEC_ENCODER_DIRECT);
    uint32_t first[1000];
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        bool seen[1000] = { false };
        size_t same = 0;
        batcher_begin(&k->batcher, &k->train, epoch, true);
        for (size_t i = 0; i < k->train.count; i++) {
            const uint32_t at = k->batcher.order[i];
            cr_assert(at < k->train.count && !seen[at]);
            seen[at] = true;
            if (epoch == 0) first[i] = at;
            else same += first[i] == at;
        }
        cr_assert(same < 20, "epoch %d repeats the order of the first", (int)epoch);
    }
    batcher_begin(&k->batcher, &k->validation, 0, false);
    for (uint32_t i = 0; i < k->validation.count; i++) cr_assert_eq(k->batcher.order[i], i);
    drop(k);
}

/* Goal: pixels and labels do not depend on threads, on where a batch begins, or on what came
 * before. */
Test(batcher, batches_are_functions_of_epoch_and_index)
{
    static const enum spec_encoder encoders[] = { SPEC_ENCODER_DIRECT, SPEC_ENCODER_POISSON,
                                                  SPEC_ENCODER_LATENCY };
    float *a = mem_calloc(32 * 2 * 784, sizeof(float)),
          *b = mem_calloc(32 * 2 * 784, sizeof(float));
    for (int i = 0; i < 2; i++) {
        struct world *one = make(1, encoders[i]), *three = make(3, encoders[i]);
        uint32_t la[32], lb[32];
        batch_of(one, 4, 64, 32, true, a, la);
        batch_of(three, 2, 0, 32, true, b, lb); /* something else first */
        batch_of(three, 4, 64, 16, true, b, lb);
        batch_of(three, 4, 80, 16, true, b + 16 * 2 * 784, lb + 16);
        cr_assert(memcmp(a, b, 32 * 2 * 784 * sizeof(float)) == 0 &&
                  memcmp(la, lb, sizeof la) == 0);
        batch_of(three, 5, 64, 32, true, b, lb);
        cr_assert(memcmp(a, b, 32 * 2 * 784 * sizeof(float)) != 0, "two epochs are alike");
        drop(one);
        drop(three);
    }
    mem_free(a);
    mem_free(b);
}

/* Goal: Poisson spikes are 0 or 1 and come as often as the pixel is bright; direct input repeats
 * itself. */
Test(batcher, encoders_keep_their_promise)
{
    struct world *k = make(2, SPEC_ENCODER_POISSON);
    double bright = 0, spikes = 0;
    float *a = mem_calloc(64 * 2 * 784, sizeof(float)), *image = mem_calloc(784, sizeof(float));
    uint32_t labels[64];
    for (size_t lot = 0; lot < 8; lot++) {
        batch_of(k, 0, 64 * lot, 64, false, a, labels);
        for (size_t b = 0; b < 64; b++) {
            k->data->ops->read(k->data, DATASET_TRAIN,
                               k->train.index[k->batcher.order[64 * lot + b]], image);
            for (size_t i = 0; i < 784; i++) bright += 2.0 * (double)image[i];
        }
        for (size_t i = 0; i < 64 * 2 * 784; i++) {
            cr_assert(a[i] == 0.0f || a[i] == 1.0f);
            spikes += (double)a[i];
        }
    }
    cr_assert(fabs(spikes / bright - 1.0) < 0.01, "%g spikes for a brightness of %g", spikes,
              bright);
    drop(k);
    k = make(1, SPEC_ENCODER_DIRECT);
    batch_of(k, 0, 0, 8, false, a, labels);
    for (size_t b = 0; b < 8; b++)
        cr_assert(memcmp(a + b * 2 * 784, a + (b * 2 + 1) * 784, 784 * sizeof(float)) == 0);
    drop(k);
    mem_free(a);
    mem_free(image);
}

/* Goal: a crop moves the picture by at most its padding and a flip mirrors it; nothing else
 * happens. */
Test(batcher, transforms_move_and_mirror)
{
    struct world *k = make(1, SPEC_ENCODER_DIRECT);
    float *a = mem_calloc(16 * 2 * 784, sizeof(float)), *plain = mem_calloc(784, sizeof(float));
    uint32_t labels[16];
    batch_of(k, 1, 0, 16, true, a, labels);
    for (size_t b = 0; b < 16; b++) {
        const float *got = a + b * 2 * 784;
        bool found = false;
        k->data->ops->read(k->data, DATASET_TRAIN, k->train.index[k->batcher.order[b]], plain);
        for (int move = 0; move < 50 && !found; move++) {
            const int dy = move / 2 / 5 - 2, dx = move / 2 % 5 - 2;
            bool equal = true;
            for (int y = 0; y < 28 && equal; y++)
                for (int x = 0; x < 28 && equal; x++) {
                    const int sx = (move % 2 ? 27 - x : x) + dx, sy = y + dy;
                    const bool inside = sx >= 0 && sx < 28 && sy >= 0 && sy < 28;
                    equal = got[y * 28 + x] == (inside ? plain[sy * 28 + sx] : 0.0f);
                }
            found = equal;
        }
        cr_assert(found, "sample %zu is no crop or mirror image of its picture", b);
    }
    drop(k);
    mem_free(a);
    mem_free(plain);
}

/* Goal: every frame of a sample is cropped and mirrored alike and comes to its own time-step. */
Test(batcher, frames_of_a_sample_move_together)
{
    enum { T = 3, N = 16, CELLS = 2 * 784 };
    struct spec_dataset spec = { .transforms = { { .type = SPEC_RANDOM_CROP, .padding = 3 },
                                                 { .type = SPEC_HORIZONTAL_FLIP, .p = 0.5 } },
                                 .n_transforms = 2 };
    struct sample_set train, validation, test;
    struct dataset *d;
    struct threads *threads;
    struct batcher b;
    struct err e = { 0 };
    cr_assert_eq(open_steps(&d, "moving-glyphs", T, spec.frames, NULL, &e), 0);
    cr_assert_eq(sample_sets_make(d, &spec, 3, &train, &validation, &test, &e), 0);
    cr_assert_eq(threads_create(&threads, 2, &e), 0);
    cr_assert_eq(batcher_init(&b, d, &spec, T, 3, train.count, threads, &e), 0);
    const struct tensor_desc desc = tensor_make(TENSOR_F32, N, T, 2, 28, 28);
    float *input = mem_calloc(desc.elements, sizeof input[0]), frames[T * CELLS], spare[CELLS];
    uint32_t labels[N];
    batcher_begin(&b, &train, 1, true);
    batcher_fill(&b, &train, 1, 0, N, true, &desc, input, labels);
    for (size_t n = 0; n < N; n++) {
        const uint32_t index = train.index[b.order[n]];
        const struct sample_place at = { b.augment, index, 1, 2, 28, 28 };
        d->ops->read(d, DATASET_TRAIN, index, frames);
        cr_assert_eq(labels[n], d->ops->label(d, DATASET_TRAIN, index));
        for (size_t t = 0; t < T; t++) {
            transforms_apply(&spec, &at, frames + t * CELLS, spare);
            for (size_t k = 0; k < CELLS; k++)
                cr_assert_eq(tensor_get(&desc, input, n, t, k / 784, k / 28 % 28, k % 28),
                             frames[t * CELLS + k], "sample %zu step %zu", n, t);
        }
    }
    batcher_deinit(&b);
    threads_destroy(threads);
    sample_set_deinit(&train);
    sample_set_deinit(&validation);
    sample_set_deinit(&test);
    dataset_close(d);
    mem_free(input);
}
