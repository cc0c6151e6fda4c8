/* digest_cache: see digest_cache.h. */
#include "server/api/digest_cache.h"

#include "common/mem.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PART_BYTES ((size_t)256 * 1024)

void digest_cache_init(struct digest_cache *c)
{
    memset(c->slots, 0, sizeof c->slots);
    (void)uv_mutex_init(&c->lock);
}

void digest_cache_deinit(struct digest_cache *c) { uv_mutex_destroy(&c->lock); }

static bool same(const struct digest_slot *s, const struct stat *st)
{
    return s->hex[0] != '\0' && s->device == st->st_dev && s->inode == st->st_ino &&
           s->size == st->st_size && s->changed.tv_sec == st->st_mtim.tv_sec &&
           s->changed.tv_nsec == st->st_mtim.tv_nsec;
}

/* Up to the size that was seen: a log may grow meanwhile. */
static int read_digest(int fd, off_t size, char out[DIGEST_HEX_MAX], struct err *e)
{
    crypto_hash_sha256_state sum;
    uint8_t digest[DIGEST_BYTES];
    unsigned char *part = mem_alloc(PART_BYTES);
    if (part == NULL) return err_set(e, ERR_NOMEM, "digest");
    (void)crypto_hash_sha256_init(&sum);
    for (off_t at = 0; at < size && e->code == ERR_OK;) {
        const size_t want = size - at < (off_t)PART_BYTES ? (size_t)(size - at) : PART_BYTES;
        const ssize_t n = pread(fd, part, want, at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) (void)err_errno(e, errno, "digest");
        if (n <= 0) break;
        (void)crypto_hash_sha256_update(&sum, part, (size_t)n);
        at += n;
    }
    mem_free(part);
    (void)crypto_hash_sha256_final(&sum, digest);
    digest_hex(digest, out);
    return (int)e->code;
}

int digest_cache_of(struct digest_cache *c, int fd, const struct stat *st, char out[DIGEST_HEX_MAX],
                    struct err *e)
{
    struct digest_slot *slot = &c->slots[(size_t)st->st_ino % DIGEST_CACHE_SLOTS];
    uv_mutex_lock(&c->lock);
    const bool known = same(slot, st);
    if (known) (void)snprintf(out, DIGEST_HEX_MAX, "%s", slot->hex);
    uv_mutex_unlock(&c->lock);
    if (known) return 0;
    if (read_digest(fd, st->st_size, out, e) != 0) return (int)e->code;
    uv_mutex_lock(&c->lock);
    *slot = (struct digest_slot){ st->st_dev, st->st_ino, st->st_size, st->st_mtim, "" };
    (void)snprintf(slot->hex, sizeof slot->hex, "%s", out);
    uv_mutex_unlock(&c->lock);
    return 0;
}
