/* log: see log.h. */
#include "common/log.h"

#include "common/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static atomic_int threshold = LOG_INFO;
static const char *const names[] = { "debug", "info", "warn", "error" };

void log_set_level(enum log_level level) { atomic_store(&threshold, (int)level); }

int log_level_from_name(const char *name, enum log_level *out)
{
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

/* Appends text as the inside of a quoted string; always leaves room for `"\n`. */
static size_t escape(char *line, size_t at, const char *text)
{
    for (; *text != '\0' && at + 8 < LINE_MAX_BYTES; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            line[at++] = '\\';
            line[at++] = (char)c;
        } else if (c == '\n') {
            line[at++] = '\\';
            line[at++] = 'n';
        } else if (c < 0x20 || c == 0x7f) {
            at += (size_t)snprintf(line + at, 5, "\\x%02x", c);
        } else {
            line[at++] = (char)c;
        }
    }
    return at;
}

void log_line(enum log_level level, const char *area, const char *fmt, ...)
{
    if ((int)level < atomic_load(&threshold)) return;
    int keep = errno;
    char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES], now[CLOCK_RFC3339_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    clock_rfc3339(clock_wall_ms(), now);
    int head = snprintf(line, sizeof line, "%s %s %.64s msg=\"", now, names[level], area);
    size_t at = escape(line, (size_t)head, text);
    line[at++] = '"';
    line[at++] = '\n';
    /* One write a line: lines of several threads never mix. A full stderr is nobody's fault. */
    ssize_t written = write(STDERR_FILENO, line, at);
    (void)written;
    errno = keep;
}
