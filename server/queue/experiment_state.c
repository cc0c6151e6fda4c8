/* experiment_state: see experiment_state.h. The first row that matches decides; none means that the
 * event is not allowed in that state. */
#include "server/queue/experiment_state.h"

#include <stddef.h>

#define BIT(s) (1u << (s))
#define WAITING                                                                      \
    (BIT(STATE_HELD) | BIT(STATE_BLOCKED) | BIT(STATE_BACKOFF) | BIT(STATE_QUEUED) | \
     BIT(STATE_PAUSED))
#define ACTIVE (BIT(STATE_STARTING) | BIT(STATE_RUNNING) | BIT(STATE_STOPPING))
#define FINAL (BIT(STATE_SUCCEEDED) | BIT(STATE_FAILED) | BIT(STATE_CANCELLED))
#define ANY_STATE (WAITING | ACTIVE | FINAL)
#define RUN BIT(DESIRED_RUN)
#define PAUSE BIT(DESIRED_PAUSE)
#define CANCEL BIT(DESIRED_CANCEL)
#define ANY_DESIRED (RUN | PAUSE | CANCEL)
#define SAME_STATE STATE_COUNT
#define SAME_DESIRED DESIRED_COUNT

struct row {
    enum experiment_event event;
    unsigned states, desired;
    enum experiment_state next;
    enum experiment_desired next_desired;
    unsigned effects;
};

static const struct row rows[] = {
    { EVENT_CLAIM, BIT(STATE_QUEUED), RUN, STATE_STARTING, SAME_DESIRED, EFFECT_SPAWN },

    { EVENT_HELLO, BIT(STATE_STARTING), RUN, STATE_RUNNING, SAME_DESIRED, 0 },
    { EVENT_HELLO, BIT(STATE_STARTING), PAUSE | CANCEL, STATE_STOPPING, SAME_DESIRED,
      EFFECT_GRACE },
    { EVENT_HELLO, BIT(STATE_RUNNING) | BIT(STATE_STOPPING), ANY_DESIRED, SAME_STATE, SAME_DESIRED,
      0 },

    { EVENT_FINISH_SUCCEEDED, ACTIVE, ANY_DESIRED, STATE_SUCCEEDED, DESIRED_RUN, EFFECT_SCHEDULE },
    { EVENT_FINISH_FAILED, ACTIVE, CANCEL, STATE_CANCELLED, SAME_DESIRED, EFFECT_SCHEDULE },
    { EVENT_FINISH_FAILED, ACTIVE, RUN | PAUSE, STATE_FAILED, DESIRED_RUN, EFFECT_SCHEDULE },
    { EVENT_FINISH_PAUSED, ACTIVE, CANCEL, STATE_CANCELLED, SAME_DESIRED, EFFECT_SCHEDULE },
    { EVENT_FINISH_PAUSED, ACTIVE, PAUSE, STATE_PAUSED, SAME_DESIRED, EFFECT_SCHEDULE },
    { EVENT_FINISH_PAUSED, ACTIVE, RUN, STATE_QUEUED, SAME_DESIRED, EFFECT_SCHEDULE },
    { EVENT_FINISH_CANCELLED, ACTIVE, CANCEL, STATE_CANCELLED, SAME_DESIRED, EFFECT_SCHEDULE },
    { EVENT_FINISH_CANCELLED, ACTIVE, RUN | PAUSE, STATE_QUEUED, DESIRED_RUN, EFFECT_SCHEDULE },

    { EVENT_FAULT_RETRY, ACTIVE, CANCEL, STATE_CANCELLED, SAME_DESIRED, EFFECT_SCHEDULE },
    { EVENT_FAULT_RETRY, ACTIVE, PAUSE, STATE_PAUSED, SAME_DESIRED, EFFECT_SCHEDULE },
    { EVENT_FAULT_RETRY, ACTIVE, RUN, STATE_BACKOFF, SAME_DESIRED, EFFECT_DELAY | EFFECT_SCHEDULE },
    { EVENT_FAULT_FINAL, ACTIVE, CANCEL, STATE_CANCELLED, SAME_DESIRED, EFFECT_SCHEDULE },
    { EVENT_FAULT_FINAL, ACTIVE, RUN | PAUSE, STATE_FAILED, DESIRED_RUN, EFFECT_SCHEDULE },
    { EVENT_FAULT_FREE, ACTIVE, CANCEL, STATE_CANCELLED, SAME_DESIRED, EFFECT_SCHEDULE },
    { EVENT_FAULT_FREE, ACTIVE, PAUSE, STATE_PAUSED, SAME_DESIRED, EFFECT_SCHEDULE },
    { EVENT_FAULT_FREE, ACTIVE, RUN, STATE_QUEUED, SAME_DESIRED, EFFECT_SCHEDULE },

    { EVENT_CANCEL, WAITING, ANY_DESIRED, STATE_CANCELLED, DESIRED_CANCEL, EFFECT_SCHEDULE },
    { EVENT_CANCEL, ACTIVE, ANY_DESIRED, STATE_STOPPING, DESIRED_CANCEL, EFFECT_GRACE },
    { EVENT_PAUSE, BIT(STATE_QUEUED) | BIT(STATE_BACKOFF), ANY_DESIRED, STATE_PAUSED, DESIRED_PAUSE,
      EFFECT_SCHEDULE },
    { EVENT_PAUSE, BIT(STATE_STARTING), RUN | PAUSE, SAME_STATE, DESIRED_PAUSE, 0 },
    { EVENT_PAUSE, BIT(STATE_RUNNING), RUN | PAUSE, STATE_STOPPING, DESIRED_PAUSE, EFFECT_GRACE },
    { EVENT_RESUME, BIT(STATE_PAUSED) | BIT(STATE_HELD), ANY_DESIRED, STATE_QUEUED, DESIRED_RUN,
      EFFECT_SCHEDULE },
    { EVENT_RETRY, BIT(STATE_FAILED) | BIT(STATE_CANCELLED), ANY_DESIRED, STATE_QUEUED, DESIRED_RUN,
      EFFECT_SCHEDULE },

    { EVENT_GRACE_OVER, BIT(STATE_STOPPING), CANCEL, SAME_STATE, SAME_DESIRED, EFFECT_KILL },
    { EVENT_GRACE_OVER, BIT(STATE_STOPPING), PAUSE, STATE_RUNNING, DESIRED_RUN, 0 },
    { EVENT_BACKOFF_OVER, BIT(STATE_BACKOFF), ANY_DESIRED, STATE_QUEUED, SAME_DESIRED,
      EFFECT_SCHEDULE },
    { EVENT_PATCH, ANY_STATE, ANY_DESIRED, SAME_STATE, SAME_DESIRED, EFFECT_SCHEDULE },
};

static const char *const names[EVENT_COUNT] = {
#define EVENT_NAME(code, name) [code] = name,
    EVENT_TABLE(EVENT_NAME)
#undef EVENT_NAME
};
const char *event_name(enum experiment_event e) { return names[e]; }

struct experiment_transition experiment_next(enum experiment_state state,
                                             enum experiment_desired desired,
                                             enum experiment_event event)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *r = &rows[i];
        if (r->event != event || (r->states & BIT(state)) == 0 || (r->desired & BIT(desired)) == 0)
            continue;
        return (struct experiment_transition){
            .allowed = true,
            .state = r->next == SAME_STATE ? state : r->next,
            .desired = r->next_desired == SAME_DESIRED ? desired : r->next_desired,
            .effects = r->effects,
        };
    }
    return (struct experiment_transition){ .state = state, .desired = desired };
}
