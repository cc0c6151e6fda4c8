/* samples: see samples.h. */
#include "tests/load/samples.h"

#include "common/mem.h"

#include <stdio.h>
#include <stdlib.h>

void samples_add(struct samples *s, double value)
{
    if (s->n == s->capacity) {
        s->capacity = 2 * s->capacity + 1024;
        s->values = mem_realloc_array(s->values, s->capacity, sizeof s->values[0]);
        if (s->values == NULL) abort();
    }
    s->values[s->n++] = value;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double samples_at(struct samples *s, double share)
{
    if (s->n == 0) return 0;
    qsort(s->values, s->n, sizeof s->values[0], by_size);
    size_t i = (size_t)(share * (double)s->n);
    return s->values[i < s->n ? i : s->n - 1];
}

void samples_deinit(struct samples *s)
{
    mem_free(s->values);
    *s = (struct samples){ 0 };
}
