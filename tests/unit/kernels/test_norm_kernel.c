/* Batch-norm statistics and the long sums: against definitions in double, equal bits everywhere. */
#include "tests/unit/kernels/kernel_fixture.h"

/* Goal: mean and variance agree with the definition to 1e-12 and have equal bits in every context.
 */
Test(norm_kernel, statistics, .timeout = 60)
{
    struct tensor_view x = view_filled(tensor_make(TENSOR_F32, 8, 3, 37, 5, 6), 9, 0);
    const size_t c = x.desc.c_stored;
    double mean[64], var[64], want_mean[64], want_var[64], first[2][64] = { { 0 } };
    double *partial = take(8 * 2 * c, sizeof(double));
    bool has_first = false;
    reference_bn_statistics(&x.desc, x.data, want_mean, want_var);
    EACH_CONTEXT(kc, true)
    {
        bn_partial_sums(&kc, &x.desc, x.data, partial);
        bn_finish(&x.desc, partial, 4, mean, var);
        for (size_t i = 0; i < 37; i++) {
            cr_assert(fabs(mean[i] - want_mean[i]) < 1e-12 && fabs(var[i] - want_var[i]) < 1e-12,
                      "%zu", i);
            cr_assert(!has_first || (mean[i] == first[0][i] && var[i] == first[1][i]),
                      "channel %zu, %s", i, isa_name((enum isa)isa_kc));
            first[0][i] = mean[i];
            first[1][i] = var[i];
        }
        has_first = true;
    }
    free(partial);
    free(x.data);
}

/* Goal: the number of shards changes the tree, and so at most the last bits, never the value. */
Test(norm_kernel, shards_agree, .timeout = 60)
{
    struct tensor_view x = view_filled(tensor_make(TENSOR_F32, 8, 2, 16, 4, 4), 10, 0);
    double *partial = take(8 * 2 * 16, sizeof(double)), one[2][16], many[2][16];
    struct kernel_ctx kc = context_make(ISA_GENERIC, 2, true);
    bn_partial_sums(&kc, &x.desc, x.data, partial);
    bn_finish(&x.desc, partial, 1, one[0], one[1]);
    for (size_t shards = 2; shards <= 8; shards *= 2) {
        bn_finish(&x.desc, partial, shards, many[0], many[1]);
        for (int i = 0; i < 16; i++)
            cr_assert(fabs(one[0][i] - many[0][i]) < 1e-13 && fabs(one[1][i] - many[1][i]) < 1e-13);
    }
    context_drop(&kc);
    free(partial);
    free(x.data);
}

/* Goal: the sum of squares sees every element, and says when one is not finite. */
Test(norm_kernel, sum_of_squares, .timeout = 60)
{
    const size_t n = 3 * 4096 + 160;
    float *x = numbers(n, 12);
    double want = 0, first = -1, got;
    for (size_t i = 0; i < n; i++) want += (double)x[i] * (double)x[i];
    EACH_CONTEXT(kc, true)
    {
        cr_assert(f32_sum_squares(&kc, x, n, &got) && fabs(got - want) < 1e-9 * want);
        cr_assert(first < 0 || got == first, "%s, %zu threads", isa_name((enum isa)isa_kc),
                  threads_kc);
        first = got;
        const size_t places[] = { 0, 4095, 4096, n - 1 };
        for (int i = 0; i < 4; i++) {
            const float kept = x[places[i]];
            x[places[i]] = i % 2 ? NAN : INFINITY;
            cr_assert(!f32_sum_squares(&kc, x, n, &got), "element %zu", places[i]);
            x[places[i]] = kept;
        }
    }
    free(x);
}
