/* Workers as processes: nothing that a child does or omits keeps the loop waiting, and only the
 * kernel's word makes a process gone. */
#include "server/launcher/launcher.h"

#include "common/clock.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SCRIPT "#!/bin/sh\nexit 7\n"

/* Stands before the C library's: pidfd_open fails with this error; 0 = not. */
static int pidfd_error;

long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long a[6];
    va_list more;
    va_start(more, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(more, long);
    va_end(more);
    if (number == SYS_pidfd_open && pidfd_error != 0) {
        errno = pidfd_error;
        return -1;
    }
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

struct bench {
    uv_loop_t loop;
    struct launcher *l;
    char folder[64], program[100], output[100];
    int deaths;
    struct launcher_exit last;
    struct launched process;
};

static void on_exit_seen(void *ctx, int64_t experiment, int64_t attempt, struct launcher_exit how)
{
    struct bench *b = ctx;
    cr_assert(experiment == 1 && attempt == 1);
    b->deaths++;
    b->last = how;
}

static void bench_open(struct bench *b)
{
    struct err e = { 0 };
    *b = (struct bench){ .folder = "/tmp/spiked-launcher-XXXXXX" };
    cr_assert(mkdtemp(b->folder) != NULL && uv_loop_init(&b->loop) == 0);
    (void)snprintf(b->program, sizeof b->program, "%s/worker", b->folder);
    (void)snprintf(b->output, sizeof b->output, "%s/out", b->folder);
    FILE *f = fopen(b->program, "w");
    cr_assert(f != NULL && fputs(SCRIPT, f) >= 0 && fchmod(fileno(f), 0700) == 0 && fclose(f) == 0);
    cr_assert_eq(local_launcher_create(&b->l, &b->loop, NULL, b->folder, &e), 0, "%s", e.text);
    b->l->on_exit = on_exit_seen;
    b->l->on_exit_ctx = b;
}

static int start(struct bench *b, struct err *e)
{
    const struct launch what = { .experiment = 1,
                                 .attempt = 1,
                                 .program = b->program,
                                 .socket = "/nowhere",
                                 .secret = "00",
                                 .output_path = b->output,
                                 .threads = 1 };
    return b->l->ops->start(b->l, &what, &b->process, e);
}

static void wait_death(struct bench *b)
{
    while (b->deaths == 0) (void)uv_run(&b->loop, UV_RUN_ONCE);
    cr_assert_eq(b->deaths, 1);
}

static void closed(void *ctx) { (void)ctx; }

static void bench_close(struct bench *b)
{
    b->l->ops->close(b->l, closed, NULL);
    (void)uv_run(&b->loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&b->loop), 0);
    (void)unlink(b->program);
    (void)unlink(b->output);
    (void)rmdir(b->folder);
}

/* Goal: a child that does not come to its exec (a program on a file system that hangs; here it is
 * halted) keeps nobody waiting, and its end is told when it comes. */
Test(local_process, a_stuck_exec_does_not_hold_the_loop, .timeout = 10)
{
    struct bench b;
    struct err e = { 0 };
    bench_open(&b);
    cr_assert_eq(start(&b, &e), 0, "%s", e.text);
    cr_assert(kill((pid_t)b.process.pid, SIGSTOP) == 0);
    const int64_t began = clock_mono_ms();
    b.l->ops->release(b.l, 1, 1);
    cr_assert_lt(clock_mono_ms() - began, 1000);
    cr_assert(kill((pid_t)b.process.pid, SIGCONT) == 0);
    wait_death(&b);
    cr_assert(b.last.code == 7 && b.last.exec_error == 0, "%d", b.last.code);
    bench_close(&b);
}

/* Goal: a worker program that cannot be run is told from a worker that ended. */
Test(local_process, a_failed_exec_is_told_with_the_end, .timeout = 10)
{
    struct bench b;
    struct err e = { 0 };
    bench_open(&b);
    cr_assert_eq(start(&b, &e), 0, "%s", e.text);
    cr_assert(unlink(b.program) == 0);
    b.l->ops->release(b.l, 1, 1);
    wait_death(&b);
    cr_assert_eq(b.last.exec_error, ENOENT);
    bench_close(&b);
}

static void on_signal(int number) { (void)number; }

/* Goal: handlers of the daemon do not run in a child that waits: a signal ends it, as it would end
 * any program; and none is blocked there, whatever the daemon blocks. */
Test(local_process, a_child_that_waits_has_no_handlers_of_the_daemon, .timeout = 10)
{
    struct bench b;
    struct err e = { 0 };
    sigset_t blocked;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGUSR1);
    bench_open(&b);
    cr_assert(signal(SIGUSR1, on_signal) != SIG_ERR);
    (void)sigprocmask(SIG_BLOCK, &blocked, NULL);
    cr_assert_eq(start(&b, &e), 0, "%s", e.text);
    cr_assert(kill((pid_t)b.process.pid, SIGUSR1) == 0);
    wait_death(&b);
    cr_assert_eq(b.last.signal, SIGUSR1, "code %d", b.last.code);
    bench_close(&b);
}

/* Goal: a child that cannot be watched is no worker: the start fails, says why, waits for nobody
 * and leaves no zombie behind the next start. */
Test(local_process, a_child_that_cannot_be_watched_is_given_up, .timeout = 10)
{
    struct bench b;
    struct err e = { 0 };
    bench_open(&b);
    pidfd_error = ENOMEM;
    cr_assert_eq(start(&b, &e), ERR_IO);
    cr_assert(strstr(e.text, "watching process") != NULL, "%s", e.text);
    pidfd_error = 0;
    siginfo_t dead = { 0 };
    cr_assert(waitid(P_ALL, 0, &dead, WEXITED | WNOWAIT) == 0 && dead.si_status == SIGKILL);
    cr_assert_eq(start(&b, &e), 0, "%s", e.text);
    b.l->ops->release(b.l, 1, 1);
    wait_death(&b);
    cr_assert(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "a zombie is left");
    bench_close(&b);
}

static enum launcher_adoption adopt(struct bench *b, struct launched process)
{
    struct err e = { 0 };
    const enum launcher_adoption a = b->l->ops->adopt(b->l, 1, 1, &process, &e);
    cr_assert_eq(a == ADOPTION_UNKNOWN, e.code != ERR_OK, "%s", e.text);
    return a;
}

/* With so many free descriptors, as in a daemon with too many connections. */
static enum launcher_adoption adopt_with_descriptors(struct bench *b, int n)
{
    struct rlimit before, none;
    const int next = dup(0);
    cr_assert(next > 0 && close(next) == 0 && getrlimit(RLIMIT_NOFILE, &before) == 0);
    none = (struct rlimit){ (rlim_t)(next + n), before.rlim_max };
    cr_assert(setrlimit(RLIMIT_NOFILE, &none) == 0);
    const enum launcher_adoption a = adopt(b, b->process);
    cr_assert(setrlimit(RLIMIT_NOFILE, &before) == 0);
    return a;
}

/* Goal: a worker is gone when the kernel says that it is gone or another process, and never because
 * the daemon could not look. */
Test(local_process, only_the_kernel_says_that_a_worker_is_gone, .timeout = 10)
{
    struct bench first, b;
    struct err e = { 0 };
    bench_open(&first);
    cr_assert_eq(start(&first, &e), 0, "%s", e.text);
    bench_open(&b); /* a daemon that comes later */
    b.process = first.process;
    struct launched later = b.process;
    later.start_ticks++;
    cr_expect_eq(adopt(&b, later), ADOPTION_GONE, "its number, another beginning");
    for (int n = 0; n < 2; n++)
        cr_expect_eq(adopt_with_descriptors(&b, n), ADOPTION_UNKNOWN, "%d free", n);
    pidfd_error = ENOMEM;
    cr_expect_eq(adopt(&b, b.process), ADOPTION_UNKNOWN);
    pidfd_error = 0;
    cr_assert_eq(adopt(&b, b.process), ADOPTION_DONE);
    b.l->ops->stop(b.l, 1, 1, true);
    wait_death(&b);
    wait_death(&first);
    cr_expect_eq(adopt(&b, b.process), ADOPTION_GONE);
    bench_close(&b);
    bench_close(&first);
}
