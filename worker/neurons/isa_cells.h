/* isa_cells: where the values of a column of cells lie. Included by the neuron loops (isa_*.c). */
#ifndef WORKER_ISA_CELLS_H
#define WORKER_ISA_CELLS_H

#include "worker/kernels/lanes.h"
#include "worker/neurons/neuron.h"

#define CELL_BLOCKS (NEURON_COLUMN / LANES) /* of a full column */

struct pixel {
    size_t y, x;
};

LANES_INLINE struct pixel pixel_next(const struct neuron_cells *c, struct pixel at)
{
    if (at.x + 1 < c->pixels) return (struct pixel){ at.y, at.x + 1 };
    return (struct pixel){ at.y + 1, 0 };
}

/* Of block number `block` of LANES channels. */
LANES_INLINE float *plane_at(const struct neuron_plane *p, size_t t, struct pixel at, size_t block)
{
    const size_t c = block * LANES;
    return p->data + t * p->time + at.y * p->row + at.x * p->pixel + (c / 32) * p->block32 + c % 32;
}

LANES_INLINE uint64_t *spikes_at(const struct neuron_cells *c, size_t t, struct pixel at, size_t w)
{
    return c->spikes + t * c->spikes_time + at.y * c->spikes_row + at.x * c->spikes_pixel + w;
}

/* Valid bits of word w: padding channels never spike. */
LANES_INLINE uint64_t cells_valid(const struct neuron_cells *c, size_t w)
{
    size_t left = c->channels - w * NEURON_COLUMN;
    return left >= NEURON_COLUMN ? ~UINT64_C(0) : (UINT64_C(1) << left) - 1;
}

/* Channels as they are stored: their padding is written too. */
LANES_INLINE size_t cells_stored(size_t channels)
{
    return (channels + NEURON_PADDED - 1) / NEURON_PADDED * NEURON_PADDED;
}

/* Blocks of LANES channels in word w: 1..CELL_BLOCKS. */
LANES_INLINE size_t cells_blocks(const struct neuron_cells *c, size_t w)
{
    size_t left = c->channels - w * NEURON_COLUMN;
    return left >= NEURON_COLUMN ? CELL_BLOCKS : cells_stored(left) / LANES;
}

/* Asks for what the next column has in the place of p. Steps lie far apart: no processor foresees
 * so many streams. */
LANES_INLINE void cells_fetch(const float *p) { __builtin_prefetch(p + NEURON_COLUMN); }

#endif
