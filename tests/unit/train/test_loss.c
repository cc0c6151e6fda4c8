/* Losses against their formulas in double, and their gradients against finite differences. */
#include "worker/train/loss.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define B 5
#define T 3
#define C 7

static const uint32_t labels[B] = { 0, 6, 3, 3, 1 };

static void fill(const struct tensor_desc *d, float *y, double *plain)
{
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < T; t++)
            for (size_t c = 0; c < C; c++) {
                const double v = sin((double)(b * 31 + t * 7 + c * 3)) * 1.5;
                tensor_set(d, y, b, t, c, 0, 0, (float)v);
                plain[(b * T + t) * C + c] = (double)(float)v;
            }
}

static double mean_output(const double *y, size_t b, size_t c)
{
    double sum = 0;
    for (size_t t = 0; t < T; t++) sum += y[(b * T + t) * C + c];
    return sum / T;
}

static double plain_loss(enum spec_loss_type type, double smoothing, const double *y)
{
    double loss = 0;
    for (size_t b = 0; b < B; b++) {
        double sum = 0;
        for (size_t c = 0; c < C; c++) sum += exp(mean_output(y, b, c));
        for (size_t c = 0; c < C; c++) {
            const double m = mean_output(y, b, c), hit = labels[b] == c;
            if (type == SPEC_LOSS_MSE) loss += (m - hit) * (m - hit) / C;
            else loss -= ((1 - smoothing) * hit + smoothing / C) * (m - log(sum));
        }
    }
    return loss / B;
}

static void check(enum spec_loss_type type, double smoothing)
{
    const struct tensor_desc d = tensor_make(TENSOR_F32, B, T, C, 1, 1);
    const struct tensor_desc gd = tensor_gradient(&d, false);
    float *y = aligned_alloc(64, tensor_bytes(&d) + 64),
          *g = aligned_alloc(64, tensor_bytes(&gd) + 64);
    double plain[B * T * C];
    const struct loss_args a = { type, smoothing, 1, B, labels };
    memset(y, 0, tensor_bytes(&d));
    fill(&d, y, plain);
    const struct loss_result r = loss_compute(&a, &d, y, &gd, g);
    cr_assert(fabs(r.loss - plain_loss(type, smoothing, plain)) < 1e-9, "%g", r.loss);
    for (size_t i = 0; i < B * T * C; i++) {
        const double kept = plain[i], eps = 1e-5;
        plain[i] = kept + eps;
        const double up = plain_loss(type, smoothing, plain);
        plain[i] = kept - eps;
        const double slope = (up - plain_loss(type, smoothing, plain)) / (2 * eps);
        plain[i] = kept;
        const double got = (double)tensor_get(&gd, g, i / C / T, i / C % T, i % C, 0, 0);
        cr_assert(fabs(got - slope) < 1e-7, "element %zu: %g, %g", i, got, slope);
    }
    free(y);
    free(g);
}

/* Goal: MSE and its gradient. */
Test(loss, mean_squared_error) { check(SPEC_LOSS_MSE, 0); }

/* Goal: cross entropy and its gradient, plain and smoothed. */
Test(loss, cross_entropy)
{
    check(SPEC_LOSS_CROSS_ENTROPY, 0);
    check(SPEC_LOSS_CROSS_ENTROPY, 0.1);
}

/* Goal: shards change the order of the sum at most, never gradients or the number of hits. */
Test(loss, shards)
{
    const struct tensor_desc d = tensor_make(TENSOR_F32, B, T, C, 1, 1);
    const struct tensor_desc gd = tensor_gradient(&d, false);
    const size_t bytes = tensor_bytes(&gd);
    float *y = aligned_alloc(64, tensor_bytes(&d) + 64), *g = aligned_alloc(64, bytes + 64),
          *first = aligned_alloc(64, bytes + 64);
    double plain[B * T * C];
    size_t hits = 0;
    memset(y, 0, tensor_bytes(&d));
    fill(&d, y, plain);
    for (size_t b = 0; b < B; b++) {
        size_t best = 0;
        for (size_t c = 1; c < C; c++)
            if (mean_output(plain, b, c) > mean_output(plain, b, best)) best = c;
        hits += best == labels[b];
    }
    for (size_t shards = 1; shards <= 4; shards *= 2) {
        const struct loss_args a = { SPEC_LOSS_CROSS_ENTROPY, 0.1, shards, B, labels };
        const struct loss_result r = loss_compute(&a, &d, y, &gd, shards == 1 ? first : g);
        cr_assert(fabs(r.loss - plain_loss(a.type, 0.1, plain)) < 1e-9, "%zu: %g", shards, r.loss);
        cr_assert_eq(r.correct, hits, "%zu shards: %zu of %zu", shards, r.correct, hits);
        if (shards > 1) cr_assert_eq(memcmp(first, g, bytes), 0, "%zu shards", shards);
    }
    free(y);
    free(g);
    free(first);
}

/* Goal: an output that repeats one step has the loss of that output at every step. */
Test(loss, repeated_output)
{
    const struct tensor_desc once = tensor_make(TENSOR_REPEAT, B, T, C, 1, 1),
                             each = tensor_make(TENSOR_F32, B, T, C, 1, 1);
    float *x = aligned_alloc(64, tensor_bytes(&once) + 64),
          *y = aligned_alloc(64, tensor_bytes(&each) + 64);
    memset(x, 0, tensor_bytes(&once));
    memset(y, 0, tensor_bytes(&each));
    for (size_t i = 0; i < B * C; i++) {
        const float v = (float)cos((double)i);
        tensor_set(&once, x, i / C, 0, i % C, 0, 0, v);
        for (size_t t = 0; t < T; t++) tensor_set(&each, y, i / C, t, i % C, 0, 0, v);
    }
    const struct loss_args a = { SPEC_LOSS_MSE, 0, 1, B, labels };
    const struct loss_result r = loss_compute(&a, &once, x, NULL, NULL),
                             s = loss_compute(&a, &each, y, NULL, NULL);
    cr_assert(fabs(r.loss - s.loss) < 1e-12 && r.correct == s.correct && r.loss > 0);
    free(x);
    free(y);
}

/* Goal: only valid samples count, the rest of the batch gets no gradient, ties go to the first
 * class. */
Test(loss, partial_batches_and_ties)
{
    const struct tensor_desc d = tensor_make(TENSOR_F32, B, T, C, 1, 1);
    const struct tensor_desc gd = tensor_gradient(&d, false);
    float *y = aligned_alloc(64, tensor_bytes(&d) + 64),
          *g = aligned_alloc(64, tensor_bytes(&gd) + 64);
    memset(y, 0, tensor_bytes(&d));
    memset(g, 0xff, tensor_bytes(&gd));
    for (size_t b = 2; b < B; b++) tensor_set(&d, y, b, 0, 5, 0, 0, 1e30f);
    const struct loss_args a = { SPEC_LOSS_MSE, 0, 1, 2, labels };
    const struct loss_result r = loss_compute(&a, &d, y, &gd, g);
    cr_assert(fabs(r.loss - 1.0 / C) < 1e-12 &&
              r.correct == 1); /* all zero: class 0 is the first */
    for (size_t b = 2; b < B; b++)
        for (size_t c = 0; c < C; c++) cr_assert_eq(tensor_get(&gd, g, b, 1, c, 0, 0), 0);
    free(y);
    free(g);
}

/* Goal: an overflow is seen, not hidden. */
Test(loss, overflow_is_not_finite)
{
    const struct tensor_desc d = tensor_make(TENSOR_F32, 1, 1, C, 1, 1);
    float *y = aligned_alloc(64, tensor_bytes(&d) + 64);
    memset(y, 0, tensor_bytes(&d));
    tensor_set(&d, y, 0, 0, 2, 0, 0, INFINITY);
    const struct loss_args a = { SPEC_LOSS_CROSS_ENTROPY, 0, 1, 1, labels };
    cr_assert(!isfinite(loss_compute(&a, &d, y, NULL, NULL).loss));
    free(y);
}
