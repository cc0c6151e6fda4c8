/* token_command: `spiked token create|list|revoke`, through the socket of the daemon. Main thread.
 */
#ifndef SERVER_TOKEN_COMMAND_H
#define SERVER_TOKEN_COMMAND_H

#include "common/err.h"

/* argv[0] is "token". A secret goes to standard output alone. Errors: ERR_INVALID, and those of
 * socket_client_call. */
int token_command(int argc, char **argv, struct err *e);

#endif
