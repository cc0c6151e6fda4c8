/* Surrogates: the vector loops against the double twin, the twin against its primitive, and equal
 * bits over instruction sets. */
#include "worker/neurons/reference_neurons.h"
#include "worker/neurons/surrogate.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#define COUNT 640

static void inputs(float *x)
{
    for (int i = 0; i < COUNT; i++) x[i] = (float)(i - COUNT / 2) * 0.013f + 0.0007f;
}

static struct spec_surrogate defaults(size_t kind)
{
    size_t count;
    const struct spec_surrogate_kind *k = &spec_surrogate_kinds(&count)[kind];
    struct spec_surrogate s = { .kind = (int)kind };
    for (size_t i = 0; i < k->n_params; i++) s.params[i] = k->params[i].fallback;
    return s;
}

/* Goal: g of every row agrees with the double twin, around a threshold that is not 0. */
Test(surrogate, every_row_matches_the_double_twin)
{
    size_t count;
    const struct spec_surrogate_kind *kinds = spec_surrogate_kinds(&count);
    float x[COUNT], g[COUNT];
    inputs(x);
    cr_assert(count >= 2);
    for (size_t k = 0; k < count; k++) {
        const struct spec_surrogate spec = defaults(k);
        const struct surrogate s = surrogate_make(&spec, ISA_GENERIC);
        s.gradient(s.k, x, 0.25f, g, COUNT);
        for (int i = 0; i < COUNT; i++) {
            const double want = reference_surrogate(&spec, (double)(x[i] - 0.25f));
            cr_assert(fabs((double)g[i] - want) <= 4e-6 * (fabs(want) + 0.1), "%s at %g: %g, %g",
                      kinds[k].name, (double)x[i], (double)g[i], want);
        }
    }
}

/* Goal: where a row has a primitive, its slope is g. The piecewise leaky ReLU's inner slope and the
 * smooth part of S2NN are defined apart from their primitives by less than the tolerance. */
Test(surrogate, primitives_have_the_slope_g)
{
    size_t count, checked = 0;
    const struct spec_surrogate_kind *kinds = spec_surrogate_kinds(&count);
    for (size_t k = 0; k < count; k++) {
        const struct spec_surrogate spec = defaults(k);
        for (int i = 0; i < 80; i++) {
            const double x = (i - 40) * 0.0517 + 0.003, eps = 1e-6;
            const double slope = (reference_primitive(&spec, x + eps) -
                                  reference_primitive(&spec, x - eps)) / (2.0 * eps);
            if (isnan(slope)) continue;
            checked++;
            cr_assert(fabs(slope - reference_surrogate(&spec, x)) < 1e-4, "%s at %g: %g, %g",
                      kinds[k].name, x, slope, reference_surrogate(&spec, x));
        }
    }
    cr_assert(checked > 100);
}

/* Goal: the cosine series keeps its range and its accuracy for every period and number of terms
 * that a spec may ask for: an error of u/T turns grows with the term and with 4/T. */
Test(surrogate, cosines_of_short_periods_stay_cosines)
{
    size_t count, k = 0;
    const struct spec_surrogate_kind *kinds = spec_surrogate_kinds(&count);
    while (k < count && strcmp(kinds[k].name, "squarewave_fourier_series") != 0) k++;
    cr_assert_lt(k, count);
    static const double periods[] = { 1e-6, 1e-3, 0.01, 0.5, 8.0, 1000.0 };
    float x[COUNT], g[COUNT];
    inputs(x);
    for (size_t i = 0; i < sizeof periods / sizeof periods[0]; i++) {
        const struct spec_surrogate spec = { .kind = (int)k, .params = { 64, periods[i] } };
        const struct surrogate s = surrogate_make(&spec, ISA_GENERIC);
        s.gradient(s.k, x, 0.0f, g, COUNT);
        for (int j = 0; j < COUNT; j++) {
            const double turns = fabs((double)x[j]) / periods[i], unit = 63 * 4 / periods[i];
            cr_assert(fabs((double)g[j]) <= unit * 1.00001, "T %g at %g: %g", periods[i],
                      (double)x[j], (double)g[j]);
            const double error = fabs((double)g[j] - reference_surrogate(&spec, (double)x[j]));
            cr_assert(error <= unit * (1e-6 + turns * 1e-4), "T %g at %g: %g", periods[i],
                      (double)x[j], error);
        }
    }
}

/* Goal: a surrogate that depends on the potential does not make a number of NaN. */
Test(surrogate, nan_passes)
{
    static const char *const names[] = { "atan", "sigmoid", "piecewise_exp", "erf",
                                         "q_pseudo_spike", "squarewave_fourier_series",
                                         "fake_numerical_gradient" };
    size_t count, found = 0;
    const struct spec_surrogate_kind *kinds = spec_surrogate_kinds(&count);
    float x[16], g[16];
    for (int i = 0; i < 16; i++) x[i] = NAN;
    for (size_t k = 0; k < count; k++)
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            if (strcmp(kinds[k].name, names[i]) != 0) continue;
            const struct spec_surrogate spec = defaults(k);
            for (enum isa isa = ISA_GENERIC; isa < ISA_COUNT; isa++) {
                enum isa best;
                struct err e = { 0 };
                if (kernels_choose(&best, &e) != 0 || isa > best) continue;
                const struct surrogate s = surrogate_make(&spec, isa);
                s.gradient(s.k, x, 0.5f, g, 16);
                cr_assert(isnan(g[7]), "%s, %s", names[i], isa_name(isa));
            }
            found++;
        }
    cr_assert_eq(found, sizeof names / sizeof names[0]);
}

/* Goal: instruction sets give equal bits. */
Test(surrogate, isa_changes_no_bit)
{
    size_t count;
    float x[COUNT], a[COUNT], b[COUNT];
    enum isa best;
    struct err e = { 0 };
    (void)spec_surrogate_kinds(&count);
    cr_assert_eq(kernels_choose(&best, &e), 0);
    inputs(x);
    for (size_t k = 0; k < count; k++)
        for (enum isa isa = ISA_GENERIC; isa <= best; isa++) {
            const struct spec_surrogate spec = defaults(k);
            const struct surrogate plain = surrogate_make(&spec, ISA_GENERIC);
            const struct surrogate fast = surrogate_make(&spec, isa);
            plain.gradient(plain.k, x, 0.5f, a, COUNT);
            fast.gradient(fast.k, x, 0.5f, b, COUNT);
            cr_assert_eq(memcmp(a, b, sizeof a), 0, "surrogate %zu", k);
        }
}
