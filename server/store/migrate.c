/* migrate: see migrate.h. */
#include "server/store/migrate.h"

#include "common/crash.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/migrations_data.h"
#include "server/store/stmt.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool belongs(const struct migration_text *m, const char *prefix)
{
    static const char metrics[] = "metrics_";
    const bool other = strncmp(m->name, metrics, sizeof metrics - 1) == 0;
    return other == (strcmp(prefix, metrics) == 0);
}

static int apply(sqlite3 *db, const struct migration_text *m, struct err *e)
{
    char version[40];
    (void)snprintf(version, sizeof version, "PRAGMA user_version=%d", m->number);
    int rc = stmt_exec(db, "BEGIN IMMEDIATE", e);
    if (rc == 0) rc = stmt_exec(db, m->sql, e);
    if (rc == 0) rc = stmt_exec(db, version, e);
    crash_point(CRASH_MIGRATION_BEFORE_COMMIT);
    if (rc == 0) rc = stmt_exec(db, "COMMIT", e);
    if (rc == 0) {
        crash_point(CRASH_MIGRATION_AFTER_COMMIT);
        return 0;
    }
    struct err ignored = { 0 };
    (void)stmt_exec(db, "ROLLBACK", &ignored);
    return err_wrap(e, "migration %s", m->name);
}

static int version_of(sqlite3 *db, int *version, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(&s, db, "PRAGMA user_version", e);
    if (rc != 0) return rc;
    *version = stmt_step(&s, e) == 1 ? (int)stmt_int(&s, 0) : 0;
    stmt_finish(&s);
    return 0;
}

static int newest_of(const char *prefix)
{
    int newest = 0;
    for (size_t i = 0; i < migrations_count; i++)
        if (belongs(&migrations_all[i], prefix)) newest = migrations_all[i].number;
    return newest;
}

int migrate_keep(sqlite3 *db, const char *prefix, const char *path, struct err *e)
{
    int have = 0;
    if (version_of(db, &have, e) != 0) return (int)e->code;
    if (have == 0 || have >= newest_of(prefix)) return 0;
    char *copy = mem_printf("%s.v%d", path, have);
    if (copy == NULL) return err_set(e, ERR_NOMEM, "path");
    (void)unlink(copy);
    int rc = stmt_once(db, "VACUUM INTO ?1", e, "t", copy);
    if (rc != 0) (void)unlink(copy);
    else
        log_info("server.store", "%s is migrated from version %d: %s is as it was", path, have,
                 copy);
    mem_free(copy);
    return rc == 0 ? 0 : err_wrap(e, "a copy of %.100s before it is migrated", path);
}

int migrate_run(sqlite3 *db, const char *prefix, struct err *e)
{
    int have = 0;
    int rc = version_of(db, &have, e);
    if (rc != 0) return rc;
    const int newest = newest_of(prefix);
    for (size_t i = 0; rc == 0 && i < migrations_count; i++) {
        const struct migration_text *m = &migrations_all[i];
        if (belongs(m, prefix) && m->number > have) rc = apply(db, m, e);
    }
    if (rc == 0 && have > newest)
        rc = err_set(e, ERR_CONFLICT,
                     "the database has version %d, this program knows %d: use a newer one", have,
                     newest);
    return rc;
}
