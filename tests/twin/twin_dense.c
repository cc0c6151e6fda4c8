/* twin_dense: linear, voting, flatten, dropout, residual, upsample, relu of the twin, in double. */
#include "common/philox.h"
#include "tests/twin/twin_kinds.h"

#include <math.h>

/* ---- linear: y = W x + b --------------------------------------------------------------------- */
static void linear_plan(struct twin_node *n)
{
    twin_add_param(n, "weight", n->out.c * n->in.c, n->out.c);
    if (n->spec->u.linear.bias) twin_add_param(n, "bias", n->out.c, n->out.c);
}

static void linear_forward(const struct twin_node *n)
{
    for (size_t i = 0; i < twin_images(n->in); i++)
        for (size_t k = 0; k < n->out.c; k++) {
            const double *w = n->params[0].at + k * n->in.c, *x = n->x[0] + i * n->in.c;
            double sum = n->n_params > 1 ? n->params[1].at[k] : 0.0;
            for (size_t j = 0; j < n->in.c; j++) sum += w[j] * x[j];
            n->y[i * n->out.c + k] = sum;
        }
}

static void linear_backward(const struct twin_node *n)
{
    for (size_t i = 0; i < twin_images(n->in); i++)
        for (size_t k = 0; k < n->out.c; k++) {
            const double dy = n->dy[i * n->out.c + k];
            if (n->n_params > 1) n->params[1].gradient[k] += dy;
            for (size_t j = 0; j < n->in.c; j++) {
                n->params[0].gradient[k * n->in.c + j] += dy * n->x[0][i * n->in.c + j];
                n->dx[0][i * n->in.c + j] += dy * n->params[0].at[k * n->in.c + j];
            }
        }
}

const struct twin_kind twin_linear = { linear_plan, linear_forward, linear_backward, NULL };

/* ---- voting: mean of `size` neighbours ------------------------------------------------------- */
static void voting_forward(const struct twin_node *n)
{
    const size_t size = (size_t)n->spec->u.voting.size;
    for (size_t i = 0; i < twin_values(n->out); i++) {
        n->y[i] = 0.0;
        for (size_t j = 0; j < size; j++) n->y[i] += n->x[0][i * size + j] / (double)size;
    }
}

static void voting_backward(const struct twin_node *n)
{
    const size_t size = (size_t)n->spec->u.voting.size;
    for (size_t j = 0; j < twin_values(n->in); j++) n->dx[0][j] += n->dy[j / size] / (double)size;
}

const struct twin_kind twin_voting = { NULL, voting_forward, voting_backward, NULL };

/* ---- flatten: the same numbers --------------------------------------------------------------- */
static void flatten_forward(const struct twin_node *n)
{
    for (size_t i = 0; i < twin_values(n->in); i++) n->y[i] = n->x[0][i];
}

static void flatten_backward(const struct twin_node *n)
{
    for (size_t i = 0; i < twin_values(n->in); i++) n->dx[0][i] += n->dy[i];
}

const struct twin_kind twin_flatten = { NULL, flatten_forward, flatten_backward, NULL };

/* ---- dropout: a factor of 0 or 1/(1-p) for each value of a sample, for all T ----------------- */
/* The stream of docs: element c + C * (x + W * y), position in the batch, step, layer. */
static double keep(const struct twin_node *n, struct philox_key key, size_t b, size_t feature)
{
    const size_t pixels = twin_pixels(n->image);
    const size_t element = feature / pixels + n->image.c * (feature % pixels);
    const double p = n->spec->u.dropout.p;
    const float drawn = philox_uniform(key, element, (uint32_t)b, (uint32_t)n->options->step,
                                       (uint32_t)n->number);
    return (double)drawn < p ? 0.0 : 1.0 / (1.0 - p);
}

static void dropout_plan(struct twin_node *n)
{
    n->kept_values = twin_values(n->in) / n->in.t;
}

static void dropout_forward(const struct twin_node *n)
{
    const struct philox_key key = philox_key(n->options->seed, PHILOX_DROPOUT);
    const size_t features = n->in.c * n->in.h * n->in.w;
    for (size_t i = 0; i < n->kept_values; i++)
        n->kept[i] = n->options->training ? keep(n, key, i / features, i % features) : 1.0;
    for (size_t i = 0; i < twin_values(n->in); i++)
        n->y[i] = n->x[0][i] * n->kept[i % n->kept_values];
}

static void dropout_backward(const struct twin_node *n)
{
    for (size_t i = 0; i < twin_values(n->in); i++)
        n->dx[0][i] += n->dy[i] * n->kept[i % n->kept_values];
}

const struct twin_kind twin_dropout = { dropout_plan, dropout_forward, dropout_backward, NULL };

/* ---- residual: x[0] is the body's output O, x[1] the shortcut's I ---------------------------- */
static void residual_forward(const struct twin_node *n)
{
    for (size_t i = 0; i < twin_values(n->out); i++) {
        const double o = n->x[0][i], id = n->x[1][i];
        switch ((enum spec_connect)n->spec->u.residual.connect) {
        case SPEC_ADD: n->y[i] = id + o; break;
        case SPEC_AND: n->y[i] = id * o; break;
        case SPEC_IAND: n->y[i] = id * (1.0 - o); break;
        case SPEC_IAND_SWAPPED: n->y[i] = o * (1.0 - id); break;
        }
    }
}

static void residual_backward(const struct twin_node *n)
{
    for (size_t i = 0; i < twin_values(n->out); i++) {
        const double o = n->x[0][i], id = n->x[1][i], dy = n->dy[i];
        double by_o = 1.0, by_id = 1.0;
        switch ((enum spec_connect)n->spec->u.residual.connect) {
        case SPEC_ADD: break;
        case SPEC_AND: by_o = id, by_id = o; break;
        case SPEC_IAND: by_o = -id, by_id = 1.0 - o; break;
        case SPEC_IAND_SWAPPED: by_o = 1.0 - id, by_id = -o; break;
        }
        n->dx[0][i] += dy * by_o;
        n->dx[1][i] += dy * by_id;
    }
}

const struct twin_kind twin_residual = { NULL, residual_forward, residual_backward, NULL };

/* ---- upsample: every pixel repeated in a window ---------------------------------------------- */
static size_t source(const struct twin_node *n, size_t i)
{
    const size_t up_h = n->out.h / n->in.h, up_w = n->out.w / n->in.w;
    const size_t pixel = i % twin_pixels(n->out), plane = i / twin_pixels(n->out);
    return plane * twin_pixels(n->in) + pixel / n->out.w / up_h * n->in.w + pixel % n->out.w / up_w;
}

static void upsample_forward(const struct twin_node *n)
{
    for (size_t i = 0; i < twin_values(n->out); i++) n->y[i] = n->x[0][source(n, i)];
}

static void upsample_backward(const struct twin_node *n)
{
    for (size_t i = 0; i < twin_values(n->out); i++) n->dx[0][source(n, i)] += n->dy[i];
}

const struct twin_kind twin_upsample = { NULL, upsample_forward, upsample_backward, NULL };

/* ---- relu ------------------------------------------------------------------------------------ */
static void relu_forward(const struct twin_node *n)
{
    for (size_t i = 0; i < twin_values(n->out); i++) n->y[i] = fmax(n->x[0][i], 0.0);
}

static void relu_backward(const struct twin_node *n)
{
    for (size_t i = 0; i < twin_values(n->out); i++)
        if (n->x[0][i] > 0.0) n->dx[0][i] += n->dy[i];
}

const struct twin_kind twin_relu = { NULL, relu_forward, relu_backward, NULL };
