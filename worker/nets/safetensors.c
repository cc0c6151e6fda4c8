/* safetensors: see safetensors.h. The reader takes nothing from a file on trust. */
#include "worker/nets/safetensors.h"

#include "common/crash.h"
#include "common/digest.h"
#include "common/json.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define META_KEY "__metadata__"
#define DIGEST_KEY "data_sha256"

static const struct {
    const char *name;
    size_t bytes;
} types[] = {
    [SAFETENSORS_F32] = { "F32", 4 },
    [SAFETENSORS_F64] = { "F64", 8 },
    [SAFETENSORS_I64] = { "I64", 8 },
    [SAFETENSORS_U8] = { "U8", 1 },
};

size_t safetensors_element_bytes(enum safetensors_type type) { return types[type].bytes; }

static size_t entry_bytes(const struct safetensors_entry *t)
{
    return t->elements * types[t->type].bytes;
}

/* ---- reading --------------------------------------------------------------------------------- */
static int read_whole(const char *path, unsigned char **out, size_t *bytes, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_errno(e, errno, "%s", path);
    struct stat st;
    unsigned char *data = NULL;
    if (fstat(fd, &st) != 0) {
        err_errno(e, errno, "%s", path);
        goto fail;
    }
    const size_t size = (size_t)st.st_size;
    data = mem_alloc(size + 1);
    if (data == NULL) {
        err_set(e, ERR_NOMEM, "%s: %zu bytes", path, size);
        goto fail;
    }
    for (size_t at = 0; at < size;) {
        ssize_t got = read(fd, data + at, size - at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            err_errno(e, got < 0 ? errno : EIO, "%s at byte %zu", path, at);
            goto fail;
        }
        at += (size_t)got;
    }
    close(fd);
    *out = data;
    *bytes = size;
    return 0;
fail:
    mem_free(data);
    close(fd);
    return (int)e->code;
}

static int parse_type(const char *name, enum safetensors_type *out)
{
    for (size_t i = 0; name != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(name, types[i].name) == 0) {
            *out = (enum safetensors_type)i;
            return 0;
        }
    return -1;
}

/* A JSON number as a size; -1 when it is not one. */
static int parse_size(const cJSON *v, size_t *out)
{
    if (!cJSON_IsNumber(v) || v->valuedouble < 0.0 || v->valuedouble > 0x1p53 ||
        v->valuedouble != (double)(uint64_t)v->valuedouble)
        return -1;
    *out = (size_t)v->valuedouble;
    return 0;
}

static int parse_shape(const cJSON *shape, struct safetensors_entry *t)
{
    if (!cJSON_IsArray(shape)) return -1;
    t->elements = 1;
    const cJSON *dim;
    cJSON_ArrayForEach(dim, shape)
    {
        if (t->n_dims == SAFETENSORS_DIMS_MAX || parse_size(dim, &t->dims[t->n_dims]) != 0 ||
            !mem_mul(t->elements, t->dims[t->n_dims], &t->elements))
            return -1;
        t->n_dims++;
    }
    return 0;
}

static int parse_entry(const struct safetensors *s, const cJSON *v, struct safetensors_entry *t,
                       struct err *e)
{
    size_t begin, end, bytes;
    const cJSON *offsets = json_get(v, "data_offsets");
    if (strlen(v->string) >= sizeof t->name)
        return err_set(e, ERR_DATA, "a tensor name of %zu bytes", strlen(v->string));
    (void)snprintf(t->name, sizeof t->name, "%s", v->string);
    if (parse_type(json_get_string(v, "dtype", NULL), &t->type) != 0)
        return err_set(e, ERR_DATA, "tensor %s: unknown dtype", t->name);
    if (parse_shape(json_get(v, "shape"), t) != 0 ||
        !mem_mul(t->elements, types[t->type].bytes, &bytes))
        return err_set(e, ERR_DATA, "tensor %s: bad shape", t->name);
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        parse_size(cJSON_GetArrayItem(offsets, 0), &begin) != 0 ||
        parse_size(cJSON_GetArrayItem(offsets, 1), &end) != 0 || begin > end ||
        end - begin != bytes || end > s->bytes - s->data_begin)
        return err_set(e, ERR_DATA, "tensor %s: its offsets do not fit its shape and the file",
                       t->name);
    if (begin % types[t->type].bytes != 0)
        return err_set(e, ERR_DATA, "tensor %s: it begins at an odd byte", t->name);
    t->data = s->file + s->data_begin + begin;
    return 0;
}

static int parse_meta(struct safetensors *s, const cJSON *object, struct err *e)
{
    if (!cJSON_IsObject(object)) return err_set(e, ERR_DATA, META_KEY " is not an object");
    s->meta = mem_calloc((size_t)cJSON_GetArraySize(object) + 1, sizeof s->meta[0]);
    if (s->meta == NULL) return err_set(e, ERR_NOMEM, "metadata");
    const cJSON *v;
    cJSON_ArrayForEach(v, object)
    {
        if (!cJSON_IsString(v)) return err_set(e, ERR_DATA, "metadata %s: no string", v->string);
        struct safetensors_meta *m = &s->meta[s->n_meta++];
        m->key = mem_strdup(v->string);
        m->value = mem_strdup(v->valuestring);
        if (m->key == NULL || m->value == NULL) return err_set(e, ERR_NOMEM, "metadata");
    }
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct safetensors_entry *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (x->elements > y->elements) - (x->elements < y->elements); /* empty ones first */
}

/* The data section is exactly the tensors, one after the other. */
static int check_holes(const struct safetensors *s, struct err *e)
{
    const unsigned char *at = s->file + s->data_begin;
    for (size_t i = 0; i < s->count; i++) {
        if ((const unsigned char *)s->entries[i].data != at)
            return err_set(e, ERR_DATA, "tensor %s: hole or overlap before it", s->entries[i].name);
        at += entry_bytes(&s->entries[i]);
    }
    if (at != s->file + s->bytes)
        return err_set(e, ERR_DATA, "%zu bytes after the last tensor",
                       (size_t)(s->file + s->bytes - at));
    return 0;
}

static int check_digest(const struct safetensors *s, struct err *e)
{
    const char *want = safetensors_meta_find(s, DIGEST_KEY);
    if (want == NULL) return 0;
    uint8_t digest[DIGEST_BYTES];
    char got[DIGEST_HEX_MAX];
    digest_bytes(s->file + s->data_begin, s->bytes - s->data_begin, digest);
    digest_hex(digest, got);
    return strcmp(got, want) == 0 ? 0 : err_set(e, ERR_DATA, "the data does not match its digest");
}

static int parse_header(struct safetensors *s, const cJSON *header, struct err *e)
{
    if (!cJSON_IsObject(header)) return err_set(e, ERR_DATA, "the header is not an object");
    s->entries = mem_calloc((size_t)cJSON_GetArraySize(header) + 1, sizeof s->entries[0]);
    if (s->entries == NULL) return err_set(e, ERR_NOMEM, "header");
    const cJSON *v;
    cJSON_ArrayForEach(v, header)
    {
        int rc = strcmp(v->string, META_KEY) == 0 ? parse_meta(s, v, e)
                                                  : parse_entry(s, v, &s->entries[s->count++], e);
        if (rc != 0) return rc;
    }
    qsort(s->entries, s->count, sizeof s->entries[0], by_place);
    if (check_holes(s, e) != 0) return (int)e->code;
    return check_digest(s, e);
}

/* A header that is not padded to 8 bytes leaves the data unaligned: it moves over the header's end,
 * which is parsed by then. */
static void align_data(struct safetensors *s)
{
    const size_t aligned = s->data_begin & ~(size_t)7, data = s->bytes - s->data_begin;
    memmove(s->file + aligned, s->file + s->data_begin, data);
    s->data_begin = aligned;
    s->bytes = aligned + data;
}

static int parse_file(struct safetensors *s, struct err *e)
{
    uint64_t length = 0;
    if (s->bytes < 8) return err_set(e, ERR_DATA, "only %zu bytes", s->bytes);
    for (int i = 7; i >= 0; i--) length = length << 8 | s->file[i];
    if (length > SAFETENSORS_HEADER_MAX || length > s->bytes - 8)
        return err_set(e, ERR_DATA, "a header of %llu bytes in a file of %zu",
                       (unsigned long long)length, s->bytes);
    s->data_begin = 8 + (size_t)length;
    cJSON *header = NULL;
    if (json_parse((const char *)s->file + 8, (size_t)length, &header, e) != 0) {
        if (e->code == ERR_SYNTAX) e->code = ERR_DATA;
        return err_wrap(e, "header");
    }
    align_data(s);
    int rc = parse_header(s, header, e);
    cJSON_Delete(header);
    return rc;
}

int safetensors_parse(const char *name, unsigned char *file, size_t bytes, struct safetensors *out,
                      struct err *e)
{
    struct safetensors s = { .file = file, .bytes = bytes };
    if (parse_file(&s, e) != 0) {
        safetensors_deinit(&s);
        return err_wrap(e, "%s", name);
    }
    *out = s;
    return 0;
}

int safetensors_read(const char *path, struct safetensors *out, struct err *e)
{
    unsigned char *file = NULL;
    size_t bytes = 0;
    if (read_whole(path, &file, &bytes, e) != 0) return (int)e->code;
    return safetensors_parse(path, file, bytes, out, e);
}

void safetensors_deinit(struct safetensors *s)
{
    for (size_t i = 0; i < s->n_meta; i++) {
        mem_free(s->meta[i].key);
        mem_free(s->meta[i].value);
    }
    mem_free(s->meta);
    mem_free(s->entries);
    mem_free(s->file);
    *s = (struct safetensors){ 0 };
}

const struct safetensors_entry *safetensors_find(const struct safetensors *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->entries[i].name, name) == 0) return &s->entries[i];
    return NULL;
}

const char *safetensors_meta_find(const struct safetensors *s, const char *key)
{
    for (size_t i = 0; i < s->n_meta; i++)
        if (strcmp(s->meta[i].key, key) == 0) return s->meta[i].value;
    return NULL;
}

/* ---- writing --------------------------------------------------------------------------------- */
static void data_digest(const struct safetensors_entry *entries, size_t count,
                        char out[DIGEST_HEX_MAX])
{
    crypto_hash_sha256_state state;
    uint8_t digest[DIGEST_BYTES];
    crypto_hash_sha256_init(&state);
    for (size_t i = 0; i < count; i++)
        crypto_hash_sha256_update(&state, entries[i].data, entry_bytes(&entries[i]));
    crypto_hash_sha256_final(&state, digest);
    digest_hex(digest, out);
}

static bool add_entry(cJSON *header, const struct safetensors_entry *t, size_t *offset)
{
    cJSON *v = cJSON_AddObjectToObject(header, t->name);
    cJSON *shape, *offsets;
    if (v == NULL || cJSON_AddStringToObject(v, "dtype", types[t->type].name) == NULL ||
        (shape = cJSON_AddArrayToObject(v, "shape")) == NULL ||
        (offsets = cJSON_AddArrayToObject(v, "data_offsets")) == NULL)
        return false;
    for (size_t d = 0; d < t->n_dims; d++)
        if (!cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->dims[d]))) return false;
    bool ok = cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)*offset));
    *offset += entry_bytes(t);
    return ok && cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)*offset));
}

/* The JSON, NUL-terminated; NULL when out of memory. */
static char *make_header(const struct safetensors_entry *entries, size_t count,
                         const struct safetensors_meta *meta, size_t n_meta)
{
    char digest[DIGEST_HEX_MAX];
    data_digest(entries, count, digest);
    cJSON *header = cJSON_CreateObject();
    cJSON *m = header == NULL ? NULL : cJSON_AddObjectToObject(header, META_KEY);
    bool ok = m != NULL && cJSON_AddStringToObject(m, DIGEST_KEY, digest) != NULL;
    for (size_t i = 0; ok && i < n_meta; i++)
        ok = cJSON_AddStringToObject(m, meta[i].key, meta[i].value) != NULL;
    size_t offset = 0;
    for (size_t i = 0; ok && i < count; i++) ok = add_entry(header, &entries[i], &offset);
    size_t length;
    char *text = ok ? json_print(header, &length) : NULL;
    cJSON_Delete(header);
    return text;
}

static int write_all(FILE *f, const char *header, const struct safetensors_entry *entries,
                     size_t count)
{
    const size_t length = mem_align(strlen(header), 8);
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++) prefix[i] = (unsigned char)((uint64_t)length >> (8 * i));
    if (fwrite(prefix, 1, 8, f) != 8 || fputs(header, f) == EOF) return -1;
    for (size_t i = strlen(header); i < length; i++)
        if (fputc(' ', f) == EOF) return -1;
    for (size_t i = 0; i < count; i++) {
        const size_t bytes = entry_bytes(&entries[i]);
        if (bytes > 0 && fwrite(entries[i].data, 1, bytes, f) != bytes) return -1;
    }
    return fflush(f) != 0 || fsync(fileno(f)) != 0 ? -1 : 0;
}

/* Makes a rename durable. */
static int sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? mem_strdup(".") : mem_strndup(path, (size_t)(slash - path) + 1);
    if (folder == NULL) return -1;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mem_free(folder);
    if (fd < 0) return -1;
    int rc = fsync(fd);
    close(fd);
    return rc;
}

int safetensors_write(const char *path, const struct safetensors_entry *entries, size_t count,
                      const struct safetensors_meta *meta, size_t n_meta, struct err *e)
{
    char *header = make_header(entries, count, meta, n_meta);
    char *temporary = mem_printf("%s.part", path);
    int rc = 0;
    if (header == NULL || temporary == NULL) {
        rc = err_set(e, ERR_NOMEM, "header of %s", path);
        goto done;
    }
    FILE *f = fopen(temporary, "wbe");
    if (f == NULL) {
        rc = err_errno(e, errno, "%s", temporary);
        goto done;
    }
    int failed = write_all(f, header, entries, count) != 0 ? errno : 0;
    if (fclose(f) != 0 && failed == 0) failed = errno;
    crash_point(CRASH_CHECKPOINT_BEFORE_RENAME);
    if (failed == 0 && (rename(temporary, path) != 0 || sync_folder(path) != 0)) failed = errno;
    if (failed != 0) {
        (void)unlink(temporary);
        rc = err_errno(e, failed, "%s", path);
    }
done:
    mem_free(header);
    mem_free(temporary);
    return rc;
}
