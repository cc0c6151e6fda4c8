/* Stories of pages and streams: sessions by cookie, and what ends an open stream. */
#include "common/clock.h"
#include "common/mem.h"
#include "tests/support/people.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define END_MS 5000 /* a stream ends so soon after its reader may not read any more */

/* ---- streams --------------------------------------------------------------------------------- */
struct reader {
    const struct service *s;
    const char *token, *cookie;
    char *text; /* as far as it came; owned */
    int64_t ended_ms;
    pthread_t thread;
};

static void *read_stream(void *arg)
{
    struct reader *r = arg;
    struct answer a = call_with(r->s, "GET", V1 "/events", NULL, r->token, r->cookie, NULL);
    r->ended_ms = clock_mono_ms();
    r->text = mem_strdup(a.body != NULL ? a.body : "");
    answer_free(&a);
    return NULL;
}

static void begin_reading(struct reader *r, const struct service *s, const char *token,
                          const char *cookie)
{
    *r = (struct reader){ .s = s, .token = token, .cookie = cookie };
    cr_assert(pthread_create(&r->thread, NULL, read_stream, r) == 0);
}

static void expect_ended(struct reader *r, int64_t since_ms, const char *why)
{
    (void)pthread_join(r->thread, NULL);
    cr_expect(strstr(r->text, "event: hello") != NULL && strstr(r->text, "event: bye") != NULL,
              "%s: %s", why, r->text);
    cr_expect(r->ended_ms >= since_ms && r->ended_ms < since_ms + END_MS, "%s: ended %lld ms after",
              why, (long long)(r->ended_ms - since_ms));
    mem_free(r->text);
}

/* Goal: a stream ends soon after its token is revoked or over its time, its user is disabled, or
 * its session is left; others go on. */
Test(sessions, open_streams_end_with_what_let_them_in, .timeout = 40)
{
    struct service s = { 0 };
    char kept[80], revoked[80], brief[80], bob[80], paged[80], cookie[80], other[80];
    struct reader readers[5], on;
    service_start(&s);
    (void)make_token(&s, "\"user\": \"ada\"", kept);
    const int64_t id = make_token(&s, "\"user\": \"ada\"", revoked);
    (void)make_token(&s, "\"user\": \"bob\"", bob);
    const int64_t page = make_token(&s, "\"user\": \"ada\"", paged);
    log_in(&s, paged, cookie);
    log_in(&s, paged, other);
    const int64_t made = clock_mono_ms();
    (void)make_token(&s, "\"user\": \"ada\", \"expires_in_s\": 2", brief);
    begin_reading(&on, &s, kept, NULL);
    begin_reading(&readers[0], &s, revoked, NULL);
    begin_reading(&readers[1], &s, brief, NULL);
    begin_reading(&readers[2], &s, bob, NULL);
    begin_reading(&readers[3], &s, NULL, cookie);
    begin_reading(&readers[4], &s, NULL, other);
    sleep_ms(300); /* all are open */
    const int64_t now = clock_mono_ms();
    revoke_token(&s, id);
    cr_assert_eq(status_of(&s, "PATCH", V1 "/users/bob", "{\"disabled\": true}", NULL), 200);
    struct answer a = call_with(&s, "DELETE", V1 "/sessions", NULL, NULL, cookie,
                                "Sec-Fetch-Site: same-origin");
    cr_assert_eq(a.status, 204);
    answer_free(&a);
    expect_ended(&readers[0], now, "revoked");
    expect_ended(&readers[2], now, "disabled");
    expect_ended(&readers[3], now, "logged out");
    expect_ended(&readers[1], made + 2000, "expired");
    const int64_t later = clock_mono_ms();
    revoke_token(&s, page);
    expect_ended(&readers[4], later, "token of the session revoked");
    cr_assert(on.ended_ms == 0, "a stream was ended for no reason");
    const int64_t last = clock_mono_ms();
    cr_assert_eq(status_of(&s, "PATCH", V1 "/users/ada", "{\"disabled\": true}", NULL), 200);
    expect_ended(&on, last, "disabled, too");
    service_end(&s);
}

/* A reader that asks for events and then takes nothing. */
static int begin_sleeping(const struct service *s, const char *token)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;
    const struct timeval patience = { .tv_sec = 5 };
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons((uint16_t)s->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    cr_assert(connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
    char *text = mem_printf("GET " V1 "/events HTTP/1.1\r\nHost: localhost\r\n"
                            "Authorization: Bearer %s\r\n\r\n",
                            token);
    cr_assert(send(fd, text, strlen(text), 0) == (ssize_t)strlen(text));
    mem_free(text);
    return fd;
}

static void rename_first(const struct service *s, const char *name)
{
    char body[80];
    (void)snprintf(body, sizeof body, "{\"name\": \"%s\"}", name);
    cr_assert_eq(status_of(s, "PATCH", V1 "/experiments/1", body, NULL), 200);
}

/* Goal: one that is shut out while it does not read sees nothing of what happens afterwards. */
Test(sessions, a_sleeping_reader_is_cut_off, .timeout = 30)
{
    struct service s = { 0 };
    char token[TOKEN_MAX], part[65536], *text = mem_strdup("");
    service_start(&s);
    const int64_t id = make_token(&s, "\"user\": \"ada\"", token);
    cr_assert_eq(status_of(&s, "POST", V1 "/queue/pause", "{}", NULL), 200);
    char *spec = small_spec(1, NULL);
    cr_assert_eq(submit(&s, spec), 1);
    const int fd = begin_sleeping(&s, token);
    sleep_ms(100);
    for (int i = 0; i < 400; i++) rename_first(&s, "before"); /* more than the buffers hold */
    revoke_token(&s, id);
    sleep_ms(1500);
    rename_first(&s, "afterwards");
    for (ssize_t n; (n = recv(fd, part, sizeof part - 1, 0)) != 0;) {
        if (n < 0 && errno == ECONNRESET) break;
        cr_assert(n > 0, "the stream is still open");
        part[n] = '\0';
        char *longer = mem_printf("%s%s", text, part);
        mem_free(text);
        text = longer;
    }
    cr_assert(strstr(text, "\"before\"") != NULL && strstr(text, "\"afterwards\"") == NULL);
    cr_assert(strstr(text, "event: bye") == NULL, "it had room for everything");
    (void)close(fd);
    mem_free(text);
    mem_free(spec);
    service_end(&s);
}

/* ---- sessions -------------------------------------------------------------------------------- */
static long by_cookie(const struct service *s, const char *method, const char *path,
                      const char *cookie, const char *header)
{
    struct answer a = call_with(s, method, path, strcmp(method, "GET") == 0 ? NULL : "{}", NULL,
                                cookie, header);
    const long status = a.status;
    answer_free(&a);
    return status;
}

/* Goal: a page logs in with a token and out again; its cookie changes things for our own page
 * alone, and one that is over lets nobody in as somebody else. */
Test(sessions, a_page_has_a_session, .timeout = 30)
{
    struct service s = { 0 };
    char ada[80], cookie[80], own[100], body[120];
    service_start(&s);
    (void)make_token(&s, "\"user\": \"ada\", \"role\": \"user\"", ada);
    log_in(&s, ada, cookie);
    (void)snprintf(own, sizeof own, "Origin: %s", s.base);
    struct answer me = call_with(&s, "GET", V1 "/me", NULL, NULL, cookie, NULL);
    cr_assert(strcmp(json_get_string(me.json, "user", ""), "ada") == 0 &&
                  strcmp(json_get_string(me.json, "by", ""), "session") == 0,
              "%s", me.body);
    answer_free(&me);
    const char *path = V1 "/experiments"; /* an empty spec: 400 when it is let in */
    cr_assert_eq(by_cookie(&s, "POST", path, cookie, NULL), 403);
    cr_assert_eq(by_cookie(&s, "POST", path, cookie, "Sec-Fetch-Site: same-site"), 403);
    cr_assert_eq(by_cookie(&s, "POST", path, cookie, "Sec-Fetch-Site: same-origin"), 400);
    cr_assert_eq(by_cookie(&s, "POST", path, cookie, "Origin: http://evil.example"), 403);
    cr_assert_eq(by_cookie(&s, "GET", path, cookie, NULL), 200);
    cr_assert_eq(status_of(&s, "GET", path, NULL, cookie), 401); /* no token, as a header */
    service_stop(&s);
    service_restart(&s);
    cr_assert_eq(by_cookie(&s, "GET", path, cookie, NULL), 200);
    cr_assert_eq(by_cookie(&s, "DELETE", V1 "/sessions", cookie, NULL), 403);
    struct answer out = call_with(&s, "DELETE", V1 "/sessions", NULL, NULL, cookie, own);
    cr_assert(out.status == 204 && strstr(out.head, "__Host-spiked=; Max-Age=0") != NULL, "%s",
              out.head);
    answer_free(&out);
    out = call_with(&s, "GET", path, NULL, NULL, cookie, NULL);
    cr_assert(out.status == 401 && strstr(out.head, "__Host-spiked=; Max-Age=0") != NULL, "%ld %s",
              out.status, out.head);
    answer_free(&out);
    (void)snprintf(body, sizeof body, "{\"token\": \"%s\"}", ada); /* the way a page sends it */
    out = call_with(&s, "POST", V1 "/sessions", body, NULL, cookie, NULL);
    cr_assert(out.status == 201, "%ld %s", out.status, out.body);
    answer_free(&out);
    out = call_with(&s, "POST", V1 "/sessions", "{\"token\": \"spk_x\"}", NULL, NULL, NULL);
    cr_assert(out.status == 401 && strstr(out.head, "WWW-Authenticate") != NULL, "%s", out.head);
    answer_free(&out);
    cr_assert_eq(status_of(&s, "POST", V1 "/sessions", "{}", NULL), 401); /* no token at all */
    service_end(&s);
}

/* Starts on all addresses; base is that of address, over https with a certificate of its own. */
static void start_https(struct service *s, const char *address, char texts[4][160])
{
    service_prepare(s);
    (void)snprintf(texts[0], 160, "0.0.0.0:%d", s->port);
    (void)snprintf(texts[1], 160, "%s/own.pem", s->folder);
    (void)snprintf(texts[2], 160, "%s/own.key", s->folder);
    char *command = mem_printf(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=own"
        " -addext subjectAltName=IP:%s -keyout %s -out %s 2>/dev/null",
        address, texts[2], texts[1]);
    cr_assert_eq(system(command), 0, "%s", command);
    mem_free(command);
    const char *const more[] = { "--hosts",    address,  "--listen", texts[0],
                                 "--tls-cert", texts[1], "--tls-key" };
    memcpy(s->extra, more, sizeof more);
    s->extra[7] = texts[2];
    s->ca = texts[1];
    (void)snprintf(s->base, sizeof s->base, "https://%s:%d", address, s->port);
    service_restart(s);
}

/* Goal: over https from another address a page begins a session with a token, changes things by it,
 * and without one gets the page where people log in. */
Test(sessions, https_takes_cookies_of_other_addresses, .timeout = 30)
{
    char address[INET_ADDRSTRLEN], texts[4][160], socket[200], ada[80], cookie[80], own[100];
    if (!service_own_address(address)) cr_skip_test("this machine has no address but loopback");
    struct service s = { 0 };
    start_https(&s, address, texts);
    struct service here = s;
    (void)snprintf(socket, sizeof socket, "%s/state/api.sock", s.folder);
    (void)snprintf(here.base, sizeof here.base, "http://localhost");
    here.unix_socket = socket;
    (void)make_token(&here, "\"user\": \"ada\", \"role\": \"user\"", ada);
    cr_assert_eq(status_of(&s, "GET", V1 "/experiments", NULL, NULL), 401);
    log_in(&s, ada, cookie);
    struct answer me = call_with(&s, "GET", V1 "/me", NULL, NULL, cookie, NULL);
    cr_assert(strcmp(json_get_string(me.json, "via", ""), "network") == 0 &&
                  strcmp(json_get_string(me.json, "by", ""), "session") == 0,
              "%s", me.body);
    answer_free(&me);
    (void)snprintf(own, sizeof own, "Origin: %s", s.base);
    cr_assert_eq(by_cookie(&s, "POST", V1 "/experiments", cookie, own), 400); /* let in */
    cr_assert_eq(by_cookie(&s, "POST", V1 "/experiments", cookie, NULL), 403);
    struct answer page = call_with(&s, "GET", "/", NULL, NULL, NULL, "Accept: text/html");
    cr_assert(page.status == 401 && strstr(page.body, "id=\"login\"") != NULL, "%s", page.body);
    answer_free(&page);
    cr_assert_eq(status_of(&s, "GET", "/login.js", NULL, NULL), 200);
    service_end(&s);
}

/* Goal: over plain http from another address a token is the only way in, never a cookie. */
Test(sessions, plain_http_takes_tokens_alone, .timeout = 30)
{
    char address[INET_ADDRSTRLEN], listen[40], ada[80], cookie[80];
    if (!service_own_address(address)) cr_skip_test("this machine has no address but loopback");
    struct service s = { .extra = { "--insecure-http", "--hosts", address, "--listen", listen } };
    service_prepare(&s);
    (void)snprintf(listen, sizeof listen, "0.0.0.0:%d", s.port);
    service_restart(&s);
    (void)make_token(&s, "\"user\": \"ada\", \"role\": \"user\"", ada);
    log_in(&s, ada, cookie);
    struct service far = s;
    (void)snprintf(far.base, sizeof far.base, "http://%s:%d", address, s.port);
    cr_assert_eq(status_of(&far, "GET", V1 "/experiments", NULL, NULL), 401);
    cr_assert_eq(by_cookie(&far, "GET", V1 "/experiments", cookie, NULL), 401);
    cr_assert_eq(status_of(&far, "POST", V1 "/sessions", "{}", ada), 403);
    struct answer me = call_with(&far, "GET", V1 "/me", NULL, ada, NULL, NULL);
    cr_assert(strcmp(json_get_string(me.json, "via", ""), "network") == 0 &&
                  strcmp(json_get_string(me.json, "user", ""), "ada") == 0,
              "%s", me.body);
    answer_free(&me);
    me = call_with(&far, "GET", V1 "/me", NULL, NULL, NULL, NULL);
    cr_assert(me.status == 200 && cJSON_IsNull(json_get(me.json, "user")), "%s", me.body);
    answer_free(&me);
    service_end(&s);
}
