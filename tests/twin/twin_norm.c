/* twin_norm: batch norm and its relatives (tdBN, TEBN) and group norm of the twin, in double. */
#include "tests/twin/twin_kinds.h"

#include <math.h>

enum { WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VAR, SCALE };

/* ---- values that are normalised together ----------------------------------------------------- */
/* Value i of set k lies at place(n, k, i). */
struct sets {
    size_t count, values;
    size_t (*place)(const struct twin_node *n, size_t k, size_t i);
};
struct moments {
    double mean, var; /* biased */
};

static struct moments moments_of(const struct twin_node *n, const struct sets *s, size_t k)
{
    struct moments m = { 0 };
    for (size_t i = 0; i < s->values; i++) m.mean += n->x[0][s->place(n, k, i)];
    m.mean /= (double)s->values;
    for (size_t i = 0; i < s->values; i++) {
        const double d = n->x[0][s->place(n, k, i)] - m.mean;
        m.var += d * d;
    }
    m.var /= (double)s->values;
    return m;
}

static size_t channel_of(const struct twin_node *n, size_t at)
{
    return at / twin_pixels(n->in) % n->in.c;
}

/* With z = (x - mean) / sd and dz = dL/dz: dx = (dz - mean(dz) - z mean(dz z)) / sd, the means only
 * where mean and sd came of x itself. */
static void normal_back(const struct twin_node *n, const struct sets *s, size_t k, struct moments m,
                        double eps, bool own, const double *dy)
{
    const double sd = sqrt(m.var + eps);
    double mean = 0.0, along = 0.0;
    for (size_t i = 0; own && i < s->values; i++) {
        const size_t at = s->place(n, k, i);
        const double dz = dy[at] * n->params[WEIGHT].at[channel_of(n, at)];
        mean += dz / (double)s->values;
        along += dz * (n->x[0][at] - m.mean) / sd / (double)s->values;
    }
    for (size_t i = 0; i < s->values; i++) {
        const size_t at = s->place(n, k, i), c = channel_of(n, at);
        const double z = (n->x[0][at] - m.mean) / sd;
        n->dx[0][at] += (dy[at] * n->params[WEIGHT].at[c] - mean - z * along) / sd;
        n->params[WEIGHT].gradient[c] += dy[at] * z;
        n->params[BIAS].gradient[c] += dy[at];
    }
}

/* ---- batch norm: a set is a channel of all time-steps and samples ---------------------------- */
static size_t channel_place(const struct twin_node *n, size_t k, size_t i)
{
    const size_t pixels = twin_pixels(n->in);
    return (i / pixels * n->in.c + k) * pixels + i % pixels;
}

static struct sets channels(const struct twin_node *n)
{
    return (struct sets){ n->in.c, twin_values(n->in) / n->in.c, channel_place };
}

/* What channel k is normalised with. */
static struct moments batch_moments(const struct twin_node *n, size_t k)
{
    const struct sets s = channels(n);
    if (n->options->training) return moments_of(n, &s, k);
    return (struct moments){ n->params[RUNNING_MEAN].at[k], n->params[RUNNING_VAR].at[k] };
}

static void batch_plan(struct twin_node *n)
{
    twin_add_param(n, "weight", n->in.c, n->in.c);
    twin_add_param(n, "bias", n->in.c, n->in.c);
    twin_add_buffer(n, "running_mean", n->in.c);
    twin_add_buffer(n, "running_var", n->in.c);
}

static void batch_forward(const struct twin_node *n)
{
    const struct sets s = channels(n);
    for (size_t k = 0; k < s.count; k++) {
        const struct moments m = batch_moments(n, k);
        for (size_t i = 0; i < s.values; i++) {
            const size_t at = channel_place(n, k, i);
            n->y[at] = (n->x[0][at] - m.mean) / sqrt(m.var + n->spec->u.batch_norm.eps) *
                           n->params[WEIGHT].at[k] +
                       n->params[BIAS].at[k];
        }
    }
}

static void batch_back(const struct twin_node *n, const double *dy)
{
    const struct sets s = channels(n);
    for (size_t k = 0; k < s.count; k++)
        normal_back(n, &s, k, batch_moments(n, k), n->spec->u.batch_norm.eps, n->options->training,
                    dy);
}

static void batch_backward(const struct twin_node *n)
{
    batch_back(n, n->dy);
}

static void batch_commit(const struct twin_node *n)
{
    const struct sets s = channels(n);
    const double momentum = n->spec->u.batch_norm.momentum;
    const double unbiased = s.values > 1 ? (double)s.values / (double)(s.values - 1) : 1.0;
    for (size_t k = 0; k < s.count; k++) {
        const struct moments m = moments_of(n, &s, k);
        double *mean = &n->params[RUNNING_MEAN].gradient[k];
        double *var = &n->params[RUNNING_VAR].gradient[k];
        *mean += momentum * (m.mean - *mean);
        *var += momentum * (m.var * unbiased - *var);
    }
}

const struct twin_kind twin_batch_norm = { batch_plan, batch_forward, batch_backward,
                                           batch_commit };

/* ---- TEBN: y[t] = p[t] * batch norm ---------------------------------------------------------- */
static double *scale_at(const struct twin_node *n, double *of, size_t at)
{
    return of + at / (twin_values(n->in) / n->in.t);
}

static void temporal_plan(struct twin_node *n)
{
    twin_add_param(n, "bn.weight", n->in.c, n->in.c);
    twin_add_param(n, "bn.bias", n->in.c, n->in.c);
    twin_add_buffer(n, "bn.running_mean", n->in.c);
    twin_add_buffer(n, "bn.running_var", n->in.c);
    twin_add_param(n, "scale", n->in.t, 1);
    n->kept_values = 2 * twin_values(n->in); /* what batch norm gives; its gradient */
}

static void temporal_forward(const struct twin_node *n)
{
    batch_forward(n);
    for (size_t i = 0; i < twin_values(n->in); i++) {
        n->kept[i] = n->y[i];
        n->y[i] *= *scale_at(n, n->params[SCALE].at, i);
    }
}

static void temporal_backward(const struct twin_node *n)
{
    double *dz = n->kept + twin_values(n->in);
    for (size_t i = 0; i < twin_values(n->in); i++) {
        dz[i] = n->dy[i] * *scale_at(n, n->params[SCALE].at, i);
        *scale_at(n, n->params[SCALE].gradient, i) += n->dy[i] * n->kept[i];
    }
    batch_back(n, dz);
}

const struct twin_kind twin_temporal_norm = { temporal_plan, temporal_forward, temporal_backward,
                                              batch_commit };

/* ---- group norm: a set is a group of channels of one image ----------------------------------- */
static struct sets groups(const struct twin_node *n);

static size_t group_place(const struct twin_node *n, size_t k, size_t i)
{
    return k * groups(n).values + i; /* channels of a group lie side by side */
}

static struct sets groups(const struct twin_node *n)
{
    const size_t count = twin_images(n->in) * (size_t)n->spec->u.group_norm.groups;
    return (struct sets){ count, twin_values(n->in) / count, group_place };
}

static void group_plan(struct twin_node *n)
{
    twin_add_param(n, "weight", n->in.c, n->in.c);
    twin_add_param(n, "bias", n->in.c, n->in.c);
}

static void group_forward(const struct twin_node *n)
{
    const struct sets s = groups(n);
    for (size_t k = 0; k < s.count; k++) {
        const struct moments m = moments_of(n, &s, k);
        for (size_t i = 0; i < s.values; i++) {
            const size_t at = group_place(n, k, i), c = channel_of(n, at);
            n->y[at] = (n->x[0][at] - m.mean) / sqrt(m.var + n->spec->u.group_norm.eps) *
                           n->params[WEIGHT].at[c] +
                       n->params[BIAS].at[c];
        }
    }
}

static void group_backward(const struct twin_node *n)
{
    const struct sets s = groups(n);
    for (size_t k = 0; k < s.count; k++)
        normal_back(n, &s, k, moments_of(n, &s, k), n->spec->u.group_norm.eps, true, n->dy);
}

const struct twin_kind twin_group_norm = { group_plan, group_forward, group_backward, NULL };
