/* experiment_state: the life cycle of an experiment as one pure function over a full table.
 *
 *                  submit
 *   held ──resume──► queued ◄──backoff over── backoff ◄───────────────┐ fault, attempts left
 *   blocked ──────────►┘ dependencies met
 *                     │  ▲ ▲                                          │
 *               claim │  │ └─ fault that is not counted (reboot) ─────┤
 *                     ▼  │ resume                                     │
 *                 starting ──hello──► running ──pause, cancel──► stopping ──► paused
 *                     │                  ▲  │                      │   │
 *                     │   grace over,    └──┼── pause failed ──────┘   │
 *                     │                     └── finish ──► succeeded, failed, cancelled
 *                     └── fault, no attempts left: failed
 *
 * stopping with desired run: the queue itself ends the attempt (a limit is used up); then comes
 * failed, whatever the worker says but success.
 *
 * Waiting states: queued (a slot), blocked (other experiments), backoff (time), starting (hello),
 * stopping (finish or death), paused and held (a person). Called by the queue on the loop thread;
 * has no state of its own. */
#ifndef SERVER_EXPERIMENT_STATE_H
#define SERVER_EXPERIMENT_STATE_H

#include "common/states.h"

#include <stdbool.h>

#define EVENT_TABLE(X)                                                                           \
    X(EVENT_CLAIM, "claim")                                                                      \
    X(EVENT_HELLO, "hello")                                                                      \
    X(EVENT_FINISH_SUCCEEDED, "finish_succeeded")                                                \
    X(EVENT_FINISH_FAILED, "finish_failed")                                                      \
    X(EVENT_FINISH_PAUSED, "finish_paused")                                                      \
    X(EVENT_FINISH_CANCELLED, "finish_cancelled")                                                \
    X(EVENT_FAULT_RETRY, "fault_retry") /* worker lost, attempts left */                         \
    X(EVENT_FAULT_FINAL, "fault_final") /* worker lost, no attempts left */                      \
    X(EVENT_FAULT_FREE, "fault_free")   /* not the experiment's doing: not counted */            \
    X(EVENT_CANCEL, "cancel")                                                                    \
    X(EVENT_PRUNE, "prune") /* its sweep has no more use for it */                               \
    X(EVENT_PAUSE, "pause")                                                                      \
    X(EVENT_RESUME, "resume")                                                                    \
    X(EVENT_RETRY, "retry")                                                                      \
    X(EVENT_LIMIT, "limit") /* the queue ends the attempt: a limit is used up */                 \
    X(EVENT_GRACE_OVER, "grace_over")                                                            \
    X(EVENT_DEPENDENCIES_MET, "dependencies_met")                                                \
    X(EVENT_DEPENDENCY_BROKEN, "dependency_broken") /* what it needs did not succeed */          \
    X(EVENT_RETRY_LATER, "retry_later")             /* a retry of what waits for others again */ \
    X(EVENT_BACKOFF_OVER, "backoff_over")                                                        \
    X(EVENT_PATCH, "patch")

enum experiment_event {
#define EVENT_ENUM(code, name) code,
    EVENT_TABLE(EVENT_ENUM)
#undef EVENT_ENUM
        EVENT_COUNT
};
const char *event_name(enum experiment_event e);

/* What the queue does once the new row is committed. */
enum {
    EFFECT_SPAWN = 1,   /* start the worker of the new attempt */
    EFFECT_KILL = 2,    /* SIGKILL */
    EFFECT_GRACE = 4,   /* start the grace time of a polite stop */
    EFFECT_DELAY = 8,   /* wait before the next attempt */
    EFFECT_SCHEDULE = 16 /* a slot may have become free, or work may wait */
};
struct experiment_transition {
    bool allowed; /* false: the event means nothing here; a person gets bad_state */
    enum experiment_state state;
    enum experiment_desired desired;
    unsigned effects;
};
struct experiment_transition experiment_next(enum experiment_state state,
                                             enum experiment_desired desired,
                                             enum experiment_event event);

#endif
