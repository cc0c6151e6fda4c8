/* fork: the weights that an experiment begins with, taken from another one's folder when it is
 * submitted: a hard link of its own, so that what happens to the other later changes nothing.
 * Writer thread of spiked.db, inside the submission's transaction. */
#include "server/queue/queue_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The newest checkpoint of a folder; false: none. */
static bool newest_checkpoint(const char *dir, char out[PATH_MAX])
{
    DIR *d = opendir(dir);
    uint64_t newest = 0;
    bool found = false;
    for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;) {
        int end = 0;
        uint64_t step;
        if (sscanf(f->d_name, "checkpoint-%" SCNu64 ".safetensors%n", &step, &end) != 1 ||
            end == 0 || f->d_name[end] != '\0' || (found && step < newest))
            continue;
        newest = step;
        found = true;
    }
    if (d != NULL) (void)closedir(d);
    return found &&
           snprintf(out, PATH_MAX, "%s/checkpoint-%" PRIu64 ".safetensors", dir, newest) < PATH_MAX;
}

/* What an attempt has: its result, or else its newest checkpoint, which holds both. */
static bool weights_of(const char *dir, bool best, char out[PATH_MAX])
{
    const char *name = best ? "best.safetensors" : "weights.safetensors";
    if (snprintf(out, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX) return false;
    return access(out, R_OK) == 0 || newest_checkpoint(dir, out);
}

static int sync_folder(const char *dir, struct err *e)
{
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int rc = fd >= 0 && fsync(fd) == 0 ? 0 : err_errno(e, errno, "%.150s", dir);
    if (fd >= 0) (void)close(fd);
    return rc;
}

int fork_start_path(const char *files_dir, const char *uid, char *out)
{
    return snprintf(out, PATH_MAX, "%s/%s/start.safetensors", files_dir, uid) < PATH_MAX ? 0 : -1;
}

int fork_link(const struct fork *f, const char *files_dir, const char *uid, struct err *e)
{
    char dir[PATH_MAX], source[PATH_MAX], target[PATH_MAX];
    bool found = false;
    for (int64_t n = f->attempts; n >= 1 && !found; n--)
        found = snprintf(dir, sizeof dir, "%s/%s/attempt-%lld", files_dir, f->uid, (long long)n) <
                    (int)sizeof dir &&
                weights_of(dir, f->best, source);
    if (!found)
        return err_set(e, ERR_BAD_STATE, "experiment %lld has no checkpoint yet",
                       (long long)f->experiment);
    if (fork_start_path(files_dir, uid, target) != 0 ||
        snprintf(dir, sizeof dir, "%s/%s", files_dir, uid) >= (int)sizeof dir)
        return err_set(e, ERR_IO, "path is too long");
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) return err_errno(e, errno, "%.150s", dir);
    if (link(source, target) != 0) return err_errno(e, errno, "link to %.150s", source);
    const int rc = sync_folder(dir, e);
    return rc == 0 ? sync_folder(files_dir, e) : rc;
}

void fork_unlink(const char *files_dir, const char *uid)
{
    char path[PATH_MAX];
    if (fork_start_path(files_dir, uid, path) != 0) return;
    (void)unlink(path);
    *strrchr(path, '/') = '\0';
    (void)rmdir(path);
}
