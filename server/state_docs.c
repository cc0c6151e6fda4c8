/* state_docs: see state_docs.h. Asks experiment_next about every cell; what is not printed is not
 * allowed. */
#include "server/state_docs.h"

#include "server/queue/failure.h"

#include <string.h>

static void print_effects(FILE *out, unsigned effects)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = { { EFFECT_SPAWN, "start a worker" },
                  { EFFECT_KILL, "kill the worker" },
                  { EFFECT_GRACE, "begin the grace time" },
                  { EFFECT_DELAY, "wait before the next attempt" },
                  { EFFECT_SCHEDULE, "look for the next to run" } };
    const char *comma = "";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if ((effects & names[i].bit) == 0) continue;
        (void)fprintf(out, "%s%s", comma, names[i].name);
        comma = ", ";
    }
}

static bool same(struct experiment_transition a, struct experiment_transition b)
{
    return a.allowed == b.allowed && a.state == b.state && a.effects == b.effects;
}

/* Desired states with the same outcome share a row. */
static void print_cell(FILE *out, enum experiment_state state, enum experiment_event event)
{
    bool done[DESIRED_COUNT] = { false };
    for (int d = 0; d < DESIRED_COUNT; d++) {
        const struct experiment_transition t = experiment_next(state, (enum experiment_desired)d,
                                                               event);
        if (done[d] || !t.allowed) continue;
        (void)fprintf(out, "| %s | ", state_name(state));
        const char *comma = "";
        for (int other = d; other < DESIRED_COUNT; other++) {
            if (!same(t, experiment_next(state, (enum experiment_desired)other, event))) continue;
            done[other] = true;
            (void)fprintf(out, "%s%s", comma, desired_name((enum experiment_desired)other));
            comma = ", ";
        }
        (void)fprintf(out, " | %s | %s, %s | ", event_name(event), state_name(t.state),
                      desired_name(t.desired));
        print_effects(out, t.effects);
        (void)fprintf(out, " |\n");
    }
}

void state_docs_print(FILE *out)
{
    (void)fprintf(out, "| state | desired | event | becomes | then |\n|---|---|---|---|---|\n");
    for (int state = 0; state < STATE_COUNT; state++)
        for (int event = 0; event < EVENT_COUNT; event++)
            if (event != EVENT_PATCH) /* labels: allowed everywhere, changes no state */
                print_cell(out, (enum experiment_state)state, (enum experiment_event)event);
}

void failure_docs_print(FILE *out)
{
    (void)fprintf(out, "| reason | meaning | class | then |\n|---|---|---|---|\n");
    for (int c = FAILURE_OUTSIDE; c < FAILURE_CLASSES; c++) {
        for (int i = 0; i < REASON_COUNT; i++) {
            const enum experiment_reason r = (enum experiment_reason)i;
            if ((int)failure_class_of(r) != c || r == REASON_USER_REQUEST) continue;
            (void)fprintf(out, "| %s | %s | %s | %s |\n", reason_name(r), reason_meaning(r),
                          failure_class_name((enum failure_class)c),
                          failure_class_meaning((enum failure_class)c));
        }
    }
}
