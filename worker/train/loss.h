/* loss: losses of the mean output over time, with their gradients. Called by train/ on the main
 * thread; small, so it runs on one thread.
 *
 * Sums are doubles: per sample, chained inside a shard, a binary tree over shards (design 5.8). */
#ifndef WORKER_LOSS_H
#define WORKER_LOSS_H

#include "common/spec.h"
#include "worker/tensor/tensor.h"

struct loss_args {
    enum spec_loss_type type;
    double label_smoothing; /* cross entropy */
    size_t shards;
    size_t samples; /* valid samples of the batch; the mean is over these */
    const uint32_t *labels;
};
struct loss_result {
    double loss;    /* mean over samples */
    size_t correct; /* samples whose largest mean output is the label's (the first one at a tie) */
};
/* y: output [B, T, C]. gd, g: dL/dy, every valid sample written, the others zeroed; g NULL = none.
 *   mse: mean over samples and classes of (mean_t y - onehot)^2
 *   cross_entropy: mean over samples of -sum q log softmax(mean_t y), q smoothed (PyTorch's rule)
 */
struct loss_result loss_compute(const struct loss_args *a, const struct tensor_desc *yd,
                                const void *y, const struct tensor_desc *gd, float *g);

#endif
