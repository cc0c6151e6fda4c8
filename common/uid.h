/* uid: UUIDv7 (RFC 9562) that names the folders of experiments. Any thread. */
#ifndef COMMON_UID_H
#define COMMON_UID_H

#include <stdbool.h>

#define UID_TEXT_MAX 37
void uid_make(char out[UID_TEXT_MAX]); /* lower-case text; time ordered */
bool uid_valid(const char *text);

#endif
