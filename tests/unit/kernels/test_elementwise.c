/* Fills, sums and expansions of whole tensors, and the instruction sets themselves. */
#include "tests/unit/kernels/kernel_fixture.h"

#define N ((size_t)3 * 16384 + 48) /* more than three items of the pool, and a rest */

/* Goal: every element is filled and added to once, and nothing behind the end is touched. */
Test(elementwise, fill_and_add, .timeout = 60)
{
    float *x = numbers(N, 1), *y = take(N + 16, sizeof(float));
    EACH_CONTEXT(kc, true)
    {
        for (size_t i = 0; i < N + 16; i++) y[i] = -7.0f;
        f32_fill(&kc, y, N, 0.5f);
        f32_add(&kc, y, x, N);
        for (size_t i = 0; i < N; i++)
            cr_assert_eq(y[i], 0.5f + x[i], "%zu, %s", i, isa_name((enum isa)isa_kc));
        for (size_t i = N; i < N + 16; i++) cr_assert_eq(y[i], -7.0f, "%zu is beyond the end", i);
    }
    free(x);
    free(y);
}

/* Goal: averages are two products and a sum, and nothing behind the end is touched. */
Test(elementwise, average, .timeout = 60)
{
    float *x = numbers(N, 1), *y = take(N + 16, sizeof(float)), *old = numbers(N + 16, 2);
    EACH_CONTEXT(kc, true)
    {
        memcpy(y, old, (N + 16) * sizeof y[0]);
        f32_average(&kc, y, x, 0.9f, 0.1f, N);
        for (size_t i = 0; i < N; i++) {
            const float kept = old[i] * 0.9f, fresh = x[i] * 0.1f;
            cr_assert_eq(y[i], kept + fresh, "%zu, %s", i, isa_name((enum isa)isa_kc));
        }
        for (size_t i = N; i < N + 16; i++) cr_assert_eq(y[i], old[i], "%zu is beyond the end", i);
    }
    free(x);
    free(y);
    free(old);
}

/* Goal: any kind becomes floats with its scale, repeated frames at every step, blocked or not. */
Test(elementwise, expand, .timeout = 60)
{
    static const enum tensor_kind kinds[] = { TENSOR_F32, TENSOR_REPEAT, TENSOR_BITS,
                                              TENSOR_COUNT8 };
    for (size_t i = 0; i < 8; i++) {
        struct tensor_view x = view_filled(tensor_make(kinds[i / 2], 2, 3, 70, 4, 5), i, 0.4);
        const struct tensor_desc plain = tensor_make(TENSOR_F32, 2, 3, 70, 4, 5);
        struct tensor_view y = view_make(i % 2 ? tensor_gradient(&plain, true) : plain);
        x.desc.scale = 0.75f;
        EACH_CONTEXT(kc, true)
        {
            memset(y.data, 0xff, tensor_bytes(&y.desc));
            tensor_expand(&kc, &x.desc, x.data, &y.desc, y.data);
            for (size_t j = 0; j < (size_t)2 * 3 * 70 * 20; j++) {
                const size_t b = j / 4200, t = j / 1400 % 3, c = j / 20 % 70;
                const size_t row = j % 20 / 5, col = j % 5;
                cr_assert_eq(tensor_get(&y.desc, y.data, b, t, c, row, col),
                             tensor_get(&x.desc, x.data, b, t, c, row, col), "case %zu, %s, %zu",
                             i, isa_name((enum isa)isa_kc), j);
            }
        }
        free(x.data);
        free(y.data);
    }
}

/* Goal: SPIKED_ISA forces any instruction set of this machine, and another word is refused by
 * name. */
Test(elementwise, instruction_sets_by_name, .timeout = 60)
{
    enum isa best, got;
    struct err e = { 0 };
    (void)unsetenv("SPIKED_ISA");
    cr_assert_eq(kernels_choose(&best, &e), 0);
    for (int isa = 0; isa <= (int)best; isa++) {
        (void)setenv("SPIKED_ISA", isa_name((enum isa)isa), 1);
        cr_assert(kernels_choose(&got, &e) == 0 && (int)got == isa, "%s", e.text);
    }
    (void)setenv("SPIKED_ISA", "sse9", 1);
    cr_assert_eq(kernels_choose(&got, &e), ERR_INVALID);
    cr_assert(strstr(e.text, "sse9") != NULL, "%s", e.text);
}
