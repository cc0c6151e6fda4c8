/* db_copy: see db_copy.h. */
#include "server/backup/db_copy.h"

#include "server/store/stmt.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK_OPS 200000 /* of SQLite's machine between two looks around */
#define CHECK_PAUSE_NS 1000000

static int begin(struct db_copy *c, sqlite3 *from, const char *path, struct err *e)
{
    if (c->backup != NULL) return 0;
    if (sqlite3_open_v2(path, &c->to,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return err_db(e, c->to, path);
    /* A copy that was not finished is thrown away: it needs no journal. */
    int rc = stmt_exec(c->to, "PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF", e);
    if (rc != 0) return rc;
    c->backup = sqlite3_backup_init(c->to, "main", from, "main");
    return c->backup != NULL ? 0 : err_db(e, c->to, path);
}

static int step(struct db_copy *c, int pages, struct err *e)
{
    const int rc = sqlite3_backup_step(c->backup, pages);
    c->complete = rc == SQLITE_DONE;
    if (rc == SQLITE_OK || rc == SQLITE_DONE) return 0;
    return err_set(e, ERR_DB, "copying a database: %s", sqlite3_errstr(rc));
}

int db_copy_slice(struct db_copy *c, sqlite3 *from, const char *path, bool *near_end, struct err *e)
{
    int rc = begin(c, from, path, e);
    if (rc == 0) rc = step(c, 0, e); /* how many are left */
    *near_end = rc == 0 && sqlite3_backup_remaining(c->backup) <= DB_COPY_PAGES;
    return rc != 0 || *near_end ? rc : step(c, DB_COPY_PAGES, e);
}

int db_copy_rest(struct db_copy *c, sqlite3 *from, const char *path, struct err *e)
{
    int rc = begin(c, from, path, e);
    if (rc == 0) rc = step(c, -1, e);
    if (rc == 0 && !c->complete) rc = err_set(e, ERR_DB, "copying a database: not complete");
    return rc;
}

void db_copy_end(struct db_copy *c)
{
    if (c->backup != NULL) (void)sqlite3_backup_finish(c->backup);
    (void)sqlite3_close(c->to);
    c->backup = NULL;
    c->to = NULL;
}

static int look_around(void *ctx)
{
    const struct timespec pause = { 0, CHECK_PAUSE_NS };
    (void)nanosleep(&pause, NULL);
    return atomic_load((const atomic_bool *)ctx);
}

static int quick_check(sqlite3 *db, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(&s, db, "PRAGMA quick_check(1)", e);
    if (rc != 0) return rc;
    const int got = stmt_step(&s, e);
    if (got == 1 && strcmp(stmt_text(&s, 0), "ok") != 0)
        rc = err_set(e, ERR_DATA, "the database is damaged: %.150s", stmt_text(&s, 0));
    stmt_finish(&s);
    return got < 0 ? (int)e->code : rc;
}

static int sync_file(const char *path, struct err *e)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_errno(e, errno, "%.150s", path);
    const int rc = fsync(fd) == 0 ? 0 : err_errno(e, errno, "%.150s", path);
    (void)close(fd);
    return rc;
}

int db_copy_check(const char *path, const atomic_bool *stop, struct err *e)
{
    sqlite3 *db = NULL;
    int rc = 0;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        rc = err_db(e, db, path);
    if (rc == 0) rc = stmt_exec(db, "PRAGMA synchronous=OFF; PRAGMA journal_mode=DELETE", e);
    if (rc == 0) sqlite3_progress_handler(db, CHECK_OPS, look_around, (void *)(uintptr_t)stop);
    if (rc == 0) rc = quick_check(db, e);
    (void)sqlite3_close(db);
    if (rc != 0 && atomic_load(stop)) {
        err_clear(e);
        rc = err_set(e, ERR_STOPPED, "the check was stopped");
    }
    return rc != 0 ? rc : sync_file(path, e);
}
