/* reporter: see reporter.h. Both threads go on through any outage of the daemon; only a lost lease
 * or a refused secret ends the attempt. */
#include "worker/report/reporter.h"

#include "common/clock.h"
#include "common/crash.h"
#include "common/log.h"
#include "common/mem.h"

#include <errno.h>
#include <sys/resource.h>
#include <time.h>

#define SEND_EVERY_MS 200
#define RETRY_MS_MAX 2000
#define STACK_BYTES ((size_t)512 << 10)

static void sleep_ms(int64_t ms)
{
    const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    (void)nanosleep(&t, NULL);
}

static bool fatal(struct reporter *r, const struct err *e)
{
    if (e->code != ERR_LEASE_LOST && e->code != ERR_UNAUTHORIZED) return false;
    if (!atomic_exchange(&r->lost, true)) log_warn("worker.report", "%s", e->text);
    return true;
}

/* ---- frames ---------------------------------------------------------------------------------- */
static int send_lot(struct reporter *r, unsigned char *buf, size_t length, struct err *e)
{
    cJSON *answer = NULL;
    const int rc = client_send(r->frames, "/worker/v1/frames", "application/x-spiked-frames", buf,
                               length, &answer, e);
    if (rc != 0) return rc;
    crash_point(CRASH_SPOOL_NOT_ACKED);
    spool_acked(r->spool, (uint64_t)json_get_int(answer, "acked_frame", 0),
                (uint64_t)json_get_int(answer, "durable_frame", 0));
    cJSON_Delete(answer);
    return 0;
}

static void *send_frames(void *arg)
{
    struct reporter *r = arg;
    unsigned char *buf = mem_alloc(WIRE_FRAME_BYTES_MAX);
    int64_t pause_ms = SEND_EVERY_MS;
    while (buf != NULL && !atomic_load(&r->lost)) {
        struct err e = { 0 };
        size_t length = 0;
        int rc = spool_read(r->spool, buf, WIRE_FRAME_BYTES_MAX, &length, &e);
        if (rc == 0 && length == 0 && atomic_load(&r->stop)) break;
        if (rc == 0 && length > 0) rc = send_lot(r, buf, length, &e);
        if (rc != 0 && fatal(r, &e)) break;
        if (rc != 0 && atomic_load(&r->stop)) break;
        if (rc == 0 && length > 0) pause_ms = SEND_EVERY_MS;
        if (rc != 0) {
            pause_ms = pause_ms * 2 < RETRY_MS_MAX ? pause_ms * 2 : RETRY_MS_MAX;
            log_debug("worker.report", "frames wait: %s", e.text);
        }
        sleep_ms(pause_ms);
    }
    mem_free(buf);
    return NULL;
}

/* ---- renewals -------------------------------------------------------------------------------- */
static cJSON *renewal(struct reporter *r)
{
    pthread_mutex_lock(&r->lock);
    const struct train_progress p = r->progress;
    const bool known = r->steps_known;
    pthread_mutex_unlock(&r->lock);
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    cJSON *o = cJSON_CreateObject();
    const bool steps = o != NULL &&
                       (!known || (json_add_int(o, "step", (int64_t)p.step) &&
                                   json_add_int(o, "epoch", (int64_t)p.epoch) &&
                                   json_add_int(o, "batches", (int64_t)p.batches) &&
                                   json_add_number(o, "samples_per_s", p.samples_per_s))) &&
                       (p.steps_total == 0 ||
                        (json_add_int(o, "steps_total", (int64_t)p.steps_total) &&
                         json_add_int(o, "epochs", (int64_t)p.epochs)));
    if (steps && json_add_int(o, "rss_bytes", (int64_t)usage.ru_maxrss * 1024)) return o;
    cJSON_Delete(o);
    return NULL;
}

static void *renew(void *arg)
{
    struct reporter *r = arg;
    while (!atomic_load(&r->stop) && !atomic_load(&r->lost)) {
        struct err e = { 0 };
        cJSON *answer = NULL, *body = renewal(r);
        if (body != NULL &&
            client_send_json(r->renewals, "/worker/v1/renew", body, &answer, &e) == 0) {
            enum experiment_desired d = DESIRED_RUN;
            (void)desired_from_name(json_get_string(answer, "desired", "run"), &d);
            atomic_store(&r->desired, (int)d);
        } else {
            (void)fatal(r, &e);
        }
        cJSON_Delete(answer);
        cJSON_Delete(body);
        for (int64_t waited = 0; waited < r->renew_ms && !atomic_load(&r->stop); waited += 50)
            sleep_ms(50);
    }
    return NULL;
}

/* A worker that is held to little memory has none for the 8 MiB of an ordinary stack. */
static int thread_start(pthread_t *thread, void *(*run)(void *arg), struct reporter *r,
                        const char *name, struct err *e)
{
    pthread_attr_t small;
    int rc = pthread_attr_init(&small);
    if (rc == 0) rc = pthread_attr_setstacksize(&small, STACK_BYTES);
    if (rc == 0) rc = pthread_create(thread, &small, run, r);
    (void)pthread_attr_destroy(&small);
    if (rc == EAGAIN) /* what the system says for want of memory, too */
        return err_set(e, ERR_NOMEM, "the %s thread has no memory, or is one too many", name);
    return rc == 0 ? 0 : err_errno(e, rc, "the %s thread", name);
}

int reporter_renew(struct reporter *r, struct client *renewals, int64_t renew_ms,
                   int (*stop_requested)(void), struct err *e)
{
    *r = (struct reporter){ .renewals = renewals,
                            .renew_ms = renew_ms,
                            .stop_requested = stop_requested };
    atomic_store(&r->desired, DESIRED_RUN);
    pthread_mutex_init(&r->lock, NULL);
    if (thread_start(&r->renewer, renew, r, "renewing", e) != 0) return (int)e->code;
    r->renewing = true;
    return 0;
}

int reporter_send(struct reporter *r, struct client *frames, struct spool *spool, struct err *e)
{
    r->frames = frames;
    r->spool = spool;
    if (thread_start(&r->sender, send_frames, r, "sending", e) != 0) return (int)e->code;
    r->sending = true;
    return 0;
}

bool reporter_stop(struct reporter *r, int64_t timeout_ms)
{
    const int64_t until = clock_mono_ms() + timeout_ms;
    while (r->sending && !spool_drained(r->spool) && !atomic_load(&r->lost) &&
           clock_mono_ms() < until)
        sleep_ms(20);
    atomic_store(&r->stop, true);
    if (r->sending) (void)pthread_join(r->sender, NULL);
    if (r->renewing) {
        (void)pthread_join(r->renewer, NULL);
        pthread_mutex_destroy(&r->lock);
    }
    r->sending = r->renewing = false;
    return r->spool == NULL || spool_drained(r->spool);
}

/* ---- the trainer's side ---------------------------------------------------------------------- */
static int lost(const struct reporter *r, struct err *e)
{
    return atomic_load(&r->lost) ? err_set(e, ERR_LEASE_LOST, "the daemon gave the experiment away")
                                 : 0;
}

static int points(void *ctx, const struct wire_series *series, size_t n, struct err *e)
{
    struct reporter *r = ctx;
    int rc = lost(r, e);
    if (rc == 0) rc = spool_points(r->spool, series, n, e);
    crash_point(CRASH_SPOOL_NOT_SENT);
    return rc;
}

static int record(void *ctx, const struct record *rec, struct err *e)
{
    return spool_record(((struct reporter *)ctx)->spool, rec, e);
}

static int sync_spool(void *ctx, struct err *e)
{
    struct reporter *r = ctx;
    int rc = spool_sync(r->spool, e);
    if (rc == 0) rc = spool_trim(r->spool, e);
    return rc;
}

static void progress(void *ctx, const struct train_progress *p)
{
    struct reporter *r = ctx;
    pthread_mutex_lock(&r->lock);
    r->progress = *p;
    r->steps_known = true;
    pthread_mutex_unlock(&r->lock);
}

static enum experiment_desired desired(void *ctx)
{
    struct reporter *r = ctx;
    const enum experiment_desired d = (enum experiment_desired)atomic_load(&r->desired);
    return d == DESIRED_RUN && r->stop_requested() != 0 ? DESIRED_PAUSE : d;
}

struct output reporter_output(struct reporter *r)
{
    return (struct output){ r, points, record, sync_spool, progress, desired };
}
