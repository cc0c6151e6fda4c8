/* token: secrets that people carry: how they look, how they are made, what is kept of them.
 * Any thread. */
#ifndef SERVER_TOKEN_H
#define SERVER_TOKEN_H

#include "common/digest.h"

#include <stdbool.h>

#define TOKEN_SECRET_BYTES 32
#define TOKEN_PREFIX "spk_"
#define TOKEN_LENGTH 47 /* the prefix and 43 digits: 62^43 > 2^256 */
#define TOKEN_TEXT_MAX (TOKEN_LENGTH + 1)

/* The secret in base 62 (0-9 A-Z a-z, most significant first) behind the prefix. */
void token_text(const uint8_t secret[TOKEN_SECRET_BYTES], char out[TOKEN_TEXT_MAX]);
/* A fresh one. The caller wipes it with token_wipe when it was shown. */
void token_make(char out[TOKEN_TEXT_MAX]);
void token_wipe(char text[TOKEN_TEXT_MAX]);
/* What is stored of it. false: the text is not one of ours, whatever it is. */
bool token_hash(const char *text, uint8_t out[DIGEST_BYTES]);
/* In constant time. */
bool token_same(const uint8_t a[DIGEST_BYTES], const uint8_t b[DIGEST_BYTES]);

#endif
