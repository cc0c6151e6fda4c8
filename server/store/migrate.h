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

#endif
