/* failure: what an attempt's end means for its experiment: try again, or not (service.md C4). Pure:
 * one row a reason, a class a row. Called by the queue on the loop thread; `spiked failures` prints
 * the table. */
#ifndef SERVER_FAILURE_H
#define SERVER_FAILURE_H

#include "server/queue/experiment_state.h"

#include <stddef.h>
#include <stdint.h>

enum failure_class {
    FAILURE_NONE,    /* ends no attempt */
    FAILURE_OUTSIDE, /* not the experiment's doing, and it will not come again: not counted */
    FAILURE_MACHINE, /* the machine's, as far as known: tried again, counted */
    FAILURE_CRASH,   /* the worker program fell over: the same, and a few of them are poison */
    FAILURE_ERROR,   /* the worker program's: again only if retry.on has "error" */
    FAILURE_MEMORY,  /* again only if retry.on has "oom" */
    FAILURE_FINAL,   /* would come again: never */
    FAILURE_CLASSES
};
#define FAILURE_CRASHES_MAX 3
#define FAILURE_TEXT_MAX 400

enum { RETRY_ON_ERROR = 1, RETRY_ON_OOM = 2 };
struct failure_policy {
    int64_t max_attempts; /* faults that end the experiment */
    unsigned retry_on;
};
struct failure_counts {
    int64_t faults, crashes; /* before this one */
};
struct failure_verdict {
    enum experiment_event event;   /* EVENT_FAULT_RETRY, _FINAL or _FREE */
    enum experiment_reason reason; /* of the experiment; the attempt keeps the cause */
    bool counts, crash;            /* as a fault, as a crash */
    char message[FAILURE_TEXT_MAX];
};

enum failure_class failure_class_of(enum experiment_reason reason);
const char *failure_class_name(enum failure_class c);
const char *failure_class_meaning(enum failure_class c);
/* A worker process that ended without a final message. code -1: unknown. words: the end in a
 * sentence, at least FAILURE_TEXT_MAX bytes. */
enum experiment_reason failure_of_exit(int code, int signal, char *words, size_t size);
struct failure_verdict failure_judge(enum experiment_reason cause, const char *words,
                                     struct failure_policy policy, struct failure_counts before);

#endif
