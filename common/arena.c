/* arena: see arena.h. */
#include "common/arena.h"

#include "common/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

int arena_init(struct arena *a, size_t size_bytes, struct err *e)
{
    *a = (struct arena){ 0 };
    size_t align = size_bytes >= HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : 4096;
    size_t mapped;
    if (!mem_add(size_bytes, align - 1, &mapped)) {
        return err_set(e, ERR_NOMEM, "arena of %zu bytes", size_bytes);
    }
    mapped = mem_align(size_bytes == 0 ? 1 : size_bytes, align);
    void *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        return err_set(e, ERR_NOMEM, "arena of %zu bytes: %s", size_bytes, strerror(errno));
    }
    /* Advice only: without huge pages everything still works, just slower. */
    if (align == HUGE_PAGE_BYTES) (void)madvise(base, mapped, MADV_HUGEPAGE);
    /* Touch every page now, so that no training step pays for a page fault. */
    memset(base, 0, mapped);
    *a = (struct arena){ .base = base, .size_bytes = mapped };
    return 0;
}

void *arena_take(struct arena *a, size_t bytes)
{
    size_t rounded = mem_align(bytes, ARENA_ALIGN);
    if (rounded < bytes || rounded > a->size_bytes - a->used_bytes) return NULL;
    void *p = a->base + a->used_bytes;
    a->used_bytes += rounded;
    if (a->used_bytes > a->high_water_bytes) a->high_water_bytes = a->used_bytes;
    return p;
}

void arena_deinit(struct arena *a)
{
    if (a->base != NULL) (void)munmap(a->base, a->size_bytes);
    *a = (struct arena){ 0 };
}
