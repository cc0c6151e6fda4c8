/* Memory plan: what lives at the same time never overlaps, what does not shares. */
#include "common/arena.h"
#include "worker/nets/memory_plan.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static size_t add(struct memory_plan *p, enum plan_kind kind, size_t bytes, size_t first,
                  size_t last)
{
    struct err e = { 0 };
    size_t index;
    cr_assert_eq(memory_plan_add(p, kind, bytes, first, last, &index, &e), 0);
    return index;
}

/* Goal: a chain of gradients, each read by the next one only, needs two neighbours at a time. */
Test(memory_plan, chain_needs_two_buffers)
{
    struct memory_plan p = { 0 };
    struct err e = { 0 };
    for (size_t i = 0; i < 10; i++) add(&p, PLAN_ACTIVATIONS, 1000, i, i + 1);
    cr_assert_eq(memory_plan_solve(&p, &e), 0);
    cr_assert_eq(p.region_bytes[PLAN_ACTIVATIONS], 2 * 1024);
    memory_plan_deinit(&p);
    memory_plan_deinit(&p);
}

/* Goal: over 200 random plans no two blocks of one kind meet in time and place, all are aligned and
 * inside their region, and the regions add up. */
Test(memory_plan, blocks_never_collide, .timeout = 20)
{
    srand(7);
    for (int round = 0; round < 200; round++) {
        struct memory_plan p = { 0 };
        struct err e = { 0 };
        for (int i = 0; i < 40; i++) {
            const size_t first = (size_t)rand() % 30;
            add(&p, rand() % 2 ? PLAN_ACTIVATIONS : PLAN_SAVED, (size_t)rand() % 5000, first,
                first + (size_t)rand() % 10);
        }
        memory_plan_extend(&p, 0, 0, 39);
        cr_assert_eq(memory_plan_solve(&p, &e), 0);
        for (size_t i = 0; i < p.count; i++) {
            const struct plan_block *a = &p.blocks[i];
            cr_assert_eq(a->offset % ARENA_ALIGN, 0);
            cr_assert_leq(a->offset + a->bytes, p.region_bytes[a->kind]);
            for (size_t j = 0; j < i; j++) {
                const struct plan_block *b = &p.blocks[j];
                if (a->kind != b->kind || a->first > b->last || b->first > a->last) continue;
                cr_assert(a->offset >= b->offset + b->bytes || b->offset >= a->offset + a->bytes);
            }
        }
        cr_assert_eq(p.total_bytes, p.region_bytes[PLAN_ACTIVATIONS] + p.region_bytes[PLAN_SAVED]);
        memory_plan_deinit(&p);
    }
}

/* Goal: a size that no machine has is an error, not an overflow. */
Test(memory_plan, absurd_sizes_are_refused)
{
    struct memory_plan p = { 0 };
    struct err e = { 0 };
    size_t index;
    cr_assert_eq(memory_plan_add(&p, PLAN_SAVED, (size_t)-10, 0, 1, &index, &e), (int)ERR_NOMEM);
    memory_plan_deinit(&p);
}
