/* db_copy: a copy of a database that others write to meanwhile, in slices (sqlite3_backup). Used by
 * one thread at a time, which must be the one that owns the source's connection: then what it
 * writes between two slices goes into the copy as well, and the copy never begins again. */
#ifndef SERVER_DB_COPY_H
#define SERVER_DB_COPY_H

#include "common/err.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>

#define DB_COPY_PAGES 256 /* of a slice */

struct db_copy {
    sqlite3 *to;
    sqlite3_backup *backup;
    bool complete;
};
/* Begins when c is zeroed. *near_end: the next slice may be the last one, and was not done.
 * Errors: ERR_DB. */
int db_copy_slice(struct db_copy *c, sqlite3 *from, const char *path, bool *near_end,
                  struct err *e);
/* All that is left; no transaction may be open. Errors: ERR_DB. */
int db_copy_rest(struct db_copy *c, sqlite3 *from, const char *path, struct err *e);
void db_copy_end(struct db_copy *c); /* safe on a zeroed one and when repeated */
/* Makes one file of a complete copy, checks it (quick_check) and syncs it. Any thread; gives the
 * disk to others in between. Errors: ERR_DATA (damaged), ERR_DB, ERR_IO, ERR_STOPPED. */
int db_copy_check(const char *path, const atomic_bool *stop, struct err *e);

#endif
