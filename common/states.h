/* states: closed tables of experiment states, desired states and reasons (design 1, 7).
 * Answers and documentation take their words from here. Any thread. */
#ifndef COMMON_STATES_H
#define COMMON_STATES_H

#include "common/err.h"

#include <stdbool.h>

#define STATE_TABLE(X)                                                                            \
    X(STATE_HELD, "held", "waits for its owner to release it")                                    \
    X(STATE_BLOCKED, "blocked", "waits for other experiments")                                    \
    X(STATE_BACKOFF, "backoff", "waits before the next attempt after a failure")                  \
    X(STATE_QUEUED, "queued", "waits for a free slot")                                            \
    X(STATE_STARTING, "starting", "a worker was claimed and has not said hello")                  \
    X(STATE_RUNNING, "running", "a worker trains")                                                \
    X(STATE_STOPPING, "stopping", "a worker was asked to stop")                                   \
    X(STATE_PAUSED, "paused", "checkpointed, no worker, continues on resume")                     \
    X(STATE_SUCCEEDED, "succeeded", "finished")                                                   \
    X(STATE_FAILED, "failed", "ended by a fault")                                                 \
    X(STATE_CANCELLED, "cancelled", "ended on request")

enum experiment_state {
#define STATE_ENUM(code, name, meaning) code,
    STATE_TABLE(STATE_ENUM)
#undef STATE_ENUM
        STATE_COUNT
};

enum experiment_desired { DESIRED_RUN, DESIRED_PAUSE, DESIRED_CANCEL, DESIRED_COUNT };

#define REASON_TABLE(X)                                                                           \
    X(REASON_NONE, "none", "nothing to explain")                                                  \
    X(REASON_NO_SLOT, "no_slot", "all slots are busy")                                            \
    X(REASON_USER_LIMIT, "user_limit", "the owner runs as many as allowed")                       \
    X(REASON_QUEUE_PAUSED, "queue_paused", "the queue is paused")                                 \
    X(REASON_DRAINING, "draining", "the daemon starts nothing new")                               \
    X(REASON_DISK_LOW, "disk_low", "too little disk space is free")                               \
    X(REASON_DEPENDENCY, "dependency", "an experiment it depends on has not ended well")          \
    X(REASON_SWEEP_LIMIT, "sweep_limit", "its sweep runs as many as max_parallel allows")         \
    X(REASON_SWEEP_PRUNED, "sweep_pruned", "others of its sweep were better at that budget")      \
    X(REASON_SWEEP_STOPPED, "sweep_stopped", "max_fails members of its sweep have failed")        \
    X(REASON_USER_REQUEST, "user_request", "somebody asked for it")                               \
    X(REASON_PAUSE_FAILED, "pause_failed", "no checkpoint was written in the grace time")         \
    X(REASON_SPAWN_FAILED, "spawn_failed", "the worker could not be started")                     \
    X(REASON_START_TIMEOUT, "start_timeout", "the worker did not say hello in time")              \
    X(REASON_WORKER_LOST, "worker_lost", "the worker died without a final message")               \
    X(REASON_LEASE_EXPIRED, "lease_expired", "the worker did not renew its lease")                \
    X(REASON_NO_PROGRESS, "no_progress", "no training step was done in time")                     \
    X(REASON_OOM_KILLED, "oom_killed", "the worker used more memory than allowed")                \
    X(REASON_TIME_LIMIT, "time_limit", "time_limit_s was used up")                                \
    X(REASON_HOST_REBOOT, "host_reboot", "the machine was restarted")                             \
    X(REASON_DAEMON_RESTART, "daemon_restart", "the daemon ended before the worker began")        \
    X(REASON_RESTORED, "restored", "it was active when the backup was made that this comes from") \
    X(REASON_DIVERGED, "diverged", "a loss, gradient or weight was not finite")                   \
    X(REASON_INVALID_DATA, "invalid_data", "a data file is missing, truncated or corrupt")        \
    X(REASON_INVALID_SPEC, "invalid_spec", "the spec does not fit its data or this build")        \
    X(REASON_OUT_OF_PLAN, "out_of_plan", "the memory plan does not fit memory_mib")               \
    X(REASON_INTERNAL, "internal", "a fault of the worker program")                               \
    X(REASON_IO, "io", "a file or socket call failed in the worker")                              \
    X(REASON_CRASHED, "crashed", "the worker program was ended by a fault of its own")            \
    X(REASON_REFUSED, "refused", "the daemon or the system refused the worker")                   \
    X(REASON_POISON, "poison", "the worker crashed too often")                                    \
    X(REASON_ATTEMPTS_USED, "attempts_used", "all attempts failed")

enum experiment_reason {
#define REASON_ENUM(code, name, meaning) code,
    REASON_TABLE(REASON_ENUM)
#undef REASON_ENUM
        REASON_COUNT
};

const char *state_name(enum experiment_state s);
const char *state_meaning(enum experiment_state s);
int state_from_name(const char *name, enum experiment_state *out); /* 0 or -1 */
bool state_is_final(enum experiment_state s);
bool state_is_active(enum experiment_state s); /* a worker has it: starting, running, stopping */
const char *desired_name(enum experiment_desired d); /* "run", "pause", "cancel" */
int desired_from_name(const char *name, enum experiment_desired *out);
const char *reason_name(enum experiment_reason r);
const char *reason_meaning(enum experiment_reason r);
int reason_from_name(const char *name, enum experiment_reason *out);
/* Why an attempt failed that ended with this error. */
enum experiment_reason reason_of_fault(enum err_code code);

#endif
