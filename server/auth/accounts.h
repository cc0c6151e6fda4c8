/* accounts: the people that the daemon knows, their tokens and the sessions of the page. Loop
 * thread.
 *
 * Memory holds all of them, spiked.db the truth: a change is handed to the writer thread and counts
 * when it is committed. Who is met on this machine for the first time gets a row with no more than
 * the name. A name is one person, whichever way they come. */
#ifndef SERVER_ACCOUNTS_H
#define SERVER_ACCOUNTS_H

#include "server/auth/identity.h"
#include "server/auth/token.h"
#include "server/store/store.h"

#define ACCOUNTS_USERS_MAX 10000 /* further people of this machine are served, not listed */
#define ACCOUNTS_TOKENS_PER_USER_MAX 50
#define ACCOUNTS_TOKENS_MAX 10000
#define ACCOUNTS_SESSIONS_PER_USER_MAX 20 /* one more ends the one that was idle longest */
#define ACCOUNTS_TOKEN_NAME_MAX 64
#define SESSION_IDLE_MS ((int64_t)12 * 3600 * 1000)
#define SESSION_LIFE_MS ((int64_t)7 * 24 * 3600 * 1000)

struct user {
    struct list link, bucket;
    char name[IDENTITY_USER_MAX];
    int64_t uid;             /* -1: known by tokens alone */
    enum identity_role role; /* as an admin said; ROLE_NOBODY: as the account of the uid has it */
    bool disabled;
    int64_t created_ms;
};
struct token {
    struct list link, bucket;
    int64_t id;
    uint8_t hash[DIGEST_BYTES];
    struct user *user;
    char name[ACCOUNTS_TOKEN_NAME_MAX];
    enum identity_role role;
    int64_t created_ms, expires_ms, last_used_ms; /* expires 0 = never, used 0 = not yet */
    bool used;                                    /* since last_used_ms was written */
};
struct session {
    struct list link, bucket;
    int64_t id;
    uint8_t hash[DIGEST_BYTES];
    struct token *token;
    int64_t created_ms, last_used_ms;
    bool used;
};

struct accounts;
/* admin_uid: admin beside root. on_sweep (may be NULL): within a second after time or a change may
 * have ended somebody's access. Reads the database of s. Errors: ERR_DB, ERR_NOMEM. */
int accounts_open(struct accounts **out, uv_loop_t *loop, struct store *s, uid_t admin_uid,
                  void (*on_sweep)(void *ctx), void *ctx, struct err *e);
/* Before the store closes: nothing is written any more. Repeating it is harmless. */
void accounts_stop(struct accounts *a);
/* Later, on the loop: closes the timer and frees. */
void accounts_close(struct accounts *a);

/* ---- who is it ------------------------------------------------------------------------------- */
/* What an admin said of this person of the machine: fills role and disabled. */
void accounts_by_peer(struct accounts *a, struct identity *who);
/* Fills everything but via. Errors: ERR_UNAUTHORIZED. */
int accounts_by_token(struct accounts *a, const char *text, struct identity *who, struct err *e);
int accounts_by_session(struct accounts *a, const char *text, struct identity *who, struct err *e);
/* Whether what let this person in still does. */
bool accounts_still(const struct accounts *a, const struct identity *who);

/* ---- reads of memory: borrowed until control returns to the loop; NULL = there is none ------- */
const struct user *accounts_user(const struct accounts *a, const char *name);
const struct token *accounts_token(const struct accounts *a, int64_t id);
/* Oldest first; calls fn until it returns false. */
void accounts_each_user(const struct accounts *a, bool (*fn)(void *ctx, const struct user *u),
                        void *ctx);
void accounts_each_token(const struct accounts *a, bool (*fn)(void *ctx, const struct token *t),
                         void *ctx);
/* Role that a user has, whatever their tokens say; ROLE_NOBODY when disabled. */
enum identity_role accounts_role(const struct accounts *a, const struct user *u);
/* Root and the daemon's own account: always admin, so that nobody is locked out for good. */
bool accounts_is_local_admin(const struct accounts *a, const struct user *u);

/* ---- changes: done is told after the commit, id 0 on failure --------------------------------- */
typedef void (*accounts_done_fn)(void *ctx, int64_t id, const struct err *e);
struct token_wish {
    const char *user; /* one that is not known yet is made, with the role of the token */
    uid_t uid;        /* IDENTITY_NO_UID: not known */
    const char *name;
    enum identity_role role;
    int64_t expires_ms; /* 0 = never */
};
/* text: where the secret goes at once; it is worth something when done says so.
 * Errors: ERR_BAD_STATE (a bound is reached), ERR_DB, ERR_NOMEM. */
void accounts_token_create(struct accounts *a, const struct token_wish *w,
                           char text[TOKEN_TEXT_MAX], accounts_done_fn done, void *ctx);
/* Its sessions end with it. Errors: ERR_NOT_FOUND, ERR_DB, ERR_NOMEM. */
void accounts_token_revoke(struct accounts *a, int64_t id, accounts_done_fn done, void *ctx);
/* who: came by a token. Errors: ERR_UNAUTHORIZED (the token is gone), ERR_DB, ERR_NOMEM. */
void accounts_session_create(struct accounts *a, const struct identity *who,
                             char text[TOKEN_TEXT_MAX], accounts_done_fn done, void *ctx);
void accounts_session_end(struct accounts *a, int64_t id, accounts_done_fn done, void *ctx);
struct user_change {
    bool role_given, disabled_given;
    enum identity_role role; /* ROLE_NOBODY: as the account has it */
    bool disabled;
};
/* Errors: ERR_NOT_FOUND, ERR_DB, ERR_NOMEM. */
void accounts_user_change(struct accounts *a, const char *name, const struct user_change *change,
                          accounts_done_fn done, void *ctx);

#endif
