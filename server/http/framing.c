/* framing: see framing.h. MHD 0.9.75 takes two lengths, a length beside an encoding, an unknown
 * encoding, control characters and line ends without CR. */
#include "server/http/framing.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEL 0x7f
#define GAP_MAX 65536 /* bytes; a header further away was moved and its line end is not seen */

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t framing_unescape(char *text)
{
    char *to = text;
    for (const char *at = text; *at != '\0'; at++) {
        const int high = *at == '%' ? hex(at[1]) : -1, low = high >= 0 ? hex(at[2]) : -1;
        if (low < 0) {
            *to++ = *at;
            continue;
        }
        const int byte = high * 16 + low;
        *to++ = (char)(byte == 0 ? DEL : byte);
        at += 2;
    }
    *to = '\0';
    return (size_t)(to - text);
}

static bool is_control(unsigned char c) { return c < 0x20 || c == DEL; }

static bool has_control(const char *text)
{
    for (; *text != '\0'; text++)
        if (is_control((unsigned char)*text)) return true;
    return false;
}

/* ---- headers --------------------------------------------------------------------------------- */
struct head {
    unsigned hosts, lengths, encodings;
    const char *line_end; /* where the text of the line before ends */
    bool bad_name, bad_value, bad_line;
};

/* Between two lines lie CR and LF, both made 0 by MHD. One byte: a bare LF. More: a 0 byte in the
 * line, or a folded one. */
static void check_gap(struct head *h, const char *next, size_t wanted)
{
    const uintptr_t from = (uintptr_t)h->line_end, to = (uintptr_t)next;
    if (to > from && to - from < GAP_MAX && to - from != wanted) h->bad_line = true;
}

static bool is_name(const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("!#$%&'*+-.^_`|~", name[i]) == NULL)
            return false;
    return n > 0;
}

static enum MHD_Result look_at(void *ctx, enum MHD_ValueKind kind, const char *name, size_t n,
                               const char *value, size_t length)
{
    struct head *h = ctx;
    (void)kind;
    h->hosts += strcasecmp(name, "Host") == 0;
    h->lengths += strcasecmp(name, "Content-Length") == 0;
    h->encodings += strcasecmp(name, "Transfer-Encoding") == 0;
    h->bad_name |= !is_name(name, n);
    for (size_t i = 0; i < length; i++)
        h->bad_value |= is_control((unsigned char)value[i]) && value[i] != '\t';
    check_gap(h, name, 2);
    h->line_end = value + length;
    return MHD_YES;
}

static enum MHD_Result look_at_query(void *ctx, enum MHD_ValueKind kind, const char *name, size_t n,
                                     const char *value, size_t length)
{
    bool *bad = ctx;
    (void)kind;
    (void)n;
    (void)length;
    *bad |= has_control(name) || (value != NULL && has_control(value));
    return MHD_YES;
}

static int check_length(struct MHD_Connection *c, size_t body_max, struct err *e)
{
    const char *text = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");
    if (text == NULL) return 0;
    if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0')
        return err_set(e, ERR_INVALID, "Content-Length must be a whole number, got '%.40s'", text);
    if (strlen(text) > 18 || strtoull(text, NULL, 10) > body_max)
        return err_set(e, ERR_TOO_LARGE, "the body has %.20s bytes, at most %zu are read", text,
                       body_max);
    return 0;
}

static int check_head(const struct head *h, struct err *e)
{
    if (h->bad_line)
        return err_set(e, ERR_INVALID,
                       "every line of the head must end with CR LF and go on in no other");
    if (h->bad_name) return err_set(e, ERR_INVALID, "the name of a header is no name");
    if (h->bad_value)
        return err_set(e, ERR_INVALID, "the value of a header has a control character");
    if (h->hosts != 1) return err_set(e, ERR_INVALID, "exactly one Host header is needed");
    if (h->lengths > 1 || (h->lengths == 1 && h->encodings > 0) || h->encodings > 1)
        return err_set(e, ERR_INVALID,
                       "Content-Length and Transfer-Encoding contradict each other");
    return 0;
}

int framing_check(struct MHD_Connection *c, const char *path, const char *method,
                  const char *version, size_t body_max, struct err *e)
{
    struct head h = { .line_end = version + strlen(version) };
    (void)MHD_get_connection_values_n(c, MHD_HEADER_KIND, look_at, &h);
    const union MHD_ConnectionInfo *size = MHD_get_connection_info(
        c, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (size != NULL && h.hosts > 0) check_gap(&h, method + size->header_size, 4);
    int rc = check_head(&h, e);
    if (rc != 0) return rc;
    const char *encoding = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Transfer-Encoding");
    if (encoding != NULL && strcasecmp(encoding, "chunked") != 0)
        return err_set(e, ERR_INVALID, "Transfer-Encoding '%.40s' is not known", encoding);
    if (encoding != NULL && strcmp(version, "HTTP/1.1") != 0)
        return err_set(e, ERR_INVALID, "%.10s knows no Transfer-Encoding", version);
    bool bad_query = false;
    (void)MHD_get_connection_values_n(c, MHD_GET_ARGUMENT_KIND, look_at_query, &bad_query);
    if (has_control(path) || bad_query)
        return err_set(e, ERR_INVALID, "the %s has a control character",
                       bad_query ? "query" : "path");
    return check_length(c, body_max, e);
}
