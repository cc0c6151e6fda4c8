/* mem: see mem.h. The only file that may call malloc and its relatives. */
#include "common/mem.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_size_t allocations;
static size_t fail_countdown; /* 0 = off; tests only */

void mem_fail_after(size_t n) { fail_countdown = n; }
size_t mem_allocation_count(void) { return atomic_load(&allocations); }

static bool planned_failure(void)
{
    if (fail_countdown == 0) return false;
    return --fail_countdown == 0;
}

void *mem_alloc(size_t bytes)
{
    if (planned_failure()) return NULL;
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return malloc(bytes == 0 ? 1 : bytes);
}

void *mem_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (!mem_mul(count, size, &bytes) || planned_failure()) return NULL;
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return calloc(1, bytes == 0 ? 1 : bytes);
}

void *mem_realloc_array(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (!mem_mul(count, size, &bytes) || planned_failure()) return NULL;
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return realloc(old, bytes == 0 ? 1 : bytes);
}

char *mem_strndup(const char *s, size_t n)
{
    size_t length = strnlen(s, n);
    char *copy = mem_alloc(length + 1);
    if (copy == NULL) return NULL;
    memcpy(copy, s, length);
    copy[length] = '\0';
    return copy;
}

char *mem_strdup(const char *s) { return mem_strndup(s, strlen(s)); }

char *mem_printf(const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = n < 0 ? NULL : mem_alloc((size_t)n + 1);
    if (text != NULL) (void)vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    return text;
}

void mem_free(void *p) { free(p); }

bool mem_mul(size_t a, size_t b, size_t *out)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) return false;
    *out = product;
    return true;
}

bool mem_add(size_t a, size_t b, size_t *out)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return false;
    *out = sum;
    return true;
}
