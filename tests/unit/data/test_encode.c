/* Encoders: every kind of input tensor, spikes at the rate of the pixel, and what a spike depends
 * on. */
#include "worker/data/encode.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define C 3
#define H 4
#define W 5
#define PIXELS (C * H * W)
#define T 6
#define B 2

static void *tensor(const struct tensor_desc *d)
{
    void *p = aligned_alloc(64, mem_align(tensor_bytes(d), 64));
    cr_assert(p != NULL);
    memset(p, 0, mem_align(tensor_bytes(d), 64));
    return p;
}

static void grey(float p[PIXELS])
{
    for (int i = 0; i < PIXELS; i++) p[i] = (float)i / (PIXELS - 1);
}

static struct encode_place place(uint32_t index, uint32_t epoch)
{
    return (struct encode_place){ philox_key(4, PHILOX_ENCODER), index, epoch };
}

static struct encoder encoder(enum spec_encoder type, size_t t)
{
    const struct spec_dataset spec = { .encoder = type, .phases = 4 };
    struct encoder e;
    encoder_init(&e, &spec, t);
    return e;
}

static float value(const struct tensor_desc *d, const void *x, size_t b, size_t t, size_t i)
{
    return tensor_get(d, x, b, t, i / (H * W), i / W % H, i % W);
}

/* Goal: direct input is the image at every step, stored once when it repeats, in its own sample
 * only. */
Test(encode, direct)
{
    static const enum tensor_kind kinds[] = { TENSOR_F32, TENSOR_REPEAT };
    float p[PIXELS];
    grey(p);
    for (int k = 0; k < 2; k++) {
        const struct tensor_desc d = tensor_make(kinds[k], B, T, C, H, W);
        const struct encode_place at = place(7, 0);
        const struct encoder direct = encoder(SPEC_ENCODER_DIRECT, T);
        void *x = tensor(&d);
        encode_sample(&direct, &at, p, &d, x, 1);
        for (size_t t = 0; t < T; t++)
            for (size_t i = 0; i < PIXELS; i++) {
                cr_assert_eq(value(&d, x, 1, t, i), p[i]);
                cr_assert_eq(value(&d, x, 0, t, i), 0.0f, "the other sample was written");
            }
        free(x);
    }
}

/* Goal: a spike is uniform(element, index, epoch, step) <= pixel, as floats and as bits alike. */
Test(encode, poisson_is_the_documented_stream)
{
    const struct tensor_desc bits = tensor_make(TENSOR_BITS, B, T, C, H, W),
                             floats = tensor_make(TENSOR_F32, B, T, C, H, W);
    uint64_t *x = tensor(&bits);
    float *y = tensor(&floats), p[PIXELS];
    grey(p);
    const struct encode_place at = place(21, 5);
    const struct encoder poisson = encoder(SPEC_ENCODER_POISSON, T);
    encode_sample(&poisson, &at, p, &bits, x, 0);
    encode_sample(&poisson, &at, p, &floats, y, 0);
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < PIXELS; i++) {
            const float want = philox_uniform(at.key, i, 21, 5, (uint32_t)t) <= p[i];
            cr_assert(value(&bits, x, 0, t, i) == want && value(&floats, y, 0, t, i) == want,
                      "step %zu, element %zu", t, i);
        }
    cr_assert_eq(tensor_count(&bits, x, 1, 2), 0, "the other sample was written");
    free(x);
    free(y);
}

/* Goal: over many samples every pixel fires at its own rate, black never (but for one draw in
 * 2^24) and white always, and steps are independent. */
Test(encode, poisson_rates)
{
    enum { SAMPLES = 2000 };
    const struct encoder poisson = encoder(SPEC_ENCODER_POISSON, 2);
    const struct tensor_desc d = tensor_make(TENSOR_BITS, 1, 2, C, H, W);
    uint64_t *x = tensor(&d);
    float p[PIXELS];
    int fired[PIXELS] = { 0 }, both[PIXELS] = { 0 };
    grey(p);
    for (uint32_t s = 0; s < SAMPLES; s++) {
        const struct encode_place at = place(s, 0);
        encode_sample(&poisson, &at, p, &d, x, 0);
        for (size_t i = 0; i < PIXELS; i++) {
            const bool first = value(&d, x, 0, 0, i) != 0, second = value(&d, x, 0, 1, i) != 0;
            fired[i] += first + second;
            both[i] += first && second;
        }
    }
    for (int i = 0; i < PIXELS; i++) { /* five standard deviations */
        const double r = (double)p[i], rr = r * r;
        cr_assert(fabs(fired[i] / 2.0 / SAMPLES - r) <= 5 * sqrt(r * (1 - r) / 2 / SAMPLES),
                  "pixel %g: %d", r, fired[i]);
        cr_assert(fabs((double)both[i] / SAMPLES - rr) <= 5 * sqrt(rr * (1 - rr) / SAMPLES),
                  "pixel %g: %d in both steps", r, both[i]);
    }
    free(x);
}

/* Goal: spikes follow from index and epoch: the same again, others for another of either. */
Test(encode, depends_on_index_and_epoch)
{
    const struct tensor_desc d = tensor_make(TENSOR_BITS, 4, T, C, H, W);
    uint64_t *x = tensor(&d);
    float p[PIXELS];
    const struct encoder poisson = encoder(SPEC_ENCODER_POISSON, T);
    static const uint32_t at_of[4][2] = { { 3, 1 }, { 3, 1 }, { 4, 1 }, { 3, 2 } };
    grey(p);
    for (size_t b = 0; b < 4; b++) {
        const struct encode_place at = place(at_of[b][0], at_of[b][1]);
        encode_sample(&poisson, &at, p, &d, x, b);
    }
    size_t differ[4] = { 0 };
    for (size_t b = 1; b < 4; b++)
        for (size_t t = 0; t < T; t++)
            for (size_t i = 0; i < PIXELS; i++)
                differ[b] += value(&d, x, 0, t, i) != value(&d, x, b, t, i);
    cr_assert(differ[1] == 0 && differ[2] > 60 && differ[3] > 60, "%zu, %zu, %zu of 360",
              differ[1], differ[2], differ[3]);
    free(x);
}

/* Goal: one spike a code, where the formula has it, halves to the even step; black is last, white
 * first; also for so many steps that exp(T-1) overflows. */
Test(encode, latency)
{
    static const size_t counts[] = { 1, 2, 5, 8, 16, 300, SPEC_TIME_STEPS_MAX };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (int log_code = 0; log_code < 2; log_code++) {
            const size_t t = counts[i];
            const struct spec_dataset spec = { .encoder = SPEC_ENCODER_LATENCY,
                                               .latency = (enum spec_latency)log_code };
            static struct encoder e;
            encoder_init(&e, &spec, t);
            for (int k = 0; k <= 1000; k++) {
                const float x = (float)k / 1000;
                const long double last = (long double)(t - 1), v = (long double)x,
                                  at = log_code ? last - logl(expm1l(last) * v + 1)
                                                : last * (1 - v);
                if (fabsl(at - floorl(at) - 0.5L) < 1e-9L && log_code) continue;
                cr_assert_eq(encode_latency(&e, x), (size_t)rintl(at), "T %zu, %g: %zu, %Lg", t,
                             (double)x, encode_latency(&e, x), at);
            }
            cr_assert(encode_latency(&e, 0) == t - 1 && encode_latency(&e, 1) == 0);
            cr_assert(encode_latency(&e, -1) == t - 1 && encode_latency(&e, 2) == 0 &&
                      encode_latency(&e, NAN) == t - 1);
        }
    struct encoder e = encoder(SPEC_ENCODER_LATENCY, 6);
    cr_assert_eq(encode_latency(&e, 0.5f), 2, "2.5 goes to 2");
    e = encoder(SPEC_ENCODER_LATENCY, 5);
    cr_assert_eq(encode_latency(&e, 0.375f), 2, "2.5 goes to 2");
    cr_assert_eq(encode_latency(&e, 0.125f), 4, "3.5 goes to 4");
}

/* Goal: spikes of latency and phases in the tensor, repeating when it has more steps than the
 * code. */
Test(encode, codes_repeat)
{
    const struct tensor_desc d = tensor_make(TENSOR_BITS, B, 2 * T, C, H, W);
    const struct encoder latency = encoder(SPEC_ENCODER_LATENCY, T),
                         phase = encoder(SPEC_ENCODER_WEIGHTED_PHASE, T);
    const struct encode_place at = place(0, 0);
    uint64_t *x = tensor(&d), *y = tensor(&d);
    float p[PIXELS];
    grey(p);
    encode_sample(&latency, &at, p, &d, x, 1);
    encode_sample(&phase, &at, p, &d, y, 1);
    for (size_t i = 0; i < PIXELS; i++) {
        const int whole = p[i] >= 1 ? 15 : (int)(p[i] * 16);
        for (size_t t = 0; t < 2 * T; t++) {
            cr_assert_eq(value(&d, x, 1, t, i), t % T == encode_latency(&latency, p[i]));
            cr_assert_eq(value(&d, y, 1, t, i), whole >> (3 - t % 4) & 1, "%g, %zu", (double)p[i],
                         t);
        }
    }
    cr_assert_eq(tensor_count(&d, x, 0, 1) + tensor_count(&d, y, 0, 1), 0, "the other sample");
    free(x);
    free(y);
}

/* Goal: frames come round again. */
Test(encode, frames_repeat)
{
    const struct tensor_desc d = tensor_make(TENSOR_F32, B, T, C, H, W);
    float *x = tensor(&d), p[4 * PIXELS];
    for (int i = 0; i < 4 * PIXELS; i++) p[i] = (float)i;
    encode_periodic(p, 4, &d, x, 1);
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < PIXELS; i++)
            cr_assert_eq(value(&d, x, 1, t, i), p[t % 4 * PIXELS + i]);
    free(x);
}
