/* twin: the walk over the layers, see twin.h. */
#include "tests/twin/twin.h"

#include "tests/twin/twin_kinds.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct twin {
    struct twin_options options;
    struct twin_node *nodes;
    size_t n;
    double *x, *dx; /* of the input */
};

static double *doubles(size_t n)
{
    double *at = calloc(n > 0 ? n : 1, sizeof at[0]);
    assert(at != NULL);
    return at;
}

/* ---- building -------------------------------------------------------------------------------- */
static void add(struct twin_node *n, struct twin_param p)
{
    assert(n->n_params < TWIN_PARAMS_MAX);
    p.at = doubles(p.values);
    p.gradient = doubles(p.values);
    n->params[n->n_params++] = p;
}

void twin_add_param(struct twin_node *n, const char *name, size_t values, size_t rows)
{
    add(n, (struct twin_param){ .name = name, .values = values, .rows = rows });
}

void twin_add_buffer(struct twin_node *n, const char *name, size_t values)
{
    add(n, (struct twin_param){ .name = name, .values = values, .rows = 1, .buffer = true });
}

/* Layers that do not mix features leave a flattened image one. */
static bool keeps_image(const struct spec_layer *l)
{
    const enum spec_layer_type type = l->type;
    return type == SPEC_FLATTEN || type == SPEC_DROPOUT || type == SPEC_NEURON ||
           type == SPEC_RELU || type == SPEC_BATCH_NORM || type == SPEC_THRESHOLD_BATCH_NORM ||
           type == SPEC_RESIDUAL ||
           (type == SPEC_RECURRENT && l->u.recurrent.connect == SPEC_ELEMENT_WISE);
}

static void read_input(struct twin *tw, const struct spec_layer *layers, size_t i, size_t k)
{
    struct twin_node *n = &tw->nodes[i];
    const size_t from = spec_layer_input(layers, i, k);
    n->x[k] = from == SPEC_INPUT ? tw->x : tw->nodes[from].y;
    n->dx[k] = from == SPEC_INPUT ? tw->dx : tw->nodes[from].dy;
    if (k > 0) return;
    n->in = from == SPEC_INPUT ? tw->options.input : tw->nodes[from].out;
    n->image = from == SPEC_INPUT ? tw->options.input : tw->nodes[from].image;
}

static void make_node(struct twin *tw, const struct spec_layer *layers, size_t i)
{
    struct twin_node *n = &tw->nodes[i];
    *n = (struct twin_node){ .spec = &layers[i], .options = &tw->options, .number = i };
    const size_t inputs = layers[i].n_inputs == 0 ? 1 : layers[i].n_inputs;
    for (size_t k = 0; k < inputs; k++) read_input(tw, layers, i, k);
    const struct spec_shape in = { (int64_t)n->in.c, (int64_t)n->in.h, (int64_t)n->in.w };
    struct spec_shape out;
    struct err e = { 0 };
    const int rc = spec_layer_shape(&layers[i], in, &out, &e);
    assert(rc == 0);
    (void)rc;
    n->out = (struct twin_size){ n->in.t, n->in.b, (size_t)out.c, (size_t)out.h, (size_t)out.w };
    if (!keeps_image(n->spec)) n->image = n->out;
    n->y = doubles(twin_values(n->out));
    n->dy = doubles(twin_values(n->out));
}

static void plan_node(struct twin_node *n)
{
    if (twin_kind(n->spec->type)->plan != NULL) twin_kind(n->spec->type)->plan(n);
    n->kept = doubles(n->kept_values);
}

/* Joining points begin walks, or are part of one; what comes back is known now. */
static void connect_walks(struct twin *tw)
{
    for (size_t i = 0; i < tw->n; i++) {
        struct twin_node *n = &tw->nodes[i];
        const bool inside = i > 0 && n[-1].walk_end > i;
        n->walk_begin = inside ? n[-1].walk_begin : i;
        n->walk_end = inside ? n[-1].walk_end : i + 1;
        if (n->spec->type != SPEC_RECURRENT) continue;
        n->back = i + n->spec->u.recurrent.body;
        if (!inside) n->walk_end = n->back + 1;
        n->back_size = tw->nodes[n->back].out;
        n->x[1] = tw->nodes[n->back].y;
        n->dx[1] = doubles(twin_values(n->back_size));
    }
}

struct twin *twin_make(const struct spec_layer *layers, size_t n, const struct twin_options *o)
{
    struct twin *tw = calloc(1, sizeof *tw);
    assert(tw != NULL && n > 0);
    tw->options = *o;
    tw->x = doubles(twin_values(o->input));
    tw->dx = doubles(twin_values(o->input));
    tw->n = n;
    tw->nodes = calloc(n, sizeof tw->nodes[0]);
    assert(tw->nodes != NULL);
    for (size_t i = 0; i < n; i++) make_node(tw, layers, i);
    connect_walks(tw);
    for (size_t i = 0; i < n; i++) plan_node(&tw->nodes[i]);
    return tw;
}

void twin_free(struct twin *tw)
{
    for (size_t i = 0; i < tw->n; i++) {
        struct twin_node *n = &tw->nodes[i];
        for (size_t k = 0; k < n->n_params; k++) {
            free(n->params[k].at);
            free(n->params[k].gradient);
        }
        if (n->back > 0) free(n->dx[1]);
        free(n->y);
        free(n->dy);
        free(n->kept);
    }
    free(tw->nodes);
    free(tw->x);
    free(tw->dx);
    free(tw);
}

/* ---- looking at it --------------------------------------------------------------------------- */
size_t twin_nodes(const struct twin *tw)
{
    return tw->n;
}

const struct spec_layer *twin_layer(const struct twin *tw, size_t node)
{
    return tw->nodes[node].spec;
}

size_t twin_params(const struct twin *tw, size_t node)
{
    return tw->nodes[node].n_params;
}

struct twin_param *twin_param(struct twin *tw, size_t node, size_t i)
{
    return &tw->nodes[node].params[i];
}

double *twin_input(struct twin *tw, struct twin_size *size)
{
    *size = tw->options.input;
    return tw->x;
}

const double *twin_input_gradient(const struct twin *tw)
{
    return tw->dx;
}

const double *twin_value(const struct twin *tw, size_t node, struct twin_size *size)
{
    *size = tw->nodes[node].out;
    return tw->nodes[node].y;
}

const double *twin_output(const struct twin *tw, struct twin_size *size)
{
    return twin_value(tw, tw->n - 1, size);
}

double twin_margin(const struct twin *tw, size_t node, size_t channel)
{
    return twin_neuron_margin(&tw->nodes[node], channel);
}

/* ---- running it ------------------------------------------------------------------------------ */
/* Where an output comes back every layer runs over all T once for each step: after pass k the steps
 * below k are right, whatever stood there before. */
static size_t passes(const struct twin *tw, const struct twin_node *n)
{
    return n->walk_end - n->walk_begin > 1 ? tw->options.input.t : 1;
}

static void walk_forward(struct twin *tw, size_t begin, size_t end)
{
    for (size_t pass = passes(tw, &tw->nodes[begin]); pass > 0; pass--)
        for (size_t i = begin; i < end; i++)
            twin_kind(tw->nodes[i].spec->type)->forward(&tw->nodes[i]);
}

void twin_forward(struct twin *tw, size_t first, size_t end)
{
    for (size_t i = tw->nodes[first].walk_begin; i < end; i = tw->nodes[i].walk_end)
        walk_forward(tw, i, tw->nodes[i].walk_end);
}

void twin_commit(struct twin *tw)
{
    for (size_t i = 0; i < tw->n; i++) {
        const struct twin_node *n = &tw->nodes[i];
        const struct twin_kind *kind = twin_kind(n->spec->type);
        for (size_t k = 0; k < n->n_params; k++)
            if (n->params[k].buffer)
                memcpy(n->params[k].gradient, n->params[k].at,
                       n->params[k].values * sizeof n->params[k].at[0]);
        if (kind->commit != NULL && tw->options.training) kind->commit(n);
    }
}

static void clear(double *at, size_t n)
{
    memset(at, 0, n * sizeof at[0]);
}

static void clear_node(const struct twin_node *n)
{
    clear(n->dy, twin_values(n->out));
    for (size_t k = 0; k < n->n_params; k++)
        if (!n->params[k].buffer) clear(n->params[k].gradient, n->params[k].values);
}

static void run_backward(struct twin *tw, size_t begin, size_t end)
{
    for (size_t i = end; i-- > begin;) twin_kind(tw->nodes[i].spec->type)->backward(&tw->nodes[i]);
}

/* Before a pass of a walk: gradients of what is read behind it, and what the pass before has handed
 * back; the first hands back nothing. */
static void begin_pass(struct twin *tw, size_t begin, size_t end, const double *up, bool first)
{
    for (size_t i = begin; i < end; i++) clear_node(&tw->nodes[i]);
    struct twin_node *last = &tw->nodes[end - 1];
    memcpy(last->dy, up, twin_values(last->out) * sizeof up[0]);
    for (size_t i = begin; i < end; i++) {
        struct twin_node *n = &tw->nodes[i];
        if (n->back == 0) continue;
        const size_t values = twin_values(n->back_size);
        for (size_t k = 0; !first && k < values; k++) tw->nodes[n->back].dy[k] += n->dx[1][k];
        clear(n->dx[1], values);
    }
}

static void walk_backward(struct twin *tw, size_t begin, size_t end)
{
    const struct twin_node *join = &tw->nodes[begin], *last = &tw->nodes[end - 1];
    if (end == begin + 1) {
        run_backward(tw, begin, end);
        return;
    }
    const size_t in = twin_values(join->in), out = twin_values(last->out);
    double *dx = doubles(in), *up = doubles(out);
    memcpy(dx, join->dx[0], in * sizeof dx[0]);
    memcpy(up, last->dy, out * sizeof up[0]);
    for (size_t pass = passes(tw, join); pass > 0; pass--) {
        memcpy(join->dx[0], dx, in * sizeof dx[0]);
        begin_pass(tw, begin, end, up, pass == passes(tw, join));
        run_backward(tw, begin, end);
    }
    free(dx);
    free(up);
}

void twin_backward(struct twin *tw, const double *up)
{
    const struct twin_node *last = &tw->nodes[tw->n - 1];
    clear(tw->dx, twin_values(tw->options.input));
    for (size_t i = 0; i < tw->n; i++) clear_node(&tw->nodes[i]);
    memcpy(last->dy, up, twin_values(last->out) * sizeof up[0]);
    for (size_t end = tw->n; end > 0; end = tw->nodes[end - 1].walk_begin)
        walk_backward(tw, tw->nodes[end - 1].walk_begin, end);
}
