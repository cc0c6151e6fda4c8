/* Buckets of long series against a plain twin that looks at every point. */
#include "tests/unit/server/metrics_bench.h"

#include "common/mem.h"
#include "server/store/rollup.h"

#include <math.h>
#include <string.h>

#define LOSS "train/loss"
#define POINTS 150000 /* roll-ups of levels 1, 2 and 3 */

/* Steps go up by 1 or 2; peaks, NaN and infinite values lie about. */
static struct point *long_series(size_t n, unsigned seed)
{
    struct point *p = mem_calloc(n, sizeof *p);
    cr_assert(p != NULL);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        const unsigned kind = (seed >> 8) % 3000;
        p[i].step = (i > 0 ? p[i - 1].step : 0) + 1 + seed % 7 / 6;
        p[i].time_ms = 1000 + (int64_t)i;
        p[i].value = kind == 0   ? NAN
                     : kind == 1 ? INFINITY
                     : kind == 2 ? -INFINITY
                                 : (double)(seed >> 10) / 4096.0 - 300.0;
        if (i >= 2000 && i < 4000) p[i].value = NAN; /* buckets of nothing else */
    }
    return p;
}

static double of(const cJSON *row, int i)
{
    const cJSON *v = cJSON_GetArrayItem(row, i);
    if (cJSON_IsNumber(v)) return v->valuedouble;
    return strcmp(v->valuestring, "NaN") == 0 ? NAN
           : v->valuestring[0] == '-'         ? -INFINITY
                                              : INFINITY;
}

static bool same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

/* The bucket of points [first, last], looked at one by one. */
static void check_bucket(const cJSON *row, const struct point *p, size_t first, size_t last)
{
    double least = NAN, most = NAN, sum = 0;
    size_t numbers = 0;
    for (size_t i = first; i <= last; i++) {
        if (isnan(p[i].value)) continue;
        if (numbers == 0 || p[i].value < least) least = p[i].value;
        if (numbers == 0 || p[i].value > most) most = p[i].value;
        sum += p[i].value;
        numbers++;
    }
    const double mean = numbers > 0 ? sum / (double)numbers : NAN;
    cr_assert(of(row, 0) == (double)p[first].step && of(row, 1) == (double)p[last].step);
    cr_assert(same(of(row, 2), least) && same(of(row, 3), most), "points %zu to %zu: %g, %g", first,
              last, of(row, 2), of(row, 3));
    cr_assert(same(of(row, 4), p[last].value) && of(row, 5) == (double)p[last].time_ms);
    cr_assert(same(of(row, 6), mean) || fabs(of(row, 6) - mean) < 1e-9, "%g is no %g", of(row, 6),
              mean);
}

/* Every point from step `from` to `to` is in one bucket, and what each says is so. */
static size_t check_range(const struct metrics_bench *b, const struct point *p, size_t n,
                          uint64_t from, uint64_t to, int64_t max)
{
    const struct metrics_range range = { LOSS, from, to, max };
    struct err e = { 0 };
    cJSON *json;
    const cJSON *row;
    cr_assert_eq(metrics_read_points(b->db, BENCH_EXPERIMENT, &range, &json, &e), 0, "%s", e.text);
    size_t at = 0, buckets = 0;
    while (at < n && p[at].step < from) at++;
    cJSON_ArrayForEach(row, json_get(json, "buckets")) {
        const size_t first = at;
        while (at < n && p[at].step < (uint64_t)of(row, 1)) at++;
        cr_assert_lt(at, n);
        check_bucket(row, p, first, at++);
        buckets++;
    }
    cJSON_Delete(json);
    cr_assert(at == n || (to != 0 && p[at].step > to), "points are left, from %zu on", at);
    cr_assert(buckets > 0 && buckets <= (size_t)max, "%zu buckets", buckets);
    return buckets;
}

static void check_ranges(const struct metrics_bench *b, const struct point *p, size_t n)
{
    const uint64_t end = p[n - 1].step;
    for (int64_t max = 1; max <= 10000; max *= 10) {
        const size_t buckets = check_range(b, p, n, 0, 0, max);
        cr_assert_geq(2 * buckets, (size_t)max, "%zu buckets of %lld", buckets, (long long)max);
    }
    (void)check_range(b, p, n, end / 3, 0, 100);
    (void)check_range(b, p, n, end / 5, end / 2, 7);
    (void)check_range(b, p, n, 3, end - 1, 1000);
}

/* Goal: a chart of any part of a long series says what its points say, NaN and infinite values
 * too, at every size and so from every level. */
Test(points_chart, buckets_are_those_of_the_points, .timeout = 120)
{
    struct metrics_bench b = metrics_bench_open();
    struct point *p = long_series(POINTS, 1);
    metrics_bench_put(&b, LOSS, p, POINTS);
    cr_assert_eq(metrics_bench_number(&b, "SELECT max(level) FROM rollup"), 3);
    check_ranges(&b, p, POINTS);
    mem_free(p);
    metrics_bench_close(&b);
}

/* Goal: after a cut, and after other points have come in the place of what was cut, no bucket tells
 * of the old ones. */
Test(points_chart, a_cut_takes_the_buckets_along, .timeout = 120)
{
    struct metrics_bench b = metrics_bench_open();
    struct err e = { 0 };
    struct point *p = long_series(POINTS, 1), *other = long_series(POINTS, 2);
    const size_t kept = 70001;
    metrics_bench_put(&b, LOSS, p, POINTS);
    cr_assert_eq(metrics_cut(b.db, BENCH_EXPERIMENT, p[kept - 1].step, &e), 0, "%s", e.text);
    char stale[80];
    (void)snprintf(stale, sizeof stale, "SELECT count(*) FROM rollup WHERE step1>%llu",
                   (unsigned long long)p[kept - 1].step);
    cr_assert_eq(metrics_bench_number(&b, stale), 0);
    check_ranges(&b, p, kept);
    for (size_t i = kept; i < POINTS; i++) {
        p[i] = other[i];
        p[i].step = p[i - 1].step + 1;
    }
    metrics_bench_put(&b, LOSS, p + kept, POINTS - kept);
    cr_assert_eq(metrics_bench_number(&b, "SELECT max(level) FROM rollup"), 3);
    check_ranges(&b, p, POINTS);
    bool more = true;
    while (more) cr_assert_eq(metrics_delete(b.db, BENCH_EXPERIMENT, &more, &e), 0, "%s", e.text);
    cr_assert_eq(metrics_bench_number(&b, "SELECT count(*) FROM rollup"), 0);
    mem_free(p);
    mem_free(other);
    metrics_bench_close(&b);
}

/* Goal: points from before there were buckets get the same ones, in slices, and are told rightly
 * while they have not. */
Test(points_chart, old_chunks_get_their_buckets, .timeout = 120)
{
    struct metrics_bench b = metrics_bench_open();
    struct err e = { 0 };
    struct point *p = long_series(POINTS, 1);
    metrics_bench_put(&b, LOSS, p, POINTS);
    cr_assert_eq(stmt_exec(b.db,
                           "CREATE TABLE was AS SELECT * FROM rollup; DELETE FROM rollup;"
                           "INSERT INTO rollup_old SELECT max(id) FROM chunk",
                           &e),
                 0, "%s", e.text);
    bool left = true;
    int slices = 0;
    for (; left; slices++) {
        cr_assert_eq(rollup_fill_some(b.db, &left, &e), 0, "%s", e.text);
        if (slices % 2 == 0) (void)check_range(&b, p, POINTS, 0, 0, 100);
    }
    cr_assert_geq(slices, 4);
    cr_assert_eq(metrics_bench_number(&b, "SELECT count(*) FROM rollup r JOIN was w USING(series,"
                                          "level,seq,step1,buckets)"),
                 metrics_bench_number(&b, "SELECT count(*) FROM was"));
    cr_assert(rollup_fill_some(b.db, &left, &e) == 0 && !left);
    mem_free(p);
    metrics_bench_close(&b);
}
