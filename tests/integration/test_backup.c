/* Stories of backup and restore: a daemon that trains is backed up, everything is there in the
 * other one and is trained on to the same bits; what is damaged, in use or newer is refused. */
#include "common/mem.h"
#include "tests/support/results.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define X "/api/v1/experiments"

static const char *program(void)
{
    const char *path = getenv("SPIKED_PROGRAM");
    return path != NULL ? path : "build/spiked";
}

/* `spiked ARGUMENTS`; its exit code. What it says is in FOLDER/said. */
static int spiked(const struct service *s, const char *arguments)
{
    char *line = mem_printf("%s %s >%s/said 2>&1", program(), arguments, s->folder);
    const int rc = system(line);
    mem_free(line);
    cr_assert(WIFEXITED(rc));
    return WEXITSTATUS(rc);
}

static bool said(const struct service *s, const char *word)
{
    char *line = mem_printf("grep -q '%s' %s/said", word, s->folder);
    const int rc = system(line);
    mem_free(line);
    return rc == 0;
}

static int back_up(const struct service *s, const char *name, const char *more)
{
    char *arguments = mem_printf("backup %s/%s --state-dir %s/state %s", s->folder, name, s->folder,
                                 more);
    const int rc = spiked(s, arguments);
    mem_free(arguments);
    return rc;
}

static int restore(const struct service *from, const char *name, const struct service *to)
{
    char *arguments = mem_printf("restore %s/%s --state-dir %s/state", from->folder, name,
                                 to->folder);
    const int rc = spiked(from, arguments);
    mem_free(arguments);
    return rc;
}

static bool exists(const struct service *s, const char *name)
{
    char path[300];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", s->folder, name);
    return stat(path, &st) == 0;
}

static int64_t submit_fields(const struct service *s, int64_t epochs, const char *fields)
{
    char *spec = small_spec(epochs, fields);
    const int64_t id = submit(s, spec);
    mem_free(spec);
    return id;
}

static bool in_state(const struct service *s, int64_t id, const char *state, const char *reason)
{
    cJSON *x = experiment(s, id);
    const bool is = strcmp(json_get_string(x, "state", ""), state) == 0 &&
                    strcmp(json_get_string(x, "reason", ""), reason) == 0;
    cJSON_Delete(x);
    return is;
}

static char *body_of(const struct service *s, const char *path)
{
    struct answer a = http_get(s, path);
    cr_assert_eq(a.status, 200, "%s: %ld", path, a.status);
    char *body = a.body;
    a.body = NULL;
    answer_free(&a);
    return body;
}

static void expect_equal(const struct service *a, const struct service *b, const char *path)
{
    char *x = body_of(a, path), *y = body_of(b, path);
    cr_expect(strcmp(x, y) == 0, "%s differs:\n%.300s\n%.300s", path, x, y);
    mem_free(x);
    mem_free(y);
}

static void act(const struct service *s, int64_t id, const char *action)
{
    char path[80];
    (void)snprintf(path, sizeof path, X "/%lld/%s", (long long)id, action);
    struct answer a = http_post(s, path, "{}");
    cr_assert_eq(a.status, 202, "%s: %ld %s", path, a.status, a.body);
    answer_free(&a);
}

/* ---- load ------------------------------------------------------------------------------------ */
struct load {
    const struct service *s;
    atomic_bool end;
    int64_t accepted;
};

static void *submit_all_the_time(void *ctx)
{
    struct load *l = ctx;
    while (!atomic_load(&l->end)) l->accepted = submit_fields(l->s, 1, "\"seed\": 9");
    return NULL;
}

/* Goal: a backup that is made while one experiment trains and others come holds all of them; in the
 * restored one what had ended is as it was, what waited waits, what ran is held with its reason and
 * goes on, when it may, to the bits it would have had. No worker or session of the old one is
 * let in, and event ids are later ones. */
Test(backup, everything_is_there_and_is_trained_on, .timeout = 180)
{
    static struct service a, b;
    static const char *const options[] = { "--max-running", "1", "--workers", "stop" };
    memcpy(a.extra, options, sizeof options);
    memcpy(b.extra, options, sizeof options);
    service_start(&a);
    const int64_t done = submit_fields(&a, 1, "\"seed\": 5");
    cr_assert(wait_state(&a, done, "succeeded", 60));
    const int64_t ran = submit_fields(&a, 4, "\"seed\": 3");
    cr_assert(wait_step(&a, ran, 30, 60));
    struct load load = { .s = &a };
    pthread_t thread;
    cr_assert(pthread_create(&thread, NULL, submit_all_the_time, &load) == 0);
    cr_assert_eq(back_up(&a, "whole.tar", ""), 0, "see %s/said", a.folder);
    atomic_store(&load.end, true);
    (void)pthread_join(thread, NULL);
    cr_expect(load.accepted > ran, "nothing came meanwhile");
    cr_expect(!exists(&a, "whole.tar.part") && !exists(&a, "state/backup.tmp"));

    service_prepare(&b);
    cr_assert_eq(restore(&a, "whole.tar", &b), 0, "see %s/said", a.folder);
    service_restart(&b);
    char path[120];
    (void)snprintf(path, sizeof path, X "/%lld", (long long)done);
    expect_equal(&a, &b, path);
    (void)snprintf(path, sizeof path, X "/%lld/metrics/train/loss?format=csv", (long long)done);
    expect_equal(&a, &b, path);
    (void)snprintf(path, sizeof path, X "/%lld/logs", (long long)done);
    expect_equal(&a, &b, path);
    cr_expect(in_state(&b, ran, "held", "restored"));
    struct answer me = http_get(&b, X);
    cr_expect(strstr(me.head, "X-Event-Id: 1000") != NULL, "%s", me.head);
    answer_free(&me);

    cr_assert(wait_state(&a, ran, "succeeded", 60));
    act(&b, ran, "resume");
    cr_assert(wait_state(&b, ran, "succeeded", 120));
    cr_expect_geq(experiment_int(&b, ran, NULL, "attempt"), 2);
    expect_same_on(&a, ran, &b, ran);
    service_end(&a);
    service_end(&b);
}

/* ---- what is refused ------------------------------------------------------------------------- */
static void flip(const struct service *s, const char *name, off_t at)
{
    char path[200];
    unsigned char byte;
    (void)snprintf(path, sizeof path, "%s/%s", s->folder, name);
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 0x10;
    cr_assert(pwrite(fd, &byte, 1, at) == 1);
    (void)close(fd);
}

static off_t size_of(const struct service *s, const char *name)
{
    char path[200];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", s->folder, name);
    cr_assert(stat(path, &st) == 0);
    return st.st_size;
}

/* Goal: a byte that has changed anywhere, or an end that is missing, is found before anything of
 * the new state directory is there; so are a folder in use and a program that is too old. */
Test(backup, what_is_damaged_or_newer_is_refused, .timeout = 120)
{
    static struct service a, b;
    a.extra[0] = "--max-running";
    a.extra[1] = "1";
    service_start(&a);
    const int64_t id = submit_fields(&a, 1, "\"seed\": 5");
    cr_assert(wait_state(&a, id, "succeeded", 60));
    service_stop(&a);
    cr_assert_eq(back_up(&a, "b.tar", ""), 0, "see %s/said", a.folder); /* without a daemon */
    cr_expect_neq(back_up(&a, "b.tar", ""), 0);
    cr_expect(said(&a, "is not written over"));
    service_prepare(&b);

    const off_t size = size_of(&a, "b.tar");
    for (int i = 0; i < 12; i++) {
        const off_t at = i < 11 ? size / 11 * i + 7 : size - 1;
        flip(&a, "b.tar", at);
        cr_expect_neq(restore(&a, "b.tar", &b), 0, "byte %lld", (long long)at);
        cr_expect(!exists(&b, "state"), "byte %lld", (long long)at);
        flip(&a, "b.tar", at);
    }
    char path[200];
    (void)snprintf(path, sizeof path, "%s/b.tar", a.folder);
    cr_assert_eq(truncate(path, size - 512), 0);
    cr_expect_neq(restore(&a, "b.tar", &b), 0);
    cr_expect(said(&a, "cut off"));

    static const unsigned char newer[4] = { 0, 0, 3, 231 }; /* user_version 999 */
    (void)snprintf(path, sizeof path, "%s/state/spiked.db", a.folder);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert(fd >= 0 && pwrite(fd, newer, sizeof newer, 60) == sizeof newer && close(fd) == 0);
    cr_assert_eq(back_up(&a, "newer.tar", "--without-files"), 0, "see %s/said", a.folder);
    cr_expect_neq(restore(&a, "newer.tar", &b), 0);
    cr_expect(said(&a, "999") && !exists(&b, "state"));
    cr_expect_neq(restore(&a, "newer.tar", &a), 0);
    cr_expect(said(&a, "is not empty"));
    service_end(&a);
    service_end(&b);
}
