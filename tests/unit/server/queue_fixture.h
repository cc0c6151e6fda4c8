/* queue_fixture: a queue over real databases in a folder of its own, with clocks that the test sets
 * and a launcher that makes no processes. One test, one thread, one fixture. */
#ifndef TESTS_QUEUE_FIXTURE_H
#define TESTS_QUEUE_FIXTURE_H

#include "server/launcher/process_id.h"
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/store/stmt.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURE_PID 4711

struct fixture {
    uv_loop_t loop;
    struct queue *q;
    char folder[64], files[80];
    struct launcher launcher; /* scripted: */
    enum launcher_adoption adoption;
    char boot_id[40]; /* of the processes it makes */
    int starts, releases, adoptions, kills;
    char secret[SECRET_HEX_MAX];
    bool stop_workers;
    bool told, closed;
    struct err answer;
};
static struct fixture fx;
static int64_t fixture_mono_ms = 1000000, fixture_wall_ms = 1790000000000;

static int64_t fixture_mono(void) { return fixture_mono_ms; }
static int64_t fixture_wall(void) { return fixture_wall_ms; }

/* ---- the launcher ---------------------------------------------------------------------------- */
static int fixture_launch(struct launcher *l, const struct launch *what, struct launched *out,
                          struct err *e)
{
    (void)l;
    (void)e;
    *out = (struct launched){ .pid = FIXTURE_PID + fx.starts++, .start_ticks = 1 };
    (void)snprintf(out->boot_id, sizeof out->boot_id, "%s", fx.boot_id);
    (void)snprintf(fx.secret, sizeof fx.secret, "%s", what->secret);
    return 0;
}

static void fixture_release(struct launcher *l, int64_t experiment, int64_t attempt)
{
    (void)l;
    (void)experiment;
    (void)attempt;
    fx.releases++;
}

static enum launcher_adoption fixture_adopt(struct launcher *l, int64_t experiment, int64_t attempt,
                                            const struct launched *process, struct err *e)
{
    (void)l;
    (void)experiment;
    (void)attempt;
    cr_assert(process->pid >= FIXTURE_PID && process->start_ticks == 1);
    fx.adoptions++;
    if (fx.adoption == ADOPTION_UNKNOWN) (void)err_set(e, ERR_IO, "no descriptor is free");
    return fx.adoption;
}

static void fixture_settle(struct launcher *l) { (void)l; }

static void fixture_stop(struct launcher *l, int64_t experiment, int64_t attempt, bool hard)
{
    (void)l;
    (void)experiment;
    (void)attempt;
    fx.kills += hard;
}

static void fixture_close(struct launcher *l, void (*on_closed)(void *ctx), void *ctx)
{
    (void)l;
    on_closed(ctx);
}

static const struct launcher_ops fixture_ops = { fixture_launch, fixture_release, fixture_adopt,
                                                 fixture_settle, fixture_stop,    fixture_close };

/* ---- the queue ------------------------------------------------------------------------------- */
static void fixture_publish(void *ctx, const char *event, int64_t experiment, const char *json)
{
    (void)ctx;
    (void)event;
    (void)experiment;
    (void)json;
}

static inline void fixture_reopen(void)
{
    struct err e = { 0 };
    const struct queue_options o = { .state_dir = fx.folder,
                                     .files_dir = fx.files,
                                     .data_dir = fx.folder,
                                     .worker_program = "/worker",
                                     .worker_socket = "/socket",
                                     .max_running = 1,
                                     .start_timeout_s = 600,
                                     .backoff_first_ms = 10,
                                     .queued_per_user_max = 10,
                                     .stop_workers = fx.stop_workers };
    const struct queue_observer observer = { NULL, fixture_publish };
    fx.closed = false;
    cr_assert_eq(queue_open(&fx.q, &fx.loop, &o, &fx.launcher, observer, &e), 0, "%s", e.text);
}

static inline void fixture_open(void)
{
    clock_override(fixture_mono, fixture_wall);
    (void)snprintf(fx.folder, sizeof fx.folder, "/tmp/spiked-queue-XXXXXX");
    cr_assert(mkdtemp(fx.folder) != NULL && uv_loop_init(&fx.loop) == 0);
    (void)snprintf(fx.files, sizeof fx.files, "%s/files", fx.folder);
    fx.launcher.ops = &fixture_ops;
    process_boot_id(fx.boot_id);
    fixture_reopen();
}

/* Until nothing is being written or read. */
static inline void fixture_settle_writes(void)
{
    while (!store_idle(fx.q->main) || !store_idle(fx.q->metrics) || fx.q->reads > 0)
        (void)uv_run(&fx.loop, UV_RUN_ONCE);
}

static void fixture_quiet(void *ctx) { (void)ctx; }
static void fixture_closed(void *ctx)
{
    (void)ctx;
    fx.closed = true;
}

static inline void fixture_end_queue(void)
{
    queue_close(fx.q, fixture_quiet, fixture_closed, NULL);
    while (!fx.closed) (void)uv_run(&fx.loop, UV_RUN_ONCE);
}

static inline void fixture_close_all(void)
{
    fixture_end_queue();
    cr_assert_eq(uv_loop_close(&fx.loop), 0);
    char *command = mem_printf("rm -rf '%s'", fx.folder);
    cr_assert(system(command) == 0);
    mem_free(command);
}

/* Time goes on for everybody, and the queue looks at what it means. */
static inline void fixture_pass(int64_t ms)
{
    fixture_mono_ms += ms;
    fixture_wall_ms += ms;
    fx.q->ticked_ms = 0; /* the loop was not late: it is the clock that is not real */
    scheduler_tick(fx.q);
    fixture_settle_writes();
}

static inline void fixture_told(void *ctx, const struct experiment *x, const struct err *e)
{
    (void)ctx;
    (void)x;
    fx.told = true;
    fx.answer = *e;
}

/* Hands a submission over; fx.told when it is committed. */
static inline void fixture_submit(const char *fields)
{
    struct spec spec;
    struct json_faults faults = { 0 };
    struct err e = { 0 };
    char *text = mem_printf("{\"version\": 1, \"dataset\": {\"name\": \"glyphs\"}, \"network\": "
                            "{\"layers\": [{\"type\": \"flatten\"}, {\"type\": \"linear\", "
                            "\"out_features\": 10}]}%s}",
                            fields);
    cr_assert_eq(spec_parse_text(text, strlen(text), &spec, &faults, &e), 0, "%s", e.text);
    const struct queue_submission s = { .actor = { "ada", 1000, false }, .spec = &spec };
    fx.told = false;
    queue_submit(fx.q, &s, fixture_told, NULL);
    spec_deinit(&spec);
    mem_free(text);
}

static inline void fixture_answered(void *ctx, const char *json, const struct err *e)
{
    (void)ctx;
    (void)json;
    fx.answer = *e;
}

/* A message of the newest worker of experiment 1; answered when this returns. */
static inline void fixture_say(void (*message)(struct queue *q, struct queue_credentials c,
                                               const cJSON *body, queue_answer_fn done, void *ctx),
                               const char *body)
{
    cJSON *json = cJSON_Parse(body);
    const struct queue_credentials c = { 1, queue_find(fx.q, 1)->attempt, fx.secret };
    message(fx.q, c, json, fixture_answered, NULL);
    fixture_settle_writes();
    cr_assert_eq(fx.answer.code, ERR_OK, "%s", fx.answer.text);
    cJSON_Delete(json);
}

static inline void fixture_hello(void)
{
    fixture_say(queue_worker_hello, "{\"protocol\": 1, \"steps_total\": 100, \"epochs\": 1}");
}

/* A number of an attempt's row of experiment 1. */
static inline int64_t fixture_attempt_int(int64_t attempt, const char *column)
{
    sqlite3 *db = NULL;
    struct stmt s;
    struct err e = { 0 };
    char *sql = mem_printf("SELECT %s FROM attempt WHERE experiment=1 AND n=?1", column);
    cr_assert(store_reader(store_path(fx.q->main), &db, &e) == 0, "%s", e.text);
    cr_assert(stmt_prepare(&s, db, sql, &e) == 0, "%s", e.text);
    stmt_bind(&s, "i", attempt);
    cr_assert_eq(stmt_step(&s, &e), 1, "attempt %lld: %s", (long long)attempt, e.text);
    const int64_t n = stmt_int(&s, 0);
    stmt_finish(&s);
    (void)sqlite3_close(db);
    mem_free(sql);
    return n;
}

#endif
