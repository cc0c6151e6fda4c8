/* worker_messages: spec, hello, renew, frames and finish of a worker (docs/worker-protocol.md).
 * Every message may come twice. Loop thread. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/store/metrics_store.h"
#include "server/store/stmt.h"

#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RENEW_S 1

static void answer_err(queue_answer_fn done, void *ctx, const struct err *e) { done(ctx, NULL, e); }

/* The entry a message belongs to; NULL after the refusal was answered. */
static struct entry *authenticate(struct queue *q, const struct queue_credentials *c,
                                  queue_answer_fn done, void *ctx)
{
    struct entry *e = queue_entry(q, c->experiment);
    struct err fault = { 0 };
    uint8_t hash[DIGEST_BYTES];
    digest_bytes(c->secret, strlen(c->secret), hash);
    if (e == NULL || e->deleted || c->attempt > e->x.attempt || c->attempt < 1) {
        (void)err_set(&fault, ERR_UNAUTHORIZED, "experiment, attempt or secret is wrong");
    } else if (c->attempt < e->x.attempt) {
        (void)err_set(&fault, ERR_LEASE_LOST, "attempt %lld was followed by attempt %lld",
                      (long long)c->attempt, (long long)e->x.attempt);
    } else if (sodium_memcmp(hash, e->secret_hash, sizeof hash) != 0) {
        (void)err_set(&fault, ERR_UNAUTHORIZED, "experiment, attempt or secret is wrong");
    } else {
        if (entry_active(e)) {
            e->lease_until_ms = clock_mono_ms() + LEASE_MS;
            signs_heard(e);
        }
        return e;
    }
    answer_err(done, ctx, &fault);
    return NULL;
}

static bool refuse_ended(const struct entry *e, queue_answer_fn done, void *ctx)
{
    if (entry_active(e)) return false;
    struct err fault = { 0 };
    (void)err_set(&fault, ERR_LEASE_LOST, "the experiment is %s", state_name(e->x.state));
    answer_err(done, ctx, &fault);
    return true;
}

static void answer_json(cJSON *json, queue_answer_fn done, void *ctx)
{
    struct err e = { 0 };
    char *text = json != NULL ? json_print(json, NULL) : NULL;
    cJSON_Delete(json);
    if (text == NULL) (void)err_set(&e, ERR_NOMEM, "answer");
    done(ctx, text, &e);
    mem_free(text);
}

/* ---- spec: read from disk in the pool -------------------------------------------------------- */
struct spec_read {
    uv_work_t work;
    struct queue *q;
    struct experiment x;
    char *main_path, *metrics_path;
    cJSON *answer;
    struct err err;
    queue_answer_fn done;
    void *ctx;
};

static int add_earlier(struct spec_read *r, cJSON *list, sqlite3 *metrics, struct err *e)
{
    for (int64_t n = r->x.attempt - 1; n >= 1; n--) {
        uint64_t acked;
        int rc = metrics_acked(metrics, r->x.id, n, &acked, e);
        if (rc != 0) return rc;
        char *dir = mem_printf("%s/%s/attempt-%lld", r->q->files_dir, r->x.uid, (long long)n);
        cJSON *o = cJSON_CreateObject();
        const bool ok = dir != NULL && o != NULL && cJSON_AddItemToArray(list, o) &&
                        json_add_int(o, "attempt", n) &&
                        cJSON_AddStringToObject(o, "dir", dir) != NULL &&
                        json_add_int(o, "acked_frame", (int64_t)acked);
        mem_free(dir);
        if (!ok) return err_set(e, ERR_NOMEM, "earlier attempts");
    }
    return 0;
}

static int build_spec(struct spec_read *r, sqlite3 *main, sqlite3 *metrics, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(&s, main, "SELECT spec,result_hash FROM experiment WHERE id=?1", e);
    if (rc != 0) return rc;
    stmt_bind(&s, "i", r->x.id);
    char *dir = mem_printf("%s/%s/attempt-%lld", r->q->files_dir, r->x.uid,
                           (long long)r->x.attempt);
    char *lock = mem_printf("%s/%s/lock", r->q->files_dir, r->x.uid);
    cJSON *o = cJSON_CreateObject(),
          *earlier = o != NULL ? cJSON_AddArrayToObject(o, "earlier") : NULL;
    char start[PATH_MAX];
    const bool fork = fork_start_path(r->q->files_dir, r->x.uid, start) == 0 &&
                      access(start, R_OK) == 0;
    const bool ok = stmt_step(&s, e) == 1 && dir != NULL && lock != NULL && earlier != NULL &&
                    json_add_int(o, "experiment", r->x.id) &&
                    json_add_int(o, "attempt", r->x.attempt) &&
                    json_add_int(o, "renew_s", RENEW_S) &&
                    cJSON_AddStringToObject(o, "uid", r->x.uid) != NULL &&
                    cJSON_AddRawToObject(o, "spec", stmt_text(&s, 0)) != NULL &&
                    cJSON_AddStringToObject(o, "result_hash", stmt_text(&s, 1)) != NULL &&
                    cJSON_AddStringToObject(o, "dir", dir) != NULL &&
                    cJSON_AddStringToObject(o, "data_dir", r->q->data_dir) != NULL &&
                    cJSON_AddStringToObject(o, "lock", lock) != NULL &&
                    (!fork || cJSON_AddStringToObject(o, "start", start) != NULL);
    stmt_finish(&s);
    mem_free(dir);
    mem_free(lock);
    rc = ok ? add_earlier(r, earlier, metrics, e)
            : err_set(e, ERR_DB, "spec of experiment %lld", (long long)r->x.id);
    if (rc == 0) r->answer = o;
    else cJSON_Delete(o);
    return rc;
}

static void read_spec(uv_work_t *w)
{
    struct spec_read *r = container_of(w, struct spec_read, work);
    sqlite3 *main = NULL, *metrics = NULL;
    int rc = store_reader(r->main_path, &main, &r->err);
    if (rc == 0) rc = store_reader(r->metrics_path, &metrics, &r->err);
    if (rc == 0) (void)build_spec(r, main, metrics, &r->err);
    (void)sqlite3_close(main);
    (void)sqlite3_close(metrics);
}

static void spec_read_done(uv_work_t *w, int status)
{
    struct spec_read *r = container_of(w, struct spec_read, work);
    (void)status;
    r->q->reads--;
    if (r->answer != NULL) answer_json(r->answer, r->done, r->ctx);
    else answer_err(r->done, r->ctx, &r->err);
    mem_free(r->main_path);
    mem_free(r->metrics_path);
    mem_free(r);
}

void queue_worker_spec(struct queue *q, struct queue_credentials c, queue_answer_fn done, void *ctx)
{
    struct entry *e = authenticate(q, &c, done, ctx);
    if (e == NULL || refuse_ended(e, done, ctx)) return;
    struct spec_read *r = mem_calloc(1, sizeof *r);
    struct err fault = { 0 };
    if (r == NULL) {
        (void)err_set(&fault, ERR_NOMEM, "spec");
        answer_err(done, ctx, &fault);
        return;
    }
    *r = (struct spec_read){ .q = q, .x = e->x, .done = done, .ctx = ctx };
    r->main_path = mem_strdup(store_path(q->main));
    r->metrics_path = mem_strdup(store_path(q->metrics));
    q->reads++;
    (void)uv_queue_work(q->loop, &r->work, read_spec, spec_read_done);
}

/* ---- hello ----------------------------------------------------------------------------------- */
struct hello {
    struct queue *q;
    int64_t experiment, attempt, resume_step, steps_total, epochs, pid;
    char host[64];
    queue_answer_fn done;
    void *ctx;
};

static void hello_answer(const struct hello *h)
{
    char text[64];
    const struct err ok = { 0 };
    (void)snprintf(text, sizeof text, "{\"lease_s\":%d,\"renew_s\":%d}", LEASE_MS / 1000, RENEW_S);
    h->done(h->ctx, text, &ok);
}

static void hello_committed(void *ctx, const struct experiment *x, const struct err *e)
{
    struct hello *h = ctx;
    if (x == NULL) answer_err(h->done, h->ctx, e);
    else hello_answer(h);
    mem_free(h);
}

/* Points after the resume step are gone; now the state may change. */
static void hello_cut(void *ctx, const struct err *e)
{
    struct hello *h = ctx;
    struct entry *entry = queue_entry(h->q, h->experiment);
    struct change *c = NULL;
    struct err fault = *e;
    if (fault.code == ERR_OK && (entry == NULL || entry->x.attempt != h->attempt))
        (void)err_set(&fault, ERR_LEASE_LOST, "a newer attempt came");
    if (fault.code == ERR_OK) {
        entry->x.step = h->resume_step;
        entry->x.steps_total = h->steps_total;
        entry->x.epochs = h->epochs;
        c = change_new(h->q, entry, EVENT_HELLO);
        if (c == NULL) (void)err_set(&fault, ERR_NOMEM, "hello");
    }
    if (c == NULL) {
        answer_err(h->done, h->ctx, &fault);
        mem_free(h);
        return;
    }
    c->resume_step = h->resume_step;
    (void)snprintf(c->host, sizeof c->host, "%s", h->host);
    c->done = hello_committed;
    c->ctx = h;
    change_submit(c);
}

void queue_worker_hello(struct queue *q, struct queue_credentials c, const cJSON *body,
                        queue_answer_fn done, void *ctx)
{
    struct entry *e = authenticate(q, &c, done, ctx);
    if (e == NULL || refuse_ended(e, done, ctx)) return;
    struct err fault = { 0 };
    const int64_t protocol = json_get_int(body, "protocol", 0);
    struct hello *h = protocol == WIRE_PROTOCOL ? mem_calloc(1, sizeof *h) : NULL;
    if (h == NULL) {
        if (protocol == WIRE_PROTOCOL) (void)err_set(&fault, ERR_NOMEM, "hello");
        else (void)err_set(&fault, ERR_INVALID, "/protocol: %lld is not served, %d is",
                           (long long)protocol, WIRE_PROTOCOL);
        answer_err(done, ctx, &fault);
        return;
    }
    *h = (struct hello){ .q = q, .experiment = c.experiment, .attempt = c.attempt,
                         .resume_step = json_get_int(body, "resume_step", 0),
                         .steps_total = json_get_int(body, "steps_total", 0),
                         .epochs = json_get_int(body, "epochs", e->x.epochs),
                         .done = done, .ctx = ctx };
    (void)snprintf(h->host, sizeof h->host, "%.63s", json_get_string(body, "host", ""));
    ingest_cut(q, e, (uint64_t)h->resume_step, hello_cut, h);
}

/* ---- renew ----------------------------------------------------------------------------------- */
static void publish_progress(struct queue *q, const struct entry *e)
{
    cJSON *all = experiment_object(q, &e->x), *o = cJSON_CreateObject();
    if (all != NULL && o != NULL && json_add_int(o, "id", e->x.id)) {
        (void)cJSON_AddItemToObject(o, "progress",
                                    cJSON_DetachItemFromObjectCaseSensitive(all, "progress"));
        (void)cJSON_AddItemToObject(o, "metrics",
                                    cJSON_DetachItemFromObjectCaseSensitive(all, "metrics"));
        char *text = json_print(o, NULL);
        if (text != NULL)
            q->observer.publish(q->observer.ctx, "experiment.progress", e->x.id, text);
        mem_free(text);
    }
    cJSON_Delete(o);
    cJSON_Delete(all);
}

/* What the worker is asked to do. A limit that is used up is not the owner's wish: it writes a
 * checkpoint and stops. */
static enum experiment_desired wanted_of(const struct experiment *x)
{
    return x->state == STATE_STOPPING && x->desired == DESIRED_RUN ? DESIRED_PAUSE : x->desired;
}

void queue_worker_renew(struct queue *q, struct queue_credentials c, const cJSON *body,
                        queue_answer_fn done, void *ctx)
{
    struct entry *e = authenticate(q, &c, done, ctx);
    if (e == NULL || refuse_ended(e, done, ctx)) return;
    e->x.step = json_get_int(body, "step", e->x.step);
    e->x.epoch = json_get_int(body, "epoch", e->x.epoch);
    e->x.steps_total = json_get_int(body, "steps_total", e->x.steps_total);
    e->x.epochs = json_get_int(body, "epochs", e->x.epochs);
    e->x.samples_per_s = json_get_number(body, "samples_per_s", 0);
    const int64_t batches = json_get_int(body, "batches", e->batches);
    if (batches != e->batches) e->progress_ms = clock_mono_ms();
    e->batches = batches;
    publish_progress(q, e);
    char text[100];
    const struct err ok = { 0 };
    (void)snprintf(text, sizeof text, "{\"desired\":\"%s\",\"lease_s\":%d,\"renew_s\":%d}",
                   desired_name(wanted_of(&e->x)), LEASE_MS / 1000, RENEW_S);
    done(ctx, text, &ok);
}

/* ---- frames and finish ----------------------------------------------------------------------- */
void queue_worker_frames(struct queue *q, struct queue_credentials c, int64_t from_attempt,
                         uint64_t until_step, const void *body, size_t length, queue_answer_fn done,
                         void *ctx)
{
    struct entry *e = authenticate(q, &c, done, ctx);
    if (e == NULL || refuse_ended(e, done, ctx)) return;
    if (from_attempt > c.attempt) {
        struct err fault = { 0 };
        (void)err_set(&fault, ERR_INVALID, "attempt %lld has not begun", (long long)from_attempt);
        answer_err(done, ctx, &fault);
        return;
    }
    if (q->disk.room == DISK_FULL) { /* the spool has them */
        struct err fault = { 0 };
        (void)err_set(&fault, ERR_UNAVAILABLE, "the disk is full");
        answer_err(done, ctx, &fault);
        return;
    }
    ingest_frames(q, e, from_attempt == 0 ? c.attempt : from_attempt, until_step, body, length,
                  done, ctx);
}

struct finish {
    queue_answer_fn done;
    void *ctx;
};

static void finish_answer(const struct finish *f, const struct experiment *x)
{
    char text[64];
    const struct err ok = { 0 };
    (void)snprintf(text, sizeof text, "{\"state\":\"%s\"}", state_name(x->state));
    f->done(f->ctx, text, &ok);
}

static void finish_committed(void *ctx, const struct experiment *x, const struct err *e)
{
    struct finish *f = ctx;
    if (x != NULL) finish_answer(f, x);
    else answer_err(f->done, f->ctx, e);
    mem_free(f);
}

static int event_of(const char *status, enum experiment_event *out)
{
    static const struct {
        const char *status;
        enum experiment_event event;
    } rows[] = { { "succeeded", EVENT_FINISH_SUCCEEDED }, { "failed", EVENT_FINISH_FAILED },
                 { "paused", EVENT_FINISH_PAUSED }, { "cancelled", EVENT_FINISH_CANCELLED } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].status, status) != 0) continue;
        *out = rows[i].event;
        return 0;
    }
    return -1;
}

/* A fault that the worker tells may be one to try again after. */
static void judge_failure(const struct queue *q, const struct entry *e, struct change *c)
{
    const struct failure_verdict v = scheduler_verdict(q, e, c->reason, c->message);
    if (v.event != EVENT_FAULT_FINAL) c->event = v.event;
    c->cause = c->reason;
    c->reason = v.reason;
    c->fault = v.counts;
    c->crash = v.crash;
    (void)snprintf(c->message, sizeof c->message, "%s", v.message);
}

void queue_worker_finish(struct queue *q, struct queue_credentials c, const cJSON *body,
                         queue_answer_fn done, void *ctx)
{
    struct entry *e = authenticate(q, &c, done, ctx);
    if (e == NULL) return;
    struct finish again = { done, ctx };
    if (!entry_active(e)) { /* said before: its answer was lost */
        finish_answer(&again, &e->x);
        return;
    }
    struct err fault = { 0 };
    enum experiment_event event;
    struct change *change = NULL;
    struct finish *f = NULL;
    if (event_of(json_get_string(body, "status", ""), &event) != 0)
        (void)err_set(&fault, ERR_INVALID,
                      "/status must be succeeded, failed, paused or cancelled");
    else if ((f = mem_calloc(1, sizeof *f)) == NULL || (change = change_new(q, e, event)) == NULL)
        (void)err_set(&fault, ERR_NOMEM, "finish");
    if (change == NULL) {
        mem_free(f);
        answer_err(done, ctx, &fault);
        return;
    }
    *f = again;
    (void)reason_from_name(json_get_string(body, "reason", "none"), &change->reason);
    (void)snprintf(change->message, sizeof change->message, "%s",
                   json_get_string(body, "message", ""));
    if (event == EVENT_FINISH_FAILED) judge_failure(q, e, change);
    e->x.step = json_get_int(body, "step", e->x.step);
    e->x.epoch = json_get_int(body, "epoch", e->x.epoch);
    const cJSON *summary = json_get(body, "summary");
    if (summary != NULL) change->summary = json_print(summary, NULL);
    change->done = finish_committed;
    change->ctx = f;
    change_submit(change);
}
