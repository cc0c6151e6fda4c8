/* The rule of successive halving: budgets, ranks, ties, and values that are none. */
#include "server/queue/halving.h"

#include <criterion/criterion.h>
#include <math.h>

/* Goal: rungs stand at min * eta^k below max, in epochs by the member's own steps an epoch. */
Test(halving, rungs_stand_at_budgets)
{
    const struct halving h = { .eta = 3, .min = 1, .max = 27 };
    cr_assert_eq(halving_rungs(&h), 3);
    cr_assert(halving_budget(&h, 0) == 1 && halving_budget(&h, 2) == 9);
    cr_assert_eq(halving_step(&h, 1, 270, 27), 30);
    cr_assert_eq(halving_step(&h, 1, 0, 27), -1, "its hello has not come");
    const struct halving steps = { .eta = 2, .min = 100, .max = 1000, .steps = true };
    cr_assert(halving_rungs(&steps) == 4 && halving_step(&steps, 3, 0, 0) == 800);
    const struct halving most = { .eta = 2, .min = 1, .max = 1000000000 };
    cr_assert_eq(halving_rungs(&most), 30);
    cr_assert_eq(halving_rungs(&(struct halving){ 0 }), 0);
}

/* Goal: the best 1/eta of what has arrived go on, the first always does, of equal ones the earlier
 * is the better, and what is not a number never goes on. */
Test(halving, the_best_go_on)
{
    const struct halving h = { .eta = 2, .min = 1, .max = 8 };
    const double v[] = { 0.5, 0.4, 0.6, 0.4, NAN, 0.7 };
    const bool goes_on[] = { true, true, false, true, false, false };
    const size_t rank[] = { 1, 1, 3, 2, 5, 5 };
    for (size_t i = 0; i < 6; i++) {
        const struct halving_verdict got = halving_judge(&h, false, v, i, v[i]);
        cr_assert(got.rank == rank[i] && got.of == i + 1 && got.goes_on == goes_on[i],
                  "value %zu: rank %zu", i, got.rank);
    }
    cr_assert(halving_judge(&h, true, v, 3, 0.6).rank == 2 &&
              !halving_judge(&h, true, v, 2, 0.1).goes_on);
    cr_assert(!halving_judge(&h, true, v, 0, NAN).goes_on);
    cr_assert(halving_judge(&h, true, v, 5, INFINITY).rank == 1);
}
