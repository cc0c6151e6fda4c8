/* backup_folder: STATE/backup.tmp, which holds the copies of the databases while a backup is made.
 * Any thread; blocks shortly. */
#ifndef SERVER_BACKUP_FOLDER_H
#define SERVER_BACKUP_FOLDER_H

#include "common/err.h"

#define BACKUP_FOLDER_MAX 2048
/* Makes it, empty. Errors: ERR_IO, ERR_INVALID (the path is too long). */
int backup_folder_make(const char *state_dir, char out[BACKUP_FOLDER_MAX], struct err *e);
/* Removes it, also one that a daemon left which was killed. */
void backup_folder_remove(const char *state_dir);
/* What was made, renamed or removed in a folder is there after a power cut. Errors: ERR_IO. */
int folder_sync(const char *path, struct err *e);

#endif
