/* deletion: with its commit an experiment is gone for everybody, and can be taken back until it is
 * purged: on request, or when it was deleted long enough ago. With the commit of that it is gone
 * for good. What it leaves goes after that: its last worker, its folder, its points in slices, its
 * row, in this order; every step may come twice. The row with purged_ms is the tombstone from which
 * a starting daemon goes on. Loop thread, but for the functions that say otherwise. */
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
#define REMOVALS_MAX 50    /* that the daemon begins by itself in a tick */
#define RETIRE_MS 60000    /* between two looks at everything that has ended */
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
int deletion_judge(const struct change *c, struct err *e)
{
    const struct entry *x = c->entry;
    const long long id = (long long)x->x.id;
    const bool from_trash = c->removal == REMOVAL_UNDO || c->removal == REMOVAL_PURGE;
    if (x->purged || (x->deleted && !from_trash))
        return err_set(e, ERR_NOT_FOUND, "experiment %lld is gone", id);
    if (c->removal == REMOVAL_UNDO && !x->deleted)
        return err_set(e, ERR_BAD_STATE, "experiment %lld is not deleted", id);
    if (c->removal != REMOVAL_NONE && !state_is_final(x->x.state))
        return err_set(e, ERR_BAD_STATE, "experiment %lld is %s: cancel it first", id,
                       state_name(x->x.state));
    return 0;
}

void deletion_next(struct change *c)
{
    if (c->removal == REMOVAL_UNDO) c->next.deleted_ms = 0;
    else if (c->next.deleted_ms == 0) c->next.deleted_ms = clock_wall_ms();
}

int deletion_write(const struct change *c, sqlite3 *db, struct err *e)
{
    static const char *const events[] = {
        [REMOVAL_DELETE] = "delete", [REMOVAL_PURGE] = "purge", [REMOVAL_UNDO] = "restore"
    };
    const struct experiment *n = &c->next;
    const int64_t now = clock_wall_ms();
    int rc = stmt_once(db,
                       "UPDATE experiment SET deleted_ms=?3,purged_ms=?4,rev=?2 WHERE id=?1 AND"
                       " rev=?2-1",
                       e, "iiii", n->id, n->rev, n->deleted_ms,
                       c->removal == REMOVAL_PURGE ? now : (int64_t)0);
    if (rc == 0 && sqlite3_changes(db) != 1)
        rc = err_set(e, ERR_CONFLICT, "experiment %lld has left revision r%lld", (long long)n->id,
                     (long long)n->rev - 1);
    if (rc == 0 && c->removal != REMOVAL_UNDO)
        rc = stmt_once(db, "UPDATE dependency SET succeeded=?2 WHERE needs=?1", e, "ii", n->id,
                       (int64_t)(n->state == STATE_SUCCEEDED));
    if (rc == 0)
        rc = stmt_once(db,
                       "INSERT INTO audit(at_ms,actor,experiment,event,state) VALUES(?,?,?,?,?)", e,
                       "ititt", now, c->actor, n->id, events[c->removal], state_name(n->state));
    crash_point(CRASH_ACTION_BEFORE_COMMIT);
    return rc;
}

static void publish_deleted(struct queue *q, int64_t id)
{
    char text[40];
    (void)snprintf(text, sizeof text, "{\"id\":%lld}", (long long)id);
    q->observer.publish(q->observer.ctx, "experiment.deleted", id, text);
}

static void bury(struct queue *q, struct entry *e, bool purged)
{
    list_remove(&e->grave);
    e->deleted = true;
    e->purged = purged;
    list_append(purged ? &q->graves : &q->trash, &e->grave);
    queue_place(q, e);
}

void deletion_committed(struct queue *q, const struct change *c)
{
    struct entry *e = c->entry;
    const bool was_deleted = e->deleted;
    crash_point(CRASH_ACTION_AFTER_COMMIT);
    e->x.rev = c->next.rev;
    e->x.deleted_ms = c->next.deleted_ms;
    e->purge_again_ms = 0;
    if (c->removal == REMOVAL_UNDO) {
        list_remove(&e->grave);
        e->deleted = false;
        queue_place(q, e);
        queue_publish_state(q, e);
        return;
    }
    bury(q, e, c->removal == REMOVAL_PURGE);
    if (was_deleted) return;
    dependencies_forget(q, e);
    publish_deleted(q, e->x.id);
}

int deletion_load(struct queue *q, struct err *e)
{
    struct stmt s;
    int got = 0,
        rc = stmt_prepare(&s, store_db_at_start(q->main),
                          "SELECT id,deleted_ms,purged_ms FROM experiment WHERE deleted_ms<>0"
                          " ORDER BY deleted_ms",
                          e);
    while (rc == 0 && (got = stmt_step(&s, e)) == 1) {
        struct entry *entry = queue_entry(q, stmt_int(&s, 0));
        if (entry == NULL) continue;
        entry->x.deleted_ms = stmt_int(&s, 1);
        bury(q, entry, stmt_int(&s, 2) != 0);
    }
    stmt_finish(&s);
    return rc != 0 ? rc : got < 0 ? (int)e->code : 0;
}

/* ---- what has lain long enough --------------------------------------------------------------- */
/* By the daemon itself; one that cannot be written is tried again later. */
static void remove_by_itself(struct queue *q, struct entry *e, enum queue_removal what)
{
    struct change *c = change_new(q, e, EVENT_PATCH);
    e->purge_again_ms = clock_mono_ms() + AGAIN_MS;
    if (c == NULL) return;
    c->removal = what;
    change_submit(c);
}

static bool is_quiet(const struct entry *e, int64_t mono)
{
    return !e->writing && list_empty(&e->changes) && mono >= e->purge_again_ms;
}

static void purge_old(struct queue *q, int64_t mono)
{
    const int64_t before = clock_wall_ms() - 1000 * q->o.keep_deleted_s;
    size_t n = 0;
    list_for_each_safe(it, &q->trash) {
        struct entry *e = container_of(it, struct entry, grave);
        if (e->x.deleted_ms > before || n >= REMOVALS_MAX) return;
        if (is_quiet(e, mono)) remove_by_itself(q, e, REMOVAL_PURGE);
        n++;
    }
}

/* Those that ended so long ago. All are looked at, hence seldom; more than a tick may take are left
 * to the next one. */
static void delete_old(struct queue *q, int64_t mono)
{
    const int64_t before = clock_wall_ms() - 1000 * q->o.keep_ended_s;
    size_t n = 0;
    if (q->o.keep_ended_s == 0 || mono < q->retire_ms) return;
    q->retire_ms = mono + RETIRE_MS;
    list_for_each(it, &q->entries) {
        struct entry *e = container_of(it, struct entry, link);
        if (e->deleted || !state_is_final(e->x.state) || e->x.ended_ms > before) continue;
        if (n++ >= REMOVALS_MAX) {
            q->retire_ms = mono;
            return;
        }
        if (is_quiet(e, mono)) remove_by_itself(q, e, REMOVAL_DELETE);
    }
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
    return stmt_once(db, "DELETE FROM experiment WHERE id=?1 AND purged_ms<>0", e, "i", p->id);
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
    crash_point(CRASH_PURGE_POINTS_GONE);
    p->job = (struct store_job){ .run = delete_row, .done = row_deleted };
    store_submit(p->q->main, &p->job);
}

static void folder_removed(uv_work_t *w, int status)
{
    struct purge *p = container_of(w, struct purge, work);
    (void)status;
    p->q->reads--;
    if (p->err.code == ERR_OK) crash_point(CRASH_PURGE_FOLDER_GONE);
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
    if (q->closing) return;
    delete_old(q, mono);
    purge_old(q, mono);
    list_for_each_safe(it, &q->graves) {
        struct entry *e = container_of(it, struct entry, grave);
        if (q->held || q->purges >= PURGES_MAX) return;
        if (e->purging || e->process.pid != 0 || e->writing || !list_empty(&e->changes) ||
            mono < e->purge_again_ms)
            continue;
        purge(q, e);
    }
}
