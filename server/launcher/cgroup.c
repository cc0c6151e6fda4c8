/* cgroup: see cgroup.h. */
#include "server/launcher/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX 1024

static int path_of(const char *dir, int64_t experiment, int64_t attempt, const char *file,
                   char out[PATH_MAX])
{
    const int n = snprintf(out, PATH_MAX, "%s/spiked-%" PRId64 "-%" PRId64 "%s%s", dir, experiment,
                           attempt, file[0] != '\0' ? "/" : "", file);
    return n < PATH_MAX ? 0 : -1;
}

/* A small file whole; "" when it cannot be read. */
static void read_text(const char *path, char out[TEXT_MAX])
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd >= 0 ? read(fd, out, TEXT_MAX - 1) : 0;
    out[n > 0 ? n : 0] = '\0';
    if (fd >= 0) (void)close(fd);
}

static int write_text(const char *path, const char *text, struct err *e)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    const ssize_t length = (ssize_t)strlen(text);
    const int rc = fd >= 0 && write(fd, text, (size_t)length) == length
                       ? 0
                       : err_errno(e, errno, "%.150s", path);
    if (fd >= 0) (void)close(fd);
    return rc;
}

/* Whether the blank-separated list of a file names the memory controller. */
static bool has_memory(const char *dir, const char *file)
{
    char path[PATH_MAX], text[TEXT_MAX];
    if (snprintf(path, sizeof path, "%s/%s", dir, file) >= (int)sizeof path) return false;
    read_text(path, text);
    for (char *rest = text, *word; (word = strsep(&rest, " \n")) != NULL;)
        if (strcmp(word, "memory") == 0) return true;
    return false;
}

int cgroup_check(const char *dir, struct err *e)
{
    char path[PATH_MAX];
    if (!has_memory(dir, "cgroup.controllers"))
        return err_set(e, ERR_INVALID,
                       "--workers-cgroup %.150s: not a cgroup v2 folder with the memory controller",
                       dir);
    if (has_memory(dir, "cgroup.subtree_control")) return 0;
    if (snprintf(path, sizeof path, "%s/cgroup.subtree_control", dir) >= (int)sizeof path)
        return err_set(e, ERR_INVALID, "--workers-cgroup: path is too long");
    const int rc = write_text(path, "+memory", e);
    return rc == 0 ? 0 : err_wrap(e, "--workers-cgroup (it must hold no process itself)");
}

static int set_limit(const char *dir, int64_t experiment, int64_t attempt, int64_t memory_mib,
                     struct err *e)
{
    char path[PATH_MAX], text[40];
    struct err ignored = { 0 };
    (void)snprintf(text, sizeof text, "%" PRId64, memory_mib << 20);
    if (path_of(dir, experiment, attempt, "memory.max", path) != 0)
        return err_set(e, ERR_IO, "path is too long");
    const int rc = write_text(path, text, e);
    /* Not on every kernel: no swap beyond the limit, and no half of a worker left. */
    if (path_of(dir, experiment, attempt, "memory.swap.max", path) == 0)
        (void)write_text(path, "0", &ignored);
    if (path_of(dir, experiment, attempt, "memory.oom.group", path) == 0)
        (void)write_text(path, "1", &ignored);
    return rc;
}

int cgroup_make(const char *dir, int64_t experiment, int64_t attempt, int64_t memory_mib,
                int *procs_fd, struct err *e)
{
    char path[PATH_MAX];
    if (path_of(dir, experiment, attempt, "", path) != 0)
        return err_set(e, ERR_IO, "path is too long");
    if (mkdir(path, 0755) != 0 && errno != EEXIST) return err_errno(e, errno, "%.150s", path);
    int rc = set_limit(dir, experiment, attempt, memory_mib, e);
    if (rc == 0 && path_of(dir, experiment, attempt, "cgroup.procs", path) != 0)
        rc = err_set(e, ERR_IO, "path is too long");
    *procs_fd = rc == 0 ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    if (rc == 0 && *procs_fd < 0) rc = err_errno(e, errno, "%.150s", path);
    if (rc != 0) cgroup_remove(dir, experiment, attempt);
    return rc;
}

bool cgroup_oom_killed(const char *dir, int64_t experiment, int64_t attempt)
{
    char path[PATH_MAX], text[TEXT_MAX];
    if (path_of(dir, experiment, attempt, "memory.events", path) != 0) return false;
    read_text(path, text);
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;)
        if (strncmp(line, "oom_kill ", 9) == 0) return strtoll(line + 9, NULL, 10) > 0;
    return false;
}

void cgroup_remove(const char *dir, int64_t experiment, int64_t attempt)
{
    char path[PATH_MAX];
    if (path_of(dir, experiment, attempt, "", path) == 0) (void)rmdir(path);
}
