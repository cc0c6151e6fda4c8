/* json_check: strict JSON grammar over raw bytes, used by json_parse before cJSON sees the text. */
#ifndef COMMON_JSON_CHECK_H
#define COMMON_JSON_CHECK_H

#include "common/err.h"

#include <stddef.h>

/* 0, or ERR_SYNTAX with "line L, column C: what is wrong". Limits: JSON_DEPTH_MAX, JSON_STRING_MAX.
 * Columns count bytes from 1. */
int json_check(const char *text, size_t length, struct err *e);

/* Bytes of the non-ASCII UTF-8 character at `at` (RFC 3629: no overlong forms, no surrogates, at
 * most U+10FFFF): 2 to 4, or 0 when the bytes are no such character or it does not end in time. */
size_t json_utf8_length(const unsigned char *at, size_t left);

#endif
