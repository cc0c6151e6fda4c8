/* twin_recurrent: the joining point of a recurrent layer as a layer of the twin,
 * i[t] = W (x[t], y[t-1]) + b or x[t] + y[t-1]; the walk of twin.c brings y. */
#include "tests/twin/twin_kinds.h"

enum { WEIGHT, BIAS };

static bool all_to_all(const struct twin_node *n)
{
    return n->spec->u.recurrent.connect == SPEC_ALL_TO_ALL;
}

static void plan(struct twin_node *n)
{
    if (!all_to_all(n)) return;
    twin_add_param(n, "weight", n->in.c * (n->in.c + n->back_size.c), n->in.c);
    if (n->spec->u.recurrent.bias) twin_add_param(n, "bias", n->in.c, n->in.c);
}

/* Place of step t, sample b, feature c, when an image has `c_all` of them. */
static size_t at(const struct twin_node *n, size_t c_all, size_t t, size_t b, size_t c)
{
    return (t * n->in.b + b) * c_all + c;
}

static size_t features(struct twin_size s)
{
    return s.c * s.h * s.w;
}

static void row_forward(const struct twin_node *n, size_t t, size_t b)
{
    const size_t in = n->in.c, back = n->back_size.c;
    for (size_t k = 0; k < in; k++) {
        const double *w = n->params[WEIGHT].at + k * (in + back);
        double sum = n->n_params > BIAS ? n->params[BIAS].at[k] : 0.0;
        for (size_t j = 0; j < in; j++) sum += w[j] * n->x[0][at(n, in, t, b, j)];
        for (size_t j = 0; t > 0 && j < back; j++)
            sum += w[in + j] * n->x[1][at(n, back, t - 1, b, j)];
        n->y[at(n, in, t, b, k)] = sum;
    }
}

static void forward(const struct twin_node *n)
{
    const size_t each = features(n->in);
    for (size_t t = 0; t < n->in.t; t++)
        for (size_t b = 0; b < n->in.b; b++) {
            if (all_to_all(n)) row_forward(n, t, b);
            for (size_t c = 0; !all_to_all(n) && c < each; c++)
                n->y[at(n, each, t, b, c)] = n->x[0][at(n, each, t, b, c)] +
                                             (t > 0 ? n->x[1][at(n, each, t - 1, b, c)] : 0.0);
        }
}

static void row_backward(const struct twin_node *n, size_t t, size_t b)
{
    const size_t in = n->in.c, back = n->back_size.c;
    for (size_t k = 0; k < in; k++) {
        const double g = n->dy[at(n, in, t, b, k)], *w = n->params[WEIGHT].at + k * (in + back);
        double *dw = n->params[WEIGHT].gradient + k * (in + back);
        if (n->n_params > BIAS) n->params[BIAS].gradient[k] += g;
        for (size_t j = 0; j < in; j++) {
            dw[j] += g * n->x[0][at(n, in, t, b, j)];
            n->dx[0][at(n, in, t, b, j)] += g * w[j];
        }
        for (size_t j = 0; t > 0 && j < back; j++) {
            dw[in + j] += g * n->x[1][at(n, back, t - 1, b, j)];
            n->dx[1][at(n, back, t - 1, b, j)] += g * w[in + j];
        }
    }
}

static void backward(const struct twin_node *n)
{
    const size_t each = features(n->in);
    for (size_t t = 0; t < n->in.t; t++)
        for (size_t b = 0; b < n->in.b; b++) {
            if (all_to_all(n)) row_backward(n, t, b);
            for (size_t c = 0; !all_to_all(n) && c < each; c++) {
                const double g = n->dy[at(n, each, t, b, c)];
                n->dx[0][at(n, each, t, b, c)] += g;
                if (t > 0) n->dx[1][at(n, each, t - 1, b, c)] += g;
            }
        }
}

const struct twin_kind twin_recurrent = { .plan = plan, .forward = forward, .backward = backward };
