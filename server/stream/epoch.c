/* epoch: see epoch.h. */
#include "server/stream/epoch.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

int epoch_raise(uint64_t *epoch, const char *state_dir, struct err *e)
{
    char path[PATH_MAX], next[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/epoch", state_dir);
    (void)snprintf(next, sizeof next, "%s/epoch.new", state_dir);
    *epoch = 0;
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        if (fscanf(f, "%" SCNu64, epoch) != 1) *epoch = 0;
        (void)fclose(f);
    }
    ++*epoch;
    f = fopen(next, "we");
    if (f == NULL) return err_errno(e, errno, "%.150s", next);
    const bool written = fprintf(f, "%" PRIu64 "\n", *epoch) > 0 && fflush(f) == 0 &&
                         fsync(fileno(f)) == 0;
    if (fclose(f) != 0 || !written || rename(next, path) != 0)
        return err_errno(e, errno, "%.150s", path);
    return 0;
}
