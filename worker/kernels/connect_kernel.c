/* connect_kernel: where two branches of a residual network meet, element by element (SEW ResNet,
 * Fang et al., NeurIPS 2021). Called by layers/residual; an item is one sample. Spikes stay bits,
 * sums of spikes stay counts where the result says so; everything else is floats.
 *
 * Each value is one or two rounded operations, the same in every build. */
#include "worker/kernels/kernel_trace.h"
#include "worker/kernels/kernels_table.h"

#include <string.h>

struct connect {
    const struct kernels *k;
    enum connect_kind kind;
    bool second;                  /* backward: of b, not of a */
    struct tensor_view a, b, y;   /* images; backward: b is the other operand, a unused */
    struct tensor_view dy, dx;
    struct span t;
};

static struct span stored(const struct tensor_desc *d, struct span t)
{
    if (d->t_stored == d->t) return t;
    return (struct span){ 0, t.begin == 0 ? 1 : 0 };
}

static size_t pixel_at(const struct tensor_desc *d, size_t b, size_t t, size_t y, size_t x)
{
    return b * d->sample + (d->t_stored == 1 ? 0 : t) * d->time + y * d->row + x * d->pixel;
}

/* Calls for every pixel of the steps of sample b. */
#define EACH_PIXEL(d, steps)                                                                       \
    for (size_t t = (steps).begin; t < (steps).end; t++)                                           \
        for (size_t y = 0; y < (d)->h; y++)                                                        \
            for (size_t x = 0; x < (d)->w; x++)

/* ---- bits and counts ------------------------------------------------------------------------- */
static void bits_sample(const struct connect *j, size_t b)
{
    const struct tensor_desc *ad = &j->a.desc, *bd = &j->b.desc, *yd = &j->y.desc;
    EACH_PIXEL(yd, j->t)
    {
        const uint64_t *from = (const uint64_t *)j->a.data + pixel_at(ad, b, t, y, x);
        const uint64_t *with = (const uint64_t *)j->b.data + pixel_at(bd, b, t, y, x);
        uint64_t *to = (uint64_t *)j->y.data + pixel_at(yd, b, t, y, x);
        for (size_t w = 0; w < yd->pixel; w++)
            to[w] = from[w] & (j->kind == CONNECT_IAND ? ~with[w] : with[w]);
    }
}

#define ONES UINT64_C(0x0101010101010101)

/* Eight channels from `c` of a pixel as the bytes of a word, the first one lowest. */
static uint64_t load_bytes(const struct tensor_view *v, size_t at, size_t c)
{
    uint64_t word;
    if (v->desc.kind == TENSOR_COUNT8) {
        memcpy(&word, (const uint8_t *)v->data + at + c, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
        return word;
    }
    const uint64_t bits = ((const uint64_t *)v->data)[at + c / 64] >> c % 64 & 0xff;
    const uint64_t spread = bits * ONES & UINT64_C(0x8040201008040201); /* bit i of byte i */
    return (spread + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7 & ONES;
}

static void store_bytes(uint8_t *to, uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(to, &word, sizeof word);
}

/* Byte by byte; no byte of a sum or product passes 255, so none carries into the next. */
static uint64_t combine(enum connect_kind kind, uint64_t a, uint64_t b, bool b_is_bits)
{
    if (kind == CONNECT_ADD) return a + b;
    if (kind == CONNECT_IAND) return a & ~(b * 0xff); /* b is bits: 255 where it is 1 */
    if (b_is_bits) return a & b * 0xff;
    uint64_t product = 0;
    for (int i = 0; i < 64; i += 8) product |= (a >> i & 0xff) * (b >> i & 0xff) << i;
    return product;
}

static void counts_sample(const struct connect *j, size_t b)
{
    const struct tensor_desc *yd = &j->y.desc;
    const bool b_is_bits = j->b.desc.kind == TENSOR_BITS;
    EACH_PIXEL(yd, j->t)
    {
        const size_t from = pixel_at(&j->a.desc, b, t, y, x);
        const size_t with = pixel_at(&j->b.desc, b, t, y, x);
        uint8_t *to = (uint8_t *)j->y.data + pixel_at(yd, b, t, y, x);
        for (size_t c = 0; c < yd->c_stored; c += 8)
            store_bytes(to + c, combine(j->kind, load_bytes(&j->a, from, c),
                                        load_bytes(&j->b, with, c), b_is_bits));
    }
}

/* ---- floats ---------------------------------------------------------------------------------- */
static void load(const struct connect *j, const struct tensor_view *v, size_t b, size_t t, size_t y,
                 size_t x, size_t block, float out[16])
{
    kernels_load16(j->k, v, b, t, y, x, block, v->desc.scale, out);
}

static void floats_sample(const struct connect *j, size_t b)
{
    const struct tensor_desc *yd = &j->y.desc;
    const struct span steps = stored(yd, j->t);
    EACH_PIXEL(yd, steps)
    for (size_t block = 0; block < yd->c_stored / 16; block++) {
        float from[16], with[16];
        load(j, &j->a, b, t, y, x, block, from);
        load(j, &j->b, b, t, y, x, block, with);
        float *to = (float *)j->y.data + tensor_at(yd, b, t, y, x, block);
        for (size_t i = 0; i < 16; i++) {
            if (j->kind == CONNECT_ADD) to[i] = from[i] + with[i];
            else if (j->kind == CONNECT_AND) to[i] = from[i] * with[i];
            else to[i] = from[i] * (1.0f - with[i]);
        }
    }
}

static void forward_item(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct connect *j = ctx;
    if (j->y.desc.kind == TENSOR_BITS) bits_sample(j, b);
    else if (j->y.desc.kind == TENSOR_COUNT8) counts_sample(j, b);
    else floats_sample(j, b);
}

static struct tensor_view image_of(const struct tensor_view *v)
{
    return (struct tensor_view){ tensor_image(&v->desc), v->data };
}

void connect_forward(const struct kernel_ctx *kc, enum connect_kind kind,
                     const struct tensor_view *a, const struct tensor_view *b,
                     const struct tensor_view *y, struct span t)
{
    kernel_note_form(kc, KERNEL_connect_forward_floats, &y->desc);
    struct connect j = { .k = kc->k, .kind = kind, .a = image_of(a), .b = image_of(b),
                         .y = image_of(y), .t = t };
    threads_run(kc->threads, y->desc.b, forward_item, &j);
}

/* ---- backward -------------------------------------------------------------------------------- */
/* dy times the derivative: 1; the other operand; for IAND 1 - b, or -a. */
static void derive(const struct connect *j, size_t b, size_t t, size_t y, size_t x, size_t block,
                   float out[16])
{
    const float *dy = (const float *)j->dy.data + tensor_at(&j->dy.desc, b, t, y, x, block);
    if (j->kind == CONNECT_ADD) {
        memcpy(out, dy, 16 * sizeof out[0]);
        return;
    }
    float other[16];
    load(j, &j->b, b, t, y, x, block, other);
    for (size_t i = 0; i < 16; i++) {
        if (j->kind == CONNECT_AND) out[i] = dy[i] * other[i];
        else if (j->second) out[i] = -(dy[i] * other[i]);
        else out[i] = dy[i] * (1.0f - other[i]);
    }
}

static void backward_item(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct connect *j = ctx;
    const struct tensor_desc *dxd = &j->dx.desc;
    const struct span steps = stored(dxd, j->t);
    const bool sums = dxd->t_stored < j->dy.desc.t_stored; /* over t ascending */
    EACH_PIXEL(dxd, steps)
    for (size_t block = 0; block < (dxd->c + 15) / 16; block++) {
        float *dx = (float *)j->dx.data + tensor_at(dxd, b, t, y, x, block);
        if (!sums) {
            derive(j, b, t, y, x, block, dx);
            continue;
        }
        memset(dx, 0, 16 * sizeof dx[0]);
        for (size_t k = 0; k < j->dy.desc.t_stored; k++) {
            float part[16];
            derive(j, b, k, y, x, block, part);
            for (size_t i = 0; i < 16; i++) dx[i] += part[i];
        }
    }
}

void connect_backward(const struct kernel_ctx *kc, enum connect_kind kind, bool second,
                      const struct tensor_view *other, const struct tensor_view *dy,
                      const struct tensor_view *dx, struct span t)
{
    kernel_note(kc, KERNEL_connect_backward);
    struct connect j = { .k = kc->k, .kind = kind, .second = second, .b = image_of(other),
                         .dy = image_of(dy), .dx = image_of(dx), .t = t };
    threads_run(kc->threads, dx->desc.b, backward_item, &j);
}
