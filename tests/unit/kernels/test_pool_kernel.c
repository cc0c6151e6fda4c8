/* Pooling against the plain loops, spikes and floats, with borders. */
#include "tests/unit/kernels/kernel_fixture.h"

static const struct pool_shape shapes[] = {
    { 8, 6, 4, 3, 2, 2, 2, 2, 0, 0, true },
    { 7, 7, 4, 4, 3, 3, 2, 2, 1, 1, true },
    { 7, 9, 4, 5, 3, 3, 2, 2, 1, 1, false },
    { 5, 5, 1, 1, 5, 5, 5, 5, 0, 0, true },
};
#define SHAPES (sizeof shapes / sizeof shapes[0])
static const enum tensor_kind kinds[] = { TENSOR_F32, TENSOR_REPEAT, TENSOR_BITS };

static struct tensor_desc input_of(const struct pool_shape *p, enum tensor_kind kind)
{
    return tensor_make(kind, 2, 3, 70, p->h, p->w);
}

/* Goal: maxima and the place their gradient goes to are those of the plain loop, bit by bit. */
Test(pool_kernel, maximum, .timeout = 60)
{
    for (size_t i = 0; i < SHAPES * 3; i++) {
        const struct pool_shape *p = &shapes[i / 3];
        struct tensor_view x = view_filled(input_of(p, kinds[i % 3]), 5, 0.4);
        const struct tensor_desc yd = tensor_make(kinds[i % 3], 2, 3, 70, p->oh, p->ow);
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

/* Goal: means, and the shares of their gradient, follow the definition with and without the border.
 */
Test(pool_kernel, mean, .timeout = 60)
{
    for (size_t i = 0; i < SHAPES * 3; i++) {
        const struct pool_shape *p = &shapes[i / 3];
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
