/* residual: where the body and the shortcut of a residual meet, the node with two inputs. Called
 * through layer_ops on the main thread; the kernels use the pool.
 *
 * ADD of spikes gives counts: COUNT8 while the largest possible sum fits, F32 beyond 255 (design
 * 5.5). AND and IAND of spikes stay spikes. Spikes with a factor (dropout, average pooling) have no
 * common unit and meet as floats. */
#include "worker/layers/layer_kinds.h"

#include <assert.h>

enum { IN_BODY, IN_SHORTCUT };

/* IAND is a * (1 - b): b is the body, or the shortcut when swapped. */
static bool swapped(const struct layer *l)
{
    return l->spec->u.residual.connect == SPEC_IAND_SWAPPED;
}

static enum connect_kind kind_of(const struct layer *l)
{
    switch ((enum spec_connect)l->spec->u.residual.connect) {
    case SPEC_ADD: return CONNECT_ADD;
    case SPEC_AND: return CONNECT_AND;
    case SPEC_IAND:
    case SPEC_IAND_SWAPPED: return CONNECT_IAND;
    }
    return CONNECT_ADD;
}

static size_t operand(const struct layer *l, size_t which) /* 0: a, 1: b */
{
    return (which == 0) == swapped(l) ? IN_BODY : IN_SHORTCUT;
}

static bool has_unit(const struct tensor_desc *d)
{
    return (d->kind == TENSOR_BITS || d->kind == TENSOR_COUNT8) && !d->scaled;
}

/* Kind and largest element of the output. */
static enum tensor_kind output_kind(enum connect_kind kind, const struct tensor_desc *a,
                                    const struct tensor_desc *b, size_t *largest)
{
    if (a->kind == TENSOR_REPEAT && b->kind == TENSOR_REPEAT) return TENSOR_REPEAT;
    if (!has_unit(a) || !has_unit(b)) return TENSOR_F32;
    const bool bits = a->kind == TENSOR_BITS && b->kind == TENSOR_BITS;
    if (kind == CONNECT_ADD) *largest = a->largest + b->largest;
    else if (kind == CONNECT_AND) *largest = a->largest * b->largest;
    else *largest = a->largest;
    if (kind == CONNECT_IAND && b->kind != TENSOR_BITS) return TENSOR_F32; /* may be negative */
    if (kind != CONNECT_ADD && bits) return TENSOR_BITS;
    return *largest <= UINT8_MAX ? TENSOR_COUNT8 : TENSOR_F32;
}

static int check_branches(const struct tensor_desc *body, const struct tensor_desc *shortcut,
                          struct err *e)
{
    if (body->c != shortcut->c || body->h != shortcut->h || body->w != shortcut->w)
        return err_set(e, ERR_SPEC, "the body gives %zux%zux%zu, the shortcut %zux%zux%zu",
                       body->c, body->h, body->w, shortcut->c, shortcut->h, shortcut->w);
    const struct tensor_desc a = tensor_image(body), b = tensor_image(shortcut);
    if (a.c != b.c || a.h != b.h || a.w != b.w)
        return err_set(e, ERR_SPEC, "only one of the branches is a flattened image");
    return 0;
}

static int residual_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                            struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 2);
    if (check_branches(&in[IN_BODY], &in[IN_SHORTCUT], e) != 0) return (int)e->code;
    size_t largest = 0;
    const enum tensor_kind kind = output_kind(kind_of(l), &in[operand(l, 0)], &in[operand(l, 1)],
                                              &largest);
    const struct tensor_desc image = tensor_image(in);
    *out = tensor_make(kind, in->b, in->t, image.c, image.h, image.w);
    if (kind == TENSOR_COUNT8) out->largest = largest;
    if (in->flat_h * in->flat_w > 1) *out = tensor_flatten(out);
    needs->macs = 0; /* additions and masks only */
    return 0;
}

static void residual_forward(const struct layer *l, const struct step *s, struct span t)
{
    connect_forward(s->kc, kind_of(l), &s->x[operand(l, 0)], &s->x[operand(l, 1)], &s->y, t);
}

static void residual_backward(const struct layer *l, const struct step *s, struct span t)
{
    for (size_t which = 0; which < 2; which++) {
        const struct tensor_view *dx = &s->dx[operand(l, which)];
        const struct tensor_view *other = &s->x[operand(l, 1 - which)];
        if (dx->data != NULL)
            connect_backward(s->kc, kind_of(l), which == 1, other, &s->dy, dx, t);
    }
}

static float residual_scale(const struct layer *l, float in, bool training)
{
    (void)l;
    (void)in;
    (void)training;
    return 1.0f;
}

const struct layer_ops residual_ops = {
    .name = "residual",
    .reshape = residual_reshape,
    .forward = residual_forward,
    .backward_data = residual_backward,
    .scale = residual_scale,
};
