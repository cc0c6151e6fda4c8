/* samples: a growing set of measurements and its percentiles. One thread. */
#ifndef TESTS_SAMPLES_H
#define TESTS_SAMPLES_H

#include <stddef.h>

struct samples { /* zero it to start */
    double *values;
    size_t n, capacity;
};
void samples_add(struct samples *s, double value);
/* Sorts. share 0 .. 1; 0 when there are none. */
double samples_at(struct samples *s, double share);
void samples_deinit(struct samples *s);

#endif
