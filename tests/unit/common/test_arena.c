/* The arena: alignment, bounds, high water, freeing. */
#include "common/arena.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

/* Goal: every block is aligned, zeroed, usable to its last byte and apart from the others. */
Test(arena_take, blocks_are_aligned_zeroed_and_apart, .timeout = 5)
{
    static const size_t sizes[] = { 1, 63, 64, 65, 1000, 7 };
    struct arena a;
    struct err e = { 0 };
    cr_assert_eq(arena_init(&a, 8192, &e), 0, "%s", e.text);
    unsigned char *blocks[6];
    for (size_t i = 0; i < 6; i++) {
        blocks[i] = arena_take(&a, sizes[i]);
        cr_assert_not_null(blocks[i]);
        cr_expect_eq((uintptr_t)blocks[i] % ARENA_ALIGN, 0);
        for (size_t j = 0; j < sizes[i]; j++) cr_assert_eq(blocks[i][j], 0);
        memset(blocks[i], (int)(i + 1), sizes[i]);
    }
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < sizes[i]; j++) cr_assert_eq(blocks[i][j], i + 1);
    arena_deinit(&a);
}

/* Goal: what is used is counted in whole lines, and the high water never sinks. */
Test(arena_take, use_and_high_water_are_counted, .timeout = 5)
{
    struct arena a;
    struct err e = { 0 };
    cr_assert_eq(arena_init(&a, 4096, &e), 0);
    cr_expect_not_null(arena_take(&a, 0));
    cr_expect_eq(a.used_bytes, 0);
    (void)arena_take(&a, 1);
    (void)arena_take(&a, 65);
    cr_expect_eq(a.used_bytes, 64 + 128);
    cr_expect_eq(a.high_water_bytes, 64 + 128);
    a.used_bytes = 0; /* what an owner does who starts anew */
    (void)arena_take(&a, 10);
    cr_expect_eq(a.used_bytes, 64);
    cr_expect_eq(a.high_water_bytes, 64 + 128);
    arena_deinit(&a);
}

/* Goal: a full arena gives NULL and stays as it was, also for sizes that overflow. */
Test(arena_take, full_arena_gives_null, .timeout = 5)
{
    struct arena a;
    struct err e = { 0 };
    cr_assert_eq(arena_init(&a, 4096, &e), 0);
    cr_expect_geq(a.size_bytes, 4096);
    cr_expect_null(arena_take(&a, a.size_bytes + 1));
    cr_expect_null(arena_take(&a, SIZE_MAX));
    cr_expect_null(arena_take(&a, SIZE_MAX - 63));
    cr_expect_eq(a.used_bytes, 0);
    unsigned char *all = arena_take(&a, a.size_bytes);
    cr_assert_not_null(all);
    memset(all, 0xa5, a.size_bytes);
    cr_expect_null(arena_take(&a, 1));
    cr_expect_eq(a.used_bytes, a.size_bytes);
    arena_deinit(&a);
}

/* Goal: a size that cannot be had is ERR_NOMEM and leaves an arena that may be freed. */
Test(arena_init, impossible_size_is_out_of_memory, .timeout = 5)
{
    static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - (2u << 20), SIZE_MAX / 2 };
    for (size_t i = 0; i < 3; i++) {
        struct arena a;
        struct err e = { 0 };
        cr_expect_eq(arena_init(&a, sizes[i], &e), ERR_NOMEM);
        cr_expect_null(a.base);
        cr_expect_null(arena_take(&a, 1));
        arena_deinit(&a);
    }
}

/* Goal: an arena of huge pages works, an empty one too, and freeing twice is harmless. */
Test(arena_deinit, may_be_repeated, .timeout = 10)
{
    static const size_t sizes[] = { 0, (size_t)5 << 20 };
    for (size_t i = 0; i < 2; i++) {
        struct arena a;
        struct err e = { 0 };
        cr_assert_eq(arena_init(&a, sizes[i], &e), 0, "%s", e.text);
        cr_expect_geq(a.size_bytes, sizes[i]);
        arena_deinit(&a);
        cr_expect_null(a.base);
        arena_deinit(&a);
    }
    struct arena zeroed = { 0 };
    arena_deinit(&zeroed);
}
