/* Linear layers against the plain loops: equal bits for every instruction set, number of threads
 * and form, by events and by floats. */
#include "tests/unit/kernels/kernel_fixture.h"
#include "worker/kernels/kernel_trace.h"

struct linear_case {
    enum tensor_kind kind;
    size_t c, h, w; /* of the input: flattened when it has more than one pixel */
    size_t out, b, t;
};
/* Beyond one tile of outputs, one depth of inputs (128, 256), one lot of images (128) and one group
 * of rows (256 counts, 512 spikes, 1008 floats), too. */
static const struct linear_case cases[] = {
    { TENSOR_F32, 7, 1, 1, 10, 3, 1 },      { TENSOR_F32, 100, 1, 1, 33, 2, 4 },
    { TENSOR_REPEAT, 64, 1, 1, 16, 3, 2 },  { TENSOR_BITS, 130, 1, 1, 10, 4, 3 },
    { TENSOR_BITS, 512, 1, 1, 100, 2, 2 },  { TENSOR_F32, 700, 1, 1, 530, 2, 2 },
    { TENSOR_BITS, 1100, 1, 1, 150, 2, 3 }, { TENSOR_COUNT8, 90, 1, 1, 20, 3, 2 },
    { TENSOR_BITS, 70, 2, 3, 20, 2, 2 },    { TENSOR_F32, 20, 3, 2, 37, 2, 2 },
    { TENSOR_BITS, 600, 1, 1, 70, 150, 4 }, { TENSOR_COUNT8, 330, 1, 1, 140, 130, 2 },
    { TENSOR_F32, 24, 1, 1, 40, 520, 2 },
};
#define CASES (sizeof cases / sizeof cases[0])

struct linear_world {
    struct tensor_view x, y, dy, dx;
    float *w, *bias;
    size_t floats;
};

/* Rows and columns of padding must be 0, as in a net. */
static struct linear_world world_of(const struct linear_case *k)
{
    const bool repeat = k->kind == TENSOR_REPEAT;
    const struct tensor_desc image = tensor_make(k->kind, k->b, k->t, k->c, k->h, k->w);
    struct tensor_desc xd = tensor_flatten(&image);
    xd.scale = scale_of(k->kind);
    const struct tensor_desc yd = tensor_make(repeat ? TENSOR_REPEAT : TENSOR_F32, k->b, k->t,
                                              k->out, 1, 1);
    struct linear_world w = { .x = view_filled(xd, 1, 0.3), .y = view_make(yd) };
    w.dy = view_filled(tensor_gradient(&yd, false), 2, 0);
    w.dx = view_make(tensor_gradient(&xd, false));
    w.floats = xd.c_stored * yd.c_stored;
    w.w = take(w.floats, sizeof(float));
    w.bias = take(yd.c_stored, sizeof(float));
    for (size_t i = 0; i < xd.c; i++) {
        const size_t row = k->h * k->w > 1 ? tensor_flat_index(&xd, i) : i;
        for (size_t j = 0; j < k->out; j++) w.w[row * yd.c_stored + j] = fixed_number(i * 1009 + j);
    }
    for (size_t j = 0; j < k->out; j++) w.bias[j] = fixed_number(77 + j);
    return w;
}

static void world_drop(struct linear_world *w)
{
    free(w->x.data);
    free(w->y.data);
    free(w->dy.data);
    free(w->dx.data);
    free(w->w);
    free(w->bias);
}

/* Every form of a pass: by density, by events, by floats. */
#define EACH_PATH(kc)                                                            \
    for (int path_ = KERNEL_PATH_AUTO; path_ <= (int)KERNEL_PATH_DENSE; path_++) \
        if ((kc).path = (enum kernel_path)path_, true)

/* Goal: forward has the bits of the plain loop, with both numerics. */
Test(linear_kernel, forward, .timeout = 60)
{
    for (size_t i = 0; i < CASES; i++) {
        struct linear_world w = world_of(&cases[i]);
        struct tensor_view want = view_make(w.y.desc);
        reference_linear_forward(&w.x.desc, w.x.data, w.w, w.bias, &want.desc, want.data);
        EACH_CONTEXT(kc, i % 2 == 0)
        EACH_PATH(kc)
        {
            memset(w.y.data, 0xff, tensor_bytes(&w.y.desc));
            linear_forward(&kc, &w.x.desc, w.x.data, w.w, w.bias, &w.y.desc, w.y.data,
                           (struct span){ 0, w.y.desc.t });
            cr_assert(difference(&w.y, &want) == 0, "case %zu, %s, %zu threads, path %d: %g", i,
                      isa_name((enum isa)isa_kc), threads_kc, path_, difference(&w.y, &want));
        }
        free(want.data);
        world_drop(&w);
    }
}

/* Goal: so has the gradient of the data. */
Test(linear_kernel, backward_data, .timeout = 60)
{
    for (size_t i = 0; i < CASES; i++) {
        struct linear_world w = world_of(&cases[i]);
        struct tensor_view want = view_make(w.dx.desc);
        reference_linear_backward_data(&w.dy.desc, w.dy.data, w.w, &w.x.desc, &want.desc,
                                       want.data);
        EACH_CONTEXT(kc, i % 2 == 0)
        {
            memset(w.dx.data, 0xff, tensor_bytes(&w.dx.desc));
            linear_backward_data(&kc, &w.dy.desc, w.dy.data, w.w, &w.x.desc, &w.dx.desc, w.dx.data,
                                 (struct span){ 0, w.dx.desc.t });
            cr_assert(difference(&w.dx, &want) == 0, "case %zu, %s, %zu threads: %g", i,
                      isa_name((enum isa)isa_kc), threads_kc, difference(&w.dx, &want));
        }
        free(want.data);
        world_drop(&w);
    }
}

/* Goal: the gradients of weights and bias have the bits of the plain sums. */
Test(linear_kernel, backward_weights_and_bias, .timeout = 60)
{
    for (size_t i = 0; i < CASES; i++) {
        struct linear_world w = world_of(&cases[i]);
        const size_t out = w.y.desc.c_stored;
        float *want = take(w.floats, sizeof(float)), *got = take(w.floats, sizeof(float));
        float *db = take(out, sizeof(float));
        const struct span all = { 0, cases[i].b };
        reference_linear_backward_weights(&w.x.desc, w.x.data, &w.dy.desc, w.dy.data, all, want);
        EACH_CONTEXT(kc, i % 2 == 0)
        EACH_PATH(kc)
        {
            memset(got, 0xff, w.floats * sizeof got[0]);
            linear_backward_weights(&kc, &w.x.desc, w.x.data, &w.dy.desc, w.dy.data, all, got);
            cr_assert(same_floats(got, want, w.floats), "case %zu, %s, %zu threads, path %d", i,
                      isa_name((enum isa)isa_kc), threads_kc, path_);
            bias_backward(&kc, &w.dy.desc, w.dy.data, all, db);
            for (size_t j = 0; j < cases[i].out; j++) {
                double sum = 0;
                for (size_t b = 0; b < cases[i].b; b++)
                    for (size_t t = 0; t < w.dy.desc.t_stored; t++)
                        sum += (double)tensor_get(&w.dy.desc, w.dy.data, b, t, j, 0, 0);
                cr_assert(fabs((double)db[j] - sum) < 1e-6 * (1 + fabs(sum)), "case %zu, bias %zu",
                          i, j);
            }
        }
        free(want);
        free(got);
        free(db);
        world_drop(&w);
    }
}

/* Sample b of a tensor as a tensor of its own. */
static struct tensor_view sample_of(const struct tensor_view *v, size_t b)
{
    struct tensor_view one = *v;
    one.desc.b = 1;
    one.data = (float *)v->data + b * v->desc.sample;
    return one;
}

static void check_rows(const struct linear_case *k)
{
    struct linear_world w = world_of(k);
    struct tensor_view y = view_make(w.y.desc), dx = view_make(w.dx.desc);
    struct kernel_ctx kc = context_make(ISA_GENERIC, 1, false);
    const struct span all = { 0, k->t };
    linear_forward(&kc, &w.x.desc, w.x.data, w.w, w.bias, &w.y.desc, w.y.data, all);
    linear_backward_data(&kc, &w.dy.desc, w.dy.data, w.w, &w.x.desc, &w.dx.desc, w.dx.data, all);
    for (size_t b = 0; b < k->b; b++)
        for (size_t t = 0; t < k->t; t++) {
            const struct tensor_view x1 = sample_of(&w.x, b), y1 = sample_of(&y, b);
            const struct tensor_view dy1 = sample_of(&w.dy, b), dx1 = sample_of(&dx, b);
            const struct span one = { t, t + 1 };
            linear_forward(&kc, &x1.desc, x1.data, w.w, w.bias, &y1.desc, y1.data, one);
            linear_backward_data(&kc, &dy1.desc, dy1.data, w.w, &x1.desc, &dx1.desc, dx1.data, one);
        }
    cr_assert(difference(&y, &w.y) == 0, "forward, %zu -> %zu, T %zu", k->c, k->out, k->t);
    cr_assert(difference(&dx, &w.dx) == 0, "backward, %zu -> %zu, T %zu", k->c, k->out, k->t);
    free(y.data);
    free(dx.data);
    context_drop(&kc);
    world_drop(&w);
}

/* Goal: a row's bits depend on itself alone: the whole batch gives those of each sample and step
 * alone. */
Test(linear_kernel, rows_stand_alone, .timeout = 120)
{
    static const size_t sizes[][2] = { { 16, 16 }, { 100, 33 }, { 700, 530 }, { 1700, 20 } };
    for (size_t i = 0; i < 4; i++)
        for (size_t t = 1; t <= 5; t++) {
            const size_t b = t == 1 ? 101 : 27;
            check_rows(&(struct linear_case){ TENSOR_F32, sizes[i][0], 1, 1, sizes[i][1], b, t });
            if (t == 3)
                check_rows(&(struct linear_case){ TENSOR_REPEAT, sizes[i][0], 1, 1, sizes[i][1],
                                                  b, t });
        }
}

static void run_both(struct linear_world *w, enum kernel_path path, struct kernel_trace *trace)
{
    struct kernel_ctx kc = context_make(ISA_GENERIC, 2, true);
    kc.path = path;
    kc.trace = trace;
    memset(trace, 0, sizeof *trace);
    linear_forward(&kc, &w->x.desc, w->x.data, w->w, NULL, &w->y.desc, w->y.data,
                   (struct span){ 0, w->y.desc.t });
    float *dw = take(w->floats, sizeof(float));
    linear_backward_weights(&kc, &w->x.desc, w->x.data, &w->dy.desc, w->dy.data,
                            (struct span){ 0, w->x.desc.b }, dw);
    free(dw);
    context_drop(&kc);
}

/* Goal: few spikes go by events and many by floats; a forced path is kept. */
Test(linear_kernel, density_decides, .timeout = 60)
{
    static const double rates[] = { 0.02, 0.98 };
    const struct linear_case few = { TENSOR_BITS, 128, 1, 1, 40, 3, 2 };
    for (size_t i = 0; i < 2; i++) {
        struct linear_world w = world_of(&few);
        struct kernel_trace n;
        memset(w.x.data, 0, tensor_bytes(&w.x.desc));
        view_fill(&w.x, 1, rates[i]);
        run_both(&w, KERNEL_PATH_AUTO, &n);
        cr_expect_eq(n.calls[KERNEL_linear_forward_events_bits], i == 0);
        cr_expect_eq(n.calls[KERNEL_linear_forward_bits], i == 1);
        cr_expect_eq(n.calls[KERNEL_linear_backward_weights_events_bits], i == 0);
        cr_expect_eq(n.calls[KERNEL_linear_backward_weights_bits], i == 1);
        run_both(&w, i == 0 ? KERNEL_PATH_DENSE : KERNEL_PATH_EVENT, &n);
        cr_expect_eq(n.calls[KERNEL_linear_forward_events_bits], i == 1);
        cr_expect_eq(n.calls[KERNEL_linear_backward_weights_events_bits], i == 1);
        world_drop(&w);
    }
}
