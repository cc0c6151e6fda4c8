/* people: see people.h. */
#include "tests/support/people.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

struct answer call_with(const struct service *s, const char *method, const char *path,
                        const char *body, const char *token, const char *cookie, const char *header)
{
    char bearer[120], jar[120];
    const char *headers[5] = { "Content-Type: application/json" };
    size_t n = 1;
    (void)snprintf(bearer, sizeof bearer, "Authorization: Bearer %s", token != NULL ? token : "");
    (void)snprintf(jar, sizeof jar, "Cookie: __Host-spiked=%s", cookie != NULL ? cookie : "");
    if (token != NULL) headers[n++] = bearer;
    if (cookie != NULL) headers[n++] = jar;
    if (header != NULL) headers[n++] = header;
    return http_call(s, method, path, body, headers);
}

long status_of(const struct service *s, const char *method, const char *path, const char *body,
               const char *token)
{
    struct answer a = call_with(s, method, path, body, token, NULL, NULL);
    const long status = a.status;
    answer_free(&a);
    return status;
}

int64_t make_token(const struct service *s, const char *fields, char token[TOKEN_MAX])
{
    char *body = mem_printf("{\"name\": \"story\", %s}", fields);
    struct answer a = http_post(s, TOKENS, body);
    cr_assert(a.status == 201, "%s: %ld %s", body, a.status, a.body);
    (void)snprintf(token, TOKEN_MAX, "%s", json_get_string(a.json, "token", ""));
    cr_assert(strlen(token) == 47 && strncmp(token, "spk_", 4) == 0, "%s", a.body);
    const int64_t id = json_get_int(a.json, "id", 0);
    answer_free(&a);
    mem_free(body);
    return id;
}

void revoke_token(const struct service *s, int64_t id)
{
    char path[60];
    (void)snprintf(path, sizeof path, TOKENS "/%lld", (long long)id);
    cr_assert_eq(status_of(s, "DELETE", path, NULL, NULL), 204);
    cr_assert_eq(status_of(s, "DELETE", path, NULL, NULL), 404);
}

void log_in(const struct service *s, const char *token, char cookie[TOKEN_MAX])
{
    struct answer a = call_with(s, "POST", V1 "/sessions", "{}", token, NULL, NULL);
    const char *at = a.head != NULL ? strstr(a.head, "Set-Cookie: __Host-spiked=spk_") : NULL;
    cr_assert(a.status == 201 && at != NULL, "%ld %s", a.status, a.body);
    at += strlen("Set-Cookie: __Host-spiked=");
    (void)snprintf(cookie, TOKEN_MAX, "%.*s", (int)strcspn(at, ";"), at);
    cr_assert(strcmp(cookie, token) != 0 && strlen(cookie) == 47);
    static const char *const flags[] = { "; Secure", "; HttpOnly", "; SameSite=Strict",
                                         "; Path=/" };
    for (int i = 0; i < 4; i++) cr_assert(strstr(at, flags[i]) != NULL, "%s", at);
    answer_free(&a);
}
