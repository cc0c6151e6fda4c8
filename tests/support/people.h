/* people: requests as somebody: with a token, or with the cookie of a session. For stories. */
#ifndef TESTS_PEOPLE_H
#define TESTS_PEOPLE_H

#include "tests/support/service.h"

#define V1 "/api/v1"
#define TOKENS V1 "/tokens"
#define TOKEN_MAX 80

/* token, cookie and header ("Name: value") may be NULL. */
struct answer call_with(const struct service *s, const char *method, const char *path,
                        const char *body, const char *token, const char *cookie,
                        const char *header);
long status_of(const struct service *s, const char *method, const char *path, const char *body,
               const char *token);
/* As the daemon's own account; fields: further ones of the body, "\"user\": \"ada\"". */
int64_t make_token(const struct service *s, const char *fields, char token[TOKEN_MAX]);
/* The same, and proves that it is gone. */
void revoke_token(const struct service *s, int64_t id);
/* Begins a session and keeps the cookie's value. */
void log_in(const struct service *s, const char *token, char cookie[TOKEN_MAX]);

#endif
