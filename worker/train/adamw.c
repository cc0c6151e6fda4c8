/* adamw: Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019; PyTorch's AdamW). See
 * optimizer.h. */
#include "worker/train/adam.h"

static void update(struct optimizer *o, const struct kernel_ctx *kc, double lr, float grad_scale,
                   float *p, const float *g)
{
    const struct adam_decay decay = { .shrink = (float)(1.0 - lr * o->spec->weight_decay) };
    adam_step(o, kc, &decay, (float)lr, grad_scale, p, g);
}

const struct optimizer_ops adamw_ops = {
    .name = "adamw", .n_slots = 3, .slots = ADAM_SLOTS, .uses = adam_uses, .update = update
};
