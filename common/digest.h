/* digest: SHA-256 of bytes and files (libsodium), as lower-case hex. Any thread. */
#ifndef COMMON_DIGEST_H
#define COMMON_DIGEST_H

#include "common/err.h"

#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES 32
#define DIGEST_HEX_MAX 65
void digest_bytes(const void *data, size_t length, uint8_t out[DIGEST_BYTES]);
void digest_hex(const uint8_t digest[DIGEST_BYTES], char out[DIGEST_HEX_MAX]);
/* Errors: ERR_IO. */
int digest_file(const char *path, uint8_t out[DIGEST_BYTES], struct err *e);
uint32_t digest_crc32c(uint32_t crc, const void *data, size_t length); /* frames of the spool */

#endif
