/* Convolution: forward, backward to the data and to the weights, against the plain loops, with
 * equal bits for every instruction set and number of threads, by events and by floats. */
#include "tests/unit/kernels/kernel_fixture.h"
#include "worker/kernels/kernel_trace.h"

struct conv_case {
    struct conv_shape shape;
    enum tensor_kind kind;
    size_t b, t;
};
#define SAME(c, h, w, k, r) { c, h, w, k, h, w, r, r, 1, 1, (r) / 2, (r) / 2, 1, 1, 1 }
#define GROUPS(c, h, w, k, r, groups) \
    { c, h, w, k, h, w, r, r, 1, 1, (r) / 2, (r) / 2, 1, 1, groups }
#define ACROSS(c, h, w, k)                          \
    {                                               \
        c, h, w, k, h, w, 1, 3, 1, 1, 0, 1, 1, 1, 1 \
    }
#define DOWN(c, h, w, k)                            \
    {                                               \
        c, h, w, k, h, w, 3, 1, 1, 1, 1, 0, 1, 1, 1 \
    }
static const struct conv_case cases[] = {
    { SAME(1, 9, 7, 16, 3), TENSOR_F32, 2, 2 },
    { SAME(3, 8, 8, 20, 3), TENSOR_REPEAT, 3, 4 },
    { SAME(16, 6, 5, 32, 3), TENSOR_BITS, 2, 3 },
    { SAME(70, 5, 5, 33, 3), TENSOR_BITS, 1, 2 },
    { SAME(64, 4, 4, 64, 1), TENSOR_BITS, 2, 2 },
    { SAME(130, 3, 4, 48, 3), TENSOR_F32, 1, 2 },
    { SAME(2, 4, 70, 70, 3), TENSOR_F32, 2, 2 }, /* few channels: rows beyond a lot of pixels */
    { { 3, 13, 12, 40, 5, 3, 5, 5, 3, 2, 2, 1, 1, 2, 1 }, TENSOR_F32, 2, 2 },
    { SAME(16, 7, 9, 40, 3), TENSOR_F32, 2, 2 },
    { { 12, 9, 9, 24, 5, 5, 3, 3, 2, 2, 1, 1, 1, 1, 1 }, TENSOR_BITS, 2, 2 },
    { { 8, 11, 10, 16, 7, 6, 3, 3, 1, 1, 0, 0, 2, 2, 1 }, TENSOR_F32, 2, 1 },
    { { 5, 7, 9, 17, 3, 9, 5, 1, 1, 1, 0, 0, 1, 1, 1 }, TENSOR_BITS, 1, 2 },
    { { 8, 6, 6, 12, 6, 6, 3, 3, 1, 1, 1, 1, 1, 1, 4 }, TENSOR_BITS, 2, 2 },
    { { 6, 7, 7, 9, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1, 3 }, TENSOR_F32, 2, 2 },
    { { 20, 9, 8, 40, 4, 5, 3, 2, 2, 1, 1, 0, 2, 3, 1 }, TENSOR_BITS, 2, 2 },
    { { 66, 6, 6, 18, 3, 3, 2, 2, 2, 2, 0, 0, 1, 1, 1 }, TENSOR_COUNT8, 2, 3 },
    { { 130, 7, 6, 50, 4, 3, 3, 3, 2, 2, 1, 1, 1, 1, 1 }, TENSOR_COUNT8, 2, 2 },
    { SAME(65, 20, 18, 40, 3), TENSOR_BITS, 2, 1 }, /* an image in two lots of rows */
    { SAME(5, 3, 300, 16, 3), TENSOR_BITS, 1, 2 },  /* a row fills a lot */
    { { 10, 9, 9, 20, 3, 3, 5, 5, 3, 3, 2, 2, 1, 1, 1 }, TENSOR_BITS, 2, 1 }, /* 9 classes */
    { SAME(12, 8, 8, 40, 7), TENSOR_BITS, 2, 2 }, /* taps reach behind the border */
    { { 4, 7, 7, 150, 4, 4, 7, 7, 2, 2, 3, 3, 1, 1, 1 }, TENSOR_BITS, 1, 2 }, /* in several lots */
    { { 6, 2, 1100, 16, 2, 1100, 1, 3, 1, 1, 0, 1, 1, 1, 1 }, TENSOR_BITS, 1, 1 }, /* too wide */
    /* Few channels a group: one each, with several outputs, several with one, odd ones. */
    { GROUPS(48, 7, 9, 48, 3, 48), TENSOR_BITS, 2, 2 },
    { GROUPS(40, 6, 5, 40, 3, 40), TENSOR_F32, 2, 2 },
    { GROUPS(33, 5, 6, 33, 5, 33), TENSOR_COUNT8, 1, 2 },
    { GROUPS(20, 7, 6, 60, 3, 20), TENSOR_REPEAT, 2, 3 },
    { GROUPS(70, 4, 5, 35, 3, 35), TENSOR_BITS, 1, 2 },
    { GROUPS(24, 33, 34, 24, 3, 24), TENSOR_F32, 1, 2 }, /* in two bands */
    { { 36, 9, 11, 36, 5, 4, 3, 3, 2, 3, 1, 1, 1, 1, 36 }, TENSOR_BITS, 2, 2 },
    { { 36, 9, 11, 18, 5, 7, 3, 3, 1, 1, 0, 0, 2, 2, 18 }, TENSOR_F32, 2, 2 },
    { { 24, 11, 9, 48, 3, 3, 3, 2, 4, 3, 0, 1, 1, 2, 12 }, TENSOR_COUNT8, 2, 2 }, /* no tap */
    { { 12, 5, 5, 24, 7, 9, 1, 1, 1, 1, 1, 2, 1, 1, 6 }, TENSOR_F32, 2, 1 }, /* wide border */
    { GROUPS(140, 4, 4, 140, 3, 2), TENSOR_F32, 1, 2 },  /* 70 of a group: two blocks */
    { GROUPS(96, 4, 5, 96, 3, 2), TENSOR_BITS, 1, 2 },
    /* Wide groups. */
    { GROUPS(128, 5, 6, 128, 3, 4), TENSOR_BITS, 2, 2 },
    { GROUPS(128, 5, 6, 64, 3, 2), TENSOR_COUNT8, 2, 2 },
    { GROUPS(96, 4, 5, 96, 3, 3), TENSOR_F32, 2, 2 },
    { { 192, 7, 7, 192, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1, 2 }, TENSOR_BITS, 1, 2 },
    { { 192, 7, 7, 64, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1, 2 }, TENSOR_COUNT8, 1, 2 },
    /* Few taps, some panels at once, and a last one of 16 channels. */
    { { 70, 6, 6, 144, 3, 3, 1, 1, 2, 2, 0, 0, 1, 1, 1 }, TENSOR_BITS, 2, 2 },
    { ACROSS(20, 1, 12, 112), TENSOR_COUNT8, 2, 2 },
    { { 9, 7, 6, 208, 4, 3, 3, 3, 2, 2, 1, 1, 1, 1, 1 }, TENSOR_BITS, 2, 1 },
};
#define CASES (sizeof cases / sizeof cases[0])

struct conv_world {
    const struct conv_shape *cs;
    struct tensor_view x, y, dy, dx;
    float *oihw, *bias, *packed, *wt;
    size_t weights;
};

static struct conv_world world_of(const struct conv_case *k)
{
    const struct conv_shape *cs = &k->shape;
    struct conv_world w = { .cs = cs, .weights = cs->k * (cs->c / cs->groups) * cs->r * cs->s };
    const bool repeat = k->kind == TENSOR_REPEAT;
    struct tensor_desc xd = tensor_make(k->kind, k->b, k->t, cs->c, cs->h, cs->w);
    xd.scale = scale_of(k->kind);
    const struct tensor_desc yd =
        tensor_make(repeat ? TENSOR_REPEAT : TENSOR_F32, k->b, k->t, cs->k, cs->oh, cs->ow);
    w.x = view_filled(xd, 1, 0.2);
    w.y = view_make(yd);
    w.dy = view_filled(tensor_gradient(&yd, true), 2, 0);
    w.dx = view_make(tensor_gradient(&xd, false));
    w.oihw = numbers(w.weights, 3);
    w.bias = numbers(mem_align(cs->k, 64), 4);
    w.packed = take(conv_weight_floats(cs), sizeof(float));
    w.wt = take(conv_weight_t_floats(cs, KERNEL_PATH_AUTO), sizeof(float));
    conv_pack(cs, w.oihw, w.packed);
    return w;
}

static void world_drop(struct conv_world *w)
{
    void *all[] = {
        w->x.data, w->y.data, w->dy.data, w->dx.data, w->oihw, w->bias, w->packed, w->wt
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static size_t steps_of(const struct tensor_view *v) { return v->desc.t_stored; }

/* Every form of a pass: by density, by events, by floats. */
#define EACH_PATH(kc)                                                                              \
    for (int path_ = KERNEL_PATH_AUTO; path_ <= (int)KERNEL_PATH_DENSE; path_++)                   \
        if ((kc).path = (enum kernel_path)path_, true)

/* Goal: packing loses nothing. */
Test(conv_kernel, packing_is_reversible, .timeout = 60)
{
    for (size_t i = 0; i < CASES; i++) {
        struct conv_world w = world_of(&cases[i]);
        float *back = take(w.weights, sizeof(float));
        conv_unpack(w.cs, w.packed, back);
        cr_assert(same_floats(w.oihw, back, w.weights), "case %zu", i);
        free(back);
        world_drop(&w);
    }
}

/* Goal: forward has the bits of the plain loop, in spans too. */
Test(conv_kernel, forward_has_the_bits_of_the_plain_loop, .timeout = 60)
{
    for (size_t i = 0; i < CASES; i++) {
        struct conv_world w = world_of(&cases[i]);
        struct tensor_view want = view_make(w.y.desc);
        const size_t t = steps_of(&w.y);
        reference_conv_forward(w.cs, &w.x.desc, w.x.data, w.oihw, w.bias, &want.desc, want.data,
                               (struct span){ 0, t });
        EACH_CONTEXT(kc, true)
        EACH_PATH(kc)
        {
            memset(w.y.data, 0xff, tensor_bytes(&w.y.desc));
            for (size_t s = 0; s < t; s++) /* one time-step a call: step_mode single */
                conv_forward(&kc, w.cs, &w.x.desc, w.x.data, w.packed, w.bias, &w.y.desc, w.y.data,
                             (struct span){ s, s + 1 });
            cr_assert_eq(difference(&w.y, &want), 0, "case %zu, %s, %zu threads, path %d: %g", i,
                         isa_name((enum isa)isa_kc), threads_kc, path_, difference(&w.y, &want));
        }
        free(want.data);
        world_drop(&w);
    }
}

/* Goal: the gradient of the data has the bits of the plain loop. */
Test(conv_kernel, backward_data, .timeout = 60)
{
    for (size_t i = 0; i < CASES; i++) {
        struct conv_world w = world_of(&cases[i]);
        struct tensor_view want = view_make(w.dx.desc);
        const struct span all = { 0, steps_of(&w.dx) };
        reference_conv_backward_data(w.cs, &w.dy.desc, w.dy.data, w.oihw, w.x.desc.scale,
                                     &want.desc, want.data, all);
        EACH_CONTEXT(kc, true)
        {
            memset(w.dx.data, 0xff, tensor_bytes(&w.dx.desc));
            conv_transpose(&kc, w.cs, w.packed, w.wt);
            conv_backward_data(&kc, w.cs, &w.dy.desc, w.dy.data, w.wt, w.x.desc.scale,
                               &w.dx.desc, w.dx.data, all);
            cr_assert_eq(difference(&w.dx, &want), 0, "case %zu, %s, %zu threads: %g", i,
                         isa_name((enum isa)isa_kc), threads_kc, difference(&w.dx, &want));
        }
        free(want.data);
        world_drop(&w);
    }
}

/* ---- Winograd -------------------------------------------------------------------------------- */
static const struct conv_case tiled[] = {
    { SAME(32, 8, 8, 64, 3), TENSOR_BITS, 2, 2 },     { SAME(33, 14, 14, 80, 3), TENSOR_F32, 3, 2 },
    { SAME(40, 7, 11, 100, 3), TENSOR_COUNT8, 2, 1 }, { SAME(64, 4, 4, 65, 3), TENSOR_BITS, 9, 5 },
    { SAME(3, 5, 2, 7, 3), TENSOR_F32, 2, 2 },        { SAME(1, 1, 1, 1, 3), TENSOR_F32, 1, 1 },
    { ACROSS(64, 1, 32, 128), TENSOR_BITS, 3, 8 },    { ACROSS(33, 1, 9, 80), TENSOR_COUNT8, 2, 2 },
    { ACROSS(40, 5, 7, 33), TENSOR_F32, 2, 3 },       { DOWN(70, 9, 6, 65), TENSOR_BITS, 2, 2 },
    { DOWN(3, 2, 5, 7), TENSOR_F32, 2, 2 },           { ACROSS(1, 1, 1, 1), TENSOR_F32, 1, 1 },
};

/* Gradients of channels behind the last 16 that hold a real one are nobody's: here not a number. */
static void spoil_spare(const struct tensor_view *dy)
{
    const struct tensor_desc *d = &dy->desc;
    for (size_t i = 0; i < d->b * d->t_stored * d->h * d->w && (d->c + 15) / 16 % 2 == 1; i++) {
        const size_t pixel = i % (d->h * d->w), image = i / (d->h * d->w);
        float *spare = (float *)dy->data + tensor_at(d, image / d->t_stored, image % d->t_stored,
                                                     pixel / d->w, pixel % d->w, (d->c + 15) / 16);
        for (size_t c = 0; c < 16; c++) spare[c] = NAN;
    }
}

/* Goal: the gradient of the data by Winograd is the plain loop's but for rounding, and has the same
 * bits for every instruction set, number of threads and span of steps. */
Test(conv_kernel, winograd, .timeout = 60)
{
    for (size_t i = 0; i < sizeof tiled / sizeof tiled[0]; i++) {
        struct conv_world w = world_of(&tiled[i]);
        struct tensor_view want = view_make(w.dx.desc), first = view_make(w.dx.desc);
        float *u = take(conv_weight_t_floats(w.cs, KERNEL_PATH_WINOGRAD), sizeof(float));
        const size_t t = steps_of(&w.dx);
        bool again = false;
        reference_conv_backward_data(w.cs, &w.dy.desc, w.dy.data, w.oihw, w.x.desc.scale,
                                     &want.desc, want.data, (struct span){ 0, t });
        spoil_spare(&w.dy);
        EACH_CONTEXT(kc, true)
        {
            kc.path = KERNEL_PATH_WINOGRAD;
            memset(w.dx.data, 0xff, tensor_bytes(&w.dx.desc));
            conv_transpose(&kc, w.cs, w.packed, u);
            for (size_t s = t; s-- > 0;)
                conv_backward_data(&kc, w.cs, &w.dy.desc, w.dy.data, u, w.x.desc.scale, &w.dx.desc,
                                   w.dx.data, (struct span){ s, s + 1 });
            if (!again) memcpy(first.data, w.dx.data, tensor_bytes(&w.dx.desc));
            again = true;
            cr_expect_lt(difference(&w.dx, &want), 2e-5, "case %zu: %g", i,
                         difference(&w.dx, &want));
            cr_expect_eq(difference(&w.dx, &first), 0, "case %zu, %s, %zu threads", i,
                         isa_name((enum isa)isa_kc), threads_kc);
        }
        free(want.data), free(first.data), free(u);
        world_drop(&w);
    }
}

/* Goal: its size decides whether a shape goes by Winograd, and a forced path. */
Test(conv_kernel, size_decides, .timeout = 60)
{
    static const struct conv_case shapes[] = {
        { SAME(32, 8, 8, 64, 3), TENSOR_F32, 1, 1 },
        { SAME(32, 5, 5, 64, 3), TENSOR_F32, 1, 1 }, /* 25 pixels in four tiles of 16 */
        { SAME(16, 8, 8, 64, 3), TENSOR_F32, 1, 1 },
        { SAME(32, 8, 8, 64, 1), TENSOR_F32, 1, 1 },
        { ACROSS(32, 1, 7, 64), TENSOR_F32, 1, 1 },
        { DOWN(32, 5, 2, 64), TENSOR_F32, 1, 1 }, /* 5 pixels in two tiles of 4 */
        { ACROSS(32, 1, 8, 48), TENSOR_F32, 1, 1 },
        { { 32, 1, 8, 64, 1, 4, 1, 3, 1, 2, 0, 1, 1, 1, 1 }, TENSOR_F32, 1, 1 },
    };
    static const struct {
        bool fits, pays, line;
    } want[] = { { true, true, false },   { true, false, false }, { true, false, false },
                 { false, false, false }, { true, true, true },   { true, false, true },
                 { true, false, true },   { false, false, true } };
    for (size_t i = 0; i < 2 * (sizeof shapes / sizeof shapes[0]); i++) {
        struct conv_world w = world_of(&shapes[i / 2]);
        struct kernel_ctx kc = context_make(ISA_GENERIC, 1, true);
        struct kernel_trace trace = { 0 };
        kc.path = i % 2 == 0 ? KERNEL_PATH_AUTO : KERNEL_PATH_WINOGRAD;
        kc.trace = &trace;
        float *u = take(conv_weight_t_floats(w.cs, kc.path), sizeof(float));
        conv_transpose(&kc, w.cs, w.packed, u);
        conv_backward_data(&kc, w.cs, &w.dy.desc, w.dy.data, u, 1.0f, &w.dx.desc, w.dx.data,
                           (struct span){ 0, 1 });
        const bool tiles = i % 2 == 0 ? want[i / 2].pays : want[i / 2].fits;
        const bool line = want[i / 2].line;
        cr_expect_eq(trace.calls[KERNEL_conv_backward_data_winograd], tiles && !line, "%zu", i);
        cr_expect_eq(trace.calls[KERNEL_conv_backward_data_winograd_line], tiles && line, "%zu", i);
        cr_expect_eq(trace.calls[KERNEL_conv_backward_data], !tiles, "%zu", i);
        free(u);
        context_drop(&kc);
        world_drop(&w);
    }
}

/* Goal: the gradient of the weights has the bits of the plain loop, and is 0 where no weight is. */
Test(conv_kernel, backward_weights, .timeout = 60)
{
    for (size_t i = 0; i < CASES; i++) {
        struct conv_world w = world_of(&cases[i]);
        float *want = take(w.weights, sizeof(float)), *got = take(w.weights, sizeof(float));
        const size_t floats = conv_weight_floats(w.cs);
        float *packed = take(floats, sizeof(float)), *again = take(floats, sizeof(float));
        const struct span all = { 0, cases[i].b };
        reference_conv_backward_weights(w.cs, &w.x.desc, w.x.data, &w.dy.desc, w.dy.data, all,
                                        want);
        spoil_spare(&w.dy);
        EACH_CONTEXT(kc, true)
        EACH_PATH(kc)
        {
            memset(packed, 0xff, floats * sizeof(float));
            conv_backward_weights(&kc, w.cs, &w.x.desc, w.x.data, &w.dy.desc, w.dy.data, all,
                                  packed);
            conv_unpack(w.cs, packed, got);
            double worst = 0;
            for (size_t j = 0; j < w.weights; j++)
                worst = fmax(worst, fabs((double)(got[j] - want[j])) / (fabs((double)want[j]) + 1));
            cr_assert(worst == 0, "case %zu, %s, %zu threads, path %d: %g", i,
                      isa_name((enum isa)isa_kc), threads_kc, path_, worst);
            conv_pack(w.cs, got, again);
            cr_assert(w.cs->groups > 1 || same_floats(packed, again, floats), "case %zu, path %d",
                      i, path_);
        }
        free(again);
        free(want);
        free(got);
        free(packed);
        world_drop(&w);
    }
}

/* Which forms of the two passes one call used, by the trace. */
static void run_both(struct conv_world *w, enum kernel_path path, struct kernel_trace *trace)
{
    struct kernel_ctx kc = context_make(ISA_GENERIC, 2, true);
    kc.path = path;
    kc.trace = trace;
    memset(trace, 0, sizeof *trace);
    conv_forward(&kc, w->cs, &w->x.desc, w->x.data, w->packed, NULL, &w->y.desc, w->y.data,
                 (struct span){ 0, steps_of(&w->y) });
    conv_backward_weights(&kc, w->cs, &w->x.desc, w->x.data, &w->dy.desc, w->dy.data,
                          (struct span){ 0, w->x.desc.b }, w->wt);
    context_drop(&kc);
}

/* Goal: few spikes go by events and many by floats; a forced path is kept. */
Test(conv_kernel, density_decides, .timeout = 60)
{
    static const double rates[] = { 0.02, 0.98 };
    const struct conv_case few = { SAME(64, 8, 8, 32, 3), TENSOR_BITS, 2, 2 };
    for (size_t i = 0; i < 2; i++) {
        struct conv_world w = world_of(&few);
        struct kernel_trace n;
        memset(w.x.data, 0, tensor_bytes(&w.x.desc));
        view_fill(&w.x, 1, rates[i]);
        run_both(&w, KERNEL_PATH_AUTO, &n);
        cr_expect_eq(n.calls[KERNEL_conv_forward_events_bits], i == 0);
        cr_expect_eq(n.calls[KERNEL_conv_forward_bits], i == 1);
        cr_expect_eq(n.calls[KERNEL_conv_backward_weights_events_bits], i == 0);
        cr_expect_eq(n.calls[KERNEL_conv_backward_weights_bits], i == 1);
        run_both(&w, i == 0 ? KERNEL_PATH_DENSE : KERNEL_PATH_EVENT, &n);
        cr_expect_eq(n.calls[KERNEL_conv_forward_events_bits], i == 1);
        cr_expect_eq(n.calls[KERNEL_conv_backward_weights_events_bits], i == 1);
        world_drop(&w);
    }
}

/* Goal: a group of whole panels is a convolution of its own, by events where few inputs spike; all
 * other groups go together. */
Test(conv_kernel, width_of_groups_decides, .timeout = 60)
{
    static const struct conv_case shapes[] = {
        { GROUPS(128, 8, 8, 128, 3, 4), TENSOR_BITS, 1, 1 },
        { GROUPS(64, 8, 8, 64, 3, 4), TENSOR_BITS, 1, 1 },
    };
    for (size_t i = 0; i < 2; i++) {
        struct conv_world w = world_of(&shapes[i]);
        struct kernel_trace n;
        run_both(&w, KERNEL_PATH_AUTO, &n);
        const size_t alone = i == 0 ? 4 : 0, together = i == 0 ? 0 : 1;
        cr_expect_eq(n.calls[KERNEL_conv_forward_events_bits], alone);
        cr_expect_eq(n.calls[KERNEL_conv_backward_weights_events_bits], alone);
        cr_expect_eq(n.calls[KERNEL_conv_forward_groups], together);
        cr_expect_eq(n.calls[KERNEL_conv_backward_weights_groups], together);
        world_drop(&w);
    }
}
