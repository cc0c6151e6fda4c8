/* accounts: people, tokens and sessions in memory, and who a secret belongs to. See accounts.h;
 * rows are accounts_store.c. */
#include "server/auth/accounts_internal.h"

#include "common/clock.h"
#include "common/mem.h"

#include <stdio.h>
#include <string.h>

/* ---- the index ------------------------------------------------------------------------------- */
static unsigned bucket_of_name(const char *name)
{
    uint32_t h = 2166136261U;
    for (; *name != '\0'; name++) h = (h ^ (unsigned char)*name) * 16777619U;
    return h % ACCOUNTS_BUCKETS;
}

struct user *accounts_find_user(const struct accounts *a, const char *name)
{
    list_for_each(it, &a->user_buckets[bucket_of_name(name)]) {
        struct user *u = container_of(it, struct user, bucket);
        if (strcmp(u->name, name) == 0) return u;
    }
    return NULL;
}

/* The bucket says no more than the first byte of a digest, which nobody can choose. */
static struct token *token_of_hash(const struct accounts *a, const uint8_t hash[DIGEST_BYTES])
{
    list_for_each(it, &a->token_buckets[hash[0]]) {
        struct token *t = container_of(it, struct token, bucket);
        if (token_same(t->hash, hash)) return t;
    }
    return NULL;
}

static struct session *session_of_hash(const struct accounts *a, const uint8_t hash[DIGEST_BYTES])
{
    list_for_each(it, &a->session_buckets[hash[0]]) {
        struct session *s = container_of(it, struct session, bucket);
        if (token_same(s->hash, hash)) return s;
    }
    return NULL;
}

static struct session *session_by_id(const struct accounts *a, int64_t id)
{
    list_for_each(it, &a->sessions) {
        struct session *s = container_of(it, struct session, link);
        if (s->id == id) return s;
    }
    return NULL;
}

struct user *accounts_add_user(struct accounts *a, const struct user *from)
{
    struct user *u = mem_alloc(sizeof *u);
    if (u == NULL) return NULL;
    *u = *from;
    list_append(&a->users, &u->link);
    list_append(&a->user_buckets[bucket_of_name(u->name)], &u->bucket);
    a->n_users++;
    return u;
}

struct token *accounts_add_token(struct accounts *a, const struct token *from)
{
    struct token *t = mem_alloc(sizeof *t);
    if (t == NULL) return NULL;
    *t = *from;
    list_append(&a->tokens, &t->link);
    list_append(&a->token_buckets[t->hash[0]], &t->bucket);
    a->n_tokens++;
    return t;
}

struct session *accounts_add_session(struct accounts *a, const struct session *from)
{
    struct session *s = mem_alloc(sizeof *s);
    if (s == NULL) return NULL;
    *s = *from;
    list_append(&a->sessions, &s->link);
    list_append(&a->session_buckets[s->hash[0]], &s->bucket);
    return s;
}

static void drop_session(struct accounts *a, struct session *s)
{
    a->changed = true;
    list_remove(&s->link);
    list_remove(&s->bucket);
    mem_free(s);
}

static void drop_token(struct accounts *a, struct token *t)
{
    list_for_each_safe(it, &a->sessions) {
        struct session *s = container_of(it, struct session, link);
        if (s->token == t) drop_session(a, s);
    }
    a->changed = true;
    list_remove(&t->link);
    list_remove(&t->bucket);
    a->n_tokens--;
    mem_free(t);
}

void accounts_remove_token(struct accounts *a, int64_t id)
{
    struct token *t = accounts_find_token(a, id);
    if (t != NULL) drop_token(a, t);
}

void accounts_remove_session(struct accounts *a, int64_t id)
{
    struct session *s = session_by_id(a, id);
    if (s != NULL) drop_session(a, s);
}

const struct user *accounts_user(const struct accounts *a, const char *name)
{
    return accounts_find_user(a, name);
}

struct token *accounts_find_token(const struct accounts *a, int64_t id)
{
    list_for_each(it, &a->tokens) {
        struct token *t = container_of(it, struct token, link);
        if (t->id == id) return t;
    }
    return NULL;
}

const struct token *accounts_token(const struct accounts *a, int64_t id)
{
    return accounts_find_token(a, id);
}

void accounts_each_user(const struct accounts *a, bool (*fn)(void *ctx, const struct user *u),
                        void *ctx)
{
    list_for_each(it, &a->users)
        if (!fn(ctx, container_of(it, struct user, link))) return;
}

void accounts_each_token(const struct accounts *a, bool (*fn)(void *ctx, const struct token *t),
                         void *ctx)
{
    list_for_each(it, &a->tokens)
        if (!fn(ctx, container_of(it, struct token, link))) return;
}

/* ---- roles ----------------------------------------------------------------------------------- */
bool accounts_is_local_admin(const struct accounts *a, const struct user *u)
{
    return u->uid >= 0 && identity_role_of((uid_t)u->uid, a->admin_uid) == ROLE_ADMIN;
}

enum identity_role accounts_role(const struct accounts *a, const struct user *u)
{
    if (accounts_is_local_admin(a, u)) return ROLE_ADMIN;
    if (u->disabled) return ROLE_NOBODY;
    if (u->role != ROLE_NOBODY || u->uid < 0) return u->role;
    return identity_role_of((uid_t)u->uid, a->admin_uid);
}

/* A token never says more than its user may. */
static enum identity_role token_role(const struct accounts *a, const struct token *t)
{
    const enum identity_role role = accounts_role(a, t->user);
    return role < t->role ? role : t->role;
}

bool token_over(const struct token *t, int64_t now)
{
    return t->expires_ms != 0 && now >= t->expires_ms;
}

bool session_over(const struct session *s, int64_t now)
{
    return token_over(s->token, now) || now >= s->created_ms + SESSION_LIFE_MS ||
           now >= s->last_used_ms + SESSION_IDLE_MS;
}

/* ---- who is it ------------------------------------------------------------------------------- */
static struct user *meet(struct accounts *a, const struct identity *who)
{
    struct user *u = accounts_find_user(a, who->user);
    if (u != NULL && u->uid == (int64_t)who->uid) return u;
    if (u == NULL) {
        struct user fresh = { .uid = (int64_t)who->uid, .created_ms = clock_wall_ms() };
        (void)snprintf(fresh.name, sizeof fresh.name, "%s", who->user);
        if (a->n_users >= ACCOUNTS_USERS_MAX) return NULL;
        u = accounts_add_user(a, &fresh);
        if (u == NULL) return NULL;
    } else {
        u->uid = (int64_t)who->uid; /* known by tokens so far, or an account made anew */
    }
    accounts_write_met(a, u);
    return u;
}

void accounts_by_peer(struct accounts *a, struct identity *who)
{
    if (who->uid == IDENTITY_NO_UID || who->user[0] == '\0') return;
    who->role = identity_role_of(who->uid, a->admin_uid);
    if (who->role == ROLE_NOBODY) return; /* system users, whatever name they have */
    const struct user *u = meet(a, who);
    if (u == NULL) return;
    who->role = accounts_role(a, u);
    who->disabled = who->role == ROLE_NOBODY;
}

static void is_user_of(const struct accounts *a, struct identity *who, const struct token *t)
{
    who->role = token_role(a, t);
    who->disabled = accounts_role(a, t->user) == ROLE_NOBODY;
    who->uid = t->user->uid >= 0 ? (uid_t)t->user->uid : IDENTITY_NO_UID;
    who->token = t->id;
    (void)snprintf(who->user, sizeof who->user, "%s", t->user->name);
}

static void note_use(int64_t *last_used_ms, bool *used, int64_t now)
{
    if (now - *last_used_ms < ACCOUNTS_USED_MS) return;
    *last_used_ms = now;
    *used = true;
}

int accounts_by_token(struct accounts *a, const char *text, struct identity *who, struct err *e)
{
    uint8_t hash[DIGEST_BYTES];
    const int64_t now = clock_wall_ms();
    struct token *t = token_hash(text, hash) ? token_of_hash(a, hash) : NULL;
    if (t == NULL) return err_set(e, ERR_UNAUTHORIZED, "the token is not known, or was revoked");
    if (token_over(t, now)) return err_set(e, ERR_UNAUTHORIZED, "the token has expired");
    is_user_of(a, who, t);
    who->by = BY_TOKEN;
    who->session = 0;
    note_use(&t->last_used_ms, &t->used, now);
    return 0;
}

int accounts_by_session(struct accounts *a, const char *text, struct identity *who, struct err *e)
{
    uint8_t hash[DIGEST_BYTES];
    const int64_t now = clock_wall_ms();
    struct session *s = token_hash(text, hash) ? session_of_hash(a, hash) : NULL;
    if (s == NULL || session_over(s, now))
        return err_set(e, ERR_UNAUTHORIZED, "the session is over: log in again");
    is_user_of(a, who, s->token);
    who->by = BY_SESSION;
    who->session = s->id;
    note_use(&s->last_used_ms, &s->used, now);
    return 0;
}

bool accounts_still(const struct accounts *a, const struct identity *who)
{
    const int64_t now = clock_wall_ms();
    const struct user *u = accounts_find_user(a, who->user);
    if (who->by == BY_PEER) return u == NULL || accounts_role(a, u) != ROLE_NOBODY;
    const struct token *t = accounts_token(a, who->token);
    if (t == NULL || token_over(t, now) || token_role(a, t) == ROLE_NOBODY) return false;
    if (who->by == BY_TOKEN) return true;
    const struct session *s = session_by_id(a, who->session);
    return s != NULL && !session_over(s, now);
}

/* ---- life ------------------------------------------------------------------------------------ */
static void on_timer(uv_timer_t *t)
{
    struct accounts *a = container_of(t, struct accounts, timer);
    accounts_sweep(a);
    if (a->changed && a->on_sweep != NULL) a->on_sweep(a->sweep_ctx);
    a->changed = false;
}

void accounts_free(struct accounts *a)
{
    list_for_each_safe(it, &a->tokens) drop_token(a, container_of(it, struct token, link));
    list_for_each_safe(it, &a->users) {
        list_remove(it);
        mem_free(container_of(it, struct user, link));
    }
    mem_free(a);
}

int accounts_open(struct accounts **out, uv_loop_t *loop, struct store *s, uid_t admin_uid,
                  void (*on_sweep)(void *ctx), void *ctx, struct err *e)
{
    struct accounts *a = mem_calloc(1, sizeof *a);
    if (a == NULL) return err_set(e, ERR_NOMEM, "accounts");
    a->store = s;
    a->admin_uid = admin_uid;
    a->on_sweep = on_sweep;
    a->sweep_ctx = ctx;
    a->used_written_ms = clock_mono_ms();
    a->swept_ms = clock_wall_ms();
    list_init(&a->users);
    list_init(&a->tokens);
    list_init(&a->sessions);
    for (int i = 0; i < ACCOUNTS_BUCKETS; i++) {
        list_init(&a->user_buckets[i]);
        list_init(&a->token_buckets[i]);
        list_init(&a->session_buckets[i]);
    }
    const int rc = accounts_load(a, e);
    if (rc != 0) {
        accounts_free(a);
        return rc;
    }
    (void)uv_timer_init(loop, &a->timer);
    (void)uv_timer_start(&a->timer, on_timer, ACCOUNTS_SWEEP_MS, ACCOUNTS_SWEEP_MS);
    *out = a;
    return 0;
}

void accounts_stop(struct accounts *a)
{
    a->stopped = true;
    (void)uv_timer_stop(&a->timer);
}

static void timer_closed(uv_handle_t *h)
{
    accounts_free(container_of((uv_timer_t *)h, struct accounts, timer));
}

void accounts_close(struct accounts *a) { uv_close((uv_handle_t *)&a->timer, timer_closed); }
