/* What the end of an attempt means: classes, poison, attempts (service.md C4). */
#include "server/queue/failure.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#define THREE ((struct failure_policy){ .max_attempts = 3 })

static struct failure_verdict first(enum experiment_reason cause, struct failure_policy p)
{
    return failure_judge(cause, "words", p, (struct failure_counts){ 0 });
}

/* Goal: exit codes and signals have the reason of their row, and say it in words. */
Test(failure, exits_have_reasons)
{
    static const struct {
        int code, signal;
        const char *reason, *words;
    } rows[] = {
        { 0, 0, "worker_lost", "code 0" },
        { 64, 0, "invalid_spec", "bad spec" },
        { 65, 0, "invalid_data", "bad data" },
        { 70, 0, "diverged", "code 70" },
        { 74, 0, "io", "code 74" },
        { 75, 0, "worker_lost", "passes" },
        { 77, 0, "refused", "permission" },
        { 1, 0, "internal", "code 1 and no final" },
        { 99, 0, "internal", "code 99" },
        { -1, 0, "worker_lost", "not known" },
        { 0, SIGSEGV, "crashed", "signal 11" },
        { 0, SIGABRT, "crashed", "signal 6" },
        { 0, SIGFPE, "crashed", "signal 8" },
        { 0, SIGKILL, "worker_lost", "Killed" },
        { 0, SIGTERM, "worker_lost", "signal 15" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char words[FAILURE_TEXT_MAX];
        const enum experiment_reason r = failure_of_exit(rows[i].code, rows[i].signal, words,
                                                         sizeof words);
        cr_expect_str_eq(reason_name(r), rows[i].reason, "row %zu", i);
        cr_expect(strstr(words, rows[i].words) != NULL, "row %zu: %s", i, words);
    }
}

/* Goal: what would come again is never tried again, whatever the spec says. */
Test(failure, deterministic_failures_are_final)
{
    static const enum experiment_reason final[] = { REASON_DIVERGED,     REASON_INVALID_DATA,
                                                    REASON_INVALID_SPEC, REASON_OUT_OF_PLAN,
                                                    REASON_REFUSED,      REASON_TIME_LIMIT };
    for (size_t i = 0; i < sizeof final / sizeof final[0]; i++) {
        const struct failure_policy all = { 100, RETRY_ON_ERROR | RETRY_ON_OOM };
        const struct failure_verdict v = first(final[i], all);
        cr_expect(v.event == EVENT_FAULT_FINAL && v.reason == final[i], "%s",
                  reason_name(final[i]));
    }
}

/* Goal: errors and lack of memory are tried again only when the spec asks for it. */
Test(failure, some_classes_are_asked_for)
{
    cr_expect_eq(first(REASON_INTERNAL, THREE).event, EVENT_FAULT_FINAL);
    cr_expect_eq(first(REASON_OOM_KILLED, THREE).event, EVENT_FAULT_FINAL);
    cr_expect_eq(first(REASON_INTERNAL, (struct failure_policy){ 3, RETRY_ON_ERROR }).event,
                 EVENT_FAULT_RETRY);
    cr_expect_eq(first(REASON_OOM_KILLED, (struct failure_policy){ 3, RETRY_ON_ERROR }).event,
                 EVENT_FAULT_FINAL);
    cr_expect_eq(first(REASON_OOM_KILLED, (struct failure_policy){ 3, RETRY_ON_OOM }).event,
                 EVENT_FAULT_RETRY);
    cr_expect_eq(first(REASON_NONE, THREE).event, EVENT_FAULT_FINAL, "a failure without a reason");
}

/* Goal: faults of the machine are tried again until the attempts are used; then the message names
 * the last cause. */
Test(failure, attempts_are_used_up)
{
    for (int64_t before = 0; before < 2; before++)
        cr_expect_eq(failure_judge(REASON_LEASE_EXPIRED, "silent", THREE,
                                   (struct failure_counts){ before, 0 })
                         .event,
                     EVENT_FAULT_RETRY);
    const struct failure_verdict v = failure_judge(REASON_LEASE_EXPIRED, "silent", THREE,
                                                   (struct failure_counts){ 2, 0 });
    cr_expect(v.event == EVENT_FAULT_FINAL && v.reason == REASON_ATTEMPTS_USED);
    cr_expect_str_eq(v.message, "fault 3 of 3 allowed: silent");
    const struct failure_policy one = { .max_attempts = 1 };
    cr_expect_eq(first(REASON_LEASE_EXPIRED, one).reason, REASON_LEASE_EXPIRED,
                 "a single attempt keeps its cause");
}

/* Goal: an experiment that takes the worker down is stopped, however many attempts it has. */
Test(failure, crashes_are_poison)
{
    const struct failure_policy many = { .max_attempts = 100 };
    cr_expect(first(REASON_CRASHED, many).crash);
    cr_expect_eq(failure_judge(REASON_CRASHED, "x", many, (struct failure_counts){ 1, 1 }).event,
                 EVENT_FAULT_RETRY);
    const struct failure_verdict v = failure_judge(REASON_CRASHED, "signal 11", many,
                                                   (struct failure_counts){ 2, 2 });
    cr_expect(v.event == EVENT_FAULT_FINAL && v.reason == REASON_POISON);
    cr_expect(strstr(v.message, "signal 11") != NULL);
    cr_expect_eq(
        failure_judge(REASON_WORKER_LOST, "x", many, (struct failure_counts){ 50, 2 }).event,
        EVENT_FAULT_RETRY, "a kill from outside is no crash");
}

/* Goal: a reboot costs no attempt. */
Test(failure, a_reboot_is_free)
{
    const struct failure_verdict v = failure_judge(REASON_HOST_REBOOT, "x", THREE,
                                                   (struct failure_counts){ 2, 2 });
    cr_expect(v.event == EVENT_FAULT_FREE && !v.counts && !v.crash);
}
