/* admit: what is decided of a request before its handler: who asks (token, else session, else the
 * peer), whose object it is about, whether the table of permissions lets it pass; and the audit. */
#include "server/api/api_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- who is asking --------------------------------------------------------------------------- */
static enum MHD_Result count_authorization(void *ctx, enum MHD_ValueKind kind, const char *name,
                                           const char *value)
{
    (void)kind;
    (void)value;
    *(unsigned *)ctx += strcasecmp(name, "Authorization") == 0;
    return MHD_YES;
}

int api_bearer(const struct request *r, const char **token, struct err *e)
{
    static const char bearer[] = "Bearer ";
    unsigned n = 0;
    *token = NULL;
    (void)MHD_get_connection_values(r->connection, MHD_HEADER_KIND, count_authorization, &n);
    if (n == 0) return 0;
    if (n > 1) return err_set(e, ERR_UNAUTHORIZED, "more than one Authorization header");
    const char *text = request_header(r, "Authorization");
    if (text == NULL || strncasecmp(text, bearer, sizeof bearer - 1) != 0)
        return err_set(e, ERR_UNAUTHORIZED, "Authorization must be: Bearer spk_...");
    *token = text + sizeof bearer - 1;
    return 0;
}

static void be_nobody(struct identity *who)
{
    *who = (struct identity){ .role = ROLE_NOBODY, .via = who->via, .uid = IDENTITY_NO_UID };
}

static bool changes(const struct request *r)
{
    return strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0;
}

/* Another page may make a browser send the cookie; only ours may make it change something. An
 * Origin that is there was compared with Host before. */
static int check_page(const struct request *r, struct err *e)
{
    const char *site = request_header(r, "Sec-Fetch-Site");
    if (!changes(r) || request_header(r, "Origin") != NULL) return 0;
    if (site != NULL && strcmp(site, "same-origin") == 0) return 0;
    return err_set(e, ERR_FORBIDDEN, "a request by cookie that changes something needs Origin");
}

static int identify_page(struct request *r, const char *cookie, struct err *e)
{
    if (!request_private(r)) {
        be_nobody(&r->who);
        return err_set(e, ERR_UNAUTHORIZED, "sessions are for https; plain http takes a token");
    }
    if (accounts_by_session(api_of(r)->accounts, cookie, &r->who, e) == 0) return check_page(r, e);
    be_nobody(&r->who);
    r->stale_session = true;
    if (r->route->access != ACCESS_OPEN) return (int)e->code;
    err_clear(e); /* there is a way in again */
    return 0;
}

static int identify(struct request *r, struct err *e)
{
    const char *token;
    if (api_bearer(r, &token, e) != 0 ||
        (token != NULL && accounts_by_token(api_of(r)->accounts, token, &r->who, e) != 0)) {
        be_nobody(&r->who);
        return (int)e->code;
    }
    if (token != NULL) return 0;
    const char *cookie = MHD_lookup_connection_value(r->connection, MHD_COOKIE_KIND,
                                                     SESSION_COOKIE);
    if (cookie != NULL && !r->route->any_host) return identify_page(r, cookie, e);
    accounts_by_peer(api_of(r)->accounts, &r->who);
    return 0;
}

/* ---- whose is it ----------------------------------------------------------------------------- */
static const char *const object_names[] = {
    [OBJECT_NONE] = "",       [OBJECT_EXPERIMENT] = "experiment", [OBJECT_SWEEP] = "sweep",
    [OBJECT_TOKEN] = "token", [OBJECT_SESSION] = "session",       [OBJECT_USER] = "user",
    [OBJECT_QUEUE] = "queue", [OBJECT_DAEMON] = "daemon"
};

/* name: as the path has it; what is not there belongs to nobody. */
static enum ownership find_owner(struct request *r, const char **owner)
{
    const char *kind = object_names[r->route->object];
    const int64_t id = api_param_id(r);
    *owner = NULL;
    if (r->route->access == ACCESS_READ) return OWNER_NONE; /* the same for everybody's */
    if (r->route->object == OBJECT_EXPERIMENT && r->params[0] != NULL) {
        const struct experiment *x = api_find_experiment(r);
        if (x == NULL) x = api_find_deleted(r);
        if (x == NULL) return OWNER_NONE;
        (void)snprintf(r->object, sizeof r->object, "%s/%lld", kind, (long long)x->id);
        *owner = x->user;
    } else if (r->route->object == OBJECT_SWEEP && r->params[0] != NULL) {
        const struct sweep *s = queue_sweep_find(api_of(r)->queue, id);
        if (s == NULL) return OWNER_NONE;
        (void)snprintf(r->object, sizeof r->object, "%s/%lld", kind, (long long)s->id);
        *owner = s->user;
    } else if (r->route->object == OBJECT_TOKEN && r->params[0] != NULL) {
        const struct token *t = accounts_token(api_of(r)->accounts, id);
        if (t == NULL) return OWNER_NONE;
        (void)snprintf(r->object, sizeof r->object, "%s/%lld", kind, (long long)t->id);
        *owner = t->user->name;
    } else if (r->route->object == OBJECT_USER) {
        const struct user *u = accounts_user(api_of(r)->accounts, r->params[0]);
        if (u != NULL) (void)snprintf(r->object, sizeof r->object, "%s/%s", kind, u->name);
        return OWNER_NONE;
    } else {
        (void)snprintf(r->object, sizeof r->object, "%s", kind);
        return OWNER_NONE;
    }
    return strcmp(*owner, r->who.user) == 0 ? OWNER_SELF : OWNER_OTHER;
}

/* ---- audit ----------------------------------------------------------------------------------- */
static void plain_text(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from);
    for (; *to != '\0'; to++)
        if (*to < 0x21 || *to > 0x7e) *to = '?';
}

bool api_audit_begin(struct request *r)
{
    struct audit_row row = { .token = r->who.token };
    (void)snprintf(row.actor, sizeof row.actor, "%s", r->who.user);
    (void)snprintf(row.role, sizeof row.role, "%s", identity_role_name(r->who.role));
    (void)snprintf(row.via, sizeof row.via, "%s", identity_via_name(r->who.via));
    (void)snprintf(row.method, sizeof row.method, "%s", r->method);
    plain_text(row.path, sizeof row.path, r->path);
    (void)snprintf(row.object, sizeof row.object, "%s", r->object);
    (void)snprintf(row.request_id, sizeof row.request_id, "%s", r->id);
    r->audit = audit_begin(api_of(r)->audit, &row);
    if (r->audit != 0) return true;
    api_problem(r, ERR_NOMEM, "audit");
    return false;
}

void api_audit_id(struct request *r, int64_t id)
{
    (void)snprintf(r->object, sizeof r->object, "%s/%lld", object_names[r->route->object],
                   (long long)id);
}

void api_answered(struct request *r)
{
    const struct api *a = api_of(r);
    if (r->audit == 0 || a->audit == NULL || (a->stopping && !r->suspended)) return;
    audit_end(a->audit, r->audit, r->status, r->object);
    r->audit = 0;
}

/* Reads change nothing, nor does a dry run; strangers have no name to write down. */
static bool to_audit(const struct request *r)
{
    const char *dry = request_query(r, "dry_run");
    return changes(r) && r->route->access != ACCESS_OPEN && r->who.user[0] != '\0' &&
           (dry == NULL || strcmp(dry, "true") != 0);
}

/* ---- may they -------------------------------------------------------------------------------- */
static const char *least_role(enum access access)
{
    int role = ROLE_NOBODY;
    while (role < ROLE_ADMIN &&
           permission_of(access, (enum identity_role)role, OWNER_SELF) != PERMITTED)
        role++;
    return identity_role_name((enum identity_role)role);
}

static int refuse(struct request *r, int status, const char *owner, struct err *e)
{
    const enum access access = r->route->access;
    if (r->who.disabled)
        return err_set(e, ERR_FORBIDDEN, "%s is disabled: an admin can change that", r->who.user);
    if (status == 401 && r->who.via == VIA_NETWORK)
        return err_set(e, ERR_UNAUTHORIZED,
                       "other addresses need a token: Authorization: Bearer spk_...");
    if (status == 401)
        return err_set(e, ERR_UNAUTHORIZED, "this account of the machine is not let in");
    if (status == 404)
        return err_set(e, ERR_NOT_FOUND, "there is no %s %.60s", object_names[r->route->object],
                       r->params[0]);
    if (owner != NULL && permission_of(access, r->who.role, OWNER_SELF) == PERMITTED)
        return err_set(e, ERR_FORBIDDEN, "%s belongs to %s", r->object, owner);
    return err_set(e, ERR_FORBIDDEN, "needs the role %s, %s has %s", least_role(access),
                   r->who.user, identity_role_name(r->who.role));
}

int api_admit(struct request *r, struct err *e)
{
    const char *owner;
    if (identify(r, e) != 0) return (int)e->code;
    const enum ownership owns = find_owner(r, &owner);
    const int status = permission_of(r->route->access, r->who.role, owns);
    if (status != PERMITTED) (void)refuse(r, status, owner, e);
    if (to_audit(r) && !api_audit_begin(r)) return err_set(e, ERR_NOMEM, "audit");
    return (int)e->code;
}
