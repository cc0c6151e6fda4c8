/* backup_walk: reads a backup from its first byte to its last: every name must be one that backups
 * have, every digest right, and the manifest must be there. Blocks; main thread. */
#ifndef SERVER_BACKUP_WALK_H
#define SERVER_BACKUP_WALK_H

#include "common/digest.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct backup_input {
    void *ctx;
    /* As read(2): so many bytes, 0 at the end, -1 with errno. */
    ssize_t (*read)(void *ctx, void *out, size_t room);
    /* After each member, for people; NULL allowed. */
    void (*progress)(void *ctx, const char *name, uint64_t bytes);
};
struct backup_manifest {
    int64_t format, made_ms, schema, metrics_schema, epoch, members;
    bool files;
    char version[40];
};
/* folder: what is read goes there (folders are made, files 0600); NULL: it is looked at and
 * forgotten. Errors: ERR_DATA (damaged, truncated, or no backup), ERR_CONFLICT (made by a newer
 * program), ERR_IO. */
int backup_walk(const struct backup_input *in, const char *folder, struct backup_manifest *out,
                struct err *e);

#endif
