/* The life cycle: every cell of the table, by its rows and by what must hold for all of them. */
#include "server/queue/experiment_state.h"

#include <criterion/criterion.h>

#define EACH_CELL                                                    \
    for (int s = 0; s < STATE_COUNT; s++)                            \
        for (int d = 0; d < DESIRED_COUNT; d++)                      \
            for (int v = 0; v < EVENT_COUNT; v++)

static struct experiment_transition next(int s, int d, int v)
{
    return experiment_next((enum experiment_state)s, (enum experiment_desired)d,
                           (enum experiment_event)v);
}

static bool is_active(int s)
{
    return s == STATE_STARTING || s == STATE_RUNNING || s == STATE_STOPPING;
}

static bool is_finish(int v) { return v >= EVENT_FINISH_SUCCEEDED && v <= EVENT_FINISH_CANCELLED; }

static bool is_fault(int v) { return v >= EVENT_FAULT_RETRY && v <= EVENT_FAULT_FREE; }

/* Goal: a cell that is not allowed changes nothing and has no effect. */
Test(experiment_state, refused_cells_change_nothing)
{
    int allowed = 0;
    EACH_CELL
    {
        const struct experiment_transition t = next(s, d, v);
        allowed += t.allowed;
        if (t.allowed) continue;
        cr_assert((int)t.state == s && (int)t.desired == d && t.effects == 0, "%s %s",
                  state_name((enum experiment_state)s), event_name((enum experiment_event)v));
    }
    cr_assert(allowed > 100 && allowed < STATE_COUNT * DESIRED_COUNT * EVENT_COUNT / 2, "%d",
              allowed);
}

/* Goal: what has ended only begins again when somebody asks for a retry, and never after success.
 */
Test(experiment_state, final_states_are_left_by_retry_only)
{
    EACH_CELL
    {
        const struct experiment_transition t = next(s, d, v);
        if (!state_is_final((enum experiment_state)s) || !t.allowed || v == EVENT_PATCH) continue;
        cr_assert(s != STATE_SUCCEEDED);
        cr_assert(v == EVENT_RETRY ? t.state == STATE_QUEUED
                                   : v == EVENT_RETRY_LATER && t.state == STATE_BLOCKED);
    }
}

/* Goal: messages of a worker mean something only while an attempt is under way, and a worker that
 * finished or is lost always leaves the active states. */
Test(experiment_state, workers_speak_while_active)
{
    EACH_CELL
    {
        const struct experiment_transition t = next(s, d, v);
        if (is_finish(v) || is_fault(v)) {
            cr_assert_eq(t.allowed, is_active(s), "%s %s", state_name((enum experiment_state)s),
                         event_name((enum experiment_event)v));
            if (t.allowed) cr_assert(!is_active((int)t.state));
        }
        if (v == EVENT_HELLO) cr_assert_eq(t.allowed, is_active(s));
    }
}

/* Goal: success that was reported stands, whatever was asked for meanwhile. */
Test(experiment_state, success_beats_cancel_and_pause)
{
    for (int d = 0; d < DESIRED_COUNT; d++)
        for (int s = STATE_STARTING; s <= STATE_STOPPING; s++)
            cr_assert_eq(next(s, d, EVENT_FINISH_SUCCEEDED).state, STATE_SUCCEEDED);
}

/* Goal: cancel beats pause: once asked for, only success or the end follows. */
Test(experiment_state, cancel_beats_pause)
{
    for (int s = 0; s < STATE_COUNT; s++) {
        cr_assert(!next(s, DESIRED_CANCEL, EVENT_PAUSE).allowed || !is_active(s),
                  "pause undoes the cancel of %s", state_name((enum experiment_state)s));
        if (!is_active(s)) continue;
        cr_assert_eq(next(s, DESIRED_PAUSE, EVENT_CANCEL).desired, DESIRED_CANCEL);
        for (int v = 0; v < EVENT_COUNT; v++) {
            const struct experiment_transition t = next(s, DESIRED_CANCEL, v);
            if ((is_finish(v) && v != EVENT_FINISH_SUCCEEDED) || is_fault(v))
                cr_assert_eq(t.state, STATE_CANCELLED, "%s", event_name((enum experiment_event)v));
        }
    }
}

/* Goal: a process is started by a claim and by nothing else, and only something queued is claimed.
 */
Test(experiment_state, only_a_claim_spawns)
{
    EACH_CELL
    {
        const struct experiment_transition t = next(s, d, v);
        cr_assert_eq((t.effects & EFFECT_SPAWN) != 0, v == EVENT_CLAIM && t.allowed);
        if (v == EVENT_CLAIM) cr_assert_eq(t.allowed, s == STATE_QUEUED && d == DESIRED_RUN);
        if ((t.effects & EFFECT_KILL) != 0)
            cr_assert(v == EVENT_GRACE_OVER && d != DESIRED_PAUSE && s == STATE_STOPPING);
    }
}

/* Goal: what waits for others leaves that only when they are decided, or by a cancel. */
Test(experiment_state, blocked_is_left_by_dependencies)
{
    for (int d = 0; d < DESIRED_COUNT; d++) {
        for (int v = 0; v < EVENT_COUNT; v++) {
            const struct experiment_transition t = next(STATE_BLOCKED, d, v);
            if (!t.allowed || v == EVENT_PATCH) continue;
            cr_assert_eq(t.state, v == EVENT_DEPENDENCIES_MET ? STATE_QUEUED : STATE_CANCELLED);
            cr_assert(v == EVENT_DEPENDENCIES_MET || v == EVENT_DEPENDENCY_BROKEN ||
                      v == EVENT_CANCEL || v == EVENT_PRUNE);
        }
        cr_assert(!next(STATE_QUEUED, d, EVENT_DEPENDENCY_BROKEN).allowed);
    }
}

/* Goal: a pause without a checkpoint in its grace time goes back to running (design 2.4). */
Test(experiment_state, a_failed_pause_runs_on)
{
    const struct experiment_transition t = next(STATE_STOPPING, DESIRED_PAUSE, EVENT_GRACE_OVER);
    cr_assert(t.allowed && t.state == STATE_RUNNING && t.desired == DESIRED_RUN && t.effects == 0);
}

/* Goal: an attempt that a limit ended never goes on by itself, and a cancel still is one. */
Test(experiment_state, a_limit_ends_the_experiment)
{
    EACH_CELL
    {
        if (v == EVENT_LIMIT)
            cr_assert_eq(next(s, d, v).allowed, s == STATE_RUNNING && d == DESIRED_RUN);
    }
    cr_assert_eq(next(STATE_RUNNING, DESIRED_RUN, EVENT_LIMIT).state, STATE_STOPPING);
    for (int v = EVENT_FINISH_FAILED; v <= EVENT_FAULT_FREE; v++)
        cr_assert_eq(next(STATE_STOPPING, DESIRED_RUN, v).state, STATE_FAILED, "%s",
                     event_name((enum experiment_event)v));
    cr_assert_eq(next(STATE_STOPPING, DESIRED_RUN, EVENT_FINISH_SUCCEEDED).state, STATE_SUCCEEDED);
    cr_assert_eq(next(STATE_STOPPING, DESIRED_RUN, EVENT_CANCEL).desired, DESIRED_CANCEL);
}

/* Goal: the way of a run without and with a fault, step by step. */
Test(experiment_state, the_usual_ways)
{
    static const struct {
        int state, desired, event, becomes;
    } way[] = {
        { STATE_QUEUED, DESIRED_RUN, EVENT_CLAIM, STATE_STARTING },
        { STATE_STARTING, DESIRED_RUN, EVENT_HELLO, STATE_RUNNING },
        { STATE_RUNNING, DESIRED_RUN, EVENT_FINISH_SUCCEEDED, STATE_SUCCEEDED },
        { STATE_RUNNING, DESIRED_RUN, EVENT_FINISH_FAILED, STATE_FAILED },
        { STATE_RUNNING, DESIRED_RUN, EVENT_FAULT_RETRY, STATE_BACKOFF },
        { STATE_BACKOFF, DESIRED_RUN, EVENT_BACKOFF_OVER, STATE_QUEUED },
        { STATE_RUNNING, DESIRED_RUN, EVENT_FAULT_FINAL, STATE_FAILED },
        { STATE_RUNNING, DESIRED_RUN, EVENT_FAULT_FREE, STATE_QUEUED },
        { STATE_RUNNING, DESIRED_RUN, EVENT_PAUSE, STATE_STOPPING },
        { STATE_STOPPING, DESIRED_PAUSE, EVENT_FINISH_PAUSED, STATE_PAUSED },
        { STATE_PAUSED, DESIRED_PAUSE, EVENT_RESUME, STATE_QUEUED },
        { STATE_RUNNING, DESIRED_RUN, EVENT_CANCEL, STATE_STOPPING },
        { STATE_QUEUED, DESIRED_RUN, EVENT_CANCEL, STATE_CANCELLED },
        { STATE_RUNNING, DESIRED_RUN, EVENT_FINISH_PAUSED,
          STATE_QUEUED }, /* the daemon's own stop */
        { STATE_FAILED, DESIRED_RUN, EVENT_RETRY, STATE_QUEUED },
    };
    for (size_t i = 0; i < sizeof way / sizeof way[0]; i++) {
        const struct experiment_transition t = next(way[i].state, way[i].desired, way[i].event);
        cr_assert(t.allowed && (int)t.state == way[i].becomes, "row %zu", i);
    }
}
