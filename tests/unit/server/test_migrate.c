/* Migrations: a database of an older version keeps its rows and gains what is new. */
#include "server/store/migrate.h"

#include "server/store/migrations_data.h"
#include "server/store/stmt.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static sqlite3 *with_first_migration(void)
{
    sqlite3 *db;
    struct err e = { 0 };
    cr_assert(sqlite3_open(":memory:", &db) == SQLITE_OK);
    cr_assert_str_eq(migrations_all[0].name, "0001_experiments");
    cr_assert(stmt_exec(db, migrations_all[0].sql, &e) == 0, "%s", e.text);
    cr_assert(stmt_exec(db, "PRAGMA user_version=1", &e) == 0);
    return db;
}

static int64_t number(sqlite3 *db, const char *sql)
{
    struct stmt s;
    struct err e = { 0 };
    cr_assert(stmt_prepare(&s, db, sql, &e) == 0, "%s", e.text);
    cr_assert(stmt_step(&s, &e) == 1, "%s: %s", sql, e.text);
    const int64_t n = stmt_int(&s, 0);
    stmt_finish(&s);
    return n;
}

/* Goal: limits of specs that were stored before there were columns for them hold. */
Test(migrate, limits_come_from_stored_specs, .timeout = 5)
{
    sqlite3 *db = with_first_migration();
    struct err e = { 0 };
    const char *row =
        "INSERT INTO experiment(uid,name,user,owner_uid,tags,dataset,time_steps,priority,"
        "max_attempts,spec,result_hash,state,desired,reason,message,created_ms,queued_ms)"
        " VALUES('u','n','ada',1000,'','glyphs',4,0,3,"
        "'{\"resources\":{\"threads\":7,\"memory_mib\":512,\"time_limit_s\":60}}',"
        "'h','queued','run','none','',1,1)";
    cr_assert(stmt_exec(db, row, &e) == 0, "%s", e.text);
    cr_assert(migrate_run(db, "", &e) == 0, "%s", e.text);
    cr_expect_eq(number(db, "SELECT time_limit_s FROM experiment"), 60);
    cr_expect_eq(number(db, "SELECT memory_mib FROM experiment"), 512);
    cr_expect_eq(number(db, "SELECT threads FROM experiment"), 7);
    cr_expect_eq(number(db, "SELECT ran_ms+run_began_ms+crashes FROM experiment"), 0);
    (void)sqlite3_close(db);
}

/* Goal: migrating twice changes nothing, and a database of a newer program is refused. */
Test(migrate, newest_is_kept_and_newer_refused, .timeout = 5)
{
    sqlite3 *db = with_first_migration();
    struct err e = { 0 };
    cr_assert(migrate_run(db, "", &e) == 0, "%s", e.text);
    const int64_t version = number(db, "PRAGMA user_version");
    cr_assert_gt(version, 1);
    cr_assert(migrate_run(db, "", &e) == 0, "%s", e.text);
    cr_assert_eq(number(db, "PRAGMA user_version"), version);
    cr_assert(stmt_exec(db, "PRAGMA user_version=99", &e) == 0);
    cr_assert_eq(migrate_run(db, "", &e), ERR_CONFLICT);
    cr_assert(strstr(e.text, "99") != NULL, "%s", e.text);
    (void)sqlite3_close(db);
}

/* Goal: what a migration will change is kept beside it, once; where no copy can be made nothing is
 * changed. */
Test(migrate, a_copy_is_kept_before, .timeout = 10)
{
    char folder[] = "/tmp/spiked-migrate-XXXXXX", path[64], copy[80];
    sqlite3 *db, *kept;
    struct err e = { 0 };
    cr_assert(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/spiked.db", folder);
    (void)snprintf(copy, sizeof copy, "%s.v1", path);
    cr_assert(sqlite3_open(path, &db) == SQLITE_OK);
    cr_assert(migrate_keep(db, "", path, &e) == 0 && access(copy, F_OK) != 0, "of nothing");
    cr_assert(stmt_exec(db, migrations_all[0].sql, &e) == 0, "%s", e.text);
    cr_assert(stmt_exec(db, "PRAGMA user_version=1; INSERT INTO audit VALUES(1,2,'ada',3,'x','y')",
                        &e) == 0);
    cr_assert(mkdir(copy, 0700) == 0);
    cr_expect_neq(migrate_keep(db, "", path, &e), 0, "a folder is in its place");
    cr_assert(rmdir(copy) == 0);
    e = (struct err){ 0 };
    cr_assert(migrate_keep(db, "", path, &e) == 0 && migrate_run(db, "", &e) == 0, "%s", e.text);
    cr_assert(sqlite3_open_v2(copy, &kept, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK);
    cr_expect_eq(number(kept, "PRAGMA user_version"), 1);
    cr_expect_eq(number(kept, "SELECT count(*) FROM audit WHERE actor='ada'"), 1);
    (void)sqlite3_close(kept);
    cr_assert_eq(unlink(copy), 0);
    cr_assert(migrate_keep(db, "", path, &e) == 0 && access(copy, F_OK) != 0, "it is the newest");
    (void)sqlite3_close(db);
    cr_assert(unlink(path) == 0 && rmdir(folder) == 0);
}
