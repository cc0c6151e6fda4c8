/* linear_events: products of linear layers as sums over spikes: an input that is zero adds nothing
 * to a chain, so only the others are visited. Called by linear_kernel.c.
 *
 * Forward and backward-weights are one loop. A row (an image; an input for the weights) has its
 * events (inputs; images for the weights), each of which adds a row of a tile (weights; gradients).
 * DEPTH rows of a tile stay in the first cache while all rows of an item take turns; their chains
 * wait in scratch. An item is TILES tiles wide, which share the lists of events. */
#include "worker/kernels/linear_job.h"

#include <assert.h>

#define DEPTH 128 /* rows of a tile: 32 KiB */
#define WORDS (DEPTH / 64)
#define TILES 4
#define PART 16       /* rows between two lots of what is brought ahead */
#define AHEAD 2       /* things that are brought ahead at once */
#define ROWS_BITS 256 /* of an item: chains of 256 KiB, lists of at most 32 KiB */
#define ROWS_COUNTS 128

/* Scratch of a thread. */
struct events_scratch {
    float tile[DEPTH * LINEAR_TILE];
    size_t x_at[ROWS_BITS], dy_at[DEPTH];
    uint32_t begin[ROWS_BITS + 1];
    union {
        struct {
            float acc[TILES][ROWS_BITS * LINEAR_TILE];
            uint8_t index[ROWS_BITS * DEPTH + LINEAR_LIST_SPARE];
        } bits;
        struct {
            float acc[TILES][ROWS_COUNTS * LINEAR_TILE];
            uint8_t index[ROWS_COUNTS * DEPTH + LINEAR_LIST_SPARE];
            float value[ROWS_COUNTS * DEPTH];
        } counts;
    } u;
};
_Static_assert(sizeof(struct events_scratch) <= KERNEL_SCRATCH_BYTES, "scratch of a thread");

/* The same, whatever the kind of the spikes. */
struct lists {
    float *tile, *acc[TILES];
    size_t *x_at, *dy_at; /* where images begin: of the rows, or of a lot of DEPTH */
    uint32_t *begin, n;   /* events of row m: [begin[m], begin[m + 1]) */
    uint8_t *index;
    float *value; /* NULL: all 1 */
};

static struct lists lists_of(const struct linear_job *j, size_t thread)
{
    struct events_scratch *s = (void *)(j->kc->scratch + thread * j->kc->scratch_per_thread);
    struct lists l = { .tile = s->tile, .x_at = s->x_at, .dy_at = s->dy_at, .begin = s->begin };
    const bool bits = j->xd->kind == TENSOR_BITS;
    for (size_t i = 0; i < TILES; i++) l.acc[i] = bits ? s->u.bits.acc[i] : s->u.counts.acc[i];
    l.index = bits ? s->u.bits.index : s->u.counts.index;
    l.value = bits ? NULL : s->u.counts.value;
    return l;
}

static size_t rows_max(const struct linear_job *j)
{
    return j->xd->kind == TENSOR_BITS ? ROWS_BITS : ROWS_COUNTS;
}

/* Which of 64 inputs of an image are events. */
static uint64_t mask_of(const struct linear_job *j, size_t at, size_t input)
{
    if (j->xd->kind == TENSOR_BITS) return ((const uint64_t *)j->x)[at + input / 64];
    return j->kc->k->counts_mask((const uint8_t *)j->x + at + input);
}

/* A row of a tile, by the vectors of this instruction set; what is not there: 0. */
static void copy_row(const struct linear_job *j, const float *from, size_t width, float *to)
{
    j->kc->k->floats_scale(from, to, width, 1.0f);
    if (width < LINEAR_TILE) memset(to + width, 0, (LINEAR_TILE - width) * sizeof to[0]);
}

/* Adds the tile's rows to the chains of all rows; what comes next is brought ahead. */
static void add_tile(const struct linear_job *j, const struct lists *l, size_t rows, size_t tile,
                     const struct linear_ahead next[AHEAD])
{
    const size_t parts = ceil_div(rows, PART);
    for (size_t i = 0; i < parts; i++) {
        const size_t m = i * PART;
        for (size_t k = 0; k < AHEAD; k++) linear_fetch(&next[k], i, parts);
        j->kc->k->linear_rows(least(rows - m, PART), l->begin + m, l->index, l->value, l->tile,
                              l->acc[tile] + m * LINEAR_TILE);
    }
}

/* ---- forward --------------------------------------------------------------------------------- */
/* Row m is an image; its events among inputs [first, first + n). */
static void list_image(const struct linear_job *j, struct lists *l, size_t m, size_t first,
                       size_t n)
{
    const size_t at = l->x_at[m];
    uint64_t mask[WORDS] = { 0 };
    for (size_t i = 0; i < n; i += 64) mask[i / 64] = mask_of(j, at, first + i);
    const size_t events = j->kc->k->list_events(mask, WORDS, l->index + l->n);
    if (l->value != NULL)
        for (size_t i = l->n; i < l->n + events; i++)
            l->value[i] = (float)((const uint8_t *)j->x)[at + first + l->index[i]];
    l->n += (uint32_t)events;
    l->begin[m + 1] = l->n;
}

/* The weights behind those of inputs [first, ...) and columns [k, k + LINEAR_TILE). */
static struct linear_ahead next_weights(const struct linear_job *j, size_t from, size_t end,
                                        size_t first, size_t k)
{
    k += LINEAR_TILE;
    if (k >= end) {
        k = from;
        first += DEPTH;
    }
    if (first >= j->inputs) return (struct linear_ahead){ 0 };
    return (struct linear_ahead){ j->w + first * j->w_stride + k, j->w_stride,
                                  least(j->inputs - first, DEPTH), least(end - k, LINEAR_TILE) };
}

/* Weights of inputs [first, first + n) and columns [k, k + width). */
static void load_weights(const struct linear_job *j, size_t first, size_t n, size_t k, size_t width,
                         float *tile)
{
    for (size_t i = 0; i < n; i++)
        copy_row(j, j->w + (first + i) * j->w_stride + k, width, tile + i * LINEAR_TILE);
}

static void forward_item(void *ctx, size_t item, size_t thread)
{
    const struct linear_job *j = ctx;
    struct lists l = lists_of(j, thread);
    const size_t from = item / j->groups * TILES * LINEAR_TILE, group = item % j->groups * j->rows;
    const size_t end = least(from + TILES * LINEAR_TILE, j->yd->c_stored);
    const size_t rows = least(j->xd->b * j->t_count - group, j->rows);
    for (size_t i = 0; i < TILES; i++) memset(l.acc[i], 0, rows * LINEAR_TILE * sizeof(float));
    for (size_t m = 0; m < rows; m++)
        l.x_at[m] = linear_image_at(j->xd, (group + m) / j->t_count,
                                    j->t_begin + (group + m) % j->t_count);
    for (size_t first = 0; first < j->inputs; first += DEPTH) {
        const size_t n = least(j->inputs - first, DEPTH);
        l.n = l.begin[0] = 0;
        for (size_t m = 0; m < rows; m++) list_image(j, &l, m, first, n);
        for (size_t k = from; k < end; k += LINEAR_TILE) {
            const struct linear_ahead next[AHEAD] = { next_weights(j, from, end, first, k) };
            load_weights(j, first, n, k, least(end - k, LINEAR_TILE), l.tile);
            add_tile(j, &l, rows, (k - from) / LINEAR_TILE, next);
        }
    }
    for (size_t k = from; k < end; k += LINEAR_TILE)
        for (size_t m = 0; m < rows; m++)
            linear_store(j, group + m, k, least(end - k, LINEAR_TILE),
                         l.acc[(k - from) / LINEAR_TILE] + m * LINEAR_TILE);
}

void linear_events_product(struct linear_job *j)
{
    j->columns = ceil_div(j->yd->c_stored, TILES * LINEAR_TILE);
    linear_cut(j, j->xd->b * j->t_count, rows_max(j), 1);
    threads_run(j->kc->threads, j->columns * j->groups, forward_item, j);
}

/* ---- backward-weights ------------------------------------------------------------------------ */
/* Where images [first, first + n) begin. */
static void find_images(const struct linear_job *j, struct lists *l, size_t first, size_t n)
{
    const size_t steps = j->xd->t_stored;
    for (size_t i = 0; i < n; i++) {
        const size_t b = j->b.begin + (first + i) / steps, t = (first + i) % steps;
        l->x_at[i] = linear_image_at(j->xd, b, t);
        l->dy_at[i] = linear_image_at(j->yd, b, t);
    }
}

/* Rows [m, m + 64) are inputs [input, input + 64); their events among n images. */
static void list_inputs(const struct linear_job *j, struct lists *l, size_t input, size_t m,
                        size_t n)
{
    uint64_t mask[64], turned[64][WORDS];
    for (size_t word = 0; word < WORDS; word++) {
        for (size_t i = 0; i < 64; i++)
            mask[i] = word * 64 + i < n ? mask_of(j, l->x_at[word * 64 + i], input) : 0;
        j->kc->k->turn_masks(mask);
        for (size_t i = 0; i < 64; i++) turned[i][word] = mask[i];
    }
    for (size_t i = 0; i < 64; i++) {
        const size_t events = j->kc->k->list_events(turned[i], WORDS, l->index + l->n);
        if (l->value != NULL)
            for (size_t e = l->n; e < l->n + events; e++)
                l->value[e] = (float)((const uint8_t *)j->x)[l->x_at[l->index[e]] + input + i];
        l->n += (uint32_t)events;
        l->begin[m + i + 1] = l->n;
    }
}

/* Gradients of n images and columns [k, k + width). */
static void load_gradients(const struct linear_job *j, const struct lists *l, size_t n, size_t k,
                           size_t width)
{
    for (size_t i = 0; i < n; i++)
        copy_row(j, j->dy + l->dy_at[i] + k, width, l->tile + i * LINEAR_TILE);
}

/* The gradients behind those of images [first, ...) and columns [k, k + LINEAR_TILE); images lie at
 * equal distances. */
static struct linear_ahead next_gradients(const struct linear_job *j, size_t from, size_t end,
                                          size_t first, size_t k, size_t images)
{
    k += LINEAR_TILE;
    if (k >= end) {
        k = from;
        first += DEPTH;
    }
    if (first >= images) return (struct linear_ahead){ 0 };
    const size_t at = j->b.begin * j->xd->t_stored + first;
    return (struct linear_ahead){ j->dy + at * j->yd->time + k, j->yd->time,
                                  least(images - first, DEPTH), least(end - k, LINEAR_TILE) };
}

/* Where the sums of columns [k, k + LINEAR_TILE) go once the last images are added: each row lies
 * in a page of its own, which takes long to find. */
static struct linear_ahead next_sums(const struct linear_job *j, size_t input, size_t rows,
                                     size_t k, bool last)
{
    if (!last) return (struct linear_ahead){ 0 };
    return (struct linear_ahead){ j->y + input * j->w_stride + k, j->w_stride, rows,
                                  least(j->w_stride - k, LINEAR_TILE) };
}

static void weights_item(void *ctx, size_t item, size_t thread)
{
    const struct linear_job *j = ctx;
    struct lists l = lists_of(j, thread);
    const size_t from = item % j->columns * TILES * LINEAR_TILE;
    const size_t end = least(from + TILES * LINEAR_TILE, j->w_stride);
    const size_t input = item / j->columns * j->rows, rows = least(j->inputs - input, j->rows);
    const size_t images = (j->b.end - j->b.begin) * j->xd->t_stored;
    for (size_t i = 0; i < TILES; i++) memset(l.acc[i], 0, rows * LINEAR_TILE * sizeof(float));
    for (size_t first = 0; first < images; first += DEPTH) {
        const size_t n = least(images - first, DEPTH);
        l.n = l.begin[0] = 0;
        find_images(j, &l, first, n);
        for (size_t m = 0; m < rows; m += 64) list_inputs(j, &l, input + m, m, n);
        for (size_t k = from; k < end; k += LINEAR_TILE) {
            load_gradients(j, &l, n, k, least(end - k, LINEAR_TILE));
            const struct linear_ahead next[AHEAD] = {
                next_gradients(j, from, end, first, k, images),
                next_sums(j, input, rows, k, first + DEPTH >= images),
            };
            add_tile(j, &l, rows, (k - from) / LINEAR_TILE, next);
        }
    }
    for (size_t k = from; k < end; k += LINEAR_TILE)
        for (size_t m = 0; m < rows; m++)
            j->kc->k->floats_scale(l.acc[(k - from) / LINEAR_TILE] + m * LINEAR_TILE,
                                   j->y + (input + m) * j->w_stride + k,
                                   least(end - k, LINEAR_TILE), j->xd->scale);
}

void linear_events_weights(struct linear_job *j)
{
    assert(j->inputs % 64 == 0); /* spikes and counts are stored so */
    j->columns = ceil_div(j->w_stride, TILES * LINEAR_TILE);
    linear_cut(j, j->inputs, rows_max(j), 64);
    threads_run(j->kc->threads, j->columns * j->groups, weights_item, j);
}
