/* restore: what a backup that was made in the middle of everything becomes: secrets are void, what
 * ran is held, a later epoch; and which names a backup may hold. */
#include "server/backup/backup_source.h"
#include "server/backup/restore.h"
#include "server/backup/tar.h"
#include "server/store/migrate.h"
#include "server/store/stmt.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UID "0197f000-0000-7000-8000-000000000001"

static char folder[64];
static struct err e;

static sqlite3 *open_db(const char *where, const char *name)
{
    char path[160];
    sqlite3 *db;
    (void)snprintf(path, sizeof path, "%s/%s/%s", folder, where, name);
    cr_assert(sqlite3_open(path, &db) == SQLITE_OK, "%s", path);
    return db;
}

static void write_file(const char *name, const char *text)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    cr_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0, "%s", path);
}

static void make_folder(const char *name)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert(mkdir(path, 0700) == 0, "%s", path);
}

/* One that runs, with a second attempt that began after the copies were made; a person logged in.
 */
static void make_copies(void)
{
    static const char *const rows =
        "INSERT INTO experiment(uid,name,user,owner_uid,tags,dataset,time_steps,priority,"
        "max_attempts,spec,result_hash,state,desired,reason,message,created_ms,queued_ms,attempt,"
        "run_began_ms,ran_ms) VALUES('" UID "','n','ada',1000,'','glyphs',4,0,3,'{}','h','running',"
        "'run','none','',1,1,1,5000,100);"
        "INSERT INTO attempt(experiment,n,secret_hash,pid,start_ticks,boot_id,started_ms,seen_ms)"
        " VALUES(1,1,x'0101',4711,12,'boot',4000,8000);"
        "INSERT INTO user VALUES('ada',1000,'user',0,1);"
        "INSERT INTO token VALUES(1,x'02','ada','t','user',1,0,0);"
        "INSERT INTO session VALUES(1,x'03',1,1,1);";
    (void)snprintf(folder, sizeof folder, "/tmp/spiked-restore-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    make_folder("copies");
    sqlite3 *db = open_db("copies", "spiked.db");
    cr_assert(migrate_run(db, "", &e) == 0 && stmt_exec(db, rows, &e) == 0, "%s", e.text);
    (void)sqlite3_close(db);
    db = open_db("copies", "metrics.db");
    cr_assert(migrate_run(db, "metrics_", &e) == 0, "%s", e.text);
    (void)sqlite3_close(db);
    write_file("epoch", "41\n");
    make_folder("files");
    make_folder("files/" UID);
    make_folder("files/" UID "/attempt-1");
    make_folder("files/" UID "/attempt-2");
    write_file("files/" UID "/attempt-1/spool", "frames");
    write_file("files/" UID "/attempt-1/weights.safetensors.tmp", "half");
    write_file("files/" UID "/attempt-2/spool", "later");
    write_file("files/" UID "/lock", "");
}

/* ---- an archive in memory -------------------------------------------------------------------- */
static unsigned char archive[1 << 20];
static size_t length, at;

static ssize_t take(void *ctx, void *out, size_t room)
{
    const size_t n = room < length - at ? room : length - at;
    (void)ctx;
    memcpy(out, archive + at, n);
    at += n;
    return (ssize_t)n;
}

static void make_archive(void)
{
    char copies[80], files[80];
    struct backup_source *s;
    (void)snprintf(copies, sizeof copies, "%s/copies", folder);
    (void)snprintf(files, sizeof files, "%s/files", folder);
    const struct backup_parts parts = { copies, folder, files };
    cr_assert(backup_source_new(&s, &parts, &e) == 0);
    for (size_t got = 1; got > 0; length += got)
        cr_assert(backup_source_read(s, archive + length, 4096, &got, &e) == 0, "%s", e.text);
    backup_source_free(s);
}

static int restore(void)
{
    const struct backup_input in = { .read = take };
    struct backup_manifest m;
    char state[80];
    (void)snprintf(state, sizeof state, "%s/new", folder);
    at = 0;
    err_clear(&e);
    return restore_backup(&in, state, &m, &e);
}

static int64_t number(sqlite3 *db, const char *sql)
{
    struct stmt s;
    cr_assert(stmt_prepare(&s, db, sql, &e) == 0, "%s", e.text);
    const int64_t n = stmt_step(&s, &e) == 1 ? stmt_int(&s, 0) : -1;
    stmt_finish(&s);
    return n;
}

static void remove_all(void)
{
    char command[100];
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    cr_assert_eq(system(command), 0);
}

static bool there(const char *name)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/new/%s", folder, name);
    return access(path, F_OK) == 0;
}

/* Goal: as the file's first lines say. */
Test(restore, secrets_are_void_and_what_ran_is_held, .timeout = 20)
{
    make_copies();
    make_archive();
    cr_assert_eq(restore(), 0, "%s", e.text);
    sqlite3 *db = open_db("new", "spiked.db");
    cr_expect_eq(number(db, "SELECT count(*) FROM session"), 0);
    cr_expect_eq(number(db, "SELECT count(*) FROM token"), 1);
    cr_expect_eq(number(db,
                        "SELECT count(*) FROM attempt WHERE pid=0 AND start_ticks=0 AND boot_id=''"
                        " AND length(secret_hash)=32 AND ended_ms=8000 AND reason='restored'"),
                 1);
    cr_expect_eq(number(db,
                        "SELECT count(*) FROM experiment WHERE state='held' AND desired='run' AND"
                        " reason='restored' AND run_began_ms=0 AND rev=2"),
                 1);
    cr_expect_eq(number(db, "SELECT ran_ms FROM experiment"), 3100, "what it ran is not counted");
    cr_expect_eq(number(db, "SELECT count(*) FROM audit WHERE actor='restore'"), 1);
    (void)sqlite3_close(db);
    cr_expect(there("files/" UID "/attempt-1/spool"));
    cr_expect(!there("files/" UID "/attempt-2") && !there("files/" UID "/lock") &&
              !there("files/" UID "/attempt-1/weights.safetensors.tmp") && !there(".restoring"));
    char path[100], epoch[20] = "";
    (void)snprintf(path, sizeof path, "%s/new/epoch", folder);
    FILE *f = fopen(path, "r");
    cr_assert(f != NULL && fgets(epoch, sizeof epoch, f) != NULL && fclose(f) == 0);
    cr_expect_str_eq(epoch, "1000041\n");
    remove_all();
}

/* Goal: an archive that names a file anywhere else writes nothing there. */
Test(restore, no_name_leads_elsewhere, .timeout = 20)
{
    static const char *const names[] = { "files/../../../tmp/spiked-evil",
                                         "files/" UID "/../../epoch",
                                         "files/" UID "/attempt-1/a/b",
                                         "files/" UID "/.hidden",
                                         "files/0197f000-0000-7000-8000-00000000000g/spool",
                                         "/etc/spiked-evil",
                                         "epoch",
                                         "spiked.db" };
    make_copies();
    make_archive();
    unsigned char *header = memmem(archive, length, "files/", 6);
    cr_assert(header != NULL && (header - archive) % TAR_BLOCK == 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        cr_assert(tar_header(header, names[i], 6, 0, &e) == 0, "%s", e.text);
        cr_expect_eq(restore(), ERR_DATA, "%s", names[i]);
        cr_expect(strstr(e.text, "is no file of a backup") != NULL, "%s: %s", names[i], e.text);
        cr_expect(!there("."), "%s", names[i]);
    }
    remove_all();
}
