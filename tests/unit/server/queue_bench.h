/* queue_bench: a real queue with real databases and a launcher that starts nothing, for tests of
 * what happens between the judgement of a change and its commit. The test plays the workers and
 * holds the writer thread. One test, one thread. */
#ifndef TESTS_QUEUE_BENCH_H
#define TESTS_QUEUE_BENCH_H

#include "common/clock.h"
#include "common/mem.h"
#include "server/launcher/process_id.h"
#include "server/queue/queue_internal.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIXTURE __attribute__((unused)) static
#define ADA 1000 /* user ids */
#define BOB 1001
#define FIRST_PID 1000

struct fake_launcher {
    struct launcher base;
    int64_t started, released, killed, asked; /* asked: whether an earlier process lives */
    enum launcher_adoption adoption;          /* the answer to that */
    char boot_id[40];                         /* of the processes it makes */
    char secret[SECRET_HEX_MAX];              /* of the last of them */
};
struct bench {
    uv_loop_t loop;
    struct fake_launcher launcher;
    struct queue_options options;
    struct queue *q;
    char folder[40], files[48];
    uv_sem_t held;
    int64_t deleted_told; /* experiment.deleted events */
};
/* What a callback was told. */
struct told {
    int calls;
    enum err_code code;
    char text[ERR_TEXT_MAX];
    int64_t id;
};

/* ---- launcher -------------------------------------------------------------------------------- */
static int fake_start(struct launcher *l, const struct launch *what, struct launched *out,
                      struct err *e)
{
    struct fake_launcher *f = container_of(l, struct fake_launcher, base);
    (void)e;
    f->started++;
    (void)snprintf(f->secret, sizeof f->secret, "%s", what->secret);
    *out = (struct launched){ .pid = FIRST_PID + f->started, .start_ticks = 1 };
    (void)snprintf(out->boot_id, sizeof out->boot_id, "%s", f->boot_id);
    return 0;
}

static void fake_release(struct launcher *l, int64_t x, int64_t attempt)
{
    (void)x, (void)attempt;
    container_of(l, struct fake_launcher, base)->released++;
}

static enum launcher_adoption fake_adopt(struct launcher *l, int64_t x, int64_t attempt,
                                         const struct launched *p, struct err *e)
{
    struct fake_launcher *f = container_of(l, struct fake_launcher, base);
    (void)x, (void)attempt;
    cr_assert(p->pid > FIRST_PID && p->start_ticks == 1);
    f->asked++;
    if (f->adoption == ADOPTION_UNKNOWN) (void)err_set(e, ERR_IO, "no descriptor is free");
    return f->adoption;
}

static void fake_settle(struct launcher *l) { (void)l; }

static void fake_stop(struct launcher *l, int64_t x, int64_t attempt, bool hard)
{
    (void)x, (void)attempt;
    container_of(l, struct fake_launcher, base)->killed += hard;
}

static void fake_close(struct launcher *l, void (*on_closed)(void *ctx), void *ctx)
{
    (void)l;
    on_closed(ctx);
}

static const struct launcher_ops fake_ops = { fake_start,  fake_release, fake_adopt,
                                              fake_settle, fake_stop,    fake_close };

/* ---- opening and closing --------------------------------------------------------------------- */
static void count_event(void *ctx, const char *event, int64_t experiment, const char *json)
{
    struct bench *b = ctx;
    (void)experiment, (void)json;
    b->deleted_told += strcmp(event, "experiment.deleted") == 0;
}

static void ignore_points(void *ctx, int64_t experiment, const struct points_gather *points)
{
    (void)ctx, (void)experiment, (void)points;
}

FIXTURE void bench_reopen(struct bench *b)
{
    struct err e = { 0 };
    cr_assert_eq(uv_loop_init(&b->loop), 0);
    cr_assert_eq(queue_open(&b->q, &b->loop, &b->options, &b->launcher.base,
                            (struct queue_observer){ b, count_event, ignore_points }, &e),
                 0, "%s", e.text);
}

FIXTURE void bench_open(struct bench *b, int64_t max_running)
{
    *b = (struct bench){ .folder = "/tmp/spiked-queue-XXXXXX",
                         .launcher.base.ops = &fake_ops,
                         .launcher.adoption = ADOPTION_GONE };
    process_boot_id(b->launcher.boot_id);
    cr_assert(mkdtemp(b->folder) != NULL);
    (void)snprintf(b->files, sizeof b->files, "%s/files", b->folder);
    b->options = (struct queue_options){ .state_dir = b->folder,
                                         .files_dir = b->files,
                                         .data_dir = b->folder,
                                         .worker_program = "none",
                                         .worker_socket = "none",
                                         .max_running = max_running,
                                         .start_timeout_s = 600,
                                         .backoff_first_ms = 1,
                                         .queued_per_user_max = 100 };
    (void)uv_sem_init(&b->held, 0);
    bench_reopen(b);
}

static void bench_closed(void *ctx) { *(bool *)ctx = true; }
static void bench_quiet(void *ctx) { (void)ctx; }

FIXTURE void bench_stop(struct bench *b)
{
    bool closed = false;
    queue_close(b->q, bench_quiet, bench_closed, &closed);
    while (!closed) (void)uv_run(&b->loop, UV_RUN_ONCE);
    (void)uv_run(&b->loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&b->loop), 0, "a handle is left");
}

FIXTURE void bench_close(struct bench *b)
{
    char command[80];
    bench_stop(b);
    uv_sem_destroy(&b->held);
    (void)snprintf(command, sizeof command, "rm -rf %s", b->folder);
    cr_assert_eq(system(command), 0);
}

/* ---- time ------------------------------------------------------------------------------------ */
static int64_t bench_mono_ms = 1000000, bench_wall_ms = 1790000000000;

static int64_t bench_mono(void) { return bench_mono_ms; }
static int64_t bench_wall(void) { return bench_wall_ms; }

/* From now on time goes on by bench_pass alone. */
FIXTURE void bench_take_clock(void) { clock_override(bench_mono, bench_wall); }

/* Until nothing is being written. */
FIXTURE void bench_settle(struct bench *b)
{
    for (int quiet = 0; quiet < 3; quiet++) {
        (void)uv_run(&b->loop, UV_RUN_NOWAIT);
        if (!store_idle(b->q->main) || !store_idle(b->q->metrics) || b->q->reads > 0) quiet = 0;
        usleep(500);
    }
}

/* Time goes on for everybody, and the queue looks at what it means. */
FIXTURE void bench_pass(struct bench *b, int64_t ms)
{
    bench_mono_ms += ms;
    bench_wall_ms += ms;
    b->q->ticked_ms = 0; /* the loop was not late: it is the clock that is not real */
    scheduler_tick(b->q);
    bench_settle(b);
}

FIXTURE bool bench_wait(struct bench *b, int64_t id, enum experiment_state state)
{
    for (int i = 0; i < 4000; i++) {
        const struct entry *e = queue_entry(b->q, id);
        if (e != NULL && e->x.state == state && !e->writing) return true;
        (void)uv_run(&b->loop, UV_RUN_NOWAIT);
        usleep(500);
    }
    return false;
}

struct held_job {
    struct store_job job;
    struct bench *b;
};

static int wait_held(struct store_job *job, sqlite3 *db, struct err *e)
{
    (void)db, (void)e;
    uv_sem_wait(&container_of(job, struct held_job, job)->b->held);
    return 0;
}

static void free_job(struct store_job *job, const struct err *e)
{
    (void)e;
    mem_free(job);
}

/* What is handed to the writer from now on is judged, and not written before bench_release. */
FIXTURE void bench_hold(struct bench *b)
{
    struct held_job *h = mem_calloc(1, sizeof *h);
    h->job = (struct store_job){ .run = wait_held, .done = free_job };
    h->b = b;
    store_submit(b->q->main, &h->job);
    usleep(20000); /* it has begun: what comes is another transaction */
}

FIXTURE void bench_release(struct bench *b)
{
    uv_sem_post(&b->held);
    bench_settle(b);
}

/* Runs SQL on the writer's connection while the writer has nothing to do. */
FIXTURE void bench_sql(struct bench *b, const char *sql)
{
    bench_settle(b);
    char *fault = NULL;
    (void)sqlite3_exec(store_db_at_start(b->q->main), sql, NULL, NULL, &fault);
    cr_assert(fault == NULL, "%s", fault);
}

FIXTURE int64_t bench_count(struct bench *b, const char *sql)
{
    sqlite3_stmt *s = NULL;
    bench_settle(b);
    cr_assert_eq(sqlite3_prepare_v2(store_db_at_start(b->q->main), sql, -1, &s, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_step(s), SQLITE_ROW);
    const int64_t n = sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    return n;
}

/* ---- people ---------------------------------------------------------------------------------- */
static void tell_done(void *ctx, const struct experiment *x, const struct err *e)
{
    struct told *t = ctx;
    t->calls++;
    t->code = e->code;
    t->id = x != NULL ? x->id : 0;
    (void)snprintf(t->text, sizeof t->text, "%s", e->text);
}

FIXTURE struct queue_actor bench_actor(uid_t uid, const char *name)
{
    return (struct queue_actor){ .user = name, .uid = uid };
}

/* Hands a submission over; t must live until it is told. */
FIXTURE void bench_send(struct bench *b, struct queue_actor who, const char *key,
                        const char *fields, const struct dependency *after, size_t n_after,
                        struct told *t)
{
    struct spec spec;
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    struct err e = { 0 };
    char *text = small_spec(1, fields);
    cr_assert_eq(spec_parse_text(text, strlen(text), &spec, faults, &e), 0, "%s", e.text);
    const struct queue_submission s = { .actor = who,
                                        .spec = &spec,
                                        .key = { who.user, key, NULL, text, strlen(text) },
                                        .request_id = "test",
                                        .after = after,
                                        .n_after = n_after };
    queue_submit(b->q, &s, tell_done, t);
    spec_deinit(&spec);
    mem_free(faults);
    mem_free(text);
}

FIXTURE int64_t bench_submit(struct bench *b, const struct dependency *after, size_t n_after)
{
    struct told t = { 0 };
    bench_send(b, bench_actor(ADA, "ada"), NULL, NULL, after, n_after, &t);
    while (t.calls == 0) (void)uv_run(&b->loop, UV_RUN_ONCE);
    cr_assert_eq(t.code, ERR_OK, "%s", t.text);
    return t.id;
}

FIXTURE void bench_act(struct bench *b, int64_t id, enum queue_action action, struct told *t)
{
    queue_act(b->q, id, action, bench_actor(ADA, "ada"), 30, tell_done, t);
}

/* The same, done. */
FIXTURE void bench_do(struct bench *b, int64_t id, enum queue_action action)
{
    struct told t = { 0 };
    bench_act(b, id, action, &t);
    while (t.calls == 0) (void)uv_run(&b->loop, UV_RUN_ONCE);
    cr_assert_eq(t.code, ERR_OK, "%s", t.text);
}

/* ---- workers --------------------------------------------------------------------------------- */
static void tell_answer(void *ctx, const char *json, const struct err *e)
{
    struct told *t = ctx;
    t->calls++;
    t->code = e->code;
    (void)snprintf(t->text, sizeof t->text, "%s", json != NULL ? json : e->text);
}

typedef void (*worker_message)(struct queue *q, struct queue_credentials c, const cJSON *body,
                               queue_answer_fn done, void *ctx);
FIXTURE void bench_say(struct bench *b, worker_message message, int64_t id, int64_t attempt,
                       const char *secret, const char *body, struct told *t)
{
    cJSON *json = NULL;
    struct err e = { 0 };
    cr_assert_eq(json_parse(body, strlen(body), &json, &e), 0, "%s", e.text);
    message(b->q, (struct queue_credentials){ id, attempt, secret }, json, tell_answer, t);
    cJSON_Delete(json);
}

#define HELLO "{\"protocol\": 1, \"host\": \"here\", \"resume_step\": 0, \"steps_total\": 40}"

/* The worker that was started last says it, and is answered. */
FIXTURE void bench_worker(struct bench *b, worker_message message, int64_t id, const char *body)
{
    struct told t = { 0 };
    const struct entry *e = queue_entry(b->q, id);
    bench_say(b, message, id, e->x.attempt, b->launcher.secret, body, &t);
    while (t.calls == 0) (void)uv_run(&b->loop, UV_RUN_ONCE);
    cr_assert_eq(t.code, ERR_OK, "%s", t.text);
}

FIXTURE void bench_exit(struct bench *b, int64_t id, int64_t attempt, int signal)
{
    b->launcher.base.on_exit(b->launcher.base.on_exit_ctx, id, attempt,
                             (struct launcher_exit){ signal != 0 ? -1 : 0, signal, false, 0 });
}

/* Runs to its end with that status. */
FIXTURE void bench_run(struct bench *b, int64_t id, const char *status)
{
    char body[40];
    (void)snprintf(body, sizeof body, "{\"status\": \"%s\"}", status);
    cr_assert(bench_wait(b, id, STATE_STARTING));
    bench_settle(b);
    bench_worker(b, queue_worker_hello, id, HELLO);
    bench_worker(b, queue_worker_finish, id, body);
    bench_exit(b, id, queue_entry(b->q, id)->x.attempt, 0);
    bench_settle(b);
}

#endif
