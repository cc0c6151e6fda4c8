/* worker_birth: see worker_birth.h. */
#include "server/launcher/worker_birth.h"

#include "common/crash.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENV_MAX 16
#define HIGH_FD 10 /* above those that a worker's own files take */

/* ---- environment ----------------------------------------------------------------------------- */
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
    env_inherit(env, "SPIKED_PATH", NULL);
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

/* ---- the child: between fork and exec, system calls only --------------------------------------
 */
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

/* A handler of the daemon that ran here would write into pipes of the daemon's loop. Signals have
 * been blocked since before the fork; those sent meanwhile are delivered at the end of this. */
static void forget_signals(void)
{
    struct sigaction plain = { .sa_handler = SIG_DFL };
    sigset_t none;
    for (int s = 1; s < NSIG; s++) (void)sigaction(s, &plain, NULL);
    (void)sigemptyset(&none);
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
}

/* Waits for a byte through `gate`; none comes when the daemon is dead. */
static void become_worker(const struct launch *what, char *const env[], int output, int gate,
                          int report)
{
    char byte;
    (void)setsid();
    const int input = open("/dev/null", O_RDONLY);
    if (input >= 0 && dup2(input, 0) == 0 && dup2(output, 1) == 1 && dup2(output, 2) == 2) {
        char *const argv[] = { (char *)(uintptr_t)what->program, (char *)(uintptr_t) "attempt",
                               NULL };
        close_others(&gate, &report);
        forget_signals();
        if (read(gate, &byte, 1) != 1) _exit(127); /* tidy: child */
        (void)execve(what->program, argv, env);
    }
    const int error = errno;
    const ssize_t n = write(report, &error, sizeof error);
    (void)n;
    _exit(127); /* tidy: child */
}

/* ---- the daemon ------------------------------------------------------------------------------ */
/* Error number; 0: *pid is the child. */
static int fork_child(const struct launch *what, int output, const int gate[2], const int report[2],
                      pid_t *pid)
{
    struct environment env = { 0 };
    sigset_t all, before;
    env_make(&env, what);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    *pid = fork();
    if (*pid == 0) become_worker(what, env.vars, output, gate[0], report[1]);
    const int error = *pid < 0 ? errno : 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    env_free(&env);
    return error;
}

static void close_pipe(int pipe[2])
{
    for (int i = 0; i < 2; i++)
        if (pipe[i] >= 0) (void)close(pipe[i]);
}

int birth_begin(const struct launch *what, struct birth *out, struct err *e)
{
    const int output = open(what->output_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (output < 0) return err_errno(e, errno, "%.150s", what->output_path);
    int gate[2] = { -1, -1 }, report[2] = { -1, -1 };
    pid_t pid = -1;
    int error = pipe2(gate, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0 ||
                        fcntl(report[0], F_SETFL, O_NONBLOCK) != 0
                    ? errno
                    : 0;
    if (error == 0) error = fork_child(what, output, gate, report, &pid);
    (void)close(output);
    if (error != 0) {
        close_pipe(gate);
        close_pipe(report);
        return err_errno(e, error, "starting %.120s", what->program);
    }
    (void)close(gate[0]);
    (void)close(report[1]);
    *out = (struct birth){ pid, gate[1], report[0] };
    return 0;
}

int birth_error(int report)
{
    int error = 0;
    return report >= 0 && read(report, &error, sizeof error) == (ssize_t)sizeof error ? error : 0;
}
