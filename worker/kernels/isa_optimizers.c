/* isa_optimizers: the update rules over one stretch of weights. Compiled once per instruction set;
 * n is a multiple of 16. Their plain twins are in tests/unit/train/test_optimizer.c. */
#include "worker/kernels/isa_loops.h"

/* mean = keep * mean + fresh * x. */
void LOOP(average)(float *mean, const float *x, float keep, float fresh, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        lanes_store(mean + i, lanes_load(mean + i) * keep + lanes_load(x + i) * fresh);
}

/* PyTorch's SGD: g += wd*p; m = momentum*m + (1 - dampening)*g; p -= lr * (nesterov ? g +
 * momentum*m : m). */
void LOOP(sgd)(const struct sgd_args *a, float *p, const float *g, float *m, size_t n)
{
    const float fresh = 1.0f - a->dampening;
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_f w = lanes_load(p + i);
        lanes_f d = lanes_load(g + i) * a->grad_scale;
        if (a->weight_decay != 0.0f) d = lanes_fma(lanes_set(a->weight_decay), w, d);
        if (m != NULL) {
            lanes_f v = d;
            if (!a->first) v = lanes_load(m + i) * a->momentum + d * fresh;
            lanes_store(m + i, v);
            d = a->nesterov ? d + v * a->momentum : v;
        }
        lanes_store(p + i, w - d * a->lr);
    }
}

LANES_INLINE lanes_f root(lanes_f x)
{
#if defined(__AVX512F__)
    return (lanes_f)_mm512_sqrt_ps((__m512)x);
#else
    for (int i = 0; i < LANES; i++) x[i] = sqrtf(x[i]);
    return x;
#endif
}

/* PyTorch's Adam: p -= lr/bias1 * m / (sqrt(v)/bias2_sqrt + eps); AMSGrad takes the largest v so
 * far. AdamW shrinks the weight first and adds nothing to the gradient. */
void LOOP(adam)(const struct adam_args *a, float *p, const float *g, float *m, float *v, float *top,
                size_t n)
{
    const float step = a->lr / a->bias1;
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_f w = lanes_load(p + i);
        lanes_f d = lanes_load(g + i) * a->grad_scale;
        if (a->weight_decay != 0.0f) d = lanes_fma(lanes_set(a->weight_decay), w, d);
        const lanes_f first = lanes_load(m + i) * a->beta1 + d * a->fresh1;
        lanes_f second = lanes_load(v + i) * a->beta2 + (d * d) * a->fresh2;
        lanes_store(m + i, first);
        lanes_store(v + i, second);
        if (top != NULL) {
            second = lanes_max(lanes_load(top + i), second);
            lanes_store(top + i, second);
        }
        const lanes_f under = root(second) / a->bias2_sqrt + a->eps;
        lanes_store(p + i, w * a->shrink - first / under * step);
    }
}

/* PyTorch's RMSprop: v = alpha*v + (1 - alpha)*g^2; d = g / (sqrt(v - mean^2) + eps), the mean of g
 * only where it is centered; m = momentum*m + d; p -= lr * m. Rounding can take the variance below
 * 0: it counts as 0 there. */
void LOOP(rmsprop)(const struct rmsprop_args *a, float *p, const float *g, float *v, float *mean,
                   float *m, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const lanes_f w = lanes_load(p + i);
        lanes_f d = lanes_load(g + i) * a->grad_scale;
        if (a->weight_decay != 0.0f) d = lanes_fma(lanes_set(a->weight_decay), w, d);
        lanes_f var = lanes_load(v + i) * a->alpha + (d * d) * a->fresh;
        lanes_store(v + i, var);
        if (mean != NULL) {
            const lanes_f mid = lanes_load(mean + i) * a->alpha + d * a->fresh;
            lanes_store(mean + i, mid);
            var = lanes_max(lanes_set(0.0f), var - mid * mid);
        }
        d = d / (root(var) + a->eps);
        if (m != NULL) {
            d = lanes_load(m + i) * a->momentum + d;
            lanes_store(m + i, d);
        }
        lanes_store(p + i, w - d * a->lr);
    }
}
