/* The story of the table of permissions: every cell that `spiked permissions` prints (and
 * docs/api.md shows) is asked of the running daemon, by tokens of each role and by accounts of this
 * machine, of own and other people's objects. No request changes anything: what is let in fails for
 * its body. */
#include "common/mem.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define V1 "/api/v1"
#define X V1 "/experiments/{}"
#define S V1 "/sweeps/{}"
#define PERSON 4711 /* an account of this machine, as far as the kernel knows */
#define SYSTEM 33   /* a system user */
#define ROUTES_MAX 100

enum column { NOBODY, VIEWER_OWN, VIEWER_OTHER, USER_OWN, USER_OTHER, ADMIN, COLUMNS };
struct row {
    char request[80];   /* "GET /api/v1/experiments/{}" */
    int cells[COLUMNS]; /* 0 = yes, or a status */
    bool asked[COLUMNS];
};

/* What is asked of each route, and the answer to those who may. {} is an object's number. */
static const struct recipe {
    const char *request, *path, *body;
    long allowed;
} recipes[] = {
    { "POST " V1 "/experiments", V1 "/experiments", "{}", 400 },
    { "GET " V1 "/experiments", V1 "/experiments", NULL, 200 },
    { "POST " V1 "/experiments/batch", V1 "/experiments/batch", "{\"colour\": 1}", 400 },
    { "GET " X, X, NULL, 200 },
    { "PATCH " X, X, "{\"colour\": 1}", 400 },
    { "DELETE " X, X, "{\"colour\": 1}", 400 },
    { "POST " X "/restore", X "/restore", "{\"colour\": 1}", 400 },
    { "POST " X "/cancel", X "/cancel", "{\"colour\": 1}", 400 },
    { "POST " X "/pause", X "/pause", "{\"colour\": 1}", 400 },
    { "POST " X "/resume", X "/resume", "{\"colour\": 1}", 400 },
    { "POST " X "/retry", X "/retry", "{\"colour\": 1}", 400 },
    { "POST " X "/move", X "/move", "{\"colour\": 1}", 400 },
    { "POST " X "/clone", X "/clone", "{\"colour\": 1}", 400 },
    { "GET " X "/queue", X "/queue", NULL, 200 },
    { "GET " X "/attempts", X "/attempts", NULL, 200 },
    { "GET " X "/metrics", X "/metrics", NULL, 200 },
    { "GET " X "/metrics/{...}", X "/metrics/train/loss", NULL, 404 }, /* nothing ran yet */
    { "GET " X "/monitors", X "/monitors", NULL, 200 },
    { "GET " X "/monitors/{}/{}", X "/monitors/2/raster", NULL, 200 },
    { "GET " X "/monitors/{}/{}/{}", X "/monitors/2/raster/last", NULL, 404 },
    { "GET " X "/profile", X "/profile", NULL, 404 },
    { "GET " X "/logs", X "/logs", NULL, 404 },
    { "GET " X "/artifacts", X "/artifacts", NULL, 404 },
    { "GET " X "/artifacts.tar", X "/artifacts.tar", NULL, 404 },
    { "GET " X "/artifacts/{...}", X "/artifacts/weights.safetensors", NULL, 404 },
    { "POST " V1 "/sweeps", V1 "/sweeps", "{}", 400 },
    { "GET " V1 "/sweeps", V1 "/sweeps", NULL, 200 },
    { "GET " S, S, NULL, 200 },
    { "PATCH " S, S, "{\"colour\": 1}", 400 },
    { "DELETE " S, S, "{\"colour\": 1}", 400 },
    { "POST " S "/pause", S "/pause", "{\"colour\": 1}", 400 },
    { "POST " S "/resume", S "/resume", "{\"colour\": 1}", 400 },
    { "POST " S "/cancel", S "/cancel", "{\"colour\": 1}", 400 },
    { "POST " S "/retry-failed", S "/retry-failed", "{\"colour\": 1}", 400 },
    { "GET " V1 "/datasets", V1 "/datasets", NULL, 200 },
    { "GET " V1 "/queue", V1 "/queue", NULL, 200 },
    { "POST " V1 "/queue/pause", V1 "/queue/pause", "{\"colour\": 1}", 400 },
    { "POST " V1 "/queue/resume", V1 "/queue/resume", "{\"colour\": 1}", 400 },
    { "POST " V1 "/admin/drain", V1 "/admin/drain", "{\"colour\": 1}", 400 },
    { "POST " V1 "/admin/undrain", V1 "/admin/undrain", "{\"colour\": 1}", 400 },
    { "POST " V1 "/admin/gc", V1 "/admin/gc", "{\"colour\": 1}", 400 },
    { "POST " V1 "/admin/backup", V1 "/admin/backup", "{\"colour\": 1}", 400 },
    { "GET " V1 "/events", V1 "/events?topics=colours", NULL, 400 },
    { "POST " V1 "/tokens", V1 "/tokens", "{\"colour\": 1}", 400 },
    { "GET " V1 "/tokens", V1 "/tokens", NULL, 200 },
    { "DELETE " V1 "/tokens/{}", V1 "/tokens/{}", "{\"colour\": 1}", 400 },
    { "POST " V1 "/sessions", V1 "/sessions", "{\"colour\": 1}", 400 },
    { "DELETE " V1 "/sessions", V1 "/sessions", "{}", 409 },
    { "GET " V1 "/users", V1 "/users", NULL, 200 },
    { "PATCH " V1 "/users/{}", V1 "/users/vera", "{\"colour\": 1}", 400 },
    { "GET " V1 "/audit", V1 "/audit", NULL, 200 },
    { "GET " V1 "/me", V1 "/me", NULL, 200 },
    { "GET " V1 "/schema", V1 "/schema", NULL, 200 },
    { "GET " V1 "/version", V1 "/version", NULL, 200 },
    { "GET /healthz", "/healthz", NULL, 200 },
    { "GET /readyz", "/readyz", NULL, 200 },
    { "GET /metrics", "/metrics", NULL, 200 },
    { "GET /", "/", NULL, 200 },
    { "GET /app.js", "/app.js", NULL, 200 },
    { "GET /app.css", "/app.css", NULL, 200 },
    { "GET /login.js", "/login.js", NULL, 200 },
    { "GET /worker/v1/spec", "/worker/v1/spec", NULL, 200 },
    { "POST /worker/v1/hello", "/worker/v1/hello", "{}", 200 },
    { "POST /worker/v1/renew", "/worker/v1/renew", "{}", 200 },
    { "POST /worker/v1/frames", "/worker/v1/frames", "", 200 },
    { "POST /worker/v1/finish", "/worker/v1/finish", "{}", 200 },
};

static const struct recipe *recipe_of(const char *request)
{
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++)
        if (strcmp(recipes[i].request, request) == 0) return &recipes[i];
    cr_assert(false, "nothing here asks for %s", request);
    return NULL;
}

/* ---- the table ------------------------------------------------------------------------------- */
static bool read_row(char *line, struct row *row)
{
    char *cell = strchr(line, '`');
    if (cell == NULL) return false;
    const size_t n = strcspn(cell + 1, "`");
    (void)snprintf(row->request, sizeof row->request, "%.*s", (int)n, cell + 1);
    cell += n + 2;
    for (int i = 0; i < COLUMNS; i++) {
        cell = strchr(cell, '|');
        cr_assert(cell != NULL, "%s has too few cells", row->request);
        cell++;
        row->cells[i] = strncmp(cell, " yes ", 5) == 0 ? 0 : (int)strtol(cell, NULL, 10);
        cr_assert(row->cells[i] == 0 || row->cells[i] >= 400, "%s: '%s'", row->request, cell);
    }
    return true;
}

static size_t read_table(struct row *rows)
{
    char command[300], line[400];
    const char *program = getenv("SPIKED_PROGRAM");
    (void)snprintf(command, sizeof command, "%s permissions",
                   program != NULL ? program : "build/spiked");
    FILE *f = popen(command, "r");
    size_t n = 0;
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (n < ROUTES_MAX && read_row(line, &rows[n])) n++;
    cr_assert(f != NULL && pclose(f) == 0);
    cr_assert(n == sizeof recipes / sizeof recipes[0], "%zu routes, %zu are asked for", n,
              sizeof recipes / sizeof recipes[0]);
    return n;
}

/* ---- who asks -------------------------------------------------------------------------------- */
struct actor {
    const char *name;
    enum column own, other;
    char token[80];               /* "" = none: the peer counts */
    uid_t uid;                    /* 0 = this test itself */
    const char *socket;           /* NULL = TCP */
    int64_t experiment, token_id; /* own ones; 0 = has none */
};

static int64_t other_experiment, other_token;

static struct answer call(const struct service *s, const struct actor *a, const char *method,
                          const char *path, const char *body)
{
    char header[120];
    (void)snprintf(header, sizeof header, "Authorization: Bearer %s", a->token);
    const char *const headers[] = { header, NULL };
    struct service through = *s;
    through.unix_socket = a->socket;
    if (a->uid == 0) return http_call(&through, method, path, body, a->token[0] ? headers : NULL);
    return (struct answer){ .status = http_status_as(s, a->uid, method, path, body) };
}

static void ask_cell(const struct service *s, const struct actor *a, struct row *row, bool own)
{
    const struct recipe *q = recipe_of(row->request);
    const enum column column = own ? a->own : a->other;
    const bool tokens = strstr(q->path, "/tokens/") != NULL;
    const int64_t id = own ? (tokens ? a->token_id : a->experiment)
                           : (tokens ? other_token : other_experiment);
    char method[8], path[200];
    (void)snprintf(method, sizeof method, "%.*s", (int)strcspn(q->request, " "), q->request);
    const char *at = strstr(q->path, "{}");
    if (at == NULL) (void)snprintf(path, sizeof path, "%s", q->path);
    else
        (void)snprintf(path, sizeof path, "%.*s%lld%s", (int)(at - q->path), q->path, (long long)id,
                       at + 2);
    const long wanted = row->cells[column] == 0 ? q->allowed : row->cells[column];
    struct answer got = call(s, a, method, path, q->body);
    cr_expect(got.status == wanted, "%s, %s object: %s %s gave %ld, the table says %ld: %s",
              a->name, own ? "own" : "another's", method, path, got.status, wanted,
              got.body != NULL ? got.body : "");
    answer_free(&got);
    row->asked[column] = true;
}

static void ask(const struct service *s, const struct actor *a, struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ask_cell(s, a, &rows[i], false);
        if (a->experiment != 0) ask_cell(s, a, &rows[i], true);
    }
}

/* ---- the stage ------------------------------------------------------------------------------- */
static int64_t make_token(const struct service *s, const char *user, const char *role,
                          char token[80])
{
    char *body = mem_printf("{\"name\": \"story\", \"user\": \"%s\", \"role\": \"%s\"}", user,
                            role);
    struct answer a = http_post(s, V1 "/tokens", body);
    cr_assert(a.status == 201, "%s: %ld %s", body, a.status, a.body);
    if (token != NULL) (void)snprintf(token, 80, "%s", json_get_string(a.json, "token", ""));
    const int64_t id = json_get_int(a.json, "id", 0);
    answer_free(&a);
    mem_free(body);
    return id;
}

/* A sweep of one experiment: both have the same number, as no other ones are made. */
static int64_t submit_as(const struct service *s, const struct actor *a, const char *spec)
{
    static int64_t made;
    char *body = mem_printf("{\"name\": \"x\", \"base\": %s, \"space\": {\"/seed\": {\"values\": "
                            "[1]}}, \"strategy\": {\"type\": \"grid\"}}",
                            spec);
    struct answer got = call(s, a, "POST", V1 "/sweeps", body);
    mem_free(body);
    cr_assert_eq(got.status, 201, "%s", a->name);
    answer_free(&got);
    return ++made;
}

/* Goal: what each role may do is what the table says, in every cell, whichever way they come. */
Test(permissions, every_cell_holds, .timeout = 60)
{
    struct service s = { 0 };
    static struct row rows[ROUTES_MAX];
    const size_t n = read_table(rows);
    char socket[200];
    service_start(&s);
    (void)snprintf(socket, sizeof socket, "%s/state/api.sock", s.folder);
    struct answer paused = http_post(&s, V1 "/queue/pause", "{}");
    cr_assert_eq(paused.status, 200);
    answer_free(&paused);
    struct actor user = { .name = "a user's token", .own = USER_OWN, .other = USER_OTHER };
    struct actor viewer = { .name = "a viewer's token", .own = VIEWER_OWN, .other = VIEWER_OTHER };
    struct actor admin = { .name = "an admin's token", .own = ADMIN, .other = ADMIN };
    struct actor here = { .name = "the daemon's account", .own = ADMIN, .other = ADMIN };
    struct actor by_socket = here;
    by_socket.socket = socket;
    user.token_id = make_token(&s, "vera", "user", user.token);
    viewer.token_id = make_token(&s, "vera", "viewer", viewer.token);
    (void)make_token(&s, "boss", "admin", admin.token);
    char *spec = small_spec(1, NULL);
    user.experiment = viewer.experiment = submit_as(&s, &user, spec);
    other_experiment = submit_as(&s, &here, spec);
    other_token = make_token(&s, "boss", "user", NULL);
    struct actor *const actors[] = { &user, &viewer, &admin, &here, &by_socket };
    for (size_t i = 0; i < sizeof actors / sizeof actors[0]; i++) ask(&s, actors[i], rows, n);
    if (geteuid() == 0) {
        struct actor person = {
            .name = "an account", .own = USER_OWN, .other = USER_OTHER, .uid = PERSON
        };
        const struct actor nobody = {
            .name = "a system user", .own = NOBODY, .other = NOBODY, .uid = SYSTEM
        };
        person.experiment = submit_as(&s, &person, spec);
        person.token_id = make_token(&s, "uid4711", "user", NULL);
        ask(&s, &person, rows, n);
        ask(&s, &nobody, rows, n);
    }
    for (size_t i = 0; i < n; i++)
        for (int c = geteuid() == 0 ? NOBODY : VIEWER_OWN; c < COLUMNS; c++)
            cr_expect(rows[i].asked[c], "%s: column %d was not asked", rows[i].request, c);
    struct answer list = http_get(&s, V1 "/experiments?state=queued");
    cr_expect_eq(json_get_int(list.json, "total", 0), geteuid() == 0 ? 3 : 2, "%s", list.body);
    answer_free(&list);
    mem_free(spec);
    service_end(&s);
}
