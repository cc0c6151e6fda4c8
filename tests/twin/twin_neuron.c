/* twin_neuron: every neuron model as a layer of the twin; the models themselves are
 * worker/neurons/reference_neurons. */
#include "tests/twin/twin_kinds.h"
#include "worker/neurons/reference_neurons.h"

#include <math.h>
#include <string.h>

static const struct spec_neuron_model *model_of(const struct twin_node *n)
{
    size_t count;
    return &spec_neuron_models(&count)[n->spec->u.neuron.model];
}

static bool is(const struct twin_node *n, const char *name)
{
    return strcmp(model_of(n)->name, name) == 0;
}

/* ---- parameters ------------------------------------------------------------------------------ */
static void add_scoped(struct twin_node *n, const char *name, size_t steps)
{
    const size_t channels = n->in.c, cells = channels * twin_pixels(n->in);
    const enum spec_scope scope = n->spec->u.neuron.scope;
    const size_t values = scope == SPEC_SCOPE_LAYER     ? 1
                          : scope == SPEC_SCOPE_CHANNEL ? channels
                                                        : cells;
    twin_add_param(n, name, values * steps, scope == SPEC_SCOPE_LAYER || steps > 1 ? 1 : channels);
}

static void add_gates(struct twin_node *n)
{
    static const char *const names[] = { "alpha",       "beta",         "gamma",     "tau",
                                         "v_threshold", "linear_decay", "v_subreset" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) add_scoped(n, names[i], 1);
    add_scoped(n, "conduct", n->in.t);
}

static void add_parallel(struct twin_node *n)
{
    const size_t t = n->in.t;
    const bool sliding = is(n, "sliding_psn");
    const size_t k = sliding ? (size_t)spec_neuron_param(&n->spec->u.neuron, "k") : 0;
    twin_add_param(n, "weight", sliding ? k : t * t, 1);
    twin_add_param(n, "bias", sliding ? 1 : t, 1);
    if (is(n, "masked_psn")) twin_add_buffer(n, "_lambda_", 1);
}

/* Kept: spikes, u, v after the reset, dx; all [T][cells]. */
enum { SPIKES, U, V, DX, KEPT };

static void plan(struct twin_node *n)
{
    if (!model_of(n)->serial) add_parallel(n);
    else if (is(n, "gated_lif")) add_gates(n);
    else if (is(n, "plif")) add_scoped(n, "w", 1);
    else if (is(n, "klif")) add_scoped(n, "k", 1);
    if (n->spec->u.neuron.learn_threshold) add_scoped(n, "v_threshold", 1);
    n->kept_values = KEPT * twin_values(n->in);
}

/* ---- the layer ------------------------------------------------------------------------------- */
static double *kept(const struct twin_node *n, size_t which)
{
    return n->kept + which * twin_values(n->in);
}

static struct reference_neuron cells_of(const struct twin_node *n)
{
    struct reference_neuron r = {
        .spec = &n->spec->u.neuron,
        .t = n->in.t,
        .n = twin_values(n->in) / n->in.t,
        .primitive = n->options->primitive,
        .channels = n->in.c,
        .pixels = twin_pixels(n->in),
        .x = n->x[0],
        .s = kept(n, SPIKES),
        .u = kept(n, U),
        .v = kept(n, V),
        .ds = n->dy,
        .dx = kept(n, DX),
    };
    if (model_of(n)->serial) r.y = n->y;
    else r.s = n->y;
    for (size_t i = 0; i < n->n_params; i++) {
        const struct twin_param *p = &n->params[i];
        r.w[i] = p->at;
        r.dw[i] = p->gradient;
        if (p->buffer) r.lambda = p->at[0];
    }
    return r;
}

static void forward(const struct twin_node *n)
{
    const struct reference_neuron r = cells_of(n);
    reference_neuron_forward(&r);
}

static void backward(const struct twin_node *n)
{
    const struct reference_neuron r = cells_of(n);
    reference_neuron_backward(&r);
    for (size_t i = 0; i < twin_values(n->in); i++) n->dx[0][i] += r.dx[i];
}

double twin_neuron_margin(const struct twin_node *n, size_t channel)
{
    double least = INFINITY;
    for (size_t i = 0; i < twin_values(n->in); i++)
        if (i / twin_pixels(n->in) % n->in.c == channel) least = fmin(least, fabs(kept(n, U)[i]));
    return least;
}

const struct twin_kind twin_neuron = { plan, forward, backward, NULL };
