/* tar_stream: a tar archive that is made while it is read: memory is one block, whatever the files
 * hold. Whoever embeds it says which file comes next. One thread at a time; blocks on the disk. */
#ifndef SERVER_TAR_STREAM_H
#define SERVER_TAR_STREAM_H

#include "common/digest.h"
#include "server/backup/tar.h"

#include <sodium.h>
#include <stdbool.h>

struct tar_member {
    char name[TAR_NAME_MAX];
    int fd;           /* read from where it stands, and closed; -1: text */
    const char *text; /* owned by the caller until the next member */
    uint64_t bytes;
    int64_t mtime_s;
};
struct tar_stream {
    /* The next member; false in *more: there is none. Errors end the archive. */
    int (*next)(struct tar_stream *t, struct tar_member *out, bool *more, struct err *e);
    /* A member is through; NULL allowed. */
    int (*ended)(struct tar_stream *t, const struct tar_member *m,
                 const uint8_t digest[DIGEST_BYTES], struct err *e);
    /* Its own: */
    struct tar_member member; /* member.fd must be -1 before the first read */
    unsigned char block[TAR_BLOCK];
    size_t block_at, block_length;
    uint64_t left, zeros;
    bool inside, last;
    crypto_hash_sha256_state sum;
};
void tar_stream_init(struct tar_stream *t);
/* *got 0: the end. A file that shrinks meanwhile is filled up with zeros; what one gains is left
 * out. Errors: of next and ended, ERR_IO, ERR_INVALID (a name). */
int tar_stream_read(struct tar_stream *t, unsigned char *out, size_t room, size_t *got,
                    struct err *e);
void tar_stream_deinit(struct tar_stream *t); /* may be repeated */

#endif
