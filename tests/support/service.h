/* service: a real daemon with real workers in a folder of its own, for stories. One story, one
 * thread. */
#ifndef TESTS_SERVICE_H
#define TESTS_SERVICE_H

#include "common/json.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct service {
    char folder[128];  /* temporary; holds state, data and specs */
    char base[64];     /* "http://127.0.0.1:43121" */
    int port;
    const char *unix_socket; /* calls go through this one; NULL: TCP */
    pid_t pid;         /* 0 = not running */
    const char *extra[12]; /* further arguments, NULL-terminated */
    const char *ca;       /* file of the certificate that base's https is checked with */
    const char *program;  /* NULL: $SPIKED_PROGRAM, or build/spiked */
    const char *env[8];   /* "NAME=value" of the daemon, beside its own; NULL-terminated */
};
/* Makes a fresh folder and finds a port. */
void service_prepare(struct service *s);
/* service_prepare, then starts and waits until it is ready; fails the test otherwise. */
void service_start(struct service *s);
/* Starts again on the same folder. */
void service_restart(struct service *s);
/* The same; false when the daemon ended before it was ready. */
bool service_try_restart(struct service *s);
/* SIGTERM, waits; then proves that no process of the folder is left and removes it. */
void service_end(struct service *s);
void service_stop(struct service *s);       /* SIGTERM and wait, keeps the folder */
void service_kill(struct service *s);       /* SIGKILL: no chance to tidy up */
/* A worker of this service; 0 = none. */
pid_t service_worker(const struct service *s);
/* Processes that carry the folder's name in their environment or arguments. */
int service_processes(const struct service *s);
/* An address of this machine that is not loopback; false: it has none. */
bool service_own_address(char out[INET_ADDRSTRLEN]);

/* ---- HTTP ------------------------------------------------------------------------------------ */
struct answer {
    long status;
    char *head; /* header lines as received */
    char *body;
    size_t length;
    cJSON *json; /* NULL when the body is not JSON */
};
void answer_free(struct answer *a);
/* path begins with "/"; body NULL = none; headers NULL-terminated "Name: value", or NULL. */
struct answer http_call(const struct service *s, const char *method, const char *path,
                        const char *body, const char *const *headers);
struct answer http_get(const struct service *s, const char *path);
struct answer http_post(const struct service *s, const char *path, const char *body);
/* The status of the same call by another user of this machine, who is no admin; 0: this test is not
 * run by root. */
long http_status_as(const struct service *s, uid_t uid, const char *method, const char *path,
                    const char *body);
/* Reads an event stream until it holds `until` or the time is over. Caller frees with mem_free. */
char *http_stream(const struct service *s, const char *path, const char *until, int seconds);

/* ---- experiments ----------------------------------------------------------------------------- */
/* A small glyphs spec: `fields` replaces or adds top-level fields, e.g. "\"seed\": 3". */
char *small_spec(int64_t epochs, const char *fields);
int64_t submit(const struct service *s, const char *spec);
/* GET experiment; caller deletes. */
cJSON *experiment(const struct service *s, int64_t id);
/* Waits until the state is one of "a|b"; false when the time is over. */
bool wait_state(const struct service *s, int64_t id, const char *states, int seconds);
/* Waits until the worker has done so many steps. */
bool wait_step(const struct service *s, int64_t id, int64_t step, int seconds);
/* A number of the experiment object, "progress/step". */
int64_t experiment_int(const struct service *s, int64_t id, const char *object, const char *name);
void sleep_ms(int ms);

#endif
