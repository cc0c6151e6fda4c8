/* judge watch: which attempts have a living process, seen from outside through /proc. A worker is a
 * process called spiked-worker whose environment names the daemon's worker.sock. See judge.h. */
#include "common/clock.h"
#include "tests/chaos/judge.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE_NS 20000000L
#define WORKERS_MAX 256

struct worker {
    int64_t experiment, attempt;
    long pid;
    unsigned long long start; /* with the pid: this process and no later one */
};
struct watch {
    struct worker alive[WORKERS_MAX];
    size_t n;
    char server[300]; /* "SPIKED_SERVER=unix:.../worker.sock" */
    FILE *log;
};
static volatile sig_atomic_t over;

static void on_term(int signal)
{
    (void)signal;
    over = 1;
}

static ssize_t read_proc(long pid, const char *file, char *out, size_t size)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/%s", pid, file);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    const ssize_t n = read(fd, out, size - 1);
    (void)close(fd);
    if (n >= 0) out[n] = '\0';
    return n;
}

/* Start time of a process of this name that is neither dead nor a zombie; 0 = none. */
static unsigned long long living(long pid)
{
    char text[1024], *at;
    unsigned long long start = 0;
    char state = 'X';
    if (read_proc(pid, "stat", text, sizeof text) <= 0) return 0;
    if (strstr(text, "(spiked-worker)") == NULL || (at = strrchr(text, ')')) == NULL) return 0;
    if (sscanf(at + 1,
               " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
               &state, &start) != 2)
        return 0;
    return state == 'Z' || state == 'X' ? 0 : start;
}

static const char *variable(const char *environment, size_t length, const char *name)
{
    for (const char *at = environment; at < environment + length; at += strlen(at) + 1)
        if (strncmp(at, name, strlen(name)) == 0) return at + strlen(name);
    return NULL;
}

/* A worker of this state directory? */
static bool ours(const struct watch *w, long pid, struct worker *out)
{
    static char text[1 << 16];
    const ssize_t n = read_proc(pid, "environ", text, sizeof text);
    if (n <= 0 || variable(text, (size_t)n, w->server) == NULL) return false;
    const char *experiment = variable(text, (size_t)n, "SPIKED_EXPERIMENT=");
    const char *attempt = variable(text, (size_t)n, "SPIKED_ATTEMPT=");
    if (experiment == NULL || attempt == NULL) return false;
    out->experiment = strtoll(experiment, NULL, 10);
    out->attempt = strtoll(attempt, NULL, 10);
    return true;
}

static void say(const struct watch *w, const char *what, const struct worker *x)
{
    (void)fprintf(w->log, "%s %" PRId64 " %" PRId64 " %" PRId64 " %ld\n", what, clock_mono_ms(),
                  x->experiment, x->attempt, x->pid);
    (void)fflush(w->log);
}

static void drop_dead(struct watch *w)
{
    for (size_t i = 0; i < w->n;) {
        if (living(w->alive[i].pid) == w->alive[i].start) {
            i++;
            continue;
        }
        say(w, "ended", &w->alive[i]);
        w->alive[i] = w->alive[--w->n];
    }
}

static bool known(const struct watch *w, long pid, unsigned long long start)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->alive[i].pid == pid && w->alive[i].start == start) return true;
    return false;
}

/* Who is new began after the dead had gone: those that are still there now overlap with it. */
static void sample(struct watch *w)
{
    DIR *proc = opendir("/proc");
    for (struct dirent *d; proc != NULL && (d = readdir(proc)) != NULL;) {
        if (!isdigit((unsigned char)d->d_name[0])) continue;
        struct worker x = { .pid = strtol(d->d_name, NULL, 10) };
        x.start = living(x.pid);
        if (x.start == 0 || known(w, x.pid, x.start) || !ours(w, x.pid, &x)) continue;
        drop_dead(w);
        if (w->n == WORKERS_MAX) continue;
        w->alive[w->n++] = x;
        say(w, "began", &x);
    }
    if (proc != NULL) (void)closedir(proc);
    drop_dead(w);
}

int judge_watch(const char *state_dir, const char *log_path)
{
    static struct watch w;
    static const struct timespec pause = { 0, SAMPLE_NS };
    int64_t samples = 0;
    w.log = fopen(log_path, "we");
    if (w.log == NULL) return 2;
    (void)snprintf(w.server, sizeof w.server, "SPIKED_SERVER=unix:%s/worker.sock", state_dir);
    (void)signal(SIGTERM, on_term);
    for (; !over; samples++) {
        sample(&w);
        (void)nanosleep(&pause, NULL);
    }
    (void)fprintf(w.log, "samples %" PRId64 "\n", samples);
    return fclose(w.log) == 0 ? 0 : 2;
}
