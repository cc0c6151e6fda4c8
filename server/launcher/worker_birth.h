/* worker_birth: a child that waits to become a worker. Loop thread; never waits for the child. */
#ifndef SERVER_WORKER_BIRTH_H
#define SERVER_WORKER_BIRTH_H

#include "server/launcher/launcher.h"

#include <sys/types.h>

struct birth {
    pid_t pid;
    int gate;   /* a byte lets the child become the worker; closed without one it ends */
    int report; /* non-blocking; holds an errno when that failed, nothing when it is the worker */
};
/* The child leads a session of its own, has no descriptor and no signal handler of ours, and no
 * signal is blocked. The caller closes both pipes. Errors: ERR_IO. */
int birth_begin(const struct launch *what, struct birth *out, struct err *e);
/* Why a child did not become the worker; 0: it did, or nothing is known. */
int birth_error(int report);

#endif
