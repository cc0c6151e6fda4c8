/* optimizer: the table and the shared part. See optimizer.h. */
#include "worker/train/optimizer.h"

#include "common/mem.h"

#include <string.h>

static const struct optimizer_ops *const table[] = { [SPEC_SGD] = &sgd_ops,
                                                     [SPEC_ADAM] = &adam_ops,
                                                     [SPEC_ADAMW] = &adamw_ops,
                                                     [SPEC_RMSPROP] = &rmsprop_ops };

int optimizer_init(struct optimizer *o, const struct spec_optimizer *spec, size_t floats,
                   struct err *e)
{
    *o = (struct optimizer){ .ops = table[spec->type], .spec = spec, .floats = floats,
                             .n_groups = 1 };
    o->groups[0] = *spec;
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
    mem_free(o->spans);
    *o = (struct optimizer){ 0 };
}

void optimizer_silence(const struct optimizer *o, float *g)
{
    for (size_t i = 0; i < o->n_spans; i++)
        if (o->spans[i].group == OPTIMIZER_FROZEN)
            memset(g + o->spans[i].at, 0, o->spans[i].floats * sizeof g[0]);
}

/* One span as an optimiser of its own. */
static void update_span(const struct optimizer *o, const struct optimizer_span *s,
                        const struct kernel_ctx *kc, double lr, float grad_scale, float *p,
                        const float *g)
{
    struct optimizer part = *o;
    part.spec = &o->groups[s->group];
    part.floats = s->floats;
    for (size_t i = 0; i < o->ops->n_slots; i++)
        if (part.slot[i] != NULL) part.slot[i] += s->at;
    o->ops->update(&part, kc, lr, grad_scale, p + s->at, g + s->at);
}

void optimizer_update(struct optimizer *o, const struct kernel_ctx *kc, const double *rates,
                      double grad_scale, float *p, const float *g)
{
    const struct optimizer_span all = { 0, o->floats, 0 };
    const struct optimizer_span *spans = o->spans != NULL ? o->spans : &all;
    const size_t count = o->spans != NULL ? o->n_spans : 1;
    for (size_t i = 0; i < count; i++)
        if (spans[i].group != OPTIMIZER_FROZEN)
            update_span(o, &spans[i], kc, rates[spans[i].group], (float)grad_scale, p, g);
    o->updates++;
}
