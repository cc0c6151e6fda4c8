/* state_lock: see state_lock.h. */
#include "server/store/state_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

int state_lock(const char *state_dir, int *fd, struct err *e)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/lock", state_dir);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0) return err_errno(e, errno, "%.150s", path);
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0)
        (void)err_set(e, ERR_UNAVAILABLE, "another daemon uses the state directory %.150s",
                      state_dir);
    (void)snprintf(path, sizeof path, "%s/" STATE_RESTORING, state_dir);
    if (e->code == ERR_OK && access(path, F_OK) == 0)
        (void)err_set(e, ERR_CONFLICT,
                      "a restore into %.120s was cut short: remove it, restore again", state_dir);
    if (e->code == ERR_OK) return 0;
    (void)close(*fd);
    *fd = -1;
    return (int)e->code;
}
