/* optimizer: update rules with PyTorch's semantics over one packed block of weights. Called by
 * train/ on the main thread; the update itself is one pass over the pool. */
#ifndef WORKER_OPTIMIZER_H
#define WORKER_OPTIMIZER_H

#include "common/err.h"
#include "common/spec.h"
#include "worker/kernels/kernels.h"

#define OPTIMIZER_SLOTS_MAX 3

struct optimizer;
struct optimizer_ops {
    const char *name;
    size_t n_slots;
    const char *slots[OPTIMIZER_SLOTS_MAX]; /* names in checkpoints: PyTorch's state names */
    bool (*uses)(const struct spec_optimizer *s, size_t slot); /* NULL: every slot */
    void (*update)(struct optimizer *o, const struct kernel_ctx *kc, double lr, float grad_scale,
                   float *p, const float *g);
};
struct optimizer {
    const struct optimizer_ops *ops;
    const struct spec_optimizer *spec; /* borrowed */
    size_t floats;                     /* multiple of 16 */
    float *slot[OPTIMIZER_SLOTS_MAX];  /* inside block, 64-byte aligned; NULL: not used */
    float *block;
    uint64_t updates;                  /* done so far */
};
/* Errors: ERR_NOMEM. */
int optimizer_init(struct optimizer *o, const struct spec_optimizer *spec, size_t floats,
                   struct err *e);
size_t optimizer_slots(const struct spec_optimizer *spec); /* moments of a weight */
void optimizer_deinit(struct optimizer *o);
/* Gradients are multiplied by grad_scale (clipping) first. */
void optimizer_update(struct optimizer *o, const struct kernel_ctx *kc, double lr,
                      double grad_scale, float *p, const float *g);

extern const struct optimizer_ops sgd_ops, adam_ops, adamw_ops, rmsprop_ops;

#endif
