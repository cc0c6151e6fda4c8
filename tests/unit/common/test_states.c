/* The closed tables of states, desired states and reasons. */
#include "common/states.h"

#include <criterion/criterion.h>
#include <string.h>

/* Goal: every state's name leads back to it, is unique and has a meaning. */
Test(states, state_names_round_trip, .timeout = 5)
{
    for (int i = 0; i < STATE_COUNT; i++) {
        enum experiment_state back = STATE_COUNT;
        cr_assert_eq(state_from_name(state_name((enum experiment_state)i), &back), 0);
        cr_expect_eq(back, i);
        cr_expect_gt(strlen(state_meaning((enum experiment_state)i)), 5);
    }
}

/* Goal: every reason's name leads back to it, is unique and has a meaning. */
Test(states, reason_names_round_trip, .timeout = 5)
{
    for (int i = 0; i < REASON_COUNT; i++) {
        enum experiment_reason back = REASON_COUNT;
        cr_assert_eq(reason_from_name(reason_name((enum experiment_reason)i), &back), 0);
        cr_expect_eq(back, i);
        cr_expect_gt(strlen(reason_meaning((enum experiment_reason)i)), 5);
    }
}

/* Goal: every desired state's name leads back to it. */
Test(states, desired_names_round_trip, .timeout = 5)
{
    for (int i = 0; i < DESIRED_COUNT; i++) {
        enum experiment_desired back = DESIRED_COUNT;
        cr_assert_eq(desired_from_name(desired_name((enum experiment_desired)i), &back), 0);
        cr_expect_eq(back, i);
    }
}

/* Goal: words outside the tables are refused and leave the output alone. */
Test(states, other_words_are_refused, .timeout = 5)
{
    static const char *const words[] = { "", "Running", "running ", "done", "runs" };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        enum experiment_state s = STATE_HELD;
        enum experiment_reason r = REASON_POISON;
        enum experiment_desired d = DESIRED_PAUSE;
        cr_expect_eq(state_from_name(words[i], &s), -1);
        cr_expect_eq(reason_from_name(words[i], &r), -1);
        cr_expect_eq(desired_from_name(words[i], &d), -1);
        cr_expect(s == STATE_HELD && r == REASON_POISON && d == DESIRED_PAUSE);
    }
}

/* Goal: exactly succeeded, failed and cancelled are final. */
Test(states, three_states_are_final, .timeout = 5)
{
    int n = 0;
    for (int i = 0; i < STATE_COUNT; i++) n += state_is_final((enum experiment_state)i);
    cr_expect_eq(n, 3);
    cr_expect(state_is_final(STATE_SUCCEEDED) && state_is_final(STATE_FAILED) &&
              state_is_final(STATE_CANCELLED));
}

/* Goal: an attempt that fails says why; faults of spec, data and plan are not the program's. */
Test(states, faults_have_their_reason, .timeout = 2)
{
    static const struct {
        enum err_code code;
        const char *reason;
    } rows[] = {
        { ERR_OK, "none" },
        { ERR_SPEC, "invalid_spec" },
        { ERR_DATA, "invalid_data" },
        { ERR_NOT_FOUND, "invalid_data" },
        { ERR_DIVERGED, "diverged" },
        { ERR_OUT_OF_PLAN, "out_of_plan" },
        { ERR_IO, "io" },
        { ERR_INTERNAL, "internal" },
        { ERR_NOMEM, "oom_killed" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_assert(strcmp(reason_name(reason_of_fault(rows[i].code)), rows[i].reason) == 0,
                  "%s: %s", err_name(rows[i].code), reason_name(reason_of_fault(rows[i].code)));
}
