/* backup_folder: see backup_folder.h. */
#include "server/backup/backup_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_ROOM (BACKUP_FOLDER_MAX + 32)

static int folder_of(const char *state_dir, char out[BACKUP_FOLDER_MAX])
{
    return snprintf(out, BACKUP_FOLDER_MAX, "%s/backup.tmp", state_dir) < BACKUP_FOLDER_MAX ? 0
                                                                                            : -1;
}

void backup_folder_remove(const char *state_dir)
{
    static const char *const names[] = {
        "metrics.db",        "metrics.db-journal", "metrics.db-wal", "metrics.db-shm", "spiked.db",
        "spiked.db-journal", "spiked.db-wal",      "spiked.db-shm",  "digests"
    };
    char folder[BACKUP_FOLDER_MAX], path[PATH_ROOM];
    if (folder_of(state_dir, folder) != 0) return;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

int backup_folder_make(const char *state_dir, char out[BACKUP_FOLDER_MAX], struct err *e)
{
    if (folder_of(state_dir, out) != 0)
        return err_set(e, ERR_INVALID, "the path %.100s is too long", state_dir);
    backup_folder_remove(state_dir);
    return mkdir(out, 0700) == 0 ? 0 : err_errno(e, errno, "%.150s", out);
}

int folder_sync(const char *path, struct err *e)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int rc = fd >= 0 && fsync(fd) == 0 ? 0 : err_errno(e, errno, "%.150s", path);
    if (fd >= 0) (void)close(fd);
    return rc;
}
