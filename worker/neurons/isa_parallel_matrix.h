/* isa_parallel_matrix: sums for a whole matrix W [T][T] and a bias [T] of the PSN family. Included
 * by isa_psn.c and isa_masked_psn.c; runs on any thread.
 *
 * dW(i, j) = sum over cells of dh[i] * x[j], db[i] = sum of dh[i]: 16 float lanes for each value in
 * the model's memory, emptied into the sample's doubles (isa_parallel.h). */
#ifndef WORKER_ISA_PARALLEL_MATRIX_H
#define WORKER_ISA_PARALLEL_MATRIX_H

#include "worker/neurons/isa_parallel.h"

static size_t matrix_sums(const struct neuron *n) { return n->t * n->t + n->t; }

static inline size_t matrix_memory(const struct neuron *n) { return matrix_sums(n) * LANES; }

/* sum[i][j] += dh[i] * x[j] of one part of the lanes over the blocks, rows x columns of them in
 * registers. */
LANES_INLINE void matrix_tile(const float *dh, const float *x, float *sum, size_t t_count,
                              size_t i0, size_t j0, size_t rows, size_t columns, size_t blocks)
{
    parallel_part acc[PARALLEL_ROWS][PARALLEL_COLUMNS];
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            acc[i][j] = part_load(sum + ((i0 + i) * t_count + j0 + j) * LANES);
    for (size_t b = 0; b < blocks; b++) {
        parallel_part d[PARALLEL_ROWS];
        for (size_t i = 0; i < rows; i++) d[i] = part_load(dh + ((i0 + i) * blocks + b) * LANES);
        for (size_t j = 0; j < columns; j++) {
            parallel_part xj = part_load(x + ((j0 + j) * blocks + b) * LANES);
            for (size_t i = 0; i < rows; i++) acc[i][j] = parallel_fma(d[i], xj, acc[i][j]);
        }
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            part_store(sum + ((i0 + i) * t_count + j0 + j) * LANES, acc[i][j]);
}

/* sum[i][j][16] += dh[i] * x[j] over the blocks, size x size of them. */
LANES_INLINE void matrix_outer(const float *dh, const float *x, float *sum, size_t t_count,
                               size_t i0, size_t j0, size_t size, size_t blocks)
{
    const size_t columns = size < PARALLEL_COLUMNS ? size : PARALLEL_COLUMNS;
    for (size_t p = 0; p < LANES; p += PART)
        for (size_t j = 0; j < size; j += columns)
            matrix_tile(dh + p, x + p, sum + p, t_count, i0, j0 + j, size, columns, blocks);
}

/* Tiles that lie wholly outside the band keep their zeros. */
LANES_INLINE bool matrix_meets(const struct parallel_weights *k, size_t i0, size_t j0, size_t size)
{
    return j0 + size > (i0 > k->below ? i0 - k->below : 0) && j0 <= i0 + size - 1 + k->above;
}

LANES_INLINE void matrix_column(const struct parallel *p, size_t blocks)
{
    const size_t t_count = p->r->n->t, tiled = t_count - t_count % PARALLEL_ROWS;
    float *sum = p->memory, *bias = sum + t_count * t_count * LANES;
    for (size_t i = 0; i < tiled; i += PARALLEL_ROWS)
        for (size_t j = 0; j < tiled; j += PARALLEL_ROWS)
            if (matrix_meets(&p->w, i, j, PARALLEL_ROWS))
                matrix_outer(p->h, p->x, sum, t_count, i, j, PARALLEL_ROWS, blocks);
    for (size_t i = 0; i < t_count; i++)
        for (size_t j = i < tiled ? tiled : 0; j < t_count; j++)
            if (matrix_meets(&p->w, i, j, 1))
                matrix_outer(p->h, p->x, sum, t_count, i, j, 1, blocks);
    for (size_t i = 0; i < t_count; i++) {
        lanes_f acc = lanes_load(bias + i * LANES);
        for (size_t b = 0; b < blocks; b++)
            acc = acc + lanes_load(p->h + (i * blocks + b) * LANES);
        lanes_store(bias + i * LANES, acc);
    }
}

static void matrix_clear(struct parallel *p)
{
    memset(p->memory, 0, matrix_memory(p->r->n) * sizeof p->memory[0]);
    p->pending = 0;
}

/* Empties the float sums into the sample's doubles. */
static void matrix_flush(struct parallel *p)
{
    const size_t sums = matrix_sums(p->r->n);
    for (size_t i = 0; i < sums; i++)
        p->c->sums[i] += lanes_total(lanes_load(p->memory + i * LANES));
    matrix_clear(p);
}

static void matrix_column_sums(struct parallel *p, size_t blocks)
{
    if (p->pending + blocks > PARALLEL_PENDING) matrix_flush(p);
    switch (blocks) {
    case 1: matrix_column(p, 1); break;
    case 2: matrix_column(p, 2); break;
    case 3: matrix_column(p, 3); break;
    default: matrix_column(p, 4); break;
    }
    p->pending += blocks;
}

static size_t matrix_params(const struct neuron *n, struct neuron_param out[NEURON_PARAMS_MAX])
{
    out[0] = (struct neuron_param){ .name = "weight", .dims = { n->t, n->t }, .n_dims = 2 };
    out[1] = (struct neuron_param){ .name = "bias", .dims = { n->t, 1 }, .n_dims = 2 };
    return 2;
}

static uint64_t matrix_macs(const struct neuron *n) { return (uint64_t)n->t * n->t; }

#endif
