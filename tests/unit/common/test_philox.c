/* Philox4x32-10 against the published vectors of Random123 1.14 (kat_vectors), and the numbers
 * made from it. */
#include "common/philox.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Goal: ten rounds give the published numbers. */
Test(philox4, published_vectors, .timeout = 5)
{
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } cases[] = {
        { { 0 }, { 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
          { 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < 3; i++) {
        const struct philox_key key = { { cases[i].key[0], cases[i].key[1] } };
        uint32_t got[4];
        philox4(key, cases[i].counter, got);
        cr_expect_arr_eq(got, cases[i].want, sizeof got, "vector %zu", i);
    }
}

/* Goal: element, sample, step and layer are the counter words the header promises. */
Test(philox_u32, words_of_the_counter, .timeout = 5)
{
    const struct philox_key key = { { 0xa4093822, 0x299f31d0 } };
    static const uint32_t want[4] = { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 };
    for (uint64_t lane = 0; lane < 4; lane++) {
        const uint64_t element = UINT64_C(0x243f6a88) * 4 + lane;
        cr_expect_eq(philox_u32(key, element, 0x85a308d3, 0x13198a2e, 0x03707344), want[lane]);
    }
}

/* Goal: seeds and purposes give streams of their own, the same ones at every call. */
Test(philox_key, streams_differ_by_seed_and_purpose, .timeout = 5)
{
    struct philox_key keys[32];
    size_t n = 0;
    for (uint64_t seed = 0; seed < 4; seed++)
        for (int purpose = PHILOX_INIT; purpose <= PHILOX_BENCH; purpose++)
            keys[n++] = philox_key(seed, (enum philox_purpose)purpose);
    cr_assert_eq(n, 32);
    for (size_t i = 0; i < n; i++) {
        const enum philox_purpose purpose = (enum philox_purpose)(i % 8 + PHILOX_INIT);
        const struct philox_key again = philox_key(i / 8, purpose);
        cr_expect_arr_eq(&again, &keys[i], sizeof again);
        for (size_t j = 0; j < i; j++)
            cr_expect_neq(memcmp(&keys[i], &keys[j], sizeof keys[i]), 0, "%zu and %zu", i, j);
    }
}

/* Goal: uniform numbers lie in [0, 1) on the grid of 24 bits, with the right mean and variance,
 * and the filled array holds what the single calls give, for every length modulo 4. */
Test(philox_uniform, range_moments_and_fill, .timeout = 10)
{
    enum { N = 20003 };
    static float filled[N + 1];
    const struct philox_key key = philox_key(3, PHILOX_ENCODER);
    double sum = 0, square = 0;
    filled[N] = -7;
    philox_fill_uniform(key, 5, 6, 7, filled, N);
    cr_expect_eq(filled[N], -7.0f, "nothing behind the end is written");
    for (uint64_t i = 0; i < N; i++) {
        const float u = philox_uniform(key, i, 5, 6, 7);
        cr_assert_eq(u, filled[i]);
        cr_assert(u >= 0.0f && u < 1.0f);
        cr_assert_eq(u * 0x1p24f, floorf(u * 0x1p24f));
        sum += u;
        square += (double)u * u;
    }
    const double mean = sum / N;
    cr_expect_float_eq(mean, 0.5, 0.01);
    cr_expect_float_eq(square / N - mean * mean, 1.0 / 12, 0.005);
}

/* Goal: philox_below stays below its bound and meets every value about equally often. */
Test(philox_below, covers_its_range_evenly, .timeout = 10)
{
    enum { N = 14000, BOUND = 7 };
    unsigned count[BOUND] = { 0 };
    const struct philox_key key = philox_key(1, PHILOX_SHUFFLE);
    for (uint64_t i = 0; i < N; i++) {
        const uint32_t x = philox_below(key, i, 0, 2, 0, BOUND);
        cr_assert_lt(x, BOUND);
        count[x]++;
        cr_assert_eq(philox_below(key, i, 0, 2, 0, 1), 0u);
    }
    for (int i = 0; i < BOUND; i++) cr_expect(abs((int)count[i] - N / BOUND) < 200, "%u", count[i]);
}

/* Goal: normal numbers are finite and have mean 0, variance 1 and the shares of a normal within
 * one and two standard deviations. */
Test(philox_normal, moments_of_a_normal, .timeout = 10)
{
    enum { N = 20000 };
    const struct philox_key key = philox_key(2, PHILOX_INIT);
    double sum = 0, square = 0, one = 0, two = 0;
    for (uint64_t i = 0; i < N; i++) {
        const float x = philox_normal(key, i, 0, 0, 4);
        cr_assert(isfinite(x));
        cr_assert_eq(x, philox_normal(key, i, 0, 0, 4));
        sum += x;
        square += (double)x * x;
        one += fabsf(x) < 1;
        two += fabsf(x) < 2;
    }
    cr_expect_float_eq(sum / N, 0, 0.03);
    cr_expect_float_eq(square / N, 1, 0.05);
    cr_expect_float_eq(one / N, 0.6827, 0.015);
    cr_expect_float_eq(two / N, 0.9545, 0.01);
}

/* Goal: normal numbers are Box-Muller of the documented pair, to the last bits of float. */
Test(philox_normal, equals_box_muller, .timeout = 10)
{
    const struct philox_key key = philox_key(9, PHILOX_INIT);
    for (uint64_t i = 0; i < 2000; i++) {
        const double u = ((double)philox_u32(key, 2 * i, 1, 2, 3) + 1) * 0x1p-32;
        const double v = (double)philox_u32(key, 2 * i + 1, 1, 2, 3) * 0x1p-32;
        const double want = sqrt(-2 * log(u)) * cos(2 * M_PI * v);
        cr_expect_float_eq(philox_normal(key, i, 1, 2, 3), want, 1e-6 * (1 + fabs(want)));
    }
}
