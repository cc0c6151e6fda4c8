/* deletion: with the commit an experiment is gone for everybody. What it leaves goes after that:
 * its last worker, its folder, its points, its rows, in this order; every step may come twice. The
 * row with deleted_ms is the tombstone from which a starting daemon goes on. Loop thread, but for
 * the functions that say otherwise. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/crash.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/stmt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PURGES_MAX 2       /* folders removed at once: the pool has other things to do */
#define AGAIN_MS 60000     /* after a step that failed */
#define FOLDER_DEPTH_MAX 8 /* ours are two deep */

struct purge {
    uv_work_t work;
    struct store_job job;
    struct queue *q;
    struct entry *entry;
    int64_t id;
    char dir[PATH_MAX];
    struct err err;
};

/* ---- the commit ------------------------------------------------------------------------------ */
int deletion_write(const struct change *c, sqlite3 *db, struct err *e)
{
    const struct experiment *n = &c->next;
    const int64_t now = clock_wall_ms();
    int rc = stmt_once(db, "UPDATE experiment SET deleted_ms=?3,rev=?2 WHERE id=?1 AND rev=?2-1", e,
                       "iii", n->id, n->rev, now);
    if (rc == 0 && sqlite3_changes(db) != 1)
        rc = err_set(e, ERR_CONFLICT, "experiment %lld has left revision r%lld", (long long)n->id,
                     (long long)n->rev - 1);
    if (rc == 0)
        rc = stmt_once(db, "UPDATE dependency SET succeeded=?2 WHERE needs=?1", e, "ii", n->id,
                       (int64_t)(n->state == STATE_SUCCEEDED));
    if (rc == 0)
        rc = stmt_once(
            db, "INSERT INTO audit(at_ms,actor,experiment,event,state) VALUES(?,?,?,'delete',?)", e,
            "itit", now, c->actor, n->id, state_name(n->state));
    crash_point(CRASH_ACTION_BEFORE_COMMIT);
    return rc;
}

static void publish_deleted(struct queue *q, int64_t id)
{
    char text[40];
    (void)snprintf(text, sizeof text, "{\"id\":%lld}", (long long)id);
    q->observer.publish(q->observer.ctx, "experiment.deleted", id, text);
}

static void bury(struct queue *q, struct entry *e)
{
    e->deleted = true;
    list_append(&q->graves, &e->grave);
    queue_place(q, e);
}

void deletion_committed(struct queue *q, struct entry *e)
{
    crash_point(CRASH_ACTION_AFTER_COMMIT);
    bury(q, e);
    dependencies_forget(q, e);
    publish_deleted(q, e->x.id);
}

int deletion_load(struct queue *q, struct err *e)
{
    struct stmt s;
    int got = 0, rc = stmt_prepare(&s, store_db_at_start(q->main),
                                   "SELECT id FROM experiment WHERE deleted_ms<>0", e);
    while (rc == 0 && (got = stmt_step(&s, e)) == 1) {
        struct entry *entry = queue_entry(q, stmt_int(&s, 0));
        if (entry != NULL) bury(q, entry);
    }
    stmt_finish(&s);
    return rc != 0 ? rc : got < 0 ? (int)e->code : 0;
}

/* ---- the folder (pool) ---------------------------------------------------------------------- */
static int remove_inside(const struct queue *q, int parent, const char *name, int depth);

static int remove_entry(const struct queue *q, int dir, const struct dirent *d, int depth)
{
    if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0) return 0;
    if (atomic_load(&q->purges_end)) return EINTR;
    if (unlinkat(dir, d->d_name, 0) == 0 || errno == ENOENT) return 0;
    return errno == EISDIR || errno == EPERM ? remove_inside(q, dir, d->d_name, depth + 1) : errno;
}

/* Removes a folder and all in it, following no link. 0 or an errno value; EINTR: the daemon ends.
 */
static int remove_inside(const struct queue *q, int parent, const char *name, int depth)
{
    const int fd = depth <= FOLDER_DEPTH_MAX
                       ? openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                       : -1;
    if (fd < 0) return depth > FOLDER_DEPTH_MAX ? ELOOP : errno == ENOENT ? 0 : errno;
    DIR *dir = fdopendir(fd);
    int rc = dir != NULL ? 0 : errno;
    if (dir == NULL) (void)close(fd);
    for (struct dirent *d; rc == 0 && (d = readdir(dir)) != NULL;)
        rc = remove_entry(q, fd, d, depth);
    if (dir != NULL) (void)closedir(dir);
    if (rc == 0 && unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT) rc = errno;
    return rc;
}

static void remove_folder(uv_work_t *w)
{
    struct purge *p = container_of(w, struct purge, work);
    const int rc = remove_inside(p->q, AT_FDCWD, p->dir, 0);
    if (rc != 0) (void)err_errno(&p->err, rc, "%.150s", p->dir);
}

/* ---- points and rows ------------------------------------------------------------------------- */
/* Frees p; the entry too when nothing of it is left. */
static void purge_over(struct purge *p, const struct err *e)
{
    struct queue *q = p->q;
    struct entry *entry = p->entry;
    q->purges--;
    entry->purging = false;
    if (e->code == ERR_OK) {
        list_remove(&entry->grave);
        queue_remove(q, entry);
    } else {
        entry->purge_again_ms = clock_mono_ms() + AGAIN_MS;
        if (!q->closing)
            log_error("server.queue", "what experiment %lld left is removed later: %s",
                      (long long)p->id, e->text);
    }
    mem_free(p);
}

static int delete_row(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct purge *p = container_of(job, struct purge, job);
    return stmt_once(db, "DELETE FROM experiment WHERE id=?1 AND deleted_ms<>0", e, "i", p->id);
}

static void row_deleted(struct store_job *job, const struct err *e)
{
    purge_over(container_of(job, struct purge, job), e);
}

static void points_deleted(void *ctx, const struct err *e)
{
    struct purge *p = ctx;
    if (e->code != ERR_OK || p->q->closing) {
        purge_over(p, e->code != ERR_OK ? e : &(struct err){ .code = ERR_STOPPED });
        return;
    }
    p->job = (struct store_job){ .run = delete_row, .done = row_deleted };
    store_submit(p->q->main, &p->job);
}

static void folder_removed(uv_work_t *w, int status)
{
    struct purge *p = container_of(w, struct purge, work);
    (void)status;
    p->q->reads--;
    if (p->err.code == ERR_OK && !p->q->closing) ingest_delete(p->q, p->id, points_deleted, p);
    else purge_over(p, p->err.code != ERR_OK ? &p->err : &(struct err){ .code = ERR_STOPPED });
}

static void purge(struct queue *q, struct entry *e)
{
    struct purge *p = mem_calloc(1, sizeof *p);
    if (p == NULL || entry_dir(q, e, 0, p->dir, sizeof p->dir) != 0) {
        mem_free(p);
        e->purge_again_ms = clock_mono_ms() + AGAIN_MS;
        return;
    }
    p->q = q;
    p->entry = e;
    p->id = e->x.id;
    e->purging = true;
    q->purges++;
    q->reads++; /* closing waits for it */
    (void)uv_queue_work(q->loop, &p->work, remove_folder, folder_removed);
}

void deletion_tick(struct queue *q)
{
    const int64_t mono = clock_mono_ms();
    list_for_each_safe(it, &q->graves) {
        struct entry *e = container_of(it, struct entry, grave);
        if (q->closing || q->held || q->purges >= PURGES_MAX) return;
        if (e->purging || e->process.pid != 0 || e->writing || !list_empty(&e->changes) ||
            mono < e->purge_again_ms)
            continue;
        purge(q, e);
    }
}
