/* schedule: see schedule.h. */
#include "worker/train/schedule.h"

#include <math.h>

double schedule_rate(const struct spec_schedule *s, double lr, int64_t epochs, uint64_t epoch)
{
    switch (s->type) {
    case SPEC_SCHEDULE_CONSTANT: return lr;
    case SPEC_SCHEDULE_COSINE: {
        const double t_max = (double)(s->t_max > 0 ? s->t_max : epochs);
        return s->eta_min + (lr - s->eta_min) * (1.0 + cos(M_PI * (double)epoch / t_max)) / 2.0;
    }
    case SPEC_SCHEDULE_STEP:
        return lr * pow(s->gamma, (double)(epoch / (uint64_t)s->step_size));
    }
    return lr;
}
