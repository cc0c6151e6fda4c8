/* digest: see digest.h. */
#include "common/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

_Static_assert(DIGEST_BYTES == crypto_hash_sha256_BYTES, "SHA-256");

void digest_bytes(const void *data, size_t length, uint8_t out[DIGEST_BYTES])
{
    crypto_hash_sha256(out, data, length);
}

void digest_hex(const uint8_t digest[DIGEST_BYTES], char out[DIGEST_HEX_MAX])
{
    sodium_bin2hex(out, DIGEST_HEX_MAX, digest, DIGEST_BYTES);
}

int digest_file(const char *path, uint8_t out[DIGEST_BYTES], struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_errno(e, errno, "%s", path);
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    unsigned char block[64 * 1024];
    ssize_t n;
    while ((n = read(fd, block, sizeof block)) > 0) {
        crypto_hash_sha256_update(&state, block, (unsigned long long)n);
    }
    int failed = n < 0 ? errno : 0;
    (void)close(fd);
    if (failed != 0) return err_errno(e, failed, "%s", path);
    crypto_hash_sha256_final(&state, out);
    return 0;
}

/* CRC-32C (Castagnoli), reflected polynomial 0x82f63b78, one nibble at a time. */
uint32_t digest_crc32c(uint32_t crc, const void *data, size_t length)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const unsigned char *p = data;
    crc = ~crc;
    for (size_t i = 0; i < length; i++) {
        crc ^= p[i];
        crc = table[crc & 15] ^ (crc >> 4);
        crc = table[crc & 15] ^ (crc >> 4);
    }
    return ~crc;
}
