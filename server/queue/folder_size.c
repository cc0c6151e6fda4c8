/* folder_size: see folder_size.h. */
#include "server/queue/folder_size.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8

static int64_t add_folder(int parent, const char *name, int depth);

/* What a file costs: a file of several names its share at each. */
static int64_t add_entry(int dir, const char *name, int depth)
{
    struct stat st;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return 0;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return 0;
    if (S_ISDIR(st.st_mode)) return add_folder(dir, name, depth + 1);
    return st.st_nlink > 1 ? st.st_size / (int64_t)st.st_nlink : st.st_size;
}

static int64_t add_folder(int parent, const char *name, int depth)
{
    const int fd = depth <= DEPTH_MAX
                       ? openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                       : -1;
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    int64_t bytes = 0;
    if (dir == NULL) {
        if (fd >= 0) (void)close(fd);
        return 0;
    }
    for (const struct dirent *d; (d = readdir(dir)) != NULL;)
        bytes += add_entry(fd, d->d_name, depth);
    (void)closedir(dir);
    return bytes;
}

int64_t folder_size(const char *path) { return add_folder(AT_FDCWD, path, 0); }
