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

/* Value of class c that the loss is of: time-step t's, or the readout for t < 0. */
static double plain_value(enum spec_readout readout, const double *y, size_t b, int t, size_t c)
{
    if (t >= 0) return y[(b * T + (size_t)t) * C + c];
    if (readout == SPEC_READOUT_MEAN) return mean_output(y, b, c);
    if (readout == SPEC_READOUT_LAST) return y[(b * T + T - 1) * C + c];
    double top = y[b * T * C + c], low = top;
    for (size_t k = 1; k < T; k++) {
        top = fmax(top, y[(b * T + k) * C + c]);
        low = fmin(low, y[(b * T + k) * C + c]);
    }
    if (readout == SPEC_READOUT_MAX_MEMBRANE) return top;
    return fabs(top) > fabs(low) ? top : low;
}

static double plain_loss(const struct spec_loss *l, enum spec_readout readout, const double *y)
{
    const bool steps = l->per_step || l->type == SPEC_LOSS_TET;
    const double share = l->type == SPEC_LOSS_TET ? 1 - l->lambda : 1;
    double loss = 0;
    for (size_t b = 0; b < B; b++)
        for (int t = steps ? 0 : -1; t < (steps ? T : 0); t++) {
            double sum = 0;
            for (size_t c = 0; c < C; c++) sum += exp(plain_value(readout, y, b, t, c));
            for (size_t c = 0; c < C; c++) {
                const double m = plain_value(readout, y, b, t, c), hit = labels[b] == c;
                const double q = (1 - l->label_smoothing) * hit + l->label_smoothing / C;
                if (l->type == SPEC_LOSS_MSE) loss += (m - hit) * (m - hit) / C;
                else loss -= share * q * (m - log(sum));
                if (l->type == SPEC_LOSS_TET) loss += l->lambda * pow(m - l->means, 2) / C;
            }
        }
    return loss / B / (steps ? T : 1);
}

static void check_readout(const struct spec_loss *l, enum spec_readout readout)
{
    const struct tensor_desc d = tensor_make(TENSOR_F32, B, T, C, 1, 1);
    const struct tensor_desc gd = tensor_gradient(&d, false);
    float *y = aligned_alloc(64, tensor_bytes(&d) + 64),
          *g = aligned_alloc(64, tensor_bytes(&gd) + 64);
    double plain[B * T * C];
    const struct loss_args a = { .loss = l, .readout = readout, .shards = 1, .samples = B,
                                 .labels = labels };
    memset(y, 0, tensor_bytes(&d));
    fill(&d, y, plain);
    const struct loss_result r = loss_compute(&a, &d, y, &gd, g);
    cr_assert(fabs(r.loss - plain_loss(l, readout, plain)) < 1e-9, "%g", r.loss);
    for (size_t i = 0; i < B * T * C; i++) {
        const double kept = plain[i], eps = 1e-5;
        plain[i] = kept + eps;
        const double up = plain_loss(l, readout, plain);
        plain[i] = kept - eps;
        const double slope = (up - plain_loss(l, readout, plain)) / (2 * eps);
        plain[i] = kept;
        const double got = (double)tensor_get(&gd, g, i / C / T, i / C % T, i % C, 0, 0);
        cr_assert(fabs(got - slope) < 1e-7, "element %zu: %g, %g", i, got, slope);
    }
    free(y);
    free(g);
}

static void check(struct spec_loss l)
{
    check_readout(&l, SPEC_READOUT_MEAN);
    check_readout(&l, SPEC_READOUT_LAST);
    check_readout(&l, SPEC_READOUT_MAX_MEMBRANE);
    check_readout(&l, SPEC_READOUT_MAX_ABS_MEMBRANE);
}

/* Goal: MSE and its gradient, of every readout and per time-step. */
Test(loss, mean_squared_error)
{
    check((struct spec_loss){ .type = SPEC_LOSS_MSE });
    check((struct spec_loss){ .type = SPEC_LOSS_MSE, .per_step = true });
}

/* Goal: cross entropy and its gradient, plain and smoothed, of every readout and per time-step. */
Test(loss, cross_entropy)
{
    check((struct spec_loss){ .type = SPEC_LOSS_CROSS_ENTROPY });
    check((struct spec_loss){ .type = SPEC_LOSS_CROSS_ENTROPY, .label_smoothing = 0.1 });
    check((struct spec_loss){ .type = SPEC_LOSS_CROSS_ENTROPY, .label_smoothing = 0.1,
                              .per_step = true });
}

/* Goal: TET and its gradient; without lambda it is the per-step cross entropy. */
Test(loss, temporal_efficient_training)
{
    check((struct spec_loss){ .type = SPEC_LOSS_TET, .lambda = 0, .means = 1 });
    check((struct spec_loss){ .type = SPEC_LOSS_TET, .lambda = 0.05, .means = 1 });
    check((struct spec_loss){ .type = SPEC_LOSS_TET, .lambda = 1, .means = -0.5 });
}

/* Goal: the readout decides what is correct, also where the loss is per time-step. */
Test(loss, hits_are_of_the_readout)
{
    const struct tensor_desc d = tensor_make(TENSOR_F32, 1, T, C, 1, 1);
    float *y = aligned_alloc(64, tensor_bytes(&d) + 64);
    memset(y, 0, tensor_bytes(&d));
    tensor_set(&d, y, 0, 0, 2, 0, 0, 5); /* the largest */
    tensor_set(&d, y, 0, 2, 2, 0, 0, -6);
    tensor_set(&d, y, 0, 1, 3, 0, 0, 2); /* the largest mean: 4/3 */
    tensor_set(&d, y, 0, 2, 3, 0, 0, 2);
    tensor_set(&d, y, 0, 2, 4, 0, 0, 3); /* the last */
    tensor_set(&d, y, 0, 0, 5, 0, 0, 3.5f); /* the largest of those furthest from 0 */
    tensor_set(&d, y, 0, 1, 5, 0, 0, -3);
    static const uint32_t want[] = { [SPEC_READOUT_MEAN] = 3, [SPEC_READOUT_LAST] = 4,
                                     [SPEC_READOUT_MAX_MEMBRANE] = 2,
                                     [SPEC_READOUT_MAX_ABS_MEMBRANE] = 5 };
    for (int readout = 0; readout <= SPEC_READOUT_MAX_ABS_MEMBRANE; readout++)
        for (uint32_t label = 0; label < C; label++) {
            const struct spec_loss l = { .type = SPEC_LOSS_TET, .lambda = 0.1 };
            const struct loss_args a = { .loss = &l, .readout = (enum spec_readout)readout,
                                         .shards = 1, .samples = 1, .labels = &label };
            cr_assert_eq(loss_compute(&a, &d, y, NULL, NULL).correct, label == want[readout],
                         "%d %d", readout, (int)label);
        }
    free(y);
}

/* Goal: of potentials of equal magnitude the negative one is read, where it comes first; a NaN is
 * seen. */
Test(loss, furthest_potential)
{
    static const float steps[][T] = { { 2, -2, -2 }, { -2, 2, -2 }, { 1, -3, 2 }, { 3, 1, -2 },
                                      { 1, NAN, 9 } };
    static const size_t want[] = { 1, 0, 1, 0, 1 };
    const struct tensor_desc d = tensor_make(TENSOR_F32, 1, T, 1, 1, 1);
    const struct tensor_desc gd = tensor_gradient(&d, false);
    float *y = aligned_alloc(64, tensor_bytes(&d) + 64), *g = aligned_alloc(64, 4096), z;
    const uint32_t label = 0;
    const struct spec_loss l = { .type = SPEC_LOSS_MSE };
    const struct loss_args a = { .loss = &l, .readout = SPEC_READOUT_MAX_ABS_MEMBRANE, .shards = 1,
                                 .samples = 1, .labels = &label };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        for (size_t t = 0; t < T; t++) tensor_set(&d, y, 0, t, 0, 0, 0, steps[i][t]);
        loss_readout(&a, &d, y, 0, &z);
        (void)loss_compute(&a, &d, y, &gd, g);
        cr_assert(z == steps[i][want[i]] || (isnan(z) && isnan(steps[i][want[i]])), "%zu", i);
        for (size_t t = 0; t < T; t++)
            cr_assert_eq(tensor_get(&gd, g, 0, t, 0, 0, 0) != 0, t == want[i], "%zu, %zu", i, t);
    }
    free(y);
    free(g);
}

/* Goal: batches that are parts of one update add up to the mean over all its samples. */
Test(loss, parts_of_an_update)
{
    const struct tensor_desc d = tensor_make(TENSOR_F32, B, T, C, 1, 1);
    const struct tensor_desc gd = tensor_gradient(&d, false);
    float *y = aligned_alloc(64, tensor_bytes(&d) + 64),
          *g = aligned_alloc(64, tensor_bytes(&gd) + 64);
    double plain[B * T * C];
    const struct spec_loss l = { .type = SPEC_LOSS_TET, .lambda = 0.3, .means = 1 };
    struct loss_args a = { .loss = &l, .shards = 1, .samples = B, .labels = labels };
    memset(y, 0, tensor_bytes(&d));
    fill(&d, y, plain);
    const double whole = loss_compute(&a, &d, y, &gd, g).loss;
    const float slope = tensor_get(&gd, g, 1, 1, 1, 0, 0);
    a.total = 4 * B;
    cr_assert(fabs(loss_compute(&a, &d, y, &gd, g).loss - whole / 4) < 1e-15);
    cr_assert(fabsf(tensor_get(&gd, g, 1, 1, 1, 0, 0) - slope / 4) < 1e-9f);
    free(y);
    free(g);
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
        const struct spec_loss l = { .type = SPEC_LOSS_CROSS_ENTROPY, .label_smoothing = 0.1 };
        const struct loss_args a = { .loss = &l, .shards = shards, .samples = B,
                                     .labels = labels };
        const struct loss_result r = loss_compute(&a, &d, y, &gd, shards == 1 ? first : g);
        cr_assert(fabs(r.loss - plain_loss(&l, SPEC_READOUT_MEAN, plain)) < 1e-9, "%zu: %g", shards,
                  r.loss);
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
    const struct tensor_desc gd = tensor_gradient(&each, false);
    float *g = aligned_alloc(64, tensor_bytes(&gd) + 64),
          *h = aligned_alloc(64, tensor_bytes(&gd) + 64);
    static const struct spec_loss losses[] = {
        { .type = SPEC_LOSS_MSE },
        { .type = SPEC_LOSS_CROSS_ENTROPY, .per_step = true },
        { .type = SPEC_LOSS_TET, .lambda = 0.2, .means = 1 },
    };
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
        const struct loss_args a = { .loss = &losses[i], .shards = 1, .samples = B,
                                     .labels = labels };
        const struct loss_result r = loss_compute(&a, &once, x, &gd, g),
                                 s = loss_compute(&a, &each, y, &gd, h);
        cr_assert(fabs(r.loss - s.loss) < 1e-12 && r.correct == s.correct && r.loss > 0);
        for (size_t k = 0; k < gd.elements; k++) cr_assert(fabsf(g[k] - h[k]) < 1e-8f);
    }
    free(g);
    free(h);
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
    const struct spec_loss l = { .type = SPEC_LOSS_MSE };
    const struct loss_args a = { .loss = &l, .shards = 1, .samples = 2, .labels = labels };
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
    const struct spec_loss l = { .type = SPEC_LOSS_CROSS_ENTROPY };
    const struct loss_args a = { .loss = &l, .shards = 1, .samples = 1, .labels = labels };
    cr_assert(!isfinite(loss_compute(&a, &d, y, NULL, NULL).loss));
    free(y);
}

/* ---- lengths --------------------------------------------------------------------------------- */
/* Loss and gradient of sample b alone, over its own time-steps, as a share of a batch of B. */
static double alone(const struct spec_loss *l, enum spec_readout readout, size_t b, size_t steps,
                    float g[T * C])
{
    const struct tensor_desc whole = tensor_make(TENSOR_F32, B, T, C, 1, 1);
    const struct tensor_desc d = tensor_make(TENSOR_F32, 1, steps, C, 1, 1);
    const struct tensor_desc gd = tensor_gradient(&d, false);
    double plain[B * T * C];
    float *all = aligned_alloc(64, tensor_bytes(&whole) + 64);
    float *y = aligned_alloc(64, tensor_bytes(&d) + 64), *dy = aligned_alloc(64, 4096);
    fill(&whole, all, plain);
    for (size_t i = 0; i < steps * C; i++)
        tensor_set(&d, y, 0, i / C, i % C, 0, 0, (float)plain[b * T * C + i]);
    const struct loss_args a = { .loss = l, .readout = readout, .shards = 1, .samples = 1,
                                 .total = B, .labels = labels + b };
    const double loss = loss_compute(&a, &d, y, &gd, dy).loss;
    for (size_t i = 0; i < T * C; i++)
        g[i] = i < steps * C ? tensor_get(&gd, dy, 0, i / C, i % C, 0, 0) : 0.0f;
    free(all);
    free(y);
    free(dy);
    return loss;
}

static void check_lengths(const struct spec_loss *l, enum spec_readout readout)
{
    static const uint32_t lengths[B] = { 1, 3, 2, 3, 1 };
    const struct tensor_desc d = tensor_make(TENSOR_F32, B, T, C, 1, 1);
    const struct tensor_desc gd = tensor_gradient(&d, false);
    float *y = aligned_alloc(64, tensor_bytes(&d) + 64), *g = aligned_alloc(64, 8192);
    double plain[B * T * C], sum = 0;
    const struct loss_args a = { .loss = l, .readout = readout, .shards = 1, .samples = B,
                                 .labels = labels, .lengths = lengths };
    fill(&d, y, plain);
    const double loss = loss_compute(&a, &d, y, &gd, g).loss;
    for (size_t b = 0; b < B; b++) {
        float want[T * C];
        sum += alone(l, readout, b, lengths[b], want);
        for (size_t i = 0; i < T * C; i++)
            cr_assert_eq(tensor_get(&gd, g, b, i / C, i % C, 0, 0), want[i], "sample %zu, %zu", b,
                         i);
    }
    cr_assert_eq(loss, sum);
    free(y);
    free(g);
}

/* Goal: with lengths every loss and readout is the sum of those of its samples alone, each over its
 * own time-steps, bit for bit; gradients behind an end are zero. */
Test(loss, lengths_cut_every_loss, .timeout = 5)
{
    const struct spec_loss losses[] = {
        { .type = SPEC_LOSS_MSE },
        { .type = SPEC_LOSS_MSE, .per_step = true },
        { .type = SPEC_LOSS_CROSS_ENTROPY, .label_smoothing = 0.1 },
        { .type = SPEC_LOSS_CROSS_ENTROPY, .per_step = true },
        { .type = SPEC_LOSS_TET, .lambda = 0.05, .means = 1.0 },
    };
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++)
        for (int readout = 0; readout <= SPEC_READOUT_MAX_ABS_MEMBRANE; readout++)
            check_lengths(&losses[i], (enum spec_readout)readout);
}
