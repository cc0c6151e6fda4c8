/* Leaves of a cgroup v2 folder: what is written and read, on ordinary files in place of the
 * kernel's; and that the launcher uses them, and says so when it cannot. */
#include "server/launcher/cgroup.h"

#include "common/mem.h"
#include "server/launcher/launcher.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE "/srv/state" /* of the daemon whose leaves these are; need not be there */

static char folder[64], leaf_name[64];

static void put(const char *file, const char *text)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = fopen(path, "w");
    cr_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0, "%s", path);
}

static void put_in_leaf(const char *file, const char *text)
{
    char path[120];
    (void)snprintf(path, sizeof path, "%s/%s", leaf_name, file);
    put(path, text);
}

static void expect_text(const char *file, const char *text)
{
    char path[200], got[200] = "";
    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = fopen(path, "r");
    cr_assert(f != NULL, "%s", path);
    got[fread(got, 1, sizeof got - 1, f)] = '\0';
    (void)fclose(f);
    cr_assert_str_eq(got, text, "%s", file);
}

/* What the kernel would make: the files of a folder, and those of one leaf. */
static void make_folder(const char *controllers, const char *events)
{
    char path[200];
    (void)snprintf(folder, sizeof folder, "/tmp/spiked-cgroup-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    put("cgroup.controllers", controllers);
    put("cgroup.subtree_control", "");
    char owner[CGROUP_OWNER_MAX];
    cgroup_owner(STATE, owner);
    (void)snprintf(leaf_name, sizeof leaf_name, "spiked-%s-7-2", owner);
    (void)snprintf(path, sizeof path, "%s/%s", folder, leaf_name);
    cr_assert(mkdir(path, 0700) == 0);
    put_in_leaf("memory.max", "max\n");
    put_in_leaf("cgroup.procs", "");
    put_in_leaf("memory.events", events);
}

static void remove_folder(void)
{
    char *command = mem_printf("rm -rf '%s'", folder);
    cr_assert(system(command) == 0);
    mem_free(command);
}

/* Goal: only a folder with the memory controller will do, and it is switched on for the leaves. */
Test(cgroup, the_folder_is_checked, .timeout = 5)
{
    struct err e = { 0 };
    make_folder("cpu io memory pids\n", "");
    cr_assert_eq(cgroup_check(folder, &e), 0, "%s", e.text);
    expect_text("cgroup.subtree_control", "+memory");
    put("cgroup.controllers", "cpu io memory_more\n");
    cr_assert_eq(cgroup_check(folder, &e), ERR_INVALID);
    cr_assert_eq(cgroup_check("/nowhere", &e), ERR_INVALID);
    remove_folder();
}

static void expect_in_leaf(const char *file, const char *text)
{
    char path[120];
    (void)snprintf(path, sizeof path, "%s/%s", leaf_name, file);
    expect_text(path, text);
}

static struct cgroup_leaf leaf(int64_t experiment, int64_t attempt)
{
    static char owner[CGROUP_OWNER_MAX];
    cgroup_owner(STATE, owner);
    return (struct cgroup_leaf){ folder, owner, experiment, attempt };
}

/* Goal: a leaf has the limit, takes a process, and says whether the kernel killed for memory. */
Test(cgroup, a_leaf_limits_and_tells, .timeout = 5)
{
    struct err e = { 0 };
    const struct cgroup_leaf ours = leaf(7, 2), other = leaf(8, 1), plain = leaf(9, 1);
    make_folder("memory\n", "low 0\noom 3\noom_kill 0\n");
    cr_assert_eq(cgroup_hold(&ours, 512, 4711, &e), 0, "%s", e.text);
    expect_in_leaf("memory.max", "536870912");
    expect_in_leaf("cgroup.procs", "4711");
    cr_assert(!cgroup_oom_killed(&ours), "oom counts tries, oom_kill deaths");
    put_in_leaf("memory.events", "low 0\noom 3\noom_kill 1\n");
    cr_assert(cgroup_oom_killed(&ours));
    cr_assert(!cgroup_oom_killed(&other), "there is no such leaf");
    cr_assert_neq(cgroup_hold(&plain, 512, 4711, &e), 0, "a leaf without the kernel's files");
    remove_folder();
}

static bool is_there(const char *name)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static void make_leaf(const char *state_dir, const char *rest, char out[64])
{
    char owner[CGROUP_OWNER_MAX], path[200];
    cgroup_owner(state_dir, owner);
    (void)snprintf(out, 64, "spiked-%s-%s", owner, rest);
    (void)snprintf(path, sizeof path, "%s/%s", folder, out);
    cr_assert(mkdir(path, 0700) == 0);
}

static void launcher_closed(void *ctx) { (void)ctx; }

/* Goal: two daemons may share a folder. A start removes the empty leaves of its own daemon, those
 * of experiments that ended while it was away, and nobody else's. */
Test(cgroup, empty_leaves_of_this_daemon_are_removed, .timeout = 5)
{
    uv_loop_t loop;
    struct launcher *l;
    struct err e = { 0 };
    char left[64], foreign[64];
    make_folder("memory\n", "");
    make_leaf(STATE, "3-1", left);
    make_leaf("/srv/another", "3-1", foreign);
    cr_assert(uv_loop_init(&loop) == 0);
    cr_assert_eq(local_launcher_create(&l, &loop, folder, STATE, &e), 0, "%s", e.text);
    l->ops->settle(l);
    cr_expect_not(is_there(left));
    cr_expect(is_there(foreign));
    cr_expect(is_there(leaf_name), "this one is in use");
    l->ops->close(l, launcher_closed, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0);
    remove_folder();
}

struct seen {
    int deaths, signal;
    bool oom;
};

static void on_exit_seen(void *ctx, int64_t experiment, int64_t attempt, struct launcher_exit how)
{
    struct seen *s = ctx;
    cr_assert(experiment == 7 && attempt == 2);
    s->deaths++;
    s->signal = how.signal;
    s->oom = how.oom_killed;
}

static void closed(void *ctx) { (void)ctx; }

struct worker_run {
    uv_loop_t loop;
    struct launcher *l;
    struct seen seen;
    char program[100], output[100];
};

/* A worker of 100 MiB that runs the script, held back before it begins. */
static enum launcher_limit start_worker(struct worker_run *r, const char *script, int64_t *pid)
{
    struct launched process = { 0 };
    struct err e = { 0 };
    (void)snprintf(r->program, sizeof r->program, "%s/worker", folder);
    (void)snprintf(r->output, sizeof r->output, "%s/out", folder);
    put("worker", script);
    cr_assert(chmod(r->program, 0700) == 0 && uv_loop_init(&r->loop) == 0);
    cr_assert_eq(local_launcher_create(&r->l, &r->loop, folder, STATE, &e), 0, "%s", e.text);
    r->l->on_exit = on_exit_seen;
    r->l->on_exit_ctx = &r->seen;
    const struct launch what = { .experiment = 7,
                                 .attempt = 2,
                                 .program = r->program,
                                 .socket = "/nowhere",
                                 .secret = "00",
                                 .output_path = r->output,
                                 .threads = 1,
                                 .memory_mib = 100 };
    cr_assert_eq(r->l->ops->start(r->l, &what, &process, &e), 0, "%s", e.text);
    *pid = process.pid;
    return process.memory_limit;
}

static void end_worker(struct worker_run *r)
{
    r->l->ops->release(r->l, 7, 2);
    while (r->seen.deaths == 0) (void)uv_run(&r->loop, UV_RUN_ONCE);
    cr_assert(r->seen.deaths == 1 && r->seen.signal == SIGKILL);
    r->l->ops->close(r->l, closed, NULL);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&r->loop), 0);
    remove_folder();
}

/* Goal: a worker with a limit is in its leaf before it runs, and its death tells of memory. */
Test(cgroup, a_worker_enters_its_leaf, .timeout = 10)
{
    struct worker_run r = { 0 };
    char text[24];
    int64_t pid = 0;
    make_folder("memory\n", "oom_kill 1\n");
    cr_assert_eq(start_worker(&r, "#!/bin/sh\nkill -KILL $$\n", &pid), LIMIT_CGROUP);
    (void)snprintf(text, sizeof text, "%lld", (long long)pid);
    expect_in_leaf("cgroup.procs", text);
    end_worker(&r);
    cr_assert(r.seen.oom);
}

/* Goal: a leaf that does not take the worker leaves it with an rlimit, and what is told of the
 * limit is what holds. */
Test(cgroup, a_leaf_that_takes_nobody_is_replaced_by_an_rlimit, .timeout = 10)
{
    struct worker_run r = { 0 };
    char path[200];
    struct rlimit limit = { 0 };
    int64_t pid = 0;
    make_folder("memory\n", "");
    (void)snprintf(path, sizeof path, "%s/%s/cgroup.procs", folder, leaf_name);
    cr_assert(unlink(path) == 0 && symlink("/dev/full", path) == 0);
    cr_expect_eq(start_worker(&r, "#!/bin/sh\nkill -KILL $$\n", &pid), LIMIT_RLIMIT);
    cr_assert(prlimit((pid_t)pid, RLIMIT_DATA, NULL, &limit) == 0);
    cr_expect_eq(limit.rlim_cur, (rlim_t)(100 + 64 + 16) << 20);
    end_worker(&r);
}
