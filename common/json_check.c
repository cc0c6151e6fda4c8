/* json_check: see json_check.h. A recursive walk bounded by JSON_DEPTH_MAX; any thread. */
#include "common/json_check.h"

#include "common/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct walk {
    const unsigned char *start, *at, *end;
    struct err *e;
};

static int fail(const struct walk *w, const unsigned char *where, const char *what)
{
    int line = 1, column = 1;
    for (const unsigned char *p = w->start; p < where; p++) {
        column = *p == '\n' ? 1 : column + 1;
        line += *p == '\n';
    }
    return err_set(w->e, ERR_SYNTAX, "line %d, column %d: %s", line, column, what);
}

static void skip_blanks(struct walk *w)
{
    while (w->at < w->end && memchr(" \t\r\n", *w->at, 4) != NULL) w->at++;
}

static int hex4(struct walk *w, unsigned *out)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++, w->at++) {
        int c = w->at < w->end ? *w->at : 0;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return fail(w, w->at, "\\u needs four hexadecimal digits");
        value = value * 16 + (unsigned)digit;
    }
    *out = value;
    return 0;
}

static int unicode_escape(struct walk *w)
{
    const unsigned char *where = w->at;
    unsigned high, low;
    int rc = hex4(w, &high);
    if (rc != 0) return rc;
    if (high == 0) return fail(w, where, "\\u0000 is not allowed");
    if (high >= 0xDC00 && high <= 0xDFFF) return fail(w, where, "lone low surrogate");
    if (high < 0xD800 || high > 0xDBFF) return 0;
    if (w->end - w->at < 2 || w->at[0] != '\\' || w->at[1] != 'u') {
        return fail(w, where, "lone high surrogate");
    }
    w->at += 2;
    rc = hex4(w, &low);
    if (rc != 0) return rc;
    return low >= 0xDC00 && low <= 0xDFFF ? 0 : fail(w, where, "lone high surrogate");
}

size_t json_utf8_length(const unsigned char *at, size_t left)
{
    unsigned char c = left > 0 ? at[0] : 0;
    size_t n = c >= 0xF0 && c <= 0xF4   ? 4
               : c >= 0xE0 && c <= 0xEF ? 3
               : c >= 0xC2 && c <= 0xDF ? 2
                                        : 0;
    if (n == 0 || left < n) return 0;
    unsigned char low = 0x80, high = 0xBF;
    if (c == 0xE0) low = 0xA0;
    if (c == 0xED) high = 0x9F;
    if (c == 0xF0) low = 0x90;
    if (c == 0xF4) high = 0x8F;
    for (size_t i = 1; i < n; i++) {
        if (at[i] < low || at[i] > high) return 0;
        low = 0x80;
        high = 0xBF;
    }
    return n;
}

static int string(struct walk *w)
{
    const unsigned char *open = w->at++;
    while (w->at < w->end) {
        unsigned char c = *w->at;
        if (w->at - open > JSON_STRING_MAX) return fail(w, open, "string is longer than 64 KiB");
        if (c == '"') {
            w->at++;
            return 0;
        }
        if (c < 0x20) return fail(w, w->at, "control character in a string");
        int rc = 0;
        if (c == '\\') {
            w->at++;
            if (w->at >= w->end) break;
            if (*w->at == 'u') {
                w->at++;
                rc = unicode_escape(w);
            } else if (memchr("\"\\/bfnrt", *w->at, 8) != NULL) {
                w->at++;
            } else {
                rc = fail(w, w->at, "unknown escape");
            }
        } else if (c >= 0x80) {
            size_t n = json_utf8_length(w->at, (size_t)(w->end - w->at));
            if (n == 0) return fail(w, w->at, "invalid UTF-8");
            w->at += n;
        } else {
            w->at++;
        }
        if (rc != 0) return rc;
    }
    return fail(w, open, "string does not end");
}

static bool digits(struct walk *w)
{
    const unsigned char *from = w->at;
    while (w->at < w->end && *w->at >= '0' && *w->at <= '9') w->at++;
    return w->at > from;
}

static int number(struct walk *w)
{
    const unsigned char *from = w->at;
    if (*w->at == '-') w->at++;
    const unsigned char *first = w->at;
    if (!digits(w)) return fail(w, from, "a value was expected");
    if (*first == '0' && w->at - first > 1) return fail(w, from, "number begins with 0");
    if (w->at < w->end && *w->at == '.') {
        w->at++;
        if (!digits(w)) return fail(w, from, "digits are missing after the point");
    }
    if (w->at < w->end && (*w->at == 'e' || *w->at == 'E')) {
        w->at++;
        if (w->at < w->end && (*w->at == '+' || *w->at == '-')) w->at++;
        if (!digits(w)) return fail(w, from, "digits are missing in the exponent");
    }
    char text[64];
    size_t n = (size_t)(w->at - from);
    if (n >= sizeof text) return fail(w, from, "number has more than 63 characters");
    memcpy(text, from, n);
    text[n] = '\0';
    return isfinite(strtod(text, NULL)) ? 0 : fail(w, from, "number is too large");
}

static int value(struct walk *w, int depth);

static int members(struct walk *w, int depth, bool object)
{
    const unsigned char close = object ? '}' : ']';
    const unsigned char *open = w->at++;
    skip_blanks(w);
    if (w->at < w->end && *w->at == close) {
        w->at++;
        return 0;
    }
    while (w->at < w->end) {
        int rc = 0;
        skip_blanks(w);
        if (object) {
            if (w->at >= w->end || *w->at != '"') return fail(w, w->at, "a name was expected");
            rc = string(w);
            if (rc != 0) return rc;
            skip_blanks(w);
            if (w->at >= w->end || *w->at != ':') return fail(w, w->at, "':' was expected");
            w->at++;
        }
        rc = value(w, depth + 1);
        if (rc != 0) return rc;
        skip_blanks(w);
        if (w->at >= w->end) break;
        if (*w->at == close) {
            w->at++;
            return 0;
        }
        if (*w->at != ',')
            return fail(w, w->at, object ? "',' or '}' was expected" : "',' or ']' was expected");
        w->at++;
    }
    return fail(w, open, object ? "object does not end" : "array does not end");
}

static int value(struct walk *w, int depth)
{
    static const char *const words[] = { "true", "false", "null" };
    skip_blanks(w);
    if (w->at >= w->end) return fail(w, w->at, "a value was expected");
    if (depth > JSON_DEPTH_MAX) return fail(w, w->at, "nested deeper than 32");
    if (*w->at == '{' || *w->at == '[') return members(w, depth, *w->at == '{');
    if (*w->at == '"') return string(w);
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(w->end - w->at) >= n && memcmp(w->at, words[i], n) == 0) {
            w->at += n;
            return 0;
        }
    }
    return number(w);
}

int json_check(const char *text, size_t length, struct err *e)
{
    const unsigned char *bytes = (const unsigned char *)text;
    struct walk w = { bytes, bytes, bytes + length, e };
    if (length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        return fail(&w, bytes, "byte order mark");
    }
    int rc = value(&w, 1);
    if (rc != 0) return rc;
    skip_blanks(&w);
    return w.at == w.end ? 0 : fail(&w, w.at, "text after the value");
}
