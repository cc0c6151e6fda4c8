/* adam: Adam with bias correction (Kingma and Ba, ICLR 2015; PyTorch's Adam). See optimizer.h. */
#include "worker/train/optimizer.h"

#include <math.h>

static void update(struct optimizer *o, const struct kernel_ctx *kc, float lr, float grad_scale,
                   float *p, const float *g)
{
    const struct spec_optimizer *s = o->spec;
    const double t = (double)(o->updates + 1);
    const struct adam_args a = {
        .lr = lr, .beta1 = (float)s->beta1, .beta2 = (float)s->beta2, .eps = (float)s->eps,
        .weight_decay = (float)s->weight_decay, .grad_scale = grad_scale,
        .fresh1 = (float)(1.0 - s->beta1), .fresh2 = (float)(1.0 - s->beta2),
        .bias1 = (float)(1.0 - pow(s->beta1, t)),
        .bias2_sqrt = (float)sqrt(1.0 - pow(s->beta2, t)),
    };
    adam_update(kc, &a, p, g, o->slot[0], o->slot[1], o->floats);
}

const struct optimizer_ops adam_ops = {
    .name = "adam", .n_slots = 2, .slots = { "exp_avg", "exp_avg_sq" }, .update = update
};
