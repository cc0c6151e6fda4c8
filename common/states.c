/* states: see states.h. */
#include "common/states.h"

#include <string.h>

struct word {
    const char *name, *meaning;
};

static const struct word states[STATE_COUNT] = {
#define STATE_ROW(code, name, meaning) [code] = { name, meaning },
    STATE_TABLE(STATE_ROW)
#undef STATE_ROW
};
static const struct word reasons[REASON_COUNT] = {
#define REASON_ROW(code, name, meaning) [code] = { name, meaning },
    REASON_TABLE(REASON_ROW)
#undef REASON_ROW
};
static const struct word desires[DESIRED_COUNT] = {
    [DESIRED_RUN] = { "run", "" },
    [DESIRED_PAUSE] = { "pause", "" },
    [DESIRED_CANCEL] = { "cancel", "" },
};

static int find(const struct word *words, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(words[i].name, name) == 0) return i;
    }
    return -1;
}

const char *state_name(enum experiment_state s) { return states[s].name; }
const char *state_meaning(enum experiment_state s) { return states[s].meaning; }
const char *desired_name(enum experiment_desired d) { return desires[d].name; }
const char *reason_name(enum experiment_reason r) { return reasons[r].name; }
const char *reason_meaning(enum experiment_reason r) { return reasons[r].meaning; }

bool state_is_final(enum experiment_state s)
{
    return s == STATE_SUCCEEDED || s == STATE_FAILED || s == STATE_CANCELLED;
}

bool state_is_active(enum experiment_state s)
{
    return s == STATE_STARTING || s == STATE_RUNNING || s == STATE_STOPPING;
}

enum experiment_reason reason_of_fault(enum err_code code)
{
    switch (code) {
    case ERR_OK: return REASON_NONE;
    case ERR_DIVERGED: return REASON_DIVERGED;
    case ERR_SPEC: return REASON_INVALID_SPEC;
    case ERR_DATA:
    case ERR_NOT_FOUND: return REASON_INVALID_DATA;
    case ERR_OUT_OF_PLAN: return REASON_OUT_OF_PLAN;
    case ERR_IO: return REASON_IO;
    case ERR_NOMEM: return REASON_OOM_KILLED;
    default: return REASON_INTERNAL;
    }
}

int state_from_name(const char *name, enum experiment_state *out)
{
    int i = find(states, STATE_COUNT, name);
    if (i < 0) return -1;
    *out = (enum experiment_state)i;
    return 0;
}

int desired_from_name(const char *name, enum experiment_desired *out)
{
    int i = find(desires, DESIRED_COUNT, name);
    if (i < 0) return -1;
    *out = (enum experiment_desired)i;
    return 0;
}

int reason_from_name(const char *name, enum experiment_reason *out)
{
    int i = find(reasons, REASON_COUNT, name);
    if (i < 0) return -1;
    *out = (enum experiment_reason)i;
    return 0;
}
