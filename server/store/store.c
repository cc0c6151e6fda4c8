/* store: see store.h. */
#include "server/store/store.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/migrate.h"
#include "server/store/stmt.h"

#include <string.h>
#include <sys/vfs.h>

#define CHECKPOINT_EVERY_MS 1000
#define GROUP_MAX 2000

struct store {
    sqlite3 *db;
    char *path;
    uv_thread_t thread;
    uv_mutex_t lock;
    uv_cond_t wake;
    uv_async_t finished;
    struct list waiting, done; /* under lock, like the next two */
    size_t n_waiting;
    struct store_stats stats; /* but for waiting */
    size_t under_way; /* loop thread: submitted, not yet delivered */
    bool closing;
    int64_t checkpoint_ms;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

int store_check_file_system(const char *path, struct err *e)
{
    static const struct {
        long magic;
        const char *name;
    } refused[] = { { 0x6969, "NFS" },       { 0xFF534D42, "CIFS" }, { 0x0BD00BD0, "Lustre" },
                    { 0x47504653, "GPFS" },  { 0xFE534D42, "SMB2" }, { 0x01021997, "9p" } };
    struct statfs fs;
    if (statfs(path, &fs) != 0) return 0; /* opening says what is wrong */
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if ((long)fs.f_type == refused[i].magic)
            return err_set(e, ERR_INVALID,
                           "the state directory %.120s is on %s: put it on a local disk", path,
                           refused[i].name);
    return 0;
}

/* ---- writer thread --------------------------------------------------------------------------- */
static void take_waiting(struct store *s, struct list *group)
{
    uv_mutex_lock(&s->lock);
    while (list_empty(&s->waiting) && !s->closing) uv_cond_wait(&s->wake, &s->lock);
    for (size_t n = 0; n < GROUP_MAX && !list_empty(&s->waiting); n++) {
        struct list *first = s->waiting.next;
        const bool alone = container_of(first, struct store_job, link)->alone;
        if (alone && n > 0) break;
        list_remove(first);
        list_append(group, first);
        s->n_waiting--;
        if (alone) break;
    }
    uv_mutex_unlock(&s->lock);
}

static void run_job(struct store *s, struct store_job *job)
{
    struct err ignored = { 0 };
    if (stmt_exec(s->db, "SAVEPOINT job", &job->err) != 0) return;
    if (job->run(job, s->db, &job->err) != 0) {
        if (job->err.code == ERR_OK) (void)err_set(&job->err, ERR_INTERNAL, "job failed");
        (void)stmt_exec(s->db, "ROLLBACK TO job", &ignored);
    }
    (void)stmt_exec(s->db, "RELEASE job", &ignored);
}

static void fail_all(struct list *group, const struct err *e)
{
    list_for_each(it, group)
    {
        struct store_job *job = container_of(it, struct store_job, link);
        if (job->err.code == ERR_OK) job->err = *e;
    }
}

/* Moves the log into the database file and syncs it; true when nothing is left behind. */
static bool checkpoint(struct store *s)
{
    int in_log = 0, moved = 0;
    s->checkpoint_ms = clock_mono_ms();
    return sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &moved) ==
               SQLITE_OK && in_log == moved;
}

/* Some faults (a full disk, a failed read) make SQLite take back the whole transaction and not the
 * statement alone: then no job of the group is done, and what came after would be a transaction of
 * its own. */
static int run_jobs(struct store *s, struct list *group, struct err *e)
{
    list_for_each(it, group) {
        struct store_job *job = container_of(it, struct store_job, link);
        run_job(s, job);
        if (sqlite3_get_autocommit(s->db) == 0) continue;
        *e = job->err;
        if (e->code == ERR_OK) (void)err_set(e, ERR_DB, "the transaction was taken back");
        return (int)e->code;
    }
    return 0;
}

static void run_group(struct store *s, struct list *group)
{
    struct err e = { 0 };
    struct store_job *first = container_of(group->next, struct store_job, link);
    if (first->alone) {
        (void)first->run(first, s->db, &first->err);
        return;
    }
    int rc = stmt_exec(s->db, "BEGIN IMMEDIATE", &e);
    if (rc == 0) rc = run_jobs(s, group, &e);
    if (rc == 0) rc = stmt_exec(s->db, "COMMIT", &e);
    if (rc != 0) {
        struct err ignored = { 0 };
        (void)stmt_exec(s->db, "ROLLBACK", &ignored);
        log_error("server.store", "%s: %s", s->path, e.text);
        fail_all(group, &e);
        return;
    }
    if (clock_mono_ms() - s->checkpoint_ms < CHECKPOINT_EVERY_MS || !checkpoint(s)) return;
    list_for_each(it, group) container_of(it, struct store_job, link)->durable = true;
}

static void write_jobs(void *arg)
{
    struct store *s = arg;
    for (;;) {
        struct list group;
        list_init(&group);
        take_waiting(s, &group);
        if (list_empty(&group)) return; /* closing, and nothing is left */
        const int64_t began_ns = clock_mono_ns();
        run_group(s, &group);
        uv_mutex_lock(&s->lock);
        histogram_add(&s->stats.batch_s, (double)(clock_mono_ns() - began_ns) * 1e-9);
        while (!list_empty(&group)) {
            struct list *first = group.next;
            list_remove(first);
            list_append(&s->done, first);
            s->stats.jobs++;
        }
        uv_mutex_unlock(&s->lock);
        (void)uv_async_send(&s->finished);
    }
}

/* ---- loop thread ----------------------------------------------------------------------------- */
static void deliver(struct store *s)
{
    for (;;) {
        uv_mutex_lock(&s->lock);
        struct list *first = list_empty(&s->done) ? NULL : s->done.next;
        if (first != NULL) list_remove(first);
        uv_mutex_unlock(&s->lock);
        if (first == NULL) return;
        struct store_job *job = container_of(first, struct store_job, link);
        const struct err e = job->err;
        s->under_way--;
        job->done(job, &e);
    }
}

static void on_finished(uv_async_t *a) { deliver(container_of(a, struct store, finished)); }

void store_submit(struct store *s, struct store_job *job)
{
    s->under_way++;
    uv_mutex_lock(&s->lock);
    const bool full = (s->n_waiting >= STORE_JOBS_MAX && !job->alone) || s->closing;
    list_append(full ? &s->done : &s->waiting, &job->link);
    if (full) (void)err_set(&job->err, ERR_UNAVAILABLE, "too many writes are waiting");
    else s->n_waiting++;
    uv_cond_signal(&s->wake);
    uv_mutex_unlock(&s->lock);
    if (full) (void)uv_async_send(&s->finished);
}

bool store_idle(const struct store *s) { return s->under_way == 0; }
sqlite3 *store_db_at_start(struct store *s) { return s->db; }
const char *store_path(const struct store *s) { return s->path; }

struct store_stats store_stats_of(struct store *s)
{
    uv_mutex_lock(&s->lock);
    struct store_stats stats = s->stats;
    stats.waiting = s->n_waiting;
    uv_mutex_unlock(&s->lock);
    return stats;
}

static int configure(sqlite3 *db, bool full, struct err *e)
{
    int rc = stmt_exec(
        db,
        "PRAGMA journal_mode=WAL; PRAGMA busy_timeout=5000; PRAGMA foreign_keys=ON;"
        "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16000; PRAGMA secure_delete=OFF;"
        "PRAGMA journal_size_limit=67108864; PRAGMA trusted_schema=OFF;",
        e);
    if (rc == 0)
        rc = stmt_exec(db, full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", e);
    return rc;
}

int store_open(struct store **out, uv_loop_t *loop, const char *path, const char *migrations_prefix,
               bool full, struct err *e)
{
    struct store *s = mem_calloc(1, sizeof *s);
    if (s == NULL) return err_set(e, ERR_NOMEM, "store");
    int rc = 0;
    list_init(&s->waiting);
    list_init(&s->done);
    s->stats.batch_s.bounds = histogram_short_bounds;
    s->stats.batch_s.n_bounds = histogram_short_count;
    s->path = mem_strdup(path);
    if (s->path == NULL) rc = err_set(e, ERR_NOMEM, "store");
    if (rc == 0 && sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                                                     SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        rc = err_db(e, s->db, path);
    if (rc == 0) rc = configure(s->db, full, e);
    if (rc == 0 && full) rc = migrate_keep(s->db, migrations_prefix, path, e);
    if (rc == 0) rc = migrate_run(s->db, migrations_prefix, e);
    if (rc != 0) {
        (void)sqlite3_close(s->db);
        mem_free(s->path);
        mem_free(s);
        return rc;
    }
    (void)uv_mutex_init(&s->lock);
    (void)uv_cond_init(&s->wake);
    (void)uv_async_init(loop, &s->finished, on_finished);
    (void)uv_thread_create(&s->thread, write_jobs, s);
    *out = s;
    return 0;
}

static void on_async_closed(uv_handle_t *h)
{
    struct store *s = container_of((uv_async_t *)h, struct store, finished);
    void (*on_closed)(void *) = s->on_closed;
    void *ctx = s->closed_ctx;
    (void)sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    (void)sqlite3_close(s->db);
    uv_mutex_destroy(&s->lock);
    uv_cond_destroy(&s->wake);
    mem_free(s->path);
    mem_free(s);
    on_closed(ctx);
}

void store_finish(struct store *s)
{
    uv_mutex_lock(&s->lock);
    const bool finished = s->closing;
    s->closing = true;
    uv_cond_signal(&s->wake);
    uv_mutex_unlock(&s->lock);
    if (!finished) (void)uv_thread_join(&s->thread);
}

void store_close(struct store *s, void (*on_closed)(void *ctx), void *ctx)
{
    s->on_closed = on_closed;
    s->closed_ctx = ctx;
    store_finish(s);
    deliver(s);
    uv_close((uv_handle_t *)&s->finished, on_async_closed);
}

int store_reader(const char *path, sqlite3 **out, struct err *e)
{
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        const int rc = err_db(e, db, path);
        (void)sqlite3_close(db);
        return rc;
    }
    (void)sqlite3_busy_timeout(db, 5000);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    *out = db;
    return 0;
}
