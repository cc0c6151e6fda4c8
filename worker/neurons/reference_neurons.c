/* reference_neurons: see reference_neurons.h. Formulas: docs/equations.md. */
#include "worker/neurons/reference_neurons.h"

#include "worker/neurons/reference_serial.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- surrogates: g_<id> and G_<id> of every row ---------------------------------------------- */
#define PI 3.14159265358979323846

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

static double g_atan(const double *k, double x)
{
    double z = PI / 2.0 * k[0] * x;
    return k[0] / 2.0 / (1.0 + z * z);
}
static double primitive_atan(const double *k, double x)
{
    return atan(PI / 2.0 * k[0] * x) / PI + 0.5;
}

static double g_sigmoid(const double *k, double x)
{
    double s = sigmoid(k[0] * x);
    return k[0] * s * (1.0 - s);
}
static double primitive_sigmoid(const double *k, double x) { return sigmoid(k[0] * x); }

static double g_piecewise_quadratic(const double *k, double x)
{
    return fabs(x) > 1.0 / k[0] ? 0.0 : k[0] - k[0] * k[0] * fabs(x);
}
static double primitive_piecewise_quadratic(const double *k, double x)
{
    if (fabs(x) > 1.0 / k[0]) return x > 0.0 ? 1.0 : 0.0;
    return -k[0] * k[0] / 2.0 * fabs(x) * x + k[0] * x + 0.5;
}

static double g_piecewise_exp(const double *k, double x)
{
    return k[0] / 2.0 * exp(-k[0] * fabs(x));
}
static double primitive_piecewise_exp(const double *k, double x)
{
    double tail = 0.5 * exp(-k[0] * fabs(x));
    return x < 0.0 ? tail : 1.0 - tail;
}

static double g_soft_sign(const double *k, double x)
{
    double d = 1.0 / k[0] + fabs(x);
    return 1.0 / (2.0 * k[0] * d * d);
}
static double primitive_soft_sign(const double *k, double x)
{
    return (k[0] * x / (1.0 + k[0] * fabs(x)) + 1.0) / 2.0;
}

static double g_erf(const double *k, double x)
{
    return k[0] / sqrt(PI) * exp(-(k[0] * x) * (k[0] * x));
}
static double primitive_erf(const double *k, double x) { return 0.5 * erfc(-k[0] * x); }

static double g_nonzero_sign_log_abs(const double *k, double x)
{
    return 1.0 / (1.0 / k[0] + fabs(x));
}
static double primitive_nonzero_sign_log_abs(const double *k, double x)
{
    return (x >= 0.0 ? 1.0 : -1.0) * log(k[0] * fabs(x) + 1.0);
}

static double g_piecewise_leaky_relu(const double *k, double x)
{
    return fabs(x) < k[0] ? k[2] / k[0] : k[1];
}
/* Of the slope 1/(2w); SpikingJelly's release has no other. */
static double primitive_piecewise_leaky_relu(const double *k, double x)
{
    if (x < -k[0]) return k[1] * x + k[1] * k[0];
    if (x > k[0]) return k[1] * x - k[1] * k[0] + 1.0;
    return x / (2.0 * k[0]) + 0.5;
}

static double g_squarewave_fourier_series(const double *k, double x)
{
    double sum = 0.0;
    for (int i = 1; i < (int)k[0]; i++) sum += cos((2 * i - 1) * 2.0 * PI / k[1] * x);
    return 4.0 / k[1] * sum;
}
static double primitive_squarewave_fourier_series(const double *k, double x)
{
    double sum = 0.0;
    for (int i = 1; i < (int)k[0]; i++) sum += sin((2 * i - 1) * 2.0 * PI / k[1] * x) / (2 * i - 1);
    return 0.5 + 2.0 / PI * sum;
}

static double g_s2nn(const double *k, double x)
{
    return x < 0.0 ? g_sigmoid(k, x) : k[1] / (x + 1.0);
}
static double primitive_s2nn(const double *k, double x)
{
    return x < 0.0 ? sigmoid(k[0] * x) : k[1] * log(fabs(x + 1.0) + 1e-5) + 0.5;
}

static double g_q_pseudo_spike(const double *k, double x)
{
    return pow(1.0 + 2.0 * fabs(x) / (k[0] - 1.0), -k[0]);
}
static double primitive_q_pseudo_spike(const double *k, double x)
{
    double tail = 0.5 * pow(1.0 + 2.0 * fabs(x) / (k[0] - 1.0), 1.0 - k[0]);
    return x < 0.0 ? tail : 1.0 - tail;
}

static double g_leaky_k_relu(const double *k, double x) { return x >= 0.0 ? k[1] : k[0]; }
static double primitive_leaky_k_relu(const double *k, double x) { return g_leaky_k_relu(k, x) * x; }

static double g_fake_numerical_gradient(const double *k, double x)
{
    return fmin(1.0 / fabs(x), k[0]);
}
#define primitive_fake_numerical_gradient NULL

static double g_log_tailed_relu(const double *k, double x)
{
    return x <= 0.0 ? k[0] : x <= 1.0 ? 1.0 : 1.0 / x;
}
static double primitive_log_tailed_relu(const double *k, double x)
{
    return x <= 0.0 ? k[0] * x : x <= 1.0 ? x : log(x) + 1.0;
}

static double g_deterministic_pass(const double *k, double x)
{
    (void)k;
    (void)x;
    return 1.0;
}
static double primitive_deterministic_pass(const double *k, double x)
{
    (void)k;
    return x;
}

static double g_rect(const double *k, double x) { return fabs(x) < 0.5 / k[0] ? k[0] : 0.0; }
static double primitive_rect(const double *k, double x)
{
    return fmin(fmax(k[0] * x + 0.5, 0.0), 1.0);
}

static double g_super_spike(const double *k, double x)
{
    return k[0] / ((1.0 + fabs(x)) * (1.0 + fabs(x)));
}
#define primitive_super_spike NULL

static double g_multi_level_spike_count(const double *k, double x)
{
    return x >= 0.0 && x <= k[0] ? 1.0 : 0.0;
}
static double primitive_multi_level_spike_count(const double *k, double x)
{
    return fmin(fmax(x, 0.0), k[0]);
}

static double g_poisson_pass(const double *k, double x) { return g_deterministic_pass(k, x); }
static double primitive_poisson_pass(const double *k, double x)
{
    return primitive_deterministic_pass(k, x);
}

struct reference_surrogate {
    double (*g)(const double *k, double x), (*primitive)(const double *k, double x);
};
static const struct reference_surrogate surrogates[] = {
#define SURROGATE(id, ...) { g_##id, primitive_##id },
#include "common/spec_surrogates.def"
#undef SURROGATE
};

static enum spec_firing firing_of(const struct spec_surrogate *s)
{
    size_t count;
    return spec_surrogate_kinds(&count)[s->kind].firing;
}

bool reference_fires_counts(const struct spec_surrogate *s)
{
    return firing_of(s) == SPEC_FIRES_COUNT;
}

double reference_spikes(const struct spec_surrogate *s, double x, double drawn)
{
    switch (firing_of(s)) {
    case SPEC_FIRES_STEP: return x >= 0.0 ? 1.0 : 0.0;
    case SPEC_FIRES_COUNT: return rint(fmin(fmax(x, 0.0), s->params[0])); /* ties to even */
    case SPEC_FIRES_BERNOULLI: return drawn < x ? 1.0 : 0.0;
    }
    return 0.0;
}

double reference_surrogate(const struct spec_surrogate *s, double x)
{
    return surrogates[s->kind].g(s->params, x);
}

double reference_primitive(const struct spec_surrogate *s, double x)
{
    const struct reference_surrogate *r = &surrogates[s->kind];
    return r->primitive == NULL ? (double)NAN : r->primitive(s->params, x);
}

/* ---- parallel spiking neuron ----------------------------------------------------------------- */
static double fire(const struct reference_neuron *r, double u)
{
    if (r->primitive) return reference_primitive(&r->spec->surrogate, u);
    return u >= 0.0 ? 1.0 : 0.0;
}

static bool is_model(const struct reference_neuron *r, const char *name)
{
    size_t count;
    return strcmp(spec_neuron_models(&count)[r->spec->model].name, name) == 0;
}

/* Which element of the weights W(t, j) is; false where W is zero. */
static bool psn_element(const struct reference_neuron *r, size_t t, size_t j, size_t *at)
{
    *at = t * r->t + j;
    if (!is_model(r, "sliding_psn")) return true;
    const size_t k = (size_t)spec_neuron_param(r->spec, "k");
    *at = j + k - 1 - t;
    return j <= t && t < j + k;
}

/* What a masked PSN multiplies W(t, j) with. */
static double psn_mask(const struct reference_neuron *r, size_t t, size_t j)
{
    if (!is_model(r, "masked_psn")) return 1.0;
    const double k = spec_neuron_param(r->spec, "k");
    const bool inside = j <= t && (double)(t - j) < k;
    return inside ? 1.0 : 1.0 - r->lambda;
}

static size_t psn_bias(const struct reference_neuron *r, size_t t)
{
    return is_model(r, "sliding_psn") ? 0 : t;
}

static void psn_forward(const struct reference_neuron *r)
{
    for (size_t t = 0; t < r->t; t++)
        for (size_t i = 0; i < r->n; i++) {
            double h = r->w[1][psn_bias(r, t)];
            for (size_t j = 0, at; j < r->t; j++)
                if (psn_element(r, t, j, &at))
                    h += psn_mask(r, t, j) * r->w[0][at] * r->x[j * r->n + i];
            r->u[t * r->n + i] = r->v[t * r->n + i] = h;
            r->s[t * r->n + i] = fire(r, h);
        }
}

static void psn_backward(const struct reference_neuron *r)
{
    for (size_t k = 0; k < r->t * r->n; k++) r->dx[k] = 0.0;
    for (size_t t = 0, at; t < r->t; t++) {
        r->dw[1][psn_bias(r, t)] = 0.0;
        for (size_t j = 0; j < r->t; j++)
            if (psn_element(r, t, j, &at)) r->dw[0][at] = 0.0;
    }
    for (size_t t = 0; t < r->t; t++)
        for (size_t i = 0; i < r->n; i++) {
            const double g = reference_surrogate(&r->spec->surrogate, r->u[t * r->n + i]);
            const double dh = r->ds[t * r->n + i] * g;
            r->dw[1][psn_bias(r, t)] += dh;
            for (size_t j = 0, at; j < r->t; j++) {
                if (!psn_element(r, t, j, &at)) continue;
                const double mask = psn_mask(r, t, j);
                r->dw[0][at] += mask * dh * r->x[j * r->n + i];
                r->dx[j * r->n + i] += mask * dh * r->w[0][at];
            }
        }
}

static bool is_serial(const struct reference_neuron *r)
{
    size_t count;
    return spec_neuron_models(&count)[r->spec->model].serial;
}

void reference_neuron_forward(const struct reference_neuron *r)
{
    if (is_serial(r)) reference_serial_forward(r);
    else psn_forward(r);
}

void reference_neuron_backward(const struct reference_neuron *r)
{
    assert(r->ds != NULL && r->dx != NULL);
    if (is_serial(r)) reference_serial_backward(r);
    else psn_backward(r);
}
