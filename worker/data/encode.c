/* encode: see encode.h. */
#include "worker/data/encode.h"

#include <math.h>

/* exp(-1) and exp(-1/2): exponentials by products, since those of libm differ between machines. */
#define EXP_MINUS_ONE 0.36787944117144233
#define EXP_MINUS_HALF 0.6065306597126334

void encoder_init(struct encoder *e, const struct spec_dataset *spec, size_t t)
{
    *e = (struct encoder){ .type = spec->encoder, .t = t, .phases = (size_t)spec->phases,
                           .log = spec->latency == SPEC_LATENCY_LOG };
    if (e->type != SPEC_ENCODER_LATENCY || !e->log) return;
    double end = 1.0, at = EXP_MINUS_HALF; /* exp(-(T-1)), exp(-(k + 1/2)) */
    for (size_t k = 1; k < t; k++) end *= EXP_MINUS_ONE;
    /* T-1 - ln(a x + 1) <= k + 1/2, solved for x, numerator and denominator times exp(-(T-1)). */
    for (size_t k = 0; k + 1 < t; k++) {
        e->least[k] = (at - end) / (1.0 - end);
        at *= EXP_MINUS_ONE;
    }
}

size_t encode_latency(const struct encoder *e, float x)
{
    const size_t last = e->t - 1;
    if (!(x > 0.0f)) return last;
    if (!e->log) {
        const double at = rint((double)last * (1.0 - (double)x));
        return at > 0.0 ? (size_t)at : 0;
    }
    size_t low = 0, high = last; /* the first step whose least value is not above x */
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if ((double)x >= e->least[middle]) high = middle;
        else low = middle + 1;
    }
    return low;
}

static bool fires(const struct encode_place *at, size_t element, size_t t, float p)
{
    return philox_uniform(at->key, element, at->index, at->epoch, (uint32_t)t) <= p;
}

/* The first K binary digits of x as a number. */
static uint64_t digits(float x, size_t k)
{
    const double most = (double)((UINT64_C(1) << k) - 1), v = floor(ldexp((double)x, (int)k));
    return v > 0.0 ? (uint64_t)fmin(v, most) : 0;
}

static void encode_pixel(const struct encoder *e, const struct encode_place *at, size_t element,
                         float x, const struct tensor_desc *d, void *input, const size_t place[4])
{
    const size_t spike = e->type == SPEC_ENCODER_LATENCY ? encode_latency(e, x) : 0;
    const size_t k = e->phases;
    const uint64_t code = e->type == SPEC_ENCODER_WEIGHTED_PHASE ? digits(x, k) : 0;
    for (size_t t = 0; t < d->t_stored; t++) {
        bool on = false;
        switch (e->type) {
        case SPEC_ENCODER_DIRECT: break;
        case SPEC_ENCODER_POISSON: on = fires(at, element, t, x); break;
        case SPEC_ENCODER_LATENCY: on = t % e->t == spike; break;
        case SPEC_ENCODER_WEIGHTED_PHASE: on = (code >> (k - 1 - t % k) & 1) != 0; break;
        }
        tensor_set(d, input, place[0], t, place[1], place[2], place[3], on ? 1.0f : 0.0f);
    }
}

void encode_sample(const struct encoder *e, const struct encode_place *at, const float *pixels,
                   const struct tensor_desc *d, void *input, size_t b)
{
    if (e->type == SPEC_ENCODER_DIRECT) {
        encode_periodic(pixels, 1, d, input, b);
        return;
    }
    for (size_t y = 0; y < d->h; y++)
        for (size_t x = 0; x < d->w; x++)
            for (size_t c = 0; c < d->c; c++) {
                const size_t element = (c * d->h + y) * d->w + x, place[4] = { b, c, y, x };
                encode_pixel(e, at, element, pixels[element], d, input, place);
            }
}

void encode_periodic(const float *frames, size_t period, const struct tensor_desc *d, void *input,
                     size_t b)
{
    for (size_t t = 0; t < d->t_stored; t++) {
        const float *frame = frames + t % period * d->c * d->h * d->w;
        for (size_t y = 0; y < d->h; y++)
            for (size_t x = 0; x < d->w; x++)
                for (size_t c = 0; c < d->c; c++)
                    tensor_set(d, input, b, t, c, y, x, frame[(c * d->h + y) * d->w + x]);
    }
}
