/* results: compares what two experiments came to, bit by bit. For stories. */
#ifndef TESTS_RESULTS_H
#define TESTS_RESULTS_H

#include "tests/support/service.h"

/* Experiment b must have every point of a, once, with the same bits, and the same weights. For
 * small_spec. */
void expect_same(const struct service *s, int64_t a, int64_t b);
/* The same, of two daemons. */
void expect_same_on(const struct service *s, int64_t a, const struct service *t, int64_t b);

#endif
