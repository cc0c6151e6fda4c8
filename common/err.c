/* err: see err.h. */
#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int http, exit;
    const char *meaning;
} rows[ERR_CODE_COUNT] = {
#define ERR_ROW(code, name, http, exit, meaning) [code] = { name, http, exit, meaning },
    ERR_TABLE(ERR_ROW)
#undef ERR_ROW
};

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    e->code = code;
    e->source_code = 0;
    (void)vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    return (int)code;
}

/* ": text" behind the text, as much of it as there is room for. */
static void append(struct err *e, const char *text)
{
    const char *const parts[] = { ": ", text };
    for (size_t i = 0; i < 2; i++) {
        const size_t at = strlen(e->text), room = sizeof e->text - 1 - at;
        const size_t length = strnlen(parts[i], room);
        memcpy(e->text + at, parts[i], length);
        e->text[at + length] = '\0';
    }
}

int err_errno(struct err *e, int errno_value, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    e->code = ERR_IO;
    e->source_code = errno_value;
    int n = vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    char reason[96];
    const char *text = strerror_r(errno_value, reason, sizeof reason);
    if (n >= 0) append(e, text);
    return (int)e->code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    char inner[ERR_TEXT_MAX];
    memcpy(inner, e->text, sizeof inner);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    if (n >= 0) append(e, inner);
    return (int)e->code;
}

void err_clear(struct err *e) { *e = (struct err){ 0 }; }

static enum err_code known(enum err_code code)
{
    return (unsigned)code < ERR_CODE_COUNT ? code : ERR_INTERNAL;
}

const char *err_name(enum err_code code) { return rows[known(code)].name; }
const char *err_meaning(enum err_code code) { return rows[known(code)].meaning; }
int err_http_status(enum err_code code) { return rows[known(code)].http; }
int err_exit_code(enum err_code code) { return rows[known(code)].exit; }

enum err_code err_from_name(const char *name)
{
    for (int i = 0; i < ERR_CODE_COUNT; i++) {
        if (strcmp(rows[i].name, name) == 0) return (enum err_code)i;
    }
    return ERR_INTERNAL;
}
