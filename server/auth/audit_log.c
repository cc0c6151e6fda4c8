/* audit_log: see audit_log.h. */
#include "server/auth/audit_log.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/stmt.h"

#include <stdio.h>
#include <string.h>

struct audit_log {
    struct store *store;
    int64_t seq; /* of the last row */
};
struct audit_job {
    struct store_job job;
    struct audit_row row;
};

/* ---- writing --------------------------------------------------------------------------------- */
static int write_row(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct audit_row *r = &container_of(job, struct audit_job, job)->row;
    const int rc = stmt_once(
        db,
        "INSERT INTO request_audit(seq,at_ms,actor,role,via,token,method,path,object,status,"
        "request_id) VALUES(?,?,?,?,?,nullif(?,0),?,?,?,?,?)",
        e,
        "iittti"
        "tttit",
        r->seq, r->at_ms, r->actor, r->role, r->via, r->token, r->method, r->path, r->object,
        r->status, r->request_id);
    if (rc != 0) return rc;
    return stmt_once(db, "DELETE FROM request_audit WHERE seq<=?1", e, "i",
                     r->seq - AUDIT_ROWS_MAX);
}

static int write_status(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct audit_row *r = &container_of(job, struct audit_job, job)->row;
    return stmt_once(db, "UPDATE request_audit SET status=?2,object=?3 WHERE seq=?1", e, "iit",
                     r->seq, r->status, r->object);
}

static void written(struct store_job *job, const struct err *e)
{
    struct audit_job *j = container_of(job, struct audit_job, job);
    if (e->code != ERR_OK)
        log_error("server.auth", "audit of %s %s by %s (%s) was not written: %s", j->row.method,
                  j->row.path, j->row.actor, j->row.request_id, e->text);
    mem_free(j);
}

int64_t audit_begin(struct audit_log *l, const struct audit_row *row)
{
    struct audit_job *j = mem_calloc(1, sizeof *j);
    if (j == NULL) return 0;
    j->row = *row;
    j->row.seq = ++l->seq;
    j->row.at_ms = clock_wall_ms();
    j->job.run = write_row;
    j->job.done = written;
    store_submit(l->store, &j->job);
    return l->seq;
}

void audit_end(struct audit_log *l, int64_t seq, unsigned status, const char *object)
{
    struct audit_job *j = mem_calloc(1, sizeof *j);
    if (j == NULL) return; /* the row stays as it is: not answered */
    j->row.seq = seq;
    j->row.status = status;
    (void)snprintf(j->row.object, sizeof j->row.object, "%s", object);
    j->job.run = write_status;
    j->job.done = written;
    store_submit(l->store, &j->job);
}

/* ---- reading --------------------------------------------------------------------------------- */
static void copy(char *to, size_t size, const struct stmt *s, int column)
{
    (void)snprintf(to, size, "%s", stmt_text(s, column));
}

static struct audit_row row_of(const struct stmt *s)
{
    struct audit_row r = { .seq = stmt_int(s, 0),
                           .at_ms = stmt_int(s, 1),
                           .token = stmt_int(s, 5),
                           .status = stmt_int(s, 9) };
    copy(r.actor, sizeof r.actor, s, 2);
    copy(r.role, sizeof r.role, s, 3);
    copy(r.via, sizeof r.via, s, 4);
    copy(r.method, sizeof r.method, s, 6);
    copy(r.path, sizeof r.path, s, 7);
    copy(r.object, sizeof r.object, s, 8);
    copy(r.request_id, sizeof r.request_id, s, 10);
    return r;
}

int audit_each(const char *db_path, const struct audit_query *q,
               bool (*row)(void *ctx, const struct audit_row *r), void *ctx, struct err *e)
{
    sqlite3 *db = NULL;
    struct stmt s = { 0 };
    int got = 0, rc = store_reader(db_path, &db, e);
    if (rc == 0)
        rc = stmt_prepare(
            &s, db,
            "SELECT seq,at_ms,actor,role,via,coalesce(token,0),method,path,object,status,request_id"
            " FROM request_audit WHERE (?1=0 OR seq<?1) AND (?2 IS NULL OR actor=?2)"
            " AND (?3 IS NULL OR object=?3) ORDER BY seq DESC LIMIT ?4",
            e);
    if (rc == 0) {
        stmt_bind(&s, "itti", q->before, q->actor, q->object, q->limit);
        while ((got = stmt_step(&s, e)) == 1) {
            const struct audit_row r = row_of(&s);
            if (!row(ctx, &r)) break;
        }
        if (got < 0) rc = (int)e->code;
    }
    stmt_finish(&s);
    (void)sqlite3_close(db);
    return rc;
}

const char *audit_db_path(const struct audit_log *l) { return store_path(l->store); }

/* ---- life ------------------------------------------------------------------------------------ */
int audit_open(struct audit_log **out, struct store *s, struct err *e)
{
    struct audit_log *l = mem_calloc(1, sizeof *l);
    if (l == NULL) return err_set(e, ERR_NOMEM, "audit");
    sqlite3 *db = NULL;
    struct stmt q = { 0 };
    l->store = s;
    int rc = store_reader(store_path(s), &db, e);
    if (rc == 0) rc = stmt_prepare(&q, db, "SELECT coalesce(max(seq),0) FROM request_audit", e);
    if (rc == 0 && stmt_step(&q, e) == 1) l->seq = stmt_int(&q, 0);
    stmt_finish(&q);
    (void)sqlite3_close(db);
    if (rc != 0 || e->code != ERR_OK) {
        mem_free(l);
        return (int)e->code;
    }
    *out = l;
    return 0;
}

void audit_close(struct audit_log *l) { mem_free(l); }
