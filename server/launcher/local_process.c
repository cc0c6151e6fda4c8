/* local_process: workers as processes of this machine: own session, standard input /dev/null,
 * output to a file, death seen through a pidfd, also of workers that an earlier daemon started.
 * Loop thread. See launcher.h. */
#include "server/launcher/launcher.h"

#include "common/list.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/launcher/cgroup.h"
#include "server/launcher/process_id.h"
#include "server/launcher/worker_birth.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a worker maps beside its planned memory: stacks, pools of the allocator, libraries. */
#define SLACK_MIB 64
#define SLACK_THREAD_MIB 16

struct process {
    struct list link; /* of local_launcher.processes or .unreaped */
    struct local_launcher *owner;
    int64_t experiment, attempt;
    pid_t pid;
    int pidfd;
    int gate, report; /* of worker_birth.h; -1 = none */
    bool child;       /* ours to wait for */
    uv_poll_t poll;
};
struct local_launcher {
    struct launcher base;
    uv_loop_t *loop;
    struct list processes;
    struct list unreaped; /* killed children that could not be watched; gone at the next start */
    char *cgroup;         /* NULL: memory is held by RLIMIT_DATA */
    char cgroup_owner[CGROUP_OWNER_MAX];
    bool closing;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

const char *launcher_limit_name(enum launcher_limit l)
{
    static const char *const names[] = { "none", "rlimit", "cgroup" };
    return names[l];
}

static struct cgroup_leaf leaf_of(const struct process *p)
{
    return (struct cgroup_leaf){ p->owner->cgroup, p->owner->cgroup_owner, p->experiment,
                                 p->attempt };
}

static struct process *process_new(struct local_launcher *l, int64_t experiment, int64_t attempt,
                                   struct err *e)
{
    struct process *p = mem_calloc(1, sizeof *p);
    if (p == NULL) {
        (void)err_set(e, ERR_NOMEM, "process");
        return NULL;
    }
    p->owner = l;
    p->experiment = experiment;
    p->attempt = attempt;
    p->pidfd = p->gate = p->report = -1;
    return p;
}

static void process_free(struct process *p)
{
    if (p->pidfd >= 0) (void)close(p->pidfd);
    if (p->gate >= 0) (void)close(p->gate);
    if (p->report >= 0) (void)close(p->report);
    mem_free(p);
}

static void launcher_free(struct local_launcher *l)
{
    list_for_each_safe(it, &l->unreaped) process_free(container_of(it, struct process, link));
    mem_free(l->cgroup);
    mem_free(l);
}

/* ---- death ----------------------------------------------------------------------------------- */
static void poll_closed(uv_handle_t *h)
{
    struct process *p = container_of((uv_poll_t *)h, struct process, poll);
    struct local_launcher *l = p->owner;
    list_remove(&p->link);
    process_free(p);
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
    struct launcher_exit how = { .code = -1, .exec_error = birth_error(p->report) };
    int wait_status;
    (void)status;
    (void)events;
    if (p->child && waitpid(p->pid, &wait_status, WNOHANG) == p->pid) {
        if (WIFEXITED(wait_status)) how.code = WEXITSTATUS(wait_status);
        if (WIFSIGNALED(wait_status)) how.signal = WTERMSIG(wait_status);
    }
    (void)uv_poll_stop(h);
    if (uv_is_closing((uv_handle_t *)h)) return;
    uv_close((uv_handle_t *)h, poll_closed);
    if (p->owner->cgroup != NULL) {
        const struct cgroup_leaf leaf = leaf_of(p);
        how.oom_killed = cgroup_oom_killed(&leaf);
        cgroup_remove(&leaf);
    }
    struct launcher *l = &p->owner->base;
    l->on_exit(l->on_exit_ctx, p->experiment, p->attempt, how);
}

/* p->pidfd is open. p belongs to the launcher on success, and is as before on failure. */
static int watch(struct process *p, struct err *e)
{
    const int rc = uv_poll_init(p->owner->loop, &p->poll, p->pidfd);
    if (rc != 0) return err_set(e, ERR_IO, "watching process %d: %s", (int)p->pid, uv_strerror(rc));
    list_append(&p->owner->processes, &p->link);
    (void)uv_poll_start(&p->poll, UV_READABLE, on_death);
    return 0;
}

/* ---- birth ----------------------------------------------------------------------------------- */
/* Private memory that can be written; files that are mapped to be read do not count. What is over
 * fails to be allocated: the worker says so itself. */
static int limit_data(const struct launch *what, pid_t pid, struct err *e)
{
    const int64_t mib = what->memory_mib + SLACK_MIB + SLACK_THREAD_MIB * what->threads;
    const struct rlimit limit = { (rlim_t)mib << 20, (rlim_t)mib << 20 };
    if (prlimit(pid, RLIMIT_DATA, &limit, NULL) == 0) return 0;
    return err_errno(e, errno, "memory limit of %lld MiB", (long long)what->memory_mib);
}

/* Done from here while the child waits, so that what is told of it is what holds. */
static int limit_memory(const struct process *p, const struct launch *what,
                        enum launcher_limit *limit, struct err *e)
{
    struct err fault = { 0 };
    *limit = LIMIT_NONE;
    if (what->memory_mib == 0) return 0;
    if (p->owner->cgroup != NULL) {
        const struct cgroup_leaf leaf = leaf_of(p);
        *limit = LIMIT_CGROUP;
        if (cgroup_hold(&leaf, what->memory_mib, p->pid, &fault) == 0) return 0;
        log_warn("server.launcher", "no cgroup, the worker gets an rlimit: %s", fault.text);
    }
    *limit = LIMIT_RLIMIT;
    return limit_data(what, p->pid, e);
}

static void reap(struct local_launcher *l)
{
    list_for_each_safe(it, &l->unreaped) {
        struct process *p = container_of(it, struct process, link);
        if (waitpid(p->pid, NULL, WNOHANG) == 0) continue;
        const struct cgroup_leaf leaf = leaf_of(p);
        if (l->cgroup != NULL) cgroup_remove(&leaf);
        list_remove(&p->link);
        process_free(p);
    }
}

/* A child that waits and cannot be used. Its end is not waited for. */
static void abandon(struct process *p)
{
    (void)kill(p->pid, SIGKILL);
    list_append(&p->owner->unreaped, &p->link);
}

static int child_identity(struct process *p, struct launched *out, struct err *e)
{
    out->pid = p->pid;
    process_boot_id(out->boot_id);
    if (process_began(p->pid, &out->start_ticks, e) == PROCESS_THERE &&
        process_open(p->pid, out->start_ticks, &p->pidfd, e) == PROCESS_THERE)
        return 0;
    return e->code != ERR_OK ? (int)e->code
                             : err_set(e, ERR_IO, "process %d ended at once", (int)p->pid);
}

static int local_start(struct launcher *base, const struct launch *what, struct launched *out,
                       struct err *e)
{
    struct local_launcher *l = container_of(base, struct local_launcher, base);
    struct launched made = { 0 };
    struct birth birth;
    reap(l);
    struct process *p = process_new(l, what->experiment, what->attempt, e);
    if (p == NULL) return (int)e->code;
    int rc = birth_begin(what, &birth, e);
    if (rc != 0) {
        process_free(p);
        return rc;
    }
    p->child = true;
    p->pid = birth.pid;
    p->gate = birth.gate;
    p->report = birth.report;
    rc = limit_memory(p, what, &made.memory_limit, e);
    if (rc == 0) rc = child_identity(p, &made, e);
    if (rc == 0) rc = watch(p, e);
    if (rc == 0) *out = made;
    else abandon(p);
    return rc;
}

static struct process *find(struct local_launcher *l, int64_t experiment, int64_t attempt)
{
    list_for_each(it, &l->processes) {
        struct process *p = container_of(it, struct process, link);
        if (p->experiment == experiment && p->attempt == attempt) return p;
    }
    return NULL;
}

static void local_release(struct launcher *base, int64_t experiment, int64_t attempt)
{
    struct local_launcher *l = container_of(base, struct local_launcher, base);
    struct process *p = find(l, experiment, attempt);
    if (p == NULL || p->gate < 0) return;
    const ssize_t n = write(p->gate, "", 1); /* fails when it is dead: that is told elsewhere */
    (void)n;
    (void)close(p->gate);
    p->gate = -1;
}

static enum launcher_adoption local_adopt(struct launcher *base, int64_t experiment,
                                          int64_t attempt, const struct launched *process,
                                          struct err *e)
{
    struct local_launcher *l = container_of(base, struct local_launcher, base);
    struct process *p = process_new(l, experiment, attempt, e);
    if (p == NULL) return ADOPTION_UNKNOWN;
    p->pid = (pid_t)process->pid;
    const enum process_there there = process_open(process->pid, process->start_ticks, &p->pidfd, e);
    if (there == PROCESS_THERE && watch(p, e) == 0) return ADOPTION_DONE;
    process_free(p);
    return there == PROCESS_GONE ? ADOPTION_GONE : ADOPTION_UNKNOWN;
}

static void local_settle(struct launcher *base)
{
    const struct local_launcher *l = container_of(base, struct local_launcher, base);
    if (l->cgroup != NULL) cgroup_sweep(l->cgroup, l->cgroup_owner);
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
    reap(l);
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

static const struct launcher_ops local_ops = { local_start,  local_release, local_adopt,
                                               local_settle, local_stop,    local_close };

int local_launcher_create(struct launcher **out, uv_loop_t *loop, const char *workers_cgroup,
                          const char *state_dir, struct err *e)
{
    if (workers_cgroup != NULL && cgroup_check(workers_cgroup, e) != 0) return (int)e->code;
    struct local_launcher *l = mem_calloc(1, sizeof *l);
    if (l == NULL) return err_set(e, ERR_NOMEM, "launcher");
    l->cgroup = workers_cgroup != NULL ? mem_strdup(workers_cgroup) : NULL;
    if (workers_cgroup != NULL && l->cgroup == NULL) {
        mem_free(l);
        return err_set(e, ERR_NOMEM, "launcher");
    }
    cgroup_owner(state_dir, l->cgroup_owner);
    l->base.ops = &local_ops;
    l->loop = loop;
    list_init(&l->processes);
    list_init(&l->unreaped);
    *out = &l->base;
    return 0;
}
