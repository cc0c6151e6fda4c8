/* isa_parallel: what the models of the PSN family share: h = W x + b over all time-steps at once,
 * s = [h >= 0] (docs/equations.md, Parallel spiking neurons). Included by isa_psn.c,
 * isa_masked_psn.c and isa_sliding_psn.c; runs on any thread.
 *
 * Every h[t] is one fma chain over source time j ascending from +0, then + b[t]; dx[j] is one
 * chain over t ascending. Weights outside the band of W are skipped, but for the corners of tiles
 * of PARALLEL_ROWS rows, which are zero. Sums for the parameters: 16 lanes in float over about
 * PARALLEL_PENDING blocks of 16 cells, their total in double, chained over a sample. */
#ifndef WORKER_ISA_PARALLEL_H
#define WORKER_ISA_PARALLEL_H

#include "worker/neurons/isa_cells.h"

#define PARALLEL_ROWS 4      /* steps computed together */
#define PARALLEL_PENDING 128 /* blocks summed in float: a relative error of some 1e-6 */

/* What one register holds: 16 lanes in two of AVX2 would live in memory. Accumulators of a product:
 * PARALLEL_ROWS steps x so many parts; of a sum: PARALLEL_ROWS x so many columns. */
#if defined(__AVX2__) && !defined(__AVX512F__)
typedef lanes_half_f parallel_part;
#define PARALLEL_PARTS 2
#define PARALLEL_COLUMNS 2
#define parallel_fma(a, b, c) (parallel_part) _mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#define part_set(x) (parallel_part) _mm256_set1_ps(x)
#else
typedef lanes_f parallel_part;
#define PARALLEL_PARTS CELL_BLOCKS
#define PARALLEL_COLUMNS PARALLEL_ROWS
#define parallel_fma lanes_fma
#define part_set lanes_set
#endif
#define PART (sizeof(parallel_part) / sizeof(float))

LANES_INLINE parallel_part part_load(const float *p)
{
    parallel_part v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

LANES_INLINE void part_store(float *p, parallel_part v) { __builtin_memcpy(p, &v, sizeof v); }

/* w(i, j) = w[i*row + j*column], zero unless i - below <= j <= i + above. Around the band a tile
 * reads up to PARALLEL_ROWS - 1 values more on each side. bias[i*bias_step]; NULL: none. */
struct parallel_weights {
    const float *w;
    ptrdiff_t row, column;
    size_t below, above;
    const float *bias;
    size_t bias_step;
};

/* One call of forward or backward. Columns are [T][blocks][16]. */
struct parallel {
    const struct neuron_run *r;
    const struct neuron_cells *c;
    struct parallel_weights w;
    float *x, *h, *dx; /* of one column; h becomes dh */
    float *memory;     /* of the model */
    size_t pending;    /* blocks in the model's float sums */
};
struct parallel_model {
    struct parallel_weights (*weights)(const struct neuron_run *r, float *memory);
    void (*begin)(struct parallel *p);                    /* of a sample's sums; may be NULL */
    void (*column_sums)(struct parallel *p, size_t blocks); /* adds dh, x of one column */
    void (*finish)(struct parallel *p);                   /* may be NULL */
};

static inline size_t parallel_scratch(const struct neuron *n, size_t memory_floats)
{
    return 3 * n->t * NEURON_COLUMN + memory_floats;
}

LANES_INLINE struct parallel parallel_begin(const struct parallel_model *m,
                                            const struct neuron_run *r,
                                            const struct neuron_cells *c)
{
    struct parallel p = { .r = r, .c = c, .x = r->scratch };
    p.h = p.x + r->n->t * NEURON_COLUMN;
    p.dx = p.h + r->n->t * NEURON_COLUMN;
    p.memory = p.dx + r->n->t * NEURON_COLUMN;
    p.w = m->weights(r, p.memory);
    return p;
}

/* ---- products over time ---------------------------------------------------------------------- */
/* `parts` of the columns at in and out, which are `wide` floats. */
LANES_INLINE void parallel_tile(struct parallel_weights k, const float *in, float *out,
                                size_t t_count, size_t i0, size_t rows, size_t parts, size_t wide)
{
    const size_t first = i0 > k.below ? i0 - k.below : 0, reach = i0 + rows + k.above;
    const size_t end = reach < t_count ? reach : t_count;
    const float *w = k.w + (ptrdiff_t)i0 * k.row + (ptrdiff_t)first * k.column;
    parallel_part sum[PARALLEL_ROWS][PARALLEL_PARTS];
    for (size_t i = 0; i < rows; i++)
        for (size_t b = 0; b < parts; b++) sum[i][b] = part_set(0.0f);
    for (size_t j = first; j < end; j++, w += k.column) {
        parallel_part x[PARALLEL_PARTS];
        for (size_t b = 0; b < parts; b++) x[b] = part_load(in + j * wide + b * PART);
        for (size_t i = 0; i < rows; i++) {
            parallel_part factor = part_set(w[(ptrdiff_t)i * k.row]);
            for (size_t b = 0; b < parts; b++)
                sum[i][b] = parallel_fma(factor, x[b], sum[i][b]);
        }
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t b = 0; b < parts; b++) {
            const size_t at = i0 + i;
            parallel_part v = k.bias != NULL ? sum[i][b] + k.bias[at * k.bias_step] : sum[i][b];
            part_store(out + at * wide + b * PART, v);
        }
}

/* out[i] = sum over j ascending of w(i, j) * in[j], + bias[i], i in [i0, i0 + rows). rows and
 * blocks are constants when expanded. */
LANES_INLINE void parallel_rows(struct parallel_weights k, const float *in, float *out,
                                size_t t_count, size_t i0, size_t rows, size_t blocks)
{
    const size_t wide = blocks * LANES, all = wide / PART;
    for (size_t p = 0; p < all; p += PARALLEL_PARTS) {
        const size_t parts = all - p < PARALLEL_PARTS ? all - p : PARALLEL_PARTS;
        parallel_tile(k, in + p * PART, out + p * PART, t_count, i0, rows, parts, wide);
    }
}

LANES_INLINE void parallel_product(struct parallel_weights k, const float *in, float *out,
                                   size_t t_count, size_t blocks)
{
    size_t i = 0;
    for (; i + PARALLEL_ROWS <= t_count; i += PARALLEL_ROWS)
        parallel_rows(k, in, out, t_count, i, PARALLEL_ROWS, blocks);
    for (; i < t_count; i++) parallel_rows(k, in, out, t_count, i, 1, blocks);
}

LANES_INLINE struct parallel_weights parallel_transposed(struct parallel_weights k)
{
    return (struct parallel_weights){ .w = k.w, .row = k.column, .column = k.row,
                                      .below = k.above, .above = k.below };
}

/* h of one column: x is filled, then h. */
LANES_INLINE void parallel_charge(struct parallel *p, struct pixel at, size_t first, size_t blocks)
{
    const size_t t_count = p->r->n->t;
    for (size_t t = 0; t < t_count; t++)
        for (size_t b = 0; b < blocks; b++) {
            const float *from = plane_at(&p->c->x, t, at, first + b);
            lanes_store(p->x + (t * blocks + b) * LANES, lanes_load(from));
            cells_fetch(from);
        }
    parallel_product(p->w, p->x, p->h, t_count, blocks);
}

/* ---- forward --------------------------------------------------------------------------------- */
/* Spikes and traces of time-steps t from h of one column, which begins with t.begin. */
LANES_INLINE void parallel_fire(const struct neuron_cells *c, const float *h, struct span t,
                                struct pixel at, size_t w, size_t blocks)
{
    const uint64_t valid = cells_valid(c, w);
    const size_t first = w * CELL_BLOCKS;
    for (size_t i = t.begin; i < t.end; i++) {
        uint64_t word = 0;
        for (size_t b = 0; b < blocks; b++) {
            lanes_f value = lanes_load(h + ((i - t.begin) * blocks + b) * LANES);
            word |= lanes_word(lanes_ge(value, lanes_set(0.0f))) << (b * LANES);
            if (c->u.data != NULL) lanes_store(plane_at(&c->u, i, at, first + b), value);
            if (c->v.data != NULL) lanes_store(plane_at(&c->v, i, at, first + b), value);
        }
        *spikes_at(c, i, at, w) = word & valid;
    }
}

LANES_INLINE void parallel_column_forward(struct parallel *p, struct pixel at, size_t w,
                                          size_t blocks)
{
    parallel_charge(p, at, w * CELL_BLOCKS, blocks);
    parallel_fire(p->c, p->h, (struct span){ 0, p->r->n->t }, at, w, blocks);
}

LANES_INLINE void parallel_forward(const struct parallel_model *m, const struct neuron_run *r,
                                   const struct neuron_cells *c)
{
    struct parallel p = parallel_begin(m, r, c);
    for (struct pixel at = { 0, 0 }; at.y < c->rows; at = pixel_next(c, at))
        for (size_t w = 0; w * NEURON_COLUMN < c->channels; w++)
            switch (cells_blocks(c, w)) {
            case 1: parallel_column_forward(&p, at, w, 1); break;
            case 2: parallel_column_forward(&p, at, w, 2); break;
            case 3: parallel_column_forward(&p, at, w, 3); break;
            default: parallel_column_forward(&p, at, w, 4); break;
            }
}

/* ---- backward -------------------------------------------------------------------------------- */
/* dx from its column: every step, or their sum when the input is one step. */
LANES_INLINE void parallel_store_dx(const struct parallel *p, struct pixel at, size_t first,
                                    size_t blocks)
{
    const struct neuron_plane *dx = &p->c->dx;
    for (size_t b = 0; b < blocks; b++) {
        lanes_f total = lanes_set(0.0f);
        for (size_t t = 0; t < p->r->n->t; t++) {
            lanes_f value = lanes_load(p->dx + (t * blocks + b) * LANES);
            if (dx->time != 0) lanes_store(plane_at(dx, t, at, first + b), value);
            else total = total + value;
        }
        if (dx->time == 0) lanes_store(plane_at(dx, 0, at, first + b), total);
    }
}

LANES_INLINE void parallel_column_backward(const struct parallel_model *m, struct parallel *p,
                                           struct pixel at, size_t w, size_t blocks)
{
    const struct neuron *n = p->r->n;
    const size_t t_count = n->t, first = w * CELL_BLOCKS;
    parallel_charge(p, at, first, blocks);
    n->surrogate.gradient(n->surrogate.k, p->h, 0.0f, p->h, t_count * blocks * LANES);
    for (size_t t = 0; t < t_count; t++)
        for (size_t b = 0; b < blocks; b++) {
            float *dh = p->h + (t * blocks + b) * LANES;
            const float *ds = plane_at(&p->c->ds, t, at, first + b);
            lanes_store(dh, lanes_load(dh) * lanes_load(ds));
            cells_fetch(ds);
        }
    m->column_sums(p, blocks);
    if (p->c->dx.data == NULL) return;
    parallel_product(parallel_transposed(p->w), p->h, p->dx, t_count, blocks);
    parallel_store_dx(p, at, first, blocks);
}

LANES_INLINE void parallel_backward(const struct parallel_model *m, const struct neuron_run *r,
                                    const struct neuron_cells *c)
{
    struct parallel p = parallel_begin(m, r, c);
    if (m->begin != NULL) m->begin(&p);
    for (struct pixel at = { 0, 0 }; at.y < c->rows; at = pixel_next(c, at))
        for (size_t w = 0; w * NEURON_COLUMN < c->channels; w++)
            switch (cells_blocks(c, w)) {
            case 1: parallel_column_backward(m, &p, at, w, 1); break;
            case 2: parallel_column_backward(m, &p, at, w, 2); break;
            case 3: parallel_column_backward(m, &p, at, w, 3); break;
            default: parallel_column_backward(m, &p, at, w, 4); break;
            }
    if (m->finish != NULL) m->finish(&p);
}

/* W uniform in +-1/sqrt(fan in); biases -1, the paper's threshold of 1. */
static inline void parallel_init(size_t i, size_t fan_in, size_t count, struct philox_key key,
                                 uint32_t number, float *values)
{
    if (i != 0) {
        for (size_t j = 0; j < count; j++) values[j] = -1.0f;
        return;
    }
    const float bound = 1.0f / sqrtf((float)fan_in);
    philox_fill_uniform(key, 0, 0, number, values, count);
    for (size_t j = 0; j < count; j++) values[j] = (2.0f * values[j] - 1.0f) * bound;
}

#endif
