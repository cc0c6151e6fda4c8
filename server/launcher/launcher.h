/* launcher: starts and stops worker processes, nothing else (design 2.6). Loop thread; nothing here
 * waits for a process. local_process.c is the real one (own session, output to a file, death by
 * pidfd); tests have scripted ones. Success or failure of an experiment never comes
 * from here: it comes from the worker's messages and its lease. */
#ifndef SERVER_LAUNCHER_H
#define SERVER_LAUNCHER_H

#include "common/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct launch {
    int64_t experiment, attempt;
    const char *program;     /* spiked-worker */
    const char *socket;      /* SPIKED_SERVER=unix:<socket> */
    const char *secret;      /* SPIKED_SECRET, hex; never in argv, never logged */
    const char *output_path; /* both streams are appended here */
    int64_t threads;
    int64_t memory_mib; /* 0 = no limit */
};
enum launcher_limit { LIMIT_NONE, LIMIT_RLIMIT, LIMIT_CGROUP };
const char *launcher_limit_name(enum launcher_limit l); /* "none", "rlimit", "cgroup" */
/* A process, as stored in the attempt's row and found again after a restart of the daemon. */
struct launched {
    int64_t pid;
    int64_t start_ticks; /* field 22 of /proc/PID/stat */
    char boot_id[40];
    enum launcher_limit memory_limit; /* what holds it to memory_mib */
};
/* What became of a process that an earlier daemon started. UNKNOWN: it could not be looked at (no
 * descriptor, no memory): it may live, so nothing may take its place; ask again later. */
enum launcher_adoption { ADOPTION_DONE, ADOPTION_GONE, ADOPTION_UNKNOWN };
struct launcher;
struct launcher_ops {
    /* Makes a process that waits: it becomes the worker when it is released, which is once its row
     * is committed, and ends by itself when this daemon ends before. So no worker lives that a
     * later daemon would not find. It is held to memory_mib as out->memory_limit says, or there is
     * no process. Errors: ERR_IO, ERR_NOMEM. */
    int (*start)(struct launcher *l, const struct launch *what, struct launched *out,
                 struct err *e);
    /* Lets it become the worker; whether it could is told by its end. Unknown attempts are
     * ignored. */
    void (*release)(struct launcher *l, int64_t experiment, int64_t attempt);
    /* Watches a process started by an earlier daemon. e: why it is not known. */
    enum launcher_adoption (*adopt)(struct launcher *l, int64_t experiment, int64_t attempt,
                                    const struct launched *process, struct err *e);
    /* Every process of an earlier daemon was asked for: what else one left behind may go. */
    void (*settle)(struct launcher *l);
    /* hard: SIGKILL to the process group; else SIGTERM. Unknown attempts are ignored. */
    void (*stop)(struct launcher *l, int64_t experiment, int64_t attempt, bool hard);
    void (*close)(struct launcher *l, void (*on_closed)(void *ctx), void *ctx);
};
struct launcher_exit {
    int code;        /* -1 = unknown (adopted), or a signal ended it */
    int signal;      /* 0 = none */
    bool oom_killed; /* by the kernel, for its memory limit */
    int exec_error;  /* errno: it never became the worker; 0 = it did */
};
/* Told once per process, on the loop, when it is seen dead. */
typedef void (*launcher_exit_fn)(void *ctx, int64_t experiment, int64_t attempt,
                                 struct launcher_exit how);
struct launcher {
    const struct launcher_ops *ops;
    launcher_exit_fn on_exit; /* set by the queue */
    void *on_exit_ctx;
};

/* workers_cgroup: a delegated cgroup v2 folder, or NULL: memory is held by RLIMIT_DATA. state_dir
 * tells this daemon's leaves of it from those of others. Both are copied.
 * Errors: ERR_NOMEM, ERR_INVALID, ERR_IO (the folder will not do). */
int local_launcher_create(struct launcher **out, uv_loop_t *loop, const char *workers_cgroup,
                          const char *state_dir, struct err *e);

#endif
