/* stmt: prepared statements that are always left ready for reuse. Writer threads and pool jobs. */
#ifndef SERVER_STMT_H
#define SERVER_STMT_H

#include "common/err.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

struct stmt {
    sqlite3 *db;
    sqlite3_stmt *q;
};
/* Errors: ERR_DB. */
int stmt_prepare(struct stmt *s, sqlite3 *db, const char *sql, struct err *e);
void stmt_finish(struct stmt *s); /* safe on a zeroed statement and when repeated */
/* Binds by format: i int64_t, d double, t text (NULL allowed), b blob (pointer, int length). Values
 * are borrowed until the statement was run. */
void stmt_bind(struct stmt *s, const char *format, ...);
/* Runs to the end, resets, unbinds. Errors: ERR_DB. */
int stmt_run(struct stmt *s, struct err *e);
/* Like stmt_run; exactly one row must change, else ERR_CONFLICT. */
int stmt_run_one(struct stmt *s, struct err *e);
/* 1 = a row, 0 = done (and reset), -1 = error. */
int stmt_step(struct stmt *s, struct err *e);
void stmt_reset(struct stmt *s);
int64_t stmt_int(const struct stmt *s, int column);
bool stmt_is_null(const struct stmt *s, int column);
double stmt_double(const struct stmt *s, int column);      /* NaN for NULL */
const char *stmt_text(const struct stmt *s, int column);   /* "" for NULL; until the next step */
const void *stmt_blob(const struct stmt *s, int column, size_t *bytes);
/* One statement without parameters. Errors: ERR_DB. */
int stmt_exec(sqlite3 *db, const char *sql, struct err *e);
/* Prepares, binds, runs once. */
int stmt_once(sqlite3 *db, const char *sql, struct err *e, const char *format, ...);
int err_db(struct err *e, sqlite3 *db, const char *what);

#endif
