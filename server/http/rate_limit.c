/* rate_limit: see rate_limit.h. */
#include "server/http/rate_limit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static double turns_at(const struct rate_limit *l, const struct rate_bucket *b, int64_t now_ms)
{
    if (b->name[0] == '\0') return l->burst;
    return fmin(l->burst, b->turns + (double)(now_ms - b->at_ms) * l->per_s / 1000);
}

static struct rate_bucket *find(struct rate_limit *l, const char *name, int64_t now_ms)
{
    struct rate_bucket *fullest = &l->buckets[0];
    for (size_t i = 0; i < RATE_CALLERS_MAX; i++) {
        struct rate_bucket *b = &l->buckets[i];
        if (strncmp(b->name, name, RATE_NAME_MAX - 1) == 0) return b;
        if (turns_at(l, b, now_ms) > turns_at(l, fullest, now_ms)) fullest = b;
    }
    *fullest = (struct rate_bucket){ .turns = l->burst, .at_ms = now_ms };
    (void)snprintf(fullest->name, sizeof fullest->name, "%s", name);
    return fullest;
}

bool rate_limit_take(struct rate_limit *l, const char *name, int64_t now_ms, struct rate_state *out)
{
    struct rate_bucket *b = find(l, name, now_ms);
    b->turns = turns_at(l, b, now_ms);
    b->at_ms = now_ms;
    const bool taken = b->turns >= 1;
    if (taken) b->turns -= 1;
    *out = (struct rate_state){ .limit = (int64_t)l->burst,
                                .remaining = (int64_t)b->turns,
                                .full_s = (int64_t)ceil((l->burst - b->turns) / l->per_s) };
    return taken;
}
