/* Learning rates by epoch, against PyTorch's closed forms. */
#include "worker/train/schedule.h"

#include <criterion/criterion.h>
#include <math.h>

/* Goal: constant, step and cosine with its defaults; cosine comes up again after t_max. */
Test(schedule, closed_forms)
{
    const struct spec_schedule constant = { .type = SPEC_SCHEDULE_CONSTANT };
    const struct spec_schedule step = { .type = SPEC_SCHEDULE_STEP, .step_size = 3, .gamma = 0.1 };
    const struct spec_schedule cosine = { .type = SPEC_SCHEDULE_COSINE,
                                          .t_max = 8,
                                          .eta_min = 0.01 };
    const struct spec_schedule whole = { .type = SPEC_SCHEDULE_COSINE };
    for (uint64_t e = 0; e < 20; e++) {
        cr_assert_eq(schedule_rate(&constant, 0.5, 20, e), 0.5);
        cr_assert(fabs(schedule_rate(&step, 0.5, 20, e) - 0.5 * pow(0.1, (double)(e / 3))) < 1e-15);
        const double c = 0.01 + (0.5 - 0.01) * (1 + cos(M_PI * (double)e / 8)) / 2;
        cr_assert(fabs(schedule_rate(&cosine, 0.5, 20, e) - c) < 1e-14, "%d", (int)e);
        const double w = 0.5 * (1 + cos(M_PI * (double)e / 20)) / 2;
        cr_assert(fabs(schedule_rate(&whole, 0.5, 20, e) - w) < 1e-14, "%d", (int)e);
    }
}
