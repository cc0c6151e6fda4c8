/* relu: max(x, 0), value by value (docs/equations.md, Layers). Called through layer_ops on the main
 * thread; an image an item of the pool. Spikes and counts are read as floats. A NaN stays one, so
 * that it is seen; at 0 the gradient is 0. */
#include "worker/layers/layer_kinds.h"

#include <assert.h>

static int relu_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                        struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    (void)e;
    layer_plan_float(l, in, needs);
    *out = l->expands ? l->in_float : *in;
    return 0;
}

struct relu {
    struct tensor_view x, from, to; /* `from` goes to `to` where x is positive; images */
    struct span t;                  /* steps as they are stored */
};

static void relu_image(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct relu *r = ctx;
    const struct tensor_desc *d = &r->to.desc;
    const size_t steps = r->t.end - r->t.begin, b = item / steps, t = r->t.begin + item % steps;
    for (size_t p = 0; p < d->h * d->w; p++)
        for (size_t block = 0; block < (d->c + 15) / 16; block++) {
            const float *x = layer_block(&r->x, b, t, p / d->w, p % d->w, block);
            const float *from = layer_block(&r->from, b, t, p / d->w, p % d->w, block);
            float *to = layer_block(&r->to, b, t, p / d->w, p % d->w, block);
            for (size_t c = 0; c < 16; c++) to[c] = x[c] <= 0.0f ? 0.0f : from[c];
        }
}

static void relu_walk(const struct step *s, struct tensor_view x, struct tensor_view from,
                      struct tensor_view to, struct span t)
{
    struct relu r = { x, from, to, layer_stored(&to.desc, t) };
    r.x.desc = tensor_image(&x.desc);
    r.from.desc = tensor_image(&from.desc);
    r.to.desc = tensor_image(&to.desc);
    threads_run(s->kc->threads, to.desc.b * (r.t.end - r.t.begin), relu_image, &r);
}

static void relu_forward(const struct layer *l, const struct step *s, struct span t)
{
    const struct tensor_view x = layer_float_input(l, s, t);
    relu_walk(s, x, x, s->y, t);
}

static void relu_backward(const struct layer *l, const struct step *s, struct span t)
{
    if (s->dx[0].data != NULL)
        relu_walk(s, layer_float_input(l, s, LAYER_NO_STEPS), s->dy, s->dx[0], t);
}

const struct layer_ops relu_ops = {
    .name = "relu",
    .reshape = relu_reshape,
    .forward = relu_forward,
    .backward_data = relu_backward,
};
