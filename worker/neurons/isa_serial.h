/* isa_serial: the scan over time that all serial neurons share, as a template. A model file defines
 * its charge as inlined functions, names them and includes this file, which makes serial_forward
 * and serial_backward of them; nothing is called through a pointer inside a loop.
 * Included once by each of isa_if.c, isa_lif.c, ...; runs on any thread.
 *
 *   SERIAL_CHARGE(r, v, x)        h from v, the potential before the step
 *   SERIAL_DH_DV(r, v)            SERIAL_DH_DX(r, v)
 *   SERIAL_DH_DPARAM(r, v, x)     only for models that learn one
 *
 *   h = charge(v, x);  s = [h >= v_threshold];  v = s ? v_reset : h  (hard)  or  h - s*v_threshold
 *
 * Forward keeps v in registers and writes 64 spikes as one word; nothing else is stored. Backward
 * runs the charge again from x, keeps h and g of one column in scratch, then scans t downwards:
 *   dh = ds*g + dv * dv/dh;  dx = dh * dh/dx;  dv(t-1) = dh * dh/dv
 * (docs/equations.md, Serial neurons; reference twin: reference_neurons.c). */
#ifndef WORKER_ISA_SERIAL_H
#define WORKER_ISA_SERIAL_H

#include "worker/neurons/isa_cells.h"

#include <stdbool.h>

#ifdef SERIAL_DH_DPARAM
#define SERIAL_LEARNS true
#else
#define SERIAL_LEARNS false
#define SERIAL_DH_DPARAM(r, v, x) ((void)(v), (void)(x), lanes_set(0.0f))
#endif

LANES_INLINE lanes_f serial_reset(const struct neuron *n, lanes_f h, lanes_mask spike)
{
    lanes_f after = n->soft ? h - n->v_threshold : lanes_set(n->v_reset);
    return lanes_select(spike, after, h);
}

LANES_INLINE lanes_f serial_start(const struct neuron_run *r, const struct neuron_cells *c,
                                  struct pixel at, size_t block)
{
    if (c->v0.data == NULL) return lanes_set(r->n->v_reset);
    return lanes_load(plane_at(&c->v0, 0, at, block));
}

/* blocks is a constant 1..4 where this is expanded, so v lives in registers. */
LANES_INLINE void serial_column_forward(const struct neuron_run *r, const struct neuron_cells *c,
                                        struct pixel at, size_t w, size_t blocks)
{
    const struct neuron *n = r->n;
    const size_t first = w * CELL_BLOCKS;
    const uint64_t valid = cells_valid(c, w);
    const lanes_f threshold = lanes_set(n->v_threshold);
    const bool trace = c->u.data != NULL || c->v.data != NULL;
    lanes_f v[CELL_BLOCKS];
    for (size_t j = 0; j < blocks; j++) v[j] = serial_start(r, c, at, first + j);
    for (size_t t = 0; t < n->t; t++) {
        uint64_t word = 0;
        for (size_t j = 0; j < blocks; j++) {
            lanes_f x = lanes_load(plane_at(&c->x, t, at, first + j));
            lanes_f h = SERIAL_CHARGE(r, v[j], x);
            lanes_mask spike = lanes_ge(h, threshold);
            word |= lanes_word(spike) << (j * LANES);
            v[j] = serial_reset(n, h, spike);
            if (!trace) continue;
            if (c->u.data != NULL)
                lanes_store(plane_at(&c->u, t, at, first + j), h - threshold);
            if (c->v.data != NULL) lanes_store(plane_at(&c->v, t, at, first + j), v[j]);
        }
        *spikes_at(c, t, at, w) = word & valid;
    }
}

/* The walks copy what the loops read: the compiler then knows that no store changes it. */
static void serial_forward(const struct neuron_run *run, const struct neuron_cells *cells)
{
    const struct neuron n = *run->n;
    const struct neuron_cells copy = *cells, *c = &copy;
    struct neuron_run local = *run;
    const struct neuron_run *r = &local;
    local.n = &n;
    for (struct pixel at = { 0, 0 }; at.y < c->rows; at = pixel_next(c, at))
        for (size_t w = 0; w * NEURON_COLUMN < c->channels; w++)
            switch (cells_blocks(c, w)) {
            case 1: serial_column_forward(r, c, at, w, 1); break;
            case 2: serial_column_forward(r, c, at, w, 2); break;
            case 3: serial_column_forward(r, c, at, w, 3); break;
            default: serial_column_forward(r, c, at, w, 4); break;
            }
}

/* Scratch of a column: h and g, both [T][blocks][16]. */
static size_t serial_scratch_floats(const struct neuron *n) { return 2 * n->t * NEURON_COLUMN; }

/* The charge again, from x: h[T][blocks][16]. */
LANES_INLINE void serial_recompute(const struct neuron_run *r, const struct neuron_cells *c,
                                   struct pixel at, size_t first, size_t blocks, float *h)
{
    const struct neuron *n = r->n;
    const lanes_f threshold = lanes_set(n->v_threshold);
    lanes_f v[CELL_BLOCKS];
    for (size_t j = 0; j < blocks; j++) v[j] = serial_start(r, c, at, first + j);
    for (size_t t = 0; t < n->t; t++)
        for (size_t j = 0; j < blocks; j++) {
            lanes_f x = lanes_load(plane_at(&c->x, t, at, first + j));
            lanes_f now = SERIAL_CHARGE(r, v[j], x);
            lanes_store(h + (t * blocks + j) * LANES, now);
            __builtin_prefetch(plane_at(&c->ds, t, at, first + j)); /* the scan reads it next */
            v[j] = serial_reset(n, now, lanes_ge(now, threshold));
        }
}

/* dv/dh of the reset; a detached reset takes the spike for a constant. */
LANES_INLINE lanes_f serial_dv_dh(const struct neuron *n, lanes_f h, lanes_f g, lanes_mask spike)
{
    if (n->soft) return n->detach ? lanes_set(1.0f) : 1.0f - g * n->v_threshold;
    lanes_f kept = lanes_select(spike, lanes_set(0.0f), lanes_set(1.0f));
    return n->detach ? kept : kept + (n->v_reset - h) * g;
}

/* One block of 16 channels from the last step to the first. h[t] is overwritten with dx[t] when the
 * input is one step for all: those are summed afterwards, t ascending. */
LANES_INLINE void serial_block_backward(const struct neuron_run *r, const struct neuron_cells *c,
                                        struct pixel at, size_t block, float *h, const float *g,
                                        size_t stride, struct lanes_sum *sum)
{
    const struct neuron *n = r->n;
    const lanes_f threshold = lanes_set(n->v_threshold);
    const bool summed = c->dx.data != NULL && c->dx.time == 0;
    const lanes_f start = serial_start(r, c, at, block);
    lanes_f dv = lanes_set(0.0f), dparam = lanes_set(0.0f);
    for (size_t t = n->t; t-- > 0;) {
        lanes_f ht = lanes_load(h + t * stride), gt = lanes_load(g + t * stride);
        lanes_f before = start;
        if (t > 0) {
            lanes_f earlier = lanes_load(h + (t - 1) * stride);
            before = serial_reset(n, earlier, lanes_ge(earlier, threshold));
        }
        if (c->dv.data != NULL) dv = dv + lanes_load(plane_at(&c->dv, t, at, block));
        lanes_f ds = lanes_load(plane_at(&c->ds, t, at, block));
        lanes_f dh = ds * gt + dv * serial_dv_dh(n, ht, gt, lanes_ge(ht, threshold));
        lanes_f dx = dh * SERIAL_DH_DX(r, before);
        dv = dh * SERIAL_DH_DV(r, before);
        if (SERIAL_LEARNS) {
            lanes_f x = lanes_load(plane_at(&c->x, t, at, block));
            dparam = dparam + dh * SERIAL_DH_DPARAM(r, before, x);
        }
        if (summed) lanes_store(h + t * stride, dx);
        else if (c->dx.data != NULL) lanes_store(plane_at(&c->dx, t, at, block), dx);
    }
    if (summed) {
        lanes_f total = lanes_set(0.0f);
        for (size_t t = 0; t < n->t; t++) total = total + lanes_load(h + t * stride);
        lanes_store(plane_at(&c->dx, 0, at, block), total);
    }
    if (c->dv0.data != NULL) lanes_store(plane_at(&c->dv0, 0, at, block), dv);
    if (SERIAL_LEARNS) lanes_sum_add(sum, dparam);
}

LANES_INLINE void serial_column_backward(const struct neuron_run *r, const struct neuron_cells *c,
                                         struct pixel at, size_t w, size_t blocks,
                                         struct lanes_sum *sum)
{
    const struct neuron *n = r->n;
    const size_t first = w * CELL_BLOCKS, stride = blocks * LANES;
    float *h = r->scratch, *g = h + n->t * NEURON_COLUMN;
    serial_recompute(r, c, at, first, blocks, h);
    n->surrogate.gradient(n->surrogate.k, h, n->v_threshold, g, n->t * stride);
    for (size_t j = 0; j < blocks; j++)
        serial_block_backward(r, c, at, first + j, h + j * LANES, g + j * LANES, stride, sum);
}

static void serial_backward(const struct neuron_run *run, const struct neuron_cells *cells)
{
    const struct neuron n = *run->n;
    const struct neuron_cells copy = *cells, *c = &copy;
    struct neuron_run local = *run;
    const struct neuron_run *r = &local;
    local.n = &n;
    struct lanes_sum sum = { 0 };
    for (struct pixel at = { 0, 0 }; at.y < c->rows; at = pixel_next(c, at))
        for (size_t w = 0; w * NEURON_COLUMN < c->channels; w++)
            switch (cells_blocks(c, w)) {
            case 1: serial_column_backward(r, c, at, w, 1, &sum); break;
            case 2: serial_column_backward(r, c, at, w, 2, &sum); break;
            case 3: serial_column_backward(r, c, at, w, 3, &sum); break;
            default: serial_column_backward(r, c, at, w, 4, &sum); break;
            }
    if (SERIAL_LEARNS) c->sums[0] += lanes_sum_total(&sum);
}

#endif
