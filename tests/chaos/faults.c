/* faults.so: see faults.h. Stands before the C library (LD_PRELOAD) in a daemon and its workers.
 *
 * Full disk: whatever makes a file or lets one grow fails with ENOSPC. Of two writes in a row the
 * first takes half of its bytes, as the write that meets the end of a real disk does. (A small
 * tmpfs would need root, and a limit on file sizes gives another error and a signal.) Lost answer:
 * the daemon has done what it was asked; what a worker receives of its answer is thrown away and
 * the connection is broken. */
#include "tests/chaos/faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct faults *faults;     /* NULL: none asked for */
static char folder[PATH_MAX + 8]; /* ".../state/" */
static bool is_worker;

__attribute__((constructor)) static void map_faults(void)
{
    const char *path = getenv("SPIKED_FAULTS");
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;
    if (slash == NULL) return;
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (at == MAP_FAILED) return;
    (void)snprintf(folder, sizeof folder, "%.*s/state/", (int)(slash - path), path);
    is_worker = strcmp(program_invocation_short_name, "spiked-worker") == 0;
    faults = at;
}

/* Declares `real`: the function that is called where this library is absent. */
#define REAL(name)                 \
    static __typeof__(name) *real; \
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, #name)

/* ---- clock ----------------------------------------------------------------------------------- */
int clock_gettime(clockid_t id, struct timespec *t)
{
    REAL(clock_gettime);
    const int rc = real(id, t);
    const int64_t move = faults != NULL ? atomic_load(&faults->wall_ms) : 0;
    if (rc != 0 || id != CLOCK_REALTIME || move == 0) return rc;
    const int64_t ms = (int64_t)t->tv_sec * 1000 + t->tv_nsec / 1000000 + move;
    t->tv_sec = ms / 1000;
    t->tv_nsec = ms % 1000 * 1000000 + t->tv_nsec % 1000000;
    (void)atomic_fetch_add(&faults->clocks_moved, 1);
    return 0;
}

/* ---- answers --------------------------------------------------------------------------------- */
static bool local_socket(int fd)
{
    int domain = 0;
    socklen_t size = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

ssize_t recv(int fd, void *data, size_t size, int flags)
{
    REAL(recv);
    const ssize_t n = real(fd, data, size, flags);
    if (faults == NULL || !is_worker || n <= 0 || (flags & MSG_PEEK) != 0 ||
        atomic_load(&faults->lose) <= 0 || !local_socket(fd))
        return n;
    (void)atomic_fetch_sub(&faults->lose, 1);
    (void)atomic_fetch_add(&faults->answers_lost, 1);
    (void)shutdown(fd, SHUT_RDWR);
    errno = ECONNRESET;
    return -1;
}

/* ---- disk ------------------------------------------------------------------------------------ */
static bool below(const char *path) { return strncmp(path, folder, strlen(folder)) == 0; }

static bool full(void) { return faults != NULL && atomic_load(&faults->disk_full) != 0; }

static bool file_below(int fd)
{
    char link[40], path[PATH_MAX];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return false;
    path[n] = '\0';
    return below(path);
}

/* As of a disk, or a network file system, that does not answer any more. */
ssize_t pread(int fd, void *data, size_t bytes, off_t at)
{
    REAL(pread);
    char link[40], path[PATH_MAX];
    if (faults == NULL || atomic_load(&faults->hang) == 0) return real(fd, data, bytes, at);
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    const bool log = n > 4 && memcmp(path + n - 4, ".log", 4) == 0;
    if (log) (void)atomic_fetch_add(&faults->reads_hung, 1);
    while (log && atomic_load(&faults->hang) != 0) (void)usleep(10000);
    return real(fd, data, bytes, at);
}

int statvfs(const char *path, struct statvfs *v)
{
    REAL(statvfs);
    const int rc = real(path, v);
    const int permille = faults != NULL ? atomic_load(&faults->free_permille) : 0;
    if (rc == 0 && permille > 0) v->f_bavail = v->f_blocks * (fsblkcnt_t)permille / 1000;
    return rc;
}

static int refuse(void)
{
    (void)atomic_fetch_add(&faults->writes_refused, 1);
    errno = ENOSPC;
    return -1;
}

/* Bytes of a write that the full disk still takes; 0: none. */
static size_t room(size_t bytes)
{
    static _Thread_local bool filled;
    filled = !filled;
    return filled ? bytes / 2 : 0;
}

#define WRITES_AT(name, offset_type)                                      \
    ssize_t name(int fd, const void *data, size_t bytes, offset_type at)  \
    {                                                                     \
        REAL(name);                                                       \
        if (!full() || !file_below(fd)) return real(fd, data, bytes, at); \
        const size_t some = room(bytes);                                  \
        return some > 0 ? real(fd, data, some, at) : refuse();            \
    }
WRITES_AT(pwrite, off_t)
WRITES_AT(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t bytes)
{
    REAL(write);
    if (!full() || !file_below(fd)) return real(fd, data, bytes);
    const size_t some = room(bytes);
    return some > 0 ? real(fd, data, some) : refuse();
}

#define GROWS(name, offset_type)                                                 \
    int name(int fd, offset_type length)                                         \
    {                                                                            \
        REAL(name);                                                              \
        struct stat st;                                                          \
        const bool grows = full() && fstat(fd, &st) == 0 && length > st.st_size; \
        return grows && file_below(fd) ? refuse() : real(fd, length);            \
    }
GROWS(ftruncate, off_t)
GROWS(ftruncate64, off64_t)

#define OPENS(name)                                                                   \
    int name(const char *path, int flags, ...)                                        \
    {                                                                                 \
        REAL(name);                                                                   \
        va_list more;                                                                 \
        va_start(more, flags);                                                        \
        const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;        \
        va_end(more);                                                                 \
        const bool makes = (flags & O_CREAT) != 0 && full() && below(path);           \
        return makes && access(path, F_OK) != 0 ? refuse() : real(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

int mkdir(const char *path, mode_t mode)
{
    REAL(mkdir);
    const bool makes = full() && below(path) && access(path, F_OK) != 0;
    return makes ? refuse() : real(path, mode);
}

int link(const char *from, const char *to)
{
    REAL(link);
    return full() && below(to) ? refuse() : real(from, to);
}

/* The C library's own buffers: it writes them where nobody can stand between. */
FILE *fopen(const char *path, const char *mode)
{
    REAL(fopen);
    if (mode[0] == 'r' || !full() || !below(path)) return real(path, mode);
    (void)refuse();
    return NULL;
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *f)
{
    REAL(fwrite);
    if (!full() || !file_below(fileno(f))) return real(data, size, n, f);
    (void)refuse();
    return 0;
}

int fflush(FILE *f)
{
    REAL(fflush);
    return f != NULL && full() && file_below(fileno(f)) ? refuse() : real(f);
}
