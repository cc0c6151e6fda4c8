/* Training, validation and test sets: limits, shares of every class, and what a split depends
 * on. */
#include "worker/data/batcher.h"
#include "tests/unit/data/data_fixture.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

struct sets {
    struct sample_set train, validation, test;
};

static struct sets split(const struct dataset *d, double fraction, int64_t train_limit,
                         int64_t test_limit, uint64_t seed)
{
    const struct spec_dataset spec = { .validation_fraction = fraction,
                                       .train_limit = train_limit, .test_limit = test_limit };
    struct sets s;
    struct err e = { 0 };
    cr_assert_eq(sample_sets_make(d, &spec, seed, &s.train, &s.validation, &s.test, &e), 0, "%s",
                 e.text);
    return s;
}

static void drop(struct sets *s)
{
    sample_set_deinit(&s->train);
    sample_set_deinit(&s->validation);
    sample_set_deinit(&s->test);
}

static struct dataset *glyphs(void)
{
    struct dataset *d;
    struct err e = { 0 };
    cr_assert_eq(open_named(&d, "glyphs", NULL, &e), 0);
    return d;
}

static bool same_set(const struct sample_set *a, const struct sample_set *b)
{
    return a->count == b->count && memcmp(a->index, b->index, a->count * sizeof a->index[0]) == 0;
}

/* Goal: training and validation together are the limited part, each index once and ascending, with
 * the asked share of every class, and the test set is the other part. */
Test(split, parts_every_class)
{
    static const double fractions[] = { 0.05, 0.2, 0.5 };
    struct dataset *d = glyphs();
    for (int k = 0; k < 3; k++) {
        struct sets s = split(d, fractions[k], 3000, 500, 11);
        unsigned char *seen = mem_calloc(3000, 1);
        size_t all[10] = { 0 }, held[10] = { 0 };
        const struct sample_set *both[] = { &s.train, &s.validation };
        for (int j = 0; j < 2; j++)
            for (size_t i = 0; i < both[j]->count; i++) {
                const uint32_t at = both[j]->index[i];
                const uint32_t label = d->ops->label(d, DATASET_TRAIN, at);
                cr_assert(at < 3000 && seen[at]++ == 0, "sample %u", at);
                cr_assert(i == 0 || both[j]->index[i - 1] < at);
                all[label]++;
                held[label] += j == 1;
            }
        cr_assert_eq(s.train.count + s.validation.count, 3000);
        for (int c = 0; c < 10; c++)
            cr_assert(fabs((double)held[c] - fractions[k] * (double)all[c]) <= 0.5,
                      "class %d: %zu of %zu", c, held[c], all[c]);
        cr_assert(s.train.part == DATASET_TRAIN && s.validation.part == DATASET_TRAIN);
        cr_assert(s.test.part == DATASET_TEST && s.test.count == 500);
        for (uint32_t i = 0; i < 500; i++) cr_assert_eq(s.test.index[i], i);
        mem_free(seen);
        drop(&s);
    }
    dataset_close(d);
}

/* Goal: the same seed gives the same sets, another seed holds other samples back. */
Test(split, depends_on_the_seed_alone)
{
    struct dataset *d = glyphs();
    struct sets a = split(d, 0.1, 2000, 0, 1), b = split(d, 0.1, 2000, 0, 1),
                c = split(d, 0.1, 2000, 0, 2);
    cr_assert(same_set(&a.train, &b.train) && same_set(&a.validation, &b.validation));
    cr_assert(!same_set(&a.validation, &c.validation));
    cr_assert(same_set(&a.test, &c.test) && a.test.count == d->count[DATASET_TEST]);
    drop(&a);
    drop(&b);
    drop(&c);
    dataset_close(d);
}

/* Goal: fraction 0 holds nothing back; limits beyond the data are the data. */
Test(split, without_validation_and_with_wide_limits)
{
    struct dataset *d = glyphs();
    struct sets s = split(d, 0, 1 << 30, 1 << 30, 1);
    cr_assert(s.validation.count == 0 && s.train.count == d->count[DATASET_TRAIN] &&
              s.test.count == d->count[DATASET_TEST]);
    drop(&s);
    drop(&s); /* safe again */
    dataset_close(d);
}

/* Goal: when nothing is left to train on, that is an error and no set is left behind. */
Test(split, an_empty_training_set_is_refused)
{
    struct dataset *d = glyphs();
    const struct spec_dataset spec = { .validation_fraction = 1.0, .train_limit = 50 };
    struct sets s;
    struct err e = { 0 };
    cr_assert_eq(sample_sets_make(d, &spec, 1, &s.train, &s.validation, &s.test, &e), ERR_DATA);
    cr_assert(strstr(e.text, "training") != NULL, "%s", e.text);
    cr_assert(s.train.index == NULL && s.validation.index == NULL && s.test.index == NULL);
    dataset_close(d);
}
