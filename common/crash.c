/* crash: see crash.h. */
#include "common/crash.h"

#include <stddef.h>

#ifdef SPIKED_CRASH_POINTS
#include "common/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* LD_PRELOAD and SPIKED_FAULTS: the full disks, lost answers and clocks of tests/chaos/faults.c. */
const char *const crash_environment[] = { "SPIKED_CRASH", "SPIKED_CRASH_LOG", "SPIKED_FAULTS",
                                          "LD_PRELOAD", NULL };

static const char *const names[CRASH_POINT_COUNT] = {
#define CRASH_NAME(code, name) [code] = name,
    CRASH_POINTS(CRASH_NAME)
#undef CRASH_NAME
};
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int armed = CRASH_POINT_COUNT; /* this one; none */
static atomic_long left;              /* times until death */

static void read_environment(void)
{
    const char *text = getenv("SPIKED_CRASH");
    if (text == NULL || text[0] == '\0') return;
    const char *colon = strchr(text, ':');
    const size_t length = colon != NULL ? (size_t)(colon - text) : strlen(text);
    for (int i = 0; i < CRASH_POINT_COUNT; i++)
        if (strlen(names[i]) == length && strncmp(names[i], text, length) == 0) armed = i;
    atomic_store(&left, colon != NULL ? strtol(colon + 1, NULL, 10) : 1);
    if (armed == CRASH_POINT_COUNT) log_error("crash", "SPIKED_CRASH=%s names no point", text);
}

static void write_log(enum crash_point p)
{
    const char *path = getenv("SPIKED_CRASH_LOG");
    char line[80];
    const int fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (fd < 0) return;
    const int n = snprintf(line, sizeof line, "%s %d\n", names[p], (int)getpid());
    if (write(fd, line, (size_t)n) != n) log_error("crash", "%s is not in %s", names[p], path);
    (void)close(fd);
}

void crash_here(enum crash_point p)
{
    (void)pthread_once(&once, read_environment);
    if ((int)p != armed || atomic_fetch_sub(&left, 1) != 1) return;
    write_log(p);
    (void)kill(getpid(), SIGKILL);
    for (;;) (void)pause();
}
#else
const char *const crash_environment[] = { NULL };
#endif
