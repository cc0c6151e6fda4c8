/* Turns a second, and at once. */
#include "server/http/rate_limit.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct rate_limit *limit_of(double per_s, double burst)
{
    struct rate_limit *l = mem_calloc(1, sizeof *l);
    cr_assert(l != NULL);
    l->per_s = per_s;
    l->burst = burst;
    return l;
}

/* Goal: a burst, then the rate; what is left is told; callers do not share. */
Test(rate_limit, a_burst_and_then_the_rate)
{
    struct rate_limit *l = limit_of(10, 3);
    struct rate_state s;
    for (int i = 0; i < 3; i++) {
        cr_assert(rate_limit_take(l, "ada", 1000, &s));
        cr_assert(s.limit == 3 && s.remaining == 2 - i && s.full_s == 1);
    }
    cr_assert(!rate_limit_take(l, "ada", 1000, &s) && s.remaining == 0);
    cr_assert(rate_limit_take(l, "bob", 1000, &s) && s.remaining == 2);
    cr_assert(!rate_limit_take(l, "ada", 1099, &s));
    cr_assert(rate_limit_take(l, "ada", 1150, &s), "a turn is back after 100 ms");
    cr_assert(!rate_limit_take(l, "ada", 1151, &s));
    for (int i = 0; i < 3; i++) cr_assert(rate_limit_take(l, "ada", 99000, &s));
    cr_assert(!rate_limit_take(l, "ada", 99000, &s), "a long rest gives no more than the burst");
    mem_free(l);
}

/* Goal: more callers than there are buckets: those who wait are not let in by others' coming. */
Test(rate_limit, the_fullest_bucket_is_given_up)
{
    struct rate_limit *l = limit_of(1, 100);
    struct rate_state s;
    for (int i = 0; i < 100; i++) cr_assert(rate_limit_take(l, "busy", 0, &s));
    for (int i = 0; i < 3 * RATE_CALLERS_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "u%d", i);
        cr_assert(rate_limit_take(l, name, 500, &s) && s.remaining == 99);
    }
    cr_assert(!rate_limit_take(l, "busy", 900, &s));
    mem_free(l);
}
