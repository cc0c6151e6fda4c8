/* tls: the server's certificate and key, which may be renewed while connections are open. One for
 * the process, as GnuTLS asks for it without a context. */
#ifndef SERVER_TLS_H
#define SERVER_TLS_H

#include "common/err.h"

struct tls_certificate;
/* Reads both files (PEM; the chain begins with the server's own) and checks that they belong
 * together. Any thread. Errors: ERR_IO, ERR_INVALID (names the file), ERR_NOMEM. */
int tls_read(struct tls_certificate **out, const char *cert_file, const char *key_file,
             struct err *e);
void tls_free(struct tls_certificate *c); /* one that was not used */
/* Takes c over: handshakes that begin from now on use it. Loop thread. */
void tls_use(struct tls_certificate *c);
/* All of them; no connection may be left. */
void tls_end(void);
/* MHD_OPTION_HTTPS_CERT_CALLBACK. */
void *tls_callback(void);

#endif
