/* bucket: see bucket.h. */
#include "server/store/bucket.h"

#include <math.h>

struct bucket bucket_of_point(const struct point *p)
{
    return (struct bucket){ .step0 = p->step,
                            .step1 = p->step,
                            .time_ms = p->time_ms,
                            .min = p->value,
                            .max = p->value,
                            .last = p->value,
                            .mean = p->value,
                            .n = 1,
                            .numbers = isnan(p->value) ? 0u : 1u };
}

/* Shares instead of sums: a sum of finite values may overflow. */
static double joint_mean(const struct bucket *a, const struct bucket *b)
{
    if (a->numbers == 0) return b->mean;
    if (b->numbers == 0) return a->mean;
    const double both = (double)a->numbers + (double)b->numbers;
    return a->mean * ((double)a->numbers / both) + b->mean * ((double)b->numbers / both);
}

void bucket_join(struct bucket *b, const struct bucket *next)
{
    if (b->n == 0) {
        *b = *next;
        return;
    }
    b->mean = joint_mean(b, next);
    b->min = fmin(b->min, next->min);
    b->max = fmax(b->max, next->max);
    b->step1 = next->step1;
    b->time_ms = next->time_ms;
    b->last = next->last;
    b->n += next->n;
    b->numbers += next->numbers;
}
