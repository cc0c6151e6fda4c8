/* Convolutions beyond plain conv2d: one dimension, transposed, standardised weights: against twins
 * in double, gradients against finite differences. */
#include "tests/unit/layers/smooth_fixture.h"

/* What a convolution is, by spec numbers [h, w]. */
struct conv_numbers {
    int64_t k[2], stride[2], pad[2], dil[2], groups;
    bool bias;
};

static struct conv_numbers numbers_of(const struct spec_layer *l)
{
    struct conv_numbers n;
    if (l->type == SPEC_CONV_TRANSPOSE2D) {
        const struct spec_conv_transpose2d *p = &l->u.conv_transpose2d;
        n = (struct conv_numbers){ { p->kernel_size[0], p->kernel_size[1] },
                                   { p->stride[0], p->stride[1] },
                                   { p->padding[0], p->padding[1] },
                                   { p->dilation[0], p->dilation[1] }, p->groups, p->bias };
    } else if (l->type == SPEC_CONV1D) {
        const struct spec_conv1d *p = &l->u.conv1d;
        n = (struct conv_numbers){ { 1, p->kernel_size }, { 1, p->stride }, { 0, p->padding },
                                   { 1, p->dilation }, p->groups, p->bias };
    } else {
        const struct spec_conv2d *p = &l->u.conv2d;
        n = (struct conv_numbers){ { p->kernel_size[0], p->kernel_size[1] },
                                   { p->stride[0], p->stride[1] },
                                   { p->padding[0], p->padding[1] },
                                   { p->dilation[0], p->dilation[1] }, p->groups, p->bias };
    }
    return n;
}

/* One image by PyTorch's definition; w [oc][c/groups][kh][kw]. */
static void conv_image(const struct smooth *s, const struct conv_numbers *n, const double *w,
                       const double *x, double *y)
{
    const size_t groups = (size_t)n->groups, per = s->c / groups;
    const size_t taps = (size_t)(n->k[0] * n->k[1]);
    for (size_t o = 0; o < s->oc * s->oh * s->ow; o++) {
        const size_t k = o / (s->oh * s->ow), oy = o / s->ow % s->oh, ox = o % s->ow;
        y[o] = n->bias ? s->param[1][k] : 0.0;
        for (size_t i = 0; i < per * taps; i++) {
            const int64_t r = (int64_t)(i % taps) / n->k[1], c = (int64_t)(i % taps) % n->k[1];
            const int64_t iy = (int64_t)oy * n->stride[0] + r * n->dil[0] - n->pad[0];
            const int64_t ix = (int64_t)ox * n->stride[1] + c * n->dil[1] - n->pad[1];
            if (iy < 0 || ix < 0 || iy >= (int64_t)s->h || ix >= (int64_t)s->w) continue;
            const size_t from = k / (s->oc / groups) * per + i / taps;
            y[o] += w[k * per * taps + i] *
                    x[(from * s->h + (size_t)iy) * s->w + (size_t)ix];
        }
    }
}

static void conv_twin(const struct smooth *s, const double *x, double *y)
{
    const struct conv_numbers n = numbers_of(s->spec);
    for (size_t i = 0; i < s->t * s->b; i++)
        conv_image(s, &n, s->param[0], x + i * s->c * s->h * s->w, y + i * s->oc * s->oh * s->ow);
}

/* y[stride*i + dil*r - pad] += x[i] * w[c][k][r]: the definition from the input's side. */
static void transpose_twin(const struct smooth *s, const double *x, double *y)
{
    const struct conv_numbers n = numbers_of(s->spec);
    const size_t groups = (size_t)n.groups, per = s->oc / groups, taps = (size_t)(n.k[0] * n.k[1]);
    for (size_t i = 0; i < s->t * s->b; i++, x += s->c * s->h * s->w, y += s->oc * s->oh * s->ow) {
        for (size_t o = 0; o < s->oc * s->oh * s->ow; o++)
            y[o] = n.bias ? s->param[1][o / (s->oh * s->ow)] : 0.0;
        for (size_t j = 0; j < s->c * s->h * s->w * per * taps; j++) {
            const size_t tap = j % taps, k = j / taps % per, in = j / taps / per;
            const size_t c = in / (s->h * s->w), g = c / (s->c / groups);
            const int64_t oy = (int64_t)(in / s->w % s->h) * n.stride[0] +
                               (int64_t)tap / n.k[1] * n.dil[0] - n.pad[0];
            const int64_t ox = (int64_t)(in % s->w) * n.stride[1] +
                               (int64_t)tap % n.k[1] * n.dil[1] - n.pad[1];
            if (oy < 0 || ox < 0 || oy >= (int64_t)s->oh || ox >= (int64_t)s->ow) continue;
            y[((g * per + k) * s->oh + (size_t)oy) * s->ow + (size_t)ox] +=
                x[in] * s->param[0][(c * per + k) * taps + tap];
        }
    }
}

/* The gain is the last parameter: the second without bias, the third with one. */
static void standard_twin(const struct smooth *s, const double *x, double *y)
{
    const struct conv_numbers n = numbers_of(s->spec);
    const size_t fan = s->c / (size_t)n.groups * (size_t)(n.k[0] * n.k[1]);
    const double *gain = s->param[n.bias ? 2 : 1];
    double *w = calloc(s->oc * fan, sizeof w[0]);
    for (size_t k = 0; k < s->oc; k++) {
        const double *from = s->param[0] + k * fan;
        double mean = 0.0, var = 0.0;
        for (size_t i = 0; i < fan; i++) mean += from[i] / (double)fan;
        for (size_t i = 0; i < fan; i++)
            var += (from[i] - mean) * (from[i] - mean) / ((double)fan - 1.0);
        for (size_t i = 0; i < fan; i++)
            w[k * fan + i] = gain[k] * (from[i] - mean) / sqrt(var * (double)fan + 1e-4);
    }
    for (size_t i = 0; i < s->t * s->b; i++)
        conv_image(s, &n, w, x + i * s->c * s->h * s->w, y + i * s->oc * s->oh * s->ow);
    free(w);
}

/* Goal: conv1d with stride, padding, dilation and groups, and of a repeated frame. */
Test(conv_layers, one_dimension, .timeout = 60)
{
    for (int i = 0; i < 4; i++) {
        struct spec_layer l = { .type = SPEC_CONV1D };
        l.u.conv1d = (struct spec_conv1d){ .out_channels = 6, .kernel_size = 3,
                                           .stride = 1 + i % 2, .padding = i % 3,
                                           .dilation = 1 + i / 2, .groups = i == 3 ? 2 : 1,
                                           .bias = i != 1 };
        smooth_check((struct smooth){ .b = 2, .t = 2, .c = 4, .h = 1, .w = 7 }, &l, conv_twin,
                     i == 2, 1);
    }
}

/* Goal: transposed convolutions of every option agree with the definition from the input's side,
 * over shards and of a repeated frame. */
Test(conv_layers, transposed, .timeout = 60)
{
    for (int i = 0; i < 5; i++) {
        struct spec_layer l = { .type = SPEC_CONV_TRANSPOSE2D };
        l.u.conv_transpose2d = (struct spec_conv_transpose2d){
            .out_channels = 4, .kernel_size = { 3, 2 }, .stride = { 1 + i % 3, 2 },
            .padding = { i % 2, i == 4 ? 1 : 0 }, .output_padding = { i == 2 ? 1 : 0, i == 1 },
            .dilation = { i == 3 ? 2 : 1, 1 }, .groups = i == 4 ? 2 : 1, .bias = i != 1 };
        smooth_check((struct smooth){ .b = 2, .t = 2, .c = 6, .h = 2, .w = 3 }, &l, transpose_twin,
                     i == 2, i == 3 ? 2 : 1);
    }
}

/* Goal: a convolution with standardised weights, with and without bias and groups. */
Test(conv_layers, standardised_weights, .timeout = 60)
{
    for (int i = 0; i < 3; i++) {
        struct spec_layer l = { .type = SPEC_CONV2D };
        l.u.conv2d = (struct spec_conv2d){ .out_channels = 4, .kernel_size = { 3, 2 },
                                           .stride = { 1, 1 }, .padding = { 1, 0 },
                                           .dilation = { 1, 1 }, .groups = i == 2 ? 2 : 1,
                                           .bias = i == 1, .weight_standardization = true };
        smooth_check((struct smooth){ .b = 2, .t = 2, .c = 4, .h = 3, .w = 3 }, &l, standard_twin,
                     i == 0, i == 1 ? 2 : 1);
    }
}
