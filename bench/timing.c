/* timing: see timing.h. */
#include "bench/timing.h"

#include "common/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

void *timing_take(size_t bytes)
{
    /* Some loops read a vector beyond the last value. */
    const size_t whole = mem_align(bytes + 256, HUGE_PAGE_BYTES);
    void *p = aligned_alloc(HUGE_PAGE_BYTES, whole);
    if (p == NULL) {
        (void)fprintf(stderr, "bench: out of memory\n");
        exit(75);
    }
    (void)madvise(p, whole, MADV_HUGEPAGE);
    memset(p, 0, whole);
    return p;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double timing_median(double *values, size_t n)
{
    qsort(values, n, sizeof values[0], by_value);
    return values[n / 2];
}
