/* mem: checked allocation and size arithmetic. Any thread.
 * Every allocation of ours goes through here, so that a test can make the N-th one fail. */
#ifndef COMMON_MEM_H
#define COMMON_MEM_H

#include <stdbool.h>
#include <stddef.h>

/* All return NULL on failure or overflow; memory of mem_calloc is zeroed. mem_free(NULL) is

 * fine. */
void *mem_alloc(size_t bytes);
void *mem_calloc(size_t count, size_t size);
void *mem_realloc_array(void *old, size_t count, size_t size);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
/* printf into fresh memory. */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void mem_free(void *p);

/* false (and *out untouched) when the result does not fit. */
bool mem_mul(size_t a, size_t b, size_t *out);
bool mem_add(size_t a, size_t b, size_t *out);
/* Rounds up to a multiple of align (a power of two). */
static inline size_t mem_align(size_t n, size_t align) { return (n + align - 1) & ~(align - 1); }

/* Fault hook for tests: the n-th allocation from now fails (0 = never). Not thread-safe. */
void mem_fail_after(size_t n);
size_t mem_allocation_count(void); /* allocations made so far; a steady training step adds none */

#endif
