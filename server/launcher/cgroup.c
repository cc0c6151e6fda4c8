/* cgroup: see cgroup.h. */
#include "server/launcher/cgroup.h"

#include "common/digest.h"

#include <dirent.h>
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

static int path_of(const struct cgroup_leaf *l, const char *file, char out[PATH_MAX])
{
    const int n = snprintf(out, PATH_MAX, "%s/spiked-%s-%" PRId64 "-%" PRId64 "%s%s", l->dir,
                           l->owner, l->experiment, l->attempt, file[0] != '\0' ? "/" : "", file);
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
    const ssize_t length = (ssize_t)strlen(text), n = fd >= 0 ? write(fd, text, strlen(text)) : -1;
    const int error = n < 0 ? errno : n < length ? EIO : 0;
    if (fd >= 0) (void)close(fd);
    return error == 0 ? 0 : err_errno(e, error, "%.150s", path);
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

static int write_file(const struct cgroup_leaf *l, const char *file, int64_t value, struct err *e)
{
    char path[PATH_MAX], text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    if (path_of(l, file, path) != 0) return err_set(e, ERR_IO, "path is too long");
    return write_text(path, text, e);
}

void cgroup_owner(const char *state_dir, char out[CGROUP_OWNER_MAX])
{
    uint8_t hash[DIGEST_BYTES];
    char hex[2 * DIGEST_BYTES + 1];
    digest_bytes(state_dir, strlen(state_dir), hash);
    digest_hex(hash, hex);
    (void)snprintf(out, CGROUP_OWNER_MAX, "%.8s", hex);
}

int cgroup_hold(const struct cgroup_leaf *leaf, int64_t memory_mib, pid_t pid, struct err *e)
{
    char path[PATH_MAX];
    struct err ignored = { 0 };
    if (path_of(leaf, "", path) != 0) return err_set(e, ERR_IO, "path is too long");
    if (mkdir(path, 0755) != 0 && errno != EEXIST) return err_errno(e, errno, "%.150s", path);
    int rc = write_file(leaf, "memory.max", memory_mib << 20, e);
    /* Not on every kernel: no swap beyond the limit, and no half of a worker left. */
    (void)write_file(leaf, "memory.swap.max", 0, &ignored);
    (void)write_file(leaf, "memory.oom.group", 1, &ignored);
    if (rc == 0) rc = write_file(leaf, "cgroup.procs", pid, e);
    if (rc != 0) cgroup_remove(leaf);
    return rc;
}

bool cgroup_oom_killed(const struct cgroup_leaf *leaf)
{
    char path[PATH_MAX], text[TEXT_MAX];
    if (path_of(leaf, "memory.events", path) != 0) return false;
    read_text(path, text);
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;)
        if (strncmp(line, "oom_kill ", 9) == 0) return strtoll(line + 9, NULL, 10) > 0;
    return false;
}

void cgroup_remove(const struct cgroup_leaf *leaf)
{
    char path[PATH_MAX];
    if (path_of(leaf, "", path) == 0) (void)rmdir(path);
}

void cgroup_sweep(const char *dir, const char *owner)
{
    char prefix[40], path[PATH_MAX];
    const int length = snprintf(prefix, sizeof prefix, "spiked-%s-", owner);
    DIR *d = opendir(dir);
    for (struct dirent *entry; d != NULL && (entry = readdir(d)) != NULL;)
        if (strncmp(entry->d_name, prefix, (size_t)length) == 0 &&
            snprintf(path, sizeof path, "%s/%s", dir, entry->d_name) < (int)sizeof path)
            (void)rmdir(path); /* the kernel refuses it while a process is in */
    if (d != NULL) (void)closedir(d);
}
