/* isa_sliding_psn: sliding parallel spiking neuron, h[t] = sum over i of w[i] x[t - k + 1 + i] + b,
 * x = 0 before the start; one w [k] and one b for all time-steps (docs/equations.md PSN-3). Called
 * through neuron_ops, any thread; compiled once per instruction set. */
#include "worker/neurons/isa_parallel_stream.h"

#define SLIDING_MARGIN (PARALLEL_ROWS - 1) /* zeros that tiles read on both sides of the taps */
#define SLIDING_STEPS (PARALLEL_PENDING / CELL_BLOCKS) /* of a column, summed in float */

static size_t sliding_k(const struct neuron *n) { return (size_t)spec_neuron_param(n->spec, "k"); }

/* W is a band of Toeplitz form: w(i, j) = taps[j - i + k - 1]. */
static struct parallel_weights sliding_weights(const struct neuron_run *r, float *memory)
{
    const size_t k = sliding_k(r->n);
    memset(memory, 0, (k + 2 * SLIDING_MARGIN) * sizeof memory[0]);
    memcpy(memory + SLIDING_MARGIN, r->w[0], k * sizeof memory[0]);
    return (struct parallel_weights){ .w = memory + SLIDING_MARGIN + k - 1, .row = -1, .column = 1,
                                      .below = k - 1, .above = 0, .bias = r->w[1] };
}

/* Sum over steps [t, end) of dh[t] * x[t - lag], 16 lanes; x NULL: of dh alone. */
LANES_INLINE lanes_f sliding_piece(const float *dh, const float *x, size_t lag, size_t t,
                                   size_t end, size_t blocks)
{
    lanes_f acc[CELL_BLOCKS];
    for (size_t b = 0; b < blocks; b++) acc[b] = lanes_set(0.0f);
    for (; t < end; t++)
        for (size_t b = 0; b < blocks; b++) {
            lanes_f d = lanes_load(dh + (t * blocks + b) * LANES);
            if (x == NULL) acc[b] = acc[b] + d;
            else acc[b] = lanes_fma(d, lanes_load(x + ((t - lag) * blocks + b) * LANES), acc[b]);
        }
    for (size_t b = 1; b < blocks; b++) acc[0] = acc[0] + acc[b];
    return acc[0];
}

LANES_INLINE double sliding_sum(const struct parallel *p, const float *x, size_t lag,
                                size_t blocks)
{
    double sum = 0.0;
    for (size_t t = lag; t < p->r->n->t; t += SLIDING_STEPS) {
        const size_t end = t + SLIDING_STEPS < p->r->n->t ? t + SLIDING_STEPS : p->r->n->t;
        sum += lanes_total(sliding_piece(p->h, x, lag, t, end, blocks));
    }
    return sum;
}

LANES_INLINE void sliding_column(const struct parallel *p, size_t blocks)
{
    const size_t k = p->w.below + 1;
    for (size_t i = 0; i < k; i++) p->c->sums[i] += sliding_sum(p, p->x, k - 1 - i, blocks);
    p->c->sums[k] += sliding_sum(p, NULL, 0, blocks);
}

static void sliding_column_sums(struct parallel *p, size_t blocks)
{
    switch (blocks) {
    case 1: sliding_column(p, 1); break;
    case 2: sliding_column(p, 2); break;
    case 3: sliding_column(p, 3); break;
    default: sliding_column(p, 4); break;
    }
}

static const struct parallel_model sliding_model = {
    .weights = sliding_weights,
    .column_sums = sliding_column_sums,
};

static void sliding_forward(const struct neuron_run *r, const struct neuron_cells *c)
{
    parallel_forward(&sliding_model, r, c);
}

static void sliding_backward(const struct neuron_run *r, const struct neuron_cells *c)
{
    parallel_backward(&sliding_model, r, c);
}

static size_t sliding_history(const struct neuron *n) { return stream_lag(n, sliding_k(n)); }

/* The band of Toeplitz form again: w(i, j) = taps[j - i], of the last lag + 1 taps. */
static void sliding_stream(const struct neuron_run *r, const struct neuron_cells *c)
{
    struct stream s = stream_begin(r, c, sliding_history(r->n));
    const size_t taps = s.lag + 1, k = sliding_k(r->n);
    float *memory = stream_memory(&s);
    memset(memory, 0, (taps + 2 * SLIDING_MARGIN) * sizeof memory[0]);
    memcpy(memory + SLIDING_MARGIN, r->w[0] + k - taps, taps * sizeof memory[0]);
    s.w = (struct parallel_weights){ .w = memory + SLIDING_MARGIN, .row = -1, .column = 1,
                                     .above = s.lag, .bias = r->w[1] };
    stream_run(&s);
}

static size_t sliding_scratch_floats(const struct neuron *n)
{
    return parallel_scratch(n, sliding_k(n) + 2 * SLIDING_MARGIN);
}

static size_t sliding_params(const struct neuron *n, struct neuron_param out[NEURON_PARAMS_MAX])
{
    out[0] = (struct neuron_param){ .name = "weight", .dims = { sliding_k(n) }, .n_dims = 1 };
    out[1] = (struct neuron_param){ .name = "bias", .n_dims = 0 };
    return 2;
}

/* With exp_init 1 for the present and half of the next for each step before it: a leaky cell of
 * tau = 2 without reset. Else uniform in +-1/sqrt(k). */
static void sliding_init(const struct neuron *n, size_t i, struct philox_key key, uint32_t number,
                         float *values)
{
    const size_t k = sliding_k(n);
    if (i != 0 || spec_neuron_param(n->spec, "exp_init") == 0) {
        parallel_init(i, k, i == 0 ? k : 1, key, number, values);
        return;
    }
    values[k - 1] = 1.0f;
    for (size_t j = k - 1; j-- > 0;) values[j] = values[j + 1] / 2.0f;
}

static void sliding_gradient(const struct neuron_run *r, const double *sums, size_t i, float *dw)
{
    const size_t k = sliding_k(r->n);
    if (i != 0) dw[0] = (float)sums[k];
    else
        for (size_t j = 0; j < k; j++) dw[j] = (float)sums[j];
}

static void sliding_over_time(const struct neuron_run *r, float *out)
{
    const size_t k = sliding_k(r->n), t_count = r->n->t;
    memset(out, 0, t_count * t_count * sizeof out[0]);
    for (size_t t = 0; t < t_count; t++)
        for (size_t lag = 0; lag < k && lag <= t; lag++)
            out[t * t_count + t - lag] = r->w[0][k - 1 - lag];
}

/* Taps that fall on x: all k of them from step k - 1 on. */
static uint64_t sliding_macs(const struct neuron *n)
{
    uint64_t macs = 0;
    for (size_t t = 0; t < n->t; t++) macs += t + 1 < sliding_k(n) ? t + 1 : sliding_k(n);
    return macs;
}

extern const struct neuron_ops ISA_SYMBOL(neuron_sliding_psn_ops);
const struct neuron_ops ISA_SYMBOL(neuron_sliding_psn_ops) = {
    .params = sliding_params,
    .init = sliding_init,
    .scratch_floats = sliding_scratch_floats,
    .forward = sliding_forward,
    .stream = sliding_stream,
    .history = sliding_history,
    .backward = sliding_backward,
    .gradient = sliding_gradient,
    .over_time = sliding_over_time,
    .macs = sliding_macs,
};
