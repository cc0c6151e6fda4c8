/* flatten: [T, B, C, H, W] seen as [T, B, C*H*W]. A view: no memory moves. PyTorch's feature order
 * is kept by the layers that read features (layer_feature). Through layer_ops, main thread. */
#include "worker/layers/layer_kinds.h"

#include <assert.h>

static int flatten_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                           struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    *out = in->h * in->w > 1 ? tensor_flatten(in) : *in;
    needs->view = true;
    return 0;
}

static void flatten_forward(const struct layer *l, const struct step *s, struct span t)
{
    (void)l;
    (void)s;
    (void)t; /* y is x */
}

/* Only where the gradients lie differently: a convolution reads its own in blocks. */
static void flatten_backward(const struct layer *l, const struct step *s, struct span t)
{
    (void)l;
    if (s->dx[0].data == NULL || s->dx[0].data == s->dy.data) return;
    const struct tensor_view from = tensor_steps(&s->dy, t), to = tensor_steps(&s->dx[0], t);
    const struct tensor_desc image = tensor_image(&from.desc);
    tensor_expand(s->kc, &image, from.data, &to.desc, to.data);
}

const struct layer_ops flatten_ops = {
    .name = "flatten",
    .reshape = flatten_reshape,
    .forward = flatten_forward,
    .backward_data = flatten_backward,
};
