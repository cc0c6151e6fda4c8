/* slopes: the twin's gradients against finite differences of its own forward pass. */
#ifndef TEST_SLOPES_H
#define TEST_SLOPES_H

#include "tests/twin/twin.h"

#define SLOPES_WHAT (SPEC_PATH_MAX + 64)

/* Which slopes of every tensor (the input and each learned parameter) are taken: along random
 * vectors of signs, and of single values. */
struct slopes_plan {
    size_t directions, coordinates;
    size_t tensors; /* of the parameters at most so many, evenly spread; 0: all */
};
struct slopes {
    double worst; /* error / size of the gradient */
    char what[SLOPES_WHAT];
    size_t taken;
};

/* Forward and backward pass of sum(up * output). */
void slopes_prepare(struct twin *tw, const double *up);
/* Compares the gradients that the twin has; its parameters and input are as before afterwards.
 * An error is relative to the gradient along the vector or, where larger, the 2-norm of the
 * tensor's gradient (single values: its root mean square); tensors without any are held to a
 * thousandth of the largest norm. */
struct slopes slopes_take(struct twin *tw, const double *up, const struct slopes_plan *plan);

/* Smallest |central(h) - want| / scale of a few step widths h: short ones step over no kink (a
 * maximum that changes, the edge of a surrogate), long ones lose no digits. central: the loss h
 * ahead less that h behind, over 2h. */
double slopes_error(double (*central)(const void *ctx, double h), const void *ctx, double want,
                    double scale);

/* In [-1, 1), the same on every run. */
double twin_number(uint64_t i);

#endif
