/* bits_convolutions: every form of a convolution's three passes. See bits.h. */
#include "tests/bits/bits.h"

/* c, h, w, k, r of kernels that keep the image; whole shapes of the others. */
#define SAME(c, h, w, k, r)                                     \
    {                                                           \
        c, h, w, k, h, w, r, r, 1, 1, (r) / 2, (r) / 2, 1, 1, 1 \
    }
static const struct {
    struct conv_shape shape;
    enum tensor_kind kind;
    size_t b, t;
} cases[] = {
    { SAME(3, 8, 8, 20, 3), TENSOR_REPEAT, 2, 3 },
    { SAME(130, 3, 4, 48, 3), TENSOR_F32, 1, 2 },
    { SAME(16, 6, 5, 32, 3), TENSOR_BITS, 2, 2 },
    { SAME(70, 5, 5, 33, 3), TENSOR_BITS, 1, 2 },
    { SAME(64, 4, 4, 64, 1), TENSOR_BITS, 2, 2 },
    { SAME(12, 8, 8, 40, 7), TENSOR_BITS, 1, 2 },
    { SAME(66, 6, 6, 18, 3), TENSOR_COUNT8, 2, 2 },
    { SAME(64, 9, 8, 64, 3), TENSOR_BITS, 2, 2 },
    { { 12, 9, 9, 24, 5, 5, 3, 3, 2, 2, 1, 1, 1, 1, 1 }, TENSOR_BITS, 2, 2 },
    { { 130, 7, 6, 50, 4, 3, 3, 3, 2, 2, 1, 1, 1, 1, 1 }, TENSOR_COUNT8, 1, 2 },
    { { 8, 11, 10, 16, 7, 6, 3, 3, 1, 1, 0, 0, 2, 2, 1 }, TENSOR_F32, 2, 1 },
    { { 20, 9, 8, 40, 4, 5, 3, 2, 2, 1, 1, 0, 2, 3, 1 }, TENSOR_BITS, 2, 2 },
    { { 8, 6, 6, 12, 6, 6, 3, 3, 1, 1, 1, 1, 1, 1, 4 }, TENSOR_BITS, 2, 2 },
    { { 6, 7, 7, 9, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1, 3 }, TENSOR_F32, 2, 2 },
    { { 40, 7, 6, 40, 7, 6, 3, 3, 1, 1, 1, 1, 1, 1, 40 }, TENSOR_BITS, 2, 2 },
    { { 36, 9, 11, 72, 5, 4, 3, 3, 2, 3, 1, 1, 1, 1, 36 }, TENSOR_F32, 2, 1 },
    { { 128, 5, 6, 128, 5, 6, 3, 3, 1, 1, 1, 1, 1, 1, 4 }, TENSOR_BITS, 2, 1 },
    { { 96, 5, 5, 96, 3, 3, 3, 3, 2, 2, 1, 1, 1, 1, 3 }, TENSOR_COUNT8, 1, 2 },
    { { 64, 1, 10, 80, 1, 10, 1, 3, 1, 1, 0, 1, 1, 1, 1 }, TENSOR_BITS, 2, 3 },
    { { 33, 7, 3, 64, 7, 3, 3, 1, 1, 1, 1, 0, 1, 1, 1 }, TENSOR_COUNT8, 2, 2 },
    { { 70, 6, 6, 144, 3, 3, 1, 1, 2, 2, 0, 0, 1, 1, 1 }, TENSOR_BITS, 2, 2 },
};
#define CASES (sizeof cases / sizeof cases[0])
static const float rates[] = { 0.05f, 0.6f };

static void one(struct bits *b, size_t i, float rate, enum kernel_path path, size_t number)
{
    const struct conv_shape *cs = &cases[i].shape;
    const struct kernel_ctx *kc = &b->kc;
    struct tensor_desc xd = tensor_make(cases[i].kind, cases[i].b, cases[i].t, cs->c, cs->h, cs->w);
    xd.scale = xd.kind == TENSOR_BITS ? 1.25f : xd.kind == TENSOR_COUNT8 ? 0.25f : 1.0f;
    const enum tensor_kind out = xd.kind == TENSOR_REPEAT ? TENSOR_REPEAT : TENSOR_F32;
    const struct tensor_desc yd = tensor_make(out, xd.b, xd.t, cs->k, cs->oh, cs->ow);
    const struct tensor_view x = bits_filled(xd, i, rate), y = bits_tensor(yd);
    const struct tensor_view dy = bits_filled(tensor_gradient(&yd, true), i + 50, 0);
    const struct tensor_view dx = bits_tensor(tensor_gradient(&xd, false));
    const size_t floats = conv_weight_floats(cs);
    const float *oihw = bits_floats(cs->k * (cs->c / cs->groups) * cs->r * cs->s, i + 100);
    const float *bias = bits_floats(cs->k + 64, i + 150);
    float *w = bits_take(floats * sizeof w[0]), *dw = bits_take(floats * sizeof w[0]);
    float *wt = bits_take(conv_weight_t_floats(cs, path) * sizeof wt[0]);
    const struct span steps = { 0, yd.t_stored };
    b->kc.path = path;
    conv_pack(cs, oihw, w);
    conv_transpose(kc, cs, w, wt);
    conv_forward(kc, cs, &xd, x.data, w, bias, &yd, y.data, steps);
    conv_backward_data(kc, cs, &dy.desc, dy.data, wt, xd.scale, &dx.desc, dx.data, steps);
    conv_backward_weights(kc, cs, &xd, x.data, &dy.desc, dy.data, (struct span){ 0, xd.b }, dw);
    bits_print_view("conv_forward", number, &y);
    bits_print_view("conv_backward_data", number, &dx);
    bits_print("conv_backward_weights", number, dw, floats * sizeof dw[0]);
    bits_release();
}

void bits_of_convolutions(struct bits *b)
{
    size_t number = 0;
    for (size_t i = 0; i < CASES; i++)
        for (size_t r = 0; r < 2; r++)
            for (int path = KERNEL_PATH_AUTO; path <= (int)KERNEL_PATH_WINOGRAD; path++)
                one(b, i, rates[r], (enum kernel_path)path, number++);
    b->kc.path = KERNEL_PATH_AUTO;
}
