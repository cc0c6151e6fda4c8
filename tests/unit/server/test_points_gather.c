/* Tests of what gathers the points of a message: order, bound, growth. */
#include "common/mem.h"
#include "server/store/points_gather.h"

#include <criterion/criterion.h>
#include <stdio.h>

static void add(struct points_gather *g, const char *name, uint64_t step, size_t n)
{
    struct point points[3];
    struct err e = { 0 };
    for (size_t i = 0; i < n; i++) points[i] = (struct point){ step + i, 5, (double)(step + i) };
    cr_assert(gather_points(g, name, points, n, &e) == 0, "%s", e.text);
}

/* Goal: points of a series stand in the order of their frames, series in that of their first. */
Test(points_gather, frames_become_series)
{
    struct points_gather g = { 0 };
    for (uint64_t step = 1; step <= 500; step++) {
        add(&g, "train/loss", step, 1);
        add(&g, "2/tau", step, 1);
        if (step % 7 == 0) add(&g, "val/loss", step, 1);
    }
    add(&g, "train/loss", 501, 3);
    cr_assert_eq(g.n, 3);
    cr_assert_str_eq(g.series[0].name, "train/loss");
    cr_assert_str_eq(g.series[1].name, "2/tau");
    cr_assert(g.series[0].n == 503 && g.series[1].n == 500 && g.series[2].n == 71);
    for (size_t i = 0; i < 503; i++) cr_assert_eq(g.series[0].points[i].step, i + 1);
    for (size_t i = 0; i < 71; i++) cr_assert_eq(g.series[2].points[i].step, 7 * (i + 1));
    gather_deinit(&g);
    gather_deinit(&g);
    cr_assert_eq(g.n, 0);
}

/* Goal: the number of series is bounded; the one that is too many changes nothing. */
Test(points_gather, series_are_bounded)
{
    struct points_gather g = { 0 };
    struct err e = { 0 };
    const struct point p = { 1, 2, 3 };
    char name[20];
    for (int i = 0; i < GATHER_SERIES_MAX; i++) {
        (void)snprintf(name, sizeof name, "s%d", i);
        add(&g, name, 1, 1);
    }
    cr_assert_eq(gather_points(&g, "one_more", &p, 1, &e), ERR_TOO_LARGE);
    cr_assert_eq(g.n, GATHER_SERIES_MAX);
    add(&g, "s7", 2, 1);
    cr_assert_eq(g.series[7].n, 2);
    gather_deinit(&g);
}
