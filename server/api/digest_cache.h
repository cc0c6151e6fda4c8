/* digest_cache: SHA-256 of files that were asked for lately, so that a download that is repeated is
 * not read twice. A file is known by its inode, size and time of change. Any thread. */
#ifndef SERVER_DIGEST_CACHE_H
#define SERVER_DIGEST_CACHE_H

#include "common/digest.h"

#include <sys/stat.h>
#include <uv.h>

#define DIGEST_CACHE_SLOTS 256

struct digest_slot {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
    char hex[DIGEST_HEX_MAX]; /* "" = empty */
};
struct digest_cache {
    uv_mutex_t lock;
    struct digest_slot slots[DIGEST_CACHE_SLOTS];
};
void digest_cache_init(struct digest_cache *c);
void digest_cache_deinit(struct digest_cache *c);
/* Of an open file, from its first byte; where it stands does not matter. Blocks. Errors: ERR_IO,
 * ERR_NOMEM. */
int digest_cache_of(struct digest_cache *c, int fd, const struct stat *st, char out[DIGEST_HEX_MAX],
                    struct err *e);

#endif
