/* cgroup: a leaf of a delegated cgroup v2 folder for each worker that has a memory limit. The
 * kernel holds the worker to it, and says afterwards whether it ended it for that. Loop thread; the
 * child of a fork writes to cgroup.procs itself. */
#ifndef SERVER_CGROUP_H
#define SERVER_CGROUP_H

#include "common/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether leaves with a memory limit can be made in dir: it is a cgroup v2 folder of ours with the
 * memory controller, which is switched on for its leaves. Errors: ERR_INVALID, ERR_IO. */
int cgroup_check(const char *dir, struct err *e);
/* Makes the leaf of an attempt and opens its cgroup.procs: whoever writes "0" there is in.
 * *procs_fd: the caller closes it. Errors: ERR_IO. */
int cgroup_make(const char *dir, int64_t experiment, int64_t attempt, int64_t memory_mib,
                int *procs_fd, struct err *e);
/* Whether the kernel killed something in the leaf for lack of memory; false also when there is no
 * leaf. */
bool cgroup_oom_killed(const char *dir, int64_t experiment, int64_t attempt);
void cgroup_remove(const char *dir, int64_t experiment, int64_t attempt);

#endif
