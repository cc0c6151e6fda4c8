/* spec_step_mode: train.step_mode as command lines say it, and what it means for the engine. Any
 * thread. */
#include "common/spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool whole_number(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    const long long n = strtoll(text, &end, 10);
    *out = n;
    return errno == 0 && end != text && *end == '\0' && n >= 1 && n <= SPEC_TIME_STEPS_MAX;
}

int spec_read_step_mode(const char *text, struct spec_train *out, struct err *e)
{
    int64_t steps = 0;
    enum spec_step_mode mode;
    if (strcmp(text, "multi") == 0) mode = SPEC_STEP_MULTI;
    else if (strcmp(text, "single") == 0) mode = SPEC_STEP_SINGLE;
    else if (strncmp(text, "chunk:", 6) == 0 && whole_number(text + 6, &steps))
        mode = SPEC_STEP_CHUNK;
    else
        return err_set(e, ERR_INVALID,
                       "--step-mode %.40s: must be multi, single or chunk:N with N from 1 to %d",
                       text, SPEC_TIME_STEPS_MAX);
    out->step_mode = mode;
    if (mode == SPEC_STEP_CHUNK) out->chunk_steps = steps;
    return 0;
}

size_t spec_call_steps(const struct spec_train *t)
{
    if (t->step_mode == SPEC_STEP_MULTI) return 0;
    return t->step_mode == SPEC_STEP_SINGLE ? 1 : (size_t)t->chunk_steps;
}
