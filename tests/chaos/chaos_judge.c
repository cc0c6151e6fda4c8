/* chaos_judge: see chaos_judge.h. */
#include "tests/chaos/chaos_judge.h"

#include "common/mem.h"
#include "tests/chaos/chaos_client.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define JUDGE "build/chaos/judge"

pid_t program_start(const char *const argv[], const char *output)
{
    (void)fflush(stdout);
    const pid_t pid = fork();
    if (pid != 0) return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int fd = output != NULL ? open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600) : 1;
    (void)dup2(fd, 1);
    if (output != NULL) (void)dup2(fd, 2);
    (void)execv(argv[0], (char *const *)argv);
    _exit(127);
}

int program_end(pid_t pid)
{
    int status = -1;
    (void)waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void judge_undisturbed(char *folder, size_t size, size_t first, size_t end)
{
    (void)snprintf(folder, size, "/tmp/spiked-story-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    for (size_t i = first; i < end; i++) {
        char spec[PATH_MAX], out[PATH_MAX];
        (void)snprintf(spec, sizeof spec, "%s/%s.json", folder, client_spec_names[i]);
        (void)snprintf(out, sizeof out, "%s/%s", folder, client_spec_names[i]);
        char *text = client_spec(i, "undisturbed");
        FILE *f = fopen(spec, "we");
        cr_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
        mem_free(text);
        const char *const argv[] = { "build/spiked-worker", "train", spec, "--out", out, NULL };
        cr_assert(program_end(program_start(argv, "/dev/null")) == 0, "%s", spec);
    }
}

void judge_forget(const char *folder)
{
    const char *const argv[] = { "/bin/rm", "-rf", folder, NULL };
    cr_assert(program_end(program_start(argv, NULL)) == 0);
}

pid_t judge_watch_begin(const char *folder)
{
    char state[PATH_MAX], log[PATH_MAX];
    (void)snprintf(state, sizeof state, "%s/state", folder);
    (void)snprintf(log, sizeof log, "%s/alive.log", folder);
    const char *const argv[] = { JUDGE, "watch", state, log, NULL };
    return program_start(argv, NULL);
}

void judge_watch_end(pid_t watcher)
{
    (void)kill(watcher, SIGTERM);
    cr_assert(program_end(watcher) == 0, "the watch failed");
}

void judge_collect_from(const char *base, const char *folder)
{
    const char *const argv[] = { JUDGE, "collect", base, folder, NULL };
    cr_assert(program_end(program_start(argv, NULL)) == 0, "the judge cannot collect: %s", folder);
}

int judge_decide(const char *folder, const char *files_dir, const char *undisturbed,
                 const char *output)
{
    const char *const argv[] = { JUDGE, "verdict", folder, files_dir, undisturbed, NULL };
    return program_end(program_start(argv, output));
}
