/* isa_masked_psn: masked parallel spiking neuron, PSN with W * (lambda M + 1 - lambda), M the band
 * of the last k inputs (docs/equations.md PSN-2). lambda, a buffer, grows over training; from 1 on
 * only the band is computed. Called through neuron_ops, any thread; compiled once per instruction
 * set. */
#include "worker/neurons/isa_parallel_matrix.h"
#include "worker/neurons/isa_parallel_stream.h"

static size_t masked_k(const struct neuron *n) { return (size_t)spec_neuron_param(n->spec, "k"); }

static void masked_prepare(const struct neuron *n, const float *const w[], float k[])
{
    (void)n;
    k[0] = w[2][0]; /* lambda */
}

/* What W(i, j) is multiplied with. */
static float masked_factor(const struct neuron_run *r, size_t band, size_t i, size_t j)
{
    return j <= i && i < j + band ? 1.0f : 1.0f - r->k[0];
}

static void masked_over_time(const struct neuron_run *r, float *out)
{
    const size_t t = r->n->t, band = masked_k(r->n);
    for (size_t i = 0; i < t; i++)
        for (size_t j = 0; j < t; j++)
            out[i * t + j] = r->w[0][i * t + j] * masked_factor(r, band, i, j);
}

/* The masked weights lie behind the sums. */
static struct parallel_weights masked_weights(const struct neuron_run *r, float *memory)
{
    const size_t t = r->n->t;
    const bool banded = r->k[0] >= 1.0f;
    float *w = memory + matrix_memory(r->n);
    masked_over_time(r, w);
    return (struct parallel_weights){ .w = w, .row = (ptrdiff_t)t, .column = 1,
                                      .below = banded ? masked_k(r->n) - 1 : t,
                                      .above = banded ? 0 : t, .bias = r->w[1], .bias_step = 1 };
}

static const struct parallel_model masked_model = {
    .weights = masked_weights,
    .begin = matrix_clear,
    .column_sums = matrix_column_sums,
    .finish = matrix_flush,
};

static void masked_forward(const struct neuron_run *r, const struct neuron_cells *c)
{
    parallel_forward(&masked_model, r, c);
}

static void masked_backward(const struct neuron_run *r, const struct neuron_cells *c)
{
    parallel_backward(&masked_model, r, c);
}

static size_t masked_history(const struct neuron *n) { return stream_lag(n, masked_k(n)); }

static const char *masked_no_stream(const struct neuron_run *r)
{
    return r->k[0] >= 1.0f ? NULL : "its lambda is below 1, weights reach over all time-steps";
}

/* Rows of W for the steps of this span, columns from `lag` steps before it. */
static void masked_stream(const struct neuron_run *r, const struct neuron_cells *c)
{
    struct stream s = stream_begin(r, c, masked_history(r->n));
    const size_t t_count = r->n->t, wide = s.lag + s.steps, first = c->first + c->t.begin;
    float *w = stream_memory(&s);
    for (size_t i = 0; i < s.steps; i++)
        for (size_t j = 0; j < wide; j++) {
            const bool band = j >= i && j <= i + s.lag && first + j >= s.lag;
            w[i * wide + j] = band ? r->w[0][(first + i) * t_count + first + j - s.lag] : 0.0f;
        }
    s.w = (struct parallel_weights){ .w = w, .row = (ptrdiff_t)wide, .column = 1, .below = wide,
                                     .above = wide, .bias = r->w[1] + first, .bias_step = 1 };
    stream_run(&s);
}

static size_t masked_scratch_floats(const struct neuron *n)
{
    return parallel_scratch(n, matrix_memory(n) + n->t * n->t);
}

/* "_lambda_" is the name PyTorch files have. */
static size_t masked_params(const struct neuron *n, struct neuron_param out[NEURON_PARAMS_MAX])
{
    const size_t count = matrix_params(n, out);
    out[count] = (struct neuron_param){ .name = "_lambda_", .n_dims = 0, .buffer = true };
    return count + 1;
}

static void masked_init(const struct neuron *n, size_t i, struct philox_key key, uint32_t number,
                        float *values)
{
    if (i == 2) values[0] = (float)spec_neuron_param(n->spec, "lambda");
    else parallel_init(i, n->t, i == 0 ? n->t * n->t : n->t, key, number, values);
}

static void masked_gradient(const struct neuron_run *r, const double *sums, size_t i, float *dw)
{
    const size_t t = r->n->t, band = masked_k(r->n);
    for (size_t j = 0; i == 1 && j < t; j++) dw[j] = (float)sums[t * t + j];
    for (size_t j = 0; i == 0 && j < t * t; j++)
        dw[j] = (float)(sums[j] * (double)masked_factor(r, band, j / t, j % t));
}

/* The paper's code: min(1, rate * epoch / (epochs - 1)), beginning at the spec's lambda. */
static void masked_schedule(const struct neuron *n, uint64_t epoch, uint64_t epochs,
                            float *const buffers[])
{
    const double start = spec_neuron_param(n->spec, "lambda");
    const double rate = spec_neuron_param(n->spec, "lambda_rate");
    const double done = epochs > 1 ? (double)epoch / (double)(epochs - 1) : 0.0;
    const double lambda = start + (1.0 - start) * rate * done;
    buffers[2][0] = lambda < 1.0 ? (float)lambda : 1.0f;
}

extern const struct neuron_ops ISA_SYMBOL(neuron_masked_psn_ops);
const struct neuron_ops ISA_SYMBOL(neuron_masked_psn_ops) = {
    .params = masked_params,
    .init = masked_init,
    .prepare = masked_prepare,
    .scratch_floats = masked_scratch_floats,
    .forward = masked_forward,
    .stream = masked_stream,
    .history = masked_history,
    .no_stream = masked_no_stream,
    .backward = masked_backward,
    .gradient = masked_gradient,
    .schedule = masked_schedule,
    .over_time = masked_over_time,
    .macs = matrix_macs,
};
