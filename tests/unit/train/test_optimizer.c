/* Every update rule over several steps, against the same rules written plainly in double. */
#include "tests/unit/kernels/kernel_fixture.h"
#include "worker/train/optimizer.h"

#define N (16384 + 32) /* more than one item of the pool */
#define STEPS 7

struct plain {
    double p[N], m[N], v[N], top[N];
};

static void plain_sgd(const struct spec_optimizer *o, struct plain *s, const float *g, double scale,
                      int step)
{
    for (int i = 0; i < N; i++) {
        double d = (double)g[i] * scale + o->weight_decay * s->p[i];
        if (o->momentum != 0) {
            s->m[i] = step == 0 ? d : o->momentum * s->m[i] + (1 - o->dampening) * d;
            d = o->nesterov ? d + o->momentum * s->m[i] : s->m[i];
        }
        s->p[i] -= o->lr * d;
    }
}

static void plain_adam(const struct spec_optimizer *o, struct plain *s, const float *g,
                       double scale, int step)
{
    const bool decoupled = o->type == SPEC_ADAMW;
    for (int i = 0; i < N; i++) {
        const double d = (double)g[i] * scale + (decoupled ? 0 : o->weight_decay * s->p[i]);
        if (decoupled) s->p[i] -= o->lr * o->weight_decay * s->p[i];
        s->m[i] = o->beta1 * s->m[i] + (1 - o->beta1) * d;
        s->v[i] = o->beta2 * s->v[i] + (1 - o->beta2) * d * d;
        s->top[i] = o->amsgrad && s->top[i] > s->v[i] ? s->top[i] : s->v[i];
        const double m = s->m[i] / (1 - pow(o->beta1, step + 1)),
                     v = s->top[i] / (1 - pow(o->beta2, step + 1));
        s->p[i] -= o->lr * m / (sqrt(v) + o->eps);
    }
}

static void plain_rmsprop(const struct spec_optimizer *o, struct plain *s, const float *g,
                          double scale, int step)
{
    (void)step;
    for (int i = 0; i < N; i++) {
        const double d = (double)g[i] * scale + o->weight_decay * s->p[i];
        s->v[i] = o->alpha * s->v[i] + (1 - o->alpha) * d * d;
        s->top[i] = o->alpha * s->top[i] + (1 - o->alpha) * d; /* the mean */
        const double var = o->centered ? s->v[i] - s->top[i] * s->top[i] : s->v[i];
        s->m[i] = o->momentum * s->m[i] + d / (sqrt(var) + o->eps);
        s->p[i] -= o->lr * s->m[i];
    }
}

typedef void plain_fn(const struct spec_optimizer *o, struct plain *s, const float *g,
                      double scale, int step);
static plain_fn *const plain[] = { [SPEC_SGD] = plain_sgd,
                                   [SPEC_ADAM] = plain_adam,
                                   [SPEC_ADAMW] = plain_adam,
                                   [SPEC_RMSPROP] = plain_rmsprop };

static void check(const struct spec_optimizer *o, double scale)
{
    static struct plain want;
    float *first = NULL;
    EACH_CONTEXT(kc, true)
    {
        struct optimizer opt;
        struct err e = { 0 };
        float *p = numbers(N, 1);
        cr_assert_eq(optimizer_init(&opt, o, N, &e), 0);
        memset(&want, 0, sizeof want);
        for (int i = 0; i < N; i++) want.p[i] = (double)p[i];
        for (int step = 0; step < STEPS; step++) {
            float *g = numbers(N, (size_t)(10 + step));
            plain[o->type](o, &want, g, scale, step);
            optimizer_update(&opt, &kc, &o->lr, scale, p, g);
            free(g);
        }
        for (int i = 0; i < N; i++)
            cr_assert(fabs((double)p[i] - want.p[i]) < 2e-6, "%d: %g, %g", i, (double)p[i],
                      want.p[i]);
        cr_assert_eq(opt.updates, STEPS);
        if (first == NULL) first = p;
        else {
            cr_assert(same_floats(first, p, N), "%s, %zu threads", isa_name((enum isa)isa_kc),
                      threads_kc);
            free(p);
        }
        optimizer_deinit(&opt);
    }
    free(first);
}

/* Goal: every option of SGD, alone and together. */
Test(optimizer, sgd, .timeout = 30)
{
    check(&(struct spec_optimizer){ .type = SPEC_SGD, .lr = 0.1 }, 1);
    check(&(struct spec_optimizer){ .type = SPEC_SGD, .lr = 0.1, .momentum = 0.9 }, 1);
    check(
        &(struct spec_optimizer){ .type = SPEC_SGD, .lr = 0.1, .momentum = 0.9, .nesterov = true },
        1);
    check(&(struct spec_optimizer){ .type = SPEC_SGD, .lr = 0.1, .momentum = 0.9, .dampening = 0.3,
                                    .weight_decay = 0.01 }, 0.5);
}

/* Goal: Adam with its bias correction and weight decay. */
Test(optimizer, adam, .timeout = 30)
{
    check(
        &(struct spec_optimizer){
            .type = SPEC_ADAM, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8 },
        1);
    check(&(struct spec_optimizer){ .type = SPEC_ADAM,
                                    .lr = 0.01,
                                    .beta1 = 0.8,
                                    .beta2 = 0.95,
                                    .eps = 1e-6,
                                    .weight_decay = 0.1 },
          0.25);
}

/* Goal: AMSGrad divides by the largest second moment so far, which other gradients follow. */
Test(optimizer, amsgrad, .timeout = 30)
{
    check(&(struct spec_optimizer){ .type = SPEC_ADAM, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.3,
                                    .eps = 1e-8, .amsgrad = true, .weight_decay = 0.1 }, 1);
    check(&(struct spec_optimizer){ .type = SPEC_ADAMW, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.3,
                                    .eps = 1e-8, .amsgrad = true }, 1);
}

/* Goal: AdamW's decay shrinks the weight and does not reach the moments. */
Test(optimizer, adamw, .timeout = 30)
{
    check(&(struct spec_optimizer){ .type = SPEC_ADAMW, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999,
                                    .eps = 1e-8, .weight_decay = 0.5 }, 0.5);
}

/* Goal: every option of RMSprop, alone and together. */
Test(optimizer, rmsprop, .timeout = 30)
{
    const struct spec_optimizer o = { .type = SPEC_RMSPROP, .lr = 0.001, .alpha = 0.9,
                                      .eps = 1e-3 };
    struct spec_optimizer with = o;
    check(&with, 1);
    with.momentum = 0.9;
    check(&with, 1);
    with.centered = true;
    check(&with, 0.5);
    with.momentum = 0;
    with.weight_decay = 0.1;
    check(&with, 1);
}

/* Goal: a constant gradient has no deviation; rounding may take it below 0, never to NaN. */
Test(optimizer, centered_rmsprop_stays_finite, .timeout = 30)
{
    const struct spec_optimizer o = { .type = SPEC_RMSPROP, .lr = 1e-6, .alpha = 0.5, .eps = 1e-3,
                                      .centered = true };
    EACH_CONTEXT(kc, true)
    {
        struct optimizer opt;
        struct err e = { 0 };
        float *p = numbers(16, 1), *g = numbers(16, 2);
        cr_assert_eq(optimizer_init(&opt, &o, 16, &e), 0);
        for (int step = 0; step < 100; step++) optimizer_update(&opt, &kc, &o.lr, 1, p, g);
        for (int i = 0; i < 16; i++) cr_assert(isfinite(p[i]), "%d", i);
        optimizer_deinit(&opt);
        free(p);
        free(g);
    }
}

/* Goal: only the state that the options ask for is kept. */
Test(optimizer, slots_are_those_in_use, .timeout = 30)
{
    static const struct {
        struct spec_optimizer o;
        bool used[OPTIMIZER_SLOTS_MAX];
    } cases[] = {
        { { .type = SPEC_SGD, .momentum = 0.9 }, { true } },
        { { .type = SPEC_ADAM }, { true, true, false } },
        { { .type = SPEC_ADAMW, .amsgrad = true }, { true, true, true } },
        { { .type = SPEC_RMSPROP }, { true, false, false } },
        { { .type = SPEC_RMSPROP, .centered = true }, { true, true, false } },
        { { .type = SPEC_RMSPROP, .momentum = 0.5 }, { true, false, true } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct optimizer opt;
        struct err e = { 0 };
        cr_assert_eq(optimizer_init(&opt, &cases[i].o, 32, &e), 0);
        for (size_t k = 0; k < OPTIMIZER_SLOTS_MAX; k++)
            cr_assert_eq(opt.slot[k] != NULL, cases[i].used[k], "case %zu, slot %zu", i, k);
        optimizer_deinit(&opt);
    }
}

/* Goal: the share of a new gradient is 1 - beta of the spec, not of beta rounded to float, which is
 * wrong in the fifth digit for 0.999. */
Test(optimizer, adam_shares_are_rounded_once, .timeout = 30)
{
    const struct spec_optimizer o = { .type = SPEC_ADAM, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999,
                                      .eps = 1e-8 };
    EACH_CONTEXT(kc, true)
    {
        struct optimizer opt;
        struct err e = { 0 };
        float *p = numbers(16, 1), *g = numbers(16, 2);
        cr_assert_eq(optimizer_init(&opt, &o, 16, &e), 0);
        optimizer_update(&opt, &kc, &o.lr, 1, p, g);
        for (int i = 0; i < 16; i++) {
            cr_assert_eq(opt.slot[0][i], g[i] * 0.1f, "%d", i);
            cr_assert_eq(opt.slot[1][i], g[i] * g[i] * 0.001f, "%d", i);
        }
        optimizer_deinit(&opt);
        free(p);
        free(g);
    }
}
