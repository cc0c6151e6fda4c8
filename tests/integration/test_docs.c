/* Stories of the documents: what README.md and docs/ show is run as it stands, and the parts that
 * are made from tables in the code are up to date. Runs in the root of the repository. */
#include "common/mem.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPERATIONS "docs/operations.md"

static char *read_text(FILE *f)
{
    char *text = mem_alloc(1 << 20);
    const size_t n = f != NULL ? fread(text, 1, (1 << 20) - 1, f) : 0;
    text[n] = '\0';
    return text;
}

static char *file_text(const char *path)
{
    FILE *f = fopen(path, "r");
    cr_assert(f != NULL, "%s is missing", path);
    char *text = read_text(f);
    (void)fclose(f);
    return text;
}

/* Output of a shell command; *status is its exit code. */
static char *shell(const char *command, int *status)
{
    FILE *p = popen(command, "r");
    char *text = read_text(p);
    const int rc = pclose(p);
    *status = WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
    return text;
}

static char *replaced(const char *text, const char *what, const char *by)
{
    const char *at = strstr(text, what);
    if (at == NULL) return mem_strdup(text);
    char *rest = replaced(at + strlen(what), what, by);
    char *out = mem_printf("%.*s%s%s", (int)(at - text), text, by, rest);
    mem_free(rest);
    return out;
}

/* The quick start with two epochs instead of eight. */
static void write_quick_start(const struct service *s)
{
    char path[200];
    char *spec = file_text("examples/quickstart.json"),
         *short_one = replaced(spec, "\"epochs\": 8", "\"epochs\": 2");
    (void)snprintf(path, sizeof path, "%s/quickstart.json", s->folder);
    FILE *f = fopen(path, "w");
    cr_assert(f != NULL && strcmp(spec, short_one) != 0 && fputs(short_one, f) >= 0 &&
              fclose(f) == 0);
    mem_free(spec);
    mem_free(short_one);
}

/* A line of README.md, made to fit this test: its port, its folder, a short training. */
static char *fitted(const struct service *s, const char *line)
{
    char run[200], port[40], quick[200];
    (void)snprintf(run, sizeof run, "%s/run", s->folder);
    (void)snprintf(quick, sizeof quick, "@%s/quickstart.json", s->folder);
    (void)snprintf(port, sizeof port, "127.0.0.1:%d", s->port);
    char *a = replaced(line, "127.0.0.1:8080", port);
    char *b = replaced(a, "/tmp/run", run);
    char *c = replaced(b, " --out ", " --max-steps 3 --out ");
    char *d = replaced(c, "curl -N", "curl -sN --max-time 2");
    char *e = replaced(d, "curl -sO", "curl -sf -o /dev/null");
    char *f = replaced(e, "@examples/quickstart.json", quick);
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(d);
    mem_free(e);
    return f;
}

static void run_line(const struct service *s, const char *line)
{
    char *command = fitted(s, line);
    int status;
    char *output = shell(command, &status);
    const bool stream = strstr(line, "curl -N") != NULL;
    cr_assert(status == 0 || (stream && status == 28), "%s\nended with %d: %s", command, status,
              output);
    const bool shows_faults = strstr(line, "time_stepz") != NULL;
    const bool problem = strstr(output, "\"code\":\"") != NULL &&
                         strstr(output, "\"request_id\"") != NULL;
    cr_assert(problem == shows_faults, "%s\nanswered %.400s", command, output);
    mem_free(output);
    mem_free(command);
}

/* Goal: every shell line of README.md works, in its order, but for cloning and make itself. */
Test(docs, the_readme_works, .timeout = 120)
{
    struct service s = { .extra = { "--max-running", "2" } };
    service_start(&s);
    char *text = file_text("README.md");
    int lines = 0;
    bool inside = false;
    char *rest = text;
    write_quick_start(&s);
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (strncmp(line, "```", 3) == 0) inside = strcmp(line, "```sh") == 0;
        else if (inside && line[0] != '#' && line[0] != '\0' && strncmp(line, "git ", 4) != 0 &&
                 strncmp(line, "make ", 5) != 0) {
            if (strstr(line, "/metrics/train/loss") != NULL) cr_assert(wait_step(&s, 1, 5, 60));
            if (strstr(line, "/monitors/") != NULL) cr_assert(wait_step(&s, 1, 120, 60));
            if (strstr(line, "/artifacts/") != NULL) cr_assert(wait_state(&s, 1, "succeeded", 60));
            run_line(&s, line);
            lines++;
        }
    }
    cr_assert(lines >= 12, "only %d lines were found", lines);
    mem_free(text);
    for (int64_t id = 1; id <= 5; id++) {
        char path[80];
        (void)snprintf(path, sizeof path, "/api/v1/experiments/%lld/cancel", (long long)id);
        struct answer a = http_post(&s, path, "{\"grace_s\": 1}");
        answer_free(&a);
        if (id < 5) (void)wait_state(&s, id, "cancelled|failed|succeeded", 20);
    }
    service_end(&s);
}

/* Runs the shell lines of a document from one chapter to another, with the folder of s for
 * its own; how many. Lines that begin with `skipped` are not run. */
static int run_chapters(const struct service *s, const char *file, const char *from, const char *to,
                        const char *skipped)
{
    static const char *const names[][2] = { { "--state-dir state", "@/state" },
                                            { "state/api.sock", "@/state/api.sock" },
                                            { "/tmp/spiked-2026", "@/spiked-2026" },
                                            { "restored-state", "@/restored-state" } };
    char *text = file_text(file), *rest = strstr(text, from);
    cr_assert(rest != NULL, "%s is missing", from);
    int lines = 0;
    bool inside = false;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && strcmp(line, to) != 0;) {
        if (strncmp(line, "```", 3) == 0) inside = strcmp(line, "```sh") == 0;
        else if (inside && strncmp(line, skipped, strlen(skipped)) != 0) {
            char *command = mem_strdup(line);
            for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
                char *with = i == 0 ? mem_printf("--state-dir %s", names[i][1])
                                    : mem_strdup(names[i][1]);
                char *more = replaced(command, names[i][0], with);
                mem_free(command);
                mem_free(with);
                command = more;
            }
            char *whole = replaced(command, "@/", "@FOLDER@/");
            char *ready = replaced(whole, "@FOLDER@", s->folder);
            run_line(s, ready);
            mem_free(ready);
            mem_free(whole);
            mem_free(command);
            lines++;
        }
    }
    mem_free(text);
    return lines;
}

/* Goal: every shell line of the chapter on people in docs/operations.md works, in its order. */
Test(docs, the_chapter_on_people_works, .timeout = 30)
{
    struct service s = { 0 };
    service_start(&s);
    const int lines = run_chapters(&s, OPERATIONS, "## People and tokens", "## Limits", "#");
    cr_assert_eq(lines, 8, "%d lines were found", lines);
    struct answer users = http_get(&s, "/api/v1/users");
    cr_assert(strstr(users.body, "\"name\":\"ada\"") != NULL &&
                  strstr(users.body, "\"disabled\":true") != NULL,
              "%s", users.body);
    answer_free(&users);
    service_end(&s);
}

/* Goal: so do those on backup, restore and deletion, but for the daemon of the restored directory.
 */
Test(docs, the_chapters_on_backup_and_deletion_work, .timeout = 30)
{
    struct service s = { 0 };
    service_start(&s);
    const int lines = run_chapters(&s, OPERATIONS, "## Backup",
                                   "## Why does it wait, why did it end", "build/spiked serve");
    cr_assert_eq(lines, 4, "%d lines were found", lines);
    service_end(&s);
}

/* Goal: every shell line of docs/api.md works. */
Test(docs, the_examples_of_the_api_work, .timeout = 60)
{
    struct service s = { 0 };
    service_start(&s);
    const int lines = run_chapters(&s, "docs/api.md", "# The HTTP API", "## Events", "#");
    cr_assert_eq(lines, 6, "%d lines were found", lines);
    for (int64_t id = 1; id <= 12; id++) cr_assert(wait_state(&s, id, "cancelled|succeeded", 30));
    service_end(&s);
}

/* Goal: the parts of the documents that the code prints are the same there. */
Test(docs, tables_are_up_to_date)
{
    int status;
    char *spec = shell("build/spiked spec-docs", &status), *file = file_text("docs/spec.md");
    cr_assert(status == 0 && strcmp(spec, file) == 0, "run: make docs/spec.md");
    mem_free(spec);
    mem_free(file);
    char *cycle = shell("build/spiked life-cycle", &status);
    file = file_text("docs/architecture.md");
    cr_assert(status == 0 && strlen(cycle) > 1000 && strstr(file, cycle) != NULL,
              "docs/architecture.md holds another table than build/spiked life-cycle prints");
    char *failures = shell("build/spiked failures", &status);
    cr_assert(status == 0 && strlen(failures) > 500 && strstr(file, failures) != NULL,
              "docs/architecture.md holds another table than build/spiked failures prints");
    char *permissions = shell("build/spiked permissions", &status), *api = file_text("docs/api.md");
    cr_assert(status == 0 && strlen(permissions) > 2000 && strstr(api, permissions) != NULL,
              "docs/api.md holds another table than build/spiked permissions prints");
    mem_free(permissions);
    mem_free(api);
    mem_free(failures);
    mem_free(cycle);
    mem_free(file);
}

/* Goal: every path of docs/api.md is served with its method. */
Test(docs, every_documented_path_is_served)
{
    struct service s = { 0 };
    service_start(&s);
    char *text = file_text("docs/api.md"), *rest = text;
    int paths = 0;
    bool in_table = false;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        char method[8], path[160];
        if (strncmp(line, "<!-- ", 5) == 0) in_table = strncmp(line, "<!-- perm", 9) == 0;
        if (in_table) continue; /* whole paths, also of workers: test_permissions asks them */
        if (sscanf(line, "| `%7[A-Z] /%150[^ `?]", method, path) != 2 || strchr(path, '{') != NULL)
            continue;
        if (strcmp(path, "events") == 0) continue; /* endless */
        char url[200];
        const bool outside = strcmp(path, "healthz") == 0 || strcmp(path, "readyz") == 0 ||
                             strcmp(path, "metrics") == 0;
        (void)snprintf(url, sizeof url, "%s/%s", outside ? "" : "/api/v1", path);
        struct answer a = http_call(&s, method, url, strcmp(method, "GET") == 0 ? NULL : "{}",
                                    NULL);
        cr_assert(a.status != 404 && a.status != 405, "%s %s: %ld", method, url, a.status);
        answer_free(&a);
        paths++;
    }
    cr_assert(paths >= 6, "only %d paths were found", paths);
    mem_free(text);
    service_end(&s);
}
