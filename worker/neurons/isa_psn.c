/* isa_psn: parallel spiking neuron, h = W x + b over all time-steps, W [T][T] (docs/equations.md
 * PSN-1). Called through neuron_ops, any thread; compiled once per instruction set. */
#include "worker/neurons/isa_parallel_matrix.h"

static struct parallel_weights psn_weights(const struct neuron_run *r, float *memory)
{
    (void)memory;
    const size_t t = r->n->t;
    return (struct parallel_weights){ .w = r->w[0], .row = (ptrdiff_t)t, .column = 1, .below = t,
                                      .above = t, .bias = r->w[1], .bias_step = 1 };
}

static const struct parallel_model psn_model = {
    .weights = psn_weights,
    .begin = matrix_clear,
    .column_sums = matrix_column_sums,
    .finish = matrix_flush,
};

static void psn_forward(const struct neuron_run *r, const struct neuron_cells *c)
{
    parallel_forward(&psn_model, r, c);
}

static void psn_backward(const struct neuron_run *r, const struct neuron_cells *c)
{
    parallel_backward(&psn_model, r, c);
}

static size_t psn_scratch_floats(const struct neuron *n)
{
    return parallel_scratch(n, matrix_memory(n));
}

static void psn_init(const struct neuron *n, size_t i, struct philox_key key, uint32_t number,
                     float *values)
{
    parallel_init(i, n->t, i == 0 ? n->t * n->t : n->t, key, number, values);
}

static void psn_gradient(const struct neuron_run *r, const double *sums, size_t i, float *dw)
{
    const size_t t = r->n->t;
    const double *from = i == 0 ? sums : sums + t * t;
    for (size_t j = 0; j < (i == 0 ? t * t : t); j++) dw[j] = (float)from[j];
}

static void psn_over_time(const struct neuron_run *r, float *out)
{
    memcpy(out, r->w[0], r->n->t * r->n->t * sizeof out[0]);
}

extern const struct neuron_ops ISA_SYMBOL(neuron_psn_ops);
const struct neuron_ops ISA_SYMBOL(neuron_psn_ops) = {
    .params = matrix_params,
    .init = psn_init,
    .scratch_floats = psn_scratch_floats,
    .forward = psn_forward,
    .backward = psn_backward,
    .gradient = psn_gradient,
    .over_time = psn_over_time,
    .macs = matrix_macs,
};
