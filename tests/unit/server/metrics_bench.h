/* metrics_bench: a metrics.db of its own with long series, for tests of what reads them. */
#ifndef TESTS_METRICS_BENCH_H
#define TESTS_METRICS_BENCH_H

#include "server/store/metrics_store.h"
#include "server/store/migrate.h"
#include "server/store/stmt.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BENCH_EXPERIMENT 7

struct metrics_bench {
    char path[64];
    sqlite3 *db;
    uint64_t frame;
};

static inline struct metrics_bench metrics_bench_open(void)
{
    struct metrics_bench b = { .path = "/tmp/spiked-points-XXXXXX" };
    struct err e = { 0 };
    const int fd = mkstemp(b.path);
    cr_assert(fd >= 0 && close(fd) == 0);
    cr_assert_eq(sqlite3_open(b.path, &b.db), SQLITE_OK);
    cr_assert_eq(migrate_run(b.db, "metrics_", &e), 0, "%s", e.text);
    return b;
}

static inline void metrics_bench_close(struct metrics_bench *b)
{
    cr_assert_eq(sqlite3_close(b->db), SQLITE_OK);
    (void)unlink(b->path);
}

/* Points in messages of 700, so that chunks end within them. */
static inline void metrics_bench_put(struct metrics_bench *b, const char *name,
                                     const struct point *points, size_t n)
{
    struct err e = { 0 };
    cr_assert_eq(stmt_exec(b->db, "BEGIN", &e), 0, "%s", e.text);
    for (size_t at = 0; at < n; at += 700) {
        struct wire_buf w = { 0 };
        struct metrics_result r = { 0 };
        const struct wire_series s = { name, points + at, n - at < 700 ? n - at : 700 };
        cr_assert_eq(wire_put_points(&w, ++b->frame, &s, 1, &e), 0, "%s", e.text);
        cr_assert_eq(metrics_ingest(b->db, BENCH_EXPERIMENT, 1, 0, w.data, w.length, "", &r, &e), 0,
                     "%s", e.text);
        metrics_result_deinit(&r);
        wire_buf_deinit(&w);
    }
    cr_assert_eq(stmt_exec(b->db, "COMMIT", &e), 0, "%s", e.text);
}

static inline int64_t metrics_bench_number(const struct metrics_bench *b, const char *sql)
{
    struct stmt s;
    struct err e = { 0 };
    cr_assert(stmt_prepare(&s, b->db, sql, &e) == 0 && stmt_step(&s, &e) == 1, "%s: %s", sql,
              e.text);
    const int64_t n = stmt_int(&s, 0);
    stmt_finish(&s);
    return n;
}

#endif
