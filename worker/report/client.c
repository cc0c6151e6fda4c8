/* client: see client.h. */
#include "worker/report/client.h"

#include "common/mem.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ANSWER_BYTES_MAX ((size_t)8 << 20)
#define TIMEOUT_MS 15000L
#define CONNECT_TIMEOUT_MS 3000L
#define RETRY_MS 500

struct client {
    CURL *curl;
    struct curl_slist *headers; /* credentials; content type is appended a request */
    char *socket;
    char *answer;
    size_t length, capacity;
};

static size_t take_answer(char *data, size_t size, size_t n, void *ctx)
{
    struct client *c = ctx;
    const size_t bytes = size * n;
    if (c->length + bytes + 1 > ANSWER_BYTES_MAX) return 0;
    if (c->length + bytes + 1 > c->capacity) {
        const size_t capacity = 2 * (c->length + bytes + 1);
        char *grown = mem_realloc_array(c->answer, capacity, 1);
        if (grown == NULL) return 0;
        c->answer = grown;
        c->capacity = capacity;
    }
    memcpy(c->answer + c->length, data, bytes);
    c->length += bytes;
    c->answer[c->length] = '\0';
    return bytes;
}

static bool add_header(struct curl_slist **list, const char *fmt, const char *value)
{
    char *line = mem_printf(fmt, value);
    struct curl_slist *longer = line != NULL ? curl_slist_append(*list, line) : NULL;
    mem_free(line);
    if (longer == NULL) return false;
    *list = longer;
    return true;
}

int client_create(struct client **out, const char *server, int64_t experiment, int64_t attempt,
                  const char *secret, struct err *e)
{
    static const char scheme[] = "unix:";
    if (strncmp(server, scheme, sizeof scheme - 1) != 0)
        return err_set(e, ERR_INVALID, "SPIKED_SERVER '%.100s' must begin with unix:", server);
    struct client *c = mem_calloc(1, sizeof *c);
    if (c == NULL) return err_set(e, ERR_NOMEM, "client");
    char id[24], number[24];
    (void)snprintf(id, sizeof id, "%lld", (long long)experiment);
    (void)snprintf(number, sizeof number, "%lld", (long long)attempt);
    c->socket = mem_strdup(server + sizeof scheme - 1);
    c->curl = curl_easy_init();
    if (c->socket == NULL || c->curl == NULL ||
        !add_header(&c->headers, "Authorization: Bearer %s", secret) ||
        !add_header(&c->headers, "X-Spiked-Experiment: %s", id) ||
        !add_header(&c->headers, "X-Spiked-Attempt: %s", number) ||
        !add_header(&c->headers, "Expect:%s", "")) {
        client_destroy(c);
        return err_set(e, ERR_NOMEM, "client");
    }
    *out = c;
    return 0;
}

void client_destroy(struct client *c)
{
    if (c == NULL) return;
    curl_slist_free_all(c->headers);
    if (c->curl != NULL) curl_easy_cleanup(c->curl);
    mem_free(c->socket);
    mem_free(c->answer);
    mem_free(c);
}

/* The code in a problem body, or a guess from the status. */
static int refused(const struct client *c, long status, struct err *e)
{
    cJSON *body = NULL;
    struct err ignored = { 0 };
    if (c->length > 0) (void)json_parse(c->answer, c->length, &body, &ignored);
    const char *detail = json_get_string(body, "detail", "no detail");
    enum err_code code = ERR_INVALID;
    if (status == 409) code = ERR_LEASE_LOST;
    if (status == 401 || status == 403) code = ERR_UNAUTHORIZED;
    if (status >= 500 || status == 429 || status == 0) code = ERR_UNAVAILABLE;
    (void)err_set(e, code, "the daemon answers %ld: %.150s", status, detail);
    cJSON_Delete(body);
    return (int)code;
}

static void set_options(struct client *c, const char *url, const void *body, size_t length)
{
    curl_easy_reset(c->curl);
    curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, c->socket);
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    if (body == NULL) return;
    curl_easy_setopt(c->curl, CURLOPT_POST, 1L);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
}

int client_send(struct client *c, const char *path, const char *content_type, const void *body,
                size_t length, cJSON **answer, struct err *e)
{
    char *url = mem_printf("http://localhost%s", path);
    struct curl_slist type = { 0 }, *headers = c->headers;
    char *line = mem_printf("Content-Type: %s", content_type != NULL ? content_type : "");
    if (url == NULL || line == NULL) {
        mem_free(url);
        mem_free(line);
        return err_set(e, ERR_NOMEM, "request");
    }
    type.data = line;
    type.next = c->headers;
    if (content_type != NULL) headers = &type;
    c->length = 0;
    set_options(c, url, body, length);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
    const CURLcode code = curl_easy_perform(c->curl);
    long status = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, NULL);
    mem_free(line);
    mem_free(url);
    if (code != CURLE_OK) {
        (void)err_set(e, ERR_UNAVAILABLE, "%s: %s", path, curl_easy_strerror(code));
        e->source_code = (int)code;
        return ERR_UNAVAILABLE;
    }
    if (status < 200 || status >= 300) return refused(c, status, e);
    return json_parse(c->length > 0 ? c->answer : "{}", c->length > 0 ? c->length : 2, answer, e);
}

int client_send_json(struct client *c, const char *path, const cJSON *body, cJSON **answer,
                     struct err *e)
{
    size_t length = 0;
    char *text = json_print(body, &length);
    if (text == NULL) return err_set(e, ERR_NOMEM, "request");
    const int rc = client_send(c, path, "application/json", text, length, answer, e);
    mem_free(text);
    return rc;
}

int client_insist(struct client *c, const char *path, const char *content_type, const void *body,
                  size_t length, const struct client_patience *p, cJSON **answer, struct err *e)
{
    static const struct timespec pause = { 0, RETRY_MS * 1000000L };
    for (long waited_ms = 0;; waited_ms += RETRY_MS) {
        struct err tried = { 0 }; /* of this try alone: an outage that is over is no fault */
        const int rc = client_send(c, path, content_type, body, length, answer, &tried);
        const long most_ms = p->stop_requested() != 0 ? p->stopped_ms : p->unanswered_ms;
        if (rc != ERR_UNAVAILABLE || waited_ms >= most_ms) {
            if (rc != 0) *e = tried;
            return rc;
        }
        (void)nanosleep(&pause, NULL);
    }
}
