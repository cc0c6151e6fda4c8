/* isa_psn: parallel spiking neuron, h = W x + b over all time-steps at once, s = [h >= 0]
 * (docs/equations.md PSN-1). Called through neuron_ops, any thread; compiled once per instruction
 * set.
 *
 * Every h[t] is one fma chain over source time j ascending from +0, then + b[t]. dx[j] is one chain
 * over t ascending. dW and db are summed per lane in float over one sample, then in double. */
#include "worker/neurons/isa_cells.h"

#define PSN_ROWS 4 /* steps computed together: 4 x 4 blocks of accumulators stay in registers */

/* out[i][blocks][16] = sum over j ascending of w(i, j) * in[j][blocks][16], i in [i0, i0 + rows).
 * w(i, j) = w[i*wi + j*wj]; bias[i] is added last. rows and blocks are constants when expanded. */
LANES_INLINE void psn_rows(const float *w, size_t wi, size_t wj, const float *bias, const float *in,
                           float *out, size_t t_count, size_t i0, size_t rows, size_t blocks)
{
    lanes_f sum[PSN_ROWS][CELL_BLOCKS];
    for (size_t i = 0; i < rows; i++)
        for (size_t b = 0; b < blocks; b++) sum[i][b] = lanes_set(0.0f);
    for (size_t j = 0; j < t_count; j++) {
        lanes_f x[CELL_BLOCKS];
        for (size_t b = 0; b < blocks; b++) x[b] = lanes_load(in + (j * blocks + b) * LANES);
        for (size_t i = 0; i < rows; i++) {
            lanes_f factor = lanes_set(w[(i0 + i) * wi + j * wj]);
            for (size_t b = 0; b < blocks; b++) sum[i][b] = lanes_fma(factor, x[b], sum[i][b]);
        }
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t b = 0; b < blocks; b++) {
            lanes_f value = bias != NULL ? sum[i][b] + bias[i0 + i] : sum[i][b];
            lanes_store(out + ((i0 + i) * blocks + b) * LANES, value);
        }
}

LANES_INLINE void psn_product(const float *w, size_t wi, size_t wj, const float *bias,
                              const float *in, float *out, size_t t_count, size_t blocks)
{
    size_t i = 0;
    for (; i + PSN_ROWS <= t_count; i += PSN_ROWS)
        psn_rows(w, wi, wj, bias, in, out, t_count, i, PSN_ROWS, blocks);
    for (; i < t_count; i++) psn_rows(w, wi, wj, bias, in, out, t_count, i, 1, blocks);
}

LANES_INLINE void psn_load(const struct neuron_plane *p, struct pixel at, size_t first,
                           size_t t_count, size_t blocks, float *out)
{
    for (size_t t = 0; t < t_count; t++)
        for (size_t b = 0; b < blocks; b++)
            lanes_store(out + (t * blocks + b) * LANES, lanes_load(plane_at(p, t, at, first + b)));
}

/* h of one column: x[T][blocks][16] is filled, then h[T][blocks][16]. */
LANES_INLINE void psn_charge(const struct neuron_run *r, const struct neuron_cells *c,
                             struct pixel at, size_t first, size_t blocks, float *x, float *h)
{
    const size_t t = r->n->t;
    psn_load(&c->x, at, first, t, blocks, x);
    psn_product(r->w[0], t, 1, r->w[1], x, h, t, blocks);
}

LANES_INLINE void psn_column_forward(const struct neuron_run *r, const struct neuron_cells *c,
                                     struct pixel at, size_t w, size_t blocks)
{
    const size_t t_count = r->n->t, first = w * CELL_BLOCKS;
    const uint64_t valid = cells_valid(c, w);
    float *x = r->scratch, *h = x + t_count * NEURON_COLUMN;
    psn_charge(r, c, at, first, blocks, x, h);
    for (size_t t = 0; t < t_count; t++) {
        uint64_t word = 0;
        for (size_t b = 0; b < blocks; b++) {
            lanes_f value = lanes_load(h + (t * blocks + b) * LANES);
            word |= lanes_word(lanes_ge(value, lanes_set(0.0f))) << (b * LANES);
            if (c->u.data != NULL) lanes_store(plane_at(&c->u, t, at, first + b), value);
            if (c->v.data != NULL) lanes_store(plane_at(&c->v, t, at, first + b), value);
        }
        *spikes_at(c, t, at, w) = word & valid;
    }
}

static void psn_forward(const struct neuron_run *r, const struct neuron_cells *c)
{
    for (struct pixel at = { 0, 0 }; at.y < c->rows; at = pixel_next(c, at))
        for (size_t w = 0; w * NEURON_COLUMN < c->channels; w++)
            switch (cells_blocks(c, w)) {
            case 1: psn_column_forward(r, c, at, w, 1); break;
            case 2: psn_column_forward(r, c, at, w, 2); break;
            case 3: psn_column_forward(r, c, at, w, 3); break;
            default: psn_column_forward(r, c, at, w, 4); break;
            }
}

/* sum[i][j][16] += dh[i] * x[j] over the blocks, rows x columns of them in registers. */
LANES_INLINE void psn_outer(const float *dh, const float *x, float *sum, size_t t_count, size_t i0,
                            size_t j0, size_t rows, size_t columns, size_t blocks)
{
    lanes_f acc[PSN_ROWS][PSN_ROWS];
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            acc[i][j] = lanes_load(sum + ((i0 + i) * t_count + j0 + j) * LANES);
    for (size_t b = 0; b < blocks; b++) {
        lanes_f d[PSN_ROWS];
        for (size_t i = 0; i < rows; i++) d[i] = lanes_load(dh + ((i0 + i) * blocks + b) * LANES);
        for (size_t j = 0; j < columns; j++) {
            lanes_f xj = lanes_load(x + ((j0 + j) * blocks + b) * LANES);
            for (size_t i = 0; i < rows; i++) acc[i][j] = lanes_fma(d[i], xj, acc[i][j]);
        }
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            lanes_store(sum + ((i0 + i) * t_count + j0 + j) * LANES, acc[i][j]);
}

/* dW (T*T) then db (T), 16 lanes each. */
LANES_INLINE void psn_weights(const float *dh, const float *x, float *sum, size_t t_count,
                              size_t blocks)
{
    const size_t tiled = t_count - t_count % PSN_ROWS;
    for (size_t i = 0; i < tiled; i += PSN_ROWS)
        for (size_t j = 0; j < tiled; j += PSN_ROWS)
            psn_outer(dh, x, sum, t_count, i, j, PSN_ROWS, PSN_ROWS, blocks);
    for (size_t i = 0; i < t_count; i++)
        for (size_t j = i < tiled ? tiled : 0; j < t_count; j++)
            psn_outer(dh, x, sum, t_count, i, j, 1, 1, blocks);
    float *bias = sum + t_count * t_count * LANES;
    for (size_t i = 0; i < t_count; i++) {
        lanes_f acc = lanes_load(bias + i * LANES);
        for (size_t b = 0; b < blocks; b++) acc = acc + lanes_load(dh + (i * blocks + b) * LANES);
        lanes_store(bias + i * LANES, acc);
    }
}

/* dx from its column dx[T][blocks][16]: every step, or their sum when the input is one step. */
LANES_INLINE void psn_store_dx(const struct neuron_cells *c, struct pixel at, size_t first,
                               size_t t_count, size_t blocks, const float *dx)
{
    for (size_t b = 0; b < blocks; b++) {
        lanes_f total = lanes_set(0.0f);
        for (size_t t = 0; t < t_count; t++) {
            lanes_f value = lanes_load(dx + (t * blocks + b) * LANES);
            if (c->dx.time != 0) lanes_store(plane_at(&c->dx, t, at, first + b), value);
            else total = total + value;
        }
        if (c->dx.time == 0) lanes_store(plane_at(&c->dx, 0, at, first + b), total);
    }
}

LANES_INLINE void psn_column_backward(const struct neuron_run *r, const struct neuron_cells *c,
                                      struct pixel at, size_t w, size_t blocks, float *sum)
{
    const struct neuron *n = r->n;
    const size_t t_count = n->t, first = w * CELL_BLOCKS;
    float *x = r->scratch, *dh = x + t_count * NEURON_COLUMN, *dx = dh + t_count * NEURON_COLUMN;
    psn_charge(r, c, at, first, blocks, x, dh);
    n->surrogate.gradient(n->surrogate.k, dh, 0.0f, dh, t_count * blocks * LANES);
    for (size_t t = 0; t < t_count; t++)
        for (size_t b = 0; b < blocks; b++) {
            float *at_tb = dh + (t * blocks + b) * LANES;
            lanes_f ds = lanes_load(plane_at(&c->ds, t, at, first + b));
            lanes_store(at_tb, lanes_load(at_tb) * ds);
        }
    psn_weights(dh, x, sum, t_count, blocks);
    if (c->dx.data == NULL) return;
    psn_product(r->w[0], 1, t_count, NULL, dh, dx, t_count, blocks);
    psn_store_dx(c, at, first, t_count, blocks, dx);
}

static size_t psn_sums(const struct neuron *n) { return n->t * n->t + n->t; }

/* x, h or dh, dx of a column; 16 lanes for each sum. */
static size_t psn_scratch_floats(const struct neuron *n)
{
    return 3 * n->t * NEURON_COLUMN + psn_sums(n) * LANES;
}

static void psn_backward(const struct neuron_run *r, const struct neuron_cells *c)
{
    const size_t sums = psn_sums(r->n);
    float *sum = r->scratch + 3 * r->n->t * NEURON_COLUMN;
    memset(sum, 0, sums * LANES * sizeof sum[0]);
    for (struct pixel at = { 0, 0 }; at.y < c->rows; at = pixel_next(c, at))
        for (size_t w = 0; w * NEURON_COLUMN < c->channels; w++)
            switch (cells_blocks(c, w)) {
            case 1: psn_column_backward(r, c, at, w, 1, sum); break;
            case 2: psn_column_backward(r, c, at, w, 2, sum); break;
            case 3: psn_column_backward(r, c, at, w, 3, sum); break;
            default: psn_column_backward(r, c, at, w, 4, sum); break;
            }
    for (size_t i = 0; i < sums; i++) {
        struct lanes_sum wide = { 0 };
        lanes_sum_add(&wide, lanes_load(sum + i * LANES));
        c->sums[i] += lanes_sum_total(&wide);
    }
}

static size_t psn_params(const struct neuron *n, struct neuron_param out[NEURON_PARAMS_MAX])
{
    out[0] = (struct neuron_param){ .name = "weight", .dims = { n->t, n->t }, .n_dims = 2 };
    out[1] = (struct neuron_param){ .name = "bias", .dims = { n->t, 1 }, .n_dims = 2 };
    return 2;
}

/* W uniform in +-1/sqrt(T); b = -1, the paper's threshold of 1. */
static void psn_init(const struct neuron *n, size_t i, struct philox_key key, uint32_t number,
                     float *values)
{
    if (i == 1) {
        for (size_t t = 0; t < n->t; t++) values[t] = -1.0f;
        return;
    }
    const float bound = 1.0f / sqrtf((float)n->t);
    philox_fill_uniform(key, 0, 0, number, values, n->t * n->t);
    for (size_t j = 0; j < n->t * n->t; j++) values[j] = (2.0f * values[j] - 1.0f) * bound;
}

static void psn_gradient(const struct neuron_run *r, const double *sums, size_t i, float *dw)
{
    const size_t t = r->n->t;
    const double *from = i == 0 ? sums : sums + t * t;
    for (size_t j = 0; j < (i == 0 ? t * t : t); j++) dw[j] = (float)from[j];
}

static uint64_t psn_macs(const struct neuron *n) { return (uint64_t)n->t * n->t; }

extern const struct neuron_ops ISA_SYMBOL(neuron_psn_ops);
const struct neuron_ops ISA_SYMBOL(neuron_psn_ops) = {
    .params = psn_params,
    .init = psn_init,
    .scratch_floats = psn_scratch_floats,
    .sums = psn_sums,
    .forward = psn_forward,
    .backward = psn_backward,
    .gradient = psn_gradient,
    .macs = psn_macs,
};
