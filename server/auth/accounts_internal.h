/* accounts_internal: what accounts.c (memory), accounts_load.c and accounts_store.c (rows) share.
 * Loop thread. */
#ifndef SERVER_ACCOUNTS_INTERNAL_H
#define SERVER_ACCOUNTS_INTERNAL_H

#include "server/auth/accounts.h"

#define ACCOUNTS_BUCKETS 256
#define ACCOUNTS_SWEEP_MS 1000
#define ACCOUNTS_USED_MS 60000 /* last_used is so coarse, and written so often */
#define ACCOUNTS_USED_MAX 256  /* of each kind in one writing; others wait for the next */

struct accounts {
    struct store *store;
    uid_t admin_uid;
    struct list users, tokens, sessions; /* oldest first */
    struct list user_buckets[ACCOUNTS_BUCKETS], token_buckets[ACCOUNTS_BUCKETS],
        session_buckets[ACCOUNTS_BUCKETS];
    size_t n_users, n_tokens;
    uv_timer_t timer;
    int64_t used_written_ms; /* monotonic */
    int64_t swept_ms;        /* wall clock */
    bool changed;            /* somebody's access may have ended since the last sweep */
    bool stopped;
    void (*on_sweep)(void *ctx);
    void *sweep_ctx;
};

/* ---- memory (accounts.c): NULL when out of memory -------------------------------------------- */
struct user *accounts_add_user(struct accounts *a, const struct user *u);
struct token *accounts_add_token(struct accounts *a, const struct token *t);
struct session *accounts_add_session(struct accounts *a, const struct session *s);
void accounts_remove_token(struct accounts *a, int64_t id); /* with its sessions */
void accounts_remove_session(struct accounts *a, int64_t id);
struct user *accounts_find_user(const struct accounts *a, const char *name);
struct token *accounts_find_token(const struct accounts *a, int64_t id);
bool token_over(const struct token *t, int64_t now);
bool session_over(const struct session *s, int64_t now);
void accounts_free(struct accounts *a);

/* ---- rows (accounts_load.c, accounts_store.c) ------------------------------------------------ */
int accounts_load(struct accounts *a, struct err *e);
/* A row for somebody who was met; a failure is logged and harmless. */
void accounts_write_met(struct accounts *a, const struct user *u);
/* Once a second: what is over by its time; once a minute: what was used is written. */
void accounts_sweep(struct accounts *a);

#endif
