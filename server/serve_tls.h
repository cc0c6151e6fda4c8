/* serve_tls: the daemon's certificate: read at the start, and again at each SIGHUP. Loop thread. */
#ifndef SERVER_SERVE_TLS_H
#define SERVER_SERVE_TLS_H

#include "common/err.h"

#include <uv.h>

struct serve_tls;
/* Both names must stay valid. Errors: of tls_read. */
int serve_tls_open(struct serve_tls **out, uv_loop_t *loop, const char *cert_file,
                   const char *key_file, struct err *e);
/* Whether serve_tls_open would do. Errors: the same. */
int serve_tls_check(const char *cert_file, const char *key_file, struct err *e);
/* When no connection is left. NULL is fine. */
void serve_tls_close(struct serve_tls *t);

#endif
