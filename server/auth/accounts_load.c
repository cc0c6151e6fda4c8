/* accounts_load: people, tokens and sessions from the database, once at start. See accounts.h. */
#include "server/auth/accounts_internal.h"

#include "common/clock.h"
#include "server/store/stmt.h"

#include <stdio.h>
#include <string.h>

static int read_users(struct accounts *a, sqlite3 *db, struct err *e)
{
    struct stmt s;
    int got = 0;
    if (stmt_prepare(&s, db,
                     "SELECT name,coalesce(uid,-1),role,disabled,created_ms FROM user"
                     " ORDER BY created_ms,name",
                     e) != 0)
        return (int)e->code;
    while ((got = stmt_step(&s, e)) == 1) {
        struct user u = { .uid = stmt_int(&s, 1),
                          .disabled = stmt_int(&s, 3) != 0,
                          .created_ms = stmt_int(&s, 4) };
        (void)snprintf(u.name, sizeof u.name, "%s", stmt_text(&s, 0));
        (void)identity_role_from_name(stmt_text(&s, 2), &u.role);
        if (accounts_add_user(a, &u) == NULL) got = err_set(e, ERR_NOMEM, "users");
        if (got != 1) break;
    }
    stmt_finish(&s);
    return (int)e->code;
}

static int read_tokens(struct accounts *a, sqlite3 *db, struct err *e)
{
    struct stmt s;
    if (stmt_prepare(&s, db,
                     "SELECT id,hash,user,name,role,created_ms,expires_ms,last_used_ms FROM token"
                     " ORDER BY id",
                     e) != 0)
        return (int)e->code;
    while (stmt_step(&s, e) == 1) {
        struct token t = { .id = stmt_int(&s, 0),
                           .user = accounts_find_user(a, stmt_text(&s, 2)),
                           .created_ms = stmt_int(&s, 5),
                           .expires_ms = stmt_int(&s, 6),
                           .last_used_ms = stmt_int(&s, 7) };
        size_t bytes;
        const void *hash = stmt_blob(&s, 1, &bytes);
        if (t.user == NULL || bytes != DIGEST_BYTES ||
            !identity_role_from_name(stmt_text(&s, 4), &t.role))
            (void)err_set(e, ERR_DB, "token %lld is damaged", (long long)t.id);
        if (e->code == ERR_OK) memcpy(t.hash, hash, DIGEST_BYTES);
        (void)snprintf(t.name, sizeof t.name, "%s", stmt_text(&s, 3));
        if (e->code == ERR_OK && accounts_add_token(a, &t) == NULL)
            (void)err_set(e, ERR_NOMEM, "tokens");
        if (e->code != ERR_OK) break;
    }
    stmt_finish(&s);
    return (int)e->code;
}

static int read_sessions(struct accounts *a, sqlite3 *db, struct err *e)
{
    struct stmt s;
    if (stmt_prepare(&s, db,
                     "SELECT id,hash,token,created_ms,last_used_ms FROM session ORDER BY id",
                     e) != 0)
        return (int)e->code;
    while (stmt_step(&s, e) == 1) {
        struct session one = { .id = stmt_int(&s, 0),
                               .token = accounts_find_token(a, stmt_int(&s, 2)),
                               .created_ms = stmt_int(&s, 3),
                               .last_used_ms = stmt_int(&s, 4) };
        size_t bytes;
        const void *hash = stmt_blob(&s, 1, &bytes);
        if (one.token == NULL || bytes != DIGEST_BYTES || session_over(&one, clock_wall_ms()))
            continue;
        memcpy(one.hash, hash, DIGEST_BYTES);
        if (accounts_add_session(a, &one) == NULL) {
            (void)err_set(e, ERR_NOMEM, "sessions");
            break;
        }
    }
    stmt_finish(&s);
    return (int)e->code;
}

int accounts_load(struct accounts *a, struct err *e)
{
    sqlite3 *db = NULL;
    int rc = store_reader(store_path(a->store), &db, e);
    if (rc == 0) rc = read_users(a, db, e);
    if (rc == 0) rc = read_tokens(a, db, e);
    if (rc == 0) rc = read_sessions(a, db, e);
    (void)sqlite3_close(db);
    return rc;
}
