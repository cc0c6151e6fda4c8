/* Stories of people: tokens, roles, and the audit of what they do. */
#include "common/clock.h"
#include "common/mem.h"
#include "tests/support/people.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TOKENS_PER_USER 50
#define PERSON 4711 /* an account of this machine, as far as the kernel knows */

static void expect_fault(const struct service *s, const char *token, const char *body,
                         const char *pointer, const char *words)
{
    struct answer a = call_with(s, "POST", TOKENS, body, token, NULL, NULL);
    const cJSON *fault = cJSON_GetArrayItem(json_get(a.json, "errors"), 0);
    cr_assert(a.status == 400 && strcmp(json_get_string(fault, "pointer", "-"), pointer) == 0 &&
                  strstr(json_get_string(fault, "detail", ""), words) != NULL,
              "%s: %ld %s", body, a.status, a.body);
    answer_free(&a);
}

/* ---- tokens ---------------------------------------------------------------------------------- */
/* Goal: a token says who somebody is instead of the account that asks, on TCP and the socket; it is
 * shown once, listed, known after a restart, and worth nothing when revoked or over its time. */
Test(people, tokens_live_and_end, .timeout = 30)
{
    struct service s = { 0 };
    char ada[80], brief[80], socket[200];
    service_start(&s);
    const int64_t id = make_token(&s, "\"user\": \"ada\", \"role\": \"user\"", ada);
    (void)make_token(&s, "\"user\": \"ada\", \"role\": \"user\", \"expires_in_s\": 1", brief);
    cr_assert_eq(status_of(&s, "GET", V1 "/experiments", NULL, brief), 200);
    const int64_t over = clock_mono_ms() + 1100;
    service_stop(&s);
    service_restart(&s);
    (void)snprintf(socket, sizeof socket, "%s/state/api.sock", s.folder);
    for (int i = 0; i < 2; i++) {
        struct answer me = call_with(&s, "GET", V1 "/me", NULL, ada, NULL, NULL);
        cr_assert(strcmp(json_get_string(me.json, "user", ""), "ada") == 0 &&
                      strcmp(json_get_string(me.json, "role", ""), "user") == 0 &&
                      strcmp(json_get_string(me.json, "by", ""), "token") == 0 &&
                      strcmp(json_get_string(me.json, "via", ""), i ? "socket" : "loopback") == 0,
                  "%s", me.body);
        answer_free(&me);
        s.unix_socket = socket;
    }
    s.unix_socket = NULL;
    struct answer list = call_with(&s, "GET", TOKENS, NULL, ada, NULL, NULL);
    const cJSON *first = cJSON_GetArrayItem(json_get(list.json, "items"), 0);
    cr_assert(cJSON_GetArraySize(json_get(list.json, "items")) == 2 &&
                  json_get_int(first, "id", 0) == id && json_get(first, "token") == NULL &&
                  json_get_string(first, "last_used_at", NULL) != NULL &&
                  strstr(list.body, ada) == NULL,
              "%s", list.body);
    answer_free(&list);
    while (clock_mono_ms() < over) sleep_ms(20);
    const char *const wrong[] = { brief, "spk_none", "", ada + 4 };
    for (size_t i = 0; i < 4; i++) {
        struct answer a = call_with(&s, "GET", V1 "/experiments", NULL, wrong[i], NULL, NULL);
        cr_assert(a.status == 401 && strstr(a.head, "WWW-Authenticate: Bearer") != NULL,
                  "'%s': %ld", wrong[i], a.status);
        answer_free(&a);
    }
    struct answer basic = call_with(&s, "GET", V1 "/me", NULL, NULL, NULL,
                                    "Authorization: Basic YWRhOng=");
    cr_assert_eq(basic.status, 401);
    answer_free(&basic);
    struct answer both = call_with(&s, "GET", V1 "/me", NULL, ada, NULL,
                                   "Authorization: Bearer spk_x");
    cr_assert_eq(both.status, 401);
    answer_free(&both);
    revoke_token(&s, id);
    cr_assert_eq(status_of(&s, "GET", V1 "/experiments", NULL, ada), 401);
    service_end(&s);
}

/* Goal: nobody makes a token that is worth more than they are, nor for others, nor without end. */
Test(people, tokens_are_bounded, .timeout = 30)
{
    struct service s = { 0 };
    char user[80], viewer[80], brief[80], token[80];
    service_start(&s);
    (void)make_token(&s, "\"user\": \"ada\", \"role\": \"user\"", user);
    (void)make_token(&s, "\"user\": \"eve\", \"role\": \"viewer\"", viewer);
    (void)make_token(&s, "\"user\": \"bob\", \"role\": \"user\", \"expires_in_s\": 3600", brief);
    expect_fault(&s, user, "{\"name\": \"x\", \"role\": \"admin\"}", "/role", "at most your own");
    expect_fault(&s, viewer, "{\"name\": \"x\", \"role\": \"user\"}", "/role", "viewer");
    expect_fault(&s, user, "{\"name\": \"x\", \"user\": \"eve\"}", "/user", "only admins");
    expect_fault(&s, user, "{\"role\": \"user\"}", "/name", "what it is for");
    expect_fault(&s, NULL, "{\"name\": \"x\", \"user\": \"uid7\"}", "/user", "uid7");
    expect_fault(&s, NULL, "{\"name\": \"x\", \"expires_in_s\": 0}", "/expires_in_s", "from 1");
    expect_fault(&s, NULL, "{\"name\": \"a\\nb\"}", "/name", "a line");
    expect_fault(&s, NULL, "{\"name\": \"x\", \"rolle\": \"user\"}", "", "did you mean role");
    struct answer a = call_with(&s, "POST", TOKENS, "{\"name\": \"x\"}", brief, NULL, NULL);
    cr_assert(a.status == 201 && json_get_string(a.json, "expires_at", NULL) != NULL, "%s", a.body);
    answer_free(&a);
    for (int i = 1; i < TOKENS_PER_USER; i++)
        (void)make_token(&s, "\"user\": \"ada\", \"role\": \"viewer\"", token);
    a = call_with(&s, "POST", TOKENS, "{\"name\": \"x\"}", user, NULL, NULL);
    cr_assert(a.status == 409 && strstr(a.body, "50 tokens") != NULL, "%ld %s", a.status, a.body);
    answer_free(&a);
    cr_assert_eq(status_of(&s, "GET", V1 "/experiments", NULL, token), 200);
    service_end(&s);
}

/* ---- roles ----------------------------------------------------------------------------------- */
static void patch_user(const struct service *s, const char *name, const char *body, long status)
{
    char path[80];
    (void)snprintf(path, sizeof path, V1 "/users/%s", name);
    struct answer a = http_call(s, "PATCH", path, body, NULL);
    cr_assert(a.status == status, "%s %s: %ld %s", name, body, a.status, a.body);
    answer_free(&a);
}

/* Goal: what an admin says of a user counts at once, for tokens and for the account on this
 * machine, and after a restart; nobody can shut out the daemon's own account. */
Test(people, roles_change_at_once, .timeout = 30)
{
    struct service s = { 0 };
    char ada[80];
    service_start(&s);
    (void)make_token(&s, "\"user\": \"ada\", \"role\": \"user\"", ada);
    const char *path = V1 "/experiments"; /* 400: let in, for an empty spec */
    cr_assert_eq(status_of(&s, "POST", path, "{}", ada), 400);
    patch_user(&s, "ada", "{\"role\": \"viewer\"}", 200);
    cr_assert_eq(status_of(&s, "POST", path, "{}", ada), 403);
    cr_assert_eq(status_of(&s, "GET", path, NULL, ada), 200);
    patch_user(&s, "ada", "{\"disabled\": true, \"role\": \"user\"}", 200);
    struct answer a = call_with(&s, "GET", path, NULL, ada, NULL, NULL);
    cr_assert(a.status == 403 && strstr(a.body, "ada is disabled") != NULL, "%s", a.body);
    answer_free(&a);
    cr_assert_eq(status_of(&s, "POST", V1 "/sessions", "{}", ada), 403);
    service_stop(&s);
    service_restart(&s);
    cr_assert_eq(status_of(&s, "GET", path, NULL, ada), 403);
    patch_user(&s, "ada", "{\"disabled\": false}", 200);
    cr_assert_eq(status_of(&s, "POST", path, "{}", ada), 400);
    patch_user(&s, "ada", "{\"role\": null}", 400);
    patch_user(&s, "ada", "{\"role\": \"king\"}", 400);
    patch_user(&s, "nobody-knows", "{\"role\": \"user\"}", 404);
    if (geteuid() == 0) {
        patch_user(&s, "root", "{\"disabled\": true}", 409);
        cr_assert_eq(http_status_as(&s, PERSON, "POST", path, "{}"), 400);
        patch_user(&s, "uid4711", "{\"role\": \"viewer\"}", 200);
        cr_assert_eq(http_status_as(&s, PERSON, "POST", path, "{}"), 403);
        patch_user(&s, "uid4711", "{\"disabled\": true}", 200);
        cr_assert_eq(http_status_as(&s, PERSON, "GET", path, NULL), 403);
        patch_user(&s, "uid4711", "{\"disabled\": false, \"role\": null}", 200);
        cr_assert_eq(http_status_as(&s, PERSON, "POST", path, "{}"), 400);
    }
    service_end(&s);
}

/* ---- audit ----------------------------------------------------------------------------------- */
static struct answer audit(const struct service *s, const char *query)
{
    char path[200];
    (void)snprintf(path, sizeof path, V1 "/audit%s", query);
    struct answer a = http_get(s, path);
    cr_assert(a.status == 200, "%s: %ld %s", path, a.status, a.body);
    return a;
}

static bool is_row(const cJSON *row, const char *actor, const char *method, const char *object,
                   int64_t status)
{
    return strcmp(json_get_string(row, "actor", ""), actor) == 0 &&
           strcmp(json_get_string(row, "method", ""), method) == 0 &&
           strcmp(json_get_string(row, "object", ""), object) == 0 &&
           json_get_int(row, "status", 0) == status &&
           strncmp(json_get_string(row, "request_id", ""), "r-", 2) == 0;
}

/* The newest row of the query; its status is written when the answer has gone out. */
static void expect_row(const struct service *s, const char *query, const char *actor,
                       const char *method, const char *object, int64_t status)
{
    for (int64_t until = clock_mono_ms() + 3000;; sleep_ms(10)) {
        struct answer a = audit(s, query);
        const cJSON *row = cJSON_GetArrayItem(json_get(a.json, "items"), 0);
        const bool found = is_row(row, actor, method, object, status);
        cr_assert(found || clock_mono_ms() < until, "%s: wanted %s %s %s %lld, got %s", query,
                  actor, method, object, (long long)status, a.body);
        answer_free(&a);
        if (found) return;
    }
}

/* Goal: who changed what, and who was refused, can be read afterwards, by person and by object, in
 * pages, over a restart; reads and dry runs leave no row, and secrets none at all. */
Test(people, changes_are_audited, .timeout = 30)
{
    struct service s = { 0 };
    char ada[80], eve[80], self[80];
    service_start(&s);
    struct answer me = http_get(&s, V1 "/me");
    (void)snprintf(self, sizeof self, "%s", json_get_string(me.json, "user", ""));
    answer_free(&me);
    (void)make_token(&s, "\"user\": \"ada\", \"role\": \"user\"", ada);
    (void)make_token(&s, "\"user\": \"eve\", \"role\": \"user\"", eve);
    cr_assert_eq(status_of(&s, "POST", V1 "/queue/pause", "{}", NULL), 200);
    char *spec = small_spec(1, NULL);
    cr_assert_eq(status_of(&s, "POST", V1 "/experiments", spec, ada), 201);
    expect_row(&s, "?actor=ada", "ada", "POST", "experiment/1", 201);
    cr_assert_eq(status_of(&s, "POST", V1 "/experiments?dry_run=true", spec, eve), 200);
    cr_assert_eq(status_of(&s, "GET", V1 "/experiments", NULL, eve), 200);
    cr_assert_eq(status_of(&s, "POST", V1 "/experiments/1/cancel", "{}", eve), 403);
    expect_row(&s, "?actor=eve", "eve", "POST", "experiment/1", 403);
    cr_assert_eq(status_of(&s, "POST", V1 "/queue/resume", "{}", eve), 403);
    expect_row(&s, "?object=queue", "eve", "POST", "queue", 403);
    cr_assert_eq(status_of(&s, "PATCH", V1 "/experiments/1", "{\"name\": \"n\"}", ada), 200);
    cr_assert_eq(status_of(&s, "POST", V1 "/experiments/1/clone", "{}", eve), 201);
    expect_row(&s, "?object=experiment/2", "eve", "POST", "experiment/2", 201);
    expect_row(&s, "?object=experiment/1", "ada", "PATCH", "experiment/1", 200);
    struct answer a = audit(&s, "?actor=eve");
    cr_assert_eq(cJSON_GetArraySize(json_get(a.json, "items")), 3, "%s", a.body);
    answer_free(&a);
    cr_assert_eq(status_of(&s, "POST", V1 "/experiments", spec, "spk_wrong"), 401);
    service_stop(&s);
    service_restart(&s);
    patch_user(&s, "eve", "{\"disabled\": true}", 200);
    expect_row(&s, "?object=user/eve", self, "PATCH", "user/eve", 200);
    int64_t seen = 0;
    char query[80] = "?limit=3";
    for (int page = 0; page < 3; page++) { /* 2 tokens, pause, 2 experiments, 3 by eve and ada, 1 */
        a = audit(&s, query);
        seen += cJSON_GetArraySize(json_get(a.json, "items"));
        cr_assert(strstr(a.body, "spk_") == NULL, "%s", a.body);
        const char *next = json_get_string(a.json, "next_cursor", "");
        cr_assert((next[0] == '\0') == (page == 2), "page %d: %s", page, a.body);
        (void)snprintf(query, sizeof query, "?limit=3&cursor=%s", next);
        answer_free(&a);
    }
    cr_assert_eq(seen, 9);
    cr_assert_eq(status_of(&s, "GET", V1 "/audit", NULL, ada), 403);
    mem_free(spec);
    service_end(&s);
}
