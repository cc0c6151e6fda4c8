/* voting: mean over groups of `size` features, one group a class (Fang et al., ICCV 2021). Called
 * through layer_ops on the main thread; a sample an item of the pool. */
#include "worker/layers/layer_kinds.h"

#include <assert.h>
#include <string.h>

static int voting_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                          struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    layer_plan_float(l, in, needs);
    enum tensor_kind kind = in->kind == TENSOR_REPEAT ? TENSOR_REPEAT : TENSOR_F32;
    *out = tensor_make(kind, in->b, in->t, (size_t)shape.c, 1, 1);
    return 0;
}

struct vote {
    const struct layer *l;
    struct tensor_view wide, narrow; /* features; groups */
    struct span t;
};

static void vote_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct vote *v = ctx;
    const size_t size = (size_t)v->l->spec->u.voting.size;
    const struct tensor_desc *wide = &v->wide.desc, *narrow = &v->narrow.desc;
    const struct span t = layer_stored(narrow, v->t);
    for (size_t step = t.begin; step < t.end; step++) {
        const float *x = (const float *)v->wide.data + tensor_at(wide, b, step, 0, 0, 0);
        float *y = (float *)v->narrow.data + tensor_at(narrow, b, step, 0, 0, 0);
        memset(y, 0, narrow->c_stored * sizeof y[0]);
        for (size_t g = 0; g < narrow->c; g++) {
            float sum = 0.0f;
            for (size_t i = 0; i < size; i++) sum += x[layer_feature(wide, g * size + i)];
            y[g] = sum / (float)size;
        }
    }
}

static void unvote_sample(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct vote *v = ctx;
    const size_t size = (size_t)v->l->spec->u.voting.size;
    const struct tensor_desc *wide = &v->wide.desc, *narrow = &v->narrow.desc;
    const struct span t = layer_stored(narrow, v->t);
    for (size_t step = t.begin; step < t.end; step++) {
        const float *dy = (const float *)v->narrow.data + tensor_at(narrow, b, step, 0, 0, 0);
        float *dx = v->wide.data; /* may be blocked: a convolution's output of one pixel */
        for (size_t i = 0; i < wide->c_stored; i += 16)
            memset(dx + tensor_at(wide, b, step, 0, 0, i / 16), 0, 16 * sizeof dx[0]);
        for (size_t j = 0; j < narrow->c * size; j++) {
            const size_t i = layer_feature(wide, j);
            dx[tensor_at(wide, b, step, 0, 0, i / 16) + i % 16] = dy[j / size] / (float)size;
        }
    }
}

static void voting_forward(const struct layer *l, const struct step *s, struct span t)
{
    struct vote v = { l, layer_float_input(l, s, t), s->y, t };
    threads_run(s->kc->threads, v.wide.desc.b, vote_sample, &v);
}

static void voting_backward(const struct layer *l, const struct step *s, struct span t)
{
    if (s->dx[0].data == NULL) return;
    struct vote v = { l, s->dx[0], s->dy, t };
    threads_run(s->kc->threads, v.wide.desc.b, unvote_sample, &v);
}

const struct layer_ops voting_ops = {
    .name = "voting",
    .reshape = voting_reshape,
    .forward = voting_forward,
    .backward_data = voting_backward,
};
