/* check_golden: runs the golden cases (numbers from SpikingJelly and PyTorch) through the engine:
 * layers and neurons as one-layer nets, losses, optimisers, schedules and encoders through the
 * tables that training uses, trajectories through whole training steps. Called by `spiked-worker
 * check-golden` and by the unit tests, on one thread. */
#ifndef WORKER_CHECK_GOLDEN_H
#define WORKER_CHECK_GOLDEN_H

#include "common/err.h"
#include "worker/kernels/kernels.h"

#include <stdbool.h>
#include <stdio.h>

struct check_golden_options {
    bool json;           /* one JSON object at the end instead of a table */
    size_t threads;      /* 0 = 1 */
    enum isa isa;
    size_t span_steps;   /* time-steps of one call of a layer; 0 = all */
    size_t stream_steps; /* walk time first, in chunks of these: forward only; 0 = layer by layer */
    enum kernel_path path;
    const char *only;    /* run cases whose family or name begins with this; NULL = all */
};
/* Refused: cases that a stream has not by design, a training pass or a layer that needs all
 * time-steps. */
struct check_golden_result {
    size_t passed, failed, refused;
};
/* Reads DIR/index.json and the files it names; prints one line FAIL CASE TENSOR: REASON for each
 * failed tensor, the counts of every family, why cases were refused and the kernels that ran to
 * `out`. Returns 0 when the
 * index was read, whatever the cases did; *result has the counts. Errors: ERR_IO, ERR_DATA (also:
 * no case at all), ERR_NOMEM. */
int check_golden(const char *dir, const struct check_golden_options *o, FILE *out,
                 struct check_golden_result *result, struct err *e);

#endif
