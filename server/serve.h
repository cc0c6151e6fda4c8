/* serve: the daemon from its first socket to its last: opens everything in order, runs the loop,
 * closes everything in the opposite order. Main thread. */
#ifndef SERVER_SERVE_H
#define SERVER_SERVE_H

#include "server/serve_options.h"

/* Returns when SIGTERM or SIGINT ended it in order; a second signal ends the process at once
 * (nothing is lost: what was answered is on disk). Errors: of queue_open, http_listen_*. */
int serve(const struct serve_options *o, struct err *e);

#endif
