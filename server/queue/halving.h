/* halving: asynchronous successive halving, the rule alone (Li et al., "A System for Massively
 * Parallel Hyperparameter Tuning", MLSys 2020). Rung k stands at the budget min * eta^k, below max.
 * A value that arrives at a rung goes on when it is among the best 1/eta of those that have arrived
 * there, itself among them: rank <= max(1, n / eta), rounded down. Nobody is waited for: the
 * paper's algorithm 2 promotes paused members when enough others have come; here a member that is
 * not good enough by then ends for good, and one that is goes on without a pause ("stopping"
 * variant). Pure; any thread. */
#ifndef SERVER_HALVING_H
#define SERVER_HALVING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HALVING_RUNGS_MAX 32
#define HALVING_ETA_MAX 16

struct halving {
    int64_t eta; /* 0 = nothing is halved */
    int64_t min, max;
    bool steps; /* the budget is in optimiser updates; else in epochs */
};
int64_t halving_rungs(const struct halving *h);
int64_t halving_budget(const struct halving *h, int64_t rung);
/* The step at which a member stands at a rung; -1: not known before it has said how many it has. */
int64_t halving_step(const struct halving *h, int64_t rung, int64_t steps_total, int64_t epochs);

struct halving_verdict {
    size_t rank, of; /* 1 = the best; of those that have arrived */
    bool goes_on;
};
/* earlier: what has arrived before, [n]. Of equal ones the first is the better; what is not a
 * number is worse than all and never goes on. */
struct halving_verdict halving_judge(const struct halving *h, bool higher, const double *earlier,
                                     size_t n, double value);

#endif
