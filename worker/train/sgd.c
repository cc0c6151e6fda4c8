/* sgd: stochastic gradient descent with momentum and Nesterov (PyTorch's SGD). See optimizer.h. */
#include "worker/train/optimizer.h"

static void update(struct optimizer *o, const struct kernel_ctx *kc, double lr, float grad_scale,
                   float *p, const float *g)
{
    const struct spec_optimizer *s = o->spec;
    const struct sgd_args a = {
        .lr = (float)lr, .momentum = (float)s->momentum, .dampening = (float)s->dampening,
        .weight_decay = (float)s->weight_decay, .grad_scale = grad_scale,
        .nesterov = s->nesterov, .first = o->updates == 0,
    };
    sgd_update(kc, &a, p, g, s->momentum != 0 ? o->slot[0] : NULL, o->floats);
}

const struct optimizer_ops sgd_ops = {
    .name = "sgd", .n_slots = 1, .slots = { "momentum_buffer" }, .update = update
};
