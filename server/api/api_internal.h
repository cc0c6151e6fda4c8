/* api_internal: what the files of server/api share: arguments, answers that come later, work in the
 * thread pool. */
#ifndef SERVER_API_INTERNAL_H
#define SERVER_API_INTERNAL_H

#include "server/api/api.h"

#include "common/mem.h"
#include "server/store/points_export.h"

#define API_WORK_MAX 64

static inline struct api *api_of(const struct request *r) { return http_app(r); }
struct queue_actor api_actor(const struct request *r);
void api_problem(struct request *r, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The experiment named by the first {}: number or uid. NULL = there is none. */
const struct experiment *api_find_experiment(const struct request *r);
/* The same, by its number, of those that are deleted and can be taken back. */
const struct experiment *api_find_deleted(const struct request *r);
/* As api_find_experiment; NULL after the problem was answered. */
const struct experiment *api_experiment(struct request *r);
/* Body as a JSON object (an empty body is an empty object); NULL after the problem was answered.
 * Caller owns. */
cJSON *api_body(struct request *r);
/* {} or nothing at all; false after a problem was answered. */
bool api_empty_body(struct request *r);
/* false after a problem was answered: the query holds a name that is not in "a|b|c". */
bool api_query_known(struct request *r, const char *names);

/* ---- permission and audit (admit.c) -----------------------------------------------------------
 */
/* The audit of this request gets this number for its object: what it created. */
void api_audit_id(struct request *r, int64_t id);
/* Begins the audit of a request whose actor is known only now. false: a problem was answered. */
bool api_audit_begin(struct request *r);
/* "Bearer ..." of the Authorization header; NULL: there is none. Errors: ERR_UNAUTHORIZED (there
 * are several, or of another kind). */
int api_bearer(const struct request *r, const char **token, struct err *e);
/* Number of the first {}; 0 = it is none. */
int64_t api_param_id(const struct request *r);
#define SESSION_COOKIE "__Host-spiked"
/* A cookie that is over at once. */
#define SESSION_COOKIE_GONE SESSION_COOKIE "=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Strict"

/* ---- what begins an experiment (submission.c, api_submit.c) ------------------------------------
 */
struct submission {
    struct spec spec;
    struct dependency after[QUEUE_AFTER_MAX];
    size_t n_after;
};
/* Reads a body, taking `after` out of it; every fault at once. *s stays empty on failure.
 * Errors: ERR_SPEC (see faults), ERR_NOMEM. */
int submission_read(struct submission *s, cJSON *json, const struct queue *q,
                    struct json_faults *faults, struct err *e);
void submission_deinit(struct submission *s); /* safe on a zeroed one and when repeated */
/* ?dry_run=true|false; false after a problem was answered. */
bool api_dry_run(struct request *r, bool *dry);
/* A true|false of the query, false when it is not there; false after a problem was answered. */
bool api_query_bool(struct request *r, const char *name, bool *out);
/* Calls go_on(r), at once or later, unless the request has an Idempotency-Key that was used before:
 * then it is answered. */
void api_once(struct request *r, void (*go_on)(struct request *r));
struct queue_key api_key(const struct request *r); /* borrows from r */
/* 201 with the experiment. */
void api_answer_created(struct request *r, const struct experiment *x);
/* Reads json as a submission and answers: stores it, or says every fault, or only what would run.
 */
void api_begin(struct request *r, cJSON *json, bool dry);

/* ---- which experiments are meant (filter.c) ----------------------------------------------------
 */
struct experiment_filter {
    uint32_t states;               /* bit 1 << state; 0 = all */
    const char *user, *tag, *text; /* NULL = any; borrowed */
    int64_t sweep;                 /* 0 = any */
};
bool filter_fits(const struct experiment_filter *f, const struct experiment *x);
/* Whether it asks for nothing but states. */
bool filter_of_states(const struct experiment_filter *f);
/* state, user, tag, q and sweep of the query; false after a problem was answered. */
bool filter_read_query(struct request *r, struct experiment_filter *f);
/* The same of an object of a body at that pointer. */
void filter_read(const cJSON *json, const char *at, struct experiment_filter *f,
                 struct json_faults *faults);

/* ---- one action on many (batch.c) --------------------------------------------------------------
 */
#define BATCH_MAX 1000
enum batch_op { BATCH_CANCEL, BATCH_PAUSE, BATCH_RESUME, BATCH_RETRY, BATCH_DELETE, BATCH_OPS };
/* result: {"op", "done", "refused", "items": [...]}, borrowed; NULL: out of memory. */
typedef void (*batch_result_fn)(void *ctx, const cJSON *result);
/* r stays suspended until finished answers it. */
void batch_begin(struct request *r, enum batch_op op, double grace_s, const int64_t *ids, size_t n,
                 batch_result_fn finished, void *ctx);
#define API_GRACE_S 30.0
/* grace_s of a body; of anything else a fault. */
void api_grace(const cJSON *item, double *grace_s, struct json_faults *faults);

/* A read that answers later: keeps the event id of the moment before its snapshot. */
struct api_call {
    struct request *r;
    int64_t experiment;
    int64_t rev; /* of the body that is being read */
    char event_id[SSE_ID_MAX];
};
/* NULL after the problem was answered. */
struct api_call *api_call_new(struct request *r, int64_t experiment);
/* Adds X-Event-Id to the answer given and frees. */
void api_call_end(struct api_call *c);
void api_call_drop(struct api_call *c); /* frees; somebody else answers */

/* Work in the thread pool, embedded first in the handler's own struct. run: pool; answer: loop,
 * must respond and free. */
struct api_work {
    uv_work_t uv;
    struct request *r;
    void (*run)(struct api_work *w);
    void (*answer)(struct api_work *w);
    struct err err;
};
/* Suspends the request. Answers a problem and frees w with mem_free when too much is under way. */
void api_work_start(struct api_work *w, struct request *r, void (*run)(struct api_work *),
                    void (*answer)(struct api_work *));

/* ---- every point as text (export.c) ------------------------------------------------------------
 */
/* What format= or else Accept asks for: *text false = JSON. false after a problem was answered. */
bool api_export_format(struct request *r, bool *text, enum points_format *format);
/* Answers with all points of a series, "" = of all series, from disk while they are sent. */
void api_export(struct request *r, enum points_format format, const char *name, uint64_t from,
                uint64_t to);

/* Of the answer given; nothing when none was. */
void api_add_etag(struct request *r, const struct experiment *x);

/* Handlers, by file. */
void api_clone(struct request *r);                                               /* clone.c */
void api_submit(struct request *r);                                              /* api_submit.c */
void api_list(struct request *r);                                                /* list.c */
void api_get(struct request *r), api_queue_place(struct request *r);             /* experiments.c */
void api_patch(struct request *r), api_cancel(struct request *r), api_pause(struct request *r);
void api_resume(struct request *r), api_retry(struct request *r), api_delete(struct request *r);
void api_restore(struct request *r);
void api_move(struct request *r);
void api_sweep_create(struct request *r), api_sweeps(struct request *r); /* api_sweeps.c */
void api_sweep(struct request *r), api_sweep_patch(struct request *r);
void api_sweep_delete(struct request *r), api_sweep_pause(struct request *r);
void api_sweep_resume(struct request *r), api_sweep_cancel(struct request *r);
void api_sweep_retry_failed(struct request *r);
void api_batch(struct request *r);                                               /* batch.c */
void api_attempts(struct request *r), api_series(struct request *r);             /* metrics.c */
void api_points(struct request *r), api_monitors(struct request *r);
void api_records(struct request *r), api_record(struct request *r);
void api_profile(struct request *r);
void api_logs(struct request *r), api_artifacts(struct request *r);              /* files.c */
void api_artifact(struct request *r), api_artifacts_tar(struct request *r);
void api_version(struct request *r), api_me(struct request *r);                  /* meta.c */
void api_schema(struct request *r), api_datasets(struct request *r);
void api_queue(struct request *r), api_events(struct request *r);
void api_queue_pause(struct request *r), api_queue_resume(struct request *r);
void api_drain(struct request *r), api_undrain(struct request *r);
void api_gc(struct request *r);         /* gc.c */
void api_backup(struct request *r);     /* backup.c */
void api_prometheus(struct request *r); /* prometheus.c */
void api_healthz(struct request *r), api_readyz(struct request *r);
void api_page(struct request *r), api_page_file(struct request *r);              /* page.c */
void api_tokens(struct request *r), api_token_create(struct request *r);         /* tokens.c */
void api_token_revoke(struct request *r);
void api_login(struct request *r), api_logout(struct request *r);                /* sessions.c */
void api_users(struct request *r), api_user_change(struct request *r);           /* users.c */
void api_audit(struct request *r);                                               /* audit.c */
void api_worker_spec(struct request *r), api_worker_hello(struct request *r);    /* worker.c */
void api_worker_renew(struct request *r), api_worker_frames(struct request *r);
void api_worker_finish(struct request *r);

#endif
