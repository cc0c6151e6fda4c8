/* token_command: see token_command.h. */
#include "server/token_command.h"

#include "common/config.h"
#include "common/mem.h"
#include "server/socket_client.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define EXPIRES_MAX_S ((int64_t)10 * 366 * 86400)

struct token_options {
    char *socket, *state_dir, *name, *user, *role;
    int64_t expires_in_s; /* 0 = never */
};
#define AT(member) offsetof(struct token_options, member)
static const struct config_row rows[] = {
    { "socket", CONFIG_STRING, AT(socket), NULL, 0, 0, NULL, "PATH", "of the daemon" },
    { "state-dir", CONFIG_STRING, AT(state_dir), "state", 0, 0, NULL, "DIR", "holds api.sock" },
    { "name", CONFIG_STRING, AT(name), NULL, 0, 0, NULL, "TEXT", "what the token is for" },
    { "user", CONFIG_STRING, AT(user), NULL, 0, 0, NULL, "NAME", "whose it is; yours" },
    { "role", CONFIG_STRING, AT(role), NULL, 0, 0, NULL, "ROLE", "viewer, user or admin" },
    { "expires-in-s", CONFIG_INT, AT(expires_in_s), "0", 0, EXPIRES_MAX_S, NULL, "SECONDS",
      "0 = never" },
};
#define ROWS (sizeof rows / sizeof rows[0])

static int create(const char *socket, const struct token_options *o, struct err *e)
{
    cJSON *body = cJSON_CreateObject(), *answer = NULL;
    const bool ok = body != NULL &&
                    cJSON_AddStringToObject(body, "name",
                                            o->name != NULL ? o->name : "command line") != NULL &&
                    (o->user == NULL || cJSON_AddStringToObject(body, "user", o->user) != NULL) &&
                    (o->role == NULL || cJSON_AddStringToObject(body, "role", o->role) != NULL) &&
                    (o->expires_in_s == 0 || json_add_int(body, "expires_in_s", o->expires_in_s));
    char *text = ok ? json_print(body, NULL) : NULL;
    if (text == NULL) (void)err_set(e, ERR_NOMEM, "request");
    else (void)socket_client_call(socket, "POST", "/api/v1/tokens", text, &answer, e);
    if (e->code == ERR_OK) {
        (void)fprintf(stderr, "token %lld of %s, role %s, until %s; it is not shown again\n",
                      (long long)json_get_int(answer, "id", 0), json_get_string(answer, "user", ""),
                      json_get_string(answer, "role", ""),
                      json_get_string(answer, "expires_at", "it is revoked"));
        (void)printf("%s\n", json_get_string(answer, "token", ""));
    }
    mem_free(text);
    cJSON_Delete(body);
    cJSON_Delete(answer);
    return (int)e->code;
}

static int list(const char *socket, struct err *e)
{
    cJSON *answer = NULL;
    const cJSON *t;
    if (socket_client_call(socket, "GET", "/api/v1/tokens", NULL, &answer, e) != 0)
        return (int)e->code;
    cJSON_ArrayForEach(t, json_get(answer, "items")) {
        (void)printf("%lld\t%s\t%s\t%s\tuntil %s\tused %s\n", (long long)json_get_int(t, "id", 0),
                     json_get_string(t, "user", ""), json_get_string(t, "role", ""),
                     json_get_string(t, "name", ""), json_get_string(t, "expires_at", "revoked"),
                     json_get_string(t, "last_used_at", "never"));
    }
    cJSON_Delete(answer);
    return 0;
}

static int revoke(const char *socket, const char *id, struct err *e)
{
    char path[80];
    cJSON *answer = NULL;
    if (id[0] == '\0' || strlen(id) > 18 || strspn(id, "0123456789") != strlen(id))
        return err_set(e, ERR_INVALID, "'%.40s' is not the number of a token", id);
    (void)snprintf(path, sizeof path, "/api/v1/tokens/%s", id);
    const int rc = socket_client_call(socket, "DELETE", path, NULL, &answer, e);
    cJSON_Delete(answer);
    return rc;
}

int token_command(int argc, char **argv, struct err *e)
{
    struct token_options o = { 0 };
    char socket[PATH_MAX];
    int rc = config_load(rows, ROWS, "SPIKED_TOKEN", NULL, &argc, argv, &o, e);
    const char *verb = argc > 1 ? argv[1] : "";
    if (rc == 0) {
        if (o.socket != NULL) (void)snprintf(socket, sizeof socket, "%s", o.socket);
        else (void)snprintf(socket, sizeof socket, "%s/api.sock", o.state_dir);
        if (strcmp(verb, "create") == 0 && argc == 2) rc = create(socket, &o, e);
        else if (strcmp(verb, "list") == 0 && argc == 2) rc = list(socket, e);
        else if (strcmp(verb, "revoke") == 0 && argc == 3) rc = revoke(socket, argv[2], e);
        else
            rc = err_set(e, ERR_INVALID,
                         "say create [--name TEXT] [--user NAME] [--role ROLE] [--expires-in-s N],"
                         " list, or revoke ID; --socket PATH or --state-dir DIR finds the daemon");
    }
    config_deinit(rows, ROWS, &o);
    return rc;
}
