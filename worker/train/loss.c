/* loss: see loss.h. A sample's loss is that of one row of classes, its readout, or the mean of the
 * losses of T rows, its time-steps. */
#include "worker/train/loss.h"

#include <math.h>

#define READOUT ((size_t)-1) /* as a row: the readout of all time-steps */

struct output {
    const struct loss_args *a;
    const struct tensor_desc *yd, *gd;
    const void *y;
    float *g;
};

static double output_at(const struct output *o, size_t b, size_t t, size_t c)
{
    return (double)tensor_get(o->yd, o->y, b, t, c, 0, 0);
}

/* Stored steps of a sample that count. */
static size_t steps_of(const struct output *o, size_t b)
{
    return o->a->lengths != NULL ? o->a->lengths[b] : o->yd->t_stored;
}

static double mean_output(const struct output *o, size_t b, size_t c)
{
    const size_t steps = steps_of(o, b);
    double sum = 0.0;
    for (size_t t = 0; t < steps; t++) sum += output_at(o, b, t, c);
    return sum / (double)steps;
}

/* Whether v is further out than `most`: larger, or of larger magnitude, of equal ones the negative.
 * A NaN is the furthest, so that it is seen. */
static bool further(enum spec_readout readout, double v, double most)
{
    if (isnan(v) || isnan(most)) return isnan(v) && !isnan(most);
    if (readout == SPEC_READOUT_MAX_MEMBRANE) return v > most;
    return fabs(v) > fabs(most) || (fabs(v) == fabs(most) && v < most);
}

/* The first time-step with the output that a readout of potentials takes. */
static size_t furthest_step(const struct output *o, size_t b, size_t c)
{
    const size_t steps = steps_of(o, b);
    size_t best = 0;
    for (size_t t = 1; t < steps; t++) {
        if (further(o->a->readout, output_at(o, b, t, c), output_at(o, b, best, c))) best = t;
    }
    return best;
}

static double row_value(const struct output *o, size_t b, size_t row, size_t c)
{
    if (row != READOUT) return output_at(o, b, row, c);
    switch (o->a->readout) {
    case SPEC_READOUT_MEAN: return mean_output(o, b, c);
    case SPEC_READOUT_LAST: return output_at(o, b, steps_of(o, b) - 1, c);
    case SPEC_READOUT_MAX_MEMBRANE:
    case SPEC_READOUT_MAX_ABS_MEMBRANE: return output_at(o, b, furthest_step(o, b, c), c);
    }
    return 0.0;
}

void loss_readout(const struct loss_args *a, const struct tensor_desc *yd, const void *y, size_t b,
                  float *out)
{
    const struct output o = { .a = a, .yd = yd, .y = y };
    for (size_t c = 0; c < yd->c; c++) out[c] = (float)row_value(&o, b, READOUT, c);
}

/* d: dL/d(row value). A stored step of REPEAT stands for all, which then share d. */
static void put_gradient(const struct output *o, size_t b, size_t row, size_t c, double d)
{
    if (o->g == NULL) return;
    const bool repeated = o->yd->t_stored < o->gd->t_stored;
    const size_t steps = repeated ? o->gd->t_stored : steps_of(o, b);
    if (repeated || (row == READOUT && o->a->readout == SPEC_READOUT_MEAN)) {
        const double each = d / (double)steps;
        for (size_t t = 0; t < steps; t++) tensor_set(o->gd, o->g, b, t, c, 0, 0, (float)each);
        return;
    }
    size_t t = row;
    if (row == READOUT)
        t = o->a->readout == SPEC_READOUT_LAST ? steps - 1 : furthest_step(o, b, c);
    tensor_set(o->gd, o->g, b, t, c, 0, 0, (float)d);
}

/* A row's share of a mean over `rows` rows and their classes of (value - onehot)^2. */
static double mse_row(const struct output *o, size_t b, size_t row, double rows)
{
    const size_t classes = o->yd->c;
    const double n = rows * (double)classes;
    double sum = 0.0;
    for (size_t c = 0; c < classes; c++) {
        const double miss = row_value(o, b, row, c) - (c == o->a->labels[b] ? 1.0 : 0.0);
        sum += miss * miss;
        put_gradient(o, b, row, c, 2.0 * miss / n);
    }
    return sum / n;
}

/* TET's term of one value: lambda * (v - means)^2 / n, n values in all. */
static double pull(const struct spec_loss *l, double v, double n, double *slope)
{
    const double miss = v - l->means;
    *slope = l->lambda * 2.0 * miss / n;
    return l->lambda * miss * miss / n;
}

static double cross_entropy_row(const struct output *o, size_t b, size_t row, double rows)
{
    const struct spec_loss *l = o->a->loss;
    const bool tet = l->type == SPEC_LOSS_TET;
    const size_t classes = o->yd->c;
    const double smooth = l->label_smoothing, share = tet ? 1.0 - l->lambda : 1.0;
    double top = -INFINITY, sum = 0.0, loss = 0.0, pulled = 0.0;
    for (size_t c = 0; c < classes; c++) top = fmax(top, row_value(o, b, row, c));
    for (size_t c = 0; c < classes; c++) sum += exp(row_value(o, b, row, c) - top);
    for (size_t c = 0; c < classes; c++) {
        const double v = row_value(o, b, row, c), log_p = v - top - log(sum);
        const double q = smooth / (double)classes + (c == o->a->labels[b] ? 1.0 - smooth : 0.0);
        double slope = 0.0;
        loss -= q * log_p;
        if (tet) pulled += pull(l, v, rows * (double)classes, &slope);
        put_gradient(o, b, row, c, share * ((exp(log_p) - q) / rows) + slope);
    }
    return share * (loss / rows) + pulled;
}

static double row_loss(const struct output *o, size_t b, size_t row, double rows)
{
    return o->a->loss->type == SPEC_LOSS_MSE ? mse_row(o, b, row, rows)
                                             : cross_entropy_row(o, b, row, rows);
}

/* The sample's share of the loss. */
static double sample_loss(const struct output *o, size_t b)
{
    const struct loss_args *a = o->a;
    const double samples = (double)(a->total > 0 ? a->total : a->samples);
    if (!a->loss->per_step && a->loss->type != SPEC_LOSS_TET)
        return row_loss(o, b, READOUT, samples);
    const size_t steps = steps_of(o, b);
    double sum = 0.0;
    for (size_t t = 0; t < steps; t++) sum += row_loss(o, b, t, samples * (double)steps);
    return sum;
}

static size_t is_correct(const struct output *o, size_t b)
{
    size_t best = 0;
    double top = row_value(o, b, READOUT, 0);
    for (size_t c = 1; c < o->yd->c; c++) {
        const double v = row_value(o, b, READOUT, c);
        if (v > top) {
            top = v;
            best = c;
        }
    }
    return best == o->a->labels[b];
}

/* Loss of shards [first, first + count), as a tree; counts the correct ones on the way. */
static double shard_tree(const struct output *o, size_t first, size_t count, size_t *correct)
{
    if (count > 1) {
        const double left = shard_tree(o, first, count / 2, correct);
        return left + shard_tree(o, first + count / 2, count / 2, correct);
    }
    const struct loss_args *a = o->a;
    double sum = 0.0;
    const size_t end = a->samples * (first + 1) / a->shards;
    for (size_t b = a->samples * first / a->shards; b < end; b++) {
        sum += sample_loss(o, b);
        *correct += is_correct(o, b);
    }
    return sum;
}

struct loss_result loss_compute(const struct loss_args *a, const struct tensor_desc *yd,
                                const void *y, const struct tensor_desc *gd, float *g)
{
    const struct output o = { a, yd, gd, y, g };
    struct loss_result r = { 0 };
    for (size_t i = 0; g != NULL && i < gd->elements; i++) g[i] = 0.0f;
    r.loss = shard_tree(&o, 0, a->shards, &r.correct);
    return r;
}
