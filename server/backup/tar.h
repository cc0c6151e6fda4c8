/* tar: headers of POSIX tar archives (ustar; sizes from 8 GiB on as GNU tar writes them), as far as
 * backups and downloads need them: regular files. Pure; any thread. */
#ifndef SERVER_TAR_H
#define SERVER_TAR_H

#include "common/err.h"

#include <stdint.h>

#define TAR_BLOCK 512
#define TAR_NAME_MAX 256
#define TAR_END_BLOCKS 2 /* of zeros, behind the last file */

/* Errors: ERR_INVALID (the name does not fit). */
int tar_header(unsigned char out[TAR_BLOCK], const char *name, uint64_t bytes, int64_t mtime_s,
               struct err *e);
/* Zeros behind so many bytes of a file. */
static inline size_t tar_padding(uint64_t bytes) { return (size_t)(-bytes & (TAR_BLOCK - 1)); }

struct tar_entry {
    char name[TAR_NAME_MAX + 2];
    uint64_t bytes;
};
/* 1: a file begins. 0: the end of the archive. -1: neither, see e (ERR_DATA). */
int tar_parse(const unsigned char block[TAR_BLOCK], struct tar_entry *out, struct err *e);

#endif
