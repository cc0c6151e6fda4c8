/* cgroup: a leaf of a delegated cgroup v2 folder for each worker that has a memory limit. The
 * kernel holds the worker to it, and says afterwards whether it ended it for that. Loop thread. */
#ifndef SERVER_CGROUP_H
#define SERVER_CGROUP_H

#include "common/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CGROUP_OWNER_MAX 9 /* eight hex digits */

struct cgroup_leaf {
    const char *dir;
    const char *owner; /* of cgroup_owner: several daemons may share the folder */
    int64_t experiment, attempt;
};

/* Whether leaves with a memory limit can be made in dir: it is a cgroup v2 folder of ours with the
 * memory controller, which is switched on for its leaves. Errors: ERR_INVALID, ERR_IO. */
int cgroup_check(const char *dir, struct err *e);
/* What the leaves of the daemon with this state directory are told from others' by. */
void cgroup_owner(const char *state_dir, char out[CGROUP_OWNER_MAX]);
/* Makes the leaf with its limit and puts the process in. It is in when 0 is returned; otherwise the
 * process is where it was, without any limit, and there is no leaf. Errors: ERR_IO. */
int cgroup_hold(const struct cgroup_leaf *leaf, int64_t memory_mib, pid_t pid, struct err *e);
/* Whether the kernel killed something in the leaf for lack of memory; false also when there is no
 * leaf. */
bool cgroup_oom_killed(const struct cgroup_leaf *leaf);
void cgroup_remove(const struct cgroup_leaf *leaf); /* nothing when a process is still in */
/* Removes the owner's leaves that hold no process. */
void cgroup_sweep(const char *dir, const char *owner);

#endif
