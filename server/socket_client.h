/* socket_client: one request to the daemon of this machine through its socket, for the commands of
 * spiked. The kernel says who asks. Main thread; blocks. */
#ifndef SERVER_SOCKET_CLIENT_H
#define SERVER_SOCKET_CLIENT_H

#include "common/err.h"
#include "common/json.h"

/* body may be NULL. *json: the answer's, NULL when it has none; caller deletes. Errors: ERR_IO (no
 * daemon there), ERR_INVALID (an answer that makes no sense), or what the daemon's problem says. */
int socket_client_call(const char *socket_path, const char *method, const char *path,
                       const char *body, cJSON **json, struct err *e);

/* The same, for an answer that is read as it comes: *fd stands behind its head, and ends with it.
 * patience_s: for each read. An answer of 400 and up is an error as above. Caller closes *fd. */
int socket_client_open(const char *socket_path, const char *method, const char *path,
                       const char *body, int patience_s, int *fd, struct err *e);

#endif
