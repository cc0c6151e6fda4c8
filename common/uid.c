/* uid: see uid.h. */
#include "common/uid.h"

#include "common/clock.h"

#include <sodium.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void uid_make(char out[UID_TEXT_MAX])
{
    unsigned char b[16];
    randombytes_buf(b, sizeof b);
    uint64_t ms = (uint64_t)clock_wall_ms();
    for (int i = 0; i < 6; i++) b[i] = (unsigned char)(ms >> (40 - 8 * i));
    b[6] = (unsigned char)(0x70 | (b[6] & 0x0f)); /* version 7 */
    b[8] = (unsigned char)(0x80 | (b[8] & 0x3f)); /* variant 10 */
    char hex[33];
    sodium_bin2hex(hex, sizeof hex, b, sizeof b);
    static const int group[5] = { 8, 4, 4, 4, 12 };
    size_t from = 0, to = 0;
    for (int g = 0; g < 5; g++) {
        if (g > 0) out[to++] = '-';
        memcpy(out + to, hex + from, (size_t)group[g]);
        from += (size_t)group[g];
        to += (size_t)group[g];
    }
    out[to] = '\0';
}

bool uid_valid(const char *text)
{
    if (strlen(text) != UID_TEXT_MAX - 1) return false;
    for (size_t i = 0; i < UID_TEXT_MAX - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = text[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (dash ? c != '-' : !hex) return false;
    }
    return true;
}
