/* The built-in dataset is a real learning problem: a linear classifier fails, labels carry the
 * information, training and test samples are different drawings. */
#include "worker/data/dataset.h"
#include "tests/unit/data/data_fixture.h"

#include "common/mem.h"
#include "common/philox.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIXELS 784
#define CLASSES 10
#define TRAIN 4000
#define TEST 1000
#define EPOCHS 12
#define BATCH 32

struct samples {
    float *pixels; /* [n][PIXELS] */
    uint32_t *labels;
    size_t n;
};

static struct samples load(enum dataset_part part, size_t n)
{
    struct dataset *d;
    struct err e = { 0 };
    cr_assert_eq(open_named(&d, "glyphs", NULL, &e), 0, "%s", e.text);
    cr_assert(d->count[part] >= n && d->c * d->h * d->w == PIXELS && d->classes == CLASSES);
    struct samples s = { mem_calloc(n * PIXELS, sizeof(float)), mem_calloc(n, sizeof(uint32_t)),
                         n };
    for (size_t i = 0; i < n; i++) {
        d->ops->read(d, part, i, s.pixels + i * PIXELS);
        s.labels[i] = d->ops->label(d, part, i);
    }
    dataset_close(d);
    return s;
}

static void unload(struct samples *s)
{
    mem_free(s->pixels);
    mem_free(s->labels);
}

/* ---- softmax regression ---------------------------------------------------------------------- */
struct linear {
    float w[CLASSES][PIXELS], b[CLASSES];
};

static void scores(const struct linear *m, const float *x, float out[CLASSES])
{
    for (int c = 0; c < CLASSES; c++) {
        float sum = 0;
        for (int i = 0; i < PIXELS; i++) sum += m->w[c][i] * x[i];
        out[c] = sum + m->b[c];
    }
}

static void softmax(float s[CLASSES])
{
    float top = s[0], sum = 0;
    for (int c = 1; c < CLASSES; c++) top = fmaxf(top, s[c]);
    for (int c = 0; c < CLASSES; c++) sum += s[c] = expf(s[c] - top);
    for (int c = 0; c < CLASSES; c++) s[c] /= sum;
}

/* Stochastic gradient descent with a falling rate. */
static void fit(struct linear *m, const struct samples *s)
{
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        const float rate = 0.2f * powf(0.75f, (float)epoch) / BATCH;
        for (size_t first = 0; first + BATCH <= s->n; first += BATCH) {
            struct linear *g = mem_calloc(1, sizeof *g);
            for (size_t i = first; i < first + BATCH; i++) {
                float p[CLASSES];
                scores(m, s->pixels + i * PIXELS, p);
                softmax(p);
                for (int c = 0; c < CLASSES; c++) {
                    const float d = p[c] - (s->labels[i] == (uint32_t)c);
                    for (int k = 0; k < PIXELS; k++)
                        g->w[c][k] += d * s->pixels[i * PIXELS + (size_t)k];
                    g->b[c] += d;
                }
            }
            for (int c = 0; c < CLASSES; c++) {
                for (int k = 0; k < PIXELS; k++) m->w[c][k] -= rate * g->w[c][k];
                m->b[c] -= rate * g->b[c];
            }
            mem_free(g);
        }
    }
}

static double accuracy(const struct linear *m, const struct samples *s)
{
    size_t right = 0;
    for (size_t i = 0; i < s->n; i++) {
        float p[CLASSES];
        scores(m, s->pixels + i * PIXELS, p);
        int best = 0;
        for (int c = 1; c < CLASSES; c++)
            if (p[c] > p[best]) best = c;
        right += s->labels[i] == (uint32_t)best;
    }
    return (double)right / (double)s->n;
}

/* Goal: softmax regression learns something but stays below 75 %. */
Test(glyphs, a_linear_classifier_is_not_enough, .timeout = 60)
{
    struct samples train = load(DATASET_TRAIN, TRAIN), test = load(DATASET_TEST, TEST);
    struct linear *m = mem_calloc(1, sizeof *m);
    fit(m, &train);
    const double got = accuracy(m, &test);
    cr_log_info("softmax regression: %.1f %% of the test set, %.1f %% of the training set",
                100 * got, 100 * accuracy(m, &train));
    cr_assert(got < 0.75, "%g", got);
    cr_assert(got > 0.25, "%g: the regression itself does not learn", got);
    mem_free(m);
    unload(&train);
    unload(&test);
}

/* Goal: with shuffled labels nothing can be learned about the test set. */
Test(glyphs, shuffled_labels_are_chance, .timeout = 60)
{
    struct samples train = load(DATASET_TRAIN, TRAIN), test = load(DATASET_TEST, TEST);
    struct linear *m = mem_calloc(1, sizeof *m);
    const struct philox_key key = philox_key(5, PHILOX_SHUFFLE);
    for (size_t i = train.n - 1; i > 0; i--) {
        const size_t j = philox_below(key, i, 0, 0, 0, (uint32_t)i + 1);
        const uint32_t t = train.labels[i];
        train.labels[i] = train.labels[j];
        train.labels[j] = t;
    }
    fit(m, &train);
    const double got = accuracy(m, &test);
    cr_assert(got < 0.2, "%g", got);
    mem_free(m);
    unload(&train);
    unload(&test);
}

static int by_digest(const void *a, const void *b) { return memcmp(a, b, DIGEST_BYTES); }

/* Goal: no drawing comes twice, neither within a part nor in training and test. */
Test(glyphs, every_drawing_is_new, .timeout = 60)
{
    struct samples train = load(DATASET_TRAIN, 8000), test = load(DATASET_TEST, 2000);
    uint8_t(*all)[DIGEST_BYTES] = mem_calloc(10000, DIGEST_BYTES);
    for (size_t i = 0; i < 10000; i++)
        digest_bytes(i < 8000 ? train.pixels + i * PIXELS : test.pixels + (i - 8000) * PIXELS,
                     PIXELS * sizeof(float), all[i]);
    qsort(all, 10000, DIGEST_BYTES, by_digest);
    for (size_t i = 1; i < 10000; i++) cr_assert(memcmp(all[i - 1], all[i], DIGEST_BYTES) != 0);
    mem_free(all);
    unload(&train);
    unload(&test);
}

/* Goal: ten classes about equally often, pixels in [0, 1], the same bits at every reading. */
Test(glyphs, samples_are_balanced_and_fixed, .timeout = 60)
{
    struct samples a = load(DATASET_TRAIN, 2000), b = load(DATASET_TRAIN, 2000);
    size_t count[CLASSES] = { 0 };
    cr_assert(memcmp(a.pixels, b.pixels, 2000 * PIXELS * sizeof(float)) == 0);
    for (size_t i = 0; i < a.n; i++) count[a.labels[i]]++;
    for (int c = 0; c < CLASSES; c++)
        cr_assert(count[c] > 150 && count[c] < 250, "%d: %zu", c, count[c]);
    for (size_t i = 0; i < a.n * PIXELS; i++) cr_assert(a.pixels[i] >= 0 && a.pixels[i] <= 1);
    unload(&a);
    unload(&b);
}

/* Goal: samples keep their bits: their version says that they are the first. */
Test(glyphs, samples_keep_their_bits, .timeout = 20)
{
    struct samples train = load(DATASET_TRAIN, 100), test = load(DATASET_TEST, 100);
    float *all = mem_calloc(200 * PIXELS, sizeof(float));
    for (size_t i = 0; i < 100; i++) {
        memcpy(all + i * PIXELS, train.pixels + i * PIXELS, PIXELS * sizeof(float));
        memcpy(all + (100 + i) * PIXELS, test.pixels + i * PIXELS, PIXELS * sizeof(float));
    }
    uint8_t digest[DIGEST_BYTES];
    char hex[DIGEST_HEX_MAX];
    digest_bytes(all, 200 * PIXELS * sizeof(float), digest);
    digest_hex(digest, hex);
    cr_assert_str_eq(hex, "b4a66bcfcc1520320e32e6191ee4f56acd18acf270d3b0d75cb8c3c5b2a7e353");
    mem_free(all);
    unload(&train);
    unload(&test);
}
