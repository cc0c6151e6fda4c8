/* Two branches that meet, against the plain loops: every kind of tensor, both operands. */
#include "tests/unit/kernels/kernel_fixture.h"

static const struct {
    enum tensor_kind a, b, y;
    enum connect_kind kind;
    float a_scale, b_scale;
} cases[] = {
    { TENSOR_BITS, TENSOR_BITS, TENSOR_COUNT8, CONNECT_ADD, 1, 1 },
    { TENSOR_COUNT8, TENSOR_BITS, TENSOR_COUNT8, CONNECT_ADD, 1, 1 },
    { TENSOR_BITS, TENSOR_COUNT8, TENSOR_F32, CONNECT_ADD, 1.25f, 0.25f },
    { TENSOR_F32, TENSOR_F32, TENSOR_F32, CONNECT_ADD, 1, 1 },
    { TENSOR_REPEAT, TENSOR_F32, TENSOR_F32, CONNECT_ADD, 1, 1 },
    { TENSOR_REPEAT, TENSOR_REPEAT, TENSOR_REPEAT, CONNECT_ADD, 1, 1 },
    { TENSOR_BITS, TENSOR_BITS, TENSOR_BITS, CONNECT_AND, 1, 1 },
    { TENSOR_COUNT8, TENSOR_COUNT8, TENSOR_COUNT8, CONNECT_AND, 1, 1 },
    { TENSOR_BITS, TENSOR_F32, TENSOR_F32, CONNECT_AND, 1.25f, 1 },
    { TENSOR_BITS, TENSOR_REPEAT, TENSOR_F32, CONNECT_AND, 1, 1 },
    { TENSOR_BITS, TENSOR_BITS, TENSOR_BITS, CONNECT_IAND, 1, 1 },
    { TENSOR_COUNT8, TENSOR_BITS, TENSOR_COUNT8, CONNECT_IAND, 1, 1 },
    { TENSOR_BITS, TENSOR_COUNT8, TENSOR_F32, CONNECT_IAND, 1, 1 },
    { TENSOR_F32, TENSOR_REPEAT, TENSOR_F32, CONNECT_IAND, 1, 1 },
};
#define CASES (sizeof cases / sizeof cases[0])

struct branches {
    struct tensor_view a, b, y, dy, da, db;
};

/* Gradients of the operands are blocked (a) and not (b): what a convolution reads, and others. */
static struct branches branches_of(size_t i)
{
    struct branches k;
    k.a = view_filled(tensor_make(cases[i].a, 2, 3, 70, 5, 4), 3, 0.4);
    k.b = view_filled(tensor_make(cases[i].b, 2, 3, 70, 5, 4), 4, 0.5);
    k.a.desc.scale = cases[i].a_scale;
    k.b.desc.scale = cases[i].b_scale;
    k.y = view_make(tensor_make(cases[i].y, 2, 3, 70, 5, 4));
    k.dy = view_filled(tensor_gradient(&k.y.desc, false), 5, 0);
    k.da = view_make(tensor_gradient(&k.a.desc, true));
    k.db = view_make(tensor_gradient(&k.b.desc, false));
    return k;
}

static void branches_drop(struct branches *k)
{
    void *all[] = { k->a.data, k->b.data, k->y.data, k->dy.data, k->da.data, k->db.data };
    for (size_t i = 0; i < 6; i++) free(all[i]);
}

static void same(const struct tensor_view *a, const struct tensor_view *b, size_t i)
{
    cr_assert_eq(difference(a, b), 0, "case %zu", i);
    if (a->desc.kind == TENSOR_F32 || a->desc.kind == TENSOR_REPEAT) return;
    const uint64_t spikes = tensor_count(&a->desc, a->data, 0, 2); /* spare channels count too */
    cr_assert(spikes > 0 && spikes == tensor_count(&b->desc, b->data, 0, 2), "case %zu", i);
}

/* Goal: sums, products and IAND, and their gradients, are those of the plain loop, bit by bit. */
Test(connect_kernel, forward_and_backward, .timeout = 60)
{
    const struct span all = { 0, 3 };
    for (size_t i = 0; i < CASES; i++) {
        struct branches want = branches_of(i);
        reference_connect(cases[i].kind, &want.a, &want.b, &want.y);
        reference_connect_backward(cases[i].kind, false, &want.b, &want.dy, &want.da);
        reference_connect_backward(cases[i].kind, true, &want.a, &want.dy, &want.db);
        EACH_CONTEXT(kc, true)
        {
            struct branches got = branches_of(i);
            connect_forward(&kc, cases[i].kind, &got.a, &got.b, &got.y, all);
            connect_backward(&kc, cases[i].kind, false, &got.b, &got.dy, &got.da, all);
            connect_backward(&kc, cases[i].kind, true, &got.a, &got.dy, &got.db, all);
            same(&got.y, &want.y, i);
            same(&got.da, &want.da, i);
            same(&got.db, &want.db, i);
            branches_drop(&got);
        }
        branches_drop(&want);
    }
}

/* Goal: a call for some steps leaves the others alone. */
Test(connect_kernel, steps_outside_the_span_stay, .timeout = 20)
{
    struct kernel_ctx kc = context_make(ISA_GENERIC, 1, true);
    struct branches k = branches_of(0);
    memset(k.y.data, 7, tensor_bytes(&k.y.desc));
    connect_forward(&kc, CONNECT_ADD, &k.a, &k.b, &k.y, (struct span){ 1, 2 });
    cr_assert_eq(tensor_get(&k.y.desc, k.y.data, 1, 0, 0, 0, 0), 7);
    cr_assert_eq(tensor_get(&k.y.desc, k.y.data, 1, 2, 0, 0, 0), 7);
    cr_assert_neq(tensor_get(&k.y.desc, k.y.data, 1, 1, 0, 0, 0), 7);
    branches_drop(&k);
    context_drop(&kc);
}

/* Goal: a sum of gradients touches the samples that are there and no others. */
Test(connect_kernel, tensor_add_adds_sample_by_sample, .timeout = 20)
{
    EACH_CONTEXT(kc, true)
    {
        const struct tensor_desc d = tensor_make(TENSOR_F32, 3, 2, 20, 4, 4);
        struct tensor_view x = view_filled(d, 1, 0), y = view_filled(d, 2, 0);
        struct tensor_view old = view_filled(d, 2, 0);
        x.desc.b = y.desc.b = 2;
        tensor_add(&kc, &y, &x);
        for (size_t i = 0; i < 3 * 2 * 20; i++) {
            const size_t b = i / 40, t = i / 20 % 2, c = i % 20;
            const float v = tensor_get(&old.desc, old.data, b, t, c, 1, 2);
            const float add = b < 2 ? tensor_get(&x.desc, x.data, b, t, c, 1, 2) : 0.0f;
            cr_assert_eq(tensor_get(&y.desc, y.data, b, t, c, 1, 2), v + add);
        }
        free(x.data);
        free(y.data);
        free(old.data);
    }
}
