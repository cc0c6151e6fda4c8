/* twin_attention: factors for time-steps, channels or pixels of the twin, and the synapse filter,
 * in double. */
#include "tests/twin/twin_kinds.h"

#include <math.h>
#include <string.h>

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* ---- what all attention has ------------------------------------------------------------------ */
/* Of every sample, for each place (a time-step, channel or pixel): mean and maximum of the values
 * there, and the factor that they get. In `kept`, [B][places] each. */
struct places {
    size_t count, values; /* of a sample; values of one place */
    double *mean, *max, *where, *score, *dmean, *dmax, *dlogit;
};

static size_t place_of(const struct twin_node *n, size_t i)
{
    const size_t pixels = twin_pixels(n->in);
    switch (n->spec->type) {
    case SPEC_TEMPORAL_ATTENTION: return i / (twin_values(n->in) / n->in.t);
    case SPEC_CHANNEL_ATTENTION: return i / pixels % n->in.c;
    default: return i % pixels;
    }
}

static size_t sample_of(const struct twin_node *n, size_t i)
{
    return i / (n->in.c * twin_pixels(n->in)) % n->in.b;
}

static size_t count_places(const struct twin_node *n)
{
    return n->spec->type == SPEC_TEMPORAL_ATTENTION  ? n->in.t
           : n->spec->type == SPEC_CHANNEL_ATTENTION ? n->in.c
                                                     : twin_pixels(n->in);
}

static struct places places_of(const struct twin_node *n)
{
    const size_t count = count_places(n), all = n->in.b * count;
    return (struct places){ count,
                            twin_values(n->in) / all,
                            n->kept,
                            n->kept + all,
                            n->kept + 2 * all,
                            n->kept + 3 * all,
                            n->kept + 4 * all,
                            n->kept + 5 * all,
                            n->kept + 6 * all };
}

static void measure(const struct twin_node *n, const struct places *p)
{
    for (size_t k = 0; k < n->in.b * p->count; k++) {
        p->mean[k] = 0.0;
        p->where[k] = -1.0;
    }
    for (size_t i = 0; i < twin_values(n->in); i++) {
        const size_t k = sample_of(n, i) * p->count + place_of(n, i);
        p->mean[k] += n->x[0][i] / (double)p->values;
        if (p->where[k] >= 0.0 && n->x[0][i] <= p->max[k]) continue;
        p->max[k] = n->x[0][i];
        p->where[k] = (double)i;
    }
}

static void apply(const struct twin_node *n, const struct places *p)
{
    for (size_t i = 0; i < twin_values(n->in); i++)
        n->y[i] = n->x[0][i] * p->score[sample_of(n, i) * p->count + place_of(n, i)];
}

/* dL/dlogit of every place, score = sigmoid(logit). */
static void logits_back(const struct twin_node *n, const struct places *p)
{
    memset(p->dmean, 0, 3 * n->in.b * p->count * sizeof p->dmean[0]);
    for (size_t i = 0; i < twin_values(n->in); i++) {
        const size_t k = sample_of(n, i) * p->count + place_of(n, i);
        p->dlogit[k] += n->dy[i] * n->x[0][i] * p->score[k] * (1.0 - p->score[k]);
    }
}

static void values_back(const struct twin_node *n, const struct places *p)
{
    for (size_t i = 0; i < twin_values(n->in); i++) {
        const size_t k = sample_of(n, i) * p->count + place_of(n, i);
        n->dx[0][i] += n->dy[i] * p->score[k] + p->dmean[k] / (double)p->values;
        if (p->where[k] == (double)i) n->dx[0][i] += p->dmax[k];
    }
}

/* ---- time-steps and channels: logit = W2 relu(W1 mean) + W2 relu(W1 max) --------------------- */
static size_t hidden_of(const struct twin_node *n)
{
    return count_places(n) / (size_t)n->spec->u.attention.reduction;
}

static void attention_plan(struct twin_node *n)
{
    const size_t count = count_places(n);
    twin_add_param(n, "sharedMLP.0.weight", hidden_of(n) * count, 1);
    twin_add_param(n, "sharedMLP.2.weight", count * hidden_of(n), 1);
    n->kept_values = 7 * n->in.b * count;
}

static double hidden_value(const struct twin_node *n, size_t j, const double *z)
{
    const size_t count = count_places(n);
    double sum = 0.0;
    for (size_t k = 0; k < count; k++) sum += n->params[0].at[j * count + k] * z[k];
    return sum;
}

/* Adds W2 relu(W1 z) to the logits of a sample. */
static void perceive(const struct twin_node *n, const double *z, double *logit)
{
    const size_t count = count_places(n), hidden = hidden_of(n);
    for (size_t j = 0; j < hidden; j++) {
        const double h = hidden_value(n, j, z);
        for (size_t k = 0; h > 0.0 && k < count; k++)
            logit[k] += n->params[1].at[k * hidden + j] * h;
    }
}

static void perceive_back(const struct twin_node *n, const double *z, const double *dlogit,
                          double *dz)
{
    const size_t count = count_places(n), hidden = hidden_of(n);
    for (size_t j = 0; j < hidden; j++) {
        const double h = hidden_value(n, j, z);
        double dh = 0.0;
        for (size_t k = 0; h > 0.0 && k < count; k++) {
            dh += dlogit[k] * n->params[1].at[k * hidden + j];
            n->params[1].gradient[k * hidden + j] += dlogit[k] * h;
        }
        for (size_t k = 0; k < count; k++) {
            n->params[0].gradient[j * count + k] += dh * z[k];
            dz[k] += dh * n->params[0].at[j * count + k];
        }
    }
}

static void attention_forward(const struct twin_node *n)
{
    const struct places p = places_of(n);
    measure(n, &p);
    memset(p.score, 0, n->in.b * p.count * sizeof p.score[0]);
    for (size_t b = 0; b < n->in.b; b++) {
        perceive(n, p.mean + b * p.count, p.score + b * p.count);
        perceive(n, p.max + b * p.count, p.score + b * p.count);
    }
    for (size_t k = 0; k < n->in.b * p.count; k++) p.score[k] = sigmoid(p.score[k]);
    apply(n, &p);
}

static void attention_backward(const struct twin_node *n)
{
    const struct places p = places_of(n);
    logits_back(n, &p);
    for (size_t b = 0; b < n->in.b; b++) {
        const size_t at = b * p.count;
        perceive_back(n, p.mean + at, p.dlogit + at, p.dmean + at);
        perceive_back(n, p.max + at, p.dlogit + at, p.dmax + at);
    }
    values_back(n, &p);
}

const struct twin_kind twin_attention = { attention_plan, attention_forward, attention_backward,
                                          NULL };

/* ---- pixels: logit = conv(mean, max), an odd square kernel, a border of zeros ---------------- */
static size_t kernel_of(const struct twin_node *n)
{
    return (size_t)n->spec->u.spatial_attention.kernel_size;
}

static void spatial_plan(struct twin_node *n)
{
    twin_add_param(n, "conv.weight", 2 * kernel_of(n) * kernel_of(n), 1);
    n->kept_values = 7 * n->in.b * twin_pixels(n->in);
}

/* Pixel that a tap of the window around p sees. */
static bool sees(const struct twin_node *n, size_t p, size_t tap, size_t *from)
{
    const int64_t k = (int64_t)kernel_of(n), h = (int64_t)n->in.h, w = (int64_t)n->in.w;
    const int64_t y = (int64_t)p / w + (int64_t)tap / k - k / 2;
    const int64_t x = (int64_t)p % w + (int64_t)tap % k - k / 2;
    *from = (size_t)(y * w + x);
    return y >= 0 && x >= 0 && y < h && x < w;
}

static void spatial_forward(const struct twin_node *n)
{
    const struct places p = places_of(n);
    const size_t taps = kernel_of(n) * kernel_of(n);
    measure(n, &p);
    for (size_t k = 0, from; k < n->in.b * p.count; k++) {
        const size_t sample = k / p.count * p.count;
        double logit = 0.0;
        for (size_t tap = 0; tap < taps; tap++)
            if (sees(n, k % p.count, tap, &from))
                logit += n->params[0].at[tap] * p.mean[sample + from] +
                         n->params[0].at[taps + tap] * p.max[sample + from];
        p.score[k] = sigmoid(logit);
    }
    apply(n, &p);
}

static void spatial_backward(const struct twin_node *n)
{
    const struct places p = places_of(n);
    const size_t taps = kernel_of(n) * kernel_of(n);
    logits_back(n, &p);
    for (size_t k = 0, from; k < n->in.b * p.count; k++) {
        const size_t sample = k / p.count * p.count;
        for (size_t tap = 0; tap < taps; tap++) {
            if (!sees(n, k % p.count, tap, &from)) continue;
            n->params[0].gradient[tap] += p.dlogit[k] * p.mean[sample + from];
            n->params[0].gradient[taps + tap] += p.dlogit[k] * p.max[sample + from];
            p.dmean[sample + from] += p.dlogit[k] * n->params[0].at[tap];
            p.dmax[sample + from] += p.dlogit[k] * n->params[0].at[taps + tap];
        }
    }
    values_back(n, &p);
}

const struct twin_kind twin_spatial_attention = { spatial_plan, spatial_forward, spatial_backward,
                                                  NULL };

/* ---- synapse filter: y[t] = y[t-1] - (1 - x[t]) y[t-1] a + x[t], a = 1/tau or sigmoid(w) ------
 */
static void filter_plan(struct twin_node *n)
{
    if (n->spec->u.synapse_filter.learnable) twin_add_param(n, "w", 1, 1);
}

static double leak(const struct twin_node *n)
{
    return n->n_params > 0 ? sigmoid(n->params[0].at[0]) : 1.0 / n->spec->u.synapse_filter.tau;
}

static void filter_forward(const struct twin_node *n)
{
    const size_t step = twin_values(n->in) / n->in.t;
    const double a = leak(n);
    for (size_t i = 0; i < twin_values(n->in); i++) {
        const double before = i < step ? 0.0 : n->y[i - step], x = n->x[0][i];
        n->y[i] = before - (1.0 - x) * before * a + x;
    }
}

static void filter_backward(const struct twin_node *n)
{
    const size_t step = twin_values(n->in) / n->in.t;
    const double a = leak(n);
    for (size_t i = 0; i < step; i++) {
        double flow = 0.0; /* dL/dy[t] of all later outputs */
        for (size_t t = n->in.t; t-- > 0;) {
            const size_t at = t * step + i;
            const double before = t == 0 ? 0.0 : n->y[at - step], x = n->x[0][at];
            flow += n->dy[at];
            n->dx[0][at] += flow * (before * a + 1.0);
            if (n->n_params > 0)
                n->params[0].gradient[0] -= flow * (1.0 - x) * before * a * (1.0 - a);
            flow *= 1.0 - (1.0 - x) * a;
        }
    }
}

const struct twin_kind twin_synapse_filter = { filter_plan, filter_forward, filter_backward, NULL };
