/* upsample: every pixel repeated in a window of scale_factor (PyTorch's Upsample, mode nearest).
 * Called through layer_ops on the main thread; an image an item of the pool. Spikes stay spikes and
 * counts stay counts: pixels are copied as they are stored. */
#include "worker/layers/layer_kinds.h"

#include <assert.h>
#include <string.h>

static int upsample_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                            struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    (void)needs;
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    if (in->flat_h * in->flat_w > 1) return err_set(e, ERR_SPEC, "upsample cannot follow flatten");
    *out = tensor_make(in->kind, in->b, in->t, in->c, (size_t)shape.h, (size_t)shape.w);
    out->scale = in->scale;
    out->largest = in->largest;
    return 0;
}

struct upsampling {
    struct tensor_view small, large; /* values, or their gradients */
    size_t up_h, up_w;
    struct span t;
};

static size_t pixel_at(const struct tensor_desc *d, size_t b, size_t t, size_t y, size_t x)
{
    return d->origin + b * d->sample + (d->t_stored == 1 ? 0 : t) * d->time + y * d->row +
           x * d->pixel;
}

static size_t upsample_images(const struct upsampling *u)
{
    return u->t.end - u->t.begin;
}

static size_t upsample_sample(const struct upsampling *u, size_t item)
{
    return item / upsample_images(u);
}

static size_t upsample_time(const struct upsampling *u, size_t item)
{
    return u->t.begin + item % upsample_images(u);
}

static void repeat_image(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct upsampling *u = ctx;
    const struct tensor_desc *from = &u->small.desc, *to = &u->large.desc;
    const size_t b = upsample_sample(u, item), t = upsample_time(u, item);
    const size_t bytes = tensor_element_bytes(from->kind);
    assert(from->pixel == to->pixel);
    for (size_t y = 0; y < to->h; y++)
        for (size_t x = 0; x < to->w; x++)
            memcpy((char *)u->large.data + pixel_at(to, b, t, y, x) * bytes,
                   (const char *)u->small.data +
                       pixel_at(from, b, t, y / u->up_h, x / u->up_w) * bytes,
                   to->pixel * bytes);
}

/* dx of one block of 16 channels: the sum of its window, rows first. */
static void sum_window(const struct upsampling *u, size_t b, size_t t, size_t pixel, size_t block)
{
    const size_t y = pixel / u->small.desc.w, x = pixel % u->small.desc.w;
    float *dx = layer_block(&u->small, b, t, y, x, block);
    memset(dx, 0, 16 * sizeof dx[0]);
    for (size_t i = 0; i < u->up_h * u->up_w; i++) {
        const float *dy = layer_block(&u->large, b, t, y * u->up_h + i / u->up_w,
                                      x * u->up_w + i % u->up_w, block);
        for (size_t c = 0; c < 16; c++) dx[c] += dy[c];
    }
}

static void sum_image(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct upsampling *u = ctx;
    for (size_t p = 0; p < u->small.desc.h * u->small.desc.w; p++)
        for (size_t block = 0; block < (u->small.desc.c + 15) / 16; block++)
            sum_window(u, upsample_sample(u, item), upsample_time(u, item), p, block);
}

static void upsample_walk(const struct layer *l, const struct step *s, struct tensor_view small,
                          struct tensor_view large, struct span t,
                          void (*fn)(void *, size_t, size_t))
{
    const int64_t *up = l->spec->u.upsample.scale_factor;
    struct upsampling u = { small, large, (size_t)up[0], (size_t)up[1],
                            layer_stored(&small.desc, t) };
    threads_run(s->kc->threads, small.desc.b * upsample_images(&u), fn, &u);
}

static void upsample_forward(const struct layer *l, const struct step *s, struct span t)
{
    upsample_walk(l, s, s->x[0], s->y, t, repeat_image);
}

static void upsample_backward(const struct layer *l, const struct step *s, struct span t)
{
    if (s->dx[0].data != NULL) upsample_walk(l, s, s->dx[0], s->dy, t, sum_image);
}

const struct layer_ops upsample_ops = {
    .name = "upsample",
    .reshape = upsample_reshape,
    .forward = upsample_forward,
    .backward_data = upsample_backward,
};
