/* backup_source: a backup as a tar archive that is made while it is read: metrics.db, spiked.db,
 * the files of the experiments that spiked.db speaks of, `digests` (as sha256sum -c reads it) and
 * `manifest.json`. One thread at a time; blocks on the disk. */
#ifndef SERVER_BACKUP_SOURCE_H
#define SERVER_BACKUP_SOURCE_H

#include "common/err.h"

#include <stddef.h>
#include <stdint.h>

#define BACKUP_FORMAT 1

struct backup_source;
struct backup_parts {
    const char
        *copies_dir;       /* metrics.db and spiked.db, of the same moment; others are made there */
    const char *state_dir; /* its epoch */
    const char *files_dir; /* NULL: databases alone */
};
/* Opens nothing yet. Errors: ERR_NOMEM. */
int backup_source_new(struct backup_source **out, const struct backup_parts *p, struct err *e);
/* *got 0: the end. Errors: ERR_IO, ERR_DB, ERR_INVALID (a file whose name fits no archive). */
int backup_source_read(struct backup_source *s, unsigned char *out, size_t room, size_t *got,
                       struct err *e);
void backup_source_free(struct backup_source *s); /* NULL is fine; the copies stay */

#endif
