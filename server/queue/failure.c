/* failure: see failure.h. */
#include "server/queue/failure.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *meaning;
} classes[FAILURE_CLASSES] = {
    [FAILURE_NONE] = { "none", "ends no attempt" },
    [FAILURE_OUTSIDE] = { "outside", "again at once, not counted" },
    [FAILURE_MACHINE] = { "machine", "again after a wait, up to `retry.max_attempts`" },
    [FAILURE_CRASH] = { "crash", "like machine; the third one fails as `poison`" },
    [FAILURE_ERROR] = { "error", "like machine if `retry.on` has `error`, else failed" },
    [FAILURE_MEMORY] = { "memory", "like machine if `retry.on` has `oom`, else failed" },
    [FAILURE_FINAL] = { "final", "failed: it would come again" },
};

static const enum failure_class class_of[REASON_COUNT] = {
    [REASON_HOST_REBOOT] = FAILURE_OUTSIDE,
    [REASON_DAEMON_RESTART] = FAILURE_OUTSIDE,
    [REASON_SPAWN_FAILED] = FAILURE_MACHINE,
    [REASON_START_TIMEOUT] = FAILURE_MACHINE,
    [REASON_WORKER_LOST] = FAILURE_MACHINE,
    [REASON_LEASE_EXPIRED] = FAILURE_MACHINE,
    [REASON_NO_PROGRESS] = FAILURE_MACHINE,
    [REASON_IO] = FAILURE_MACHINE,
    [REASON_USER_REQUEST] = FAILURE_MACHINE, /* killed for a cancel: the table has the word */
    [REASON_CRASHED] = FAILURE_CRASH,
    [REASON_INTERNAL] = FAILURE_ERROR,
    [REASON_OOM_KILLED] = FAILURE_MEMORY,
    [REASON_TIME_LIMIT] = FAILURE_FINAL,
    [REASON_DIVERGED] = FAILURE_FINAL,
    [REASON_INVALID_DATA] = FAILURE_FINAL,
    [REASON_INVALID_SPEC] = FAILURE_FINAL,
    [REASON_OUT_OF_PLAN] = FAILURE_FINAL,
    [REASON_REFUSED] = FAILURE_FINAL,
};

enum failure_class failure_class_of(enum experiment_reason reason) { return class_of[reason]; }
const char *failure_class_name(enum failure_class c) { return classes[c].name; }
const char *failure_class_meaning(enum failure_class c) { return classes[c].meaning; }

/* Exit codes of common/err.h. A worker says its faults itself: these are what is known when that
 * message was lost. */
static const struct {
    int code;
    enum experiment_reason reason;
    const char *words;
} codes[] = {
    { 0, REASON_WORKER_LOST, "it was done" },
    { 64, REASON_INVALID_SPEC, "bad spec" },
    { 65, REASON_INVALID_DATA, "bad data" },
    { 66, REASON_INVALID_DATA, "something is missing" },
    { 70, REASON_DIVERGED, "diverged, or a fault of the program" },
    { 74, REASON_IO, "a file or socket call failed" },
    { 75, REASON_WORKER_LOST, "a fault that passes" },
    { 77, REASON_REFUSED, "no permission" },
    { 130, REASON_WORKER_LOST, "stopped by a signal" },
    { 143, REASON_WORKER_LOST, "stopped by a signal" },
};

/* Signals that a program brings upon itself; the others are sent by somebody. */
static bool is_crash(int signal)
{
    static const int own[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP };
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (own[i] == signal) return true;
    return false;
}

enum experiment_reason failure_of_exit(int code, int signal, char *words, size_t size)
{
    if (signal != 0) {
        (void)snprintf(words, size, "the worker was ended by signal %d (%s)", signal,
                       strsignal(signal));
        return is_crash(signal) ? REASON_CRASHED : REASON_WORKER_LOST;
    }
    if (code < 0) {
        (void)snprintf(words, size,
                       "the worker ended without a final message; how is not known, "
                       "an earlier daemon had started it");
        return REASON_WORKER_LOST;
    }
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (codes[i].code != code) continue;
        (void)snprintf(words, size, "the worker ended with code %d (%s) and no final message", code,
                       codes[i].words);
        return codes[i].reason;
    }
    (void)snprintf(words, size, "the worker ended with code %d and no final message", code);
    return REASON_INTERNAL;
}

static bool may_again(enum failure_class c, unsigned retry_on)
{
    if (c == FAILURE_ERROR) return (retry_on & RETRY_ON_ERROR) != 0;
    if (c == FAILURE_MEMORY) return (retry_on & RETRY_ON_OOM) != 0;
    return c == FAILURE_MACHINE || c == FAILURE_CRASH;
}

struct failure_verdict failure_judge(enum experiment_reason cause, const char *words,
                                     struct failure_policy policy, struct failure_counts before)
{
    enum failure_class c = class_of[cause];
    if (c == FAILURE_NONE) c = FAILURE_ERROR; /* a failure without a reason is the program's */
    struct failure_verdict v = { .event = EVENT_FAULT_FINAL, .reason = cause };
    (void)snprintf(v.message, sizeof v.message, "%s", words);
    if (c == FAILURE_OUTSIDE) {
        v.event = EVENT_FAULT_FREE;
        return v;
    }
    v.counts = true;
    v.crash = c == FAILURE_CRASH;
    if (!may_again(c, policy.retry_on)) return v;
    const int64_t faults = before.faults + 1;
    if (v.crash && before.crashes + 1 >= FAILURE_CRASHES_MAX) {
        v.reason = REASON_POISON;
        (void)snprintf(v.message, sizeof v.message, "crash %d, the last one allowed: %s",
                       FAILURE_CRASHES_MAX, words);
    } else if (faults >= policy.max_attempts) {
        if (policy.max_attempts > 1) v.reason = REASON_ATTEMPTS_USED;
        (void)snprintf(v.message, sizeof v.message, "fault %lld of %lld allowed: %s",
                       (long long)faults, (long long)policy.max_attempts, words);
    } else {
        v.event = EVENT_FAULT_RETRY;
    }
    return v;
}
