/* Own exponential, logarithm and cosine of lanes.h against libm's in double, over grids that cover
 * their ranges. The portable build runs here; that the others give equal bits is shown where they
 * are used (test_surrogate.c). */
#include "worker/kernels/kernels.h"
#include "worker/kernels/lanes.h"

#include <criterion/criterion.h>

/* lanes.h promises 2 ulp. Measured are 0.98, 0.75 and, for the cosine, 7.7e-8: the same operations
 * everywhere give the same errors everywhere, so a lost digit of a coefficient shows here. */
#define ULPS_MAX 1.0
#define COSINE_ERROR_MAX 8e-8

/* Units in the last place of a float between got and want. */
static double ulps(float got, double want)
{
    const float near = (float)want;
    const double unit = (double)(nextafterf(fabsf(near), INFINITY) - fabsf(near));
    return fabs((double)got - want) / unit;
}

struct worst {
    double ulps;
    float at;
    size_t count;
};

static void note(struct worst *w, float x, float got, double want)
{
    const double u = ulps(got, want);
    w->count++;
    if (u <= w->ulps) return;
    w->ulps = u;
    w->at = x;
}

/* Sixteen arguments at a time, each lane another one. */
static void take_lanes(float first, float step, float x[LANES])
{
    for (int i = 0; i < LANES; i++) x[i] = first + step * (float)i;
}

/* Goal: e^x keeps the bound from -87 to 88. */
Test(isa_math, exponential)
{
    struct worst w = { 0 };
    for (float from = -87.0f; from < 87.9f; from += 0.00347f) {
        float x[LANES], y[LANES];
        take_lanes(from, 0.00021f, x);
        lanes_store(y, lanes_exp(lanes_load(x)));
        for (int i = 0; i < LANES; i++) note(&w, x[i], y[i], exp((double)x[i]));
    }
    cr_assert(w.count > 500000 && w.ulps <= ULPS_MAX, "%g ulp at %a", w.ulps, (double)w.at);
}

/* Goal: outside its range e^x stays at the ends, without infinities or denormals. */
Test(isa_math, exponential_is_limited)
{
    static const float far[] = { -INFINITY, -1e30f, -200.0f, 200.0f, 1e30f, INFINITY };
    for (int i = 0; i < 6; i++) {
        const float got = lanes_exp(lanes_set(far[i]))[i];
        cr_assert(ulps(got, far[i] < 0 ? exp(-87) : exp(88)) <= ULPS_MAX, "e^%g = %g",
                  (double)far[i], (double)got);
    }
}

/* Goal: ln x keeps the bound for every exponent, and near 1, where it goes through 0. */
Test(isa_math, logarithm)
{
    struct worst w = { 0 };
    for (int e = -126; e < 128; e++)
        for (float m = 1.0f; m < 2.0f; m += 0.0037f) {
            float x[LANES], y[LANES];
            take_lanes(ldexpf(m, e), ldexpf(0.00023f, e), x);
            lanes_store(y, lanes_log(lanes_load(x)));
            for (int i = 0; i < LANES; i++)
                if (isfinite(x[i]) && x[i] != 1.0f) note(&w, x[i], y[i], log((double)x[i]));
        }
    for (float near = 1.0f - 0x1p-10f; near < 1.0f + 0x1p-10f; near += 0x1p-23f)
        if (near != 1.0f) note(&w, near, lanes_log(lanes_set(near))[3], log((double)near));
    cr_assert(w.count > 1000000 && w.ulps <= ULPS_MAX, "%g ulp at %a", w.ulps, (double)w.at);
    cr_assert_eq(lanes_log(lanes_set(1.0f))[0], 0.0f);
}

/* Sigmoid of 16 lanes and tanh, compared over a grid. */
static void note_curves(struct worst *sigmoid, struct worst *tangent, float from, float step)
{
    float x[LANES], s[LANES], t[LANES];
    take_lanes(from, step, x);
    lanes_store(s, lanes_sigmoid(lanes_load(x)));
    lanes_store(t, lanes_tanh(lanes_load(x)));
    for (int i = 0; i < LANES; i++) {
        note(sigmoid, x[i], s[i], 1.0 / (1.0 + exp(-(double)x[i])));
        if (x[i] != 0.0f) note(tangent, x[i], t[i], tanh((double)x[i]));
    }
}

/* Goal: the sigmoid keeps 2.5 and tanh 2 ulp where they bend, near 0 and in their tails. */
Test(isa_math, sigmoid_and_tanh)
{
    struct worst sigmoid = { 0 }, tangent = { 0 };
    for (float from = -80.0f; from < 80.0f; from += 0.00341f)
        note_curves(&sigmoid, &tangent, from, 0.00021f);
    for (float from = -2.0f; from < 2.0f; from += 0.000173f)
        note_curves(&sigmoid, &tangent, from, 0.00001081f);
    cr_assert(sigmoid.count > 500000 && sigmoid.ulps <= 2.5, "%g ulp at %a", sigmoid.ulps,
              (double)sigmoid.at);
    cr_assert(tangent.count > 500000 && tangent.ulps <= 2.0, "%g ulp at %a", tangent.ulps,
              (double)tangent.at);
    cr_assert_eq(lanes_tanh(lanes_set(-INFINITY))[0], -1.0f);
    cr_assert_eq(lanes_tanh(lanes_set(1e30f))[0], 1.0f);
    cr_assert(lanes_sigmoid(lanes_set(-1e30f))[0] < 1e-37f);
    cr_assert_eq(lanes_sigmoid(lanes_set(INFINITY))[0], 1.0f);
}

/* Goal: cos x keeps an absolute bound over many turns: what a sum of cosines needs. */
Test(isa_math, cosine)
{
    double worst = 0;
    for (float from = -8000.0f; from < 8000.0f; from += 0.173f) {
        float x[LANES], y[LANES];
        take_lanes(from, 0.0107f, x);
        lanes_store(y, lanes_cos(lanes_load(x)));
        for (int i = 0; i < LANES; i++)
            worst = fmax(worst, fabs((double)y[i] - cos((double)x[i])));
    }
    cr_assert(worst <= COSINE_ERROR_MAX, "%g", worst);
}

/* Goal: the sigmoid of single values has the bits of every instruction set and is close to libm's,
 * far out too; the logarithm of a scalar is that of the lanes. */
Test(isa_math, single_values)
{
    enum isa best;
    struct err e = { 0 };
    cr_assert_eq(kernels_choose(&best, &e), 0);
    for (float x = -120.0f; x < 120.0f; x += 0.37f) {
        const double want = 1.0 / (1.0 + exp(-(double)x));
        const float y = kernels_sigmoid(ISA_GENERIC, x);
        cr_assert(fabs((double)y - want) <= 4e-7 * want + 1e-37, "%g: %g", (double)x, (double)y);
        cr_assert_eq(y, kernels_sigmoid(best, x));
    }
    cr_assert_eq(kernels_log(best, 3.5f), lanes_log(lanes_set(3.5f))[0]);
    cr_assert(isnan(kernels_sigmoid(best, NAN)));
}

/* Goal: the total of sixteen lanes is taken in double, whatever their order of size. */
Test(isa_math, total_of_lanes_is_double)
{
    lanes_f v;
    for (int i = 0; i < LANES; i++) v[i] = i % 3 == 0 ? 16777216.0f : 1.0f / 1024.0f;
    cr_assert_eq(lanes_total(v), 6 * 16777216.0 + 10.0 / 1024.0);
}

/* Goal: a NaN is never turned into a number. */
Test(isa_math, nan_passes)
{
    const float both[] = { NAN, -NAN };
    for (int i = 0; i < 2; i++) {
        const lanes_f x = lanes_set(both[i]);
        cr_assert(isnan(lanes_exp(x)[0]), "exp");
        cr_assert(isnan(lanes_log(x)[1]), "log");
        cr_assert(isnan(lanes_cos(x)[2]), "cos");
        cr_assert(isnan(lanes_sigmoid(x)[3]), "sigmoid");
        cr_assert(isnan(lanes_tanh(x)[4]), "tanh");
    }
}
