/* tokens: secrets for programs and other machines: make, list, revoke. */
#include "server/api/api_internal.h"

#include "common/clock.h"

#include <stdio.h>
#include <string.h>

#define EXPIRES_MAX_S ((int64_t)10 * 366 * 86400)

/* ---- list ------------------------------------------------------------------------------------ */
struct token_list {
    cJSON *items;
    const struct identity *who;
    bool ok;
};

static bool add_token(cJSON *o, const struct token *t)
{
    return json_add_int(o, "id", t->id) &&
           cJSON_AddStringToObject(o, "user", t->user->name) != NULL &&
           cJSON_AddStringToObject(o, "name", t->name) != NULL &&
           cJSON_AddStringToObject(o, "role", identity_role_name(t->role)) != NULL &&
           json_add_time(o, "created_at", t->created_ms) &&
           json_add_time(o, "expires_at", t->expires_ms) &&
           json_add_time(o, "last_used_at", t->last_used_ms);
}

static bool list_token(void *ctx, const struct token *t)
{
    struct token_list *l = ctx;
    if (l->who->role != ROLE_ADMIN && strcmp(t->user->name, l->who->user) != 0) return true;
    cJSON *o = cJSON_CreateObject();
    l->ok = o != NULL && cJSON_AddItemToArray(l->items, o) && add_token(o, t);
    return l->ok;
}

void api_tokens(struct request *r)
{
    cJSON *o = cJSON_CreateObject();
    struct token_list l = { .items = o != NULL ? cJSON_AddArrayToObject(o, "items") : NULL,
                            .who = &r->who };
    l.ok = l.items != NULL;
    if (l.ok) accounts_each_token(api_of(r)->accounts, list_token, &l);
    respond_json(r, 200, l.ok ? o : NULL);
    cJSON_Delete(o);
}

/* ---- make ------------------------------------------------------------------------------------ */
struct token_request {
    struct request *r;
    char text[TOKEN_TEXT_MAX];
};

static void created(void *ctx, int64_t id, const struct err *e)
{
    struct token_request *t = ctx;
    struct request *r = t->r;
    const struct token *token = id != 0 ? accounts_token(api_of(r)->accounts, id) : NULL;
    cJSON *o = token != NULL ? cJSON_CreateObject() : NULL;
    if (id != 0) api_audit_id(r, id);
    if (e->code != ERR_OK) {
        respond_problem(r, e, NULL);
    } else {
        const bool ok = o != NULL && add_token(o, token) &&
                        cJSON_AddStringToObject(o, "token", t->text) != NULL;
        respond_json(r, 201, ok ? o : NULL);
    }
    cJSON_Delete(o);
    token_wipe(t->text);
    mem_free(t);
}

struct token_fields {
    const char *name, *user;
    enum identity_role role;
    int64_t expires_in_s; /* 0 = never */
};

/* One line of printable text. */
static bool is_label(const cJSON *item, size_t size)
{
    if (!cJSON_IsString(item) || item->valuestring[0] == '\0' || strlen(item->valuestring) >= size)
        return false;
    for (const char *c = item->valuestring; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) return false;
    return true;
}

static void read_field(const cJSON *item, struct token_fields *f, struct json_faults *faults)
{
    static const char *const names[] = { "name", "role", "user", "expires_in_s" };
    static const char *const roles[] = { "viewer", "user", "admin" };
    const char *field = item->string;
    if (strcmp(field, "name") == 0) {
        f->name = item->valuestring;
        if (!is_label(item, ACCOUNTS_TOKEN_NAME_MAX))
            json_fault_add(faults, "/name", "out_of_range", "a line of 1 to %d bytes",
                           ACCOUNTS_TOKEN_NAME_MAX - 1);
    } else if (strcmp(field, "user") == 0) {
        f->user = item->valuestring;
        if (!is_label(item, IDENTITY_USER_MAX))
            json_fault_add(faults, "/user", "out_of_range", "a name of 1 to %d bytes",
                           IDENTITY_USER_MAX - 1);
    } else if (strcmp(field, "role") == 0) {
        const char *word = cJSON_IsString(item) ? item->valuestring : "";
        if (!identity_role_from_name(word, &f->role))
            json_fault_choice(faults, "/role", word, "role", roles, 3);
    } else if (strcmp(field, "expires_in_s") == 0) {
        f->expires_in_s = cJSON_IsNumber(item) ? (int64_t)item->valuedouble : 0;
        if (f->expires_in_s < 1 || f->expires_in_s > EXPIRES_MAX_S ||
            (double)f->expires_in_s != item->valuedouble)
            json_fault_add(faults, "/expires_in_s", "out_of_range",
                           "a whole number of seconds from 1 to %lld", (long long)EXPIRES_MAX_S);
    } else {
        const char *near = json_nearest(field, names, 4);
        json_fault_add(faults, "", "unknown_field",
                       "'%.60s': name, role, user and expires_in_s are%s%s", field,
                       near != NULL ? "; did you mean " : "", near != NULL ? near : "");
    }
}

/* Names that the system has, or may have for an account without one, are given by the system. */
static bool is_user_name(const char *name)
{
    const bool reserved = strncmp(name, "uid", 3) == 0 && name[3] >= '0' && name[3] <= '9';
    return !reserved &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                        "._-@") == strlen(name);
}

static void check_user(const struct request *r, const struct token_fields *f,
                       struct json_faults *faults)
{
    const bool other = f->user != NULL && strcmp(f->user, r->who.user) != 0;
    if (!other) return;
    if (r->who.role != ROLE_ADMIN)
        json_fault_add(faults, "/user", "not_allowed", "only admins make tokens for others");
    else if (accounts_user(api_of(r)->accounts, f->user) == NULL && !is_user_name(f->user))
        json_fault_add(faults, "/user", "out_of_range",
                       "'%.60s' is no user yet; a new one has letters, digits and ._-@", f->user);
}

static void check_fields(const struct request *r, struct token_fields *f,
                         struct json_faults *faults)
{
    if (f->name == NULL) json_fault_add(faults, "/name", "missing", "says what it is for");
    if (f->role == ROLE_NOBODY) f->role = r->who.role < ROLE_USER ? r->who.role : ROLE_USER;
    if (f->role > r->who.role)
        json_fault_add(faults, "/role", "not_allowed", "at most your own: %s",
                       identity_role_name(r->who.role));
    check_user(r, f, faults);
}

/* A token made with one that ends does not outlive it. */
static int64_t expires_ms(const struct request *r, const struct token_fields *f)
{
    const struct token *own = accounts_token(api_of(r)->accounts, r->who.token);
    const int64_t wish = f->expires_in_s != 0 ? clock_wall_ms() + 1000 * f->expires_in_s : 0;
    const int64_t bound = own != NULL ? own->expires_ms : 0;
    return bound != 0 && (wish == 0 || wish > bound) ? bound : wish;
}

static void create(struct request *r, const struct token_fields *f)
{
    struct token_request *t = mem_calloc(1, sizeof *t);
    if (t == NULL) {
        api_problem(r, ERR_NOMEM, "token");
        return;
    }
    t->r = r;
    const bool self = f->user == NULL || strcmp(f->user, r->who.user) == 0;
    const struct token_wish w = { .user = self ? r->who.user : f->user,
                                  .uid = self ? r->who.uid : IDENTITY_NO_UID,
                                  .name = f->name,
                                  .role = f->role,
                                  .expires_ms = expires_ms(r, f) };
    accounts_token_create(api_of(r)->accounts, &w, t->text, created, t);
    request_suspend(r);
}

void api_token_create(struct request *r)
{
    cJSON *body = api_body(r);
    struct json_faults *faults = body != NULL ? mem_calloc(1, sizeof *faults) : NULL;
    struct token_fields f = { 0 };
    struct err e = { 0 };
    const cJSON *item;
    if (body == NULL) return;
    if (faults == NULL) {
        api_problem(r, ERR_NOMEM, "request");
    } else {
        cJSON_ArrayForEach(item, body) read_field(item, &f, faults);
        if (faults->total == 0) check_fields(r, &f, faults);
        if (faults->total > 0) {
            (void)err_set(&e, ERR_INVALID, "the body has faults");
            respond_problem(r, &e, faults);
        } else {
            create(r, &f);
        }
    }
    mem_free(faults);
    cJSON_Delete(body);
}

/* ---- revoke ---------------------------------------------------------------------------------- */
static void revoked(void *ctx, int64_t id, const struct err *e)
{
    struct request *r = ctx;
    if (id != 0) respond_empty(r, 204);
    else respond_problem(r, e, NULL);
}

void api_token_revoke(struct request *r)
{
    const int64_t id = api_param_id(r);
    if (!api_empty_body(r)) return;
    if (accounts_token(api_of(r)->accounts, id) == NULL) {
        api_problem(r, ERR_NOT_FOUND, "there is no token %.60s", r->params[0]);
        return;
    }
    accounts_token_revoke(api_of(r)->accounts, id, revoked, r);
    request_suspend(r);
}
