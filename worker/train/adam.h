/* adam: what adam.c and adamw.c share (optimizer.h). */
#ifndef WORKER_ADAM_H
#define WORKER_ADAM_H

#include "worker/train/optimizer.h"

#define ADAM_SLOTS { "exp_avg", "exp_avg_sq", "max_exp_avg_sq" }

struct adam_decay {
    float added;  /* times the weight, to the gradient */
    float shrink; /* factor of the weight before the update */
};
bool adam_uses(const struct spec_optimizer *s, size_t slot);
void adam_step(struct optimizer *o, const struct kernel_ctx *kc, const struct adam_decay *decay,
               float lr, float grad_scale, float *p, const float *g);

#endif
