/* SGD and Adam over several steps, against the same rules written plainly in double. */
#include "tests/unit/kernels/kernel_fixture.h"
#include "worker/train/optimizer.h"

#define N (16384 + 32) /* more than one item of the pool */
#define STEPS 7

struct plain {
    double p[N], m[N], v[N];
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
    for (int i = 0; i < N; i++) {
        const double d = (double)g[i] * scale + o->weight_decay * s->p[i];
        s->m[i] = o->beta1 * s->m[i] + (1 - o->beta1) * d;
        s->v[i] = o->beta2 * s->v[i] + (1 - o->beta2) * d * d;
        const double m = s->m[i] / (1 - pow(o->beta1, step + 1)),
                     v = s->v[i] / (1 - pow(o->beta2, step + 1));
        s->p[i] -= o->lr * m / (sqrt(v) + o->eps);
    }
}

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
            if (o->type == SPEC_SGD) plain_sgd(o, &want, g, scale, step);
            else plain_adam(o, &want, g, scale, step);
            optimizer_update(&opt, &kc, o->lr, scale, p, g);
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
        optimizer_update(&opt, &kc, o.lr, 1, p, g);
        for (int i = 0; i < 16; i++) {
            cr_assert_eq(opt.slot[0][i], g[i] * 0.1f, "%d", i);
            cr_assert_eq(opt.slot[1][i], g[i] * g[i] * 0.001f, "%d", i);
        }
        optimizer_deinit(&opt);
        free(p);
        free(g);
    }
}
