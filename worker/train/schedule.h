/* schedule: the learning rate by place in the run (PyTorch's definitions). Pure. */
#ifndef WORKER_SCHEDULE_H
#define WORKER_SCHEDULE_H

#include "common/spec.h"

/* Where a run is. `epochs` and `steps` are those of train.epochs, whatever train.max_steps says. */
struct schedule_place {
    uint64_t epoch, epochs;
    uint64_t step, steps; /* updates done */
};
/* Rate of the next update. x counts epochs or updates (`unit`); the first is 0, N the run's number
 * of them. While x < warmup: lr * (start + (1 - start) * x / warmup); then x counts from warmup:
 *   cosine       eta_min + (lr - eta_min) * (1 + cos(pi x / t_max)) / 2, up again after t_max;
 *                t_max 0 = N - warmup
 *   step         lr * gamma^(x div step_size)
 *   multi_step   lr * gamma^(number of milestones <= x)
 *   exponential  lr * gamma^x
 *   linear       lr * (start_factor + (end_factor - start_factor) * min(x / total, 1))
 * one_cycle counts updates, from lr / div_factor up to lr at pct_start * N - 1, then down to
 * lr / div_factor / final_div_factor at N - 1, along half a cosine or a line (Smith and Topin,
 * 2018; PyTorch's OneCycleLR without its cycling momentum). */
double schedule_rate(const struct spec_schedule *s, double lr, const struct schedule_place *at);

#endif
