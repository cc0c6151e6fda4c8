/* The built-in memory task: a sample shows what its definition says, and nothing but the order in
 * time tells which of its two symbols is asked for. */
#include "worker/data/dataset.h"
#include "tests/unit/data/data_fixture.h"

#include <criterion/criterion.h>
#include <string.h>

#define CHANNELS 10
#define SYMBOLS 8
#define T 9

static struct dataset *open_recall(size_t time_steps)
{
    struct dataset *d;
    struct err e = { 0 };
    cr_assert_eq(open_steps(&d, "delayed-recall", time_steps, (struct spec_frames){ 0 }, NULL, &e),
                 0, "%s", e.text);
    cr_assert(d->kind == SPEC_DATA_SEQUENCES && d->t == time_steps && d->c == CHANNELS &&
              d->classes == SYMBOLS);
    return d;
}

/* Goal: two symbols, at step 0 and later in the first half, a cue in the last step, noise below
 * 0.3 elsewhere, and the label that the cue asks for. */
Test(recall, samples_are_what_they_should_be, .timeout = 10)
{
    struct dataset *d = open_recall(T);
    size_t classes[SYMBOLS] = { 0 }, cues[2] = { 0 }, steps[T] = { 0 };
    for (size_t i = 0; i < 2000; i++) {
        float x[T][CHANNELS], again[T][CHANNELS];
        d->ops->read(d, DATASET_TRAIN, i, &x[0][0]);
        d->ops->read(d, DATASET_TRAIN, i, &again[0][0]);
        cr_assert_arr_eq(x, again, sizeof x);
        size_t symbol[2] = { 99, 99 }, step[2], found = 0, cue = x[T - 1][SYMBOLS] == 0.0f;
        cr_assert_eq(x[T - 1][SYMBOLS + cue], 1.0f);
        for (size_t t = 0; t < T; t++)
            for (size_t c = 0; c < CHANNELS; c++) {
                if (c >= SYMBOLS) {
                    cr_assert_eq(x[t][c], t == T - 1 && c == SYMBOLS + cue ? 1.0f : 0.0f);
                } else if (x[t][c] == 1.0f) {
                    cr_assert_lt(found, 2);
                    symbol[found] = c;
                    step[found++] = t;
                } else {
                    cr_assert(x[t][c] >= 0.0f && x[t][c] < 0.3f);
                }
            }
        cr_assert(found == 2 && step[0] == 0 && step[1] > 0 && step[1] < T / 2);
        cr_assert_neq(symbol[0], symbol[1]);
        cr_assert_eq(d->ops->label(d, DATASET_TRAIN, i), symbol[cue]);
        classes[symbol[cue]]++;
        cues[cue]++;
        steps[step[1]]++;
    }
    for (size_t c = 0; c < SYMBOLS; c++) cr_assert(classes[c] > 190 && classes[c] < 310);
    for (size_t c = 0; c < 2; c++) cr_assert(cues[c] > 900 && cues[c] < 1100);
    for (size_t t = 1; t < T / 2; t++) cr_assert_gt(steps[t], 400);
    dataset_close(d);
}

/* Goal: training and test are different draws, and too few time-steps are refused by pointer. */
Test(recall, parts_differ_and_short_sequences_are_refused)
{
    struct dataset *d = open_recall(4);
    float a[4 * CHANNELS], b[4 * CHANNELS];
    size_t equal = 0;
    for (size_t i = 0; i < 200; i++) {
        d->ops->read(d, DATASET_TRAIN, i, a);
        d->ops->read(d, DATASET_TEST, i, b);
        equal += memcmp(a, b, sizeof a) == 0;
    }
    cr_assert_eq(equal, 0);
    dataset_close(d);
    struct err e = { 0 };
    const struct spec_frames none = { 0 };
    cr_assert_eq(open_steps(&d, "delayed-recall", 3, none, NULL, &e), ERR_SPEC);
    cr_assert_not_null(strstr(e.text, "/time_steps"), "%s", e.text);
}
