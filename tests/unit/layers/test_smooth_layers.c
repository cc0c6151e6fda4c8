/* Layers without spikes against their twins in double, gradients against finite differences. */
#include "tests/unit/layers/smooth_fixture.h"

/* Index of a value in [T][B][C][H][W]. */
static size_t at(const struct smooth *s, size_t t, size_t b, size_t c, size_t p)
{
    return ((t * s->b + b) * s->c + c) * s->h * s->w + p;
}

static struct spec_layer layer_of(enum spec_layer_type type)
{
    return (struct spec_layer){ .type = type };
}

/* ---- upsample -------------------------------------------------------------------------------- */
static void upsample_twin(const struct smooth *s, const double *x, double *y)
{
    const size_t up_h = s->oh / s->h, up_w = s->ow / s->w;
    for (size_t i = 0; i < s->t * s->b * s->c; i++)
        for (size_t p = 0; p < s->oh * s->ow; p++)
            y[i * s->oh * s->ow + p] =
                x[i * s->h * s->w + p / s->ow / up_h * s->w + p % s->ow / up_w];
}

/* Goal: upsampling repeats pixels, its gradient is the sum of their copies, by height and width. */
Test(smooth_layers, upsample, .timeout = 30)
{
    struct spec_layer l = layer_of(SPEC_UPSAMPLE);
    l.u.upsample.scale_factor[0] = 2;
    l.u.upsample.scale_factor[1] = 3;
    for (int repeat = 0; repeat < 2; repeat++)
        smooth_check((struct smooth){ .b = 2, .t = 2, .c = 18, .h = 2, .w = 3 }, &l, upsample_twin,
                     repeat, 1);
}

/* ---- relu ------------------------------------------------------------------------------------ */
static void relu_twin(const struct smooth *s, const double *x, double *y)
{
    for (size_t i = 0; i < smooth_inputs(s); i++) y[i] = x[i] > 0.0 ? x[i] : 0.0;
}

/* Goal: relu passes what is positive and its gradient, also of a repeated frame. */
Test(smooth_layers, relu, .timeout = 30)
{
    const struct spec_layer l = layer_of(SPEC_RELU);
    for (int repeat = 0; repeat < 2; repeat++)
        smooth_check((struct smooth){ .b = 2, .t = 3, .c = 18, .h = 2, .w = 3 }, &l, relu_twin,
                     repeat, 1 + (size_t)repeat);
}

/* ---- group norm ------------------------------------------------------------------------------ */
static void group_norm_twin(const struct smooth *s, const double *x, double *y)
{
    const size_t groups = (size_t)s->spec->u.group_norm.groups, per = s->c / groups;
    const size_t pixels = s->h * s->w, n = per * pixels;
    for (size_t i = 0; i < s->t * s->b * groups; i++) {
        const double *from = x + i * n;
        double mean = 0.0, var = 0.0;
        for (size_t k = 0; k < n; k++) mean += from[k] / (double)n;
        for (size_t k = 0; k < n; k++) var += (from[k] - mean) * (from[k] - mean) / (double)n;
        for (size_t k = 0; k < n; k++) {
            const size_t c = i % groups * per + k / pixels;
            y[i * n + k] = (from[k] - mean) / sqrt(var + s->spec->u.group_norm.eps) *
                               s->param[0][c] + s->param[1][c];
        }
    }
}

/* Goal: group norm of one, some and all channels a group, over shards, and of a repeated frame. */
Test(smooth_layers, group_norm, .timeout = 60)
{
    static const int64_t groups[] = { 1, 3, 6 };
    for (size_t i = 0; i < 3; i++) {
        struct spec_layer l = layer_of(SPEC_GROUP_NORM);
        l.u.group_norm.groups = groups[i];
        l.u.group_norm.eps = 1e-3;
        smooth_check((struct smooth){ .b = 2, .t = 2, .c = 6, .h = 2, .w = 3 }, &l,
                     group_norm_twin, i == 1, i == 2 ? 2 : 1);
    }
    struct spec_layer wide = layer_of(SPEC_GROUP_NORM);
    wide.u.group_norm.groups = 2;
    wide.u.group_norm.eps = 1e-5;
    smooth_check((struct smooth){ .b = 1, .t = 2, .c = 34, .h = 1, .w = 2 }, &wide,
                 group_norm_twin, false, 1);
}

/* ---- batch norms of thresholds and time ------------------------------------------------------ */
static void batch_norm_twin(const struct smooth *s, const double *x, double *y)
{
    const size_t pixels = s->h * s->w;
    const double n = (double)(s->t * s->b * pixels);
    for (size_t c = 0; c < s->c; c++) {
        double mean = 0.0, var = 0.0;
        for (size_t i = 0; i < s->t * s->b * pixels; i++)
            mean += x[at(s, 0, i / pixels, c, i % pixels)] / n;
        for (size_t i = 0; i < s->t * s->b * pixels; i++) {
            const double v = x[at(s, 0, i / pixels, c, i % pixels)] - mean;
            var += v * v / n;
        }
        for (size_t i = 0; i < s->t * s->b * pixels; i++) {
            const size_t k = at(s, 0, i / pixels, c, i % pixels);
            y[k] = (x[k] - mean) / sqrt(var + s->spec->u.batch_norm.eps) * s->param[0][c] +
                   s->param[1][c];
        }
    }
}

static void temporal_norm_twin(const struct smooth *s, const double *x, double *y)
{
    batch_norm_twin(s, x, y);
    const size_t step = s->b * s->c * s->h * s->w;
    for (size_t i = 0; i < s->t * step; i++) y[i] *= s->param[2][i / step];
}

/* Goal: TEBN is batch norm over all of T times a factor a time-step, also of a repeated frame. */
Test(smooth_layers, temporal_batch_norm, .timeout = 60)
{
    struct spec_layer l = layer_of(SPEC_TEMPORAL_BATCH_NORM);
    l.u.batch_norm.eps = 1e-3;
    l.u.batch_norm.momentum = 0.1;
    for (int repeat = 0; repeat < 2; repeat++)
        for (size_t shards = 1; shards <= 2; shards++)
            smooth_check((struct smooth){ .b = 4, .t = 3, .c = 5, .h = 2, .w = 2 }, &l,
                         temporal_norm_twin, repeat, shards);
}

/* Goal: tdBN computes what batch norm does and begins with weights of alpha * v_threshold. */
Test(smooth_layers, threshold_batch_norm, .timeout = 30)
{
    struct layers list = { .n = 1 };
    struct spec_layer *l = &list.l[0];
    *l = layer_of(SPEC_THRESHOLD_BATCH_NORM);
    l->u.batch_norm.eps = 1e-3;
    l->u.batch_norm.momentum = 0.1;
    l->u.batch_norm.alpha = 0.5;
    l->u.batch_norm.v_threshold = 1.5;
    smooth_check((struct smooth){ .b = 4, .t = 2, .c = 5, .h = 2, .w = 2 }, l, batch_norm_twin,
                 false, 1);
    (void)snprintf(l->path, sizeof l->path, "0");
    const struct net_options o = fixture_options(2, 2);
    struct net *n = fixture_net(&list, &o);
    float first[2][2];
    cr_assert_str_eq(net_param(n, 0)->name, "0.weight");
    net_param_read(n, 0, first[0]);
    net_param_read(n, 1, first[1]);
    cr_expect(first[0][0] == 0.75f && first[0][1] == 0.75f && first[1][1] == 0.0f);
    net_destroy(n);
}

/* ---- synapse filter -------------------------------------------------------------------------- */
static void filter_twin(const struct smooth *s, const double *x, double *y)
{
    const double tau = s->spec->u.synapse_filter.tau;
    const bool learns = s->spec->u.synapse_filter.learnable;
    const double a = learns ? 1.0 / (1.0 + exp(-s->param[0][0])) : 1.0 / tau;
    const size_t step = s->b * s->c * s->h * s->w;
    for (size_t i = 0; i < s->t * step; i++) {
        const double before = i < step ? 0.0 : y[i - step];
        y[i] = before - (1.0 - x[i]) * before * a + x[i];
    }
}

/* Goal: the leaky trace and its gradients, with a fixed and a learned time constant. */
Test(smooth_layers, synapse_filter, .timeout = 30)
{
    for (int learns = 0; learns < 2; learns++)
        for (int repeat = 0; repeat < 2; repeat++) {
            struct spec_layer l = layer_of(SPEC_SYNAPSE_FILTER);
            l.u.synapse_filter.tau = 2.5;
            l.u.synapse_filter.learnable = learns;
            smooth_check((struct smooth){ .b = 2, .t = 4, .c = 18, .h = 1, .w = 2 }, &l,
                         filter_twin, repeat, 1 + (size_t)learns);
        }
    struct layers list = { .n = 1 };
    list.l[0] = layer_of(SPEC_SYNAPSE_FILTER);
    list.l[0].u.synapse_filter.tau = 5.0;
    list.l[0].u.synapse_filter.learnable = true;
    const struct net_options o = fixture_options(2, 2);
    struct net *n = fixture_net(&list, &o);
    float w;
    net_param_read(n, 0, &w);
    cr_expect_float_eq(w, -logf(4.0f), 1e-6f, "1/tau = sigmoid(w) at the start");
    net_destroy(n);
}

/* ---- attention ------------------------------------------------------------------------------- */
static void attention_twin(const struct smooth *s, const double *x, double *y)
{
    const bool temporal = s->spec->type == SPEC_TEMPORAL_ATTENTION;
    const size_t length = temporal ? s->t : s->c, pixels = s->h * s->w;
    const size_t hidden = length / (size_t)s->spec->u.attention.reduction;
    const double n = (double)(s->t * s->c * pixels / length);
    for (size_t b = 0; b < s->b; b++) {
        double mean[16] = { 0 }, most[16];
        for (size_t i = 0; i < length; i++) most[i] = -1e30;
        for (size_t i = 0; i < s->t * s->c * pixels; i++) {
            const size_t t = i / pixels / s->c, c = i / pixels % s->c, place = temporal ? t : c;
            const double v = x[at(s, t, b, c, i % pixels)];
            mean[place] += v / n;
            if (v > most[place]) most[place] = v;
        }
        for (size_t i = 0; i < s->t * s->c * pixels; i++) {
            const size_t t = i / pixels / s->c, c = i / pixels % s->c, place = temporal ? t : c;
            double logit = 0.0;
            for (size_t j = 0; j < hidden; j++) {
                double h = 0.0, m = 0.0;
                for (size_t k = 0; k < length; k++) {
                    h += s->param[0][j * length + k] * mean[k];
                    m += s->param[0][j * length + k] * most[k];
                }
                logit += s->param[1][place * hidden + j] * (fmax(h, 0.0) + fmax(m, 0.0));
            }
            const size_t k = at(s, t, b, c, i % pixels);
            y[k] = x[k] / (1.0 + exp(-logit));
        }
    }
}

/* Goal: attention over time and over channels, over shards and of a repeated frame. */
Test(smooth_layers, attention, .timeout = 60)
{
    for (int i = 0; i < 6; i++) {
        struct spec_layer l = layer_of(i < 3 ? SPEC_TEMPORAL_ATTENTION : SPEC_CHANNEL_ATTENTION);
        l.u.attention.reduction = 1 + i % 3;
        smooth_check((struct smooth){ .b = 2, .t = 4, .c = 6, .h = 2, .w = 2 }, &l, attention_twin,
                     i == 1 || i == 4, 1 + (size_t)(i % 2));
    }
}

static void spatial_twin(const struct smooth *s, const double *x, double *y)
{
    const size_t k = (size_t)s->spec->u.spatial_attention.kernel_size, pixels = s->h * s->w;
    for (size_t b = 0; b < s->b; b++) {
        double map[2][16];
        for (size_t p = 0; p < pixels; p++) {
            map[0][p] = 0.0;
            map[1][p] = -1e30;
            for (size_t i = 0; i < s->t * s->c; i++) {
                const double v = x[at(s, i / s->c, b, i % s->c, p)];
                map[0][p] += v / (double)(s->t * s->c);
                map[1][p] = fmax(map[1][p], v);
            }
        }
        for (size_t p = 0; p < pixels; p++) {
            double logit = 0.0;
            for (size_t i = 0; i < 2 * k * k; i++) {
                const long iy = (long)(p / s->w + i / k % k) - (long)(k / 2);
                const long ix = (long)(p % s->w + i % k) - (long)(k / 2);
                if (iy >= 0 && ix >= 0 && iy < (long)s->h && ix < (long)s->w)
                    logit += s->param[0][i] * map[i / (k * k)][iy * (long)s->w + ix];
            }
            for (size_t i = 0; i < s->t * s->c; i++)
                y[at(s, i / s->c, b, i % s->c, p)] =
                    x[at(s, i / s->c, b, i % s->c, p)] / (1.0 + exp(-logit));
        }
    }
}

/* Goal: attention over pixels with kernels of 1 and 3, over shards and of a repeated frame. */
Test(smooth_layers, spatial_attention, .timeout = 60)
{
    for (int i = 0; i < 3; i++) {
        struct spec_layer l = layer_of(SPEC_SPATIAL_ATTENTION);
        l.u.spatial_attention.kernel_size = i == 0 ? 1 : 3;
        smooth_check((struct smooth){ .b = 2, .t = 3, .c = 5, .h = 3, .w = 4 }, &l, spatial_twin,
                     i == 2, 1 + (size_t)(i == 1));
    }
}
