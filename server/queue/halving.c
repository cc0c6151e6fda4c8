/* halving: see halving.h. */
#include "server/queue/halving.h"

#include <math.h>

int64_t halving_budget(const struct halving *h, int64_t rung)
{
    int64_t budget = h->min;
    while (rung-- > 0 && budget < h->max) budget *= h->eta;
    return budget;
}

int64_t halving_rungs(const struct halving *h)
{
    int64_t n = 0;
    if (h->eta < 2) return 0;
    while (n < HALVING_RUNGS_MAX && halving_budget(h, n) < h->max) n++;
    return n;
}

int64_t halving_step(const struct halving *h, int64_t rung, int64_t steps_total, int64_t epochs)
{
    const int64_t budget = halving_budget(h, rung);
    if (h->steps) return budget;
    if (steps_total <= 0 || epochs <= 0) return -1;
    return budget * steps_total / epochs;
}

static bool as_good(double a, double b, bool higher)
{
    if (isnan(a)) return isnan(b);
    return isnan(b) || (higher ? a >= b : a <= b);
}

struct halving_verdict halving_judge(const struct halving *h, bool higher, const double *earlier,
                                     size_t n, double value)
{
    struct halving_verdict v = { .rank = 1, .of = n + 1 };
    for (size_t i = 0; i < n; i++) v.rank += as_good(earlier[i], value, higher);
    const size_t places = v.of / (size_t)h->eta;
    v.goes_on = !isnan(value) && v.rank <= (places > 1 ? places : 1);
    return v;
}
