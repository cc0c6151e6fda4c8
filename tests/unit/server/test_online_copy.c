/* online_copy: both databases are written to without a pause while they are copied, and the copies
 * belong together all the same. */
#include "server/backup/online_copy.h"

#include "server/store/stmt.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As with points and the end of an attempt: row i is in metrics.db before main writes it, and of an
 * experiment that main knows. */
struct chain {
    struct store_job job;
    struct store *main, *metrics;
    int64_t step;
    int turn; /* 0: the experiment in main, 1: its points in metrics, 2: its end in main */
    bool last, over;
};

static const char *const writes[] = {
    "INSERT INTO begun VALUES(?1)",
    "INSERT INTO points VALUES(?1,randomblob(3000))",
    "INSERT INTO ended VALUES(?1)",
};

static int write_step(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct chain *c = container_of(job, struct chain, job);
    return stmt_once(db, writes[c->turn], e, "i", c->step);
}

static void submit_step(struct chain *c);

static void step_done(struct store_job *job, const struct err *e)
{
    struct chain *c = container_of(job, struct chain, job);
    cr_assert_eq(e->code, ERR_OK, "%s", e->text);
    if (++c->turn == 3) {
        c->turn = 0;
        c->step++;
        c->over = c->last;
    }
    if (!c->over) submit_step(c);
}

static void submit_step(struct chain *c)
{
    c->job = (struct store_job){ .run = write_step, .done = step_done };
    store_submit(c->turn == 1 ? c->metrics : c->main, &c->job);
}

struct world {
    uv_loop_t loop;
    char folder[64], copies[80];
    struct store *main, *metrics;
    struct chain chain;
    int closed;
    bool copied;
    struct err told;
};

static int make_tables(struct store_job *job, sqlite3 *db, struct err *e)
{
    (void)job;
    return stmt_exec(db,
                     "CREATE TABLE begun(n); CREATE TABLE points(n, fill); CREATE TABLE ended(n);"
                     "INSERT INTO points SELECT 0,randomblob(3000) FROM (WITH RECURSIVE n(i) AS"
                     " (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000) SELECT i FROM n)",
                     e);
}

static void tables_made(struct store_job *job, const struct err *e)
{
    cr_assert_eq(e->code, ERR_OK, "%s", e->text);
    free(job);
}

static struct store *open_one(struct world *w, const char *name, const char *migrations)
{
    char path[100];
    struct err e = { 0 };
    struct store *s;
    (void)snprintf(path, sizeof path, "%s/%s", w->folder, name);
    cr_assert(store_open(&s, &w->loop, path, migrations, false, &e) == 0, "%s", e.text);
    struct store_job *job = calloc(1, sizeof *job);
    *job = (struct store_job){ .run = make_tables, .done = tables_made };
    store_submit(s, job);
    return s;
}

static void open_world(struct world *w)
{
    (void)snprintf(w->folder, sizeof w->folder, "/tmp/spiked-copy-XXXXXX");
    cr_assert(mkdtemp(w->folder) != NULL && uv_loop_init(&w->loop) == 0);
    (void)snprintf(w->copies, sizeof w->copies, "%s", w->folder);
    w->main = open_one(w, "main.live", "");
    w->metrics = open_one(w, "metrics.live", "metrics_");
    w->chain = (struct chain){ .main = w->main, .metrics = w->metrics, .step = 1 };
    submit_step(&w->chain);
}

static void count_closed(void *ctx) { ++*(int *)ctx; }

static void close_world(struct world *w)
{
    char command[100];
    w->chain.last = true;
    while (!w->chain.over) (void)uv_run(&w->loop, UV_RUN_ONCE);
    store_close(w->main, count_closed, &w->closed);
    store_close(w->metrics, count_closed, &w->closed);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    cr_assert(w->closed == 2 && uv_loop_close(&w->loop) == 0, "something is left open");
    (void)snprintf(command, sizeof command, "rm -r %s", w->folder);
    cr_assert_eq(system(command), 0);
}

static void copied(void *ctx, const struct err *e)
{
    struct world *w = ctx;
    w->copied = true;
    w->told = *e;
}

static int64_t number(const struct world *w, const char *name, const char *sql)
{
    char path[120];
    sqlite3 *db;
    struct stmt s;
    struct err e = { 0 };
    (void)snprintf(path, sizeof path, "%s/%s", w->copies, name);
    cr_assert(store_reader(path, &db, &e) == 0 && stmt_prepare(&s, db, sql, &e) == 0, "%s: %s",
              path, e.text);
    const int64_t n = stmt_step(&s, &e) == 1 ? stmt_int(&s, 0) : -1;
    stmt_finish(&s);
    (void)sqlite3_close(db);
    return n;
}

/* Goal: what one copy says never goes beyond the other, however fast both are written to, and what
 * was written during the copy is in it. */
Test(online_copy, copies_are_of_one_moment, .timeout = 60)
{
    static struct world w;
    struct err e = { 0 };
    open_world(&w);
    while (w.chain.step < 20) (void)uv_run(&w.loop, UV_RUN_ONCE);
    const int64_t before = w.chain.step;
    struct online_copy *c;
    cr_assert(online_copy_start(&c, &w.loop, w.metrics, w.main, w.copies, copied, &w, &e) == 0);
    while (!w.copied) (void)uv_run(&w.loop, UV_RUN_ONCE);
    cr_assert_eq(w.told.code, ERR_OK, "%s", w.told.text);
    const int64_t after = w.chain.step;
    const int64_t points = number(&w, "metrics.db", "SELECT max(n) FROM points");
    const int64_t begun = number(&w, "spiked.db", "SELECT max(n) FROM begun");
    const int64_t ended = number(&w, "spiked.db", "SELECT max(n) FROM ended");
    cr_log_info("steps %lld to %lld: begun %lld, points %lld, ended %lld", (long long)before,
                (long long)after, (long long)begun, (long long)points, (long long)ended);
    cr_expect_geq(begun, points, "points of what is not known");
    cr_expect_geq(points, ended, "an end without its points");
    cr_expect_gt(ended, before, "the copy is of its beginning");
    cr_expect_eq(number(&w, "metrics.db", "SELECT count(*) FROM points"), 2000 + points);
    close_world(&w);
}

/* Goal: a daemon that ends does not wait for a copy, and nothing of it stays open. */
Test(online_copy, ends_with_the_daemon, .timeout = 60)
{
    static struct world w;
    struct err e = { 0 };
    open_world(&w);
    struct online_copy *c;
    cr_assert(online_copy_start(&c, &w.loop, w.metrics, w.main, w.copies, copied, &w, &e) == 0);
    for (int i = 0; i < 5; i++) (void)uv_run(&w.loop, UV_RUN_ONCE);
    online_copy_stop(c);
    if (!w.copied) online_copy_stop(c);
    while (!w.copied) (void)uv_run(&w.loop, UV_RUN_ONCE);
    cr_expect_eq(w.told.code, ERR_STOPPED, "%s", w.told.text);
    close_world(&w);
}

/* Goal: a copy that cannot be written fails and says why; the databases go on. */
Test(online_copy, a_folder_that_is_not_there, .timeout = 60)
{
    static struct world w;
    struct err e = { 0 };
    open_world(&w);
    struct online_copy *c;
    cr_assert(online_copy_start(&c, &w.loop, w.metrics, w.main, "/nonexistent", copied, &w, &e) ==
              0);
    while (!w.copied) (void)uv_run(&w.loop, UV_RUN_ONCE);
    cr_expect_eq(w.told.code, ERR_DB, "%s", w.told.text);
    close_world(&w);
}
