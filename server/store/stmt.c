/* stmt: see stmt.h. */
#include "server/store/stmt.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

int err_db(struct err *e, sqlite3 *db, const char *what)
{
    (void)err_set(e, ERR_DB, "%.120s: %.100s", what, sqlite3_errmsg(db));
    e->source_code = sqlite3_extended_errcode(db);
    return (int)e->code;
}

int stmt_prepare(struct stmt *s, sqlite3 *db, const char *sql, struct err *e)
{
    *s = (struct stmt){ .db = db };
    if (sqlite3_prepare_v2(db, sql, -1, &s->q, NULL) != SQLITE_OK) return err_db(e, db, sql);
    return 0;
}

void stmt_finish(struct stmt *s)
{
    (void)sqlite3_finalize(s->q);
    s->q = NULL;
}

static void bind_all(sqlite3_stmt *q, const char *format, va_list args)
{
    for (int i = 1; *format != '\0'; format++, i++) {
        switch (*format) {
        case 'i': (void)sqlite3_bind_int64(q, i, va_arg(args, int64_t)); break;
        case 'd': (void)sqlite3_bind_double(q, i, va_arg(args, double)); break;
        case 't':
            (void)sqlite3_bind_text(q, i, va_arg(args, const char *), -1, SQLITE_STATIC);
            break;
        default: {
            const void *data = va_arg(args, const void *);
            (void)sqlite3_bind_blob(q, i, data, va_arg(args, int), SQLITE_STATIC);
        }
        }
    }
}

void stmt_bind(struct stmt *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bind_all(s->q, format, args);
    va_end(args);
}

void stmt_reset(struct stmt *s)
{
    (void)sqlite3_reset(s->q);
    (void)sqlite3_clear_bindings(s->q);
}

int stmt_step(struct stmt *s, struct err *e)
{
    const int rc = sqlite3_step(s->q);
    if (rc == SQLITE_ROW) return 1;
    if (rc != SQLITE_DONE) (void)err_db(e, s->db, sqlite3_sql(s->q));
    stmt_reset(s);
    return rc == SQLITE_DONE ? 0 : -1;
}

int stmt_run(struct stmt *s, struct err *e)
{
    int rc;
    while ((rc = stmt_step(s, e)) == 1) continue;
    return rc == 0 ? 0 : (int)e->code;
}

int stmt_run_one(struct stmt *s, struct err *e)
{
    const int rc = stmt_run(s, e);
    if (rc != 0) return rc;
    const int changed = sqlite3_changes(s->db);
    return changed == 1 ? 0
                        : err_set(e, ERR_CONFLICT, "%.100s: %d rows", sqlite3_sql(s->q), changed);
}

int64_t stmt_int(const struct stmt *s, int column) { return sqlite3_column_int64(s->q, column); }

bool stmt_is_null(const struct stmt *s, int column)
{
    return sqlite3_column_type(s->q, column) == SQLITE_NULL;
}

double stmt_double(const struct stmt *s, int column)
{
    return stmt_is_null(s, column) ? NAN : sqlite3_column_double(s->q, column);
}

const char *stmt_text(const struct stmt *s, int column)
{
    const unsigned char *text = sqlite3_column_text(s->q, column);
    return text != NULL ? (const char *)text : "";
}

const void *stmt_blob(const struct stmt *s, int column, size_t *bytes)
{
    const void *data = sqlite3_column_blob(s->q, column);
    *bytes = (size_t)sqlite3_column_bytes(s->q, column);
    return data;
}

int stmt_exec(sqlite3 *db, const char *sql, struct err *e)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : err_db(e, db, sql);
}

int stmt_once(sqlite3 *db, const char *sql, struct err *e, const char *format, ...)
{
    struct stmt s;
    if (stmt_prepare(&s, db, sql, e) != 0) return (int)e->code;
    va_list args;
    va_start(args, format);
    bind_all(s.q, format, args);
    va_end(args);
    const int rc = stmt_run(&s, e);
    stmt_finish(&s);
    return rc;
}
