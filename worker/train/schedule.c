/* schedule: see schedule.h. */
#include "worker/train/schedule.h"

#include <math.h>

static double cosine(const struct spec_schedule *s, double lr, double x, double rest)
{
    const double t_max = s->t_max > 0 ? (double)s->t_max : rest;
    return s->eta_min + (lr - s->eta_min) * (1.0 + cos(M_PI * x / t_max)) / 2.0;
}

static double passed_milestones(const struct spec_schedule *s, double x)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_milestones; i++) n += s->milestones[i] <= x;
    return (double)n;
}

static double linear(const struct spec_schedule *s, double lr, double x)
{
    const double way = fmin(x / (double)s->total, 1.0);
    return lr * (s->start_factor + (s->end_factor - s->start_factor) * way);
}

/* From `from` (way 0) to `to` (way 1). */
static double anneal(const struct spec_schedule *s, double from, double to, double way)
{
    if (s->anneal == SPEC_ANNEAL_LINEAR) return from + (to - from) * way;
    return to + (from - to) / 2.0 * (1.0 + cos(M_PI * way));
}

static double one_cycle(const struct spec_schedule *s, double lr, const struct schedule_place *at)
{
    const double x = (double)at->step, last = (double)at->steps - 1.0;
    const double turn = s->pct_start * (double)at->steps - 1.0;
    const double first = lr / s->div_factor, end = first / s->final_div_factor;
    if (x <= turn && turn > 0.0) return anneal(s, first, lr, x / turn);
    if (last <= turn) return lr; /* a run too short to come down */
    return anneal(s, lr, end, fmin((x - turn) / (last - turn), 1.0));
}

double schedule_rate(const struct spec_schedule *s, double lr, const struct schedule_place *at)
{
    if (s->type == SPEC_SCHEDULE_ONE_CYCLE) return one_cycle(s, lr, at);
    const bool steps = s->unit == SPEC_UNIT_STEP;
    const uint64_t place = steps ? at->step : at->epoch, all = steps ? at->steps : at->epochs;
    const uint64_t warmup = (uint64_t)s->warmup;
    if (place < warmup) {
        const double way = (double)place / (double)warmup;
        return lr * (s->warmup_factor + (1.0 - s->warmup_factor) * way);
    }
    const double x = (double)(place - warmup), rest = all > warmup ? (double)(all - warmup) : 1.0;
    switch (s->type) {
    case SPEC_SCHEDULE_CONSTANT:
    case SPEC_SCHEDULE_ONE_CYCLE: break;
    case SPEC_SCHEDULE_COSINE: return cosine(s, lr, x, rest);
    case SPEC_SCHEDULE_STEP: return lr * pow(s->gamma, floor(x / (double)s->step_size));
    case SPEC_SCHEDULE_MULTI_STEP: return lr * pow(s->gamma, passed_milestones(s, x));
    case SPEC_SCHEDULE_EXPONENTIAL: return lr * pow(s->gamma, x);
    case SPEC_SCHEDULE_LINEAR: return linear(s, lr, x);
    }
    return lr;
}
