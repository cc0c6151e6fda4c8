/* SHA-256 and CRC-32C against published values. */
#include "common/digest.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *hex_of(const void *data, size_t length)
{
    static char hex[DIGEST_HEX_MAX];
    uint8_t digest[DIGEST_BYTES];
    digest_bytes(data, length, digest);
    digest_hex(digest, hex);
    return hex;
}

/* Goal: SHA-256 of FIPS 180-4's examples, as lower-case hex. */
Test(digest_bytes, published_digests, .timeout = 5)
{
    cr_expect_str_eq(hex_of("", 0),
                     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    cr_expect_str_eq(hex_of("abc", 3),
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    cr_expect_str_eq(hex_of(two_blocks, strlen(two_blocks)),
                     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

/* Goal: a file longer than one block has the digest of its bytes; a missing one is ERR_IO. */
Test(digest_file, equals_digest_of_its_bytes, .timeout = 5)
{
    enum { N = 3 * 64 * 1024 + 17 };
    static unsigned char bytes[N];
    for (size_t i = 0; i < N; i++) bytes[i] = (unsigned char)(i * 31 + i / 257);
    char path[] = "/tmp/spiked-digest-XXXXXX";
    const int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, bytes, N), N);
    (void)close(fd);
    uint8_t want[DIGEST_BYTES], got[DIGEST_BYTES];
    struct err e = { 0 };
    digest_bytes(bytes, N, want);
    const int rc = digest_file(path, got, &e);
    (void)unlink(path);
    cr_assert_eq(rc, 0, "%s", e.text);
    cr_expect_arr_eq(got, want, DIGEST_BYTES);
    cr_expect_eq(digest_file(path, got, &e), ERR_IO);
    cr_expect_not_null(strstr(e.text, path));
    cr_expect_arr_eq(got, want, DIGEST_BYTES, "output is written on success only");
    cr_expect_eq(digest_file("/", got, &e), ERR_IO, "a folder has no digest");
}

/* Goal: CRC-32C of RFC 3720 B.4 and the usual check value; it may be made in parts. */
Test(digest_crc32c, published_checksums, .timeout = 5)
{
    unsigned char block[32];
    cr_expect_eq(digest_crc32c(0, "", 0), 0u);
    cr_expect_eq(digest_crc32c(0, "123456789", 9), 0xe3069283u);
    memset(block, 0, sizeof block);
    cr_expect_eq(digest_crc32c(0, block, 32), 0x8a9136aau);
    memset(block, 0xff, sizeof block);
    cr_expect_eq(digest_crc32c(0, block, 32), 0x62a8ab43u);
    for (unsigned char i = 0; i < 32; i++) block[i] = i;
    cr_expect_eq(digest_crc32c(0, block, 32), 0x46dd794eu);
    cr_expect_eq(digest_crc32c(digest_crc32c(0, block, 11), block + 11, 21), 0x46dd794eu);
}
