/* conv_narrow: see conv_narrow.h.
 *
 * Forward and backward-data are one loop: every result (y, dx) is a chain over taps and the `in`
 * channels that its group has in the source (x, dy). For a panel of results and a band of rows the
 * source is spread once, [row][column][in][PANEL] with zeros around it: lane l holds the inputs of
 * the group of result l. Taps are then products of rows of such vectors, whatever the kind of the
 * source and the stride. */
#include "worker/kernels/conv_narrow.h"

#include "worker/kernels/cut.h"
#include "worker/kernels/kernels_table.h"
#include "worker/kernels/order.h"

#include <assert.h>
#include <string.h>

#define SPREAD_BYTES (128 * 1024) /* of a band, if it has more than one row of results */
#define SPREAD_SPARE 16           /* floats behind a band (spread) */

/* ---- places ---------------------------------------------------------------------------------- */
/* One axis of a pass. Results are taken by phase: those of phase q are q, q + phases, ... Number i
 * of a phase meets, by a tap, place i * step + offset of the source, which begins at place
 * `before`; places outside it hold zeros. */
struct axis {
    size_t source, results; /* sizes */
    size_t stride, pad, dilation, taps;
    bool back;
    size_t phases, step, before, reach; /* reach: offsets are below it */
};

static struct axis axis_of(size_t in, size_t out, size_t taps, size_t stride, size_t pad,
                           size_t dilation, bool back)
{
    const size_t last = (taps - 1) * dilation;
    struct axis a = { back ? out : in, back ? in : out, stride, pad, dilation, taps, back,
                      1, stride, pad, last + 1 };
    if (!back) return a;
    a.phases = stride;
    a.step = 1;
    a.before = last > pad ? ceil_div(last - pad, stride) : 0;
    a.reach = a.before + (stride - 1 + pad) / stride + 1;
    return a;
}

static struct axis rows_of(const struct conv_shape *cs, bool back)
{
    return axis_of(cs->h, cs->oh, cs->r, cs->stride_h, cs->pad_h, cs->dil_h, back);
}

static struct axis columns_of(const struct conv_shape *cs, bool back)
{
    return axis_of(cs->w, cs->ow, cs->s, cs->stride_w, cs->pad_w, cs->dil_w, back);
}

/* Where tap r lies for results of a phase; false: it meets none. */
static bool offset_of(const struct axis *a, size_t phase, size_t r, size_t *offset)
{
    *offset = r * a->dilation;
    if (!a->back) return true;
    const size_t gap = phase + a->pad + a->before * a->stride - r * a->dilation;
    *offset = gap / a->stride;
    return gap % a->stride == 0;
}

static size_t results_of(const struct axis *a, size_t phase)
{
    return phase < a->results ? ceil_div(a->results - phase, a->phases) : 0;
}

/* Places that n results of every phase reach. */
static size_t places(const struct axis *a, size_t n) { return (n - 1) * a->step + a->reach; }

/* ---- a band of the source -------------------------------------------------------------------- */
/* What is read, and how its channels go to lanes. */
struct source {
    const struct kernel_ctx *kc;
    const struct tensor_desc *d;
    const void *data;
    size_t groups, in, out; /* channels of a group: of the source, of the results */
    struct axis rows, columns;
    size_t band; /* results of every phase of rows that are done at once */
};

/* Lanes of a panel of results, and the channels [first, first + n) that they read, in whole blocks
 * of 16. */
struct lanes {
    struct narrow_run run[PANEL];
    size_t runs, first, n;
};

/* A spread band, [place of row][place of column][in][PANEL], and the scratch behind it. */
struct band {
    float *data, *channels;
    void *list;
    size_t columns, pixel; /* columns; floats of one */
};

static size_t band_floats(const struct source *s)
{
    const size_t columns = places(&s->columns, results_of(&s->columns, 0));
    return places(&s->rows, s->band) * columns * s->in * PANEL + SPREAD_SPARE;
}

/* Of the channels that a panel reads. */
static size_t channels_max(const struct source *s)
{
    return least((PANEL - 1) / s->out + 2, s->groups) * s->in + 2 * 16;
}

static struct source source_of(const struct kernel_ctx *kc, const struct conv_shape *cs,
                               const struct tensor_desc *d, const void *data, bool back)
{
    const size_t per_c = cs->c / cs->groups, per_k = cs->k / cs->groups;
    struct source s = { kc, d, data, cs->groups, back ? per_k : per_c, back ? per_c : per_k,
                        rows_of(cs, back), columns_of(cs, back), 1 };
    const size_t row = places(&s.columns, results_of(&s.columns, 0)) * s.in * PANEL;
    const size_t fit = SPREAD_BYTES / sizeof(float) / row;
    if (fit > s.rows.reach)
        s.band = least((fit - s.rows.reach) / s.rows.step + 1, results_of(&s.rows, 0));
    return s;
}

static struct band band_of(const struct source *s, size_t thread)
{
    struct band b = { .columns = places(&s->columns, results_of(&s->columns, 0)),
                      .pixel = s->in * PANEL };
    b.list = s->kc->scratch + thread * s->kc->scratch_per_thread;
    /* The list has an entry for each tap and input at most, of the larger of its two kinds. */
    const size_t list = s->in * s->rows.taps * s->columns.taps * sizeof(struct narrow_stretch);
    b.data = (float *)(void *)((unsigned char *)b.list + (list + 63) / 64 * 64);
    b.channels = b.data + (band_floats(s) + 15) / 16 * 16;
    return b;
}

static size_t scratch_of(const struct conv_shape *cs, bool back)
{
    const struct source s = source_of(NULL, cs, NULL, NULL, back);
    const size_t list = s.in * cs->r * cs->s * sizeof(struct narrow_stretch);
    return (list + 63) / 64 * 64 + (band_floats(&s) + 15 + channels_max(&s)) * sizeof(float);
}

size_t conv_narrow_scratch(const struct conv_shape *cs)
{
    const size_t forward = scratch_of(cs, false), back = scratch_of(cs, true);
    return forward > back ? forward : back;
}

static struct lanes lanes_of(const struct source *s, size_t panel)
{
    const size_t begin = panel * PANEL, end = least(begin + PANEL, s->groups * s->out);
    struct lanes l = { .first = begin / s->out * s->in / 16 * 16 };
    for (size_t k = begin; k < end; l.runs++) {
        const size_t group = k / s->out, width = least((group + 1) * s->out, end) - k;
        l.run[l.runs] = (struct narrow_run){ k - begin, width, group * s->in - l.first };
        k += width;
    }
    l.n = ceil_div(((end - 1) / s->out + 1) * s->in - l.first, 16) * 16;
    return l;
}

/* Channels [first, first + n) of the pixel at element `at` as floats: where they lie, or at to. */
static const float *pixel_floats(const struct source *s, size_t at, size_t first, size_t n,
                                 float *to)
{
    const struct tensor_desc *d = s->d;
    if (d->kind == TENSOR_COUNT8) {
        s->kc->k->counts_expand((const uint8_t *)s->data + at + first, to, n, 1.0f);
        return to;
    }
    if ((d->kind == TENSOR_F32 || d->kind == TENSOR_REPEAT) && !d->blocked)
        return (const float *)s->data + at + first;
    const size_t wide = d->kind == TENSOR_BITS ? 64 : 32; /* channels side by side */
    for (size_t c = first, some; c < first + n; c += some) {
        some = least(wide - c % wide, first + n - c);
        if (d->kind == TENSOR_BITS) {
            const uint64_t word = ((const uint64_t *)s->data)[at + c / 64] >> c % 64;
            s->kc->k->bits_expand(&word, to + (c - first), some, 1.0f);
        } else {
            const float *from = (const float *)s->data + at + c / 32 * d->block32 + c % 32;
            if (some == n) return from;
            memcpy(to + (c - first), from, some * sizeof to[0]);
        }
    }
    return to;
}

/* One row of places; `at`: where the image's row lies. */
static void spread_row(const struct source *s, const struct lanes *l, const struct band *b,
                       size_t at, float *to)
{
    const size_t left = least(s->columns.before, b->columns);
    const size_t count = least(s->columns.source, b->columns - left);
    const bool straight = s->in == 1 && s->out == 1;
    memset(to, 0, left * b->pixel * sizeof to[0]);
    to += left * b->pixel;
    for (size_t x = 0; x < count; x++, to += b->pixel, at += s->d->pixel) {
        const float *from = pixel_floats(s, at, l->first, l->n, straight ? to : b->channels);
        if (!straight) s->kc->k->spread(from, s->in, l->runs, l->run, to);
        else if (from != to) memcpy(to, from, l->n * sizeof to[0]);
    }
    memset(to, 0, (b->columns - left - count) * b->pixel * sizeof to[0]);
}

/* Rows of places from `first` on, of an image at `image`. */
static void spread_band(const struct source *s, const struct lanes *l, const struct band *b,
                        size_t image, size_t first, size_t rows)
{
    const size_t row = b->columns * b->pixel;
    const bool spare = l->run[l->runs - 1].lane + l->run[l->runs - 1].width < PANEL;
    if (spare) memset(b->data, 0, rows * row * sizeof b->data[0]);
    for (size_t i = 0; i < rows; i++) {
        const size_t y = first + i - s->rows.before; /* wraps below 0: then >= source */
        float *to = b->data + i * row;
        if (y >= s->rows.source) memset(to, 0, row * sizeof to[0]);
        else spread_row(s, l, b, image + y * s->d->row, to);
    }
}

/* ---- forward, backward-data ------------------------------------------------------------------ */
struct pass {
    struct source s;
    const struct tensor_desc *d; /* of the results */
    const float *w, *bias;       /* [panel of results][block of in][tap][in][PANEL]; NULL: none */
    float *to, scale;
    size_t t_begin, t_count;
};

/* The stretches of one phase, as the result at place 0 sees them; how many. */
static size_t list_taps(const struct pass *f, const struct band *b, size_t phase_y, size_t phase_x,
                        const float *panel, struct narrow_stretch *out)
{
    const struct source *s = &f->s;
    const size_t taps = s->rows.taps * s->columns.taps;
    size_t n = 0;
    for (size_t c = 0; c < s->in; c += ORDER_BLOCK) {
        const size_t count = least(s->in - c, ORDER_BLOCK);
        for (size_t tap = 0; tap < taps; tap++) {
            size_t y, x;
            if (!offset_of(&s->rows, phase_y, tap / s->columns.taps, &y) ||
                !offset_of(&s->columns, phase_x, tap % s->columns.taps, &x))
                continue;
            out[n++] = (struct narrow_stretch){
                .x = b->data + (y * b->columns + x) * b->pixel + c * PANEL,
                .w = panel + (c * taps + tap * count) * PANEL,
                .count = count,
            };
        }
    }
    return n;
}

/* Results of one phase of a panel: numbers [0, rows) from row `y` on, all columns. */
static void phase_results(const struct pass *f, const struct band *b, size_t phase_x, size_t panel,
                          size_t n, float *to, size_t rows)
{
    const struct source *s = &f->s;
    const size_t columns = results_of(&s->columns, phase_x), lot = s->kc->k->gather_rows;
    const size_t pitch = s->columns.step * b->pixel, k = panel * PANEL;
    const size_t pixel = s->columns.phases * f->d->pixel, row = s->rows.phases * f->d->row;
    float acc[GATHER_ROWS_MAX * PANEL] __attribute__((aligned(64)));
    float bias[PANEL] = { 0 };
    if (f->bias != NULL) memcpy(bias, f->bias + k, least(f->d->c - k, PANEL) * sizeof bias[0]);
    for (size_t i = 0; i < rows; i++)
        for (size_t x = 0; x < columns; x += lot) {
            const size_t some = least(columns - x, lot);
            s->kc->k->narrow_chain(some, pitch, n, b->list,
                                   i * s->rows.step * b->columns * b->pixel + x * pitch, acc);
            s->kc->k->store_rows(to + i * row + x * pixel, pixel, acc, some, f->scale, bias,
                                 least(f->d->c_stored - k, PANEL));
        }
}

static void pass_item(void *ctx, size_t item, size_t thread)
{
    const struct pass *f = ctx;
    const struct source *s = &f->s;
    const size_t bands = ceil_div(results_of(&s->rows, 0), s->band), image = item / bands;
    const size_t b = image / f->t_count, t = f->t_begin + image % f->t_count;
    const size_t first = item % bands * s->band; /* of the results of every phase */
    const struct band band = band_of(s, thread);
    const size_t taps = s->rows.taps * s->columns.taps, channels = s->groups * s->out;
    for (size_t panel = 0; panel < ceil_div(channels, PANEL); panel++) {
        const struct lanes l = lanes_of(s, panel);
        const size_t most = least(results_of(&s->rows, 0) - first, s->band);
        spread_band(s, &l, &band, tensor_at(s->d, b, t, 0, 0, 0), first * s->rows.step,
                    places(&s->rows, most));
        for (size_t phase = 0; phase < s->rows.phases * s->columns.phases; phase++) {
            const size_t y = phase / s->columns.phases, x = phase % s->columns.phases;
            const size_t end = least(results_of(&s->rows, y), first + most);
            if (end <= first || x >= s->columns.results) continue;
            const size_t n = list_taps(f, &band, y, x, f->w + panel * s->in * taps * PANEL,
                                       band.list);
            phase_results(f, &band, x, panel, n,
                          f->to + tensor_at(f->d, b, t, y + first * s->rows.phases, x, 2 * panel),
                          end - first);
        }
    }
}

static void run(struct pass *f)
{
    const struct source *s = &f->s;
    threads_run(s->kc->threads, s->d->b * f->t_count * ceil_div(results_of(&s->rows, 0), s->band),
                pass_item, f);
}

void conv_narrow_forward(const struct kernel_ctx *kc, const struct conv_shape *cs,
                         const struct tensor_desc *xd, const void *x, const float *w,
                         const float *bias, const struct tensor_desc *yd, float *y, struct span t)
{
    assert(kc->scratch_per_thread >= conv_narrow_scratch(cs));
    struct pass f = { source_of(kc, cs, xd, x, false), yd, w, bias, y, xd->scale, t.begin,
                      t.end - t.begin };
    run(&f);
}

void conv_narrow_backward_data(const struct kernel_ctx *kc, const struct conv_shape *cs,
                               const struct tensor_desc *dyd, const float *dy, const float *wt,
                               float x_scale, const struct tensor_desc *dxd, float *dx,
                               struct span t)
{
    assert(kc->scratch_per_thread >= conv_narrow_scratch(cs));
    struct pass f = { source_of(kc, cs, dyd, dy, true), dxd, wt, NULL, dx, x_scale, t.begin,
                      t.end - t.begin };
    run(&f);
}

/* ---- backward-weights ------------------------------------------------------------------------ */
/* Item = some of a panel's sums, one for each tap and input: nobody else touches them. */
struct weights {
    struct source s;
    const struct tensor_desc *dyd;
    const float *dy;
    struct span b;
    float *dw;
    size_t k, sums, parts, part; /* output channels; sums of a panel, cut into parts of so many */
};

/* Where the inputs of sums [first, first + n) of a panel lie, from those of place 0 on. */
static void list_sums(const struct weights *f, const struct band *b, size_t first, size_t n,
                      size_t *out)
{
    const struct source *s = &f->s;
    const size_t taps = s->rows.taps * s->columns.taps, lot = ORDER_BLOCK * taps;
    for (size_t i = first; i < first + n; i++) {
        const size_t c = i / lot * ORDER_BLOCK, count = least(s->in - c, ORDER_BLOCK);
        const size_t tap = i % lot / count, y = tap / s->columns.taps, x = tap % s->columns.taps;
        *out++ = (y * s->rows.dilation * b->columns + x * s->columns.dilation) * b->pixel +
                 (c + i % lot % count) * PANEL;
    }
}

static void weights_item(void *ctx, size_t item, size_t thread)
{
    const struct weights *f = ctx;
    const struct source *s = &f->s;
    const size_t panel = item / f->parts, first = item % f->parts * f->part;
    const size_t n = least(f->sums - first, f->part), rows = s->rows.results;
    const struct lanes l = lanes_of(s, panel);
    const struct band band = band_of(s, thread);
    float *dw = f->dw + (panel * f->sums + first) * PANEL;
    memset(dw, 0, n * PANEL * sizeof dw[0]);
    list_sums(f, &band, first, n, band.list);
    for (size_t i = f->b.begin * s->d->t_stored; i < f->b.end * s->d->t_stored; i++)
        for (size_t y = 0; y < rows; y += s->band) {
            const size_t b = i / s->d->t_stored, t = i % s->d->t_stored;
            const size_t some = least(rows - y, s->band);
            spread_band(s, &l, &band, tensor_at(s->d, b, t, 0, 0, 0), y * s->rows.step,
                        places(&s->rows, some));
            const struct outer_run run = {
                .a = band.data,
                .b = f->dy + tensor_at(f->dyd, b, t, y, 0, 2 * panel),
                .rows = some,
                .pixels = s->columns.results,
                .a_row = s->rows.step * band.columns * band.pixel,
                .a_pixel = s->columns.step * band.pixel,
                .b_row = f->dyd->row,
                .b_pixel = f->dyd->pixel,
            };
            /* Blocks of 16 that hold a real channel: what lies behind them is nobody's. */
            s->kc->k->narrow_outer(n, band.list,
                                   f->k - panel * PANEL > PANEL / 2 ? PANEL : PANEL / 2, &run, dw);
        }
    s->kc->k->floats_scale(dw, dw, n * PANEL, s->d->scale);
}

void conv_narrow_backward_weights(const struct kernel_ctx *kc, const struct conv_shape *cs,
                                  const struct tensor_desc *xd, const void *x,
                                  const struct tensor_desc *dyd, const float *dy, struct span b,
                                  float *dw)
{
    assert(kc->scratch_per_thread >= conv_narrow_scratch(cs));
    struct weights f = { .s = source_of(kc, cs, xd, x, false), .dyd = dyd, .dy = dy, .b = b,
                         .dw = dw, .k = cs->k };
    const size_t panels = ceil_div(cs->k, PANEL);
    f.sums = f.s.in * cs->r * cs->s;
    /* Every part spreads the inputs anew: as few as leave every thread two items. */
    f.parts = least(ceil_div(2 * threads_count(kc->threads), panels), f.sums);
    f.part = ceil_div(f.sums, f.parts);
    f.parts = ceil_div(f.sums, f.part);
    threads_run(kc->threads, panels * f.parts, weights_item, &f);
}
