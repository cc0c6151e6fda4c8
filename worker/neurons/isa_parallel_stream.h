/* isa_parallel_stream: a banded model of the PSN family as time-steps come: h of a span from its
 * inputs and the `lag` before it, with the bits of all steps at once, since inputs before the start
 * are zeros and a product with zero leaves a chain as it is. Included by isa_masked_psn.c and
 * isa_sliding_psn.c; runs on any thread. */
#ifndef WORKER_ISA_PARALLEL_STREAM_H
#define WORKER_ISA_PARALLEL_STREAM_H

#include "worker/neurons/isa_parallel.h"

/* Inputs before a step that can reach it: of order k, in T steps. */
static inline size_t stream_lag(const struct neuron *n, size_t k)
{
    return (k < n->t ? k : n->t) - 1;
}

/* Weights w(i, j) of step i of the span and input j, which is j - lag steps after its first. */
struct stream {
    const struct neuron_run *r;
    const struct neuron_cells *c;
    struct parallel_weights w;
    size_t lag, steps;
    float *in, *h; /* of one column: [lag + steps] and [steps] of blocks of 16 */
};

/* Behind them in scratch: memory for the weights. */
static inline struct stream stream_begin(const struct neuron_run *r, const struct neuron_cells *c,
                                         size_t lag)
{
    float *in = r->scratch;
    return (struct stream){ .r = r, .c = c, .lag = lag, .steps = c->t.end - c->t.begin, .in = in,
                            .h = in + 2 * r->n->t * NEURON_COLUMN };
}

static inline float *stream_memory(const struct stream *s)
{
    return s->r->scratch + 3 * s->r->n->t * NEURON_COLUMN;
}

/* Takes the inputs in, and leaves the last of them for the next span. */
LANES_INLINE void stream_inputs(const struct stream *s, struct pixel at, size_t first,
                                size_t blocks)
{
    const struct neuron_cells *c = s->c;
    for (size_t b = 0; b < blocks; b++) {
        for (size_t i = 0; i < s->lag; i++) {
            lanes_f x = c->before.data == NULL ? lanes_set(0.0f)
                                               : lanes_load(plane_at(&c->before, i, at, first + b));
            lanes_store(s->in + (i * blocks + b) * LANES, x);
        }
        for (size_t t = 0; t < s->steps; t++)
            lanes_store(s->in + ((s->lag + t) * blocks + b) * LANES,
                        lanes_load(plane_at(&c->x, c->t.begin + t, at, first + b)));
        for (size_t i = 0; i < s->lag; i++)
            lanes_store(plane_at(&c->after, i, at, first + b),
                        lanes_load(s->in + ((s->steps + i) * blocks + b) * LANES));
    }
}

LANES_INLINE void stream_column(const struct stream *s, struct pixel at, size_t w, size_t blocks)
{
    size_t i = 0;
    stream_inputs(s, at, w * CELL_BLOCKS, blocks);
    for (; i + PARALLEL_ROWS <= s->steps; i += PARALLEL_ROWS)
        parallel_rows(s->w, s->in, s->h, s->lag + s->steps, i, PARALLEL_ROWS, blocks);
    for (; i < s->steps; i++)
        parallel_rows(s->w, s->in, s->h, s->lag + s->steps, i, 1, blocks);
    parallel_fire(s->c, s->h, s->c->t, at, w, blocks);
}

static inline void stream_run(const struct stream *s)
{
    const struct neuron_cells *c = s->c;
    for (struct pixel at = { 0, 0 }; at.y < c->rows; at = pixel_next(c, at))
        for (size_t w = 0; w * NEURON_COLUMN < c->channels; w++)
            switch (cells_blocks(c, w)) {
            case 1: stream_column(s, at, w, 1); break;
            case 2: stream_column(s, at, w, 2); break;
            case 3: stream_column(s, at, w, 3); break;
            default: stream_column(s, at, w, 4); break;
            }
}

#endif
