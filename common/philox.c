/* philox: see philox.h. */
#include "common/philox.h"

#include <stddef.h>

#define MULTIPLIER_0 0xD2511F53u
#define MULTIPLIER_1 0xCD9E8D57u
#define WEYL_0 0x9E3779B9u
#define WEYL_1 0xBB67AE85u
#define ROUNDS 10

/* splitmix64 (Steele et al., OOPSLA 2014): spreads a small seed over all bits of the key. */
static uint64_t splitmix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

struct philox_key philox_key(uint64_t seed, enum philox_purpose purpose)
{
    uint64_t mixed = splitmix(splitmix(seed) ^ (uint64_t)purpose);
    return (struct philox_key){ { (uint32_t)mixed, (uint32_t)(mixed >> 32) } };
}

void philox4(struct philox_key key, const uint32_t counter[4], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key.k[0], k1 = key.k[1];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t p0 = (uint64_t)MULTIPLIER_0 * c0, p1 = (uint64_t)MULTIPLIER_1 * c2;
        uint32_t hi0 = (uint32_t)(p0 >> 32), hi1 = (uint32_t)(p1 >> 32);
        c0 = hi1 ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = hi0 ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint32_t philox_u32(struct philox_key key, uint64_t element, uint32_t sample, uint32_t step,
                    uint32_t layer)
{
    uint32_t counter[4] = { (uint32_t)(element / 4), sample, step, layer }, four[4];
    philox4(key, counter, four);
    return four[element % 4];
}

static float to_uniform(uint32_t bits) { return (float)(bits >> 8) * 0x1p-24f; }

float philox_uniform(struct philox_key key, uint64_t element, uint32_t sample, uint32_t step,
                     uint32_t layer)
{
    return to_uniform(philox_u32(key, element, sample, step, layer));
}

void philox_fill_uniform(struct philox_key key, uint32_t sample, uint32_t step, uint32_t layer,
                         float *out, uint64_t n)
{
    for (uint64_t i = 0; i < n; i += 4) {
        uint32_t counter[4] = { (uint32_t)(i / 4), sample, step, layer }, four[4];
        philox4(key, counter, four);
        for (uint64_t lane = 0; lane < 4 && i + lane < n; lane++) {
            out[i + lane] = to_uniform(four[lane]);
        }
    }
}

uint32_t philox_below(struct philox_key key, uint64_t element, uint32_t sample, uint32_t step,
                      uint32_t layer, uint32_t bound)
{
    uint32_t bits = philox_u32(key, element, sample, step, layer);
    return (uint32_t)(((uint64_t)bits * bound) >> 32);
}

/* Natural logarithm for x in (0, 1]: mantissa in [sqrt(1/2), sqrt 2), then the series of
 * 2 artanh((m - 1) / (m + 1)). Plain double operations: the same bits on every machine. */
static double own_log(double x)
{
    int exponent = 0;
    while (x < 0.70710678118654752) {
        x *= 2.0;
        exponent--;
    }
    double z = (x - 1.0) / (x + 1.0), z2 = z * z, term = z, sum = 0.0;
    for (int k = 1; k <= 21; k += 2) {
        sum += term / k;
        term *= z2;
    }
    return 2.0 * sum + exponent * 0.69314718055994531;
}

/* cos(2 pi u) for u in [0, 1): folded to a quarter turn, then the Taylor series. */
static double own_cos_turn(double u)
{
    double sign = 1.0;
    if (u > 0.5) u = 1.0 - u;
    if (u > 0.25) {
        u = 0.5 - u;
        sign = -1.0;
    }
    double angle = 6.28318530717958648 * u, a2 = angle * angle, term = 1.0, sum = 0.0;
    for (int k = 0; k <= 22; k += 2) {
        sum += term;
        term *= -a2 / ((k + 1) * (k + 2));
    }
    return sign * sum;
}

float philox_normal(struct philox_key key, uint64_t element, uint32_t sample, uint32_t step,
                    uint32_t layer)
{
    uint32_t a = philox_u32(key, 2 * element, sample, step, layer);
    uint32_t b = philox_u32(key, 2 * element + 1, sample, step, layer);
    double u = ((double)a + 1.0) * 0x1p-32; /* (0, 1]: the logarithm stays finite */
    double radius = __builtin_sqrt(-2.0 * own_log(u));
    return (float)(radius * own_cos_turn((double)b * 0x1p-32));
}
