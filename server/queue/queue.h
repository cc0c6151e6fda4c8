/* queue: every experiment of this daemon, its life cycle, and the messages of its workers.
 *
 * Loop thread only. Memory holds a summary of every experiment, spiked.db the truth: a change is
 * handed to the writer thread and becomes visible (answer, event, spawn) only when committed.
 * Results return through the callbacks below, on the loop thread. */
#ifndef SERVER_QUEUE_H
#define SERVER_QUEUE_H

#include "common/digest.h"
#include "common/err.h"
#include "common/json.h"
#include "common/list.h"
#include "common/series.h"
#include "common/spec.h"
#include "common/states.h"
#include "common/uid.h"
#include "server/queue/disk_floor.h"
#include "server/queue/halving.h"
#include "server/store/raster_window.h"
#include "server/store/store.h"

#include <sys/types.h>
#include <uv.h>

#define QUEUE_USER_MAX 64
#define QUEUE_MESSAGE_MAX 1024

/* Metrics shown in lists, in this order. */
#define EXPERIMENT_HEADLINES_MAX \
    6 /* train/loss train/accuracy val/loss val/accuracy test/loss test/accuracy */
extern const char *const experiment_headlines[EXPERIMENT_HEADLINES_MAX];

#define QUEUE_AFTER_MAX 32
struct dependency {
    int64_t experiment;
    bool any; /* its end is enough; else it must succeed */
    bool succeeded; /* of one that was deleted since: it had; set by the queue */
};
struct experiment {
    int64_t id;
    char uid[UID_TEXT_MAX];
    char name[SPEC_NAME_MAX];
    char user[QUEUE_USER_MAX];
    uid_t owner_uid;
    char tags[SPEC_TAGS_MAX][64];
    size_t n_tags;
    char dataset[64];
    int64_t time_steps;
    int64_t priority;
    enum experiment_state state;
    enum experiment_desired desired;
    enum experiment_reason reason;
    char message[QUEUE_MESSAGE_MAX];
    int64_t attempt;      /* 0 before the first claim */
    int64_t max_attempts;
    unsigned retry_on;                                        /* RETRY_ON_* */
    int64_t time_limit_s, no_progress_s, memory_mib, threads; /* limits: 0 = none */
    int64_t ran_ms;                                           /* running time of ended attempts */
    int64_t run_began_ms; /* wall clock: hello of the present attempt; 0 = none runs */
    int64_t sweep;        /* 0 = it is no member of one */
    struct dependency *after; /* what it waits for; owned by its entry, the list never changes */
    size_t n_after;
    int64_t place, lift;  /* where it was moved to (queue_order.h); 0 = it was not */
    int64_t rev;          /* raised by every committed change; the ETag */
    int64_t created_ms, queued_ms, started_ms, ended_ms, deleted_ms; /* 0 = not yet */
    /* From hello and renew, not stored: */
    int64_t step, steps_total, epoch, epochs;
    double samples_per_s;
    double headline[EXPERIMENT_HEADLINES_MAX]; /* NaN = no point yet */
};

/* What the queue tells the world; the stream hub implements it. data is borrowed JSON text.
 * experiment = the object concerned. Called only for committed facts. */
struct points_gather;
struct queue_observer {
    void *ctx;
    void (*publish)(void *ctx, const char *event, int64_t experiment, const char *data_json);
    void (*points)(void *ctx, int64_t experiment, const struct points_gather *points);
};

struct queue_options {
    const char *state_dir, *files_dir, *data_dir; /* absolute */
    const char *worker_program;                   /* path of spiked-worker */
    const char *worker_socket;                    /* path handed to workers */
    int64_t max_running;
    int64_t running_per_user_max; /* 0 = no limit */
    int64_t start_timeout_s;      /* from the claim to the worker's hello */
    int64_t backoff_first_ms;     /* after the first fault; doubles with each further one */
    int64_t queued_per_user_max;  /* one more is refused with ERR_QUEUE_FULL */
    int64_t disk_low_percent, disk_full_percent; /* free: disk_floor.h; 0 = no floor */
    int64_t disk_check_s;                        /* between two looks; 0 = none */
    int64_t keep_deleted_s;       /* then they are purged */
    int64_t keep_ended_s;         /* then they are deleted; 0 = for ever */
    bool stop_workers; /* --workers stop: queue_close pauses workers instead of leaving them */
};

struct queue;
struct launcher; /* server/launcher/launcher.h: local processes, or the scripted twin of tests */

/* Opens both databases under state_dir (migrating them), loads all experiments, adopts workers
 * that still run, requeues or fails the rest (grace as in design 2.3), and starts scheduling.
 * Errors: ERR_DB, ERR_IO, ERR_UNAVAILABLE (another daemon has the state directory), ERR_NOMEM. */
int queue_open(struct queue **out, uv_loop_t *loop, const struct queue_options *options,
               struct launcher *launcher, struct queue_observer observer, struct err *e);
/* Stops scheduling, waits for workers' last messages (stop_workers) and for what is being written
 * and read, closes. on_quiet says that no function of the queue may be called any more, perhaps
 * several times; on_closed runs when nothing of it is left. Both on the loop. */
void queue_close(struct queue *q, void (*on_quiet)(void *ctx), void (*on_closed)(void *ctx),
                 void *ctx);

/* For a process that ends at once: what was handed over is on disk when it returns; no callback of
 * it runs. Not after on_closed. */
void queue_finish_writes(struct queue *q);

/* spiked.db, for what else is kept there; until on_quiet. */
struct store;
struct store *queue_store(struct queue *q);
struct store *queue_metrics_store(struct queue *q); /* metrics.db */
/* While on, nothing that a copy of the databases speaks of goes: workers keep their spools, and
 * what deleted experiments left stays. */
void queue_hold(struct queue *q, bool on);

/* ---- people ---------------------------------------------------------------------------------- */
struct queue_actor {
    const char *user;
    uid_t uid;
    bool admin;
};
/* e->code == ERR_OK on success. x is borrowed and valid during the call only; NULL on failure. */
typedef void (*queue_done_fn)(void *ctx, const struct experiment *x, const struct err *e);

#define QUEUE_KEY_MAX 255 /* bytes of an Idempotency-Key */
struct queue_key {
    const char *user;
    const char *key; /* NULL = none */
    /* What it stands for: a repeated request has the same. path: NULL = that of submissions. */
    const char *path, *body;
    size_t body_length;
};
/* What this key has made before: x, or NULL with e->code ERR_OK for nothing. Errors:
 * ERR_IDEMPOTENCY, ERR_NOT_FOUND (it was deleted), ERR_INVALID (length), ERR_DB, ERR_NOMEM. */
void queue_repeated(struct queue *q, const struct queue_key *key, queue_done_fn done, void *ctx);
/* The same of a request whose answer is kept as a text, not as what it made: NULL = none yet. */
typedef void (*queue_answered_fn)(void *ctx, const char *text, const struct err *e);
void queue_answered(struct queue *q, const struct queue_key *key, queue_answered_fn answered,
                    void *ctx);
/* Keeps that text; done is told it once more when it is on disk. */
void queue_keep_answer(struct queue *q, const struct queue_key *key, const char *text,
                       queue_answered_fn done, void *ctx);

struct queue_submission {
    struct queue_actor actor;
    const struct spec *spec; /* borrowed during the call */
    struct queue_key key;    /* asked for by queue_repeated before */
    const char *request_id;
    const struct dependency *after; /* borrowed during the call */
    size_t n_after;
};
/* done: after the commit. Errors: ERR_QUEUE_FULL, ERR_IDEMPOTENCY, ERR_UNAVAILABLE, ERR_DB. */
void queue_submit(struct queue *q, const struct queue_submission *s, queue_done_fn done, void *ctx);

/* An experiment as its row has it, before it has one. Owned texts. */
struct queue_row {
    struct experiment x;
    char *spec;       /* normalised */
    char *parameters; /* of a member of a sweep: JSON object; NULL = none */
    char result_hash[DIGEST_HEX_MAX];
    struct spec_from from;
};
/* Any thread. Errors: ERR_NOMEM. */
int queue_row_init(struct queue_row *r, const struct spec *spec, const struct queue_actor *actor,
                   struct err *e);
void queue_row_deinit(struct queue_row *r); /* safe on a zeroed one and when repeated */

/* ---- sweeps ---------------------------------------------------------------------------------- */
#define SWEEP_MEMBERS_MAX 1000
struct sweep {
    int64_t id;
    char name[SPEC_NAME_MAX], user[QUEUE_USER_MAX];
    char strategy[16];
    char metric[SERIES_NAME_MAX + 1];
    bool higher;                     /* is better */
    struct halving halving;          /* eta 0: nobody is stopped early */
    int64_t max_parallel, max_fails; /* 0 = no limit */
    int64_t first, n;                /* numbers of its members */
    int64_t created_ms;
    int64_t states[STATE_COUNT]; /* members that are not deleted */
    int64_t pruned;              /* among the cancelled ones */
    int64_t active, claiming;
    struct rung_values *rungs; /* [halving_rungs]; owned */
};
struct queue_sweep {
    struct queue_actor actor;
    struct sweep like;      /* what it is to be; numbers and counts are set here */
    const char *definition; /* JSON text */
    struct queue_row *rows; /* [n], taken over by the call, whatever comes of it */
    size_t n;
    struct queue_key key;
};
typedef void (*queue_sweep_fn)(void *ctx, const struct sweep *s, const struct err *e);
/* All members in one transaction: all of them are there afterwards or none. Errors: those of
 * queue_submit. */
void queue_sweep_create(struct queue *q, struct queue_sweep *from, queue_sweep_fn done, void *ctx);
/* NULL or 0: as it is. Errors: ERR_NOT_FOUND, ERR_FORBIDDEN, ERR_DB. */
struct queue_sweep_patch {
    const char *name;
    const int64_t *max_parallel, *max_fails;
};
void queue_sweep_patch(struct queue *q, int64_t id, const struct queue_sweep_patch *patch,
                       struct queue_actor actor, queue_sweep_fn done, void *ctx);
/* Its members stay, as experiments of their own. Errors: ERR_BAD_STATE (some have not ended), those
 * of queue_sweep_patch. done: the sweep as it was, during the call. */
void queue_sweep_delete(struct queue *q, int64_t id, struct queue_actor actor, queue_sweep_fn done,
                        void *ctx);
/* The sweep object of docs/api.md; caller owns. NULL: out of memory. */
cJSON *queue_sweep_object(const struct sweep *s);
const struct sweep *queue_sweep_find(const struct queue *q, int64_t id);
/* The newest below that id (0: of all), or NULL. */
const struct sweep *queue_sweep_below(const struct queue *q, int64_t id);
/* "running", ...: from its members. */
const char *sweep_state(const struct sweep *s);
int64_t sweep_live(const struct sweep *s); /* members that have not ended */

enum queue_action { QUEUE_CANCEL, QUEUE_PAUSE, QUEUE_RESUME, QUEUE_RETRY };
/* Errors: ERR_NOT_FOUND, ERR_FORBIDDEN (neither owner nor admin), ERR_BAD_STATE, ERR_DB. */
void queue_act(struct queue *q, int64_t id, enum queue_action action, struct queue_actor actor,
               double grace_s, queue_done_fn done, void *ctx);
/* Where to move a queued one: to the front or the back, or before another queued one. Among its
 * owner's of the same priority; an admin's goes among everybody's. */
struct queue_move {
    enum { MOVE_FRONT, MOVE_BACK, MOVE_BEFORE } to;
    int64_t before;
};
/* Errors: those of queue_act (ERR_BAD_STATE: one of the two is not queued, or stands in another
 * line, which only admins can join), ERR_UNAVAILABLE (too many moves wait). */
void queue_move(struct queue *q, int64_t id, const struct queue_move *to, struct queue_actor actor,
                queue_done_fn done, void *ctx);
struct queue_patch {
    const char *name;         /* NULL = keep */
    const char *notes;        /* NULL = keep */
    const int64_t *priority;  /* NULL = keep */
    const int64_t *time_limit_s; /* NULL = keep; 0 = none */
    const char (*tags)[64];   /* NULL = keep */
    size_t n_tags;
    int64_t if_rev;           /* 0 = do not check; else ERR_PRECONDITION when different */
};
void queue_patch(struct queue *q, int64_t id, const struct queue_patch *patch,
                 struct queue_actor actor, queue_done_fn done, void *ctx);
/* Only what has ended. if_rev as in queue_patch. Gone for everybody, until it is taken back
 * (REMOVAL_UNDO) or purged: at once, or when it was deleted keep_deleted_s ago. Files and rows go
 * after the commit of that, and not while its last worker lives. Errors: those of queue_act,
 * ERR_PRECONDITION. */
enum queue_removal { REMOVAL_NONE, REMOVAL_DELETE, REMOVAL_PURGE, REMOVAL_UNDO };
void queue_remove_experiment(struct queue *q, int64_t id, enum queue_removal what, int64_t if_rev,
                             struct queue_actor actor, queue_done_fn done, void *ctx);

/* Reads of memory: borrowed until control returns to the loop. NULL when there is none. */
const struct experiment *queue_find(const struct queue *q, int64_t id);
const struct experiment *queue_find_uid(const struct queue *q, const char *uid);
/* Those that are deleted and can be taken back. */
const struct experiment *queue_find_deleted(const struct queue *q, int64_t id);
void queue_each_deleted(const struct queue *q, bool (*fn)(void *ctx, const struct experiment *x),
                        void *ctx);
/* Newest id first; calls fn until it returns false. */
void queue_each(const struct queue *q, bool (*fn)(void *ctx, const struct experiment *x),
                void *ctx);
/* The same, of ids below `id` only: what lies above is not walked over. 0 = all. */
void queue_each_below(const struct queue *q, int64_t id,
                      bool (*fn)(void *ctx, const struct experiment *x), void *ctx);
/* The answer of GET /queue; caller owns. NULL: out of memory. */
cJSON *queue_object(struct queue *q);
/* Paused: nothing starts. Draining: nothing is let in either, and the daemon is not ready. */
enum queue_switch { QUEUE_PAUSED, QUEUE_DRAINING, QUEUE_SWITCHES };
bool queue_is(const struct queue *q, enum queue_switch which);
typedef void (*queue_switch_fn)(void *ctx, const struct err *e);
/* done: after the commit. Errors: ERR_FORBIDDEN (admins only), ERR_DB, ERR_NOMEM. */
void queue_set(struct queue *q, enum queue_switch which, bool on, struct queue_actor actor,
               queue_switch_fn done, void *ctx);
/* The experiment object of docs/api.md, list form; caller owns. NULL: out of memory. */
cJSON *experiment_object(const struct queue *q, const struct experiment *x);
/* Place among the queued, 1 = next; -1 if it is not queued. */
int64_t queue_position(const struct queue *q, int64_t id);
/* The answer of GET /experiments/{id}/queue: why it waits, in words; caller owns. NULL: out of
 * memory. */
cJSON *queue_explain(struct queue *q, int64_t id);
/* What GET /metrics tells of it. Borrowed until control returns to the loop. */
struct queue_stats {
    const int64_t *states;           /* experiments by state: [STATE_COUNT] */
    const struct histogram *wait_s;  /* from queued to claimed, first attempts */
    const struct histogram *claim_s; /* of the loop: choosing the next and handing it over */
    uint64_t points;                 /* taken from workers */
    int64_t slots, slots_busy;
    size_t reads;                     /* under way in the pool */
    struct store_stats main, metrics; /* spiked.db, metrics.db */
    const char *main_path, *metrics_path;
    const struct disk_floor *disk;
};
struct queue_stats queue_stats_of(struct queue *q);
/* false = refuse work and say why (readyz). */
bool queue_ready(const struct queue *q, struct err *e);

/* ---- workers (worker API) -------------------------------------------------------------------- */
struct queue_credentials {
    int64_t experiment, attempt;
    const char *secret; /* hex text as received; compared in constant time */
};
/* JSON answer of a worker message; NULL with e set on failure (ERR_UNAUTHORIZED, ERR_LEASE_LOST,
 * ERR_INVALID, ERR_DB). json is borrowed. */
typedef void (*queue_answer_fn)(void *ctx, const char *json, const struct err *e);
void queue_worker_spec(struct queue *q, struct queue_credentials c, queue_answer_fn done,
                       void *ctx);
void queue_worker_hello(struct queue *q, struct queue_credentials c, const cJSON *body,
                        queue_answer_fn done, void *ctx);
void queue_worker_renew(struct queue *q, struct queue_credentials c, const cJSON *body,
                        queue_answer_fn done, void *ctx);
/* from_attempt 0 = the sender's own; until_step 0 = no limit. body is copied. */
void queue_worker_frames(struct queue *q, struct queue_credentials c, int64_t from_attempt,
                         uint64_t until_step, const void *body, size_t length,
                         queue_answer_fn done, void *ctx);
void queue_worker_finish(struct queue *q, struct queue_credentials c, const cJSON *body,
                         queue_answer_fn done, void *ctx);

/* ---- reads from disk: run in the thread pool, answer on the loop ----------------------------- */
/* data is borrowed, valid during the call. */
typedef void (*queue_read_fn)(void *ctx, const void *data, size_t length, const char *content_type,
                              const struct err *e);
enum queue_read_kind {
    QUEUE_READ_DETAIL,   /* the experiment object's extra fields:
                            {"spec":..,"result_hash":..,"notes":..,"warnings":[..],"summary":..} */
    QUEUE_READ_ATTEMPTS, /* bodies exactly as in docs/api.md */
    QUEUE_READ_SERIES,
    QUEUE_READ_POINTS, /* name, from, to, max_points, raw, cursor */
    QUEUE_READ_MONITORS,
    QUEUE_READ_RECORDS, /* layer, kind */
    QUEUE_READ_RECORD,  /* layer, kind, index (-1 = last), binary */
    QUEUE_READ_PROFILE  /* the last one */
};
struct queue_read {
    enum queue_read_kind kind;
    int64_t experiment;
    const char *name;   /* series */
    const char *layer;
    const char *record_kind;
    uint64_t from, to;  /* steps, inclusive; 0 = open */
    int64_t max_points; /* 1 .. 10000 */
    int64_t index;
    const char *cursor; /* of the page before; NULL or "" = the first page */
    bool raw, binary;
    struct raster_window window; /* of a raster; max_w 0 = the whole record as it is */
};
/* Errors: ERR_NOT_FOUND, ERR_INVALID, ERR_DB, ERR_UNAVAILABLE (too many reads under way). */
void queue_read(struct queue *q, const struct queue_read *r, queue_read_fn done, void *ctx);

/* The body of GET /sweeps/{id}: at most limit members with numbers above `after`. Errors: as those
 * of queue_read. */
void queue_sweep_read(struct queue *q, int64_t id, int64_t after, size_t limit, queue_read_fn done,
                      void *ctx);

/* Folder of an experiment ("<files_dir>/<uid>") and of its current attempt; for logs and artifacts.
 * out must hold PATH_MAX. Errors: ERR_NOT_FOUND. */
int queue_attempt_dir(const struct queue *q, int64_t id, char *out, size_t size, struct err *e);

#endif
