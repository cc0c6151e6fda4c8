/* rmsprop: gradients over their running root mean square (Tieleman and Hinton, 2012; PyTorch's
 * RMSprop). See optimizer.h. */
#include "worker/train/optimizer.h"

enum { SQUARE, MEAN, MOMENTUM };

static bool uses(const struct spec_optimizer *s, size_t slot)
{
    return slot == SQUARE || (slot == MEAN ? s->centered : s->momentum != 0);
}

static void update(struct optimizer *o, const struct kernel_ctx *kc, double lr, float grad_scale,
                   float *p, const float *g)
{
    const struct spec_optimizer *s = o->spec;
    const struct rmsprop_args a = {
        .lr = (float)lr, .alpha = (float)s->alpha, .eps = (float)s->eps,
        .momentum = (float)s->momentum, .weight_decay = (float)s->weight_decay,
        .grad_scale = grad_scale, .fresh = (float)(1.0 - s->alpha),
    };
    rmsprop_update(kc, &a, p, g, o->slot[SQUARE], o->slot[MEAN], o->slot[MOMENTUM], o->floats);
}

const struct optimizer_ops rmsprop_ops = {
    .name = "rmsprop", .n_slots = 3, .slots = { "square_avg", "grad_avg", "momentum_buffer" },
    .uses = uses, .update = update
};
