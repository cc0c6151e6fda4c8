/* Points five times a second, nothing lost, in order. */
#include "server/stream/points_text.h"
#include "server/stream/points_window.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

struct sink {
    int count;
    int64_t experiment;
    char text[4096];
};

static void take(void *ctx, int64_t experiment, const struct points_gather *points)
{
    struct sink *s = ctx;
    char *text = points_text(experiment, points);
    s->count++;
    s->experiment = experiment;
    (void)snprintf(s->text, sizeof s->text, "%s", text);
    mem_free(text);
}

static void put(struct points_windows *w, int64_t id, const char *series, int step, int64_t now)
{
    struct point p = { (uint64_t)step, now, 0.5 };
    struct points_gather g = { .n = 1, .series = &(struct gathered){ .points = &p, .n = 1 } };
    (void)snprintf(g.series->name, sizeof g.series->name, "%s", series);
    points_windows_put(w, id, &g, now);
}

/* Goal: the first at once, then what came in 200 ms as one, each series in its order. */
Test(points_window, puts_together_what_comes_too_often)
{
    struct sink s = { 0 };
    struct points_windows w;
    points_windows_init(&w, take, &s);
    put(&w, 1, "a", 1, 1000);
    cr_assert_eq(s.count, 1);
    put(&w, 1, "a", 2, 1050);
    put(&w, 1, "b", 2, 1051);
    put(&w, 1, "a", 3, 1100);
    cr_assert_eq(s.count, 1);
    cr_assert(points_windows_turn(&w, 1199));
    cr_assert_eq(s.count, 1);
    cr_assert(points_windows_turn(&w, 1200));
    cr_assert_eq(s.count, 2);
    cr_assert_str_eq(s.text, "{\"id\":1,\"series\":{\"a\":[[2,1050,0.5],[3,1100,0.5]],"
                             "\"b\":[[2,1051,0.5]]}}");
    cr_assert(points_windows_turn(&w, 1399));
    cr_assert(!points_windows_turn(&w, 1400), "a window that got nothing is closed");
    put(&w, 1, "a", 4, 1401);
    cr_assert_eq(s.count, 3);
    points_windows_deinit(&w);
}

/* Goal: in a second of points each 20 ms there are five events and every point. */
Test(points_window, at_most_five_a_second)
{
    struct sink s = { 0 };
    struct points_windows w;
    points_windows_init(&w, take, &s);
    for (int64_t now = 0; now < 1000; now += 20) {
        put(&w, 1, "a", (int)now / 20, now);
        (void)points_windows_turn(&w, now + 5);
    }
    cr_assert_eq(s.count, 5, "%d events", s.count);
    points_windows_flush(&w, 0, 1000);
    cr_assert(strstr(s.text, "[49,980,0.5]]") != NULL, "%s", s.text);
    points_windows_deinit(&w);
}

/* Goal: experiments do not wait for each other, and another event of one brings its points out. */
Test(points_window, order_within_an_experiment)
{
    struct sink s = { 0 };
    struct points_windows w;
    points_windows_init(&w, take, &s);
    put(&w, 1, "a", 1, 0);
    put(&w, 2, "a", 1, 1);
    cr_assert_eq(s.count, 2);
    put(&w, 1, "a", 2, 10);
    put(&w, 2, "a", 2, 11);
    points_windows_flush(&w, 1, 20);
    cr_assert(s.count == 3 && s.experiment == 1, "%s", s.text);
    points_windows_flush(&w, 1, 21);
    cr_assert_eq(s.count, 3);
    points_windows_deinit(&w);
}

/* Goal: without memory points go out as they came. */
Test(points_window, lack_of_memory_loses_nothing)
{
    struct sink s = { 0 };
    struct points_windows w;
    points_windows_init(&w, take, &s);
    mem_fail_after(1);
    put(&w, 1, "a", 1, 0);
    mem_fail_after(0);
    put(&w, 1, "a", 2, 1);
    cr_assert_eq(s.count, 2);
    points_windows_deinit(&w);
}
