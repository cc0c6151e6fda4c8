/* optimizer: update rules with PyTorch's semantics over one packed block of weights. Called by
 * train/ on the main thread; the update itself is one pass over the pool. */
#ifndef WORKER_OPTIMIZER_H
#define WORKER_OPTIMIZER_H

#include "common/err.h"
#include "common/spec.h"
#include "worker/kernels/kernels.h"
#include "worker/nets/net.h"

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
#define OPTIMIZER_FROZEN ((size_t)-1)
struct optimizer_span { /* weights [at, at + floats) */
    size_t at, floats;
    size_t group; /* or OPTIMIZER_FROZEN */
};
struct optimizer {
    const struct optimizer_ops *ops;
    struct spec_optimizer groups[1 + SPEC_GROUPS_MAX]; /* 0: the spec's; lr and decay differ */
    size_t n_groups;
    struct optimizer_span *spans; /* owned; NULL: all weights are of group 0 */
    size_t n_spans;
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
/* Puts every weight of a net into its group, or freezes it. Errors: ERR_SPEC (a glob that matches
 * nothing, nothing left to learn; begins with the JSON pointer), ERR_NOMEM. */
int optimizer_group(struct optimizer *o, const struct net *n, const struct spec_train *train,
                    struct err *e);
/* Gradients of frozen weights become 0, so that no norm sees them. */
void optimizer_silence(const struct optimizer *o, float *g);
/* rates: one a group. Gradients are multiplied by grad_scale (clipping) first. */
void optimizer_update(struct optimizer *o, const struct kernel_ctx *kc, const double *rates,
                      double grad_scale, float *p, const float *g);

extern const struct optimizer_ops sgd_ops, adam_ops, adamw_ops, rmsprop_ops;

#endif
