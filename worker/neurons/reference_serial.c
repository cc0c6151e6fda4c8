/* reference_serial: the twin of all serial neurons, see reference_neurons.h. One cell at a time, in
 * double; backward keeps the whole history of a cell. Formulas: docs/equations.md. */
#include "worker/neurons/reference_serial.h"

#include "common/spec.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static const char *const kind_names[] = { "if",         "lif",  "plif", "qif",      "eif",
                                          "izhikevich", "klif", "liaf", "cuba_lif", "alif",
                                          "gated_lif", "non_spiking_if", "non_spiking_lif" };
enum kind {
    IF, LIF, PLIF, QIF, EIF, IZHIKEVICH, KLIF, LIAF, CUBA, ALIF, GATED, SILENT_IF, SILENT_LIF
};
enum { ALPHA, BETA, GAMMA, TAU, V_THRESHOLD, LINEAR_DECAY, V_SUBRESET, CONDUCT }; /* of GATED */

struct cell {
    const struct reference_neuron *r;
    enum kind kind;
    size_t at;        /* of the cell in [T][n] */
    size_t value;     /* its value of every parameter */
    size_t values;    /* of a parameter, for one step */
    double a, rest;   /* 1/tau; v_reset, or 0 for a soft reset */
    double start;     /* potential before the first step */
    double theta;     /* threshold, learned or not */
    bool learns_threshold;
    int64_t refractory;
};
/* What a step saw and did. resting: it stood still after a spike. */
struct moment {
    double v, w, x, c, h, u, s; /* state before; c: charge before KLIF's slope */
    bool resting;
};

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static double param(const struct cell *k, const char *name)
{
    return spec_neuron_param(k->r->spec, name);
}
static double learned(const struct cell *k, size_t i) { return k->r->w[i][k->value]; }
/* A gate of GATED at step t. */
static double gate(const struct cell *k, size_t i, size_t t)
{
    return sigmoid(k->r->w[i][(i == CONDUCT ? t * k->values : 0) + k->value]);
}
static void add(const struct cell *k, size_t i, size_t t, double g)
{
    if (k->r->dw[i] != NULL) k->r->dw[i][t * k->values + k->value] += g;
}

static enum kind kind_of(const struct reference_neuron *r)
{
    size_t count;
    const char *name = spec_neuron_models(&count)[r->spec->model].name;
    for (int i = 0; i < (int)(sizeof kind_names / sizeof kind_names[0]); i++)
        if (strcmp(kind_names[i], name) == 0) return (enum kind)i;
    assert(!"a serial model");
    return IF;
}

/* Never fires and is never reset. */
static bool silent(const struct cell *k) { return k->kind == SILENT_IF || k->kind == SILENT_LIF; }

/* v_threshold is learned behind the model's own parameters. */
static size_t threshold_param(enum kind kind) { return kind == PLIF || kind == KLIF ? 1 : 0; }

static struct cell cell_of(const struct reference_neuron *r, size_t i)
{
    struct cell k = { .r = r, .kind = kind_of(r), .at = i, .values = 1,
                      .rest = r->spec->soft_reset ? 0.0 : r->spec->v_reset,
                      .theta = r->spec->v_threshold };
    const size_t pixels = r->pixels > 0 ? r->pixels : 1;
    const size_t channels = r->channels > 0 ? r->channels : r->n;
    const size_t feature = i % (channels * pixels);
    if (r->spec->scope == SPEC_SCOPE_CHANNEL) {
        k.value = feature / pixels;
        k.values = channels;
    } else if (r->spec->scope == SPEC_SCOPE_NEURON) {
        k.value = feature;
        k.values = channels * pixels;
    }
    if (k.kind == PLIF) k.a = sigmoid(learned(&k, 0));
    else if (k.kind != IF && k.kind != CUBA && k.kind != GATED && k.kind != SILENT_IF)
        k.a = 1.0 / param(&k, "tau");
    if (silent(&k)) {
        k.rest = k.start = k.kind == SILENT_LIF ? param(&k, "v_rest") : 0.0;
        k.theta = 0.0;
        return k;
    }
    if (k.kind == GATED) { /* shares none of the serial fields */
        k.theta = gate(&k, V_THRESHOLD, 0);
        return k;
    }
    k.start = r->spec->n_v_init > 0 ? r->spec->v_init : k.rest;
    k.refractory = r->spec->refractory_steps;
    k.learns_threshold = r->spec->learn_threshold;
    if (k.learns_threshold) k.theta = learned(&k, threshold_param(k.kind));
    return k;
}

/* ---- forward --------------------------------------------------------------------------------- */
static double gated_charge(const struct cell *k, double u, double s, double x, size_t t)
{
    const double alpha = gate(k, ALPHA, t), a = 1.0 - alpha * (1.0 - gate(k, TAU, t));
    const double gamma = gate(k, GAMMA, t);
    return a * u - (1.0 - alpha) * gate(k, LINEAR_DECAY, t) +
           x * (1.0 - gate(k, BETA, t) * (1.0 - gate(k, CONDUCT, t))) - a * u * gamma * s -
           (1.0 - gamma) * gate(k, V_SUBRESET, t) * s;
}

static double charge(const struct cell *k, double v, double w, double x, size_t t)
{
    const bool decay = k->r->spec->decay_input;
    switch (k->kind) {
    case IF:
    case SILENT_IF: return v + x;
    case LIF:
    case PLIF:
    case KLIF:
    case LIAF:
    case ALIF:
    case SILENT_LIF:
        return decay ? v + (x - (v - k->rest)) * k->a : v - (v - k->rest) * k->a + x;
    case QIF:
    case IZHIKEVICH:
        return v + (x + param(k, "a0") * (v - param(k, "v_rest")) * (v - param(k, "v_c")) -
                    (k->kind == QIF ? 0.0 : w)) * k->a;
    case EIF:
        return v + (x + param(k, "v_rest") - v +
                    param(k, "delta_T") * exp((v - param(k, "theta_rh")) / param(k, "delta_T"))) *
                       k->a;
    case CUBA: return v * param(k, "v_decay") + w * param(k, "c_decay") + x;
    case GATED: return gated_charge(k, v, w, x, t);
    }
    return 0.0;
}

static double next_w(const struct cell *k, const struct moment *m)
{
    switch (k->kind) {
    case IZHIKEVICH:
        return m->w + (param(k, "a") * (m->h - param(k, "v_rest")) - m->w) / param(k, "tau_w") +
               param(k, "b") * m->s;
    case CUBA: return m->w * param(k, "c_decay") + m->x;
    case ALIF: return m->w * exp(-1.0 / param(k, "tau_adaptation")) + m->s;
    case GATED: return m->s;
    default: return 0.0;
    }
}

/* KLIF with scale_reset divides by its slope. */
static double scale_of(const struct cell *k)
{
    return k->kind == KLIF && param(k, "scale_reset") != 0 ? learned(k, 0) : 1.0;
}

static double reset(const struct cell *k, const struct moment *m)
{
    if (m->resting) return m->v;
    if (k->kind == GATED || silent(k)) return m->h;
    const double h = m->h / scale_of(k);
    if (k->r->spec->soft_reset) return h - m->s * k->theta / scale_of(k);
    return (1.0 - m->s) * h + m->s * k->r->spec->v_reset;
}

static double fire(const struct cell *k, double u, size_t at)
{
    const struct reference_neuron *r = k->r;
    if (r->primitive) return reference_primitive(&r->spec->surrogate, u);
    return reference_spikes(&r->spec->surrogate, u, r->drawn != NULL ? r->drawn[at] : 0.0);
}

/* The surrogate is taken of h - theta, or for counts of h / theta. */
static bool counts(const struct cell *k) { return reference_fires_counts(&k->r->spec->surrogate); }

static double activation(const struct cell *k, double z, bool derivative)
{
    const int act = (int)param(k, "act"); /* relu, sigmoid, tanh */
    const double y = act == 0 ? fmax(z, 0.0) : act == 1 ? sigmoid(z) : tanh(z);
    if (!derivative) return y;
    return act == 0 ? (z > 0.0 ? 1.0 : 0.0) : act == 1 ? y * (1.0 - y) : 1.0 - y * y;
}

static double activated(const struct cell *k, const struct moment *m)
{
    return param(k, "threshold_related") != 0 ? m->u : m->h;
}

static double output(const struct cell *k, const struct moment *m)
{
    if (silent(k)) return m->h;
    return k->kind == LIAF ? activation(k, activated(k, m), false) : m->s;
}

static void walk(const struct cell *k, struct moment *history)
{
    const struct reference_neuron *r = k->r;
    double v = r->v0 != NULL ? r->v0[k->at] : k->start;
    double w = r->w0 != NULL            ? r->w0[k->at]
               : k->kind == IZHIKEVICH ? param(k, "w_rest")
                                       : 0.0;
    int64_t rest = 0;
    for (size_t t = 0; t < r->t; t++) {
        const size_t at = t * r->n + k->at;
        struct moment m = { .v = v, .w = w, .x = r->x[at], .resting = rest > 0 };
        m.c = charge(k, v, w, m.x, t);
        m.h = m.resting ? v : k->kind == KLIF ? fmax(learned(k, 0) * m.c, 0.0) : m.c;
        m.u = m.h - k->theta - (k->kind == ALIF ? param(k, "beta") * w : 0.0);
        if (!silent(k) && counts(k)) m.u = m.h / k->theta;
        m.s = m.resting || silent(k) ? 0.0 : fire(k, m.u, at);
        if (rest > 0) rest--;
        if (!m.resting && (r->primitive ? m.u >= 0.0 : m.s > 0.0)) rest = k->refractory;
        v = reset(k, &m);
        w = next_w(k, &m);
        r->u[at] = m.u;
        r->s[at] = m.s;
        r->v[at] = v;
        if (r->y != NULL) r->y[at] = output(k, &m);
        if (history != NULL) history[t] = m;
    }
}

void reference_serial_forward(const struct reference_neuron *r)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct cell k = cell_of(r, i);
        walk(&k, NULL);
    }
}

/* ---- backward -------------------------------------------------------------------------------- */
static void gated_gradients(const struct cell *k, const struct moment *m, size_t t, double dh,
                            double *dx, double *dv, double *dw)
{
    double g[8];
    for (size_t i = 0; i < 8; i++) g[i] = gate(k, i, t);
    const double a = 1.0 - g[ALPHA] * (1.0 - g[TAU]), u = m->v, s = m->w;
    const double da = dh * (u - u * g[GAMMA] * s);
    const double d[8] = {
        [ALPHA] = dh * g[LINEAR_DECAY] - da * (1.0 - g[TAU]),
        [BETA] = -dh * m->x * (1.0 - g[CONDUCT]),
        [GAMMA] = dh * (g[V_SUBRESET] * s - a * u * s),
        [TAU] = da * g[ALPHA],
        [LINEAR_DECAY] = -dh * (1.0 - g[ALPHA]),
        [V_SUBRESET] = -dh * (1.0 - g[GAMMA]) * s,
        [CONDUCT] = dh * m->x * g[BETA],
    };
    for (size_t i = 0; i < 8; i++) add(k, i, i == CONDUCT ? t : 0, d[i] * g[i] * (1.0 - g[i]));
    *dx = dh * (1.0 - g[BETA] * (1.0 - g[CONDUCT]));
    *dv = dh * (a - a * g[GAMMA] * s);
    *dw = -dh * (a * u * g[GAMMA] + (1.0 - g[GAMMA]) * g[V_SUBRESET]);
}

/* dx, dv and dw of the charge; dw holds the part that comes by the second state alone. */
static void charge_back(const struct cell *k, const struct moment *m, size_t t, double dh,
                        double *dx, double *dv, double *dw)
{
    const bool decay = k->r->spec->decay_input;
    const double own = *dw;
    *dx = dh * k->a;
    switch (k->kind) {
    case IF:
    case SILENT_IF: *dx = *dv = dh; break;
    case KLIF:
    case PLIF:
    case LIF:
    case LIAF:
    case ALIF:
    case SILENT_LIF:
        *dx = decay ? dh * k->a : dh;
        *dv = dh * (1.0 - k->a);
        if (k->kind == PLIF)
            add(k, 0, 0, dh * ((decay ? m->x : 0.0) - (m->v - k->rest)) * k->a * (1.0 - k->a));
        break;
    case QIF:
    case IZHIKEVICH:
        *dv = dh * (1.0 + param(k, "a0") * (2.0 * m->v - param(k, "v_rest") - param(k, "v_c")) *
                              k->a);
        if (k->kind == IZHIKEVICH) *dw = own - dh * k->a;
        break;
    case EIF:
        *dv = dh * (1.0 + (exp((m->v - param(k, "theta_rh")) / param(k, "delta_T")) - 1.0) * k->a);
        break;
    case CUBA: /* own is of the new current */
        *dx = dh + own;
        *dv = dh * param(k, "v_decay");
        *dw = (dh + own) * param(k, "c_decay");
        break;
    case GATED: gated_gradients(k, m, t, dh, dx, dv, dw); break;
    }
}

/* dL/ds of everything that uses the spike but the output; dL/dh of the reset goes to *dh. */
static double reset_back(const struct cell *k, const struct moment *m, double dv, double *dh)
{
    const struct spec_neuron *spec = k->r->spec;
    const double scale = scale_of(k);
    if (k->kind == GATED || silent(k) || m->resting) {
        *dh += dv;
        return 0.0;
    }
    *dh += dv * (spec->soft_reset ? 1.0 : 1.0 - m->s) / scale;
    if (k->kind == KLIF && param(k, "scale_reset") != 0)
        add(k, 0, 0, -dv * (spec->soft_reset ? m->h - m->s * k->theta : (1.0 - m->s) * m->h) /
                         (scale * scale));
    if (spec->soft_reset && k->learns_threshold)
        add(k, threshold_param(k->kind), 0, -dv * m->s / scale);
    if (spec->detach_reset) /* Izhikevich's jump to v_reset keeps its gradient */
        return k->kind == IZHIKEVICH && !spec->soft_reset ? dv * spec->v_reset : 0.0;
    return dv * (spec->soft_reset ? -k->theta / scale : spec->v_reset - m->h / scale);
}

static void step_back(const struct cell *k, const struct moment *m, size_t t, double dy, double *dx,
                      double *dv, double *dw)
{
    const struct spec_neuron *spec = k->r->spec;
    double dh = silent(k) ? dy : 0.0, ds = k->kind == LIAF || silent(k) ? 0.0 : dy, dtheta = 0.0;
    ds += reset_back(k, m, *dv, &dh);
    if (k->kind == LIAF) {
        const double direct = dy * activation(k, activated(k, m), true);
        dh += direct;
        if (param(k, "threshold_related") != 0) dtheta -= direct;
    }
    if (k->kind == IZHIKEVICH) {
        ds += param(k, "b") * *dw;
        dh += *dw * param(k, "a") / param(k, "tau_w");
        *dw *= 1.0 - 1.0 / param(k, "tau_w");
    }
    if (k->kind == ALIF || k->kind == GATED) ds += *dw;
    double du = m->resting ? 0.0 : ds * reference_surrogate(&spec->surrogate, m->u);
    if (!silent(k) && counts(k)) { /* u = h / theta */
        du /= k->theta;
        dtheta += du - du * m->u;
    }
    dh += du;
    dtheta -= du;
    if (k->kind == GATED) add(k, V_THRESHOLD, 0, dtheta * k->theta * (1.0 - k->theta));
    else if (k->learns_threshold) add(k, threshold_param(k->kind), 0, dtheta);
    if (k->kind == ALIF)
        *dw = *dw * exp(-1.0 / param(k, "tau_adaptation")) - du * param(k, "beta");
    if (k->kind == KLIF && !m->resting) {
        const bool on = m->h > 0.0;
        add(k, 0, 0, on ? dh * m->c : 0.0);
        dh = on ? dh * learned(k, 0) : 0.0;
    }
    const double kept = m->resting ? dh : 0.0;
    charge_back(k, m, t, m->resting ? 0.0 : dh, dx, dv, dw);
    *dv += kept;
}

void reference_serial_backward(const struct reference_neuron *r)
{
    struct moment history[SPEC_TIME_STEPS_MAX];
    assert(r->t <= SPEC_TIME_STEPS_MAX);
    const struct cell any = cell_of(r, 0);
    const size_t own = any.kind == GATED ? 8 : threshold_param(any.kind);
    for (size_t i = 0; i < own + (any.learns_threshold ? 1 : 0); i++) {
        const size_t values = any.values * (any.kind == GATED && i == CONDUCT ? r->t : 1);
        for (size_t j = 0; r->dw[i] != NULL && j < values; j++) r->dw[i][j] = 0.0;
    }
    for (size_t i = 0; i < r->n; i++) {
        const struct cell k = cell_of(r, i);
        double dv = 0.0, dw = 0.0;
        walk(&k, history);
        for (size_t t = r->t; t-- > 0;) {
            const size_t at = t * r->n + i;
            if (r->dv != NULL) dv += r->dv[at];
            step_back(&k, &history[t], t, r->ds[at], &r->dx[at], &dv, &dw);
        }
        if (r->dv0 != NULL) r->dv0[i] = dv;
        if (r->dw0 != NULL) r->dw0[i] = dw;
    }
}
