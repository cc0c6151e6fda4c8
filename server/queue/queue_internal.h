/* queue_internal: what the files of server/queue share. Loop thread.
 *
 * Every change of an experiment goes through one pipeline: it waits behind the changes that came
 * before it, is judged by the life-cycle table, written, and takes effect when committed. */
#ifndef SERVER_QUEUE_INTERNAL_H
#define SERVER_QUEUE_INTERNAL_H

#include "common/digest.h"
#include "server/launcher/launcher.h"
#include "server/queue/failure.h"
#include "server/queue/queue_order.h"
#include "server/queue/queue.h"
#include "server/store/store.h"

#include <stdatomic.h>

#define LEASE_MS 30000
#define FIRST_WORD_MS 30000    /* from the claim until the worker asks for its spec */
#define OPEN_GRACE_MS 30000    /* after a start of the daemon no lease is judged */
#define RESTART_GRACE_MS 60000 /* the lease of a worker that a starting daemon finds */
#define TICK_MS 250
#define LATE_MS 2000       /* a turn that comes so late says nothing about workers */
#define LIMIT_GRACE_S 30.0 /* to write a checkpoint when a limit is used up; where none was asked \
                            */
#define SECRET_HEX_MAX 65
#define READS_MAX 64

/* Signs of life of the present attempt, wall clock; 0 = none. */
struct attempt_signs {
    int64_t began_ms;   /* its claim */
    int64_t seen_ms;    /* a message of its worker */
    int64_t written_ms; /* seen_ms as its row has it */
    int64_t gone_ms;    /* its worker ended while no daemon looked: the last sign before */
};
struct entry {
    struct experiment x;      /* committed */
    struct order_item item;   /* its place among the queued */
    int64_t *dependants;      /* blocked experiments that wait for this one; owned */
    size_t n_dependants, dependants_capacity;
    size_t n_named;           /* experiments that name this one as needed, blocked or not */
    struct sweep *sweep;      /* what it is a member of, or NULL */
    int64_t rungs;            /* judged at so many (sweep_rungs.c) */
    bool stops_early;         /* the last of them said so, and nobody said otherwise since */
    bool counted_pruned;
    struct list timed;        /* of queue.timed while something may happen by itself */
    bool counts_running, counts_waiting, counts_kept, is_timed; /* as queue_place left them */
    bool is_counted;
    enum experiment_state counted;
    int64_t faults, crashes;  /* attempts lost so far, and those that crashed */
    int64_t backoff_until_ms; /* monotonic: the wall clock may jump meanwhile */
    uint8_t secret_hash[DIGEST_BYTES]; /* of the current attempt */
    struct launched process;           /* pid 0: none known */
    bool unwatched; /* nobody can say yet whether `process` lives: asked at every tick */
    bool writing;
    bool killed;              /* SIGKILL was sent for the present attempt */
    bool deleted; /* gone for everybody: of queue.trash until it is taken back or purged */
    bool purged;  /* for good: of queue.graves until nothing is left */
    bool purging;             /* its folder, points and rows are being removed */
    int64_t purge_again_ms;   /* monotonic: not before */
    struct list grave;
    enum experiment_reason kill_reason;
    char kill_words[120];
    int64_t files_bytes, files_ms, files_rev; /* of its folder; when that was added up (monotonic),
                                                 and at which revision */
    int64_t lease_until_ms, grace_until_ms; /* monotonic; 0 = none */
    int64_t graces;                         /* grace times begun so far */
    double pause_grace_s;                   /* of a pause that waits for the worker's hello */
    int64_t batches, progress_ms;           /* said last, and when that was new; monotonic */
    int64_t run_began_ms;                   /* x.run_began_ms on the monotonic clock */
    int64_t start_until_ms;                 /* for the hello of the present attempt; monotonic */
    struct attempt_signs signs;
    struct list changes;      /* waiting, in order */
    struct list link;
};

/* A change under way. */
struct change {
    struct store_job job;
    struct list link;         /* of entry.changes */
    struct queue *q;
    struct entry *entry;
    enum experiment_event event;
    int64_t attempt, graces; /* of the entry when it was made: what it is about */
    enum experiment_reason reason;
    enum experiment_reason cause; /* of the attempt's end; NONE: the same */
    bool fault, crash;            /* counts as one */
    char message[QUEUE_MESSAGE_MAX];
    char actor[QUEUE_USER_MAX];
    double grace_s;
    char *summary;            /* finish: JSON text */
    char *notes;              /* EVENT_PATCH; NULL = as they are */
    int64_t ended_ms;         /* of the attempt, if this ends it */
    int64_t again_ms;         /* monotonic: could not be written, is tried then */
    int64_t resume_step;      /* hello */
    int64_t steps_total, epochs;
    char host[64];
    int64_t worker_pid;
    struct queue_patch patch; /* EVENT_PATCH; texts owned by this change */
    char patch_name[SPEC_NAME_MAX], patch_tags[SPEC_TAGS_MAX][64];
    int64_t patch_priority, patch_time_limit_s;
    enum queue_removal removal; /* EVENT_PATCH that deletes, or undoes that */
    /* Judged: */
    struct experiment next;
    int64_t next_faults, next_crashes, next_delay_ms; /* backoff; 0 = none */
    struct experiment_transition move;
    char secret[SECRET_HEX_MAX]; /* claim: handed to the worker, only its hash is stored */
    uint8_t secret_hash[DIGEST_BYTES];
    /* Told when it is over; either may be NULL. */
    queue_done_fn done;
    queue_answer_fn answer;
    void *ctx;
};

struct queue {
    uv_loop_t *loop;
    struct queue_options o;
    char *state_dir, *files_dir, *data_dir, *worker_program, *worker_socket;
    struct launcher *launcher;
    struct queue_observer observer;
    struct store *main, *metrics;
    int lock_fd;
    struct list entries; /* newest first */
    struct list timed;   /* active, in backoff, or with a last worker that is still there: what a
                          * tick looks at */
    struct list trash;   /* deleted, the first one first */
    struct list graves;  /* purged, and something of them is left */
    int64_t retire_ms;   /* monotonic: when old ones are looked for next */
    size_t purges;
    atomic_bool purges_end; /* read by the pool: the daemon ends */
    struct list unwritten; /* changes that wait for again_ms */
    struct order order;  /* the queued ones */
    int64_t running;     /* active ones */
    int64_t claiming;    /* claims that are being written */
    int64_t states[STATE_COUNT]; /* entries by state, without deleted ones */
    struct histogram wait_s, claim_s;
    uint64_t points;     /* taken from workers */
    int64_t shares_ms;   /* when the shares of users were computed */
    struct entry **by_id; /* index = id */
    size_t by_id_size;
    int64_t count;
    uv_timer_t tick;
    int64_t opened_ms, claim_after_ms, ticked_ms;
    struct disk_floor disk;
    int64_t keys_expire_ms; /* monotonic: when expired keys are removed next */
    bool closing; /* the daemon ends */
    bool held;    /* queue_hold */
    bool switched[QUEUE_SWITCHES];
    struct sweep **sweeps; /* by id, ascending */
    size_t n_sweeps, sweeps_capacity;
    size_t telling;    /* new sweeps whose members are being told to the world */
    struct list rungs; /* decisions that could not be written */
    struct list moves; /* waiting for the one that is being written (move.c) */
    size_t n_moves;
    bool moving;
    size_t reads;
    bool writing_signs;
    int64_t signs_ms; /* monotonic: when signs of life are written again */
    void (*on_quiet)(void *ctx);
    void (*on_closed)(void *ctx);
    void *closed_ctx;
    int closes_left;
    int64_t stop_until_ms;
};

/* ---- changes (queue_change.c) ---------------------------------------------------------------- */
/* A zeroed change for an entry. NULL when out of memory. */
struct change *change_new(struct queue *q, struct entry *e, enum experiment_event event);
/* Hands it to the pipeline, which frees it. */
void change_submit(struct change *c);
/* Submits again what could not be written and that nobody else would ask for once more. */
void change_write_again(struct queue *q, int64_t mono);
void change_drop_unwritten(struct queue *q); /* closing: the next daemon sees it anew */
/* The wait before the next attempt after so many faults. */
int64_t change_backoff_ms(const struct queue *q, const struct entry *e, int64_t faults);
/* ---- entries (queue.c) ----------------------------------------------------------------------- */
struct entry *queue_entry(const struct queue *q, int64_t id);
struct entry *queue_add(struct queue *q, const struct experiment *x, struct err *e);
void queue_remove(struct queue *q, struct entry *e);
/* Whether n experiments more may wait for u. Errors: ERR_QUEUE_FULL. */
int queue_room(const struct queue *q, const struct order_user *u, int64_t n, struct err *e);
/* Writer thread: the row and its audit; the row learns its number. */
int queue_row_insert(struct queue_row *r, sqlite3 *db, struct err *e);
/* Brings counts, order and timed list in line with the committed state. */
void queue_place(struct queue *q, struct entry *e);
void queue_publish_state(struct queue *q, const struct entry *e);
int entry_dir(const struct queue *q, const struct entry *e, int64_t attempt, char *out,
              size_t size);
/* Seconds a running experiment still takes at the speed so far; NaN = not known (explain.c). */
double experiment_eta_s(const struct experiment *x);
/* ---- the queue as a whole (queue_switch.c) --------------------------------------------------- */
int queue_load_switches(struct queue *q, struct err *e);
bool queue_starts(const struct queue *q); /* whether anything may begin to run */
/* ---- experiments that wait for others (dependencies.c) --------------------------------------- */
#define DEPENDENCIES_WORDS_MAX 400
enum dependencies_state { DEPENDENCIES_MET, DEPENDENCIES_OPEN, DEPENDENCIES_BROKEN };
/* words: what is open or broken, "" when all are met. */
enum dependencies_state dependencies_of(const struct queue *q, const struct experiment *x,
                                        char *words, size_t size);
/* e names others: once, when it is added, and back when it is removed. */
void dependencies_name(struct queue *q, struct entry *e);
void dependencies_unname(struct queue *q, struct entry *e);
/* Lists e with those that it needs while it is blocked, and only then. Errors: ERR_NOMEM. */
int dependencies_attach(struct queue *q, struct entry *e, struct err *out);
/* Its state changed: it is blocked now, or not any more. */
void dependencies_moved(struct queue *q, struct entry *e, bool was_blocked);
/* e is deleted: how it ended counts on for those that name it. */
void dependencies_forget(struct queue *q, const struct entry *e);
/* Lets e go on, or ends it, when what it waits for is decided. e may be NULL. */
void dependencies_check(struct queue *q, struct entry *e);
void dependencies_ended(struct queue *q, struct entry *e); /* e has reached a final state */
int dependencies_write(const struct experiment *x, sqlite3 *db, struct err *e);
int dependencies_load(struct queue *q, struct err *e);
/* ---- keys of requests (idempotency.c) -------------------------------------------------------- */
struct key_row {
    char *user;
    char *key; /* NULL = none; owned */
    uint8_t body_sha[DIGEST_BYTES];
};
/* Errors: ERR_INVALID, ERR_NOMEM. */
int key_row_init(struct key_row *k, const struct queue_key *from, struct err *e);
void key_row_deinit(struct key_row *k); /* safe on a zeroed one and when repeated */
/* What a key stands for; zero = nothing yet. */
struct key_made {
    int64_t experiment;
    char *answer; /* owned by whoever asked */
};
/* Both on the writer thread. Errors: ERR_IDEMPOTENCY, ERR_DB, ERR_NOMEM. */
int idempotency_find(sqlite3 *db, const struct key_row *k, struct key_made *made, struct err *e);
int idempotency_keep(sqlite3 *db, const struct key_row *k, const struct key_made *made,
                     struct err *e);
/* NULL: it was deleted (ERR_NOT_FOUND). */
const struct entry *idempotency_entry(const struct queue *q, int64_t experiment, struct err *e);
void idempotency_tick(struct queue *q); /* forgets what has expired */
/* ---- room on the disk (disk_floor.c) --------------------------------------------------------- */
void disk_floor_begin(struct queue *q); /* at start; blocks */
void disk_floor_tick(struct queue *q);
/* ---- deletion (deletion.c) ------------------------------------------------------------------- */
int deletion_write(const struct change *c, sqlite3 *db, struct err *e); /* writer thread */
/* Whether it is possible as e stands. Errors: ERR_NOT_FOUND, ERR_BAD_STATE. */
int deletion_judge(const struct change *c, struct err *e);
void deletion_next(struct change *c); /* what it becomes */
void deletion_committed(struct queue *q, const struct change *c);
int deletion_load(struct queue *q, struct err *e); /* at start, after the experiments */
void deletion_tick(struct queue *q);
/* ---- weights of another experiment (fork.c), writer thread ------------------------------------
 */
struct fork {
    int64_t experiment, attempts; /* 0 = none */
    char uid[UID_TEXT_MAX];
    bool best;
};
/* On the loop: whose weights; stays empty when none are asked for. Errors: ERR_NOT_FOUND. */
int fork_prepare(const struct queue *q, const struct spec_from *from, struct fork *f,
                 struct err *e);
/* Errors: ERR_BAD_STATE (it has no checkpoint), ERR_IO. */
int fork_link(const struct fork *f, const char *files_dir, const char *uid, struct err *e);
void fork_unlink(const char *files_dir, const char *uid); /* of a submission that failed */
/* out holds PATH_MAX; -1: too long. */
int fork_start_path(const char *files_dir, const char *uid, char *out);
/* ---- sweeps (sweeps.c, sweep_rungs.c) ----------------------------------------------------------
 */
struct rung_values { /* in the order of their arrival */
    double *values;
    size_t n, capacity;
};
struct sweep *sweep_entry(const struct queue *q, int64_t id);
int sweeps_load(struct queue *q, struct err *e); /* at start, before the experiments */
void sweeps_free(struct queue *q);
/* So many of its members have failed that none may run any more. */
bool sweep_stopped(const struct sweep *s);
/* Whether one of its members may begin. */
bool sweep_has_room(const struct sweep *s);
void sweeps_tick(struct queue *q); /* ends the members of those that are stopped, some at a time */
/* Judges a member by points of its sweep's metric. */
void rungs_judge(struct queue *q, struct entry *e, const struct points_gather *points);
int rungs_load(struct queue *q, struct err *e); /* at start, after the experiments */
/* At start, when everything is loaded: decides what came in and was not decided. */
int rungs_catch_up(struct queue *q, struct err *e);
void rungs_tick(struct queue *q);
void rungs_drop(struct queue *q); /* closing */
/* Writer thread: a retry of a member that was stopped is somebody's wish. */
int rungs_forgive(const struct change *c, sqlite3 *db, struct err *e);
/* ---- scheduling (scheduler.c) ---------------------------------------------------------------- */
void scheduler_run(struct queue *q);
/* Shares of users as of now, at most a second old. */
void scheduler_refresh(struct queue *q);
void scheduler_tick(struct queue *q);
bool entry_active(const struct entry *e);
/* Running milliseconds over all attempts, the present one among them, which counts up to its last
 * sign of life when nobody saw its worker end. */
int64_t entry_ran_ms(const struct entry *e);
/* The worker of the present attempt is gone; decides between retry and failure. */
void scheduler_fault(struct queue *q, struct entry *e, enum experiment_reason reason,
                     const char *message);
void scheduler_worker_exit(void *ctx, int64_t experiment, int64_t attempt,
                           struct launcher_exit how);
/* What the failure of the present attempt means; for whoever makes the change. */
struct failure_verdict scheduler_verdict(const struct queue *q, const struct entry *e,
                                         enum experiment_reason cause, const char *words);
/* Starts the worker of a committed claim. */
void scheduler_spawn(struct queue *q, struct entry *e, const char *secret);
/* ---- loading (recovery.c) -------------------------------------------------------------------- */
int recovery_load(struct queue *q, struct err *e);
void recovery_adopt(struct queue *q);
void recovery_adopt_again(struct queue *q, struct entry *e); /* one that is unwatched */
/* ---- signs of life (signs.c) ------------------------------------------------------------------
 */
void signs_heard(struct entry *e); /* a message of the present attempt's worker came */
/* Writes those that are new, every ten seconds; `now`: at once, for a daemon that ends. */
void signs_write(struct queue *q, bool now);
/* The worker ended while no daemon looked: its attempt ended with the last sign on record. */
void signs_gone(const struct queue *q, struct entry *e);
/* ---- ingest (ingest.c) ----------------------------------------------------------------------- */
void ingest_frames(struct queue *q, struct entry *e, int64_t from_attempt, uint64_t until_step,
                   const void *body, size_t length, queue_answer_fn done, void *ctx);
/* Cuts points and records after `step`, then calls then(ctx, e). */
void ingest_cut(struct queue *q, struct entry *e, uint64_t step,
                void (*then)(void *ctx, const struct err *e), void *ctx);
/* Deletes all of them, then calls then(ctx, e). */
void ingest_delete(struct queue *q, int64_t experiment,
                   void (*then)(void *ctx, const struct err *e), void *ctx);
/* Makes the buckets that points of an older daemon lack, beside everything else. */
void ingest_fill_rollups(struct queue *q);

#endif
