/* match: see match.h. */
#include "tests/twin/match.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the engine ------------------------------------------------------------------------------ */
static void put(const struct tensor_desc *d, void *data, const double *from)
{
    const size_t features = d->c * d->h * d->w;
    for (size_t t = 0; t < d->t_stored; t++)
        for (size_t b = 0; b < d->b; b++)
            for (size_t i = 0; i < features; i++)
                tensor_set(d, data, b, t, i / (d->h * d->w), i / d->w % d->h, i % d->w,
                           (float)from[(t * d->b + b) * features + i]);
}

static struct twin_param *find_param(const struct twin_world *w, const struct net_param *p)
{
    const char *path = w->spec.layers[p->node].path;
    const size_t length = strlen(path);
    if (strncmp(p->name, path, length) != 0 || p->name[length] != '.') return NULL;
    for (size_t k = 0; k < twin_params(w->tw, p->node); k++) {
        struct twin_param *mine = twin_param(w->tw, p->node, k);
        const bool same = strcmp(mine->name, p->name + length + 1) == 0 &&
                          mine->values == p->logical && mine->buffer == (p->role == NET_BUFFER);
        if (same) return mine;
    }
    return NULL;
}

static void put_params(const struct twin_world *w, struct net *n)
{
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct twin_param *p = find_param(w, net_param(n, i));
        if (p == NULL) continue; /* match_compare says so */
        float *values = malloc(p->values * sizeof values[0]);
        assert(values != NULL);
        for (size_t k = 0; k < p->values; k++) values[k] = (float)p->at[k];
        net_param_write(n, i, values);
        free(values);
    }
}

struct net *match_run(const struct twin_case *c, const struct twin_world *w,
                      const struct match_engine *e)
{
    const struct net_options o = {
        .input = { c->in.b, c->in.t, c->in.c, c->in.h, c->in.w, c->input == TWIN_REPEAT,
                   c->input == TWIN_SPIKES },
        .training = true,
        .shards = e->shards,
        .threads = e->threads,
        .exact = e->exact,
        .span_steps = e->span_steps,
        .path = e->path,
        .trace = e->trace,
        .recompute = e->recompute,
        .input_gradient = true,
        .isa = e->isa,
        .seed = c->seed,
    };
    const struct net_step step = { .step = 3, .samples = c->in.b, .training = !c->evaluation };
    struct net *n = NULL;
    struct err err = { 0 };
    struct twin_size size;
    const struct tensor_desc *d;
    if (net_build(&n, w->spec.layers, w->spec.n_layers, 0, &o, &err) != 0 ||
        net_start(n, &err) != 0) {
        fprintf(stderr, "%s: %s\n", c->name, err.text);
        assert(!"a net");
    }
    put_params(w, n);
    void *x = net_input_data(n, &d);
    put(d, x, twin_input(w->tw, &size));
    net_forward(n, &step);
    float *up = net_output_gradient(n, &d);
    put(d, up, w->up);
    net_backward(n, &step);
    return n;
}

/* ---- comparison ------------------------------------------------------------------------------ */
static void fault(struct match *m, double worst, const char *path, const char *name, size_t i,
                  double got, double want)
{
    if (worst <= m->worst) return;
    m->worst = worst;
    (void)snprintf(m->what, sizeof m->what, "%s %s[%zu]: %.9g, twin %.9g", path, name, i, got,
                   want);
}

static double largest(const double *at, size_t n)
{
    double most = 0.0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs(at[i]));
    return most;
}

static void compare(struct match *m, const char *path, const char *name, const double *got,
                    const double *want, size_t n, double room)
{
    m->compared++;
    for (size_t i = 0; i < n; i++) {
        const double limit = fmax(room, 1e-7) + 1e-5 * fabs(want[i]);
        const double error = fabs(got[i] - want[i]) / limit;
        fault(m, isfinite(got[i]) ? error : INFINITY, path, name, i, got[i], want[i]);
    }
}

/* As [T][B][C][H][W]; a repeated tensor for every t. */
static double *taken(const struct tensor_desc *d, const void *data)
{
    const size_t features = d->c * d->h * d->w;
    double *to = malloc(d->t * d->b * features * sizeof to[0]);
    assert(to != NULL);
    for (size_t k = 0; k < d->t * d->b * features; k++) {
        const size_t i = k % features;
        to[k] = (double)tensor_get(d, data, k / features % d->b, k / features / d->b,
                                   i / (d->h * d->w), i / d->w % d->h, i % d->w);
    }
    return to;
}

static void compare_outputs(struct match *m, const struct twin_world *w, struct net *n,
                            double tolerance)
{
    for (size_t node = 0; node < twin_nodes(w->tw); node++) {
        struct twin_size size;
        const struct tensor_desc *d;
        const double *want = twin_value(w->tw, node, &size);
        const void *y = net_node_output(n, node, &d);
        if (y == NULL) continue; /* let go, to be computed again */
        const char *path = w->spec.layers[node].path;
        if (d->t * d->b * d->c * d->h * d->w != twin_values(size)) {
            fault(m, INFINITY, path, "size", 0, 0.0, 0.0);
            continue;
        }
        double *got = taken(d, y);
        const bool whole = (d->kind == TENSOR_BITS || d->kind == TENSOR_COUNT8) && !d->scaled;
        for (size_t i = 0; whole && i < twin_values(size); i++)
            if (got[i] != want[i]) fault(m, INFINITY, path, "spike", i, got[i], want[i]);
        compare(m, path, "output", got, want, twin_values(size),
                tolerance * largest(want, twin_values(size)));
        free(got);
    }
}

/* Largest gradient of all parameters of a layer. A bias below a batch norm has none but for
 * rounding, which the weights beside it give the size of. */
static double layer_scale(const struct twin_world *w, size_t node)
{
    double most = 0.0;
    for (size_t k = 0; k < twin_params(w->tw, node); k++) {
        const struct twin_param *p = twin_param(w->tw, node, k);
        if (!p->buffer) most = fmax(most, largest(p->gradient, p->values));
    }
    return most;
}

static void compare_param(struct match *m, const struct twin_world *w, struct net *n, size_t i,
                          double tolerance)
{
    const struct net_param *p = net_param(n, i);
    const struct twin_param *mine = find_param(w, p);
    if (mine == NULL) {
        fault(m, INFINITY, p->name, "is not in the twin", i, 0.0, 0.0);
        return;
    }
    float *values = malloc(p->logical * sizeof values[0]);
    double *got = malloc(p->logical * sizeof got[0]);
    assert(values != NULL && got != NULL);
    if (mine->buffer) net_param_read(n, i, values);
    else net_gradient_read(n, i, values);
    for (size_t k = 0; k < p->logical; k++) got[k] = (double)values[k];
    const double scale = mine->buffer ? largest(mine->gradient, mine->values)
                                      : layer_scale(w, p->node);
    compare(m, p->name, mine->buffer ? "value" : "gradient", got, mine->gradient, p->logical,
            tolerance * scale);
    free(values);
    free(got);
}

/* The gradient of a repeated frame is the sum over t. */
static void compare_input(struct match *m, const struct twin_world *w, struct net *n,
                          double tolerance)
{
    struct twin_size size;
    const struct tensor_desc *d;
    (void)twin_input(w->tw, &size);
    const double *dx = twin_input_gradient(w->tw);
    const float *engine = net_input_gradient(n, &d);
    const size_t frame = twin_values(size) / size.t, values = d->t_stored * frame;
    double *want = calloc(values, sizeof want[0]), *got = taken(d, engine);
    assert(want != NULL);
    for (size_t i = 0; i < twin_values(size); i++) want[i % values] += dx[i];
    compare(m, "input", "gradient", got, want, values, tolerance * largest(want, values));
    free(want);
    free(got);
}

struct match match_compare(const struct twin_world *w, struct net *n, double tolerance)
{
    struct match m = { 0 };
    size_t params = 0;
    compare_outputs(&m, w, n, tolerance);
    compare_input(&m, w, n, tolerance);
    for (size_t node = 0; node < twin_nodes(w->tw); node++) params += twin_params(w->tw, node);
    if (params != net_param_count(n)) fault(&m, INFINITY, "net", "parameters", params, 0.0, 0.0);
    for (size_t i = 0; i < net_param_count(n); i++) compare_param(&m, w, n, i, tolerance);
    return m;
}

/* ---- bits ------------------------------------------------------------------------------------ */
static bool differ(const void *a, const void *b, size_t bytes) { return memcmp(a, b, bytes) != 0; }

/* Forms of a layer may lay out its parameters differently. */
static bool params_differ(struct net *a, struct net *b, size_t i)
{
    const struct net_param *p = net_param(a, i);
    float *values = malloc(2 * p->logical * sizeof values[0]);
    assert(values != NULL);
    if (p->role == NET_BUFFER) {
        net_param_read(a, i, values);
        net_param_read(b, i, values + p->logical);
    } else {
        net_gradient_read(a, i, values);
        net_gradient_read(b, i, values + p->logical);
    }
    const bool differs = differ(values, values + p->logical, p->logical * sizeof values[0]);
    free(values);
    return differs;
}

const char *match_bits(struct net *a, struct net *b)
{
    const struct tensor_desc *d;
    const void *x = net_output(a, &d), *y = net_output(b, &d);
    if (differ(x, y, tensor_bytes(d))) return "output";
    x = net_input_gradient(a, &d);
    y = net_input_gradient(b, &d);
    if (differ(x, y, tensor_bytes(d))) return "input gradient";
    for (size_t i = 0; i < net_param_count(a); i++)
        if (params_differ(a, b, i)) return net_param(a, i)->name;
    return NULL;
}
