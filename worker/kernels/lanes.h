/* lanes: float lanes, the one vector type of the loops of isa_*.c, which are compiled once for
 * every instruction set.
 *
 * Sixteen virtual lanes: one register with AVX-512, two with AVX2, plain code elsewhere. A file
 * that defines LANES_OF_REGISTER gets as many lanes as one register holds instead: what it keeps
 * from step to step then stays in registers. Every operation is one rounded IEEE operation (fma
 * included) of one lane, so all builds give equal bits. */
#ifndef WORKER_LANES_H
#define WORKER_LANES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef SPIKED_ISA_NAME
#define SPIKED_ISA_NAME generic
#endif
#define LANES_PASTE2(name, isa) name##_##isa
#define LANES_PASTE(name, isa) LANES_PASTE2(name, isa)
/* The symbol of this build: ISA_SYMBOL(neuron_lif_ops) is neuron_lif_ops_avx512. */
#define ISA_SYMBOL(name) LANES_PASTE(name, SPIKED_ISA_NAME)

#define LANES_ALL 16 /* sums have so many, whatever a vector holds */
#if !defined(LANES_OF_REGISTER) || defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#define LANES_BYTES (LANES * 4)
/* Everything is inlined into one loop: a call would spill all state to memory. */
#define LANES_INLINE static inline __attribute__((always_inline))
/* Vector arguments of inlined functions have no ABI that could change. */
#pragma GCC diagnostic ignored "-Wpsabi"

typedef float lanes_f __attribute__((vector_size(LANES_BYTES)));
typedef int32_t lanes_i __attribute__((vector_size(LANES_BYTES)));
typedef float lanes_half_f __attribute__((vector_size(LANES_BYTES / 2)));
typedef double lanes_half_d __attribute__((vector_size(LANES_BYTES)));

/* Result of a comparison: a mask register with AVX-512, else -1 or 0 in every lane. */
#if defined(__AVX512F__)
typedef __mmask16 lanes_mask;
#else
typedef lanes_i lanes_mask;
#endif

LANES_INLINE lanes_f lanes_set(float x)
{
#if LANES == 16
    return (lanes_f){ x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x };
#elif LANES == 8
    return (lanes_f){ x, x, x, x, x, x, x, x };
#else
    return (lanes_f){ x, x, x, x };
#endif
}

LANES_INLINE lanes_f lanes_load(const float *p)
{
    lanes_f v;
    memcpy(&v, p, sizeof v);
    return v;
}

LANES_INLINE void lanes_store(float *p, lanes_f v) { memcpy(p, &v, sizeof v); }

LANES_INLINE lanes_i lanes_bits_of(lanes_f x) { return (lanes_i)x; }
LANES_INLINE lanes_f lanes_of_bits(lanes_i x) { return (lanes_f)x; }

LANES_INLINE lanes_f lanes_abs(lanes_f x) { return (lanes_f)((lanes_i)x & 0x7fffffff); }

/* a * b + c, rounded once. */
LANES_INLINE lanes_f lanes_fma(lanes_f a, lanes_f b, lanes_f c)
{
#if defined(__AVX512F__)
    return (lanes_f)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__) && LANES == 8
    return (lanes_f)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__FMA__)
    union {
        lanes_f v;
        __m256 half[2];
    } x = { a }, y = { b }, z = { c };
    z.half[0] = _mm256_fmadd_ps(x.half[0], y.half[0], z.half[0]);
    z.half[1] = _mm256_fmadd_ps(x.half[1], y.half[1], z.half[1]);
    return z.v;
#else
    for (int i = 0; i < LANES; i++) c[i] = fmaf(a[i], b[i], c[i]);
    return c;
#endif
}

LANES_INLINE lanes_mask lanes_ge(lanes_f a, lanes_f b)
{
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ);
#else
    return a >= b;
#endif
}

LANES_INLINE lanes_mask lanes_gt(lanes_f a, lanes_f b)
{
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
#else
    return a > b;
#endif
}

/* m ? a : b, lane by lane. */
LANES_INLINE lanes_f lanes_select(lanes_mask m, lanes_f a, lanes_f b)
{
#if defined(__AVX512F__)
    return (lanes_f)_mm512_mask_mov_ps((__m512)b, m, (__m512)a);
#else
    return (lanes_f)((m & (lanes_i)a) | (~m & (lanes_i)b));
#endif
}

LANES_INLINE lanes_mask lanes_both(lanes_mask a, lanes_mask b) { return (lanes_mask)(a & b); }
LANES_INLINE lanes_mask lanes_without(lanes_mask a, lanes_mask b) { return (lanes_mask)(a & ~b); }

/* The first `count` lanes. */
LANES_INLINE lanes_mask lanes_first(size_t count)
{
#if LANES == 16
    const lanes_f number = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
#elif LANES == 8
    const lanes_f number = { 0, 1, 2, 3, 4, 5, 6, 7 };
#else
    const lanes_f number = { 0, 1, 2, 3 };
#endif
    return lanes_gt(lanes_set(count < LANES ? (float)count : (float)LANES), number);
}

/* The second one where they are equal or either is NaN. */
LANES_INLINE lanes_f lanes_min(lanes_f a, lanes_f b) { return lanes_select(lanes_gt(b, a), a, b); }
LANES_INLINE lanes_f lanes_max(lanes_f a, lanes_f b) { return lanes_select(lanes_gt(a, b), a, b); }

/* Lane i of the mask as bit i: what a spike tensor stores. */
LANES_INLINE uint64_t lanes_word(lanes_mask m)
{
#if defined(__AVX512F__)
    return (uint64_t)m;
#elif defined(__AVX2__) && LANES == 8
    return (uint64_t)(unsigned)_mm256_movemask_ps((__m256)m);
#elif defined(__AVX2__)
    union {
        lanes_i v;
        __m256 half[2];
    } x = { m };
    unsigned low = (unsigned)_mm256_movemask_ps(x.half[0]);
    unsigned high = (unsigned)_mm256_movemask_ps(x.half[1]);
    return (uint64_t)(low | high << 8);
#else
    uint64_t word = 0;
    for (int i = 0; i < LANES; i++) word |= (uint64_t)(m[i] & 1) << i;
    return word;
#endif
}

/* Every lane in double. GCC takes a conversion to 512 bits apart. */
LANES_INLINE lanes_half_d lanes_wide(lanes_half_f v)
{
#if defined(__AVX512F__)
    return (lanes_half_d)_mm512_cvtps_pd((__m256)v);
#else
    return __builtin_convertvector(v, lanes_half_d);
#endif
}

/* to[i] += lane i, in double. */
LANES_INLINE void lanes_add(double to[LANES], lanes_f v)
{
    lanes_half_f half[2];
    lanes_half_d sum[2];
    memcpy(half, &v, sizeof v);
    memcpy(sum, to, sizeof sum);
    sum[0] += lanes_wide(half[0]);
    sum[1] += lanes_wide(half[1]);
    memcpy(to, sum, sizeof sum);
}

/* Double sums, one a lane of sixteen; added up in lane order at the end. */
struct lanes_sum {
    double lane[LANES_ALL];
};

/* v is block number `block` of a row of lanes. */
LANES_INLINE void lanes_sum_add(struct lanes_sum *s, size_t block, lanes_f v)
{
    lanes_add(s->lane + block * LANES % LANES_ALL, v);
}

LANES_INLINE double lanes_sum_total(const struct lanes_sum *s)
{
    double total = 0.0;
    for (int i = 0; i < LANES_ALL; i++) total += s->lane[i];
    return total;
}

#if LANES == 16
/* The sum of the lanes in double, as a binary tree: lane i with lane i + 8, then + 4, + 2, + 1. */
LANES_INLINE double lanes_total(lanes_f v)
{
    typedef double four __attribute__((vector_size(32)));
    typedef double two __attribute__((vector_size(16)));
    lanes_half_f half[2];
    four quarter[2];
    two pair[2];
    memcpy(half, &v, sizeof v);
    const lanes_half_d eight = lanes_wide(half[0]) + lanes_wide(half[1]);
    memcpy(quarter, &eight, sizeof eight);
    quarter[0] += quarter[1];
    memcpy(pair, quarter, sizeof quarter[0]);
    pair[0] += pair[1];
    return pair[0][0] + pair[0][1];
}
#endif

/* ---- own transcendental functions: libm's differ between machines ---------------------------- */

/* e^x, at most 2 ulp; x is limited to [-87, 88], NaN stays NaN. Reduction to |r| <= ln 2 / 2, then
 * the minimax polynomial of S. L. Moshier's Cephes library (expf). */
LANES_INLINE lanes_f lanes_exp(lanes_f x)
{
    const lanes_f magic = lanes_set(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    x = lanes_min(lanes_set(88.0f), lanes_max(lanes_set(-87.0f), x));
    lanes_f shifted = x * 1.44269504088896341f + magic;
    lanes_f n = shifted - magic;
    lanes_f r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    lanes_f p = lanes_set(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * (r * r) + r) + 1.0f;
    lanes_i power = ((lanes_i)shifted - (lanes_i)magic + 127) << 23;
    return p * (lanes_f)power;
}

/* ln x for normal x > 0, at most 2 ulp (Cephes logf); NaN stays NaN. */
LANES_INLINE lanes_f lanes_log(lanes_f x)
{
    const lanes_i bits = (lanes_i)x;
    lanes_i exponent = (bits >> 23) - 126;
    lanes_f m = (lanes_f)((bits & 0x007fffff) | 0x3f000000); /* [0.5, 1) */
    lanes_mask small = lanes_gt(lanes_set(0.707106781186547524f), m);
    lanes_f e = __builtin_convertvector(exponent, lanes_f);
    e = lanes_select(small, e - 1.0f, e);
    lanes_f r = lanes_select(small, m + m, m) - 1.0f;
    lanes_f z = r * r;
    lanes_f p = lanes_set(7.0376836292e-2f);
    p = p * r - 1.1514610310e-1f;
    p = p * r + 1.1676998740e-1f;
    p = p * r - 1.2420140846e-1f;
    p = p * r + 1.4249322787e-1f;
    p = p * r - 1.6668057665e-1f;
    p = p * r + 2.0000714765e-1f;
    p = p * r - 2.4999993993e-1f;
    p = p * r + 3.3333331174e-1f;
    lanes_f y = p * r * z - e * 2.12194440e-4f - z * 0.5f;
    return lanes_select(lanes_ge(x, x), (r + y) + e * 0.693359375f, x);
}

/* 1 / (1 + e^-x), at most 2.5 ulp; the exponential is of -|x|, so nothing overflows. */
LANES_INLINE lanes_f lanes_sigmoid(lanes_f x)
{
    lanes_mask negative = lanes_gt(lanes_set(0.0f), x);
    lanes_f e = lanes_exp(lanes_select(negative, x, -x));
    return lanes_select(negative, e, lanes_set(1.0f)) / (1.0f + e);
}

/* tanh x, at most 2 ulp (Cephes tanhf): a polynomial in x^2 below 0.625, 1 - 2/(e^2|x| + 1) above,
 * where it is 1 from 9.1 on. */
LANES_INLINE lanes_f lanes_tanh(lanes_f x)
{
    const lanes_f size = lanes_abs(x), z = x * x;
    lanes_f p = lanes_set(-5.70498872745e-3f);
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    lanes_f near = p * z * x + x;
    lanes_f far = 1.0f - 2.0f / (lanes_exp(size + size) + 1.0f);
    far = (lanes_f)((lanes_i)far | ((lanes_i)x & (-2147483647 - 1)));
    return lanes_select(lanes_gt(size, lanes_set(0.625f)), far, near);
}

/* cos x for |x| < 8192, NaN stays NaN (Cephes cosf): octants of pi/4 in three parts, then sine or
 * cosine. */
LANES_INLINE lanes_f lanes_cos(lanes_f x)
{
    x = lanes_abs(x);
    lanes_i octant = __builtin_convertvector(x * 1.27323954473516f, lanes_i);
    octant = (octant + 1) & ~1;
    lanes_f n = __builtin_convertvector(octant, lanes_f);
    lanes_f r = ((x - n * 0.78515625f) - n * 2.4187564849853515625e-4f) -
                n * 3.77489497744594108e-8f;
    lanes_f z = r * r;
    lanes_f c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z +
                 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
    lanes_f s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
    /* Octants 2 and 6 take the sine; 2 and 4 are negative. */
    lanes_i use_sine = (octant & 2) != 0;
    lanes_i negative = ((octant + 2) & 4) << 29;
    lanes_f value = (lanes_f)((use_sine & (lanes_i)s) | (~use_sine & (lanes_i)c));
    return (lanes_f)((lanes_i)value ^ negative);
}

#endif
