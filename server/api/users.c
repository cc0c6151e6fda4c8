/* users: people that the daemon knows; admins say what each may do. */
#include "server/api/api_internal.h"

#include <string.h>

struct user_list {
    const struct accounts *accounts;
    cJSON *items;
    bool ok;
};

static bool add_user(cJSON *o, const struct accounts *a, const struct user *u)
{
    const enum identity_role role = accounts_role(a, u);
    return cJSON_AddStringToObject(o, "name", u->name) != NULL &&
           (u->uid >= 0 ? json_add_int(o, "uid", u->uid)
                        : cJSON_AddNullToObject(o, "uid") != NULL) &&
           cJSON_AddStringToObject(o, "role", identity_role_name(role)) != NULL &&
           cJSON_AddBoolToObject(o, "disabled", role == ROLE_NOBODY) != NULL &&
           json_add_time(o, "created_at", u->created_ms);
}

static bool list_user(void *ctx, const struct user *u)
{
    struct user_list *l = ctx;
    cJSON *o = cJSON_CreateObject();
    l->ok = o != NULL && cJSON_AddItemToArray(l->items, o) && add_user(o, l->accounts, u);
    return l->ok;
}

void api_users(struct request *r)
{
    cJSON *o = cJSON_CreateObject();
    struct user_list l = { .accounts = api_of(r)->accounts,
                           .items = o != NULL ? cJSON_AddArrayToObject(o, "items") : NULL };
    l.ok = l.items != NULL;
    if (l.ok) accounts_each_user(l.accounts, list_user, &l);
    respond_json(r, 200, l.ok ? o : NULL);
    cJSON_Delete(o);
}

static void changed(void *ctx, int64_t id, const struct err *e)
{
    struct request *r = ctx;
    const struct accounts *a = api_of(r)->accounts;
    const struct user *u = id != 0 ? accounts_user(a, r->params[0]) : NULL;
    if (u == NULL) {
        respond_problem(r, e, NULL);
        return;
    }
    cJSON *o = cJSON_CreateObject();
    respond_json(r, 200, o != NULL && add_user(o, a, u) ? o : NULL);
    cJSON_Delete(o);
}

static void read_field(const cJSON *item, const struct user *u, struct user_change *c,
                       struct json_faults *faults)
{
    static const char *const roles[] = { "viewer", "user", "admin" };
    if (strcmp(item->string, "role") == 0) {
        const char *word = cJSON_IsString(item) ? item->valuestring : "";
        c->role_given = true;
        if (cJSON_IsNull(item) && u->uid < 0)
            json_fault_add(faults, "/role", "not_allowed",
                           "%s has no account on this machine that a role could come from",
                           u->name);
        else if (!cJSON_IsNull(item) && !identity_role_from_name(word, &c->role))
            json_fault_choice(faults, "/role", word, "role", roles, 3);
    } else if (strcmp(item->string, "disabled") == 0) {
        c->disabled_given = true;
        c->disabled = cJSON_IsTrue(item);
        if (!cJSON_IsBool(item))
            json_fault_add(faults, "/disabled", "wrong_type", "must be true or false");
    } else {
        json_fault_add(faults, "", "unknown_field", "'%.60s': role and disabled can be changed",
                       item->string);
    }
}

static void change(struct request *r, const struct user *u, const cJSON *body)
{
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct user_change c = { 0 };
    struct err e = { 0 };
    const cJSON *item;
    if (faults == NULL) (void)err_set(&e, ERR_NOMEM, "request");
    cJSON_ArrayForEach(item, body) {
        if (faults != NULL) read_field(item, u, &c, faults);
    }
    if (faults != NULL && faults->total > 0) (void)err_set(&e, ERR_INVALID, "the body has faults");
    if (e.code != ERR_OK) {
        respond_problem(r, &e, faults);
    } else {
        accounts_user_change(api_of(r)->accounts, u->name, &c, changed, r);
        request_suspend(r);
    }
    mem_free(faults);
}

void api_user_change(struct request *r)
{
    const struct user *u = accounts_user(api_of(r)->accounts, r->params[0]);
    cJSON *body = api_body(r);
    if (body == NULL) return;
    if (u == NULL) api_problem(r, ERR_NOT_FOUND, "there is no user %.60s", r->params[0]);
    else if (accounts_is_local_admin(api_of(r)->accounts, u))
        api_problem(r, ERR_BAD_STATE, "%s is always admin: root, or the daemon's own account",
                    u->name);
    else change(r, u, body);
    cJSON_Delete(body);
}
