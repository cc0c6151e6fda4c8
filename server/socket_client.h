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

#endif
