/* histogram: see histogram.h. */
#include "server/meter/histogram.h"

const double histogram_short_bounds[] = { 0.001, 0.002, 0.005, 0.01, 0.02, 0.05,
                                          0.1,   0.2,   0.5,   1,    2,    10 };
const size_t histogram_short_count = sizeof histogram_short_bounds /
                                     sizeof histogram_short_bounds[0];
const double histogram_tiny_bounds[] = { 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2, 0.1 };
const size_t histogram_tiny_count = sizeof histogram_tiny_bounds / sizeof histogram_tiny_bounds[0];
const double histogram_long_bounds[] = { 0.1, 1, 10, 60, 600, 3600, 14400, 86400, 604800 };
const size_t histogram_long_count = sizeof histogram_long_bounds / sizeof histogram_long_bounds[0];

void histogram_add(struct histogram *h, double seconds)
{
    size_t i = 0;
    if (seconds < 0) seconds = 0;
    while (i < h->n_bounds && seconds > h->bounds[i]) i++;
    h->counts[i]++;
    h->sum += seconds;
}

uint64_t histogram_total(const struct histogram *h)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= h->n_bounds; i++) n += h->counts[i];
    return n;
}
