/* state_lock: one process at a time writes in a state directory: the daemon, or a command that
 * works without one. The kernel lets go of it with the process. Any thread. */
#ifndef SERVER_STATE_LOCK_H
#define SERVER_STATE_LOCK_H

#include "common/err.h"

/* Holds what a restore has not finished; where it is nobody may begin. */
#define STATE_RESTORING ".restoring"

/* *fd: close it to let go. Errors: ERR_UNAVAILABLE (somebody has it), ERR_CONFLICT (a restore was
 * cut short), ERR_IO. */
int state_lock(const char *state_dir, int *fd, struct err *e);

#endif
