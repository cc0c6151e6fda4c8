/* Tests of client: a daemon that is away for a while, or for good. */
#include "worker/report/client.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/spiked-client-XXXXXX";
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static int stopped;

static int stop_requested(void) { return stopped; }

static struct client *connect_client(void)
{
    char server[150];
    struct client *c = NULL;
    struct err e = { 0 };
    cr_assert(mkdtemp(folder) != NULL);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/sock", folder);
    (void)snprintf(server, sizeof server, "unix:%s", address.sun_path);
    cr_assert(client_create(&c, server, 1, 1, "secret", &e) == 0);
    return c;
}

static void end(struct client *c)
{
    client_destroy(c);
    (void)unlink(address.sun_path);
    (void)rmdir(folder);
}

/* Answers one request with status 200, after the socket was absent for a while. */
static void *late_daemon(void *arg)
{
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{\"ok\": 1}";
    static const struct timespec absent = { 0, 200 * 1000000L };
    char request[2000];
    (void)arg;
    (void)nanosleep(&absent, NULL);
    const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert(bind(listener, (const struct sockaddr *)&address, sizeof address) == 0);
    cr_assert(listen(listener, 1) == 0);
    const int peer = accept(listener, NULL, NULL);
    cr_assert(read(peer, request, sizeof request) > 0);
    cr_assert(write(peer, answer, sizeof answer - 1) == (ssize_t)(sizeof answer - 1));
    (void)close(peer);
    (void)close(listener);
    return NULL;
}

/* Goal: an outage that is over leaves no error behind. It did, and an attempt that had trained to
 * its end reported the outage as its own fault. */
Test(client, reported_2_an_outage_that_is_over_is_no_fault, .timeout = 20)
{
    struct client *c = connect_client();
    const struct client_patience patience = { 10000, 10000, stop_requested };
    pthread_t daemon;
    cJSON *answer = NULL;
    struct err e = { 0 };
    cr_assert(pthread_create(&daemon, NULL, late_daemon, NULL) == 0);
    cr_assert(client_insist(c, "/worker/v1/spec", NULL, NULL, 0, &patience, &answer, &e) == 0);
    cr_expect(json_get_int(answer, "ok", 0) == 1);
    cr_expect(e.code == ERR_OK && e.text[0] == '\0', "%s", e.text);
    cJSON_Delete(answer);
    cr_assert(pthread_join(daemon, NULL) == 0);
    end(c);
}

/* Goal: patience ends, sooner when the worker must stop, and the error says what was tried. */
Test(client, patience_ends, .timeout = 20)
{
    struct client *c = connect_client();
    const struct client_patience patience = { 60000, 0, stop_requested };
    cJSON *answer = NULL;
    struct err e = { 0 };
    stopped = 1;
    cr_assert(client_insist(c, "/worker/v1/spec", NULL, NULL, 0, &patience, &answer, &e) ==
              ERR_UNAVAILABLE);
    cr_expect(e.code == ERR_UNAVAILABLE);
    cr_expect(strstr(e.text, "/worker/v1/spec") != NULL, "%s", e.text);
    cr_expect(answer == NULL);
    end(c);
}
