/* timing: what the benchmarks share: memory as a training step has it, and the median of times. */
#ifndef BENCH_TIMING_H
#define BENCH_TIMING_H

#include <stddef.h>

/* Zeros on huge pages where the kernel gives them, aligned to one; free() them. Ends the program
 * (exit code 75) when there are none. */
void *timing_take(size_t bytes);
/* Of n >= 1 values, which are sorted; the upper one of the two in the middle. */
double timing_median(double *values, size_t n);

#endif
