/* adam: Adam with bias correction (Kingma and Ba, ICLR 2015; PyTorch's Adam) and AMSGrad (Reddi et
 * al., ICLR 2018). See optimizer.h; adamw.c shares the step. */
#include "worker/train/adam.h"

#include <math.h>

enum { MEAN, SQUARE, LARGEST };

bool adam_uses(const struct spec_optimizer *s, size_t slot)
{
    return slot != LARGEST || s->amsgrad;
}

void adam_step(struct optimizer *o, const struct kernel_ctx *kc, const struct adam_decay *decay,
               float lr, float grad_scale, float *p, const float *g)
{
    const struct spec_optimizer *s = o->spec;
    const double t = (double)(o->updates + 1);
    const struct adam_args a = {
        .lr = lr, .beta1 = (float)s->beta1, .beta2 = (float)s->beta2, .eps = (float)s->eps,
        .weight_decay = decay->added, .shrink = decay->shrink, .grad_scale = grad_scale,
        .fresh1 = (float)(1.0 - s->beta1), .fresh2 = (float)(1.0 - s->beta2),
        .bias1 = (float)(1.0 - pow(s->beta1, t)),
        .bias2_sqrt = (float)sqrt(1.0 - pow(s->beta2, t)),
    };
    adam_update(kc, &a, p, g, o->slot[MEAN], o->slot[SQUARE], o->slot[LARGEST], o->floats);
}

static void update(struct optimizer *o, const struct kernel_ctx *kc, double lr, float grad_scale,
                   float *p, const float *g)
{
    const struct adam_decay decay = { .added = (float)o->spec->weight_decay, .shrink = 1.0f };
    adam_step(o, kc, &decay, (float)lr, grad_scale, p, g);
}

const struct optimizer_ops adam_ops = {
    .name = "adam", .n_slots = 3, .slots = ADAM_SLOTS, .uses = adam_uses, .update = update
};
