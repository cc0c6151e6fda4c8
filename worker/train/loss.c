/* loss: see loss.h. */
#include "worker/train/loss.h"

#include <math.h>

struct output {
    const struct loss_args *a;
    const struct tensor_desc *yd, *gd;
    const void *y;
    float *g;
};

static double mean_output(const struct output *o, size_t b, size_t c)
{
    double sum = 0.0;
    for (size_t t = 0; t < o->yd->t_stored; t++)
        sum += (double)tensor_get(o->yd, o->y, b, t, c, 0, 0);
    return sum / (double)o->yd->t_stored;
}

/* d: dL/d(mean output). Every step has the same share; a stored step of REPEAT stands for all. */
static void put_gradient(const struct output *o, size_t b, size_t c, double d)
{
    if (o->g == NULL) return;
    const double each = d / (double)o->gd->t_stored;
    for (size_t t = 0; t < o->gd->t_stored; t++)
        tensor_set(o->gd, o->g, b, t, c, 0, 0, (float)each);
}

static double mse_sample(const struct output *o, size_t b)
{
    const size_t classes = o->yd->c;
    const double n = (double)(o->a->samples * classes);
    double sum = 0.0;
    for (size_t c = 0; c < classes; c++) {
        const double miss = mean_output(o, b, c) - (c == o->a->labels[b] ? 1.0 : 0.0);
        sum += miss * miss;
        put_gradient(o, b, c, 2.0 * miss / n);
    }
    return sum / n;
}

static double cross_entropy_sample(const struct output *o, size_t b)
{
    const size_t classes = o->yd->c;
    const double n = (double)o->a->samples, smooth = o->a->label_smoothing;
    double top = -INFINITY, sum = 0.0, loss = 0.0;
    for (size_t c = 0; c < classes; c++) top = fmax(top, mean_output(o, b, c));
    for (size_t c = 0; c < classes; c++) sum += exp(mean_output(o, b, c) - top);
    for (size_t c = 0; c < classes; c++) {
        const double log_p = mean_output(o, b, c) - top - log(sum);
        const double q = smooth / (double)classes + (c == o->a->labels[b] ? 1.0 - smooth : 0.0);
        loss -= q * log_p;
        put_gradient(o, b, c, (exp(log_p) - q) / n);
    }
    return loss / n;
}

static size_t is_correct(const struct output *o, size_t b)
{
    size_t best = 0;
    double top = mean_output(o, b, 0);
    for (size_t c = 1; c < o->yd->c; c++) {
        const double v = mean_output(o, b, c);
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
        sum += a->type == SPEC_LOSS_MSE ? mse_sample(o, b) : cross_entropy_sample(o, b);
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
