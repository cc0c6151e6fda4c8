/* raster_window: a window is what the bits say, cell by cell; no spike disappears. */
#include "server/store/raster_window.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define T 37
#define N 301
#define ROW ((N + 7) / 8)

static unsigned char bits[T * ROW];
static struct err e;

static bool spike(int64_t t, int64_t n) { return (bits[t * ROW + n / 8] >> n % 8 & 1) != 0; }

static void fill(unsigned share)
{
    srand(7);
    memset(bits, 0, sizeof bits);
    for (int t = 0; t < T; t++)
        for (int n = 0; n < N; n++)
            if ((unsigned)rand() % 100 < share)
                bits[t * ROW + n / 8] |= (unsigned char)(1 << n % 8);
}

static void expect_cells(const struct raster_window *w)
{
    struct raster_cut c;
    cr_assert(raster_window_cut(bits, sizeof bits, T, N, w, &c, &e) == 0, "%s", e.text);
    cr_expect(c.width <= w->max_w && c.height <= w->max_h);
    for (int64_t x = 0; x < c.width; x++)
        for (int64_t y = 0; y < c.height; y++) {
            int64_t count = 0;
            for (int64_t t = c.window.t0 + x * c.t_cell; t < c.window.t0 + (x + 1) * c.t_cell; t++)
                for (int64_t n = c.window.n0 + y * c.n_cell; n < c.window.n0 + (y + 1) * c.n_cell;
                     n++)
                    count += t < c.window.t1 && n < c.window.n1 && spike(t, n);
            const int64_t shown = c.counts[x * c.height + y];
            cr_assert_eq(shown, count < 255 ? count : 255, "cell %d %d", (int)x, (int)y);
        }
    mem_free(c.counts);
}

/* Goal: whole, cut, and made smaller in one or both directions, the cells count what they stand
 * for; very full cells stop at 255 and never turn to 0. */
Test(raster_window, cells_count_their_spikes, .timeout = 10)
{
    static const struct raster_window windows[] = {
        { 0, 0, 0, 0, 1200, 600 }, { 3, 30, 5, 290, 1200, 600 }, { 0, 0, 0, 0, 5, 7 },
        { 1, 2, 300, 301, 1, 1 },  { 0, 0, 0, 0, 1, 1 },         { 2, 37, 9, 0, 1200, 10 },
    };
    static const unsigned shares[] = { 1, 30, 100 };
    for (size_t s = 0; s < 3; s++) {
        fill(shares[s]);
        for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) expect_cells(&windows[i]);
    }
}

/* Goal: parts that are not there, and bytes that are no raster, are refused. */
Test(raster_window, what_is_not_there_is_refused, .timeout = 5)
{
    static const struct raster_window windows[] = { { 0, T + 1, 0, 0, 10, 10 },
                                                    { 5, 5, 0, 0, 10, 10 },
                                                    { 0, 0, N, 0, 10, 10 },
                                                    { 0, 0, 9, 3, 10, 10 },
                                                    { -1, 0, 0, 0, 10, 10 } };
    struct raster_cut c;
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++)
        cr_expect_eq(raster_window_cut(bits, sizeof bits, T, N, &windows[i], &c, &e), ERR_INVALID,
                     "%zu", i);
    const struct raster_window all = { .max_w = 10, .max_h = 10 };
    cr_expect_eq(raster_window_cut(bits, sizeof bits - 1, T, N, &all, &c, &e), ERR_INVALID);
}
