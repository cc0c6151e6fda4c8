/* linear_job: what the forms of a linear layer share: its arguments as items see them, and how work
 * is cut. Private to linear_*.c. */
#ifndef WORKER_LINEAR_JOB_H
#define WORKER_LINEAR_JOB_H

#include "worker/kernels/cut.h"
#include "worker/kernels/kernels_table.h"

#include <string.h>

struct linear_job {
    const struct kernel_ctx *kc;
    const struct tensor_desc *xd, *yd; /* weights: of x and of dy */
    const struct tensor_desc *order;   /* transposed: whose features the rows of w are */
    const void *x;
    const float *w, *bias, *dy; /* w [input][w_stride]; transposed: [output][w_stride] */
    float *y;                   /* what is written: y, dx or dw */
    bool transposed;
    size_t inputs, w_stride;
    struct span b;                /* samples */
    size_t t_begin, t_count;      /* steps */
    size_t columns, groups, rows; /* items: tiles of columns times groups of so many rows */
};

/* Columns of an item: where their weights begin in w, and where they lie in y. */
struct linear_piece {
    size_t w, y, width; /* width <= LINEAR_TILE */
};

static inline size_t linear_image_at(const struct tensor_desc *d, size_t b, size_t t)
{
    return b * d->sample + (d->t_stored == 1 ? 0 : t) * d->time;
}

/* `width` floats, a multiple of 16, and 0 up to `whole`. By 16 at a time: gcc makes a copy of a
 * length it does not know `rep movs`, which takes as long to begin as such a row to copy. */
static inline void linear_copy(float *to, const float *from, size_t width, size_t whole)
{
    for (size_t i = 0; i < width; i += 16) memcpy(to + i, from + i, 16 * sizeof to[0]);
    for (size_t i = width; i < whole; i += 16) memset(to + i, 0, 16 * sizeof to[0]);
}

/* Cuts `rows` into groups: of at most `most`, whole lots but for the last, and enough of them to
 * keep every thread busy. No bit depends on it. */
static inline void linear_cut(struct linear_job *j, size_t rows, size_t most, size_t lot)
{
    const size_t wanted = ceil_div(4 * threads_count(j->kc->threads), j->columns);
    size_t groups = ceil_div(rows, most);
    if (groups < wanted) groups = wanted;
    j->rows = ceil_div(ceil_div(rows, groups), lot) * lot;
    j->groups = ceil_div(rows, j->rows);
}

/* Channels [first, first + n) of an image as floats; first and n are multiples of 16 (of 64 for
 * spikes). Floats stay where they are. */
static inline const float *linear_floats(const struct linear_job *j, size_t at, size_t first,
                                         size_t n, float *scratch)
{
    switch (j->xd->kind) {
    case TENSOR_BITS:
        j->kc->k->bits_expand((const uint64_t *)j->x + at + first / 64, scratch, n, 1.0f);
        return scratch;
    case TENSOR_COUNT8:
        j->kc->k->counts_expand((const uint8_t *)j->x + at + first, scratch, n, 1.0f);
        return scratch;
    default: return (const float *)j->x + at + first;
    }
}

/* The chains of one row are done: columns [at, at + width) of y. A blocked gradient holds them in
 * runs of 32, the width of a panel. */
static inline void linear_store(const struct linear_job *j, size_t row, size_t at, size_t width,
                                const float *acc)
{
    const size_t b = row / j->t_count, t = j->t_begin + row % j->t_count;
    j->kc->k->store_scaled(j->y + tensor_at(j->yd, b, t, 0, 0, at / 16), acc, j->xd->scale,
                           j->bias != NULL ? j->bias + at : NULL, width);
}

/* What is read next, brought into the second cache a part at a time: `rows` of `width` floats.
 * Their rows lie too far apart for the CPU to guess. */
struct linear_ahead {
    const float *at;
    size_t stride, rows, width;
};

static inline void linear_fetch(const struct linear_ahead *a, size_t part, size_t parts)
{
    for (size_t i = a->rows * part / parts; i < a->rows * (part + 1) / parts; i++)
        for (size_t c = 0; c < a->width; c += 16)
            __builtin_prefetch(a->at + i * a->stride + c, 0, 2);
}

struct linear_piece linear_piece_of(const struct linear_job *j, size_t column);

/* linear_dense.c: products with floats, or spikes as floats. */
void linear_dense_product(struct linear_job *j);
void linear_dense_weights(struct linear_job *j);
/* linear_events.c: sums over spikes. */
void linear_events_product(struct linear_job *j);
void linear_events_weights(struct linear_job *j);

#endif
