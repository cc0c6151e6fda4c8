/* file_walk: every file below a data set's folder, unpacked or in archives, without writing
 * anything. Main thread. */
#ifndef WORKER_FILE_WALK_H
#define WORKER_FILE_WALK_H

#include "common/err.h"

#include <stddef.h>
#include <stdint.h>

#define FILE_WALK_BYTES_MAX ((size_t)1 << 30) /* of one file */
#define FILE_WALK_DEPTH_MAX 8                 /* folders in folders */

/* Bytes of one file after the other; reused. Zeroed: empty. */
struct file_bytes {
    uint8_t *at;
    size_t count, capacity;
};
void file_bytes_deinit(struct file_bytes *b);

struct file_walk_entry;
/* path: below the folder, or inside the archive, as "Train/3/00012.bin"; only valid during the
 * call. A value other than 0 ends the walk and is its result. */
typedef int file_walk_fn(void *ctx, const char *path, struct file_walk_entry *entry, struct err *e);
/* Calls `each` for every regular file, in no order that means anything. When the folder has
 * folders, all are walked and archives are files like others; else the folder's archives are walked
 * too (.zip, .tar, also compressed). Hidden names are left out. Errors: ERR_DATA names the archive;
 * ERR_IO, ERR_NOMEM. */
int file_walk(const char *folder, file_walk_fn *each, void *ctx, struct err *e);
/* The file's bytes, those of a gzip file unpacked; only inside `each`, once. Errors: ERR_DATA (too
 * long, damaged), ERR_NOMEM. */
int file_walk_read(struct file_walk_entry *entry, struct file_bytes *out, struct err *e);

#endif
