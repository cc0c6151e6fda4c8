/* accounts_store: rows of people, tokens and sessions. A change is a job of the writer that holds
 * copies alone; memory follows on the loop when it is committed. See accounts.h. */
#include "server/auth/accounts_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/stmt.h"

#include <stdio.h>
#include <string.h>

struct account_job {
    struct store_job job;
    struct accounts *a;
    struct user user; /* copies of what is written; links unused */
    struct token token;
    struct session session;
    struct user_change change;
    int64_t id;
    accounts_done_fn done;
    void *ctx;
};

/* NULL after done was told. */
static struct account_job *new_job(struct accounts *a, accounts_done_fn done, void *ctx)
{
    struct err e = { 0 };
    struct account_job *j = a->stopped ? NULL : mem_calloc(1, sizeof *j);
    if (j == NULL) {
        if (a->stopped) (void)err_set(&e, ERR_UNAVAILABLE, "the daemon is stopping");
        else (void)err_set(&e, ERR_NOMEM, "account");
        done(ctx, 0, &e);
        return NULL;
    }
    j->a = a;
    j->done = done;
    j->ctx = ctx;
    return j;
}

static void submit(struct account_job *j,
                   int (*run)(struct store_job *job, sqlite3 *db, struct err *e),
                   void (*done)(struct store_job *job, const struct err *e))
{
    j->job.run = run;
    j->job.done = done;
    store_submit(j->a->store, &j->job);
}

static void tell(struct account_job *j, const struct err *e)
{
    j->done(j->ctx, e->code == ERR_OK ? j->id : 0, e);
    mem_free(j);
}

/* ---- tokens ---------------------------------------------------------------------------------- */
static const char *role_or_null(enum identity_role role)
{
    return role == ROLE_NOBODY ? NULL : identity_role_name(role);
}

static int insert_user(const struct user *u, sqlite3 *db, struct err *e)
{
    if (u->uid < 0)
        return stmt_once(db, "INSERT OR IGNORE INTO user(name,role,created_ms) VALUES(?,?,?)", e,
                         "tti", u->name, role_or_null(u->role), u->created_ms);
    return stmt_once(db, "INSERT OR IGNORE INTO user(name,uid,role,created_ms) VALUES(?,?,?,?)", e,
                     "titi", u->name, u->uid, role_or_null(u->role), u->created_ms);
}

static int check_bound(const char *user, sqlite3 *db, struct err *e)
{
    struct stmt s;
    if (stmt_prepare(&s, db, "SELECT count(*) FROM token WHERE user=?1", e) != 0)
        return (int)e->code;
    stmt_bind(&s, "t", user);
    const int got = stmt_step(&s, e);
    const int64_t n = got == 1 ? stmt_int(&s, 0) : 0;
    stmt_finish(&s);
    if (got < 0) return (int)e->code;
    if (n < ACCOUNTS_TOKENS_PER_USER_MAX) return 0;
    return err_set(e, ERR_BAD_STATE, "%s has %d tokens already: revoke one first", user,
                   ACCOUNTS_TOKENS_PER_USER_MAX);
}

static int write_token(struct store_job *job, sqlite3 *db, struct err *e)
{
    struct account_job *j = container_of(job, struct account_job, job);
    const struct token *t = &j->token;
    int rc = insert_user(&j->user, db, e);
    if (rc == 0) rc = check_bound(j->user.name, db, e);
    if (rc == 0)
        rc = stmt_once(
            db, "INSERT INTO token(hash,user,name,role,created_ms,expires_ms) VALUES(?,?,?,?,?,?)",
            e, "btttii", t->hash, DIGEST_BYTES, j->user.name, t->name, identity_role_name(t->role),
            t->created_ms, t->expires_ms);
    if (rc == 0) j->id = sqlite3_last_insert_rowid(db);
    return rc;
}

static void token_written(struct store_job *job, const struct err *e)
{
    struct account_job *j = container_of(job, struct account_job, job);
    struct err fault = *e;
    if (fault.code == ERR_OK) {
        struct user *u = accounts_find_user(j->a, j->user.name);
        if (u == NULL) u = accounts_add_user(j->a, &j->user);
        j->token.id = j->id;
        j->token.user = u;
        if (u == NULL || accounts_add_token(j->a, &j->token) == NULL)
            (void)err_set(&fault, ERR_NOMEM, "token %lld is known after a restart",
                          (long long)j->id);
    }
    tell(j, &fault);
}

void accounts_token_create(struct accounts *a, const struct token_wish *w,
                           char text[TOKEN_TEXT_MAX], accounts_done_fn done, void *ctx)
{
    struct err e = { 0 };
    const bool known = accounts_find_user(a, w->user) != NULL;
    if (a->n_tokens >= ACCOUNTS_TOKENS_MAX || (!known && a->n_users >= ACCOUNTS_USERS_MAX)) {
        (void)err_set(&e, ERR_BAD_STATE, "there are %zu tokens and %zu users already: revoke some",
                      a->n_tokens, a->n_users);
        done(ctx, 0, &e);
        return;
    }
    struct account_job *j = new_job(a, done, ctx);
    if (j == NULL) return;
    const int64_t now = clock_wall_ms();
    const bool local = w->uid != IDENTITY_NO_UID;
    j->user = (struct user){ .uid = local ? (int64_t)w->uid : -1,
                             .role = local ? ROLE_NOBODY : w->role,
                             .created_ms = now };
    (void)snprintf(j->user.name, sizeof j->user.name, "%s", w->user);
    j->token = (struct token){ .role = w->role, .created_ms = now, .expires_ms = w->expires_ms };
    (void)snprintf(j->token.name, sizeof j->token.name, "%s", w->name);
    token_make(text);
    (void)token_hash(text, j->token.hash);
    submit(j, write_token, token_written);
}

/* One row must go; else somebody was quicker. */
static int delete_one(sqlite3 *db, const char *sql, const char *what, int64_t id, struct err *e)
{
    const int rc = stmt_once(db, sql, e, "i", id);
    if (rc != 0 || sqlite3_changes(db) == 1) return rc;
    return err_set(e, ERR_NOT_FOUND, "there is no %s %lld", what, (long long)id);
}

static int delete_token(struct store_job *job, sqlite3 *db, struct err *e)
{
    return delete_one(db, "DELETE FROM token WHERE id=?1", "token",
                      container_of(job, struct account_job, job)->id, e);
}

static void token_deleted(struct store_job *job, const struct err *e)
{
    struct account_job *j = container_of(job, struct account_job, job);
    if (e->code == ERR_OK) accounts_remove_token(j->a, j->id);
    tell(j, e);
}

void accounts_token_revoke(struct accounts *a, int64_t id, accounts_done_fn done, void *ctx)
{
    struct account_job *j = new_job(a, done, ctx);
    if (j == NULL) return;
    j->id = id;
    submit(j, delete_token, token_deleted);
}

/* ---- sessions -------------------------------------------------------------------------------- */
static int write_session(struct store_job *job, sqlite3 *db, struct err *e)
{
    struct account_job *j = container_of(job, struct account_job, job);
    const struct session *s = &j->session;
    const int rc = stmt_once(db,
                             "INSERT INTO session(hash,token,created_ms,last_used_ms)"
                             " SELECT ?1,id,?3,?3 FROM token WHERE id=?2",
                             e, "bii", s->hash, DIGEST_BYTES, j->token.id, s->created_ms);
    if (rc != 0) return rc;
    if (sqlite3_changes(db) != 1)
        return err_set(e, ERR_UNAUTHORIZED, "the token was revoked meanwhile");
    j->id = sqlite3_last_insert_rowid(db);
    return 0;
}

static void forgotten(void *ctx, int64_t id, const struct err *e) { (void)ctx, (void)id, (void)e; }

/* The session of this user that was idle longest, when there are too many. */
static int64_t one_too_many(const struct accounts *a, const struct user *u)
{
    const struct session *oldest = NULL;
    size_t n = 0;
    list_for_each(it, &a->sessions) {
        const struct session *s = container_of(it, struct session, link);
        if (s->token->user != u) continue;
        n++;
        if (oldest == NULL || s->last_used_ms < oldest->last_used_ms) oldest = s;
    }
    return n > ACCOUNTS_SESSIONS_PER_USER_MAX ? oldest->id : 0;
}

static void session_written(struct store_job *job, const struct err *e)
{
    struct account_job *j = container_of(job, struct account_job, job);
    struct err fault = *e;
    if (fault.code == ERR_OK) {
        j->session.id = j->id;
        j->session.token = accounts_find_token(j->a, j->token.id);
        if (j->session.token == NULL)
            (void)err_set(&fault, ERR_UNAUTHORIZED, "the token was revoked meanwhile");
        else if (accounts_add_session(j->a, &j->session) == NULL)
            (void)err_set(&fault, ERR_NOMEM, "session");
        const int64_t old = fault.code == ERR_OK ? one_too_many(j->a, j->session.token->user) : 0;
        if (old != 0) accounts_session_end(j->a, old, forgotten, NULL);
    }
    tell(j, &fault);
}

void accounts_session_create(struct accounts *a, const struct identity *who,
                             char text[TOKEN_TEXT_MAX], accounts_done_fn done, void *ctx)
{
    struct account_job *j = new_job(a, done, ctx);
    if (j == NULL) return;
    j->token.id = who->token;
    j->session = (struct session){ .created_ms = clock_wall_ms() };
    j->session.last_used_ms = j->session.created_ms;
    token_make(text);
    (void)token_hash(text, j->session.hash);
    submit(j, write_session, session_written);
}

static int delete_session(struct store_job *job, sqlite3 *db, struct err *e)
{
    return delete_one(db, "DELETE FROM session WHERE id=?1", "session",
                      container_of(job, struct account_job, job)->id, e);
}

static void session_deleted(struct store_job *job, const struct err *e)
{
    struct account_job *j = container_of(job, struct account_job, job);
    if (e->code == ERR_OK) accounts_remove_session(j->a, j->id);
    tell(j, e);
}

void accounts_session_end(struct accounts *a, int64_t id, accounts_done_fn done, void *ctx)
{
    struct account_job *j = new_job(a, done, ctx);
    if (j == NULL) return;
    j->id = id;
    submit(j, delete_session, session_deleted);
}

/* ---- people ---------------------------------------------------------------------------------- */
static int write_change(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct account_job *j = container_of(job, struct account_job, job);
    int rc = 0;
    if (j->change.role_given)
        rc = stmt_once(db, "UPDATE user SET role=?2 WHERE name=?1", e, "tt", j->user.name,
                       role_or_null(j->change.role));
    if (rc == 0 && j->change.disabled_given)
        rc = stmt_once(db, "UPDATE user SET disabled=?2 WHERE name=?1", e, "ti", j->user.name,
                       (int64_t)j->change.disabled);
    return rc;
}

static void change_written(struct store_job *job, const struct err *e)
{
    struct account_job *j = container_of(job, struct account_job, job);
    struct user *u = accounts_find_user(j->a, j->user.name);
    if (e->code == ERR_OK && u != NULL) {
        if (j->change.role_given) u->role = j->change.role;
        if (j->change.disabled_given) u->disabled = j->change.disabled;
        j->a->changed = true;
    }
    tell(j, e);
}

void accounts_user_change(struct accounts *a, const char *name, const struct user_change *change,
                          accounts_done_fn done, void *ctx)
{
    struct err e = { 0 };
    const struct user *u = accounts_find_user(a, name);
    if (u == NULL) {
        (void)err_set(&e, ERR_NOT_FOUND, "there is no user %.60s", name);
        done(ctx, 0, &e);
        return;
    }
    struct account_job *j = new_job(a, done, ctx);
    if (j == NULL) return;
    j->user = *u;
    j->change = *change;
    j->id = 1;
    submit(j, write_change, change_written);
}

static int write_met(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct user *u = &container_of(job, struct account_job, job)->user;
    return stmt_once(db,
                     "INSERT INTO user(name,uid,created_ms) VALUES(?1,?2,?3)"
                     " ON CONFLICT(name) DO UPDATE SET uid=excluded.uid",
                     e, "tii", u->name, u->uid, u->created_ms);
}

static void met_written(struct store_job *job, const struct err *e)
{
    struct account_job *j = container_of(job, struct account_job, job);
    if (e->code != ERR_OK)
        log_warn("server.auth", "user %s is not in the list after a restart: %s", j->user.name,
                 e->text);
    tell(j, e);
}

void accounts_write_met(struct accounts *a, const struct user *u)
{
    struct account_job *j = new_job(a, forgotten, NULL);
    if (j == NULL) return;
    j->user = *u;
    submit(j, write_met, met_written);
}

/* ---- what time does -------------------------------------------------------------------------- */
struct used_job {
    struct store_job job;
    int64_t now;
    size_t n_tokens, n_sessions;
    int64_t tokens[ACCOUNTS_USED_MAX][2], sessions[ACCOUNTS_USED_MAX][2]; /* id, last_used_ms */
};

/* Rows that are over go last: those of sessions in use are brought up to date before. */
static int write_used(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct used_job *j = container_of(job, struct used_job, job);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < j->n_tokens; i++)
        rc = stmt_once(db, "UPDATE token SET last_used_ms=?2 WHERE id=?1", e, "ii", j->tokens[i][0],
                       j->tokens[i][1]);
    for (size_t i = 0; rc == 0 && i < j->n_sessions; i++)
        rc = stmt_once(db, "UPDATE session SET last_used_ms=?2 WHERE id=?1", e, "ii",
                       j->sessions[i][0], j->sessions[i][1]);
    if (rc != 0) return rc;
    return stmt_once(db, "DELETE FROM session WHERE created_ms<=?1 OR last_used_ms<=?2", e, "ii",
                     j->now - SESSION_LIFE_MS, j->now - SESSION_IDLE_MS);
}

static void used_written(struct store_job *job, const struct err *e)
{
    if (e->code != ERR_OK) log_warn("server.auth", "last uses were not written: %s", e->text);
    mem_free(container_of(job, struct used_job, job));
}

static void collect_used(struct accounts *a, struct used_job *j)
{
    list_for_each(it, &a->tokens) {
        struct token *t = container_of(it, struct token, link);
        if (!t->used || j->n_tokens == ACCOUNTS_USED_MAX) continue;
        t->used = false;
        j->tokens[j->n_tokens][0] = t->id;
        j->tokens[j->n_tokens++][1] = t->last_used_ms;
    }
    list_for_each(it, &a->sessions) {
        struct session *s = container_of(it, struct session, link);
        if (!s->used || j->n_sessions == ACCOUNTS_USED_MAX) continue;
        s->used = false;
        j->sessions[j->n_sessions][0] = s->id;
        j->sessions[j->n_sessions++][1] = s->last_used_ms;
    }
}

void accounts_sweep(struct accounts *a)
{
    const int64_t now = clock_wall_ms();
    if (a->stopped) return;
    list_for_each(it, &a->tokens) {
        const struct token *t = container_of(it, struct token, link);
        a->changed |= token_over(t, now) && !token_over(t, a->swept_ms);
    }
    list_for_each_safe(it, &a->sessions) {
        const struct session *s = container_of(it, struct session, link);
        if (session_over(s, now)) accounts_remove_session(a, s->id);
    }
    a->swept_ms = now;
    if (clock_mono_ms() - a->used_written_ms < ACCOUNTS_USED_MS) return;
    a->used_written_ms = clock_mono_ms();
    struct used_job *j = mem_calloc(1, sizeof *j);
    if (j == NULL) return; /* the next minute */
    collect_used(a, j);
    j->now = now;
    j->job.run = write_used;
    j->job.done = used_written;
    store_submit(a->store, &j->job);
}
