/* migrate: brings a database to the newest schema, forward only. Called once at start, main
 * thread. */
#ifndef SERVER_MIGRATE_H
#define SERVER_MIGRATE_H

#include "common/err.h"

#include <sqlite3.h>

/* prefix "" = spiked.db's migrations, "metrics_" = metrics.db's. Each runs in a transaction of its
 * own; PRAGMA user_version counts them. Errors: ERR_DB; ERR_CONFLICT when the file is newer than we
 * are. */
int migrate_run(sqlite3 *db, const char *prefix, struct err *e);

/* Before migrate_run: when that will change a database which holds something, a copy of it goes to
 * PATH.vN, N its version, over an older one. Errors: ERR_DB, ERR_IO: then nothing may be migrated.
 */
int migrate_keep(sqlite3 *db, const char *prefix, const char *path, struct err *e);

#endif
