/* isa_gated_lif: gated LIF (docs/equations.md GLIF-1). Leak, input and reset are mixed by learned
 * gates; every parameter is held before its sigmoid. The second state w is the spike of the step
 * before, which resets in the next charge. Called through neuron_ops, any thread; compiled once per
 * instruction set. */
#include "worker/neurons/isa_serial_types.h"

enum { ALPHA, BETA, GAMMA, TAU, V_THRESHOLD, LINEAR_DECAY, V_SUBRESET, CONDUCT, GATES };
static const char *const gate_names[GATES] = { "alpha", "beta", "gamma", "tau", "v_threshold",
                                               "linear_decay", "v_subreset", "conduct" };

LANES_INLINE void gated_learned(struct serial_cell *m)
{
    for (size_t i = 0; i < CONDUCT; i++) m->p[i] = lanes_sigmoid(serial_learned(m, i, 0));
    m->threshold = m->p[V_THRESHOLD];
}

/* A = 1 - alpha (1 - tau): what a step leaves of the potential. */
LANES_INLINE lanes_f gated_kept(const struct serial_cell *m)
{
    return 1.0f - m->p[ALPHA] * (1.0f - m->p[TAU]);
}

LANES_INLINE lanes_f gated_charge(const struct serial_cell *m, struct serial_state s, lanes_f x,
                                  size_t t)
{
    const lanes_f conduct = lanes_sigmoid(serial_learned(m, CONDUCT, t));
    lanes_f kept = gated_kept(m) * s.v;
    lanes_f in = x * (1.0f - m->p[BETA] * (1.0f - conduct));
    lanes_f reset = kept * m->p[GAMMA] + (1.0f - m->p[GAMMA]) * m->p[V_SUBRESET];
    return kept - (1.0f - m->p[ALPHA]) * m->p[LINEAR_DECAY] + in - reset * s.w;
}

/* Gradients by the gates' values; their sigmoids follow in gated_gradient. */
LANES_INLINE void gated_charged(const struct serial_cell *m, const struct serial_seen *k,
                                lanes_f dh, struct serial_flow *f)
{
    const lanes_f conduct = lanes_sigmoid(serial_learned(m, CONDUCT, k->t));
    const lanes_f kept = gated_kept(m), u = k->v, s = k->w, *p = m->p;
    lanes_f da = dh * (u - u * p[GAMMA] * s);
    f->sum[ALPHA] = f->sum[ALPHA] + (dh * p[LINEAR_DECAY] - da * (1.0f - p[TAU]));
    f->sum[BETA] = f->sum[BETA] - dh * k->x * (1.0f - conduct);
    f->sum[GAMMA] = f->sum[GAMMA] + dh * (p[V_SUBRESET] - kept * u) * s;
    f->sum[TAU] = f->sum[TAU] + da * p[ALPHA];
    f->sum[LINEAR_DECAY] = f->sum[LINEAR_DECAY] - dh * (1.0f - p[ALPHA]);
    f->sum[V_SUBRESET] = f->sum[V_SUBRESET] - dh * (1.0f - p[GAMMA]) * s;
    f->step = dh * k->x * p[BETA];
    f->dx = dh * (1.0f - p[BETA] * (1.0f - conduct));
    f->dw = -dh * (kept * u * p[GAMMA] + (1.0f - p[GAMMA]) * p[V_SUBRESET]);
    f->dv = dh * (kept - kept * p[GAMMA] * s);
}

LANES_INLINE lanes_f gated_fired(const struct serial_seen *k, lanes_f ds, struct serial_flow *f)
{
    lanes_f du = (ds + f->dw) * k->g;
    f->sum[V_THRESHOLD] = f->sum[V_THRESHOLD] - du;
    return f->dv + du;
}

#define SERIAL_STORES 1
#define SERIAL_SUMS 7
#define SERIAL_STEP_SUM 1
#define SERIAL_LEARNED gated_learned
#define SERIAL_CHARGE gated_charge
#define SERIAL_RESET(m, h, spike) ((void)(m), (void)(spike), h)
#define SERIAL_NEXT(m, s, x, h, spike) lanes_select(spike, lanes_set(1.0f), lanes_set(0.0f))
#define SERIAL_FIRED(m, k, ds, f) gated_fired(k, ds, f)
#define SERIAL_CHARGED gated_charged
#include "worker/neurons/isa_serial.h"

static size_t gated_params(const struct neuron *n, struct neuron_param out[NEURON_PARAMS_MAX])
{
    for (size_t i = 0; i < GATES; i++)
        out[i] = neuron_cell_param(n, gate_names[i], i == CONDUCT ? n->t : 0);
    return GATES;
}

/* x with sigmoid(x) = p. */
static float logit(double p)
{
    return lanes_log(lanes_set((float)p))[0] - lanes_log(lanes_set((float)(1.0 - p)))[0];
}

/* Mixing gates near one half, uniform in +-0.1 before the sigmoid; the linear decay empties a cell
 * that is half way to its threshold in T steps. */
static void gated_init(const struct neuron *n, size_t i, struct philox_key key, uint32_t number,
                       float *values)
{
    const size_t count = n->params[i].values;
    const double threshold = spec_neuron_param(n->spec, "init_v_threshold");
    if (i <= GAMMA) {
        philox_fill_uniform(key, 0, 0, number, values, count);
        for (size_t j = 0; j < count; j++) values[j] = 0.2f * (values[j] - 0.5f);
        return;
    }
    const double first = i == TAU            ? spec_neuron_param(n->spec, "init_tau")
                         : i == CONDUCT      ? spec_neuron_param(n->spec, "init_conduct")
                         : i == LINEAR_DECAY ? threshold / (2.0 * (double)n->t)
                                             : threshold;
    const float value = logit(first);
    for (size_t j = 0; j < count; j++) values[j] = value;
}

static float gated_sigmoid(float w) { return lanes_sigmoid(lanes_set(w))[0]; }

static void gated_gradient(const struct neuron_run *r, const double *sums, size_t i, float *dw)
{
    const struct neuron_param *p = &r->n->params[i];
    for (size_t j = 0; j < p->floats; j++) {
        const double g = (double)gated_sigmoid(r->w[i][j]);
        dw[j] = (float)(sums[p->sums + j] * g * (1.0 - g));
    }
}

/* A = 1 - 1/tau of a leaky cell; the mean over the values there are. */
static double gated_time_constant(const struct neuron_run *r)
{
    const struct neuron *n = r->n;
    const size_t channels = n->scope == SPEC_SCOPE_LAYER ? 1 : cells_stored(n->c);
    double sum = 0.0;
    for (size_t j = 0; j < n->params[ALPHA].floats; j++)
        if (n->scope == SPEC_SCOPE_LAYER || j % channels < n->c)
            sum += 1.0 / (double)(gated_sigmoid(r->w[ALPHA][j]) *
                                  (1.0f - gated_sigmoid(r->w[TAU][j])));
    return sum / (double)n->params[ALPHA].values;
}

extern const struct neuron_ops ISA_SYMBOL(neuron_gated_lif_ops);
const struct neuron_ops ISA_SYMBOL(neuron_gated_lif_ops) = {
    .params = gated_params,
    .init = gated_init,
    SERIAL_OPS,
    .gradient = gated_gradient,
    .time_constant = gated_time_constant,
};
