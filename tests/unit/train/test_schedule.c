/* Learning rates over a run, against PyTorch's closed forms. */
#include "worker/train/schedule.h"

#include <criterion/criterion.h>
#include <math.h>

#define EPOCHS 20
#define STEPS 400 /* of the run: 20 an epoch */

static double by_epoch(const struct spec_schedule *s, uint64_t epoch)
{
    return schedule_rate(s, 0.5, &(struct schedule_place){ epoch, EPOCHS, epoch * 20, STEPS });
}

static double by_step(const struct spec_schedule *s, uint64_t step)
{
    return schedule_rate(s, 0.5, &(struct schedule_place){ step / 20, EPOCHS, step, STEPS });
}

static void near(double got, double want, uint64_t at)
{
    cr_assert(fabs(got - want) <= 1e-14 * fmax(1, fabs(want)), "%d: %.17g, %.17g", (int)at, got,
              want);
}

/* Goal: every schedule that counts epochs; cosine comes up again after t_max. */
Test(schedule, closed_forms)
{
    const struct spec_schedule constant = { .type = SPEC_SCHEDULE_CONSTANT };
    const struct spec_schedule step = { .type = SPEC_SCHEDULE_STEP, .step_size = 3, .gamma = 0.1 };
    const struct spec_schedule cosine = { .type = SPEC_SCHEDULE_COSINE, .t_max = 8,
                                          .eta_min = 0.01 };
    const struct spec_schedule whole = { .type = SPEC_SCHEDULE_COSINE };
    const struct spec_schedule multi = { .type = SPEC_SCHEDULE_MULTI_STEP, .gamma = 0.5,
                                         .milestones = { 4, 4, 9 }, .n_milestones = 3 };
    const struct spec_schedule power = { .type = SPEC_SCHEDULE_EXPONENTIAL, .gamma = 0.9 };
    const struct spec_schedule line = { .type = SPEC_SCHEDULE_LINEAR, .total = 10,
                                        .start_factor = 1, .end_factor = 0.2 };
    for (uint64_t e = 0; e < EPOCHS; e++) {
        const double x = (double)e;
        cr_assert_eq(by_epoch(&constant, e), 0.5);
        near(by_epoch(&step, e), 0.5 * pow(0.1, (double)(e / 3)), e);
        near(by_epoch(&cosine, e), 0.01 + (0.5 - 0.01) * (1 + cos(M_PI * x / 8)) / 2, e);
        near(by_epoch(&whole, e), 0.5 * (1 + cos(M_PI * x / EPOCHS)) / 2, e);
        near(by_epoch(&multi, e), e < 4 ? 0.5 : e < 9 ? 0.125 : 0.0625, e);
        near(by_epoch(&power, e), 0.5 * pow(0.9, x), e);
        near(by_epoch(&line, e), 0.5 * (1 - 0.8 * fmin(x / 10, 1)), e);
    }
}

/* Goal: after warm-up a schedule begins anew, and cosine's default end is the run's. */
Test(schedule, warm_up_comes_before_any)
{
    const struct spec_schedule steps = { .type = SPEC_SCHEDULE_STEP, .step_size = 3, .gamma = 0.1,
                                         .warmup = 5, .warmup_factor = 0.1 };
    const struct spec_schedule cosine = { .type = SPEC_SCHEDULE_COSINE, .warmup = 5,
                                          .warmup_factor = 0.1 };
    for (uint64_t e = 0; e < EPOCHS; e++) {
        const double up = 0.5 * (0.1 + 0.9 * (double)e / 5);
        near(by_epoch(&steps, e), e < 5 ? up : 0.5 * pow(0.1, (double)((e - 5) / 3)), e);
        near(by_epoch(&cosine, e),
             e < 5 ? up : 0.5 * (1 + cos(M_PI * (double)(e - 5) / (EPOCHS - 5))) / 2, e);
    }
}

/* Goal: counted in updates, the rate moves at each of them. */
Test(schedule, units_of_updates)
{
    const struct spec_schedule s = { .type = SPEC_SCHEDULE_COSINE, .unit = SPEC_UNIT_STEP,
                                     .warmup = 100, .warmup_factor = 0 };
    for (uint64_t k = 0; k < STEPS; k++)
        near(by_step(&s, k),
             k < 100 ? 0.5 * (double)k / 100
                     : 0.5 * (1 + cos(M_PI * (double)(k - 100) / (STEPS - 100))) / 2, k);
}

/* Goal: one cycle begins low, is highest where PyTorch's is, ends lowest, and never leaves its
 * bounds, however few updates there are. */
Test(schedule, one_cycle)
{
    struct spec_schedule s = { .type = SPEC_SCHEDULE_ONE_CYCLE, .pct_start = 0.3, .div_factor = 25,
                               .final_div_factor = 1e4 };
    const double first = 0.5 / 25, last = first / 1e4, turn = 0.3 * STEPS - 1;
    for (int shape = 0; shape < 2; shape++) {
        s.anneal = (enum spec_anneal)shape;
        near(by_step(&s, 0), first, 0);
        near(by_step(&s, 119), 0.5, 119);
        near(by_step(&s, STEPS - 1), last, STEPS - 1);
        for (uint64_t k = 0; k < STEPS; k++) {
            const double x = (double)k, up = x / turn, down = (x - turn) / (STEPS - 1 - turn);
            const double from = x <= turn ? first : 0.5, to = x <= turn ? 0.5 : last;
            const double way = x <= turn ? up : down;
            near(by_step(&s, k), shape == SPEC_ANNEAL_LINEAR
                                     ? from + (to - from) * way
                                     : to + (from - to) / 2 * (1 + cos(M_PI * way)), k);
        }
    }
    for (uint64_t steps = 1; steps < 6; steps++)
        for (double start = 0; start <= 1; start += 0.25)
            for (uint64_t k = 0; k < steps; k++) {
                s.pct_start = start;
                const double lr = schedule_rate(&s, 0.5,
                                                &(struct schedule_place){ 0, 1, k, steps });
                cr_assert(lr >= last && lr <= 0.5, "%d of %d, %g: %g", (int)k, (int)steps, start,
                          lr);
            }
}
