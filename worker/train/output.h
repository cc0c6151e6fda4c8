/* output: what the trainer tells the world, and what the world asks of it. Implemented by report/
 * (daemon), and by monitor/ndjson and monitor/progress (command line). All calls come from the
 * training thread; none may block for long. */
#ifndef WORKER_OUTPUT_H
#define WORKER_OUTPUT_H

#include "common/err.h"
#include "common/states.h"
#include "common/wire.h"

struct train_progress {
    uint64_t step, steps_total;
    uint64_t epoch, epochs;
    uint64_t batches; /* done by this process, of training and evaluation: stands still = stuck */
    double samples_per_s;
    double train_loss, val_accuracy; /* NaN = none yet */
};
struct output {
    void *ctx;
    /* Non-zero ends the attempt with that error (a spool that cannot be written, a lost lease). */
    int (*points)(void *ctx, const struct wire_series *series, size_t n, struct err *e);
    int (*record)(void *ctx, const struct record *r, struct err *e);
    /* Everything said so far must survive a crash before this returns: a checkpoint follows. */
    int (*sync)(void *ctx, struct err *e);
    void (*progress)(void *ctx, const struct train_progress *p);
    enum experiment_desired (*desired)(void *ctx);
};

#endif
