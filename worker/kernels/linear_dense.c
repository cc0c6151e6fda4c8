/* linear_dense: products of linear layers by the register tiles of isa_gemm.c: forward and
 * backward-data (gather), gradients of weights (outer). Called by linear_kernel.c.
 *
 * An item is a group of rows times LINEAR_TILE columns. The weights of DEPTH inputs, turned into
 * panels, stay in the second cache while all rows of the group pass; a tile of rows stays in the
 * first one for both panels. Chains wait in scratch from one depth to the next. */
#include "worker/kernels/linear_job.h"

#include <assert.h>

#define DEPTH 256
#define PANELS (LINEAR_TILE / PANEL)
#define ROWS_MAX 1008 /* whole register tiles of every instruction set */
#define IMAGES 128    /* of a lot of a weight gradient: a panel of gradients is 16 KiB */
#define INPUTS 128
#define INPUTS_ROW (INPUTS + 16)

/* ---- forward, backward-data ------------------------------------------------------------------ */
/* Scratch of a thread. */
struct product_scratch {
    float w[PANELS][DEPTH * PANEL];
    float x[GATHER_ROWS_MAX * DEPTH];
    float acc[PANELS][ROWS_MAX * PANEL];
};
_Static_assert(sizeof(struct product_scratch) <= KERNEL_SCRATCH_BYTES, "scratch of a thread");

/* Weights of inputs [first, first + n) and a panel's columns; columns that are not there: 0. */
static void load_panel(const struct linear_job *j, size_t at, size_t width, size_t first, size_t n,
                       float *panel)
{
    if (width == PANEL && j->transposed) {
        j->kc->k->turn_panel(j->w + at + first, j->w_stride, n, panel);
        return;
    }
    for (size_t i = 0; i < n; i++, panel += PANEL) {
        if (!j->transposed) {
            linear_copy(panel, j->w + at + (first + i) * j->w_stride, width, PANEL);
            continue;
        }
        for (size_t c = 0; c < width; c++) panel[c] = j->w[at + c * j->w_stride + first + i];
        memset(panel + width, 0, (PANEL - width) * sizeof panel[0]);
    }
}

static void load_panels(const struct linear_job *j, const struct linear_piece *p, size_t first,
                        size_t n, struct product_scratch *s)
{
    for (size_t c = 0; c < p->width; c += PANEL)
        load_panel(j, p->w + (j->transposed ? c * j->w_stride : c), least(p->width - c, PANEL),
                   first, n, s->w[c / PANEL]);
}

/* The weights behind those of inputs up to `first`: of this piece, or of the next. */
static struct linear_ahead next_weights(const struct linear_job *j, size_t item, size_t first)
{
    size_t column = item / j->groups;
    if (first >= j->inputs) {
        column = (item + 1) / j->groups;
        first = 0;
    }
    if (column == j->columns) return (struct linear_ahead){ 0 };
    const struct linear_piece p = linear_piece_of(j, column);
    const size_t n = least(j->inputs - first, DEPTH);
    if (j->transposed) return (struct linear_ahead){ j->w + p.w + first, j->w_stride, p.width, n };
    return (struct linear_ahead){ j->w + p.w + first * j->w_stride, j->w_stride, n, p.width };
}

/* Adds n inputs from `first` on to the chains of `rows` rows: those of the group from `from` on. */
static void add_rows(const struct linear_job *j, size_t group, size_t from, size_t rows,
                     size_t first, size_t n, size_t width, struct product_scratch *s)
{
    struct gather_stretch g = { .count = n };
    for (size_t m = 0; m < rows; m++) {
        const size_t row = group + from + m;
        const size_t at = linear_image_at(j->xd, row / j->t_count, j->t_begin + row % j->t_count);
        /* Whole words: what lies behind the last input is not read. */
        g.a[m] = linear_floats(j, at, first, ceil_div(n, 64) * 64, s->x + m * DEPTH);
    }
    for (size_t c = 0; c < width; c += PANEL) {
        g.b = s->w[c / PANEL];
        j->kc->k->gather(rows, 1, &g, first == 0, s->acc[c / PANEL] + from * PANEL);
    }
}

static void product_item(void *ctx, size_t item, size_t thread)
{
    const struct linear_job *j = ctx;
    struct product_scratch *s = (void *)(j->kc->scratch + thread * j->kc->scratch_per_thread);
    const struct linear_piece p = linear_piece_of(j, item / j->groups);
    const size_t group = item % j->groups * j->rows, lot = j->kc->k->gather_rows;
    const size_t rows = least(j->xd->b * j->t_count - group, j->rows);
    for (size_t first = 0; first < j->inputs; first += DEPTH) {
        const size_t n = least(j->inputs - first, DEPTH);
        load_panels(j, &p, first, n, s);
        const struct linear_ahead next = next_weights(j, item, first + n);
        for (size_t m = 0; m < rows; m += lot) {
            linear_fetch(&next, m / lot, ceil_div(rows, lot));
            add_rows(j, group, m, least(rows - m, lot), first, n, p.width, s);
        }
    }
    for (size_t c = 0; c < p.width; c += PANEL)
        for (size_t m = 0; m < rows; m++)
            linear_store(j, group + m, p.y + c, least(p.width - c, PANEL),
                         s->acc[c / PANEL] + m * PANEL);
}

void linear_dense_product(struct linear_job *j)
{
    linear_cut(j, j->xd->b * j->t_count, ROWS_MAX, j->kc->k->gather_rows);
    threads_run(j->kc->threads, j->columns * j->groups, product_item, j);
}

/* ---- backward-weights ------------------------------------------------------------------------ */
/* A row is an input here, and the reduction runs over images. */
struct weights_scratch {
    float dy[PANELS][IMAGES * PANEL];
    float x[IMAGES * INPUTS_ROW];
    float acc[PANELS][INPUTS * PANEL];
};
_Static_assert(sizeof(struct weights_scratch) <= KERNEL_SCRATCH_BYTES, "scratch of a thread");

/* Inputs [input, input + INPUTS) and columns [k, k + width) of n images from `first` on. */
static void load_images(const struct linear_job *j, size_t first, size_t n, size_t input, size_t k,
                        size_t width, struct weights_scratch *s)
{
    const size_t steps = j->xd->t_stored, inputs = least(j->inputs - input, INPUTS);
    for (size_t i = 0; i < n; i++) {
        const size_t b = j->b.begin + (first + i) / steps, t = (first + i) % steps;
        float *x = s->x + i * INPUTS_ROW;
        const float *from = linear_floats(j, linear_image_at(j->xd, b, t), input, inputs, x);
        if (from != x) linear_copy(x, from, inputs, inputs);
        const float *dy = j->dy + linear_image_at(j->yd, b, t) + k;
        for (size_t c = 0; c < width; c += PANEL)
            linear_copy(s->dy[c / PANEL] + i * PANEL, dy + c, least(width - c, PANEL), PANEL);
    }
}

static void weights_item(void *ctx, size_t item, size_t thread)
{
    const struct linear_job *j = ctx;
    struct weights_scratch *s = (void *)(j->kc->scratch + thread * j->kc->scratch_per_thread);
    const size_t k = item % j->columns * LINEAR_TILE, width = least(j->w_stride - k, LINEAR_TILE);
    const size_t input = item / j->columns * INPUTS, inputs = least(j->inputs - input, INPUTS);
    const size_t images = (j->b.end - j->b.begin) * j->xd->t_stored;
    const struct outer_run lot = { .a = s->x, .rows = 1, .a_pixel = INPUTS_ROW, .b_pixel = PANEL };
    memset(s->acc, 0, sizeof s->acc);
    for (size_t first = 0; first < images; first += IMAGES) {
        struct outer_run run = lot;
        run.pixels = least(images - first, IMAGES);
        load_images(j, first, run.pixels, input, k, width, s);
        for (size_t c = 0; c < width; c += PANEL) {
            run.b = s->dy[c / PANEL];
            j->kc->k->outer(inputs, PANEL, &run, s->acc[c / PANEL]);
        }
    }
    for (size_t c = 0; c < width; c += PANEL)
        for (size_t i = 0; i < inputs; i++)
            j->kc->k->floats_scale(s->acc[c / PANEL] + i * PANEL,
                                   j->y + (input + i) * j->w_stride + k + c,
                                   least(width - c, PANEL), j->xd->scale);
}

void linear_dense_weights(struct linear_job *j)
{
    threads_run(j->kc->threads, ceil_div(j->inputs, INPUTS) * j->columns, weights_item, j);
}
