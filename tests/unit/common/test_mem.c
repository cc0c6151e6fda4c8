/* Checked allocation: overflow, planned failures, texts. */
#include "common/mem.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

/* Goal: products and sums that do not fit are refused and leave the output alone. */
Test(mem_mul, overflow_is_refused, .timeout = 5)
{
    size_t out = 7;
    cr_expect_not(mem_mul(SIZE_MAX, 2, &out));
    cr_expect_not(mem_mul(SIZE_MAX / 2 + 1, 2, &out));
    cr_expect_not(mem_add(SIZE_MAX, 1, &out));
    cr_expect_eq(out, 7);
    cr_expect(mem_mul(SIZE_MAX / 2, 2, &out));
    cr_expect_eq(out, SIZE_MAX - 1);
    cr_expect(mem_mul(0, SIZE_MAX, &out));
    cr_expect_eq(out, 0);
    cr_expect(mem_add(SIZE_MAX - 1, 1, &out));
    cr_expect_eq(out, SIZE_MAX);
}

/* Goal: arrays whose bytes overflow are NULL; the old block of a realloc stays alive. */
Test(mem_calloc, overflow_gives_null, .timeout = 5)
{
    cr_expect_null(mem_calloc(SIZE_MAX / 2, 3));
    char *old = mem_strdup("kept");
    cr_expect_null(mem_realloc_array(old, SIZE_MAX / 4, 8));
    cr_expect_str_eq(old, "kept");
    mem_free(old);
}

/* Goal: mem_calloc zeroes, empty blocks are blocks, realloc keeps the contents. */
Test(mem_calloc, zeroes_and_grows, .timeout = 5)
{
    unsigned char *p = mem_calloc(33, 3);
    for (int i = 0; i < 99; i++) cr_assert_eq(p[i], 0);
    memset(p, 0x5a, 99);
    p = mem_realloc_array(p, 5000, 2);
    for (int i = 0; i < 99; i++) cr_assert_eq(p[i], 0x5a);
    mem_free(p);
    void *empty[3] = { mem_alloc(0), mem_calloc(0, 8), mem_realloc_array(NULL, 0, 8) };
    for (int i = 0; i < 3; i++) {
        cr_expect_not_null(empty[i]);
        mem_free(empty[i]);
    }
    mem_free(NULL);
}

/* Goal: the n-th allocation fails once, whichever function makes it; 0 turns the plan off. */
Test(mem_fail_after, nth_allocation_fails_once, .timeout = 5)
{
    for (size_t n = 1; n <= 6; n++) {
        mem_fail_after(n);
        void *blocks[] = { mem_alloc(1),    mem_calloc(1, 1),      mem_realloc_array(NULL, 1, 1),
                           mem_strdup("a"), mem_strndup("abc", 2), mem_printf("%d", 5) };
        for (size_t i = 0; i < 6; i++) {
            cr_expect_eq(blocks[i] == NULL, i + 1 == n, "plan %zu, block %zu", n, i);
            mem_free(blocks[i]);
        }
    }
    mem_fail_after(1);
    mem_fail_after(0);
    void *p = mem_alloc(1);
    cr_expect_not_null(p);
    mem_free(p);
}

/* Goal: allocations are counted, failed ones and frees are not. */
Test(mem_allocation_count, counts_allocations, .timeout = 5)
{
    const size_t before = mem_allocation_count();
    void *a = mem_alloc(3), *b = mem_calloc(2, 2);
    mem_fail_after(1);
    cr_expect_null(mem_alloc(1));
    mem_free(a);
    mem_free(b);
    cr_expect_eq(mem_allocation_count() - before, 2);
}

/* Goal: copies end at n or at the zero, and mem_printf sizes itself. */
Test(mem_strndup, texts_are_copied, .timeout = 5)
{
    static const char open_end[3] = { 'x', 'y', 'z' }; /* no final zero */
    char *texts[] = { mem_strndup(open_end, 3), mem_strndup("abc", 10), mem_strdup(""),
                      mem_printf("%s-%0300d", "n", 7) };
    cr_expect_str_eq(texts[0], "xyz");
    cr_expect_str_eq(texts[1], "abc");
    cr_expect_str_eq(texts[2], "");
    cr_expect_eq(strlen(texts[3]), 302);
    for (int i = 0; i < 4; i++) mem_free(texts[i]);
}

/* Goal: sizes are rounded up to multiples of a power of two. */
Test(mem_align, rounds_up, .timeout = 5)
{
    cr_expect_eq(mem_align(0, 64), 0);
    cr_expect_eq(mem_align(1, 64), 64);
    cr_expect_eq(mem_align(64, 64), 64);
    cr_expect_eq(mem_align(65, 64), 128);
}
