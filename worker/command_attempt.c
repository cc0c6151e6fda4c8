/* command_attempt: one attempt of an experiment under a daemon (docs/worker-protocol.md): fetch the
 * spec, hand in what earlier attempts left, say hello, train, say how it ended. See commands.h. */
#include "common/crash.h"
#include "common/log.h"
#include "common/mem.h"
#include "worker/commands.h"
#include "worker/monitor/monitor.h"
#include "worker/report/reporter.h"
#include "worker/train/summary.h"
#include "worker/train/trainer.h"

#include "build_id.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <unistd.h>

#define FINISH_DRAIN_MS (10 * 60 * 1000) /* orphan_s: how long results wait for a daemon */
#define STOPPED_DRAIN_MS 4000            /* the same, once the worker is told to stop */

struct attempt {
    struct client *client, *renewals;
    int64_t experiment, number;
    cJSON *job; /* answer to GET spec */
    const char *dir, *data_dir;
    int lock;
    struct spec spec;
    struct trainer trainer;
    struct spool spool;
    struct reporter reporter;
    struct monitors *monitors;
    uint64_t resume_step;
    bool undelivered; /* frames are left in the spool */
};

/* Sends until the daemon answers; only a refusal for good ends it. */
static int insist(struct attempt *a, const char *path, const char *type, const void *body,
                  size_t length, cJSON **answer, struct err *e)
{
    const struct client_patience patience = { FINISH_DRAIN_MS, STOPPED_DRAIN_MS,
                                              command_stop_requested };
    return client_insist(a->client, path, type, body, length, &patience, answer, e);
}

static int insist_json(struct attempt *a, const char *path, const cJSON *body, cJSON **answer,
                       struct err *e)
{
    size_t length = 0;
    char *text = json_print(body, &length);
    if (text == NULL) return err_set(e, ERR_NOMEM, "message");
    const int rc = insist(a, path, "application/json", text, length, answer, e);
    mem_free(text);
    return rc;
}

/* ---- beginning ------------------------------------------------------------------------------- */
static int connect_daemon(struct attempt *a, struct err *e)
{
    const char *server = getenv("SPIKED_SERVER"), *secret = getenv("SPIKED_SECRET");
    const char *experiment = getenv("SPIKED_EXPERIMENT"), *number = getenv("SPIKED_ATTEMPT");
    if (server == NULL || secret == NULL || experiment == NULL || number == NULL)
        return err_set(e, ERR_INVALID,
                       "SPIKED_SERVER, _EXPERIMENT, _ATTEMPT and _SECRET are needed");
    a->experiment = strtoll(experiment, NULL, 10);
    a->number = strtoll(number, NULL, 10);
    int rc = client_create(&a->client, server, a->experiment, a->number, secret, e);
    if (rc == 0) rc = client_create(&a->renewals, server, a->experiment, a->number, secret, e);
    (void)unsetenv("SPIKED_SECRET"); /* nothing started from here needs it */
    return rc;
}

static int fetch_job(struct attempt *a, struct err *e)
{
    int rc = insist(a, "/worker/v1/spec", NULL, NULL, 0, &a->job, e);
    if (rc != 0) return rc;
    a->dir = json_get_string(a->job, "dir", NULL);
    a->data_dir = json_get_string(a->job, "data_dir", NULL);
    const char *lock = json_get_string(a->job, "lock", NULL);
    if (a->dir == NULL || lock == NULL)
        return err_set(e, ERR_INVALID, "the daemon's answer lacks dir or lock");
    a->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (a->lock < 0) return err_errno(e, errno, "%.150s", lock);
    if (flock(a->lock, LOCK_EX | LOCK_NB) != 0)
        return err_set(e, ERR_LEASE_LOST, "another worker still holds %.150s", lock);
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    if (faults == NULL) return err_set(e, ERR_NOMEM, "spec");
    rc = spec_parse(json_get(a->job, "spec"), &a->spec, faults, e);
    if (rc != 0 && faults->count > 0)
        rc = err_set(e, ERR_SPEC, "%s: %s", faults->items[0].pointer, faults->items[0].detail);
    mem_free(faults);
    return rc;
}

/* The newest checkpoint of the latest earlier attempt that has any. */
static int link_checkpoint(struct attempt *a, struct err *e)
{
    const cJSON *earlier;
    bool found = false;
    int rc = 0;
    cJSON_ArrayForEach(earlier, json_get(a->job, "earlier"))
    {
        const char *dir = json_get_string(earlier, "dir", NULL);
        if (dir == NULL || found || rc != 0) continue;
        rc = checkpoint_link(dir, a->dir, &found, e);
    }
    return rc;
}

/* Frames of an earlier attempt that the daemon never acknowledged, up to the step resumed from. */
static int hand_in_spool(struct attempt *a, const cJSON *earlier, struct err *e)
{
    char path[PATH_MAX], url[120];
    const char *dir = json_get_string(earlier, "dir", NULL);
    if (dir == NULL) return 0;
    (void)snprintf(path, sizeof path, "%s/spool", dir);
    if (access(path, R_OK) != 0) return 0;
    (void)snprintf(url, sizeof url, "/worker/v1/frames?attempt=%" PRId64 "&until_step=%" PRIu64,
                   json_get_int(earlier, "attempt", 0), a->resume_step);
    struct spool old;
    int rc = spool_open(&old, path, e);
    if (rc != 0) return rc;
    spool_acked(&old, (uint64_t)json_get_int(earlier, "acked_frame", 0), 0);
    unsigned char *buf = mem_alloc(WIRE_FRAME_BYTES_MAX);
    if (buf == NULL) rc = err_set(e, ERR_NOMEM, "spool");
    while (rc == 0 && !spool_drained(&old)) {
        size_t length;
        cJSON *answer = NULL;
        rc = spool_read(&old, buf, WIRE_FRAME_BYTES_MAX, &length, e);
        if (rc != 0 || length == 0) break;
        rc = insist(a, url, "application/x-spiked-frames", buf, length, &answer, e);
        if (rc == 0) spool_acked(&old, (uint64_t)json_get_int(answer, "acked_frame", 0), 0);
        cJSON_Delete(answer);
    }
    mem_free(buf);
    spool_close(&old);
    return rc;
}

static int hand_in_earlier(struct attempt *a, struct err *e)
{
    const cJSON *list = json_get(a->job, "earlier");
    int rc = 0;
    for (int i = cJSON_GetArraySize(list) - 1; rc == 0 && i >= 0; i--) /* oldest first */
        rc = hand_in_spool(a, cJSON_GetArrayItem(list, i), e);
    return rc;
}

static int say_hello(struct attempt *a, struct err *e)
{
    char host[256] = "";
    (void)gethostname(host, sizeof host - 1);
    cJSON *body = cJSON_CreateObject(), *answer = NULL;
    const bool ok = body != NULL && json_add_int(body, "protocol", WIRE_PROTOCOL) &&
                    cJSON_AddStringToObject(body, "build", SPIKED_BUILD) != NULL &&
                    cJSON_AddStringToObject(body, "host", host) != NULL &&
                    json_add_int(body, "pid", getpid()) &&
                    json_add_int(body, "resume_step", (int64_t)a->resume_step) &&
                    json_add_int(body, "steps_total", (int64_t)a->trainer.steps_total) &&
                    json_add_int(body, "epochs", a->spec.train.epochs);
    int rc = ok ? insist_json(a, "/worker/v1/hello", body, &answer, e)
                : err_set(e, ERR_NOMEM, "hello");
    cJSON_Delete(answer);
    cJSON_Delete(body);
    return rc;
}

/* ---- the end --------------------------------------------------------------------------------- */
static const char *status_of(const struct err *e, const struct trainer_result *r)
{
    if (e->code != ERR_OK) return "failed";
    if (r->ended == DESIRED_PAUSE) return "paused";
    return r->ended == DESIRED_CANCEL ? "cancelled" : "succeeded";
}

static int say_finish(struct attempt *a, const struct err *outcome, const struct trainer_result *r,
                      struct err *e)
{
    cJSON *body = cJSON_CreateObject(), *answer = NULL;
    const bool failed = outcome->code != ERR_OK;
    bool ok = body != NULL &&
              cJSON_AddStringToObject(body, "status", status_of(outcome, r)) != NULL &&
              cJSON_AddStringToObject(body, "reason",
                                      reason_name(reason_of_fault(outcome->code))) != NULL &&
              cJSON_AddStringToObject(body, "message", outcome->text) != NULL &&
              json_add_int(body, "step", (int64_t)r->step) &&
              json_add_int(body, "epoch", (int64_t)a->trainer.at.epoch) &&
              json_add_int(body, "checkpoint_step", (int64_t)r->checkpoint_step);
    if (ok && !failed && r->ended == DESIRED_RUN) {
        cJSON *summary = summary_json(&a->trainer, r);
        ok = summary != NULL && cJSON_AddItemToObject(body, "summary", summary);
    }
    const int rc = ok ? insist_json(a, "/worker/v1/finish", body, &answer, e)
                      : err_set(e, ERR_NOMEM, "finish");
    cJSON_Delete(answer);
    cJSON_Delete(body);
    return rc;
}

static int write_summary_file(const struct attempt *a, const struct trainer_result *r,
                              struct err *e)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/summary.json", a->dir);
    cJSON *json = summary_json(&a->trainer, r);
    char *text = json != NULL ? json_print_pretty(json, NULL) : NULL;
    cJSON_Delete(json);
    if (text == NULL) return err_set(e, ERR_NOMEM, "summary");
    FILE *f = fopen(path, "we");
    int rc = f != NULL && fprintf(f, "%s\n", text) > 0 ? 0 : err_errno(e, errno, "%.150s", path);
    if (f != NULL && fclose(f) != 0 && rc == 0) rc = err_errno(e, errno, "%.150s", path);
    mem_free(text);
    return rc;
}

/* The first lines of the attempt's log: what runs here. */
static void log_beginning(const struct attempt *a, bool resumed)
{
    const struct net_plan *plan = net_plan(a->trainer.net);
    enum isa isa = ISA_GENERIC;
    struct err ignored = { 0 };
    (void)kernels_choose(&isa, &ignored);
    log_info("worker.attempt",
             "experiment %" PRId64 ", attempt %" PRId64 ": %s, %s, %" PRId64 " threads",
             a->experiment, a->number, SPIKED_BUILD, isa_name(isa), a->spec.threads);
    log_info("worker.attempt", "dataset %s: %zu to train, %zu for validation, %zu to test",
             a->spec.dataset.name, a->trainer.train.count, a->trainer.validation.count,
             a->trainer.test.count);
    log_info("worker.attempt", "network: %zu layers, %zu parameters, %.1f MiB of memory",
             a->spec.n_layers, plan->parameters,
             (double)a->trainer.footprint.total_bytes / 1048576.0);
    if (resumed) log_info("worker.attempt", "goes on after step %" PRIu64, a->resume_step);
}

/* The weights of another experiment, which the daemon put beside the attempts. */
static int begin_from_start(struct attempt *a, struct err *e)
{
    const char *start = json_get_string(a->job, "start", NULL);
    const struct spec_from *from = &a->spec.train.from;
    if (start == NULL)
        return err_set(e, ERR_DATA, "the weights of experiment %" PRId64 " are missing",
                       from->experiment);
    const int rc = weights_start(start, a->trainer.net, from->checkpoint == SPEC_START_BEST, e);
    return rc == 0 ? 0 : err_wrap(e, "train.from experiment %" PRId64, from->experiment);
}

/* ---- the whole ------------------------------------------------------------------------------- */
static int prepare(struct attempt *a, struct err *e)
{
    const int64_t renew_ms = json_get_int(a->job, "renew_s", 2) * 1000;
    int rc = reporter_renew(&a->reporter, a->renewals, renew_ms, command_stop_requested, e);
    if (rc == 0) rc = link_checkpoint(a, e);
    if (rc != 0) return rc;
    crash_point(CRASH_ATTEMPT_LINKED);
    const struct trainer_options o = { .data_dir = a->data_dir, .dir = a->dir, .training = true };
    rc = trainer_init(&a->trainer, &a->spec, &o, e);
    bool resumed = false;
    if (rc == 0) rc = trainer_resume(&a->trainer, &resumed, e);
    if (rc != 0) return rc;
    if (!resumed && a->spec.train.from.experiment != 0) rc = begin_from_start(a, e);
    if (rc != 0) return rc;
    a->resume_step = a->trainer.at.step;
    log_beginning(a, resumed);
    rc = hand_in_earlier(a, e);
    if (rc == 0) rc = say_hello(a, e);
    return rc;
}

static int train(struct attempt *a, struct trainer_result *r, struct err *e)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/spool", a->dir);
    int rc = spool_open(&a->spool, path, e);
    if (rc == 0) rc = monitors_create(&a->monitors, &a->spec, e);
    if (rc == 0) rc = reporter_send(&a->reporter, a->client, &a->spool, e);
    if (rc != 0) return rc;
    a->trainer.o.output = reporter_output(&a->reporter);
    a->trainer.o.observer = monitors_observer(a->monitors);
    rc = trainer_run(&a->trainer, r, e);
    if (rc == 0 && r->ended == DESIRED_RUN) rc = write_summary_file(a, r, e);
    const bool was_lost = rc == ERR_LEASE_LOST;
    const int64_t drain_ms = command_stop_requested() ? STOPPED_DRAIN_MS : FINISH_DRAIN_MS;
    const bool all = reporter_stop(&a->reporter, was_lost ? 0 : drain_ms);
    /* After a pause there is another attempt, which hands in what is left. */
    const bool goes_on = rc == 0 && r->ended == DESIRED_PAUSE;
    a->undelivered = !all && !goes_on && !was_lost && !atomic_load(&a->reporter.lost);
    if (rc != 0 || !a->undelivered) return rc;
    return err_set(e, ERR_UNAVAILABLE, "no daemon took the last points in %lld s: they wait in %s",
                   (long long)(drain_ms / 1000), path);
}

static void attempt_deinit(struct attempt *a)
{
    monitors_destroy(a->monitors);
    spool_close(&a->spool);
    trainer_deinit(&a->trainer);
    spec_deinit(&a->spec);
    cJSON_Delete(a->job);
    client_destroy(a->client);
    client_destroy(a->renewals);
    if (a->lock > 0) (void)close(a->lock);
}

int command_attempt(int argc, char **argv, struct err *e)
{
    (void)argc;
    (void)argv;
    struct attempt a = { 0 };
    struct trainer_result r = { 0 };
    command_catch_signals();
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    int rc = connect_daemon(&a, e);
    if (rc == 0) rc = fetch_job(&a, e);
    const bool known = rc == 0 || e->code == ERR_SPEC;
    if (rc == 0) rc = prepare(&a, e);
    if (rc == 0) rc = train(&a, &r, e);
    (void)reporter_stop(&a.reporter, 0); /* of an attempt that did not come to train */
    /* A fault is told too, so that the daemon need not guess; a lost lease is nobody's business. No
     * end is told before its points: the next attempt hands them in, and comes to the same end. */
    if (a.undelivered) log_error("worker.attempt", "%s", e->text);
    else if (known && rc != ERR_LEASE_LOST && rc != ERR_UNAUTHORIZED) {
        const struct err outcome = *e;
        struct err late = { 0 };
        if (rc != 0) log_error("worker.attempt", "%s", outcome.text);
        crash_point(CRASH_FINISH_NOT_SENT);
        if (say_finish(&a, &outcome, &r, &late) != 0) {
            log_error("worker.attempt", "finish was not accepted: %s", late.text);
            if (rc == 0) *e = late;
            rc = (int)e->code;
        }
    }
    attempt_deinit(&a);
    curl_global_cleanup();
    return rc;
}
