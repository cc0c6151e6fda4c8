/* optimizer: the table and the shared part. See optimizer.h. */
#include "worker/train/optimizer.h"

#include "common/mem.h"

static const struct optimizer_ops *const table[] = { [SPEC_SGD] = &sgd_ops,
                                                     [SPEC_ADAM] = &adam_ops,
                                                     [SPEC_ADAMW] = &adamw_ops,
                                                     [SPEC_RMSPROP] = &rmsprop_ops };

int optimizer_init(struct optimizer *o, const struct spec_optimizer *spec, size_t floats,
                   struct err *e)
{
    *o = (struct optimizer){ .ops = table[spec->type], .spec = spec, .floats = floats };
    o->block = mem_calloc(optimizer_slots(spec) * floats + 16, sizeof o->block[0]);
    if (o->block == NULL) return err_set(e, ERR_NOMEM, "%zu optimiser values", floats);
    float *aligned = (float *)mem_align((size_t)o->block, 64);
    for (size_t i = 0; i < o->ops->n_slots; i++) {
        if (o->ops->uses != NULL && !o->ops->uses(spec, i)) continue;
        o->slot[i] = aligned;
        aligned += floats;
    }
    return 0;
}

size_t optimizer_slots(const struct spec_optimizer *spec)
{
    const struct optimizer_ops *ops = table[spec->type];
    size_t used = 0;
    for (size_t i = 0; i < ops->n_slots; i++) used += ops->uses == NULL || ops->uses(spec, i);
    return used;
}

void optimizer_deinit(struct optimizer *o)
{
    mem_free(o->block);
    *o = (struct optimizer){ 0 };
}

void optimizer_update(struct optimizer *o, const struct kernel_ctx *kc, double lr,
                      double grad_scale, float *p, const float *g)
{
    o->ops->update(o, kc, lr, (float)grad_scale, p, g);
    o->updates++;
}
