/* token: see token.h. */
#include "server/auth/token.h"

#include <sodium.h>
#include <string.h>

#define PREFIX_LENGTH (sizeof TOKEN_PREFIX - 1)

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

void token_text(const uint8_t secret[TOKEN_SECRET_BYTES], char out[TOKEN_TEXT_MAX])
{
    uint8_t left[TOKEN_SECRET_BYTES];
    memcpy(left, secret, sizeof left);
    memcpy(out, TOKEN_PREFIX, PREFIX_LENGTH);
    out[TOKEN_LENGTH] = '\0';
    for (size_t place = TOKEN_LENGTH; place-- > PREFIX_LENGTH;) {
        unsigned rest = 0; /* left = left / 62, byte by byte */
        for (size_t i = 0; i < sizeof left; i++) {
            const unsigned value = rest << 8 | left[i];
            left[i] = (uint8_t)(value / 62);
            rest = value % 62;
        }
        out[place] = digits[rest];
    }
    sodium_memzero(left, sizeof left);
}

void token_make(char out[TOKEN_TEXT_MAX])
{
    uint8_t secret[TOKEN_SECRET_BYTES];
    randombytes_buf(secret, sizeof secret);
    token_text(secret, out);
    sodium_memzero(secret, sizeof secret);
}

void token_wipe(char text[TOKEN_TEXT_MAX]) { sodium_memzero(text, TOKEN_TEXT_MAX); }

bool token_hash(const char *text, uint8_t out[DIGEST_BYTES])
{
    if (strnlen(text, TOKEN_LENGTH + 1) != TOKEN_LENGTH ||
        strncmp(text, TOKEN_PREFIX, PREFIX_LENGTH) != 0 ||
        strspn(text + PREFIX_LENGTH, digits) != TOKEN_LENGTH - PREFIX_LENGTH)
        return false;
    digest_bytes(text, TOKEN_LENGTH, out);
    return true;
}

bool token_same(const uint8_t a[DIGEST_BYTES], const uint8_t b[DIGEST_BYTES])
{
    return sodium_memcmp(a, b, DIGEST_BYTES) == 0;
}
