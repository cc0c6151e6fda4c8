/* Accounts: how long sessions last, what a token may say at most, and what is on disk. */
#include "server/auth/accounts.h"

#include "common/clock.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAEMON_UID 120
#define HOUR_MS ((int64_t)3600 * 1000)

static char folder[64], path[80];
static uv_loop_t loop;
static struct store *store;
static struct accounts *accounts;
static int64_t wall_ms;

static int64_t mono(void) { return wall_ms; }
static int64_t wall(void) { return wall_ms; }

static void open_accounts(void)
{
    struct err e = { 0 };
    cr_assert(uv_loop_init(&loop) == 0);
    cr_assert(store_open(&store, &loop, path, "", true, &e) == 0, "%s", e.text);
    cr_assert(accounts_open(&accounts, &loop, store, DAEMON_UID, NULL, NULL, &e) == 0, "%s",
              e.text);
}

static void closed(void *ctx) { *(bool *)ctx = true; }

static void close_accounts(void)
{
    bool over = false;
    accounts_stop(accounts);
    accounts_stop(accounts);
    accounts_close(accounts);
    store_close(store, closed, &over);
    while (!over) (void)uv_run(&loop, UV_RUN_ONCE);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    cr_assert(uv_loop_close(&loop) == 0);
}

static void set_up(void)
{
    wall_ms = 1800000000000;
    clock_override(mono, wall);
    cr_assert(sodium_init() >= 0);
    (void)snprintf(folder, sizeof folder, "/tmp/spiked-accounts-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/spiked.db", folder);
    open_accounts();
}

static void tear_down(void)
{
    static const char *const ends[] = { "", "-wal", "-shm" };
    close_accounts();
    for (int i = 0; i < 3; i++) {
        char file[96];
        (void)snprintf(file, sizeof file, "%s%s", path, ends[i]);
        (void)unlink(file);
    }
    cr_assert(rmdir(folder) == 0);
    clock_override(NULL, NULL);
}

struct told {
    int64_t id;
    enum err_code code;
    bool done;
};

static void tell(void *ctx, int64_t id, const struct err *e)
{
    *(struct told *)ctx = (struct told){ id, e->code, true };
}

static struct told wait_for(struct told *t)
{
    while (!t->done) (void)uv_run(&loop, UV_RUN_ONCE);
    return *t;
}

static struct told make(const char *user, uid_t uid, enum identity_role role, int64_t expires_ms,
                        char text[TOKEN_TEXT_MAX])
{
    struct told t = { 0 };
    const struct token_wish w = { user, uid, "test", role, expires_ms };
    accounts_token_create(accounts, &w, text, tell, &t);
    return wait_for(&t);
}

static struct identity by_token(const char *text)
{
    struct identity who = { 0 };
    struct err e = { 0 };
    cr_assert(accounts_by_token(accounts, text, &who, &e) == 0, "%s", e.text);
    return who;
}

static int64_t log_in(const char *token, char text[TOKEN_TEXT_MAX])
{
    struct told t = { 0 };
    const struct identity who = by_token(token);
    accounts_session_create(accounts, &who, text, tell, &t);
    return wait_for(&t).id;
}

static bool session_lives(const char *text)
{
    struct identity who = { 0 };
    struct err e = { 0 };
    const bool lives = accounts_by_session(accounts, text, &who, &e) == 0;
    cr_assert(lives || e.code == ERR_UNAUTHORIZED);
    cr_assert(!lives || who.by == BY_SESSION);
    return lives;
}

/* Once a second what was used is written, if the last writing was a minute ago. */
static void wait_for_sweep(void)
{
    for (int i = 0; i < 130; i++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
        (void)usleep(10000);
    }
}

/* Goal: a session ends when nothing came by it for the idle time, and after its whole life whatever
 * came; both hold over a restart. */
Test(accounts, sessions_end, .init = set_up, .fini = tear_down, .timeout = 20)
{
    char token[TOKEN_TEXT_MAX], idle[TOKEN_TEXT_MAX], busy[TOKEN_TEXT_MAX];
    cr_assert_eq(make("ada", 1000, ROLE_USER, 0, token).id, 1);
    cr_assert(log_in(token, idle) > 0 && log_in(token, busy) > 0);
    const int64_t began = wall_ms;
    while (wall_ms < began + SESSION_IDLE_MS - HOUR_MS) {
        wall_ms += HOUR_MS;
        cr_assert(session_lives(busy));
    }
    wall_ms = began + SESSION_IDLE_MS - 1;
    struct identity who = { 0 };
    struct err e = { 0 };
    cr_assert(accounts_by_session(accounts, busy, &who, &e) == 0);
    wall_ms = began + SESSION_IDLE_MS;
    cr_assert(!session_lives(idle) && session_lives(busy));
    while (wall_ms + HOUR_MS < began + SESSION_LIFE_MS) {
        wall_ms += HOUR_MS;
        cr_assert(session_lives(busy));
        cr_assert(accounts_still(accounts, &who));
    }
    wait_for_sweep();
    close_accounts();
    open_accounts();
    cr_assert(!session_lives(idle) && session_lives(busy));
    wall_ms = began + SESSION_LIFE_MS;
    cr_assert(!session_lives(busy));
    cr_assert(!accounts_still(accounts, &who));
}

/* Goal: one session more than a user may have ends the one that was idle longest. */
Test(accounts, sessions_are_bounded, .init = set_up, .fini = tear_down, .timeout = 20)
{
    char token[TOKEN_TEXT_MAX], other[TOKEN_TEXT_MAX], foreign[TOKEN_TEXT_MAX];
    char sessions[ACCOUNTS_SESSIONS_PER_USER_MAX + 1][TOKEN_TEXT_MAX];
    (void)make("ada", 1000, ROLE_USER, 0, token);
    (void)make("bob", 1001, ROLE_USER, 0, other);
    (void)log_in(other, foreign);
    for (int i = 0; i <= ACCOUNTS_SESSIONS_PER_USER_MAX; i++) {
        wall_ms += 1000;
        if (i == ACCOUNTS_SESSIONS_PER_USER_MAX) {
            wall_ms += HOUR_MS;
            cr_assert(session_lives(sessions[0])); /* used just now */
        }
        cr_assert(log_in(token, sessions[i]) > 0);
    }
    wait_for_sweep();
    for (int i = 0; i <= ACCOUNTS_SESSIONS_PER_USER_MAX; i++)
        cr_expect_eq(session_lives(sessions[i]), i != 1, "session %d", i);
    cr_assert(session_lives(foreign));
}

/* Goal: a token is worth what its user may at the moment, never more than it says. */
Test(accounts, roles_are_the_lesser, .init = set_up, .fini = tear_down, .timeout = 20)
{
    char text[TOKEN_TEXT_MAX], viewer[TOKEN_TEXT_MAX];
    struct told t = { 0 }, u = { 0 };
    (void)make("ada", 1000, ROLE_USER, 0, text);
    (void)make("ada", 1000, ROLE_VIEWER, 0, viewer);
    cr_assert(by_token(text).role == ROLE_USER && by_token(viewer).role == ROLE_VIEWER);
    struct user_change c = { .role_given = true, .role = ROLE_ADMIN };
    accounts_user_change(accounts, "ada", &c, tell, &t);
    cr_assert_eq(wait_for(&t).code, ERR_OK);
    cr_assert(by_token(text).role == ROLE_USER && by_token(viewer).role == ROLE_VIEWER);
    struct identity peer = { .uid = 1000, .via = VIA_LOOPBACK, .user = "ada" };
    accounts_by_peer(accounts, &peer);
    cr_assert_eq(peer.role, ROLE_ADMIN);
    c = (struct user_change){ .disabled_given = true, .disabled = true };
    accounts_user_change(accounts, "ada", &c, tell, &u);
    cr_assert_eq(wait_for(&u).code, ERR_OK);
    cr_assert(by_token(text).role == ROLE_NOBODY && by_token(text).disabled);
    cr_assert(!accounts_still(accounts, &peer));
    accounts_by_peer(accounts, &peer);
    cr_assert(peer.role == ROLE_NOBODY && peer.disabled);
}

/* Goal: root and the daemon's account are admin whatever a row says; system users are nobody, also
 * when a user of tokens has their name. */
Test(accounts, accounts_of_the_machine, .init = set_up, .fini = tear_down, .timeout = 20)
{
    char text[TOKEN_TEXT_MAX];
    const uid_t admins[] = { 0, DAEMON_UID };
    for (int i = 0; i < 2; i++) {
        struct told t = { 0 };
        struct identity who = { .uid = admins[i], .via = VIA_SOCKET };
        (void)snprintf(who.user, sizeof who.user, "admin%d", i);
        accounts_by_peer(accounts, &who);
        cr_assert_eq(who.role, ROLE_ADMIN);
        const struct user_change c = { true, true, ROLE_VIEWER, true };
        accounts_user_change(accounts, who.user, &c, tell, &t);
        (void)wait_for(&t);
        accounts_by_peer(accounts, &who);
        cr_assert(who.role == ROLE_ADMIN && !who.disabled && accounts_still(accounts, &who));
    }
    (void)make("www-data", IDENTITY_NO_UID, ROLE_USER, 0, text);
    struct identity system_user = { .uid = 33, .via = VIA_LOOPBACK, .user = "www-data" };
    accounts_by_peer(accounts, &system_user);
    cr_assert_eq(system_user.role, ROLE_NOBODY);
}

static bool find_bytes(const char *file, const void *what, size_t length)
{
    static char text[1 << 21];
    FILE *f = fopen(file, "r");
    const size_t n = f != NULL ? fread(text, 1, sizeof text, f) : 0;
    if (f != NULL) (void)fclose(f);
    return memmem(text, n, what, length) != NULL;
}

/* Goal: the database holds the hash of a token and nothing of its secret; after a restart the token
 * is known with all that was said of it. */
Test(accounts, only_the_hash_is_stored, .init = set_up, .fini = tear_down, .timeout = 20)
{
    char text[TOKEN_TEXT_MAX], wal[96];
    uint8_t hash[DIGEST_BYTES];
    const int64_t until = wall_ms + HOUR_MS;
    (void)make("ada", 1000, ROLE_VIEWER, until, text);
    cr_assert(token_hash(text, hash));
    (void)snprintf(wal, sizeof wal, "%s-wal", path);
    cr_assert(find_bytes(wal, hash, sizeof hash) || find_bytes(path, hash, sizeof hash));
    cr_assert(!find_bytes(wal, text + 4, 16) && !find_bytes(path, text + 4, 16));
    close_accounts();
    open_accounts();
    cr_assert(!find_bytes(path, text + 4, 16));
    const struct identity who = by_token(text);
    const struct token *t = accounts_token(accounts, who.token);
    cr_assert(who.role == ROLE_VIEWER && strcmp(who.user, "ada") == 0 && who.uid == 1000);
    cr_assert(strcmp(t->name, "test") == 0 && t->expires_ms == until);
    wall_ms = until;
    struct identity late = { 0 };
    struct err e = { 0 };
    cr_assert(accounts_by_token(accounts, text, &late, &e) == ERR_UNAUTHORIZED);
    cr_assert(strstr(e.text, "expired") != NULL && !accounts_still(accounts, &who));
}
