/* Group commit: what a job is told is what the database holds, also when the disk is full. */
#include "server/store/stmt.h"
#include "server/store/store.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define JOBS 3

struct insert {
    struct store_job job;
    const char *sql;
    int code; /* as told */
    int *left;
};

static int run_insert(struct store_job *job, sqlite3 *db, struct err *e)
{
    return stmt_exec(db, container_of(job, struct insert, job)->sql, e);
}

static void told(struct store_job *job, const struct err *e)
{
    struct insert *x = container_of(job, struct insert, job);
    x->code = (int)e->code;
    --*x->left;
}

static void closed(void *ctx) { *(bool *)ctx = true; }

/* Submits a group that one transaction takes: the writer is busy with the first meanwhile. */
static void write_group(struct store *s, uv_loop_t *loop, struct insert *jobs, size_t n)
{
    int left = (int)n + 1;
    struct insert slow = { .job = { .run = run_insert, .done = told },
                           .left = &left,
                           .sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n"
                                  " WHERE i<300000) SELECT max(i) FROM n" };
    store_submit(s, &slow.job);
    usleep(50000); /* it has begun */
    for (size_t i = 0; i < n; i++) {
        jobs[i].job = (struct store_job){ .run = run_insert, .done = told };
        jobs[i].left = &left;
        store_submit(s, &jobs[i].job);
    }
    while (left > 0) (void)uv_run(loop, UV_RUN_ONCE);
}

static bool has_row(const char *path, int number)
{
    sqlite3 *db = NULL;
    struct stmt q;
    struct err e = { 0 };
    cr_assert(store_reader(path, &db, &e) == 0, "%s", e.text);
    cr_assert(stmt_prepare(&q, db, "SELECT 1 FROM written WHERE n=?1", &e) == 0, "%s", e.text);
    stmt_bind(&q, "i", (int64_t)number);
    const bool there = stmt_step(&q, &e) == 1;
    stmt_finish(&q);
    (void)sqlite3_close(db);
    return there;
}

/* Goal: a full disk takes the whole transaction back; no job of it is then told that it is written,
 * and none is written that was told it is not. */
Test(store, a_full_disk_takes_back_a_group_as_a_whole, .timeout = 30)
{
    char folder[] = "/tmp/spiked-store-XXXXXX", path[64];
    uv_loop_t loop;
    struct store *s = NULL;
    struct err e = { 0 };
    bool over = false;
    cr_assert(mkdtemp(folder) != NULL && uv_loop_init(&loop) == 0);
    (void)snprintf(path, sizeof path, "%s/metrics.db", folder);
    cr_assert(store_open(&s, &loop, path, "metrics_", false, &e) == 0, "%s", e.text);
    struct insert table = { .sql = "CREATE TABLE written(n, fill)" };
    struct insert limit = { .sql = "PRAGMA max_page_count=40" };
    write_group(s, &loop, &table, 1);
    write_group(s, &loop, &limit, 1);
    struct insert jobs[JOBS] = { { .sql = "INSERT INTO written VALUES(1,'')" },
                                 { .sql = "INSERT INTO written VALUES(2,zeroblob(2000000))" },
                                 { .sql = "INSERT INTO written VALUES(3,'')" } };
    write_group(s, &loop, jobs, JOBS);
    cr_assert(jobs[1].code != 0);
    for (int i = 0; i < JOBS; i++)
        cr_assert((jobs[i].code == 0) == has_row(path, i + 1), "job %d was told %d", i + 1,
                  jobs[i].code);
    struct insert after = { .sql = "INSERT INTO written VALUES(4,'')" };
    write_group(s, &loop, &after, 1);
    cr_assert(after.code == 0 && has_row(path, 4));
    store_close(s, closed, &over);
    while (!over) (void)uv_run(&loop, UV_RUN_ONCE);
    cr_assert(uv_loop_close(&loop) == 0);
    for (int i = 0; i < 3; i++) {
        static const char *const ends[] = { "", "-wal", "-shm" };
        char file[80];
        (void)snprintf(file, sizeof file, "%s%s", path, ends[i]);
        (void)unlink(file);
    }
    cr_assert(rmdir(folder) == 0);
}
