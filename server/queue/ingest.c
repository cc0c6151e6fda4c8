/* ingest: frames of workers into metrics.db and out to the watchers. Loop thread; the work itself
 * runs on the writer thread of metrics.db. */
#include "server/queue/queue_internal.h"

#include "common/crash.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/metrics_store.h"
#include "server/store/rollup.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct frames_job {
    struct store_job job;
    struct queue *q;
    int64_t experiment, attempt;
    uint64_t until_step;
    char records[PATH_MAX];
    struct metrics_result result;
    queue_answer_fn done;
    void *ctx;
    size_t length;
    unsigned char body[];
};

static int run_frames(struct store_job *job, sqlite3 *db, struct err *e)
{
    struct frames_job *f = container_of(job, struct frames_job, job);
    const int rc = metrics_ingest(db, f->experiment, f->attempt, f->until_step, f->body, f->length,
                                  f->records, &f->result, e);
    crash_point(CRASH_POINTS_BEFORE_COMMIT);
    return rc;
}

static void keep_headlines(struct entry *e, const struct points_gather *points)
{
    for (size_t k = 0; k < points->n; k++) {
        const struct gathered *s = &points->series[k];
        const struct point *last = &s->points[s->n - 1];
        for (int i = 0; i < EXPERIMENT_HEADLINES_MAX; i++) {
            if (strcmp(s->name, experiment_headlines[i]) != 0) continue;
            if (isfinite(last->value)) e->x.headline[i] = last->value;
            /* Points come more often than renewals. */
            if ((int64_t)last->step > e->x.step) e->x.step = (int64_t)last->step;
        }
    }
}

static void publish_json(struct queue *q, const char *event, int64_t id, const cJSON *json)
{
    char *text = json_print(json, NULL);
    if (text != NULL) q->observer.publish(q->observer.ctx, event, id, text);
    mem_free(text);
}

/* Takes profile over; NULL: the record is none. */
static void publish_profile(struct queue *q, int64_t id, cJSON *profile)
{
    cJSON *o = profile != NULL ? cJSON_CreateObject() : NULL;
    if (o != NULL && json_add_int(o, "id", id) && cJSON_AddItemToObject(o, "profile", profile)) {
        profile = NULL;
        publish_json(q, "experiment.profile", id, o);
    }
    cJSON_Delete(profile);
    cJSON_Delete(o);
}

static void publish_frames(struct queue *q, int64_t id, struct metrics_result *r)
{
    for (size_t i = 0; i < r->n_lots; i++) q->observer.points(q->observer.ctx, id, &r->lots[i]);
    cJSON *record;
    cJSON_ArrayForEach(record, r->records)
    {
        publish_profile(q, id, cJSON_DetachItemFromObjectCaseSensitive(record, "profile"));
        if (json_add_int(record, "id", id)) publish_json(q, "experiment.record", id, record);
    }
}

static void frames_done(struct store_job *job, const struct err *e)
{
    struct frames_job *f = container_of(job, struct frames_job, job);
    struct entry *entry = queue_entry(f->q, f->experiment);
    if (e->code == ERR_OK && entry != NULL) {
        crash_point(CRASH_POINTS_AFTER_COMMIT);
        f->q->points += f->result.n_points;
        for (size_t i = 0; i < f->result.n_lots; i++) {
            keep_headlines(entry, &f->result.lots[i]);
            rungs_judge(f->q, entry, &f->result.lots[i]);
        }
        publish_frames(f->q, f->experiment, &f->result);
        char text[100];
        (void)snprintf(
            text, sizeof text, "{\"acked_frame\":%llu,\"durable_frame\":%llu}",
            (unsigned long long)f->result.acked_frame,
            (unsigned long long)(job->durable && !f->q->held ? f->result.acked_frame : 0));
        f->done(f->ctx, text, e);
    } else {
        struct err fault = *e;
        if (fault.code == ERR_OK) (void)err_set(&fault, ERR_LEASE_LOST, "the experiment is gone");
        f->done(f->ctx, NULL, &fault);
    }
    metrics_result_deinit(&f->result);
    mem_free(f);
}

void ingest_frames(struct queue *q, struct entry *e, int64_t from_attempt, uint64_t until_step,
                   const void *body, size_t length, queue_answer_fn done, void *ctx)
{
    struct frames_job *f = mem_calloc(1, sizeof *f + length);
    struct err fault = { 0 };
    if (f == NULL) {
        (void)err_set(&fault, ERR_NOMEM, "frames");
        done(ctx, NULL, &fault);
        return;
    }
    f->job.run = run_frames;
    f->job.done = frames_done;
    f->q = q;
    f->experiment = e->x.id;
    f->attempt = from_attempt;
    f->until_step = until_step;
    f->done = done;
    f->ctx = ctx;
    f->length = length;
    memcpy(f->body, body, length);
    (void)snprintf(f->records, sizeof f->records, "%s/%s/records.bin", q->files_dir, e->x.uid);
    store_submit(q->metrics, &f->job);
}

struct cut_job {
    struct store_job job;
    struct queue *q;
    int64_t experiment;
    uint64_t step;
    bool all, more; /* more: of all, which goes in slices */
    void (*then)(void *ctx, const struct err *e);
    void *ctx;
};

static int run_cut(struct store_job *job, sqlite3 *db, struct err *e)
{
    struct cut_job *c = container_of(job, struct cut_job, job);
    if (c->all) return metrics_delete(db, c->experiment, &c->more, e);
    const int rc = metrics_cut(db, c->experiment, c->step, e);
    crash_point(CRASH_HELLO_CUT_BEFORE_COMMIT);
    return rc;
}

static void cut_done(struct store_job *job, const struct err *e)
{
    struct cut_job *c = container_of(job, struct cut_job, job);
    if (e->code == ERR_OK && !c->all) {
        crash_point(CRASH_HELLO_CUT_AFTER_COMMIT);
        char text[80];
        (void)snprintf(text, sizeof text, "{\"id\":%lld,\"step\":%llu}", (long long)c->experiment,
                       (unsigned long long)c->step);
        c->q->observer.publish(c->q->observer.ctx, "points.cut", c->experiment, text);
    }
    if (e->code == ERR_OK && c->more && !c->q->closing) {
        c->job = (struct store_job){ .run = run_cut, .done = cut_done };
        store_submit(c->q->metrics, &c->job); /* what waits meanwhile comes first */
        return;
    }
    if (e->code != ERR_OK)
        log_error("server.queue", "cut of experiment %lld: %s", (long long)c->experiment, e->text);
    if (c->then != NULL) c->then(c->ctx, e);
    mem_free(c);
}

static void submit_cut(struct queue *q, const struct cut_job *like)
{
    struct cut_job *c = mem_calloc(1, sizeof *c);
    if (c == NULL) {
        struct err fault = { 0 };
        (void)err_set(&fault, ERR_NOMEM, "cut");
        if (like->then != NULL) like->then(like->ctx, &fault);
        return;
    }
    *c = *like;
    c->q = q;
    c->job = (struct store_job){ .run = run_cut, .done = cut_done };
    store_submit(q->metrics, &c->job);
}

void ingest_cut(struct queue *q, struct entry *e, uint64_t step,
                void (*then)(void *ctx, const struct err *e), void *ctx)
{
    submit_cut(q,
               &(struct cut_job){ .experiment = e->x.id, .step = step, .then = then, .ctx = ctx });
}

void ingest_delete(struct queue *q, int64_t experiment,
                   void (*then)(void *ctx, const struct err *e), void *ctx)
{
    submit_cut(
        q, &(struct cut_job){ .experiment = experiment, .all = true, .then = then, .ctx = ctx });
}

/* ---- buckets of points from before there were any ----------------------------------------------
 */
struct fill_job {
    struct store_job job;
    struct queue *q;
    bool left;
};

static int run_fill(struct store_job *job, sqlite3 *db, struct err *e)
{
    return rollup_fill_some(db, &container_of(job, struct fill_job, job)->left, e);
}

/* A slice at a time, so that others' writes come between; the next start goes on. */
static void fill_done(struct store_job *job, const struct err *e)
{
    struct fill_job *f = container_of(job, struct fill_job, job);
    if (e->code != ERR_OK) log_error("server.queue", "buckets of old points: %s", e->text);
    if (e->code == ERR_OK && f->left && !f->q->closing) store_submit(f->q->metrics, &f->job);
    else mem_free(f);
}

void ingest_fill_rollups(struct queue *q)
{
    struct fill_job *f = mem_calloc(1, sizeof *f);
    if (f == NULL) return; /* charts are right without them, and slower */
    *f = (struct fill_job){ .job = { .run = run_fill, .done = fill_done }, .q = q };
    store_submit(q->metrics, &f->job);
}
