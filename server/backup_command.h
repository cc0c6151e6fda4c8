/* backup_command: `spiked backup FILE` and `spiked restore FILE --state-dir NEW`. Main thread. */
#ifndef SERVER_BACKUP_COMMAND_H
#define SERVER_BACKUP_COMMAND_H

#include "common/err.h"

/* argv[0] is the command's name. Progress goes to standard error. Errors: those of socket_client,
 * backup_walk and restore_backup; ERR_CONFLICT (FILE exists), ERR_UNAVAILABLE (a daemon has the
 * state directory and does not answer). */
int backup_command(int argc, char **argv, struct err *e);
int restore_command(int argc, char **argv, struct err *e);

#endif
