/* clock: see clock.h. */
#include "common/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t (*override_mono)(void);
static int64_t (*override_wall)(void);

static int64_t read_ns(clockid_t id)
{
    struct timespec ts;
    (void)clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void clock_override(int64_t (*mono_ms)(void), int64_t (*wall_ms)(void))
{
    override_mono = mono_ms;
    override_wall = wall_ms;
}

int64_t clock_mono_ns(void)
{
    return override_mono != NULL ? override_mono() * 1000000 : read_ns(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void) { return clock_mono_ns() / 1000000; }

int64_t clock_wall_ms(void)
{
    return override_wall != NULL ? override_wall() : read_ns(CLOCK_REALTIME) / 1000000;
}

void clock_rfc3339(int64_t wall_ms, char out[CLOCK_RFC3339_MAX])
{
    int64_t ms = wall_ms % 1000;
    time_t seconds = (time_t)(wall_ms / 1000);
    if (ms < 0) {
        ms += 1000;
        seconds -= 1;
    }
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL) {
        out[0] = '\0';
        return;
    }
    char date[24];
    if (strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0) date[0] = '\0';
    (void)snprintf(out, CLOCK_RFC3339_MAX, "%s.%03dZ", date, (int)ms);
}
