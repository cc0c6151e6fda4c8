/* Pooling against the plain loops, spikes and floats, with borders. */
#include "tests/unit/kernels/kernel_fixture.h"

static const struct pool_shape shapes[] = {
    { 8, 6, 4, 3, 2, 2, 2, 2, 0, 0, true, false, 1, 1 },
    { 7, 7, 4, 4, 3, 3, 2, 2, 1, 1, true, false, 1, 1 },
    { 7, 9, 4, 5, 3, 3, 2, 2, 1, 1, false, false, 1, 1 },
    { 5, 5, 1, 1, 5, 5, 5, 5, 0, 0, true, false, 1, 1 },
};
#define SHAPES (sizeof shapes / sizeof shapes[0])
/* Maxima only: a window of 3 x 2 pixels that lie 2 and 3 apart. */
static const struct pool_shape dilated = { 9, 8, 4, 5, 3, 2, 2, 1, 1, 0, true, false, 2, 3 };
/* Averages only: windows that cover the image evenly, also more of them than pixels. */
static const struct pool_shape adaptive[] = {
    { .h = 7, .w = 9, .oh = 2, .ow = 4, .adaptive = true },
    { .h = 5, .w = 5, .oh = 1, .ow = 3, .adaptive = true },
    { .h = 3, .w = 4, .oh = 5, .ow = 6, .adaptive = true },
};
#define ADAPTIVE (sizeof adaptive / sizeof adaptive[0])
static const enum tensor_kind kinds[] = { TENSOR_F32, TENSOR_REPEAT, TENSOR_BITS,
                                         TENSOR_COUNT8 };

static struct tensor_desc input_of(const struct pool_shape *p, enum tensor_kind kind)
{
    return tensor_make(kind, 2, 3, 70, p->h, p->w);
}

/* Goal: maxima and the place their gradient goes to are those of the plain loop, bit by bit. */
Test(pool_kernel, maximum, .timeout = 60)
{
    for (size_t i = 0; i < (SHAPES + 1) * 4; i++) {
        const struct pool_shape *p = i / 4 < SHAPES ? &shapes[i / 4] : &dilated;
        struct tensor_view x = view_filled(input_of(p, kinds[i % 4]), 5, 0.4);
        const struct tensor_desc yd = tensor_make(kinds[i % 4], 2, 3, 70, p->oh, p->ow);
        struct tensor_view y = view_make(yd), want = view_make(yd);
        struct tensor_view dy = view_filled(tensor_gradient(&yd, false), 6, 0);
        struct tensor_view dx = view_make(tensor_gradient(&x.desc, false)),
                           dwant = view_make(dx.desc);
        const struct span all = { 0, yd.t_stored };
        reference_max_pool(p, &x.desc, x.data, &yd, want.data);
        reference_max_pool_backward(p, &x.desc, x.data, &dy.desc, dy.data, &dwant.desc, dwant.data);
        EACH_CONTEXT(kc, true)
        {
            max_pool_forward(&kc, p, &x.desc, x.data, &yd, y.data, all);
            max_pool_backward(&kc, p, &x.desc, x.data, &dy.desc, dy.data, &dx.desc, dx.data, all);
            cr_assert(difference(&y, &want) == 0 && difference(&dx, &dwant) == 0,
                      "case %zu, %s, %zu threads", i, isa_name((enum isa)isa_kc), threads_kc);
        }
        void *all_data[] = { x.data, y.data, want.data, dy.data, dx.data, dwant.data };
        for (int j = 0; j < 6; j++) free(all_data[j]);
    }
}

/* Goal: a NaN wins its window wherever it stands, and the first one takes the gradient. */
Test(pool_kernel, nan_wins, .timeout = 60)
{
    const struct pool_shape *p = &shapes[0]; /* windows of 2 x 2 that do not overlap */
    for (size_t place = 0; place < 4; place++) {
        struct tensor_view x = view_filled(input_of(p, TENSOR_F32), 5, 0);
        const struct tensor_desc yd = tensor_make(TENSOR_F32, 2, 3, 70, p->oh, p->ow);
        struct tensor_view y = view_make(yd), want = view_make(yd);
        struct tensor_view dy = view_filled(tensor_gradient(&yd, false), 6, 0);
        struct tensor_view dx = view_make(tensor_gradient(&x.desc, false)),
                           dwant = view_make(dx.desc);
        for (size_t i = place; i < 4; i += 2) /* and a second one behind the first */
            tensor_set(&x.desc, x.data, 1, 2, 33, 2 + i / 2, 4 + i % 2, NAN);
        reference_max_pool(p, &x.desc, x.data, &yd, want.data);
        reference_max_pool_backward(p, &x.desc, x.data, &dy.desc, dy.data, &dwant.desc, dwant.data);
        cr_assert(isnan(tensor_get(&yd, want.data, 1, 2, 33, 1, 2)));
        cr_assert_eq(tensor_get(&dwant.desc, dwant.data, 1, 2, 33, 2 + place / 2, 4 + place % 2),
                     tensor_get(&dy.desc, dy.data, 1, 2, 33, 1, 2));
        EACH_CONTEXT(kc, true)
        {
            max_pool_forward(&kc, p, &x.desc, x.data, &yd, y.data, (struct span){ 0, 3 });
            max_pool_backward(&kc, p, &x.desc, x.data, &dy.desc, dy.data, &dx.desc, dx.data,
                              (struct span){ 0, 3 });
            cr_assert(isnan(tensor_get(&yd, y.data, 1, 2, 33, 1, 2)), "%zu, %s", place,
                      isa_name((enum isa)isa_kc));
            cr_assert(difference(&dx, &dwant) == 0, "%zu, %s", place, isa_name((enum isa)isa_kc));
        }
        void *all_data[] = { x.data, y.data, want.data, dy.data, dx.data, dwant.data };
        for (int j = 0; j < 6; j++) free(all_data[j]);
    }
}

/* Goal: means, and the shares of their gradient, follow the definition with and without the border.
 */
Test(pool_kernel, mean, .timeout = 60)
{
    for (size_t i = 0; i < (SHAPES + ADAPTIVE) * 3; i++) {
        const struct pool_shape *p = i / 3 < SHAPES ? &shapes[i / 3] : &adaptive[i / 3 - SHAPES];
        struct tensor_view x = view_filled(input_of(p, kinds[i % 3]), 5, 0.4);
        const enum tensor_kind out = kinds[i % 3] == TENSOR_REPEAT ? TENSOR_REPEAT : TENSOR_F32;
        const struct tensor_desc yd = tensor_make(out, 2, 3, 70, p->oh, p->ow);
        struct tensor_view y = view_make(yd), want = view_make(yd);
        struct tensor_view dy = view_filled(tensor_gradient(&yd, false), 6, 0);
        struct tensor_view dx = view_make(tensor_gradient(&x.desc, false));
        const struct span all = { 0, yd.t_stored };
        reference_avg_pool(p, &x.desc, x.data, &yd, want.data);
        EACH_CONTEXT(kc, true)
        {
            avg_pool_forward(&kc, p, &x.desc, x.data, &yd, y.data, all);
            avg_pool_backward(&kc, p, &dy.desc, dy.data, &dx.desc, dx.data, all);
            cr_assert(difference(&y, &want) < 1e-6, "case %zu: %g", i, difference(&y, &want));
            double in = 0, back = 0; /* <dy, pool(x)> = <pool'(dy), x> for a linear map */
            for (size_t t = 0; t < yd.t_stored; t++)
                for (size_t c = 0; c < 70; c++) {
                    for (size_t q = 0; q < p->oh * p->ow; q++)
                        in += (double)tensor_get(&dy.desc, dy.data, 1, t, c, q / p->ow, q % p->ow) *
                              (double)tensor_get(&yd, y.data, 1, t, c, q / p->ow, q % p->ow);
                    for (size_t q = 0; q < p->h * p->w; q++)
                        back += (double)tensor_get(&dx.desc, dx.data, 1, t, c, q / p->w, q % p->w) *
                                (double)tensor_get(&x.desc, x.data, 1, t, c, q / p->w, q % p->w);
                }
            cr_assert(fabs(in - back) < 1e-4 * (fabs(in) + 1), "case %zu: %g and %g", i, in, back);
        }
        void *all_data[] = { x.data, y.data, want.data, dy.data, dx.data };
        for (int j = 0; j < 5; j++) free(all_data[j]);
    }
}

/* Goal: where one divisor fits all windows, spikes and counts average to exact counts and a scale.
 */
Test(pool_kernel, mean_of_spikes_as_counts, .timeout = 60)
{
    static const enum tensor_kind from[] = { TENSOR_BITS, TENSOR_COUNT8 };
    for (size_t i = 0; i < 2; i++) {
        struct tensor_view x = view_filled(input_of(&shapes[0], from[i]), 7, 0.4);
        x.desc.scale = scale_of(from[i]);
        struct tensor_view y = view_make(tensor_make(TENSOR_COUNT8, 2, 3, 70, 4, 3));
        y.desc.scale = x.desc.scale / 4;
        EACH_CONTEXT(kc, true)
        {
            memset(y.data, 0xff, tensor_bytes(&y.desc));
            for (size_t t = 0; t < 3; t++)
                avg_pool_forward(&kc, &shapes[0], &x.desc, x.data, &y.desc, y.data,
                                 (struct span){ t, t + 1 });
            for (size_t j = 0; j < (size_t)2 * 3 * 70 * 12; j++) {
                const size_t b = j / 2520, t = j / 840 % 3, c = j / 12 % 70;
                const size_t oy = j % 12 / 3, ox = j % 3;
                float want = 0;
                for (size_t k = 0; k < 4; k++)
                    want += tensor_get(&x.desc, x.data, b, t, c, 2 * oy + k / 2, 2 * ox + k % 2);
                cr_assert_eq(tensor_get(&y.desc, y.data, b, t, c, oy, ox), want / 4,
                             "kind %zu, %zu", i, j);
            }
        }
        free(x.data);
        free(y.data);
    }
}

/* Goal: dropout keeps spikes as spikes and scales floats, one mask for all steps, both ways. */
Test(pool_kernel, dropout, .timeout = 60)
{
    static const enum tensor_kind some[] = { TENSOR_BITS, TENSOR_F32 };
    struct tensor_view mask = view_filled(tensor_make(TENSOR_BITS, 2, 1, 70, 3, 4), 8, 0.7);
    uint64_t keep[2 * 12 * 2]; /* [B][H][W][ceil(C/64)], without the gaps of a tensor */
    for (size_t i = 0; i < 48; i++)
        keep[i] = ((uint64_t *)mask.data)[i / 24 * mask.desc.sample + i / 8 % 3 * mask.desc.row +
                                          i / 2 % 4 * mask.desc.pixel + i % 2];
    for (size_t i = 0; i < 2; i++) {
        struct tensor_view x = view_filled(tensor_make(some[i], 2, 3, 70, 3, 4), 9, 0.5);
        struct tensor_view y = view_make(x.desc);
        struct tensor_view dy = view_filled(tensor_gradient(&x.desc, false), 10, 0);
        struct tensor_view dx = view_make(dy.desc);
        EACH_CONTEXT(kc, true)
        {
            const struct span all = { 0, 3 };
            dropout_forward(&kc, &x.desc, x.data, keep, 1.5f, &y.desc, y.data, all);
            dropout_backward(&kc, &dy.desc, dy.data, keep, 1.5f, &dx.desc, dx.data, all);
            for (size_t j = 0; j < (size_t)2 * 3 * 70 * 12; j++) {
                const size_t b = j / 2520, t = j / 840 % 3, c = j / 12 % 70;
                const size_t row = j % 12 / 4, col = j % 4;
                const float kept = tensor_get(&mask.desc, mask.data, b, 0, c, row, col);
                const float in = tensor_get(&x.desc, x.data, b, t, c, row, col);
                const float up = tensor_get(&dy.desc, dy.data, b, t, c, row, col);
                cr_assert_eq(tensor_get(&y.desc, y.data, b, t, c, row, col),
                             kept * in * (some[i] == TENSOR_BITS ? 1.0f : 1.5f), "%zu", j);
                cr_assert_eq(tensor_get(&dx.desc, dx.data, b, t, c, row, col), kept * up * 1.5f,
                             "%zu", j);
            }
        }
        void *all_data[] = { x.data, y.data, dy.data, dx.data };
        for (int j = 0; j < 4; j++) free(all_data[j]);
    }
    free(mask.data);
}
