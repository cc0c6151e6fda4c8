/* bits_floats: loops over plain floats: sums, averages, single functions, optimisers. See bits.h.
 */
#include "tests/bits/bits.h"

enum { N = 3 * 4096 + 160 };
static const size_t bytes = N * sizeof(float);

static void sums(struct bits *b)
{
    float *x = bits_floats(N, 1), *y = bits_floats(N, 2), *z = bits_take(bytes);
    double squares;
    (void)f32_sum_squares(&b->kc, x, N, &squares);
    bits_print("f32_sum_squares", 0, &squares, sizeof squares);
    f32_add(&b->kc, y, x, N);
    bits_print("f32_add", 0, y, bytes);
    f32_average(&b->kc, y, x, 0.9f, 0.1f, N);
    bits_print("f32_average", 0, y, bytes);
    f32_fill(&b->kc, z, N, 0.3f);
    bits_print("f32_fill", 0, z, bytes);
    for (size_t i = 0; i < N; i++) {
        y[i] = kernels_sigmoid(b->isa, 20.0f * x[i]);
        z[i] = kernels_log(b->isa, 1.0f + 4.0f * (x[i] + 1.0f));
    }
    bits_print("kernels_sigmoid", 0, y, bytes);
    bits_print("kernels_log", 0, z, bytes);
    bits_release();
}

/* Two updates each, so that the moments of the first count. */
static void sgd(struct bits *b, bool nesterov)
{
    float *p = bits_floats(N, 3), *g = bits_floats(N, 4), *m = bits_take(bytes);
    for (int i = 0; i < 2; i++) {
        const struct sgd_args a = { .lr = 0.1f,
                                    .momentum = 0.9f,
                                    .dampening = nesterov ? 0 : 0.1f,
                                    .weight_decay = 0.01f,
                                    .grad_scale = 0.7f,
                                    .nesterov = nesterov,
                                    .first = i == 0 };
        sgd_update(&b->kc, &a, p, g, m, N);
    }
    bits_print("sgd_update", nesterov, p, bytes);
    bits_print("sgd_momentum", nesterov, m, bytes);
    bits_release();
}

static void adam(struct bits *b, bool amsgrad)
{
    float *p = bits_floats(N, 5), *g = bits_floats(N, 6);
    float *m = bits_take(bytes), *v = bits_take(bytes), *top = amsgrad ? bits_take(bytes) : NULL;
    for (int i = 0; i < 2; i++) {
        const struct adam_args a = { .lr = 0.001f,
                                     .beta1 = 0.9f,
                                     .beta2 = 0.999f,
                                     .eps = 1e-8f,
                                     .weight_decay = 0.01f,
                                     .grad_scale = 0.7f,
                                     .fresh1 = 0.1f,
                                     .fresh2 = 0.001f,
                                     .bias1 = i == 0 ? 0.1f : 0.19f,
                                     .bias2_sqrt = i == 0 ? 0.0316f : 0.0447f,
                                     .shrink = amsgrad ? 0.999f : 1.0f };
        adam_update(&b->kc, &a, p, g, m, v, top, N);
    }
    bits_print("adam_update", amsgrad, p, bytes);
    bits_print("adam_moment", amsgrad, v, bytes);
    bits_release();
}

static void rmsprop(struct bits *b, bool centered)
{
    float *p = bits_floats(N, 7), *g = bits_floats(N, 8), *v = bits_take(bytes);
    float *mean = centered ? bits_take(bytes) : NULL, *m = centered ? bits_take(bytes) : NULL;
    for (int i = 0; i < 2; i++) {
        const struct rmsprop_args a = { .lr = 0.001f,
                                        .alpha = 0.99f,
                                        .eps = 1e-8f,
                                        .momentum = centered ? 0.9f : 0,
                                        .weight_decay = 0.01f,
                                        .grad_scale = 0.7f,
                                        .fresh = 0.01f };
        rmsprop_update(&b->kc, &a, p, g, v, mean, m, N);
    }
    bits_print("rmsprop_update", centered, p, bytes);
    bits_print("rmsprop_square", centered, v, bytes);
    bits_release();
}

void bits_of_floats(struct bits *b)
{
    sums(b);
    for (int other = 0; other < 2; other++) {
        sgd(b, other);
        adam(b, other);
        rmsprop(b, other);
    }
}
