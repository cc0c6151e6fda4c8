/* change_crash: the crash points around the commit of a change (common/crash.h). Writer thread
 * before the commit, loop thread after it. */
#ifndef SERVER_CHANGE_CRASH_H
#define SERVER_CHANGE_CRASH_H

#include "common/crash.h"
#include "server/queue/experiment_state.h"

static inline void change_crash(enum experiment_event event, bool committed)
{
    switch (event) {
    case EVENT_CANCEL:
    case EVENT_PAUSE:
    case EVENT_RESUME:
    case EVENT_RETRY:
    case EVENT_RETRY_LATER:
        crash_point(committed ? CRASH_ACTION_AFTER_COMMIT : CRASH_ACTION_BEFORE_COMMIT);
        break;
    case EVENT_PRUNE:
        crash_point(committed ? CRASH_PRUNE_AFTER_COMMIT : CRASH_PRUNE_BEFORE_COMMIT);
        break;
    case EVENT_CLAIM:
        crash_point(committed ? CRASH_CLAIM_AFTER_COMMIT : CRASH_CLAIM_BEFORE_COMMIT);
        break;
    case EVENT_HELLO:
        crash_point(committed ? CRASH_HELLO_AFTER_COMMIT : CRASH_HELLO_BEFORE_COMMIT);
        break;
    case EVENT_FAULT_RETRY:
    case EVENT_FAULT_FINAL:
    case EVENT_FAULT_FREE:
        crash_point(committed ? CRASH_FAULT_AFTER_COMMIT : CRASH_FAULT_BEFORE_COMMIT);
        break;
    case EVENT_FINISH_SUCCEEDED:
    case EVENT_FINISH_FAILED:
    case EVENT_FINISH_PAUSED:
    case EVENT_FINISH_CANCELLED:
        crash_point(committed ? CRASH_FINISH_AFTER_COMMIT : CRASH_FINISH_BEFORE_COMMIT);
        break;
    default: break; /* labels, the end of a wait: as any other commit */
    }
}

#endif
