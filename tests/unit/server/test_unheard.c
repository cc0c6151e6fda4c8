/* What was left out is remembered, and never too little of it. */
#include "server/stream/unheard.h"

#include <criterion/criterion.h>

/* Goal: each experiment's own mark, the newest one; what had to be forgotten counts for all that
 * are not known. */
Test(unheard, remembers_or_owns_up)
{
    struct unheard u = { 0 };
    cr_assert(!unheard_since(&u, 1, 0));
    unheard_add(&u, 1, 10);
    unheard_add(&u, 1, 20);
    cr_assert(unheard_since(&u, 1, 19) && !unheard_since(&u, 1, 20) && !unheard_since(&u, 2, 0));
    for (int64_t id = 2; id <= UNHEARD_MAX; id++) unheard_add(&u, id, 30);
    cr_assert(!unheard_since(&u, 1000, 0));
    unheard_add(&u, 500, 40);
    cr_assert(unheard_since(&u, 1, 19) && unheard_since(&u, 1000, 19));
    cr_assert(!unheard_since(&u, 1, 20) && !unheard_since(&u, 1000, 20));
    cr_assert(unheard_since(&u, 500, 39) && unheard_since(&u, 2, 29));
}
