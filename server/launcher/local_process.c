/* local_process: workers as processes of this machine: own session, standard input /dev/null,
 * output to a file, death seen through a pidfd, also of workers that an earlier daemon started.
 * Loop thread. See launcher.h. */
#include "server/launcher/launcher.h"

#include "common/crash.h"
#include "common/list.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/launcher/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENV_MAX 16
#define HIGH_FD 10 /* above those that a worker's own files take */
/* What a worker maps beside its planned memory: stacks, pools of the allocator, libraries. */
#define SLACK_MIB 64
#define SLACK_THREAD_MIB 16

struct process {
    struct list link;
    struct local_launcher *owner;
    int64_t experiment, attempt;
    pid_t pid;
    int pidfd;
    int gate, report; /* pipes of a child that waits; -1 = none */
    bool child; /* ours to wait for */
    uv_poll_t poll;
};
struct local_launcher {
    struct launcher base;
    uv_loop_t *loop;
    struct list processes;
    char *cgroup; /* NULL: memory is held by RLIMIT_DATA */
    bool closing;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

/* ---- what /proc says ------------------------------------------------------------------------- */
/* Field 22 of /proc/PID/stat; -1 when the process is gone or a zombie. */
static int64_t start_ticks(int64_t pid)
{
    char path[40], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    FILE *f = fopen(path, "re");
    if (f == NULL) return -1;
    const size_t n = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    char *at = strrchr(text, ')'); /* the name may hold blanks and brackets */
    if (at == NULL || at[1] == '\0' || at[2] == 'Z') return -1;
    for (int field = 2; field < 22 && at != NULL; field++) at = strchr(at + 1, ' ');
    return at != NULL ? strtoll(at, NULL, 10) : -1;
}

static void boot_id(char out[40])
{
    out[0] = '\0';
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (f == NULL) return;
    if (fgets(out, 40, f) != NULL) out[strcspn(out, "\n")] = '\0';
    (void)fclose(f);
}

static void launcher_free(struct local_launcher *l)
{
    mem_free(l->cgroup);
    mem_free(l);
}

/* ---- death ----------------------------------------------------------------------------------- */
static void close_pipes(struct process *p)
{
    if (p->gate >= 0) (void)close(p->gate);
    if (p->report >= 0) (void)close(p->report);
    p->gate = p->report = -1;
}

static void poll_closed(uv_handle_t *h)
{
    struct process *p = container_of((uv_poll_t *)h, struct process, poll);
    struct local_launcher *l = p->owner;
    (void)close(p->pidfd);
    close_pipes(p);
    list_remove(&p->link);
    mem_free(p);
    if (l->closing && list_empty(&l->processes)) {
        void (*on_closed)(void *) = l->on_closed;
        void *ctx = l->closed_ctx;
        launcher_free(l);
        on_closed(ctx);
    }
}

static void on_death(uv_poll_t *h, int status, int events)
{
    struct process *p = container_of(h, struct process, poll);
    (void)status;
    (void)events;
    int code = -1, signal = 0, wait_status;
    if (p->child && waitpid(p->pid, &wait_status, WNOHANG) == p->pid) {
        if (WIFEXITED(wait_status)) code = WEXITSTATUS(wait_status);
        if (WIFSIGNALED(wait_status)) signal = WTERMSIG(wait_status);
    }
    (void)uv_poll_stop(h);
    if (uv_is_closing((uv_handle_t *)h)) return;
    uv_close((uv_handle_t *)h, poll_closed);
    struct launcher_exit how = { code, signal, false };
    if (p->owner->cgroup != NULL) {
        how.oom_killed = cgroup_oom_killed(p->owner->cgroup, p->experiment, p->attempt);
        cgroup_remove(p->owner->cgroup, p->experiment, p->attempt);
    }
    struct launcher *l = &p->owner->base;
    l->on_exit(l->on_exit_ctx, p->experiment, p->attempt, how);
}

/* Takes over the pipes of `like` on success. */
static int watch(struct local_launcher *l, const struct process *like, struct err *e)
{
    const int fd = (int)syscall(SYS_pidfd_open, like->pid, 0);
    if (fd < 0) return err_errno(e, errno, "watching process %d", (int)like->pid);
    struct process *p = mem_calloc(1, sizeof *p);
    if (p == NULL) {
        (void)close(fd);
        return err_set(e, ERR_NOMEM, "process");
    }
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    *p = *like;
    p->owner = l;
    p->pidfd = fd;
    list_append(&l->processes, &p->link);
    (void)uv_poll_init(l->loop, &p->poll, fd);
    (void)uv_poll_start(&p->poll, UV_READABLE, on_death);
    return 0;
}

/* ---- birth ----------------------------------------------------------------------------------- */
struct environment {
    char *vars[ENV_MAX + 1];
    size_t n;
};

static void env_add(struct environment *env, char *text)
{
    if (text != NULL && env->n < ENV_MAX) env->vars[env->n++] = text;
}

static void env_inherit(struct environment *env, const char *name, const char *fallback)
{
    const char *value = getenv(name);
    if (value == NULL) value = fallback;
    if (value != NULL) env_add(env, mem_printf("%s=%s", name, value));
}

static void env_make(struct environment *env, const struct launch *what)
{
    env_inherit(env, "PATH", "/usr/local/bin:/usr/bin:/bin");
    env_inherit(env, "HOME", "/");
    env_inherit(env, "SPIKED_ISA", NULL);
    env_inherit(env, "ASAN_OPTIONS", NULL);
    for (const char *const *v = crash_environment; *v != NULL; v++) env_inherit(env, *v, NULL);
    env_add(env, mem_printf("LANG=C.UTF-8"));
    env_add(env, mem_printf("SPIKED_SERVER=unix:%s", what->socket));
    env_add(env, mem_printf("SPIKED_EXPERIMENT=%" PRId64, what->experiment));
    env_add(env, mem_printf("SPIKED_ATTEMPT=%" PRId64, what->attempt));
    env_add(env, mem_printf("SPIKED_SECRET=%s", what->secret));
}

static void env_free(struct environment *env)
{
    for (size_t i = 0; i < env->n; i++) {
        memset(env->vars[i], 0, strlen(env->vars[i])); /* one of them is the secret */
        mem_free(env->vars[i]);
    }
}

const char *launcher_limit_name(enum launcher_limit l)
{
    static const char *const names[] = { "none", "rlimit", "cgroup" };
    return names[l];
}

/* Private memory that can be written; files that are mapped to be read do not count. What is over
 * fails to be allocated: the worker says so itself. */
static void limit_memory(const struct launch *what, int procs)
{
    const int64_t mib = what->memory_mib + SLACK_MIB + SLACK_THREAD_MIB * what->threads;
    const struct rlimit limit = { (rlim_t)mib << 20, (rlim_t)mib << 20 };
    if (procs >= 0) {
        const ssize_t n = write(procs, "0", 1); /* into the leaf; cannot fail but by a race */
        (void)n;
    } else if (what->memory_mib > 0) {
        (void)setrlimit(RLIMIT_DATA, &limit);
    }
}

/* Everything but the standard streams and two pipes is closed at once: a child that waits must hold
 * neither the daemon's sockets and locks nor another child's gate. */
static void close_others(int *gate, int *report)
{
    *gate = fcntl(*gate, F_DUPFD_CLOEXEC, HIGH_FD);
    *report = fcntl(*report, F_DUPFD_CLOEXEC, *gate + 1);
    (void)syscall(SYS_close_range, 3U, (unsigned)*gate - 1, 0U);
    if (*report > *gate + 1)
        (void)syscall(SYS_close_range, (unsigned)*gate + 1, (unsigned)*report - 1, 0U);
    (void)syscall(SYS_close_range, (unsigned)*report + 1, ~0U, 0U);
}

/* Between fork and exec: system calls only. Waits for a byte through `gate`, its memory limited
 * already; none comes when the daemon is dead. The error number goes to the parent through
 * `report`. procs: as of start_process. */
static void become_worker(const struct launch *what, char *const env[], int output, int procs,
                          int gate, int report)
{
    sigset_t none;
    char byte;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)setsid();
    limit_memory(what, procs);
    const int input = open("/dev/null", O_RDONLY);
    if (input >= 0 && dup2(input, 0) == 0 && dup2(output, 1) == 1 && dup2(output, 2) == 2) {
        char *const argv[] = { (char *)(uintptr_t)what->program, (char *)(uintptr_t) "attempt",
                               NULL };
        close_others(&gate, &report);
        if (read(gate, &byte, 1) != 1) _exit(127); /* tidy: child */
        (void)execve(what->program, argv, env);
    }
    const int error = errno;
    const ssize_t n = write(report, &error, sizeof error);
    (void)n;
    _exit(127); /* tidy: child */
}

/* Waits until exec happened (the pipe closes) or failed (an error number comes). */
static int exec_error(int fd)
{
    int error = 0;
    ssize_t n;
    do n = read(fd, &error, sizeof error);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof error ? error : 0;
}

/* A child that waits; p gets its pid and pipes. procs: cgroup.procs of the worker's leaf, or -1. */
static int start_process(const struct launch *what, int procs, struct process *p, struct err *e)
{
    const int output = open(what->output_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (output < 0) return err_errno(e, errno, "%.150s", what->output_path);
    int gate[2] = { -1, -1 }, report[2] = { -1, -1 };
    int error = pipe2(gate, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0 ? errno : 0;
    if (error == 0) {
        struct environment env = { 0 };
        env_make(&env, what);
        p->pid = fork();
        if (p->pid == 0) become_worker(what, env.vars, output, procs, gate[0], report[1]);
        if (p->pid < 0) error = errno;
        env_free(&env);
    }
    (void)close(output);
    if (gate[0] >= 0) (void)close(gate[0]);
    if (report[1] >= 0) (void)close(report[1]);
    p->gate = gate[1];
    p->report = report[0];
    if (error == 0) return 0;
    close_pipes(p);
    return err_errno(e, error, "starting %.120s", what->program);
}

/* cgroup.procs of a leaf for the attempt; -1: it has none, RLIMIT_DATA must do. */
static int enter_leaf(const struct local_launcher *l, const struct launch *what)
{
    struct err e = { 0 };
    int procs = -1;
    if (l->cgroup == NULL || what->memory_mib == 0) return -1;
    if (cgroup_make(l->cgroup, what->experiment, what->attempt, what->memory_mib, &procs, &e) != 0)
        log_warn("server.launcher", "no cgroup, the worker gets an rlimit: %s", e.text);
    return procs;
}

static int local_start(struct launcher *base, const struct launch *what, struct launched *out,
                       struct err *e)
{
    struct local_launcher *l = container_of(base, struct local_launcher, base);
    struct process p = { .experiment = what->experiment, .attempt = what->attempt, .child = true };
    const int procs = enter_leaf(l, what);
    int rc = start_process(what, procs, &p, e);
    if (procs >= 0) (void)close(procs);
    if (rc == 0 && (rc = watch(l, &p, e)) != 0) {
        close_pipes(&p); /* it ends: nobody will release it */
        (void)waitpid(p.pid, NULL, 0);
    }
    if (rc != 0) {
        if (procs >= 0) cgroup_remove(l->cgroup, what->experiment, what->attempt);
        return rc;
    }
    out->pid = p.pid;
    out->memory_limit = what->memory_mib == 0 ? LIMIT_NONE
                        : procs >= 0          ? LIMIT_CGROUP
                                              : LIMIT_RLIMIT;
    out->start_ticks = start_ticks(p.pid);
    boot_id(out->boot_id);
    return 0;
}

static struct process *find(struct local_launcher *l, int64_t experiment, int64_t attempt)
{
    list_for_each(it, &l->processes) {
        struct process *p = container_of(it, struct process, link);
        if (p->experiment == experiment && p->attempt == attempt) return p;
    }
    return NULL;
}

static int local_release(struct launcher *base, int64_t experiment, int64_t attempt, struct err *e)
{
    struct local_launcher *l = container_of(base, struct local_launcher, base);
    struct process *p = find(l, experiment, attempt);
    if (p == NULL || p->gate < 0) return 0;
    const ssize_t n = write(p->gate, "", 1); /* fails when it is dead: that is told elsewhere */
    const int error = n == 1 ? exec_error(p->report) : 0;
    close_pipes(p);
    return error == 0 ? 0 : err_errno(e, error, "starting a worker");
}

static bool local_adopt(struct launcher *base, int64_t experiment, int64_t attempt,
                        const struct launched *process)
{
    struct local_launcher *l = container_of(base, struct local_launcher, base);
    struct err e = { 0 };
    if (process->pid <= 0 || start_ticks(process->pid) != process->start_ticks) return false;
    const struct process p = { .experiment = experiment,
                               .attempt = attempt,
                               .gate = -1,
                               .report = -1,
                               .pid = (pid_t)process->pid };
    if (watch(l, &p, &e) == 0) return true;
    log_warn("server.launcher", "%s", e.text);
    return false;
}

static void local_stop(struct launcher *base, int64_t experiment, int64_t attempt, bool hard)
{
    struct local_launcher *l = container_of(base, struct local_launcher, base);
    const struct process *p = find(l, experiment, attempt);
    /* A worker leads a session of its own, so its group is its pid; one that was just made may not
     * yet. */
    if (p != NULL && kill(-p->pid, hard ? SIGKILL : SIGTERM) != 0)
        (void)kill(p->pid, hard ? SIGKILL : SIGTERM);
}

static void never(uv_handle_t *h)
{
    struct local_launcher *l = h->data;
    void (*on_closed)(void *) = l->on_closed;
    void *ctx = l->closed_ctx;
    mem_free(h);
    launcher_free(l);
    on_closed(ctx);
}

static void local_close(struct launcher *base, void (*on_closed)(void *ctx), void *ctx)
{
    struct local_launcher *l = container_of(base, struct local_launcher, base);
    l->closing = true;
    l->on_closed = on_closed;
    l->closed_ctx = ctx;
    if (list_empty(&l->processes)) { /* the callback comes from the loop in every case */
        uv_timer_t *t = mem_calloc(1, sizeof *t);
        if (t == NULL) return;
        (void)uv_timer_init(l->loop, t);
        t->data = l;
        uv_close((uv_handle_t *)t, never);
        return;
    }
    list_for_each_safe(it, &l->processes)
    {
        struct process *p = container_of(it, struct process, link);
        if (!uv_is_closing((uv_handle_t *)&p->poll)) uv_close((uv_handle_t *)&p->poll, poll_closed);
    }
}

static const struct launcher_ops local_ops = { local_start, local_release, local_adopt, local_stop,
                                               local_close };

int local_launcher_create(struct launcher **out, uv_loop_t *loop, const char *workers_cgroup,
                          struct err *e)
{
    if (workers_cgroup != NULL && cgroup_check(workers_cgroup, e) != 0) return (int)e->code;
    struct local_launcher *l = mem_calloc(1, sizeof *l);
    if (l == NULL) return err_set(e, ERR_NOMEM, "launcher");
    l->cgroup = workers_cgroup != NULL ? mem_strdup(workers_cgroup) : NULL;
    if (workers_cgroup != NULL && l->cgroup == NULL) {
        mem_free(l);
        return err_set(e, ERR_NOMEM, "launcher");
    }
    l->base.ops = &local_ops;
    l->loop = loop;
    list_init(&l->processes);
    *out = &l->base;
    return 0;
}
