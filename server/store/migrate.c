/* migrate: see migrate.h. */
#include "server/store/migrate.h"

#include "common/crash.h"
#include "server/store/migrations_data.h"
#include "server/store/stmt.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

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

int migrate_run(sqlite3 *db, const char *prefix, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(&s, db, "PRAGMA user_version", e);
    if (rc != 0) return rc;
    const int have = stmt_step(&s, e) == 1 ? (int)stmt_int(&s, 0) : 0;
    stmt_finish(&s);
    int newest = 0;
    for (size_t i = 0; rc == 0 && i < migrations_count; i++) {
        const struct migration_text *m = &migrations_all[i];
        if (!belongs(m, prefix)) continue;
        newest = m->number;
        if (m->number > have) rc = apply(db, m, e);
    }
    if (rc == 0 && have > newest)
        rc = err_set(e, ERR_CONFLICT,
                     "the database has version %d, this program knows %d: use a newer one", have,
                     newest);
    return rc;
}
