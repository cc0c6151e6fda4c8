/* sessions: a page logs in with a token and gets a cookie that scripts cannot read; logging out. */
#include "server/api/api_internal.h"

#include <stdio.h>
#include <string.h>

struct login {
    struct request *r;
    char text[TOKEN_TEXT_MAX];
};

static void add_cookie(struct request *r, const char *text)
{
    char cookie[160];
    (void)snprintf(cookie, sizeof cookie,
                   SESSION_COOKIE "=%s; Max-Age=%lld; Path=/; Secure; HttpOnly; SameSite=Strict",
                   text, (long long)(SESSION_LIFE_MS / 1000));
    if (r->response != NULL) respond_header(r, "Set-Cookie", cookie);
}

static void begun(void *ctx, int64_t id, const struct err *e)
{
    struct login *l = ctx;
    struct request *r = l->r;
    cJSON *o = id != 0 ? cJSON_CreateObject() : NULL;
    if (id == 0) {
        respond_problem(r, e, NULL);
    } else {
        const bool ok = o != NULL && cJSON_AddStringToObject(o, "user", r->who.user) != NULL &&
                        cJSON_AddStringToObject(o, "role", identity_role_name(r->who.role)) != NULL;
        api_audit_id(r, id);
        respond_json(r, 201, ok ? o : NULL);
        if (ok) add_cookie(r, l->text);
    }
    cJSON_Delete(o);
    token_wipe(l->text);
    mem_free(l);
}

static void begin(struct request *r)
{
    struct login *l = api_audit_begin(r) ? mem_calloc(1, sizeof *l) : NULL;
    if (l == NULL) {
        if (r->response == NULL) api_problem(r, ERR_NOMEM, "session");
        return;
    }
    l->r = r;
    accounts_session_create(api_of(r)->accounts, &r->who, l->text, begun, l);
    request_suspend(r);
}

/* The token of the body, if there is one, counts before that of the header. Errors: ERR_INVALID,
 * ERR_UNAUTHORIZED, ERR_FORBIDDEN. */
static int identify(struct request *r, const cJSON *body, struct err *e)
{
    const cJSON *item;
    const char *text = json_get_string(body, "token", NULL);
    cJSON_ArrayForEach(item, body)
        if (strcmp(item->string, "token") != 0 || !cJSON_IsString(item))
            return err_set(e, ERR_INVALID, "the body must be {\"token\": \"spk_...\"}, or empty");
    if (text != NULL && accounts_by_token(api_of(r)->accounts, text, &r->who, e) != 0)
        return (int)e->code;
    if (r->who.by != BY_TOKEN) return err_set(e, ERR_UNAUTHORIZED, "a session begins with a token");
    if (r->who.role == ROLE_NOBODY)
        return err_set(e, ERR_FORBIDDEN, "%s is disabled: an admin can change that", r->who.user);
    if (!request_private(r))
        return err_set(e, ERR_FORBIDDEN, "sessions are for https; plain http takes a token");
    return 0;
}

void api_login(struct request *r)
{
    struct err e = { 0 };
    cJSON *body = api_body(r);
    if (body == NULL) return;
    if (identify(r, body, &e) == 0) begin(r);
    else respond_problem(r, &e, NULL);
    if (e.code == ERR_UNAUTHORIZED && r->response != NULL)
        respond_header(r, "WWW-Authenticate", "Bearer");
    cJSON_Delete(body);
}

static void ended(void *ctx, int64_t id, const struct err *e)
{
    struct request *r = ctx;
    if (id == 0) respond_problem(r, e, NULL);
    else respond_empty(r, 204);
    if (id != 0 && r->response != NULL) respond_header(r, "Set-Cookie", SESSION_COOKIE_GONE);
}

void api_logout(struct request *r)
{
    if (!api_empty_body(r)) return;
    if (r->who.by != BY_SESSION) {
        api_problem(r, ERR_BAD_STATE, "this request came without a session");
        return;
    }
    api_audit_id(r, r->who.session);
    accounts_session_end(api_of(r)->accounts, r->who.session, ended, r);
    request_suspend(r);
}
