/* backup_command: see backup_command.h.
 *
 * With a daemon the backup is what POST /admin/backup sends; without one this process holds the
 * lock of the state directory and makes the same archive. Either way it is read to its end, with
 * every digest checked, while it is written to FILE.part; only then it is FILE. */
#include "server/backup_command.h"

#include "common/clock.h"
#include "common/config.h"
#include "common/crash.h"
#include "common/mem.h"
#include "server/backup/backup_folder.h"
#include "server/backup/backup_source.h"
#include "server/backup/db_copy.h"
#include "server/backup/restore.h"
#include "server/socket_client.h"
#include "server/store/state_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 3600 /* while the daemon copies and checks its databases it sends nothing */
#define PROGRESS_MS 1000
#define PAUSE_NS 10000000 /* between two slices of a database */

struct backup_options {
    char *socket, *state_dir, *files_dir;
    bool without_files;
};
#define AT(member) offsetof(struct backup_options, member)
static const struct config_row backup_rows[] = {
    { "socket", CONFIG_STRING, AT(socket), NULL, 0, 0, NULL, "PATH",
      "of the daemon; default STATE/api.sock" },
    { "state-dir", CONFIG_STRING, AT(state_dir), "state", 0, 0, NULL, "DIR",
      "holds api.sock; without a daemon its databases are copied" },
    { "files-dir", CONFIG_STRING, AT(files_dir), NULL, 0, 0, NULL, "DIR",
      "without a daemon; default STATE/files" },
    { "without-files", CONFIG_BOOL, AT(without_files), "false", 0, 0, NULL, NULL,
      "databases alone: no weights, checkpoints, records, logs" },
};
#define BACKUP_ROWS (sizeof backup_rows / sizeof backup_rows[0])
static const struct config_row restore_rows[] = {
    { "state-dir", CONFIG_STRING, AT(state_dir), NULL, 0, 0, NULL, "NEW",
      "is made, or is there and empty" },
};
#define RESTORE_ROWS (sizeof restore_rows / sizeof restore_rows[0])

/* ---- where the archive comes from, and where it goes ----------------------------------------- */
struct transfer {
    int from; /* socket or file; -1: source */
    struct backup_source *source;
    int to; /* -1: nowhere */
    uint64_t bytes, files;
    int64_t told_ms;
    bool terminal;
    struct err err; /* of the source */
};

static ssize_t pull(struct transfer *t, void *out, size_t room)
{
    size_t got;
    if (t->from >= 0) return read(t->from, out, room);
    if (backup_source_read(t->source, out, room, &got, &t->err) == 0) return (ssize_t)got;
    errno = EIO;
    return -1;
}

static ssize_t take(void *ctx, void *out, size_t room)
{
    struct transfer *t = ctx;
    const ssize_t n = pull(t, out, room);
    for (ssize_t at = 0; t->to >= 0 && at < n;) {
        const ssize_t done = write(t->to, (char *)out + at, (size_t)(n - at));
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return -1;
        at += done;
    }
    if (n > 0) t->bytes += (uint64_t)n;
    return n;
}

static void tell(struct transfer *t, bool last)
{
    (void)fprintf(stderr, "%s%.1f MiB, %llu files%s", t->terminal ? "\r" : "",
                  (double)t->bytes / (1 << 20), (unsigned long long)t->files,
                  t->terminal && !last ? "  " : "\n");
}

static void progress(void *ctx, const char *name, uint64_t bytes)
{
    struct transfer *t = ctx;
    (void)name;
    (void)bytes;
    t->files++;
    if (clock_mono_ms() - t->told_ms < PROGRESS_MS) return;
    t->told_ms = clock_mono_ms();
    tell(t, false);
}

static struct backup_input input_of(struct transfer *t)
{
    t->terminal = isatty(STDERR_FILENO) == 1;
    t->told_ms = clock_mono_ms();
    return (struct backup_input){ t, take, progress };
}

/* ---- without a daemon ------------------------------------------------------------------------ */
static int copy_database(const char *state_dir, const char *copies, const char *name, struct err *e)
{
    static const atomic_bool never;
    const struct timespec pause = { 0, PAUSE_NS };
    char from[PATH_MAX], to[PATH_MAX];
    struct db_copy copy = { 0 };
    sqlite3 *db = NULL;
    bool near_end = false;
    int rc = 0;
    (void)snprintf(from, sizeof from, "%s/%s", state_dir, name);
    (void)snprintf(to, sizeof to, "%s/%s", copies, name);
    if (sqlite3_open_v2(from, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        rc = err_set(e, ERR_DB, "%.150s: %s", from, sqlite3_errmsg(db));
    while (rc == 0 && !near_end) {
        rc = db_copy_slice(&copy, db, to, &near_end, e);
        (void)nanosleep(&pause, NULL);
    }
    if (rc == 0) rc = db_copy_rest(&copy, db, to, e);
    db_copy_end(&copy);
    (void)sqlite3_close(db);
    return rc != 0 ? rc : db_copy_check(to, &never, e);
}

static int open_offline(const struct backup_options *o, struct transfer *t, struct err *e)
{
    char files[PATH_MAX], copies[BACKUP_FOLDER_MAX];
    (void)snprintf(files, sizeof files, "%s/files", o->state_dir);
    const struct backup_parts parts = { copies, o->state_dir,
                                        o->without_files       ? NULL
                                        : o->files_dir != NULL ? o->files_dir
                                                               : files };
    int rc = backup_folder_make(o->state_dir, copies, e);
    if (rc == 0) rc = copy_database(o->state_dir, copies, "metrics.db", e);
    if (rc == 0) rc = copy_database(o->state_dir, copies, "spiked.db", e);
    return rc == 0 ? backup_source_new(&t->source, &parts, e) : rc;
}

/* ---- backup ---------------------------------------------------------------------------------- */
static int receive(struct transfer *t, const char *part, struct err *e)
{
    struct backup_manifest manifest;
    const struct backup_input in = input_of(t);
    t->to = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (t->to < 0) return err_errno(e, errno, "%.150s", part);
    int rc = backup_walk(&in, NULL, &manifest, e);
    if (rc != 0 && t->err.code != ERR_OK) *e = t->err; /* says more than that reading failed */
    if (rc == 0 && fsync(t->to) != 0) rc = err_errno(e, errno, "%.150s", part);
    if (close(t->to) != 0 && rc == 0) rc = err_errno(e, errno, "%.150s", part);
    tell(t, true);
    return rc;
}

static int sync_folder_of(const char *path, struct err *e)
{
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) (void)snprintf(folder, sizeof folder, ".");
    else slash[slash == folder] = '\0';
    return folder_sync(folder, e);
}

/* link, not rename: a file of that name that came meanwhile is not written over. */
static int publish(const char *part, const char *file, struct err *e)
{
    crash_point(CRASH_BACKUP_BEFORE_RENAME);
    if (link(part, file) != 0) return err_errno(e, errno, "%.150s", file);
    (void)unlink(part);
    return sync_folder_of(file, e);
}

static int make_online(const struct backup_options *o, const char *socket, const char *part,
                       struct err *e)
{
    struct transfer t = { .from = -1, .to = -1 };
    (void)fprintf(stderr, "the daemon copies and checks its databases\n");
    int rc = socket_client_open(socket, "POST", "/api/v1/admin/backup",
                                o->without_files ? "{\"files\":false}" : "{}", PATIENCE_S, &t.from,
                                e);
    if (rc != 0) return rc;
    rc = receive(&t, part, e);
    (void)close(t.from);
    return rc;
}

static int make_offline(const struct backup_options *o, int lock, const char *part, struct err *e)
{
    struct transfer t = { .from = -1, .to = -1 };
    (void)fprintf(stderr, "no daemon runs: copying and checking its databases\n");
    int rc = open_offline(o, &t, e);
    if (rc == 0) rc = receive(&t, part, e);
    backup_source_free(t.source);
    backup_folder_remove(o->state_dir);
    (void)close(lock);
    return rc;
}

/* The lock says whether there is a daemon; one that does not answer is an error. */
static int make(const struct backup_options *o, const char *part, struct err *e)
{
    char socket[PATH_MAX], database[PATH_MAX];
    int lock = -1;
    (void)snprintf(socket, sizeof socket, "%s/api.sock", o->state_dir);
    (void)snprintf(database, sizeof database, "%s/spiked.db", o->state_dir);
    if (o->socket != NULL) return make_online(o, o->socket, part, e);
    if (access(database, F_OK) != 0) return err_errno(e, errno, "%.150s", database);
    const int rc = state_lock(o->state_dir, &lock, e);
    if (rc == 0) return make_offline(o, lock, part, e);
    if (rc != ERR_UNAVAILABLE) return rc;
    err_clear(e);
    return make_online(o, socket, part, e);
}

static int backup_to(const struct backup_options *o, const char *file, struct err *e)
{
    char *part = mem_printf("%s.part", file);
    if (part == NULL) return err_set(e, ERR_NOMEM, "path");
    int rc = access(file, F_OK) == 0
                 ? err_set(e, ERR_CONFLICT, "%.150s exists and is not written over", file)
                 : 0;
    if (rc == 0) {
        (void)unlink(part); /* of a backup that was cut short */
        rc = make(o, part, e);
        if (rc == 0) rc = publish(part, file, e);
        if (rc != 0) (void)unlink(part);
    }
    mem_free(part);
    return rc;
}

int backup_command(int argc, char **argv, struct err *e)
{
    struct backup_options o = { 0 };
    (void)umask(0077);
    int rc = config_load(backup_rows, BACKUP_ROWS, "SPIKED_BACKUP", NULL, &argc, argv, &o, e);
    if (rc == 0 && argc != 2)
        rc = err_set(e, ERR_INVALID,
                     "say spiked backup FILE [--state-dir DIR | --socket PATH]"
                     " [--without-files]");
    if (rc == 0) rc = backup_to(&o, argv[1], e);
    config_deinit(backup_rows, BACKUP_ROWS, &o);
    return rc;
}

/* ---- restore --------------------------------------------------------------------------------- */
static int restore_from(const char *file, const char *state_dir, struct err *e)
{
    struct transfer t = { .from = open(file, O_RDONLY | O_CLOEXEC), .to = -1 };
    struct backup_manifest manifest;
    if (t.from < 0) return err_errno(e, errno, "%.150s", file);
    const struct backup_input in = input_of(&t);
    const int rc = restore_backup(&in, state_dir, &manifest, e);
    (void)close(t.from);
    if (rc != 0) return rc;
    tell(&t, true);
    (void)printf("%s holds what spiked %s kept%s; what ran is held: resume lets it go on\n",
                 state_dir, manifest.version, manifest.files ? "" : ", without files");
    return 0;
}

int restore_command(int argc, char **argv, struct err *e)
{
    struct backup_options o = { 0 };
    (void)umask(0077);
    int rc = config_load(restore_rows, RESTORE_ROWS, "SPIKED_RESTORE", NULL, &argc, argv, &o, e);
    if (rc == 0 && (argc != 2 || o.state_dir == NULL))
        rc = err_set(e, ERR_INVALID, "say spiked restore FILE --state-dir NEW");
    if (rc == 0) rc = restore_from(argv[1], o.state_dir, e);
    config_deinit(restore_rows, RESTORE_ROWS, &o);
    return rc;
}
