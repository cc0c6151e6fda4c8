/* conv_events: forward pass of a convolution of spikes, by events. See conv_events.h; the weights'
 * gradients are in conv_events_weights.c.
 *
 * The events of a band of input rows are listed once, by row, channel block and column, and used
 * for every output channel: taps of one row and block that lie side by side are one stretch of such
 * a list, in canonical order. */
#include "worker/kernels/conv_events.h"

#include "worker/kernels/conv_job.h"
#include "worker/kernels/kernels_table.h"
#include "worker/kernels/order.h"

#include <assert.h>
#include <string.h>

#define LIST_BYTES (256 * 1024) /* of a band's events */
#define TAPS_MAX 32             /* of a row of a dilated kernel */

bool conv_events_forward_fit(const struct conv_shape *cs)
{
    return cs->dil_w == 1 || cs->s <= TAPS_MAX;
}

/* ---- a band of rows -------------------------------------------------------------------------- */
/* Columns of the padded input that any tap reads. */
static size_t columns_of(const struct conv_shape *cs)
{
    return (cs->ow - 1) * cs->stride_w + (cs->s - 1) * cs->dil_w + 1;
}

static size_t blocks_of(const struct conv_shape *cs) { return ceil_div(cs->c, ORDER_BLOCK); }

/* Input rows that `rows` output rows read. */
static size_t reach(const struct conv_shape *cs, size_t rows)
{
    return (rows - 1) * cs->stride_h + (cs->r - 1) * cs->dil_h + 1;
}

/* Events and beginnings of one input row; values too when they are counts. */
static size_t row_bytes(const struct conv_shape *cs, const struct tensor_desc *xd)
{
    const size_t entry = xd->kind == TENSOR_COUNT8 ? 2 * sizeof(uint32_t) : sizeof(uint32_t);
    return cs->w * blocks_of(cs) * ORDER_BLOCK * entry +
           blocks_of(cs) * (columns_of(cs) + 1) * sizeof(uint32_t);
}

static size_t band_rows(const struct conv_shape *cs, const struct tensor_desc *xd)
{
    const size_t fit = LIST_BYTES / row_bytes(cs, xd), first = reach(cs, 1);
    const size_t rows = fit > first ? (fit - first) / cs->stride_h + 1 : 1;
    return least(rows, cs->oh);
}

/* Lists of a band: first the beginnings, then the events, then their values; 16 entries to spare
 * (mask_events). */
struct band {
    size_t first_row, rows, columns;
    uint32_t *begin, *events;
    float *values; /* NULL: spikes */
    float *acc;    /* [row][pixel][panel][PANEL], of one panel or EVENT_PANELS */
};

static size_t begin_at(const struct band *l, const struct conv_shape *cs, size_t row, size_t block)
{
    return (row * blocks_of(cs) + block) * (l->columns + 1);
}

static struct band band_of(const struct conv_job *f, size_t oy, size_t rows, unsigned char *at)
{
    const struct conv_shape *cs = f->cs;
    const size_t events = reach(cs, f->band) * cs->w * blocks_of(cs) * ORDER_BLOCK + 16;
    struct band l = { .first_row = oy * cs->stride_h, .rows = reach(cs, rows),
                      .columns = columns_of(cs) };
    l.acc = (float *)(void *)at;
    at += f->band * cs->ow * EVENT_PANELS * PANEL * sizeof(float);
    l.events = (uint32_t *)(void *)at;
    at += events * sizeof(uint32_t);
    if (f->xd->kind == TENSOR_COUNT8) {
        l.values = (float *)(void *)at;
        at += events * sizeof(float);
    }
    l.begin = (uint32_t *)(void *)at;
    return l;
}

static size_t forward_scratch(const struct conv_shape *cs, const struct tensor_desc *xd)
{
    const size_t band = band_rows(cs, xd);
    return band * cs->ow * EVENT_PANELS * PANEL * sizeof(float) +
           reach(cs, band) * row_bytes(cs, xd) + 2 * 16 * sizeof(uint32_t);
}

static void note_values(const struct conv_job *f, size_t at, size_t block, uint64_t mask,
                        float *out)
{
    const uint8_t *x = (const uint8_t *)f->x + at + f->first + block * ORDER_BLOCK;
    for (; mask != 0; mask &= mask - 1) *out++ = (float)x[__builtin_ctzll(mask)];
}

/* Events of one row (of the padded input) and block, from entry n on; the new n. */
static uint32_t list_row(const struct conv_job *f, const struct band *l, size_t image, size_t row,
                         size_t block, uint32_t n)
{
    const struct conv_shape *cs = f->cs;
    const size_t y = l->first_row + row - cs->pad_h; /* wraps below 0: then >= h */
    const size_t channels = least(cs->c - block * ORDER_BLOCK, ORDER_BLOCK);
    uint32_t *begin = l->begin + begin_at(l, cs, row, block);
    for (size_t column = 0; column < l->columns; column++) {
        const size_t x = column - cs->pad_w;
        begin[column] = n;
        if (y >= cs->h || x >= cs->w) continue;
        const size_t at = image + y * f->xd->row + x * f->xd->pixel;
        const uint64_t mask = conv_events_of(f->kc, f->xd, f->x, at, f->first + block * ORDER_BLOCK,
                                             channels);
        if (l->values != NULL) note_values(f, at, block, mask, l->values + n);
        n += (uint32_t)f->kc->k->mask_events(mask, (uint32_t)(column * channels), l->events + n);
    }
    begin[l->columns] = n;
    return n;
}

static void list_band(const struct conv_job *f, const struct band *l, size_t image)
{
    uint32_t n = 0;
    for (size_t row = 0; row < l->rows; row++)
        for (size_t block = 0; block < blocks_of(f->cs); block++)
            n = list_row(f, l, image, row, block, n);
}

/* ---- chains ---------------------------------------------------------------------------------- */
/* Lists that one row of taps of one block adds to output row oy; how many. */
static size_t tap_lists(const struct conv_job *f, const struct band *l, size_t oy, size_t block,
                        size_t r, const float *w, struct event_list *out)
{
    const struct conv_shape *cs = f->cs;
    const size_t row = oy * cs->stride_h + r * cs->dil_h - l->first_row;
    const size_t channels = least(cs->c - block * ORDER_BLOCK, ORDER_BLOCK);
    const size_t taps = cs->dil_w == 1 ? cs->s : 1; /* side by side */
    const size_t before = block * ORDER_BLOCK * cs->r * cs->s + r * cs->s * channels;
    size_t n = 0;
    for (size_t s = 0; s < cs->s; s += taps)
        out[n++] = (struct event_list){
            .events = l->events, .values = l->values,
            .begin = l->begin + begin_at(l, cs, row, block) + s * cs->dil_w,
            .w = w + (before + s * channels) * PANEL,
            .channels = channels, .columns = taps, .first = s * cs->dil_w * channels,
        };
    return n;
}

/* All chains of the band for some panels, whose weights are at w. The weights of a row of taps of a
 * block, 24 KiB a panel for 3 x 3, stay in the first cache while the band's pixels take turns; the
 * chains wait in scratch. */
static void chain_band(const struct conv_job *f, const struct band *l, size_t oy, size_t rows,
                       size_t panels, const float *w)
{
    const struct conv_shape *cs = f->cs;
    const size_t stride = cs->ow * panels * PANEL;
    const size_t second = panels > 1 ? cs->c * cs->r * cs->s * PANEL : 0;
    struct event_list lists[TAPS_MAX];
    memset(l->acc, 0, rows * stride * sizeof l->acc[0]);
    for (size_t block = 0; block < blocks_of(cs); block++)
        for (size_t r = 0; r < cs->r; r++)
            for (size_t i = 0; i < rows; i++) {
                const size_t n = tap_lists(f, l, oy + i, block, r, w, lists);
                f->kc->k->gather_events(n, lists, second, cs->ow, cs->stride_w,
                                        l->acc + i * stride);
            }
}

static void store_band(const struct conv_job *f, const struct band *l, size_t image, size_t oy,
                       size_t rows, size_t panels, size_t k)
{
    const struct tensor_desc *d = f->yd;
    float bias[EVENT_PANELS * PANEL] = { 0 };
    const size_t width = least(d->c_stored - k, panels * PANEL);
    if (f->bias != NULL)
        memcpy(bias, f->bias + k, least(f->cs->k - k, panels * PANEL) * sizeof bias[0]);
    for (size_t i = 0; i < rows; i++)
        for (size_t x = 0; x < d->w; x++)
            f->kc->k->store_scaled(f->y + image + (oy + i) * d->row + x * d->pixel + k,
                                   l->acc + (i * d->w + x) * panels * PANEL, f->xd->scale, bias,
                                   width);
}

static void forward_item(void *ctx, size_t item, size_t thread)
{
    const struct conv_job *f = ctx;
    const struct conv_shape *cs = f->cs;
    const size_t bands = ceil_div(cs->oh, f->band), image = item / bands;
    const size_t b = image / f->t_count, t = f->t_begin + image % f->t_count;
    const size_t oy = item % bands * f->band, rows = least(cs->oh - oy, f->band);
    const struct band l = band_of(f, oy, rows, f->kc->scratch + thread * f->kc->scratch_per_thread);
    list_band(f, &l, b * f->xd->sample + t * f->xd->time);
    for (size_t k = 0; k < cs->k; k += EVENT_PANELS * PANEL) {
        const size_t panels = least(ceil_div(cs->k - k, PANEL), EVENT_PANELS);
        chain_band(f, &l, oy, rows, panels, f->w + k * cs->c * cs->r * cs->s);
        store_band(f, &l, b * f->yd->sample + t * f->yd->time, oy, rows, panels, k);
    }
}

void conv_events_forward(struct conv_job *f)
{
    f->band = band_rows(f->cs, f->xd);
    assert(f->kc->scratch_per_thread >= conv_events_scratch(f->cs, f->xd));
    threads_run(f->kc->threads, f->xd->b * f->t_count * ceil_div(f->cs->oh, f->band), forward_item,
                f);
}

size_t conv_events_scratch(const struct conv_shape *cs, const struct tensor_desc *xd)
{
    const size_t forward = forward_scratch(cs, xd), weights = conv_events_weights_scratch(xd);
    return forward > weights ? forward : weights;
}
