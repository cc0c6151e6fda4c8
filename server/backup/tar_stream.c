/* tar_stream: see tar_stream.h. */
#include "server/backup/tar_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void tar_stream_init(struct tar_stream *t)
{
    t->member.fd = -1;
    t->block_at = t->block_length = 0;
    t->left = t->zeros = 0;
    t->inside = t->last = false;
}

void tar_stream_deinit(struct tar_stream *t)
{
    if (t->member.fd >= 0) (void)close(t->member.fd);
    t->member.fd = -1;
}

static int begin_member(struct tar_stream *t, struct err *e)
{
    bool more = false;
    int rc = t->next(t, &t->member, &more, e);
    if (rc != 0) return rc;
    if (!more) {
        t->last = true;
        t->zeros = TAR_END_BLOCKS * TAR_BLOCK;
        return 0;
    }
    t->inside = true;
    t->left = t->member.bytes;
    t->block_at = 0;
    t->block_length = TAR_BLOCK;
    (void)crypto_hash_sha256_init(&t->sum);
    return tar_header(t->block, t->member.name, t->member.bytes, t->member.mtime_s, e);
}

static int end_member(struct tar_stream *t, struct err *e)
{
    uint8_t digest[DIGEST_BYTES];
    tar_stream_deinit(t);
    t->inside = false;
    t->zeros = tar_padding(t->member.bytes);
    (void)crypto_hash_sha256_final(&t->sum, digest);
    return t->ended != NULL ? t->ended(t, &t->member, digest, e) : 0;
}

static size_t least(uint64_t a, size_t b) { return a < b ? (size_t)a : b; }

/* Bytes of the member, n of them at most. What was read is not kept in the page cache: training has
 * better use for it. */
static int read_member(struct tar_stream *t, unsigned char *out, size_t n, size_t *got,
                       struct err *e)
{
    if (t->member.fd < 0) {
        memcpy(out, t->member.text + (t->member.bytes - t->left), n);
    } else {
        ssize_t part;
        do part = read(t->member.fd, out, n);
        while (part < 0 && errno == EINTR);
        if (part < 0) return err_errno(e, errno, "%.150s", t->member.name);
        if (part == 0) memset(out, 0, n); /* it shrank */
        else n = (size_t)part;
        (void)posix_fadvise(t->member.fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    (void)crypto_hash_sha256_update(&t->sum, out, n);
    t->left -= n;
    *got = n;
    return 0;
}

int tar_stream_read(struct tar_stream *t, unsigned char *out, size_t room, size_t *got,
                    struct err *e)
{
    int rc = 0;
    *got = 0;
    while (rc == 0 && *got < room) {
        size_t n = 0;
        if (t->zeros > 0) {
            n = least(t->zeros, room - *got);
            memset(out + *got, 0, n);
            t->zeros -= n;
        } else if (t->block_at < t->block_length) {
            n = least(t->block_length - t->block_at, room - *got);
            memcpy(out + *got, t->block + t->block_at, n);
            t->block_at += n;
        } else if (t->inside && t->left > 0) {
            rc = read_member(t, out + *got, least(t->left, room - *got), &n, e);
        } else if (t->inside) {
            rc = end_member(t, e);
        } else if (t->last) {
            return 0;
        } else {
            rc = begin_member(t, e);
        }
        *got += n;
    }
    return rc;
}
