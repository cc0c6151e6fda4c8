/* Grouped convolutions use the pool: the work is done by its threads, not by the caller alone.
 * Bits are test_conv_kernel's business. */
#include "tests/unit/kernels/kernel_fixture.h"

#include <time.h>

#define BATCH 24
#define THREADS 3

static const struct conv_shape shape = { 16, 16, 16, 16, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1, 4 };

struct work {
    struct tensor_view x, y, dx, dy;
    float *packed, *wt, *dw;
};

static double cpu_ms(clockid_t clock)
{
    struct timespec t;
    cr_assert_eq(clock_gettime(clock, &t), 0);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void forward(const struct kernel_ctx *kc, struct work *w)
{
    conv_forward(kc, &shape, &w->x.desc, w->x.data, w->packed, NULL, &w->y.desc, w->y.data,
                 (struct span){ 0, w->x.desc.t });
}

static void backward_data(const struct kernel_ctx *kc, struct work *w)
{
    conv_transpose(kc, &shape, w->packed, w->wt);
    conv_backward_data(kc, &shape, &w->dy.desc, w->dy.data, w->wt, 1.0f, &w->dx.desc, w->dx.data,
                       (struct span){ 0, w->x.desc.t });
}

static void backward_weights(const struct kernel_ctx *kc, struct work *w)
{
    conv_backward_weights(kc, &shape, &w->x.desc, w->x.data, &w->dy.desc, w->dy.data,
                          (struct span){ 0, BATCH }, w->dw);
}

/* CPU time of all threads but the caller's while `run` goes on. */
static double others_ms(const struct kernel_ctx *kc, struct work *w,
                        void (*run)(const struct kernel_ctx *, struct work *))
{
    const double all = cpu_ms(CLOCK_PROCESS_CPUTIME_ID), own = cpu_ms(CLOCK_THREAD_CPUTIME_ID);
    run(kc, w);
    const double mine = cpu_ms(CLOCK_THREAD_CPUTIME_ID) - own;
    return cpu_ms(CLOCK_PROCESS_CPUTIME_ID) - all - mine;
}

static double alone_ms(const struct kernel_ctx *kc, struct work *w,
                       void (*run)(const struct kernel_ctx *, struct work *))
{
    const double own = cpu_ms(CLOCK_THREAD_CPUTIME_ID);
    run(kc, w);
    return cpu_ms(CLOCK_THREAD_CPUTIME_ID) - own;
}

/* Goal: of three threads the two others do about two thirds of the work of every pass. CPU time,
 * not wall time, so that a busy machine changes nothing. */
Test(conv_groups, the_pool_does_its_share, .timeout = 60)
{
    static void (*const passes[])(const struct kernel_ctx *, struct work *) = {
        forward, backward_data, backward_weights
    };
    struct kernel_ctx one = context_make(ISA_GENERIC, 1, true);
    struct kernel_ctx pool = context_make(ISA_GENERIC, THREADS, true);
    struct work w = {
        .x = view_filled(tensor_make(TENSOR_F32, BATCH, 2, 16, 16, 16), 1, 0.5),
        .y = view_make(tensor_make(TENSOR_F32, BATCH, 2, 16, 16, 16)),
        .packed = numbers(conv_weight_floats(&shape), 3),
        .wt = take(conv_weight_t_floats(&shape, KERNEL_PATH_AUTO), sizeof(float)),
        .dw = take(conv_weight_floats(&shape), sizeof(float)),
    };
    w.dx = view_make(tensor_gradient(&w.x.desc, false));
    w.dy = view_filled(tensor_gradient(&w.y.desc, true), 2, 0.5);
    for (size_t i = 0; i < 3; i++) {
        passes[i](&pool, &w); /* the first touch of memory is nobody's share */
        const double alone = alone_ms(&one, &w, passes[i]);
        const double others = others_ms(&pool, &w, passes[i]);
        cr_assert_gt(alone, 2.0, "pass %zu: %g ms are too few to tell", i, alone);
        cr_assert_gt(others, alone / 3, "pass %zu: others took %g of %g ms", i, others, alone);
    }
    free(w.x.data), free(w.y.data), free(w.dx.data), free(w.dy.data);
    free(w.packed), free(w.wt), free(w.dw);
    context_drop(&one);
    context_drop(&pool);
}
