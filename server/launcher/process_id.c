/* process_id: see process_id.h. */
#include "server/launcher/process_id.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STAT_MAX 1024

/* Errors: ESRCH also when there is no such folder, but not when /proc itself is missing. */
static int read_stat(int64_t pid, char text[STAT_MAX])
{
    char path[40];
    (void)snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && access("/proc/self/stat", R_OK) == 0) return ESRCH;
    if (fd < 0) return errno;
    const ssize_t n = read(fd, text, STAT_MAX - 1);
    const int error = n < 0 ? errno : 0;
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    return error;
}

enum process_there process_began(int64_t pid, int64_t *ticks, struct err *e)
{
    char text[STAT_MAX];
    const int error = read_stat(pid, text);
    if (error == ESRCH) return PROCESS_GONE;
    if (error != 0) {
        (void)err_errno(e, error, "looking at process %" PRId64, pid);
        return PROCESS_UNKNOWN;
    }
    char *at = strrchr(text, ')'); /* the name may hold blanks and brackets */
    if (at != NULL && at[1] == ' ' && (at[2] == 'Z' || at[2] == 'X')) return PROCESS_GONE;
    for (int field = 2; field < 22 && at != NULL; field++) at = strchr(at + 1, ' ');
    if (at == NULL) {
        (void)err_set(e, ERR_IO, "/proc/%" PRId64 "/stat has an unknown form", pid);
        return PROCESS_UNKNOWN;
    }
    *ticks = strtoll(at, NULL, 10);
    return PROCESS_THERE;
}

enum process_there process_open(int64_t pid, int64_t ticks, int *fd, struct err *e)
{
    int64_t now = 0;
    if (pid <= 0) return PROCESS_GONE;
    const int opened = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    /* EINVAL: the number is that of a thread by now, which leads no process. */
    if (opened < 0 && (errno == ESRCH || errno == EINVAL)) return PROCESS_GONE;
    if (opened < 0) {
        (void)err_errno(e, errno, "watching process %" PRId64, pid);
        return PROCESS_UNKNOWN;
    }
    enum process_there there = process_began(pid, &now, e);
    if (there == PROCESS_THERE && now != ticks) there = PROCESS_GONE;
    if (there == PROCESS_THERE) {
        (void)fcntl(opened, F_SETFD, FD_CLOEXEC);
        *fd = opened;
    } else {
        (void)close(opened);
    }
    return there;
}

void process_boot_id(char out[40])
{
    out[0] = '\0';
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (f == NULL) return;
    if (fgets(out, 40, f) != NULL) out[strcspn(out, "\n")] = '\0';
    (void)fclose(f);
}
