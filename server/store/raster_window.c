/* raster_window: see raster_window.h. */
#include "server/store/raster_window.h"

#include "common/mem.h"

#include <stdbool.h>

static bool inside(int64_t from, int64_t to, int64_t count)
{
    return from >= 0 && from < to && to <= count;
}

static int64_t cell_of(int64_t count, int64_t most) { return (count + most - 1) / most; }

static void count_row(struct raster_cut *c, const unsigned char *row, unsigned char *column)
{
    for (int64_t n = c->window.n0; n < c->window.n1; n++) {
        unsigned char *cell = &column[(n - c->window.n0) / c->n_cell];
        const bool spike = (row[n / 8] >> (n % 8) & 1) != 0;
        if (spike && *cell < 255) ++*cell;
    }
}

int raster_window_cut(const unsigned char *bits, size_t length, int64_t t_count, int64_t n_count,
                      const struct raster_window *w, struct raster_cut *out, struct err *e)
{
    struct raster_cut c = { .window = *w };
    const size_t row_bytes = (size_t)(n_count + 7) / 8;
    if (c.window.t1 == 0) c.window.t1 = t_count;
    if (c.window.n1 == 0) c.window.n1 = n_count;
    if (t_count < 1 || n_count < 1 || length != (size_t)t_count * row_bytes)
        return err_set(e, ERR_INVALID, "this record is no spike raster");
    if (!inside(c.window.t0, c.window.t1, t_count) || !inside(c.window.n0, c.window.n1, n_count))
        return err_set(e, ERR_INVALID,
                       "t0 < t1 <= %lld and n0 < n1 <= %lld must hold: the raster has so many "
                       "time-steps and neurons",
                       (long long)t_count, (long long)n_count);
    c.t_cell = cell_of(c.window.t1 - c.window.t0, w->max_w);
    c.n_cell = cell_of(c.window.n1 - c.window.n0, w->max_h);
    c.width = cell_of(c.window.t1 - c.window.t0, c.t_cell);
    c.height = cell_of(c.window.n1 - c.window.n0, c.n_cell);
    c.counts = mem_calloc((size_t)c.width, (size_t)c.height);
    if (c.counts == NULL) return err_set(e, ERR_NOMEM, "raster");
    for (int64_t t = c.window.t0; t < c.window.t1; t++)
        count_row(&c, bits + (size_t)t * row_bytes,
                  c.counts + (t - c.window.t0) / c.t_cell * c.height);
    *out = c;
    return 0;
}
