/* socket_client: see socket_client.h. */
#include "server/socket_client.h"

#include "common/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_S 30
#define HEAD_MAX 16384
#define ANSWER_MAX ((size_t)8 << 20)

static int open_socket(const char *path, int patience_s, int *out, struct err *e)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const struct timeval patience = { .tv_sec = patience_s };
    if (strlen(path) >= sizeof a.sun_path)
        return err_set(e, ERR_INVALID, "socket path %.120s is longer than %zu bytes", path,
                       sizeof a.sun_path - 1);
    memcpy(a.sun_path, path, strlen(path) + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return err_errno(e, errno, "socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        const int why = errno;
        (void)close(fd);
        return err_errno(e, why, "no daemon at %.120s (--socket or --state-dir says where)", path);
    }
    *out = fd;
    return 0;
}

static int send_all(int fd, const char *text, struct err *e)
{
    for (size_t at = 0, n = strlen(text); at < n;) {
        const ssize_t sent = send(fd, text + at, n - at, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return err_errno(e, errno, "sending the request");
        at += (size_t)sent;
    }
    return 0;
}

static int send_request(int fd, const char *version, const char *method, const char *path,
                        const char *body, struct err *e)
{
    char *request = mem_printf("%s %s %s\r\nHost: localhost\r\nConnection: close\r\n"
                               "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                               method, path, version, body != NULL ? strlen(body) : 0,
                               body != NULL ? body : "");
    const int rc = request != NULL ? send_all(fd, request, e) : err_set(e, ERR_NOMEM, "request");
    mem_free(request);
    return rc;
}

/* Until the daemon closes: the request asked for that. Caller frees. NULL: see e. */
static char *read_all(int fd, struct err *e)
{
    size_t length = 0, room = 16384;
    char *text = mem_alloc(room);
    while (text != NULL) {
        const ssize_t n = recv(fd, text + length, room - length - 1, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) (void)err_errno(e, errno, "waiting for the answer");
        if (n <= 0) break;
        length += (size_t)n;
        if (room - length > 1) continue;
        char *grown = room < ANSWER_MAX ? mem_realloc_array(text, 2 * room, 1) : NULL;
        if (grown == NULL) {
            (void)err_set(e, ERR_TOO_LARGE, "the answer is over %zu bytes", room);
            break;
        }
        text = grown;
        room *= 2;
    }
    if (text == NULL) (void)err_set(e, ERR_NOMEM, "answer");
    if (text != NULL && e->code == ERR_OK) {
        text[length] = '\0';
        return text;
    }
    mem_free(text);
    return NULL;
}

static int take_answer(const char *text, cJSON **json, struct err *e)
{
    const long status = strncmp(text, "HTTP/1.", 7) == 0 ? strtol(text + 9, NULL, 10) : 0;
    const char *body = strstr(text, "\r\n\r\n");
    if (status == 0 || body == NULL) return err_set(e, ERR_INVALID, "that is no HTTP answer");
    body += 4;
    if (*body != '\0' && json_parse(body, strlen(body), json, e) != 0) return (int)e->code;
    if (status < 400) return 0;
    (void)err_set(e, err_from_name(json_get_string(*json, "code", "")), "%s",
                  json_get_string(*json, "detail", "the daemon refused it"));
    const cJSON *fault = cJSON_GetArrayItem(json_get(*json, "errors"), 0);
    if (fault != NULL)
        (void)err_wrap(e, "%.60s %.140s", json_get_string(fault, "pointer", ""),
                       json_get_string(fault, "detail", ""));
    cJSON_Delete(*json);
    *json = NULL;
    return (int)e->code;
}

int socket_client_call(const char *socket_path, const char *method, const char *path,
                       const char *body, cJSON **json, struct err *e)
{
    int fd = -1;
    *json = NULL;
    if (open_socket(socket_path, PATIENCE_S, &fd, e) != 0) return (int)e->code;
    const int rc = send_request(fd, "HTTP/1.1", method, path, body, e);
    char *answer = rc == 0 ? read_all(fd, e) : NULL;
    if (answer != NULL) (void)take_answer(answer, json, e);
    mem_free(answer);
    (void)close(fd);
    return (int)e->code;
}

/* Byte by byte: what follows the head is not ours to read. */
static int read_head(int fd, char *head, size_t size, struct err *e)
{
    size_t n = 0;
    while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) {
        const ssize_t got = n + 1 < size ? recv(fd, head + n, 1, 0) : 0;
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return err_errno(e, errno, "waiting for the answer");
        if (got == 0) return err_set(e, ERR_INVALID, "that is no HTTP answer");
        n++;
    }
    head[n] = '\0';
    return 0;
}

/* HTTP/1.0: the answer comes without chunks. */
int socket_client_open(const char *socket_path, const char *method, const char *path,
                       const char *body, int patience_s, int *fd, struct err *e)
{
    char head[HEAD_MAX];
    *fd = -1;
    if (open_socket(socket_path, patience_s, fd, e) != 0) return (int)e->code;
    int rc = send_request(*fd, "HTTP/1.0", method, path, body, e);
    if (rc == 0) rc = read_head(*fd, head, sizeof head, e);
    if (rc == 0 && strtol(head + strcspn(head, " "), NULL, 10) < 400) return 0;
    char *rest = rc == 0 ? read_all(*fd, e) : NULL;
    char *whole = rest != NULL ? mem_printf("%s%s", head, rest) : NULL;
    cJSON *json = NULL;
    if (whole != NULL) (void)take_answer(whole, &json, e);
    else if (e->code == ERR_OK) (void)err_set(e, ERR_NOMEM, "answer");
    cJSON_Delete(json);
    mem_free(rest);
    mem_free(whole);
    (void)close(*fd);
    *fd = -1;
    return (int)e->code;
}
