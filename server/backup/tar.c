/* tar: see tar.h. */
#include "server/backup/tar.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the fields of a header lie. */
enum {
    NAME = 0,
    NAME_SIZE = 100,
    MODE = 100,
    UID = 108,
    GID = 116,
    SIZE = 124,
    SIZE_SIZE = 12,
    MTIME = 136,
    SUM = 148,
    SUM_SIZE = 8,
    TYPE = 156,
    MAGIC = 257,
    PREFIX = 345,
    PREFIX_SIZE = 155
};

static void put_octal(unsigned char *at, size_t size, uint64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%0*llo", (int)size - 1, (unsigned long long)value);
    memcpy(at, text, size);
}

/* Eleven octal digits end at 8 GiB; beyond, GNU tar sets the first bit and writes binary. */
static void put_size(unsigned char *at, uint64_t bytes)
{
    if (bytes < (uint64_t)1 << 33) {
        put_octal(at, SIZE_SIZE, bytes);
        return;
    }
    at[0] = 0x80;
    for (size_t i = 1; i < SIZE_SIZE; i++)
        at[i] = (unsigned char)(i < 4 ? 0 : bytes >> (8 * (SIZE_SIZE - 1 - i)));
}

/* The sum counts its own field as blanks. */
static uint64_t sum_of(const unsigned char *block)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < TAR_BLOCK; i++) sum += i >= SUM && i < SUM + SUM_SIZE ? ' ' : block[i];
    return sum;
}

/* A long name is cut at a slash: what lies before it goes into a field of its own. */
static int put_name(unsigned char *out, const char *name, struct err *e)
{
    const size_t n = strlen(name);
    const char *slash = n > NAME_SIZE ? strchr(name + n - NAME_SIZE - 1, '/') : NULL;
    if (n <= NAME_SIZE) {
        memcpy(out + NAME, name, n);
        return 0;
    }
    if (slash == NULL || slash[1] == '\0' || slash - name > PREFIX_SIZE)
        return err_set(e, ERR_INVALID, "the name %.150s does not fit into a tar archive", name);
    memcpy(out + PREFIX, name, (size_t)(slash - name));
    memcpy(out + NAME, slash + 1, strlen(slash + 1));
    return 0;
}

int tar_header(unsigned char out[TAR_BLOCK], const char *name, uint64_t bytes, int64_t mtime_s,
               struct err *e)
{
    memset(out, 0, TAR_BLOCK);
    if (put_name(out, name, e) != 0) return (int)e->code;
    put_octal(out + MODE, 8, 0600);
    put_octal(out + UID, 8, 0);
    put_octal(out + GID, 8, 0);
    put_size(out + SIZE, bytes);
    put_octal(out + MTIME, 12, mtime_s > 0 ? (uint64_t)mtime_s : 0);
    out[TYPE] = '0';
    memcpy(out + MAGIC, "ustar\00000", 8);
    put_octal(out + SUM, 7, sum_of(out));
    out[SUM + 7] = ' ';
    return 0;
}

static bool read_octal(const unsigned char *at, size_t size, uint64_t *out)
{
    char text[32] = "", *end;
    memcpy(text, at, size);
    *out = strtoull(text, &end, 8);
    return end != text && (*end == '\0' || *end == ' ');
}

static bool read_size(const unsigned char *at, uint64_t *out)
{
    if ((at[0] & 0x80) == 0) return read_octal(at, SIZE_SIZE, out);
    *out = 0;
    for (size_t i = 4; i < SIZE_SIZE; i++) *out = *out << 8 | at[i];
    return at[0] == 0x80 && at[1] == 0 && at[2] == 0 && at[3] == 0 && *out >> 62 == 0;
}

int tar_parse(const unsigned char block[TAR_BLOCK], struct tar_entry *out, struct err *e)
{
    static const unsigned char zeros[TAR_BLOCK];
    uint64_t sum;
    if (memcmp(block, zeros, TAR_BLOCK) == 0) return 0;
    if (!read_octal(block + SUM, SUM_SIZE, &sum) || sum != sum_of(block) ||
        memcmp(block + MAGIC, "ustar", 5) != 0 || block[TYPE] != '0' ||
        !read_size(block + SIZE, &out->bytes)) {
        (void)err_set(e, ERR_DATA, "the archive is damaged, or none of ours");
        return -1;
    }
    (void)snprintf(out->name, sizeof out->name, "%.*s%s%.*s", PREFIX_SIZE,
                   (const char *)block + PREFIX, block[PREFIX] != 0 ? "/" : "", NAME_SIZE,
                   (const char *)block + NAME);
    return 1;
}
