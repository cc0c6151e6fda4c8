/* bits_layers: linear layers, batch norm, pools, branches that meet, dropout. See bits.h. */
#include "tests/bits/bits.h"

enum { B = 2, T = 3 };
static const enum tensor_kind kinds[] = { TENSOR_F32, TENSOR_REPEAT, TENSOR_BITS, TENSOR_COUNT8 };
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static struct span steps_of(const struct tensor_desc *d) { return (struct span){ 0, d->t_stored }; }

/* ---- linear ---------------------------------------------------------------------------------- */
static const struct {
    size_t c, h, w, out;
} linears[] = { { 100, 1, 1, 33 }, { 700, 1, 1, 150 }, { 70, 2, 3, 20 } };

/* Rows and columns of padding are 0, as in a net. */
static float *linear_weights(const struct tensor_desc *xd, const struct tensor_desc *yd)
{
    const size_t wide = yd->c_stored;
    const float *from = bits_floats(xd->c * yd->c, 3);
    float *w = bits_take(xd->c_stored * wide * sizeof w[0]);
    for (size_t i = 0; i < xd->c; i++) {
        const size_t row = xd->flat_h * xd->flat_w > 1 ? tensor_flat_index(xd, i) : i;
        for (size_t j = 0; j < yd->c; j++) w[row * wide + j] = from[i * yd->c + j];
    }
    return w;
}

static void linear(struct bits *b, size_t shape, enum tensor_kind kind, float rate, size_t number)
{
    const struct tensor_desc image = tensor_make(kind, B, T, linears[shape].c, linears[shape].h,
                                                 linears[shape].w);
    struct tensor_desc xd = tensor_flatten(&image);
    if (kind == TENSOR_BITS) xd.scale = 1.25f;
    const struct tensor_desc yd = tensor_make(kind == TENSOR_REPEAT ? kind : TENSOR_F32, B, T,
                                              linears[shape].out, 1, 1);
    const struct tensor_view x = bits_filled(xd, shape + 1, rate), y = bits_tensor(yd);
    const struct tensor_view dy = bits_filled(tensor_gradient(&yd, false), shape + 2, 0);
    const struct tensor_view dx = bits_tensor(tensor_gradient(&xd, false));
    const float *w = linear_weights(&xd, &yd), *bias = bits_floats(yd.c_stored, 4);
    const size_t floats = xd.c_stored * yd.c_stored;
    float *dw = bits_take(floats * sizeof dw[0]), *db = bits_take(yd.c_stored * sizeof db[0]);
    linear_forward(&b->kc, &xd, x.data, w, bias, &yd, y.data, steps_of(&yd));
    linear_backward_data(&b->kc, &dy.desc, dy.data, w, &xd, &dx.desc, dx.data, steps_of(&yd));
    linear_backward_weights(&b->kc, &xd, x.data, &dy.desc, dy.data, (struct span){ 0, B }, dw);
    bias_backward(&b->kc, &dy.desc, dy.data, (struct span){ 0, B }, db);
    bits_print_view("linear_forward", number, &y);
    bits_print_view("linear_backward_data", number, &dx);
    bits_print("linear_backward_weights", number, dw, floats * sizeof dw[0]);
    bits_print("bias_backward", number, db, yd.c_stored * sizeof db[0]);
    bits_release();
}

static void linear_all(struct bits *b)
{
    size_t number = 0;
    for (size_t shape = 0; shape < sizeof linears / sizeof linears[0]; shape++)
        for (size_t k = 0; k < KINDS; k++)
            for (int path = KERNEL_PATH_AUTO; path <= (int)KERNEL_PATH_DENSE; path++) {
                b->kc.path = (enum kernel_path)path;
                linear(b, shape, kinds[k], 0.05f, number++);
                linear(b, shape, kinds[k], 0.6f, number++);
            }
    b->kc.path = KERNEL_PATH_AUTO;
}

/* ---- batch norm ------------------------------------------------------------------------------ */
static void norm(struct bits *b, bool blocked)
{
    const struct tensor_desc d = tensor_make(TENSOR_F32, 4, T, 37, 5, 11);
    const struct tensor_view x = bits_filled(d, 1, 0), y = bits_tensor(d),
                             dy = bits_filled(d, 2, 0);
    const struct tensor_view dx = bits_tensor(tensor_gradient(&d, blocked));
    const size_t c = d.c_stored, bytes = 4 * 2 * c * sizeof(double);
    double *partial = bits_take(bytes), *sums = bits_take(bytes * bn_strips(&d));
    double *mean = bits_take(c * sizeof(double)), *var = bits_take(c * sizeof(double));
    const float *k[3] = { bits_floats(c, 3), bits_floats(c, 4), bits_floats(c, 5) };
    bn_partial_sums(&b->kc, &d, x.data, partial);
    bn_finish(&d, partial, 4, 4 * T * 5 * 11, mean, var);
    bn_apply(&b->kc, &d, x.data, k[0], k[1], &d, y.data);
    bn_backward_sums(&b->kc, &d, x.data, &d, dy.data, k[0], k[1], sums);
    bn_backward_data(&b->kc, &d, x.data, &d, dy.data, k[0], k[1], k[2], &dx.desc, dx.data);
    bits_print("bn_partial_sums", blocked, partial, bytes);
    bits_print("bn_mean", blocked, mean, c * sizeof(double));
    bits_print("bn_var", blocked, var, c * sizeof(double));
    bits_print_view("bn_apply", blocked, &y);
    bits_print("bn_backward_sums", blocked, sums, bytes * bn_strips(&d));
    bits_print_view("bn_backward_data", blocked, &dx);
    bits_release();
}

/* ---- pools ----------------------------------------------------------------------------------- */
static const struct pool_shape pools[] = {
    { 8, 6, 4, 3, 2, 2, 2, 2, 0, 0, true, false, 1, 1 },
    { 7, 9, 4, 5, 3, 3, 2, 2, 1, 1, false, false, 1, 1 },
    { 9, 8, 4, 5, 3, 2, 2, 1, 1, 0, true, false, 2, 3 },    /* maxima only */
    { .h = 7, .w = 9, .oh = 2, .ow = 4, .adaptive = true }, /* averages only */
};
enum { POOL_DILATED = 2, POOL_ADAPTIVE = 3, POOLS = 4 };

static void pool(struct bits *b, size_t i, enum tensor_kind kind, size_t number)
{
    const struct pool_shape *p = &pools[i];
    const struct tensor_view x = bits_filled(tensor_make(kind, B, T, 70, p->h, p->w), 5, 0.4f);
    const struct tensor_desc most = tensor_make(kind, B, T, 70, p->oh, p->ow);
    const struct tensor_desc mean = tensor_make(kind == TENSOR_REPEAT ? kind : TENSOR_F32, B, T, 70,
                                                p->oh, p->ow);
    const struct tensor_view y = bits_tensor(most), a = bits_tensor(mean);
    const struct tensor_view dy = bits_filled(tensor_gradient(&most, false), 6, 0);
    const struct tensor_view dx = bits_tensor(tensor_gradient(&x.desc, false));
    const struct tensor_view da = bits_tensor(dx.desc);
    if (i != POOL_ADAPTIVE) {
        max_pool_forward(&b->kc, p, &x.desc, x.data, &most, y.data, steps_of(&most));
        max_pool_backward(&b->kc, p, &x.desc, x.data, &dy.desc, dy.data, &dx.desc, dx.data,
                          steps_of(&most));
        bits_print_view("max_pool_forward", number, &y);
        bits_print_view("max_pool_backward", number, &dx);
    }
    if (i != POOL_DILATED) {
        avg_pool_forward(&b->kc, p, &x.desc, x.data, &mean, a.data, steps_of(&mean));
        avg_pool_backward(&b->kc, p, &dy.desc, dy.data, &da.desc, da.data, steps_of(&mean));
        bits_print_view("avg_pool_forward", number, &a);
        bits_print_view("avg_pool_backward", number, &da);
    }
    bits_release();
}

/* ---- branches that meet, dropout, other kinds ------------------------------------------------ */
static const struct {
    enum tensor_kind a, b, y;
    enum connect_kind kind;
} meetings[] = {
    { TENSOR_BITS, TENSOR_BITS, TENSOR_COUNT8, CONNECT_ADD },
    { TENSOR_COUNT8, TENSOR_BITS, TENSOR_COUNT8, CONNECT_ADD },
    { TENSOR_REPEAT, TENSOR_F32, TENSOR_F32, CONNECT_ADD },
    { TENSOR_BITS, TENSOR_BITS, TENSOR_BITS, CONNECT_AND },
    { TENSOR_BITS, TENSOR_F32, TENSOR_F32, CONNECT_AND },
    { TENSOR_BITS, TENSOR_BITS, TENSOR_BITS, CONNECT_IAND },
    { TENSOR_COUNT8, TENSOR_COUNT8, TENSOR_F32, CONNECT_IAND },
};

static void meeting(struct bits *k, size_t i)
{
    const enum connect_kind kind = meetings[i].kind;
    const struct tensor_view a = bits_filled(tensor_make(meetings[i].a, B, T, 70, 5, 4), 3, 0.4f);
    const struct tensor_view b = bits_filled(tensor_make(meetings[i].b, B, T, 70, 5, 4), 4, 0.5f);
    const struct tensor_view y = bits_tensor(tensor_make(meetings[i].y, B, T, 70, 5, 4));
    const struct tensor_view dy = bits_filled(tensor_gradient(&y.desc, false), 5, 0);
    const struct tensor_view da = bits_tensor(tensor_gradient(&a.desc, true));
    const struct tensor_view db = bits_tensor(tensor_gradient(&b.desc, false));
    connect_forward(&k->kc, kind, &a, &b, &y, (struct span){ 0, T });
    connect_backward(&k->kc, kind, false, &b, &dy, &da, (struct span){ 0, T });
    connect_backward(&k->kc, kind, true, &a, &dy, &db, (struct span){ 0, T });
    bits_print_view("connect_forward", i, &y);
    bits_print_view("connect_backward_first", i, &da);
    bits_print_view("connect_backward_second", i, &db);
    bits_release();
}

static void others(struct bits *b, size_t i)
{
    const struct tensor_desc floats = tensor_make(TENSOR_F32, B, T, 70, 3, 4);
    const struct tensor_view x = bits_filled(tensor_make(kinds[i], B, T, 70, 3, 4), 9, 0.5f);
    const struct tensor_view wide = bits_tensor(floats), sum = bits_filled(floats, 10, 0);
    const struct tensor_view y = bits_tensor(x.desc), dy = bits_filled(floats, 11, 0);
    const struct tensor_view dx = bits_tensor(floats);
    const uint64_t *keep = (const uint64_t *)(const void *)bits_floats(2 * B * 3 * 4 * 2, 12);
    tensor_expand(&b->kc, &x.desc, x.data, &floats, wide.data);
    tensor_add(&b->kc, &sum, &wide);
    bits_print_view("tensor_expand", i, &wide);
    bits_print_view("tensor_add", i, &sum);
    if (kinds[i] == TENSOR_F32 || kinds[i] == TENSOR_BITS) {
        dropout_forward(&b->kc, &x.desc, x.data, keep, 1.5f, &x.desc, y.data,
                        (struct span){ 0, T });
        dropout_backward(&b->kc, &floats, dy.data, keep, 1.5f, &floats, dx.data,
                         (struct span){ 0, T });
        bits_print_view("dropout_forward", i, &y);
        bits_print_view("dropout_backward", i, &dx);
    }
    bits_release();
}

void bits_of_layers(struct bits *b)
{
    linear_all(b);
    norm(b, false);
    norm(b, true);
    for (size_t i = 0; i < POOLS * KINDS; i++) pool(b, i / KINDS, kinds[i % KINDS], i);
    for (size_t i = 0; i < sizeof meetings / sizeof meetings[0]; i++) meeting(b, i);
    for (size_t i = 0; i < KINDS; i++) others(b, i);
}
