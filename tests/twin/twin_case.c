/* twin_case: see twin_case.h. */
#include "tests/twin/twin_case.h"

#include "common/mem.h"
#include "tests/twin/slopes.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the spec -------------------------------------------------------------------------------- */
static void parse(const struct twin_case *c, struct spec *out)
{
    static struct json_faults faults;
    struct err e = { 0 };
    char *text = mem_printf("{\"version\":1,\"time_steps\":%zu,\"dataset\":{\"name\":\"x\"},"
                            "\"network\":{%s}}",
                            c->in.t, c->network);
    assert(text != NULL);
    for (char *at = text; *at != '\0'; at++)
        if (*at == '\'') *at = '"';
    if (spec_parse_text(text, strlen(text), out, &faults, &e) != 0) {
        fprintf(stderr, "%s: %s: %s\n", c->name, e.text, faults.items[0].detail);
        assert(!"a spec");
    }
    mem_free(text);
}

static void adapt(const struct twin_case *c, struct spec *s, int64_t hidden)
{
    for (size_t i = 0; i < s->n_layers; i++) {
        struct spec_layer *l = &s->layers[i];
        if (l->type == SPEC_LINEAR && hidden > 0 && l->u.linear.out_features >= 512)
            l->u.linear.out_features = hidden;
        if (l->type == SPEC_NEURON && c->primitive) l->u.neuron.detach_reset = false;
    }
}

/* ---- numbers --------------------------------------------------------------------------------- */
struct range {
    double middle, width;
};

static struct range neuron_range(const char *name)
{
    if (strcmp(name, "k") == 0) return (struct range){ 1.1, 0.3 };
    if (strcmp(name, "v_threshold") == 0) return (struct range){ 0.7, 0.2 };
    if (strcmp(name, "_lambda_") == 0) return (struct range){ 0.4, 0.2 };
    if (strcmp(name, "bias") == 0) return (struct range){ -0.2, 0.3 };
    if (strcmp(name, "weight") == 0) return (struct range){ 0.25, 0.5 };
    return (struct range){ 0.0, 0.6 };
}

static struct range range_of(const struct spec_layer *l, const struct twin_param *p)
{
    const char *dot = strrchr(p->name, '.'), *name = dot != NULL ? dot + 1 : p->name;
    const bool norm = l->type == SPEC_BATCH_NORM || l->type == SPEC_THRESHOLD_BATCH_NORM ||
                      l->type == SPEC_TEMPORAL_BATCH_NORM || l->type == SPEC_GROUP_NORM;
    if (l->type == SPEC_NEURON) return neuron_range(p->name);
    if (strcmp(name, "gain") == 0 || strcmp(name, "scale") == 0) return (struct range){ 1.0, 0.3 };
    if (strcmp(name, "running_mean") == 0) return (struct range){ 0.1, 0.3 };
    if (strcmp(name, "running_var") == 0) return (struct range){ 1.0, 0.4 };
    if (norm) return (struct range){ strcmp(name, "weight") == 0 ? 1.0 : 0.3, 0.4 };
    if (strcmp(name, "weight") != 0 || p->values < p->rows) return (struct range){ 0.1, 0.3 };
    return (struct range){ 0.0, 2.0 / sqrt((double)p->values / (double)p->rows) };
}

static void fill(double *at, size_t n, uint64_t stream, struct range r)
{
    for (size_t i = 0; i < n; i++)
        at[i] = (double)(float)(r.middle + r.width * twin_number(stream * 1000000007 + i));
}

static void fill_input(const struct twin_case *c, struct twin *tw)
{
    struct twin_size size;
    double *x = twin_input(tw, &size);
    const size_t frame = twin_values(size) / size.t;
    fill(x, twin_values(size), 11 + c->seed, (struct range){ 0.2, 1.0 });
    for (size_t i = 0; i < twin_values(size); i++) {
        if (c->input == TWIN_REPEAT) x[i] = x[i % frame];
        if (c->input == TWIN_SPIKES) x[i] = x[i] > 0.6;
    }
}

struct twin_world *twin_world_make(const struct twin_case *c, int64_t hidden)
{
    struct twin_world *w = calloc(1, sizeof *w);
    assert(w != NULL);
    parse(c, &w->spec);
    adapt(c, &w->spec, hidden);
    const struct twin_options o = { .input = c->in,
                                    .primitive = c->primitive,
                                    .training = !c->evaluation,
                                    .seed = c->seed,
                                    .step = 3 };
    w->tw = twin_make(w->spec.layers, w->spec.n_layers, &o);
    for (size_t node = 0; node < twin_nodes(w->tw); node++)
        for (size_t k = 0; k < twin_params(w->tw, node); k++) {
            const struct twin_param *p = twin_param(w->tw, node, k);
            fill(p->at, p->values, 1000 * (c->seed + 1) + 16 * node + k,
                 range_of(&w->spec.layers[node], p));
        }
    fill_input(c, w->tw);
    struct twin_size size;
    (void)twin_output(w->tw, &size);
    w->up = calloc(twin_values(size), sizeof w->up[0]);
    assert(w->up != NULL);
    fill(w->up, twin_values(size), 13 + c->seed, (struct range){ 0.0, 1.0 });
    return w;
}

void twin_world_free(struct twin_world *w)
{
    twin_free(w->tw);
    spec_deinit(&w->spec);
    free(w->up);
    free(w);
}

/* ---- distance from thresholds ---------------------------------------------------------------- */
/* The last parameter before a neuron that has a row for each of its channels. */
static struct twin_param *mover(struct twin_world *w, size_t node, size_t channels, size_t *owner)
{
    size_t i = spec_layer_input(w->spec.layers, node, 0);
    for (; i != SPEC_INPUT; i = spec_layer_input(w->spec.layers, i, 0))
        for (size_t k = twin_params(w->tw, i); k-- > 0;) {
            struct twin_param *p = twin_param(w->tw, i, k);
            if (p->buffer || p->rows != channels) continue;
            *owner = i;
            return p;
        }
    return NULL;
}

/* Moves the rows of channels that are too near; returns the smallest distance before that. */
static double move(struct twin_world *w, size_t node, size_t channels, struct twin_param *p,
                   double margin, uint64_t round)
{
    double least = INFINITY;
    for (size_t c = 0; c < channels; c++) {
        const double distance = twin_margin(w->tw, node, c);
        least = fmin(least, distance);
        if (distance >= margin || p == NULL) continue;
        const size_t per = p->values / channels;
        for (size_t i = c * per; i < (c + 1) * per; i++)
            p->at[i] = (double)(float)(p->at[i] + 0.05 * twin_number(round * 7919 + i));
    }
    return least;
}

double twin_world_settle(struct twin_world *w, double margin)
{
    double least = INFINITY;
    for (size_t node = 0; node < twin_nodes(w->tw); node++) {
        struct twin_size size;
        size_t owner = 0;
        twin_forward(w->tw, node, node + 1);
        if (w->spec.layers[node].type != SPEC_NEURON) continue;
        (void)twin_value(w->tw, node, &size);
        struct twin_param *p = mover(w, node, size.c, &owner);
        double distance = 0.0;
        for (uint64_t round = 0; round < 200; round++) {
            distance = move(w, node, size.c, p, margin, round);
            if (distance >= margin || p == NULL) break;
            twin_forward(w->tw, owner, node + 1);
        }
        least = fmin(least, distance);
    }
    return least;
}
