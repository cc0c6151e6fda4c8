/* safetensors: files of named tensors: weights, checkpoints, golden vectors. Used by train/,
 * export/ and check-golden on one thread; reading and writing allocate.
 *
 * Format: 8 bytes little-endian header length; that many bytes of JSON, padded with spaces to a
 * multiple of 8; then the data of all tensors without holes, little-endian, row-major. */
#ifndef WORKER_SAFETENSORS_H
#define WORKER_SAFETENSORS_H

#include "common/err.h"

#include <stddef.h>
#include <stdint.h>

#define SAFETENSORS_DIMS_MAX 8
#define SAFETENSORS_NAME_MAX 256
#define SAFETENSORS_HEADER_MAX ((size_t)64 << 20)

enum safetensors_type { SAFETENSORS_F32, SAFETENSORS_F64, SAFETENSORS_I64, SAFETENSORS_U8 };

struct safetensors_entry {
    char name[SAFETENSORS_NAME_MAX];
    enum safetensors_type type;
    size_t dims[SAFETENSORS_DIMS_MAX], n_dims; /* n_dims 0 = scalar */
    size_t elements;                           /* product of dims */
    const void *data; /* reader: inside the file's memory; writer: the caller's */
};
struct safetensors_meta {
    char *key, *value;
};
struct safetensors {
    struct safetensors_entry *entries; /* sorted by place in the file */
    size_t count;
    struct safetensors_meta *meta; /* __metadata__ */
    size_t n_meta;
    unsigned char *file; /* the whole file */
    size_t bytes, data_begin;
};

/* Reads and checks a whole file: header, types, offsets without holes or overlap, and the digest of
 * the data when the metadata has one. Errors: ERR_IO, ERR_NOMEM, ERR_DATA naming file and fault. */
int safetensors_read(const char *path, struct safetensors *out, struct err *e);
/* The same for a file already in memory (mem_alloc), which *out owns afterwards; on an error it is
 * freed. `name` is for messages. */
int safetensors_parse(const char *name, unsigned char *file, size_t bytes, struct safetensors *out,
                      struct err *e);
void safetensors_deinit(struct safetensors *s); /* safe on a zeroed object and when repeated */
/* NULL when there is none. */
const struct safetensors_entry *safetensors_find(const struct safetensors *s, const char *name);
const char *safetensors_meta_find(const struct safetensors *s, const char *key);

/* Writes entries in the given order, with the metadata and "data_sha256", to path: under a
 * temporary name beside it, fsynced, then renamed, then the folder fsynced. Errors: ERR_IO,
 * ERR_NOMEM. */
int safetensors_write(const char *path, const struct safetensors_entry *entries, size_t count,
                      const struct safetensors_meta *meta, size_t n_meta, struct err *e);
size_t safetensors_element_bytes(enum safetensors_type type);

#endif
