/* isa_surrogate: g(x) of every surrogate, one register of values at a time (docs/equations.md,
 * Surrogates). Called by the backward loops of the neurons, on any thread. Compiled once per
 * instruction set. k holds the parameters in the order of common/spec_surrogates.def. */
#define LANES_OF_REGISTER
#include "worker/kernels/lanes.h"
#include "worker/neurons/surrogate.h"

/* Bound to its name by the table at the end: g_<identifier of the row>. */
LANES_INLINE lanes_f g_atan(const float *k, lanes_f x)
{
    lanes_f z = x * (1.57079632679489662f * k[0]);
    return lanes_set(0.5f * k[0]) / (z * z + 1.0f);
}

LANES_INLINE lanes_f g_sigmoid(const float *k, lanes_f x)
{
    /* a e / (1 + e)^2 with e = exp(-a |x|): the same as a s (1 - s), without its cancellation. */
    lanes_f e = lanes_exp(lanes_abs(x) * -k[0]);
    lanes_f d = e + 1.0f;
    return (e * k[0]) / (d * d);
}

LANES_INLINE lanes_f g_piecewise_quadratic(const float *k, lanes_f x)
{
    lanes_f a = lanes_set(k[0]), width = lanes_abs(x);
    return lanes_select(lanes_gt(width, lanes_set(1.0f / k[0])), lanes_set(0.0f),
                        a - a * a * width);
}

LANES_INLINE lanes_f g_piecewise_exp(const float *k, lanes_f x)
{
    return lanes_exp(lanes_abs(x) * -k[0]) * (0.5f * k[0]);
}

LANES_INLINE lanes_f g_soft_sign(const float *k, lanes_f x)
{
    lanes_f d = lanes_abs(x) + 1.0f / k[0];
    return 1.0f / (2.0f * k[0] * (d * d));
}

LANES_INLINE lanes_f g_erf(const float *k, lanes_f x)
{
    lanes_f z = x * k[0];
    return lanes_exp(-(z * z)) * (k[0] * 0.564189583547756287f);
}

LANES_INLINE lanes_f g_nonzero_sign_log_abs(const float *k, lanes_f x)
{
    return 1.0f / (lanes_abs(x) + 1.0f / k[0]);
}

LANES_INLINE lanes_f g_piecewise_leaky_relu(const float *k, lanes_f x)
{
    return lanes_select(lanes_gt(lanes_set(k[0]), lanes_abs(x)), lanes_set(k[2] / k[0]),
                        lanes_set(k[1]));
}

LANES_INLINE lanes_f g_squarewave_fourier_series(const float *k, lanes_f x)
{
    /* Whole turns go first, so that every term stays in the range of lanes_cos, |z| (2n - 3) < 400;
     * beyond 2^22 turns a float has no phase left. */
    const lanes_f magic = lanes_set(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const lanes_f turns = x / k[1];
    const lanes_f phase = lanes_select(lanes_gt(lanes_set(0x1p22f), lanes_abs(turns)),
                                       turns - ((turns + magic) - magic), turns * 0.0f);
    const lanes_f z = phase * 6.28318530717958648f;
    lanes_f sum = lanes_set(0.0f);
    for (int i = 1; i < (int)k[0]; i++) sum = sum + lanes_cos(z * (float)(2 * i - 1));
    return sum * (4.0f / k[1]);
}

LANES_INLINE lanes_f g_s2nn(const float *k, lanes_f x)
{
    lanes_f above = lanes_set(k[1]) / (lanes_abs(x) + 1.0f);
    return lanes_select(lanes_ge(x, lanes_set(0.0f)), above, g_sigmoid(k, x));
}

LANES_INLINE lanes_f g_q_pseudo_spike(const float *k, lanes_f x)
{
    return lanes_exp(lanes_log(lanes_abs(x) * (2.0f / (k[0] - 1.0f)) + 1.0f) * -k[0]);
}

LANES_INLINE lanes_f g_leaky_k_relu(const float *k, lanes_f x)
{
    return lanes_select(lanes_ge(x, lanes_set(0.0f)), lanes_set(k[1]), lanes_set(k[0]));
}

LANES_INLINE lanes_f g_fake_numerical_gradient(const float *k, lanes_f x)
{
    return lanes_min(lanes_set(k[0]), 1.0f / lanes_abs(x));
}

LANES_INLINE lanes_f g_log_tailed_relu(const float *k, lanes_f x)
{
    const lanes_f one = lanes_set(1.0f);
    lanes_f above = lanes_select(lanes_gt(x, one), one / x, one);
    return lanes_select(lanes_gt(x, lanes_set(0.0f)), above, lanes_set(k[0]));
}

LANES_INLINE lanes_f g_deterministic_pass(const float *k, lanes_f x)
{
    (void)k;
    (void)x;
    return lanes_set(1.0f);
}

LANES_INLINE lanes_f g_rect(const float *k, lanes_f x)
{
    return lanes_select(lanes_gt(lanes_set(0.5f / k[0]), lanes_abs(x)), lanes_set(k[0]),
                        lanes_set(0.0f));
}

LANES_INLINE lanes_f g_super_spike(const float *k, lanes_f x)
{
    lanes_f d = lanes_abs(x) + 1.0f;
    return lanes_set(k[0]) / (d * d);
}

LANES_INLINE lanes_f g_multi_level_spike_count(const float *k, lanes_f x)
{
    const lanes_f zero = lanes_set(0.0f);
    lanes_f below = lanes_select(lanes_gt(x, lanes_set(k[0])), zero, lanes_set(1.0f));
    return lanes_select(lanes_ge(x, zero), below, zero);
}

LANES_INLINE lanes_f g_poisson_pass(const float *k, lanes_f x)
{
    return g_deterministic_pass(k, x);
}

#define SURROGATE(id, ...)                                                                        \
    static void apply_##id(const float *k, const float *h, float v_threshold, float *g, size_t n) \
    {                                                                                             \
        for (size_t i = 0; i < n; i += LANES)                                                     \
            lanes_store(g + i, g_##id(k, lanes_load(h + i) - v_threshold));                       \
    }
#include "common/spec_surrogates.def"
#undef SURROGATE

extern surrogate_fn *const ISA_SYMBOL(surrogate_table)[];
surrogate_fn *const ISA_SYMBOL(surrogate_table)[] = {
#define SURROGATE(id, ...) apply_##id,
#include "common/spec_surrogates.def"
#undef SURROGATE
};
