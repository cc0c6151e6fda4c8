/* Leaves of a cgroup v2 folder: what is written and read, on ordinary files in place of the
 * kernel's; and that the launcher uses them. */
#include "server/launcher/cgroup.h"

#include "common/mem.h"
#include "server/launcher/launcher.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static void put(const char *file, const char *text)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = fopen(path, "w");
    cr_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0, "%s", path);
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
    char path[100];
    (void)snprintf(folder, sizeof folder, "/tmp/spiked-cgroup-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    put("cgroup.controllers", controllers);
    put("cgroup.subtree_control", "");
    (void)snprintf(path, sizeof path, "%s/spiked-7-2", folder);
    cr_assert(mkdir(path, 0700) == 0);
    put("spiked-7-2/memory.max", "max\n");
    put("spiked-7-2/cgroup.procs", "");
    put("spiked-7-2/memory.events", events);
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

/* Goal: a leaf has the limit, takes a process, and says whether the kernel killed for memory. */
Test(cgroup, a_leaf_limits_and_tells, .timeout = 5)
{
    struct err e = { 0 };
    int procs = -1;
    make_folder("memory\n", "low 0\noom 3\noom_kill 0\n");
    cr_assert_eq(cgroup_make(folder, 7, 2, 512, &procs, &e), 0, "%s", e.text);
    cr_assert(procs >= 0 && close(procs) == 0);
    expect_text("spiked-7-2/memory.max", "536870912");
    cr_assert(!cgroup_oom_killed(folder, 7, 2), "oom counts tries, oom_kill deaths");
    put("spiked-7-2/memory.events", "low 0\noom 3\noom_kill 1\n");
    cr_assert(cgroup_oom_killed(folder, 7, 2));
    cr_assert(!cgroup_oom_killed(folder, 8, 1), "there is no such leaf");
    cr_assert_neq(cgroup_make(folder, 9, 1, 512, &procs, &e), 0,
                  "a leaf without the kernel's files");
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

/* Goal: a worker with a limit enters its leaf before it runs, and its death tells of memory. */
Test(cgroup, a_worker_enters_its_leaf, .timeout = 10)
{
    uv_loop_t loop;
    struct launcher *l;
    struct launched process = { 0 };
    struct err e = { 0 };
    struct seen seen = { 0 };
    char program[100], output[100];
    make_folder("memory\n", "oom_kill 1\n");
    (void)snprintf(program, sizeof program, "%s/worker", folder);
    (void)snprintf(output, sizeof output, "%s/out", folder);
    put("worker", "#!/bin/sh\nkill -KILL $$\n");
    cr_assert(chmod(program, 0700) == 0 && uv_loop_init(&loop) == 0);
    cr_assert_eq(local_launcher_create(&l, &loop, folder, &e), 0, "%s", e.text);
    l->on_exit = on_exit_seen;
    l->on_exit_ctx = &seen;
    const struct launch what = { .experiment = 7,
                                 .attempt = 2,
                                 .program = program,
                                 .socket = "/nowhere",
                                 .secret = "00",
                                 .output_path = output,
                                 .threads = 1,
                                 .memory_mib = 100 };
    cr_assert_eq(l->ops->start(l, &what, &process, &e), 0, "%s", e.text);
    cr_assert_eq(process.memory_limit, LIMIT_CGROUP);
    cr_assert_eq(l->ops->release(l, 7, 2, &e), 0, "%s", e.text);
    while (seen.deaths == 0) (void)uv_run(&loop, UV_RUN_ONCE);
    cr_assert(seen.deaths == 1 && seen.oom && seen.signal == SIGKILL);
    expect_text("spiked-7-2/cgroup.procs", "0");
    l->ops->close(l, closed, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0);
    remove_folder();
}
