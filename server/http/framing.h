/* framing: where a request ends and what its target is. What two readers of the same bytes could
 * understand differently is refused, so that nothing can be smuggled past a proxy in front
 * (service.md B5.5). Loop thread. */
#ifndef SERVER_FRAMING_H
#define SERVER_FRAMING_H

#include "common/err.h"

#include <microhttpd.h>

/* Of a request whose head was read; path: decoded; method and version: MHD's own texts.
 * body_max: a longer Content-Length is refused. Errors: ERR_INVALID, ERR_TOO_LARGE. */
int framing_check(struct MHD_Connection *c, const char *path, const char *method,
                  const char *version, size_t body_max, struct err *e);
/* Decodes %XX in place; returns the length. %00 would end the text: it becomes DEL, which
 * framing_check refuses like every control character. */
size_t framing_unescape(char *text);

#endif
