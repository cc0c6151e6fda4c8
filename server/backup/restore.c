/* restore: see restore.h. */
#include "server/backup/restore.h"

#include "common/clock.h"
#include "server/backup/backup_folder.h"
#include "server/backup/db_copy.h"
#include "server/store/migrate.h"
#include "server/store/state_lock.h"
#include "server/store/stmt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The daemon that made the backup may have been started again since, and clients have its ids. */
#define EPOCH_LEAP 1000000
#define STATE_DIR_MAX (PATH_MAX / 2)

static int is_entry(const struct dirent *d)
{
    return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

/* *made: it was not there. */
static int make_empty(const char *state_dir, bool *made, struct err *e)
{
    *made = mkdir(state_dir, 0700) == 0;
    if (*made) return 0;
    if (errno != EEXIST) return err_errno(e, errno, "%.150s", state_dir);
    DIR *dir = opendir(state_dir);
    if (dir == NULL) return err_errno(e, errno, "%.150s", state_dir);
    bool empty = true;
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) empty &= !is_entry(d);
    (void)closedir(dir);
    return empty ? 0
                 : err_set(e, ERR_CONFLICT, "%.150s is not empty: name a new folder", state_dir);
}

static int sync_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    struct err e = { 0 };
    (void)st;
    (void)at;
    return type == FTW_DP ? folder_sync(path, &e) : 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

/* ---- the databases --------------------------------------------------------------------------- */
static const char *const edits[] = {
    /* Workers of the other daemon are none of this one's. */
    "UPDATE attempt SET secret_hash=randomblob(32),pid=0,start_ticks=0,boot_id=''",
    "DELETE FROM session",
    "UPDATE attempt SET ended_ms=max(started_ms,seen_ms),reason='restored' WHERE ended_ms=0",
    "UPDATE experiment SET ran_ms=ran_ms+max(0,coalesce((SELECT a.ended_ms FROM attempt a WHERE"
    " a.experiment=id AND a.n=attempt),0)-run_began_ms) WHERE run_began_ms<>0",
    "UPDATE experiment SET state='held',desired='run',reason='restored',run_began_ms=0,rev=rev+1,"
    "message='it ran when the backup was made: resume lets it go on from its last checkpoint'"
    " WHERE state IN('starting','running','stopping')",
};

static int edit(sqlite3 *db, struct err *e)
{
    int rc = stmt_exec(db, "BEGIN IMMEDIATE", e);
    if (rc == 0)
        rc = stmt_once(db,
                       "INSERT INTO audit(at_ms,actor,experiment,event,state) SELECT"
                       " ?1,'restore',id,'restore','held' FROM experiment WHERE state"
                       " IN('starting','running','stopping')",
                       e, "i", clock_wall_ms());
    for (size_t i = 0; rc == 0 && i < sizeof edits / sizeof edits[0]; i++)
        rc = stmt_exec(db, edits[i], e);
    return rc == 0 ? stmt_exec(db, "COMMIT", e) : rc;
}

/* Databases of an older program are brought up to date at once; a newer one's are refused. */
static int take_database(const char *folder, const char *name, const char *migrations, bool edited,
                         struct err *e)
{
    static const atomic_bool never;
    char path[PATH_MAX];
    sqlite3 *db = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    int rc = db_copy_check(path, &never, e);
    if (rc == 0 && sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        rc = err_db(e, db, path);
    if (rc == 0) rc = stmt_exec(db, "PRAGMA synchronous=FULL", e);
    if (rc == 0) rc = migrate_run(db, migrations, e);
    if (rc == 0 && edited) rc = edit(db, e);
    (void)sqlite3_close(db);
    return rc;
}

static int write_epoch(const char *folder, int64_t epoch, struct err *e)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/epoch", folder);
    FILE *f = fopen(path, "we");
    if (f == NULL) return err_errno(e, errno, "%.150s", path);
    const bool ok = fprintf(f, "%" PRId64 "\n", epoch + EPOCH_LEAP) > 0 && fflush(f) == 0 &&
                    fsync(fileno(f)) == 0;
    return fclose(f) == 0 && ok ? 0 : err_errno(e, errno, "%.150s", path);
}

/* spiked.db last: until then no daemon takes it for complete, nor while the folder is there. */
static int move_up(const char *folder, const char *state_dir, struct err *e)
{
    static const char *const names[] = { "metrics.db", "files", "epoch", "spiked.db" };
    char from[PATH_MAX], to[PATH_MAX];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(from, sizeof from, "%s/%s", folder, names[i]);
        (void)snprintf(to, sizeof to, "%s/%s", state_dir, names[i]);
        if (rename(from, to) != 0 && (errno != ENOENT || strcmp(names[i], "files") != 0))
            return err_errno(e, errno, "%.150s", to);
    }
    if (folder_sync(state_dir, e) != 0) return (int)e->code;
    if (rmdir(folder) != 0) return err_errno(e, errno, "%.150s", folder);
    return folder_sync(state_dir, e);
}

static int fill(const struct backup_input *in, const char *folder, struct backup_manifest *out,
                struct err *e)
{
    int rc = backup_walk(in, folder, out, e);
    if (rc == 0) rc = take_database(folder, "metrics.db", "metrics_", false, e);
    if (rc == 0) rc = take_database(folder, "spiked.db", "", true, e);
    if (rc == 0) rc = write_epoch(folder, out->epoch, e);
    if (rc == 0 && nftw(folder, sync_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        rc = err_errno(e, errno, "%.150s", folder);
    return rc;
}

int restore_backup(const struct backup_input *in, const char *state_dir,
                   struct backup_manifest *out, struct err *e)
{
    char folder[STATE_DIR_MAX + 16];
    bool made = false;
    if (strlen(state_dir) >= STATE_DIR_MAX)
        return err_set(e, ERR_INVALID, "--state-dir %.100s is too long", state_dir);
    int rc = make_empty(state_dir, &made, e);
    if (rc != 0) return rc;
    (void)snprintf(folder, sizeof folder, "%s/" STATE_RESTORING, state_dir);
    if (mkdir(folder, 0700) != 0) rc = err_errno(e, errno, "%.150s", folder);
    if (rc == 0) rc = fill(in, folder, out, e);
    if (rc == 0) return move_up(folder, state_dir, e);
    (void)nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    if (made) (void)rmdir(state_dir);
    return rc;
}
