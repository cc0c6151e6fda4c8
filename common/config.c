/* config: see config.h. */
#include "common/config.h"

#include "common/json.h"
#include "common/mem.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 64
#define LINE_BYTES_MAX 4096

/* "state-dir" -> "state_dir" or "SPIKED_STATE_DIR" */
static void spell(const char *prefix, const char *name, bool upper, char *out, size_t size)
{
    size_t at = 0;
    for (; prefix != NULL && *prefix != '\0' && at + 2 < size; prefix++) out[at++] = *prefix;
    if (prefix != NULL) out[at++] = '_';
    for (; *name != '\0' && at + 1 < size; name++) {
        char c = *name == '-' ? '_' : *name;
        out[at++] = upper ? (char)toupper((unsigned char)c) : c;
    }
    out[at] = '\0';
}

static int parse_size(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || errno != 0) return -1;
    int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (shift != 0) end++;
    if (*end != '\0' || value > (INT64_MAX >> shift) || value < 0) return -1;
    *out = (int64_t)value << shift;
    return 0;
}

static int choice_index(const char *choices, const char *text)
{
    size_t n = strlen(text);
    int index = 0;
    for (const char *p = choices; p != NULL; index++) {
        const char *bar = strchr(p, '|');
        size_t length = bar != NULL ? (size_t)(bar - p) : strlen(p);
        if (length == n && memcmp(p, text, n) == 0) return index;
        p = bar != NULL ? bar + 1 : NULL;
    }
    return -1;
}

static int set_number(const struct config_row *r, const char *text, const char *where, void *at,
                      struct err *e)
{
    int64_t value;
    char *end;
    errno = 0;
    bool bad = r->type == CONFIG_SIZE
                   ? parse_size(text, &value) != 0
                   : (value = strtoll(text, &end, 10), end == text || *end != '\0' || errno != 0);
    if (bad || value < r->min || value > r->max) {
        return err_set(e, ERR_INVALID, "%s: '%.60s' must be a whole number from %lld to %lld",
                       where, text, (long long)r->min, (long long)r->max);
    }
    if (r->type == CONFIG_SIZE) {
        *(size_t *)at = (size_t)value;
    } else {
        *(int64_t *)at = value;
    }
    return 0;
}

static int set(const struct config_row *r, const char *text, const char *where, void *options,
               struct err *e)
{
    void *at = (char *)options + r->at;
    if (r->type == CONFIG_STRING) {
        char *copy = mem_strdup(text);
        if (copy == NULL) return err_set(e, ERR_NOMEM, "%s", where);
        mem_free(*(char **)at);
        *(char **)at = copy;
        return 0;
    }
    if (r->type == CONFIG_BOOL) {
        bool on = strcmp(text, "true") == 0, off = strcmp(text, "false") == 0;
        if (!on && !off) {
            return err_set(e, ERR_INVALID, "%s: '%.60s' must be true or false", where, text);
        }
        *(bool *)at = on;
        return 0;
    }
    if (r->type == CONFIG_CHOICE) {
        int index = choice_index(r->choices, text);
        if (index < 0) {
            return err_set(e, ERR_INVALID, "%s: '%.60s' must be one of %s", where, text,
                           r->choices);
        }
        *(int *)at = index;
        return 0;
    }
    return set_number(r, text, where, at, e);
}

static const struct config_row *find(const struct config_row *rows, size_t n, const char *name,
                                     size_t length)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(rows[i].name) == length && memcmp(rows[i].name, name, length) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

static int unknown(const struct config_row *rows, size_t n, const char *what, const char *name,
                   struct err *e)
{
    const char *names[ROWS_MAX];
    for (size_t i = 0; i < n; i++) names[i] = rows[i].name;
    const char *near = json_nearest(name, names, n);
    if (near == NULL) return err_set(e, ERR_INVALID, "unknown %s '%.60s'", what, name);
    return err_set(e, ERR_INVALID, "unknown %s '%.60s', did you mean '%s'?", what, name, near);
}

/* One "key = value" line; # begins a comment, blank lines are fine. */
static int file_line(const struct config_row *rows, size_t n, char *line, const char *where,
                     void *options, struct err *e)
{
    line[strcspn(line, "#\r\n")] = '\0';
    char *key = line + strspn(line, " \t");
    if (*key == '\0') return 0;
    char *equals = strchr(key, '=');
    if (equals == NULL) return err_set(e, ERR_INVALID, "%s: 'key = value' was expected", where);
    char *value = equals + 1 + strspn(equals + 1, " \t");
    for (char *p = equals; p > key && (p[-1] == ' ' || p[-1] == '\t'); p--) p[-1] = '\0';
    *equals = '\0';
    for (size_t length = strlen(value); length > 0 && isspace((unsigned char)value[length - 1]);) {
        value[--length] = '\0';
    }
    for (char *p = key; *p != '\0'; p++) {
        if (*p == '_') *p = '-';
    }
    const struct config_row *r = find(rows, n, key, strlen(key));
    if (r == NULL) {
        (void)unknown(rows, n, "key", key, e);
        return err_wrap(e, "%s", where);
    }
    return set(r, value, where, options, e);
}

static int load_file(const struct config_row *rows, size_t n, const char *path, void *options,
                     struct err *e)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) return err_errno(e, errno, "%s", path);
    char line[LINE_BYTES_MAX], where[200];
    int rc = 0;
    for (int number = 1; rc == 0 && fgets(line, sizeof line, f) != NULL; number++) {
        (void)snprintf(where, sizeof where, "%.150s line %d", path, number);
        rc = file_line(rows, n, line, where, options, e);
    }
    (void)fclose(f);
    return rc;
}

static int load_environment(const struct config_row *rows, size_t n, const char *prefix,
                            void *options, struct err *e)
{
    for (size_t i = 0; prefix != NULL && i < n; i++) {
        char name[80];
        spell(prefix, rows[i].name, true, name, sizeof name);
        const char *text = getenv(name);
        int rc = text != NULL ? set(&rows[i], text, name, options, e) : 0;
        if (rc != 0) return rc;
    }
    return 0;
}

/* --name VALUE, --name=VALUE, --flag for booleans; "--" ends the options. */
static int load_flags(const struct config_row *rows, size_t n, int *argc, char **argv,
                      void *options, struct err *e)
{
    int kept = 1, i = 1;
    for (; i < *argc; i++) {
        const char *arg = argv[i];
        if (strcmp(arg, "--") == 0) {
            i++;
            break;
        }
        if (strncmp(arg, "--", 2) != 0) {
            argv[kept++] = argv[i];
            continue;
        }
        const char *name = arg + 2, *equals = strchr(name, '=');
        size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
        const struct config_row *r = find(rows, n, name, length);
        if (r == NULL) {
            argv[i][2 + length] = '\0'; /* the suggestion is for the name, without "=value" */
            return unknown(rows, n, "option", name, e);
        }
        const char *text = equals != NULL ? equals + 1 : r->type == CONFIG_BOOL ? "true" : NULL;
        if (text == NULL && i + 1 < *argc) text = argv[++i];
        if (text == NULL) return err_set(e, ERR_INVALID, "--%s needs a value", r->name);
        int rc = set(r, text, arg, options, e);
        if (rc != 0) return rc;
    }
    for (; i < *argc; i++) argv[kept++] = argv[i];
    argv[kept] = NULL;
    *argc = kept;
    return 0;
}

int config_load(const struct config_row *rows, size_t n_rows, const char *env_prefix,
                const char *file_path, int *argc, char **argv, void *options, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n_rows; i++) {
        if (rows[i].fallback != NULL)
            rc = set(&rows[i], rows[i].fallback, rows[i].name, options, e);
    }
    if (rc == 0 && file_path != NULL) rc = load_file(rows, n_rows, file_path, options, e);
    if (rc == 0) rc = load_environment(rows, n_rows, env_prefix, options, e);
    if (rc == 0) rc = load_flags(rows, n_rows, argc, argv, options, e);
    return rc;
}

void config_help(const struct config_row *rows, size_t n_rows, FILE *out)
{
    for (size_t i = 0; i < n_rows; i++) {
        const struct config_row *r = &rows[i];
        const char *value = r->type == CONFIG_CHOICE ? r->choices : r->metavar;
        char flag[80];
        (void)snprintf(flag, sizeof flag, "--%s%s%s", r->name, value != NULL ? " " : "",
                       value != NULL ? value : "");
        (void)fprintf(out, "  %-28s %s", flag, r->help);
        if (r->fallback != NULL) (void)fprintf(out, " (default %s)", r->fallback);
        (void)fputc('\n', out);
    }
}

void config_deinit(const struct config_row *rows, size_t n_rows, void *options)
{
    for (size_t i = 0; i < n_rows; i++) {
        if (rows[i].type != CONFIG_STRING) continue;
        char **at = (char **)((char *)options + rows[i].at);
        mem_free(*at);
        *at = NULL;
    }
}
