/* loss: losses of the output over time, with their gradients. Called by train/ on the main thread;
 * small, so it runs on one thread.
 *
 * Sums are doubles: per sample, chained inside a shard, a binary tree over shards (design 5.8). */
#ifndef WORKER_LOSS_H
#define WORKER_LOSS_H

#include "common/spec.h"
#include "worker/tensor/tensor.h"

struct loss_args {
    const struct spec_loss *loss;
    enum spec_readout readout;
    size_t shards;
    size_t samples; /* valid samples of the batch */
    size_t total;   /* samples the mean is over: those of the whole update; 0 = `samples` */
    const uint32_t *labels;
    const uint32_t *lengths; /* time-steps of each sample; NULL: all have T */
};
struct loss_result {
    double loss;    /* sum of the samples' losses / total */
    size_t correct; /* samples whose largest readout is the label's (the first one at a tie) */
};
/* y: output [B, T, C]. gd, g: dL/dy, every valid sample written, the others zeroed; g NULL = none.
 * z = the readout of y over a sample's own T time-steps (lengths): mean over t, y[T-1], max over t,
 * or the y of largest magnitude (the gradient of both goes to the first such y).
 *   mse: mean over samples and classes of (z - onehot)^2
 *   cross_entropy: mean over samples of -sum q log softmax(z), q smoothed (PyTorch's rule)
 *   with per_step: the same of y[t] instead of z, then the mean over t
 *   tet: (1 - lambda) * per-step cross entropy + lambda * mean over all of (y - means)^2
 *        (Deng et al., Temporal efficient training, ICLR 2022, eq. 8 to 11)
 */
struct loss_result loss_compute(const struct loss_args *a, const struct tensor_desc *yd,
                                const void *y, const struct tensor_desc *gd, float *g);
/* z of sample b: one value a class. Of a, only `readout` counts. */
void loss_readout(const struct loss_args *a, const struct tensor_desc *yd, const void *y, size_t b,
                  float *out);

#endif
