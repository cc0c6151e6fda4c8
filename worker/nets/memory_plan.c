/* memory_plan: see memory_plan.h. */
#include "worker/nets/memory_plan.h"

#include "common/arena.h"
#include "common/mem.h"

#include <stdint.h>

int memory_plan_add(struct memory_plan *p, enum plan_kind kind, size_t bytes, size_t first,
                    size_t last, size_t *index, struct err *e)
{
    if (p->count == p->capacity) {
        size_t capacity = p->capacity == 0 ? 64 : 2 * p->capacity;
        struct plan_block *blocks = mem_realloc_array(p->blocks, capacity, sizeof blocks[0]);
        if (blocks == NULL) return err_set(e, ERR_NOMEM, "memory plan of %zu blocks", capacity);
        p->blocks = blocks;
        p->capacity = capacity;
    }
    if (bytes > SIZE_MAX / 4) return err_set(e, ERR_NOMEM, "a block of %zu bytes", bytes);
    p->blocks[p->count] = (struct plan_block){ .kind = kind,
                                               .bytes = mem_align(bytes, ARENA_ALIGN),
                                               .first = first,
                                               .last = last };
    *index = p->count++;
    return 0;
}

void memory_plan_extend(struct memory_plan *p, size_t index, size_t first, size_t last)
{
    struct plan_block *b = &p->blocks[index];
    if (first < b->first) b->first = first;
    if (last > b->last) b->last = last;
}

/* Whether block a is alive at a moment from first to last. */
static bool lives(const struct plan_block *a, size_t first, size_t last)
{
    return (a->first <= last && first <= a->last) ||
           (a->again && a->again_first <= last && first <= a->again_last);
}

static bool collide(const struct plan_block *a, const struct plan_block *b)
{
    if (a->kind != b->kind || a->offset >= b->offset + b->bytes ||
        b->offset >= a->offset + a->bytes)
        return false;
    return lives(a, b->first, b->last) || (b->again && lives(a, b->again_first, b->again_last));
}

/* The lowest offset at which block i meets none of the blocks before it. */
static void place(struct memory_plan *p, size_t i)
{
    struct plan_block *b = &p->blocks[i];
    bool moved = true;
    b->offset = b->floor;
    while (moved) {
        moved = false;
        for (size_t j = 0; j < i; j++) {
            if (!collide(b, &p->blocks[j])) continue;
            b->offset = p->blocks[j].offset + p->blocks[j].bytes;
            moved = true;
        }
    }
}

int memory_plan_solve(struct memory_plan *p, struct err *e)
{
    for (size_t k = 0; k < PLAN_KIND_COUNT; k++) p->region_bytes[k] = 0;
    for (size_t i = 0; i < p->count; i++) {
        place(p, i);
        size_t *region = &p->region_bytes[p->blocks[i].kind];
        size_t end = p->blocks[i].offset + p->blocks[i].bytes;
        if (end > *region) *region = end;
    }
    p->total_bytes = 0;
    for (size_t k = 0; k < PLAN_KIND_COUNT; k++)
        if (!mem_add(p->total_bytes, p->region_bytes[k], &p->total_bytes))
            return err_set(e, ERR_NOMEM, "the memory plan overflows");
    return 0;
}

void memory_plan_deinit(struct memory_plan *p)
{
    mem_free(p->blocks);
    *p = (struct memory_plan){ 0 };
}
