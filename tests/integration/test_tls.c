/* Story of https: a certificate, its renewal while connections are open, and what is refused. */
#include "common/clock.h"
#include "common/mem.h"
#include "tests/support/service.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int shell(const char *command)
{
    const int rc = system(command);
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

/* FOLDER/NAME.pem and NAME.key, for 127.0.0.1 and address. */
static void make_certificate(const struct service *s, const char *name, const char *address)
{
    char *command = mem_printf(
        "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-subj /CN=%s -addext subjectAltName=IP:127.0.0.1,IP:%s -keyout %s.key -out %s.pem "
        "2>/dev/null",
        s->folder, name, address, name, name);
    cr_assert_eq(shell(command), 0, "%s", command);
    mem_free(command);
}

static void put_in_place(const struct service *s, const char *cert, const char *key)
{
    char *command = mem_printf("cd %s && cp %s.pem used.pem && cp %s.key used.key", s->folder, cert,
                               key);
    cr_assert_eq(shell(command), 0);
    mem_free(command);
}

/* A status by the certificate in file: 0 when it does not fit, or nothing answers. */
static long status_by(const struct service *s, const char *file, const char *path)
{
    struct service by = *s;
    by.ca = file;
    struct answer a = http_get(&by, path);
    const long status = a.status;
    answer_free(&a);
    return status;
}

static bool log_says(const struct service *s, const char *words)
{
    char *command = mem_printf("grep -q '%s' %s/daemon.log", words, s->folder);
    const int64_t until = clock_mono_ms() + 5000;
    int rc;
    while ((rc = shell(command)) != 0 && clock_mono_ms() < until) sleep_ms(30);
    mem_free(command);
    return rc == 0;
}

/* A process that has a stream open and ends with 0 when it has heard of an experiment. */
static pid_t listen_apart(const struct service *s)
{
    const pid_t pid = fork();
    if (pid != 0) return pid;
    char *text = http_stream(s, "/api/v1/events", "event: experiment.state", 20);
    _exit(strstr(text, "event: experiment.state") != NULL ? 0 : 1);
}

/* Goal: https alone on this port, with a certificate that can be renewed under open streams; a pair
 * that does not fit changes nothing. */
Test(tls, a_certificate_is_renewed_under_open_connections, .timeout = 60)
{
    struct service s = { 0 };
    char one[160], two[160], used[160], key[160], plain[64];
    service_prepare(&s);
    make_certificate(&s, "one", "127.0.0.1");
    make_certificate(&s, "two", "127.0.0.1");
    put_in_place(&s, "one", "one");
    (void)snprintf(one, sizeof one, "%s/one.pem", s.folder);
    (void)snprintf(two, sizeof two, "%s/two.pem", s.folder);
    (void)snprintf(used, sizeof used, "%s/used.pem", s.folder);
    (void)snprintf(key, sizeof key, "%s/used.key", s.folder);
    s.extra[0] = "--tls-cert", s.extra[1] = used, s.extra[2] = "--tls-key", s.extra[3] = key;
    s.ca = one;
    (void)memcpy(plain, s.base, sizeof plain);
    (void)snprintf(s.base, sizeof s.base, "https://127.0.0.1:%d", s.port);
    service_restart(&s);
    cr_assert_eq(status_by(&s, two, "/healthz"), 0, "the certificate is not checked");
    struct service unsafe = s;
    (void)memcpy(unsafe.base, plain, sizeof plain);
    cr_assert_eq(status_by(&unsafe, one, "/healthz"), 0, "plain http is answered");
    const pid_t listener = listen_apart(&s);
    sleep_ms(400);
    put_in_place(&s, "two", "one");
    cr_assert_eq(kill(s.pid, SIGHUP), 0);
    cr_assert(log_says(&s, "is not the key of --tls-cert"));
    cr_assert_eq(status_by(&s, one, "/api/v1/me"), 200);
    put_in_place(&s, "two", "two");
    cr_assert_eq(kill(s.pid, SIGHUP), 0);
    cr_assert(log_says(&s, "the certificate was read again"));
    cr_assert_eq(status_by(&s, two, "/api/v1/me"), 200);
    cr_assert_eq(status_by(&s, one, "/api/v1/me"), 0);
    s.ca = two;
    char *spec = small_spec(1, NULL);
    (void)submit(&s, spec);
    mem_free(spec);
    int status = -1;
    cr_assert(waitpid(listener, &status, 0) == listener && status == 0, "the stream was cut");
    cr_assert(wait_state(&s, 1, "succeeded", 60));
    service_end(&s);
}

/* Goal: who comes from elsewhere is told to stay with https; who is on this machine is not. */
Test(tls, beyond_this_machine_https_is_kept, .timeout = 30)
{
    struct service s = { 0 };
    char pem[160], key[160], address[INET_ADDRSTRLEN] = "127.0.0.1", listen_on[40];
    const bool outside = service_own_address(address);
    service_prepare(&s);
    make_certificate(&s, "one", address);
    (void)snprintf(pem, sizeof pem, "%s/one.pem", s.folder);
    (void)snprintf(key, sizeof key, "%s/one.key", s.folder);
    (void)snprintf(listen_on, sizeof listen_on, "0.0.0.0:%d", s.port);
    const char *const extra[] = { "--listen", listen_on, "--tls-cert", pem, "--tls-key", key };
    memcpy(s.extra, extra, sizeof extra);
    char *hosts = mem_printf("SPIKED_HOSTS=%s", address);
    s.env[0] = hosts;
    s.ca = pem;
    (void)snprintf(s.base, sizeof s.base, "https://127.0.0.1:%d", s.port);
    service_restart(&s);
    struct answer a = http_get(&s, "/healthz");
    cr_assert(a.status == 200 && strstr(a.head, "Strict-Transport-Security") == NULL, "%s", a.head);
    cr_assert(strstr(a.head, "X-Content-Type-Options: nosniff") != NULL &&
                  strstr(a.head, "frame-ancestors 'none'") != NULL,
              "%s", a.head);
    answer_free(&a);
    if (outside) {
        (void)snprintf(s.base, sizeof s.base, "https://%s:%d", address, s.port);
        a = http_get(&s, "/healthz");
        cr_assert(a.status == 200 && strstr(a.head, "Strict-Transport-Security: max-age=") != NULL,
                  "%ld %s", a.status, a.head);
        answer_free(&a);
        a = http_get(&s, "/api/v1/experiments");
        cr_assert_eq(a.status, 401);
        answer_free(&a);
        char *origin = mem_printf("Origin: http://%s:%d", address, s.port);
        const char *const headers[] = { origin, NULL };
        a = http_call(&s, "GET", "/healthz", NULL, headers);
        cr_assert_eq(a.status, 403, "a page that came by plain http is ours: %ld", a.status);
        answer_free(&a);
        mem_free(origin);
    }
    service_end(&s);
    mem_free(hosts);
}

/* Goal: nothing listens beyond this machine in the clear by mistake, and half a pair is none. */
Test(tls, what_cannot_be_meant_is_refused, .timeout = 30)
{
    struct service s = { 0 };
    service_prepare(&s);
    make_certificate(&s, "one", "127.0.0.1");
    make_certificate(&s, "two", "127.0.0.1");
    static const struct {
        const char *options, *words;
    } refused[] = {
        { "--listen 0.0.0.0:8080", "has no TLS; give --tls-cert" },
        { "--tls-cert one.pem", "given together" },
        { "--tls-key one.key --listen 0.0.0.0:8080", "given together" },
        { "--tls-cert one.pem --tls-key two.key", "is not the key of" },
        { "--tls-cert none.pem --tls-key one.key", "--tls-cert none.pem" },
        { "--tls-cert one.key --tls-key one.key", "--tls-cert one.key" },
        { "--tls-cert one.pem --tls-key one.pem", "--tls-key one.pem" },
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        char *command = mem_printf(
            "P=$PWD/build/spiked; cd %s && ! $P check-config %s >out 2>&1 && grep -qe '%s' out",
            s.folder, refused[i].options, refused[i].words);
        cr_expect_eq(shell(command), 0, "%s", refused[i].options);
        mem_free(command);
    }
    char *good = mem_printf("P=$PWD/build/spiked; cd %s && $P check-config --listen 0.0.0.0:8080 "
                            "--tls-cert one.pem --tls-key one.key >/dev/null",
                            s.folder);
    cr_expect_eq(shell(good), 0);
    mem_free(good);
    service_end(&s);
}
