/* twin_neuron: every neuron model as a layer of the twin; the models themselves are
 * worker/neurons/reference_neurons. */
#include "common/philox.h"
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

static enum spec_firing firing(const struct twin_node *n)
{
    size_t count;
    return spec_surrogate_kinds(&count)[n->spec->u.neuron.surrogate.kind].firing;
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

/* Kept: spikes, u, v after the reset, dx, numbers for spikes that are drawn; all [T][cells]. */
enum { SPIKES, U, V, DX, DRAWN, KEPT };

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
        .drawn = kept(n, DRAWN),
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

/* The stream of docs: element c + C * (x + W * y), C a multiple of 16; position in the batch, step,
 * layer and time-step. */
static void draw(const struct twin_node *n)
{
    const struct philox_key key = philox_key(n->options->seed, PHILOX_SPIKES);
    const struct twin_size s = n->image;
    const size_t pixels = twin_pixels(s), stored = (s.c + 15) / 16 * 16;
    double *to = kept(n, DRAWN);
    for (size_t i = 0; i < twin_values(n->in); i++) {
        const size_t image = i / (s.c * pixels), c = i / pixels % s.c;
        const size_t times = n->number * SPEC_TIME_STEPS_MAX + image / s.b;
        to[i] = (double)philox_uniform(key, c + stored * (i % pixels), (uint32_t)(image % s.b),
                                       (uint32_t)n->options->step, (uint32_t)times);
    }
}

static void forward(const struct twin_node *n)
{
    if (firing(n) == SPEC_FIRES_BERNOULLI) draw(n);
    const struct reference_neuron r = cells_of(n);
    reference_neuron_forward(&r);
}

static void backward(const struct twin_node *n)
{
    const struct reference_neuron r = cells_of(n);
    reference_neuron_backward(&r);
    for (size_t i = 0; i < twin_values(n->in); i++) n->dx[0][i] += r.dx[i];
}

/* How far cell i is from other spikes, or from the edge of its surrogate. */
static double distance(const struct twin_node *n, size_t i)
{
    const double u = kept(n, U)[i], most = n->spec->u.neuron.surrogate.params[0];
    if (firing(n) == SPEC_FIRES_BERNOULLI) return fabs(u - kept(n, DRAWN)[i]);
    if (firing(n) == SPEC_FIRES_STEP || u < 0.0) return fabs(u);
    const double half = fabs(u - (floor(u) + 0.5)); /* where the count changes, below D */
    return fmin(fmin(u, fabs(u - most)), u > most ? INFINITY : half);
}

double twin_neuron_margin(const struct twin_node *n, size_t channel)
{
    double least = INFINITY;
    for (size_t i = 0; i < twin_values(n->in); i++)
        if (i / twin_pixels(n->in) % n->in.c == channel) least = fmin(least, distance(n, i));
    return least;
}

const struct twin_kind twin_neuron = { plan, forward, backward, NULL };
