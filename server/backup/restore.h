/* restore: a new state directory from a backup. Blocks; main thread. */
#ifndef SERVER_RESTORE_H
#define SERVER_RESTORE_H

#include "server/backup/backup_walk.h"

/* state_dir must not be there, or be empty. Secrets of workers and sessions are void, a later epoch
 * is set, and what was about to run, or ran, is held with the reason `restored`. What a failed one
 * has made it takes away. Errors: of backup_walk, ERR_CONFLICT (not empty; databases of a newer
 * program), ERR_DB, ERR_IO. */
int restore_backup(const struct backup_input *in, const char *state_dir,
                   struct backup_manifest *out, struct err *e);

#endif
