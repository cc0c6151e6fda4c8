/* The built-in event data: what a camera would say, the same at every reading, and too hard for the
 * mean picture of a class. */
#include "worker/data/dataset.h"
#include "tests/unit/data/data_fixture.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <float.h>
#include <string.h>

#define CELLS (2 * 28 * 28)
#define CLASSES 10

static struct dataset *open_moving(size_t time_steps, enum spec_split split)
{
    struct dataset *d;
    struct err e = { 0 };
    const struct spec_frames frames = { .split_by = split, .duration_us = 10000 };
    cr_assert_eq(open_steps(&d, "moving-glyphs", time_steps, frames, NULL, &e), 0, "%s", e.text);
    cr_assert(d->kind == SPEC_DATA_EVENTS && d->t == time_steps && d->c * d->h * d->w == CELLS);
    return d;
}

/* Sum of all frames, [2][28][28]. */
static void picture(const struct dataset *d, enum dataset_part part, size_t i, float *frames,
                    double *sum)
{
    d->ops->read(d, part, i, frames);
    for (size_t c = 0; c < CELLS; c++) sum[c] = 0;
    for (size_t k = 0; k < d->t * CELLS; k++) sum[k % CELLS] += (double)frames[k];
}

/* Goal: frames hold whole numbers of events; by number each has equally many, and every rule shows
 * the same events. */
Test(moving_glyphs, frames_hold_the_events_of_the_camera, .timeout = 20)
{
    enum { T = 8 };
    float *frames = mem_calloc(T * CELLS, sizeof(float));
    struct dataset *number = open_moving(T, SPEC_SPLIT_NUMBER),
                   *time = open_moving(T, SPEC_SPLIT_TIME),
                   *duration = open_moving(T, SPEC_SPLIT_DURATION);
    for (size_t i = 0; i < 50; i++) {
        double by_number[CELLS], by_time[CELLS], by_duration[CELLS], each[T] = { 0 }, all = 0, cut;
        picture(time, DATASET_TRAIN, i, frames, by_time);
        picture(duration, DATASET_TRAIN, i, frames, by_duration);
        picture(number, DATASET_TRAIN, i, frames, by_number);
        cr_assert_arr_eq(by_number, by_time, sizeof by_time);
        for (size_t k = 0; k < T * CELLS; k++) {
            cr_assert(frames[k] >= 0 && frames[k] == (float)(int)frames[k]);
            each[k / CELLS] += (double)frames[k];
        }
        for (size_t t = 0; t < T; t++) all += each[t];
        for (size_t t = 0; t + 1 < T; t++) cr_assert_eq(each[t], (double)((size_t)all / T));
        cr_assert(all > 400 && all < 6000, "sample %zu has %g events", i, all);
        cut = 0;
        for (size_t c = 0; c < CELLS; c++) {
            cr_assert_leq(by_duration[c], by_number[c]);
            cut += by_number[c] - by_duration[c];
        }
        cr_assert(cut > 0, "the last 20 of 100 ms are left out");
    }
    dataset_close(number);
    dataset_close(time);
    dataset_close(duration);
    mem_free(frames);
}

/* Goal: a sample has the same bits on every machine, as long as its version says so. */
Test(moving_glyphs, samples_are_fixed, .timeout = 20)
{
    enum { T = 4, N = 20 };
    struct dataset *d = open_moving(T, SPEC_SPLIT_TIME);
    float *a = mem_calloc(2 * N * T * CELLS, sizeof(float));
    for (size_t i = 0; i < N; i++) {
        d->ops->read(d, DATASET_TRAIN, i, a + 2 * i * T * CELLS);
        d->ops->read(d, DATASET_TEST, i, a + (2 * i + 1) * T * CELLS);
    }
    uint8_t digest[DIGEST_BYTES];
    char hex[DIGEST_HEX_MAX];
    digest_bytes(a, 2 * N * T * CELLS * sizeof(float), digest);
    digest_hex(digest, hex);
    cr_assert_str_eq(hex, "e6f602ab04f44ee1602eb50a6c701a49db099fe52fc5cca8d9242ea1c96fe06f");
    for (size_t i = 1; i < 2 * N; i++)
        cr_assert(memcmp(a, a + i * T * CELLS, T * CELLS * sizeof(float)) != 0, "sample %zu", i);
    dataset_close(d);
    mem_free(a);
}

static size_t nearest(const double (*mean)[CELLS], const double *x)
{
    size_t best = 0;
    double least = DBL_MAX;
    for (size_t c = 0; c < CLASSES; c++) {
        double distance = 0;
        for (size_t k = 0; k < CELLS; k++) distance += (x[k] - mean[c][k]) * (x[k] - mean[c][k]);
        if (distance < least) {
            least = distance;
            best = c;
        }
    }
    return best;
}

/* Goal: classes come about equally often; the nearest mean of event pictures does better than
 * chance and far worse than a network (tests/unit/train/test_event_training.c). */
Test(moving_glyphs, the_mean_picture_is_not_enough, .timeout = 60)
{
    enum { TRAIN = 2000, TEST = 500 };
    struct dataset *d = open_moving(1, SPEC_SPLIT_NUMBER);
    double(*mean)[CELLS] = mem_calloc(CLASSES, sizeof mean[0]), x[CELLS];
    float frames[CELLS];
    size_t count[CLASSES] = { 0 }, right = 0;
    for (size_t i = 0; i < TRAIN; i++) {
        const uint32_t label = d->ops->label(d, DATASET_TRAIN, i);
        picture(d, DATASET_TRAIN, i, frames, x);
        count[label]++;
        for (size_t k = 0; k < CELLS; k++) mean[label][k] += x[k];
    }
    for (size_t c = 0; c < CLASSES; c++) {
        cr_assert(count[c] > 140 && count[c] < 260, "%zu: %zu", c, count[c]);
        for (size_t k = 0; k < CELLS; k++) mean[c][k] /= (double)count[c];
    }
    for (size_t i = 0; i < TEST; i++) {
        picture(d, DATASET_TEST, i, frames, x);
        right += nearest((const double(*)[CELLS])mean, x) == d->ops->label(d, DATASET_TEST, i);
    }
    cr_log_info("nearest mean: %zu of %d", right, TEST);
    cr_assert(right > TEST * 15 / 100 && right < TEST * 50 / 100, "%zu", right);
    dataset_close(d);
    mem_free(mean);
}
