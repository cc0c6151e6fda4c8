/* Heads that two readers could understand differently, and targets that hide something. */
#include "server/http/framing.h"

#include "tests/unit/server/http_fixture.h"

static void say_path(struct request *r)
{
    char text[200];
    (void)snprintf(text, sizeof text, "path=%s length=%zu", r->path, r->length);
    respond_text(r, 200, "text/plain", text, strlen(text));
}

static const struct http_route routes[] = {
    { .method = "GET", .pattern = "/x/{...}", .handler = say_path },
    { .method = "POST", .pattern = "/x/{...}", .handler = say_path },
};

/* Whatever stands behind the head would be a second request to somebody. */
#define SMUGGLED "GET /x/second HTTP/1.1\r\nHost: here\r\n\r\n"

struct refused {
    const char *head, *words;
    int status;
};

static const struct refused heads[] = {
    { "POST /x/a HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\n",
      "contradict each other", 400 },
    { "POST /x/a HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
      "contradict each other", 400 },
    { "POST /x/a HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
      "0\r\n\r\n",
      "contradict each other", 400 },
    { "POST /x/a HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
      "identity\r\n\r\n0\r\n\r\n",
      "contradict each other", 400 },
    { "POST /x/a HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: gzip\r\n\r\n", "'gzip' is not known",
      400 },
    { "POST /x/a HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
      "is not known", 400 },
    { "POST /x/a HTTP/1.0\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "HTTP/1.0 knows no", 400 },
    { "POST /x/a HTTP/1.1\r\nHost: here\r\nContent-Length: +5\r\n\r\nabcde", "", 400 },
    { "POST /x/a HTTP/1.1\r\nHost: here\r\nContent-Length: 5, 5\r\n\r\nabcde", "", 400 },
    { "POST /x/a HTTP/1.1\r\nHost: here\r\nContent-Length: 99999999999999999999\r\n\r\n", "", 413 },
    { "GET /x/a HTTP/1.1\r\n\r\n", "", 400 },
    { "GET /x/a HTTP/1.0\r\n\r\n", "exactly one Host", 400 },
    { "GET /x/a HTTP/1.1\r\nHost: here\r\nHost: here\r\n\r\n", "exactly one Host", 400 },
    { "GET /x/a HTTP/1.1\r\nHost : here\r\n\r\n", "", 400 },
    { "GET /x/a HTTP/1.1\nHost: here\r\n\r\n", "CR LF", 400 },
    { "GET /x/a HTTP/1.1\r\nHost: here\nX-A: b\r\n\r\n", "CR LF", 400 },
    { "GET /x/a HTTP/1.1\r\nX-A: b\r\nHost: here\n\r\n", "CR LF", 400 },
    { "GET /x/a HTTP/1.1\r\nHost: here\r\n\n", "CR LF", 400 },
    { "GET /x/a HTTP/1.1\r\nX-A: b\r\n c\r\nHost: here\r\n\r\n", "CR LF", 400 },
    { "GET /x/a HTTP/1.1\r\nHost: here\r\nX-A: b\rX-B: c\r\n\r\n", "control character", 400 },
    { "GET /x/a HTTP/1.1\r\nHost: here\r\nX(A): b\r\n\r\n", "is no name", 400 },
    { "GET /x/a%00b HTTP/1.1\r\nHost: here\r\n\r\n", "path has a control", 400 },
    { "GET /x/a%0d%0aSet-Cookie:b HTTP/1.1\r\nHost: here\r\n\r\n", "path has a control", 400 },
    { "GET /x/a\x01z HTTP/1.1\r\nHost: here\r\n\r\n", "path has a control", 400 },
    { "GET /x/a?q=%00b HTTP/1.1\r\nHost: here\r\n\r\n", "query has a control", 400 },
    { "GET /x/a?%07 HTTP/1.1\r\nHost: here\r\n\r\n", "query has a control", 400 },
};

/* Goal: each is refused by what is wrong with it, the connection is closed, and what came behind it
 * is not taken for a request. */
Test(framing, ambiguous_heads_are_refused, .timeout = 30)
{
    struct rig g;
    char text[2048], out[8192], status[32];
    rig_open(&g, routes, 2, (struct http_limits){ 0 }, NULL);
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        const struct refused *x = &heads[i];
        (void)snprintf(text, sizeof text, "%s%s", x->head, SMUGGLED);
        (void)snprintf(status, sizeof status, "HTTP/1.1 %d ", x->status);
        cr_expect(rig_ask(&g, text, strlen(text), out, sizeof out, 3000), "stays open: %s",
                  x->head);
        const char *first = strstr(out, "HTTP/1.");
        cr_expect(first != NULL && strncmp(first + 8, status + 8, 4) == 0, "%s\n-> %s", x->head,
                  out);
        cr_expect(strstr(out, x->words) != NULL, "%s\n-> %s", x->head, out);
        cr_expect(strstr(out, "path=") == NULL && strstr(out, "HTTP/1.1 200") == NULL,
                  "smuggled by %s\n-> %s", x->head, out);
    }
    rig_close(&g);
}

/* Goal: a 0 byte inside a header hides nothing. */
Test(framing, zero_bytes_in_headers_are_refused, .timeout = 10)
{
    static const char head[] = "POST /x/a HTTP/1.1\r\nContent-Length: 3\0"
                               "0\r\nHost: here\r\n\r\nabc";
    struct rig g;
    char out[8192];
    rig_open(&g, routes, 2, (struct http_limits){ 0 }, NULL);
    cr_expect(rig_ask(&g, head, sizeof head - 1, out, sizeof out, 3000));
    cr_expect(strncmp(out, "HTTP/1.1 400", 12) == 0, "%s", out);
    rig_close(&g);
}

static void expect_good(struct rig *g, int fd, const char *words)
{
    char out[8192];
    cr_expect(rig_read(g, fd, out, sizeof out, words, 3000), "'%s' is missing: %s", words, out);
    cr_expect(strncmp(out, "HTTP/1.1 200", 12) == 0, "%s", out);
}

/* Goal: what is right passes, however it comes: in pieces, long, with blanks, chunked, by HTTP/1.0,
 * one after the other on a connection. */
Test(framing, sound_heads_pass, .timeout = 30)
{
    static const char *const good[][2] = {
        { "GET /x/a%20b%2Fc?q=%C3%A4 HTTP/1.1\r\nHost: here\r\n\r\n", "path=/x/a b/c" },
        { "GET /x/100%zz HTTP/1.1\r\nHost:here\r\nX-Empty:\r\nX-Blank: \t \r\n\r\n",
          "path=/x/100%zz" },
        { "GET /x/t HTTP/1.1\r\nX-Tab: a\tb  \r\nHost: here\r\n\r\n", "path=/x/t" },
        { "POST /x/b HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nabcde", "length=5" },
        { "POST /x/c HTTP/1.1\r\nHost: here:80\r\nTransfer-Encoding: chunked\r\n\r\n"
          "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
          "length=7" },
        { "GET /x/d HTTP/1.1\r\nCookie: a=b; c=d\r\nHost: here\r\n\r\n", "path=/x/d" },
    };
    struct rig g;
    rig_open(&g, routes, 2, (struct http_limits){ 0 }, NULL);
    const int fd = rig_connect(&g);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        rig_send(fd, good[i][0], strlen(good[i][0]));
        expect_good(&g, fd, good[i][1]);
        for (const char *at = good[i][0]; *at != '\0'; at++) {
            rig_send(fd, at, 1);
            if (at[1] != '\0') rig_turn(&g, 0);
        }
        expect_good(&g, fd, good[i][1]);
    }
    (void)close(fd);
    rig_close(&g);
}

/* Goal: a head that grows in the library's buffer is still seen as it is. */
Test(framing, long_heads_pass, .timeout = 10)
{
    struct rig g;
    char text[12000];
    size_t n = (size_t)snprintf(text, sizeof text, "GET /x/long HTTP/1.1\r\nHost: here\r\n");
    for (int i = 0; n < 10000; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "X-Header-%d: %0100d\r\n", i, i);
    n += (size_t)snprintf(text + n, sizeof text - n, "\r\n");
    rig_open(&g, routes, 2, (struct http_limits){ 0 }, NULL);
    const int fd = rig_connect(&g);
    for (size_t at = 0; at < n; at += 777) {
        rig_send(fd, text + at, n - at < 777 ? n - at : 777);
        rig_turn(&g, 3);
    }
    expect_good(&g, fd, "path=/x/long");
    (void)close(fd);
    rig_close(&g);
}

/* Goal: %XX is decoded once, never to an end of text. */
Test(framing, targets_are_decoded)
{
    static const char *const pairs[][2] = { { "/a%41%2f", "/aA/" },
                                            { "%2541", "%41" },
                                            { "a%00b", "a\x7f"
                                                       "b" },
                                            { "%", "%" },
                                            { "%4", "%4" },
                                            { "%zz%c3%A4", "%zz\xc3\xa4" } };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char text[40];
        (void)snprintf(text, sizeof text, "%s", pairs[i][0]);
        cr_expect_eq(framing_unescape(text), strlen(pairs[i][1]));
        cr_expect_str_eq(text, pairs[i][1]);
    }
}
