/* Secrets that people carry: how they look, and what is taken for one. */
#include "server/auth/token.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <string.h>

/* Goal: the text is the number of the secret in base 62, with all its digits. */
Test(token, text_is_base_62)
{
    uint8_t secret[TOKEN_SECRET_BYTES] = { 0 };
    char text[TOKEN_TEXT_MAX];
    token_text(secret, text);
    cr_assert_str_eq(text, "spk_0000000000000000000000000000000000000000000");
    secret[31] = 62;
    token_text(secret, text);
    cr_assert_str_eq(text, "spk_0000000000000000000000000000000000000000010");
    secret[30] = 1; /* 256 + 61 = 5 * 62 + 7 */
    secret[31] = 61;
    token_text(secret, text);
    cr_assert_str_eq(text, "spk_0000000000000000000000000000000000000000057");
    memset(secret, 0xff, sizeof secret); /* 2^256 - 1 */
    token_text(secret, text);
    cr_assert_str_eq(text, "spk_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1");
}

/* Goal: no two are the same, and what is stored of one is the SHA-256 of its text. */
Test(token, fresh_ones_differ_and_are_hashed)
{
    char a[TOKEN_TEXT_MAX], b[TOKEN_TEXT_MAX];
    uint8_t hash[DIGEST_BYTES], other[DIGEST_BYTES];
    cr_assert(sodium_init() >= 0);
    token_make(a);
    token_make(b);
    cr_assert_str_neq(a, b);
    cr_assert(token_hash(a, hash) && token_hash(b, other) && !token_same(hash, other));
    cr_assert(token_hash(a, other) && token_same(hash, other));
    digest_bytes(a, TOKEN_LENGTH, other);
    cr_assert(token_same(hash, other));
    token_wipe(a);
    cr_assert_eq(strlen(a), 0);
}

/* Goal: what cannot be a token is not looked up. */
Test(token, other_texts_are_none)
{
    uint8_t hash[DIGEST_BYTES];
    char text[TOKEN_TEXT_MAX + 8];
    const uint8_t secret[TOKEN_SECRET_BYTES] = { 1, 2, 3 };
    token_text(secret, text);
    cr_assert(token_hash(text, hash));
    text[20] = '-';
    cr_assert(!token_hash(text, hash));
    token_text(secret, text);
    text[0] = 'S';
    cr_assert(!token_hash(text, hash));
    token_text(secret, text);
    (void)strcat(text, "0");
    cr_assert(!token_hash(text, hash));
    text[TOKEN_LENGTH - 1] = '\0';
    cr_assert(!token_hash(text, hash));
    cr_assert(!token_hash("", hash));
}
