/* dropout: inverted dropout, one mask a sample shared by all T. Called through layer_ops on the
 * main thread; masks are drawn a sample an item. Bits stay bits, 1/(1-p) goes into the scale.
 * Stream (design 5.9): element c + C*(x + W*y), position in the global batch, step, layer. */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* The image that x is, and the words of a mask's pixel. */
struct mask_shape {
    size_t pixels, c, words;
};

static struct mask_shape mask_of(const struct tensor_desc *x)
{
    const struct tensor_desc image = tensor_image(x);
    return (struct mask_shape){ image.h * image.w, image.c, (image.c + 63) / 64 };
}

static float keep_scale(const struct layer *l)
{
    return (float)(1.0 / (1.0 - l->spec->u.dropout.p));
}

static float dropout_scale(const struct layer *l, float in, bool training)
{
    return training ? in * keep_scale(l) : in;
}

static int dropout_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                           struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    if (in->kind == TENSOR_COUNT8) layer_plan_float(l, in, needs);
    *out = l->expands ? l->in_float : *in;
    out->scaled = true;
    const struct mask_shape m = mask_of(out);
    needs->saved_bytes += mem_align(in->b * m.pixels * m.words * sizeof(uint64_t), 64);
    return 0;
}

struct mask_job {
    const struct layer *l;
    const struct step *s;
    struct mask_shape m;
    uint64_t *keep;
};

/* The generator makes four numbers at once; `four` keeps those of block `block`. */
struct draw {
    uint64_t block;
    uint32_t four[4];
};

static bool draw_keep(const struct mask_job *j, size_t item, uint64_t element, uint32_t drop_below,
                      struct draw *d)
{
    if (element / 4 != d->block) {
        const struct step *s = j->s;
        const uint32_t counter[4] = { (uint32_t)(element / 4), (uint32_t)(s->sample_offset + item),
                                      (uint32_t)s->number, (uint32_t)j->l->number };
        philox4(s->dropout_key, counter, d->four);
        d->block = element / 4;
    }
    return d->four[element % 4] >> 8 >= drop_below; /* philox_uniform() >= p, as integers */
}

static void draw_sample(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct mask_job *j = ctx;
    uint64_t *keep = j->keep + item * j->m.pixels * j->m.words;
    const uint32_t drop_below = (uint32_t)ceil(j->l->spec->u.dropout.p * 0x1p24);
    struct draw d = { .block = UINT64_MAX };
    for (size_t pixel = 0; pixel < j->m.pixels; pixel++)
        for (size_t w = 0; w < j->m.words; w++) {
            const size_t first = w * 64, n = j->m.c - first < 64 ? j->m.c - first : 64;
            uint64_t word = 0;
            for (size_t i = 0; i < n; i++)
                word |= (uint64_t)draw_keep(j, item, pixel * j->m.c + first + i, drop_below, &d)
                        << i;
            keep[pixel * j->m.words + w] = word;
        }
}

static void make_masks(struct mask_job *j, size_t samples)
{
    const uint64_t *given = j->s->probe != NULL ? j->s->probe->keep : NULL;
    const size_t bytes = samples * j->m.pixels * j->m.words * sizeof j->keep[0];
    if (!j->s->training) memset(j->keep, 0xff, bytes);
    else if (given != NULL) memcpy(j->keep, given, bytes);
    else threads_run(j->s->kc->threads, samples, draw_sample, j);
}

static void dropout_layer_forward(const struct layer *l, const struct step *s, struct span t)
{
    const struct tensor_view x = layer_float_input(l, s, t);
    struct mask_job j = { l, s, mask_of(&x.desc), layer_saved(l, s) };
    if (t.begin == 0) make_masks(&j, x.desc.b); /* of all spans */
    const struct tensor_desc from = tensor_image(&x.desc), to = tensor_image(&s->y.desc);
    dropout_forward(s->kc, &from, x.data, j.keep, s->training ? keep_scale(l) : 1.0f, &to,
                    s->y.data, t);
}

static void dropout_layer_backward(const struct layer *l, const struct step *s, struct span t)
{
    if (s->dx[0].data == NULL) return;
    const struct tensor_desc from = tensor_image(&s->dy.desc), to = tensor_image(&s->dx[0].desc);
    dropout_backward(s->kc, &from, s->dy.data, layer_saved(l, s),
                     s->training ? keep_scale(l) : 1.0f, &to, s->dx[0].data, t);
}

const struct layer_ops dropout_ops = {
    .name = "dropout",
    .reshape = dropout_reshape,
    .forward = dropout_layer_forward,
    .backward_data = dropout_layer_backward,
    .scale = dropout_scale,
};
