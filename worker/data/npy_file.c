/* npy_file: see npy_file.h. Layout: numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
#include "worker/data/npy_file.h"

#include "common/mem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WORD_MAX 24
#define HEAD_BYTES 128 /* of a written file: a multiple of 64, as the format asks for */

static const struct {
    const char *name;
    size_t bytes;
} types[] = {
    [NPY_U8] = { "|u1", 1 },  [NPY_I32] = { "<i4", 4 }, [NPY_I64] = { "<i8", 8 },
    [NPY_F32] = { "<f4", 4 }, [NPY_F64] = { "<f8", 8 },
};

/* The header's text while it is read. */
struct cursor {
    const uint8_t *bytes;
    size_t at, end;
};

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->end && (c->bytes[c->at] == ' ' || c->bytes[c->at] == '\n')) c->at++;
}

/* Skips blanks and one character, if it is there. */
static bool take(struct cursor *c, char what)
{
    skip_blanks(c);
    if (c->at == c->end || c->bytes[c->at] != (uint8_t)what) return false;
    c->at++;
    return true;
}

/* 'word' or "word". */
static bool take_text(struct cursor *c, char out[WORD_MAX])
{
    char quote = '\'';
    if (!take(c, quote)) {
        quote = '"';
        if (!take(c, quote)) return false;
    }
    size_t n = 0;
    while (c->at < c->end && c->bytes[c->at] != (uint8_t)quote && n + 1 < WORD_MAX)
        out[n++] = (char)c->bytes[c->at++];
    out[n] = '\0';
    return take(c, quote);
}

static bool take_word(struct cursor *c, const char *word)
{
    const size_t n = strlen(word);
    skip_blanks(c);
    if (c->end - c->at < n || memcmp(c->bytes + c->at, word, n) != 0) return false;
    c->at += n;
    return true;
}

static bool take_number(struct cursor *c, size_t *out)
{
    skip_blanks(c);
    const size_t begin = c->at;
    *out = 0;
    for (; c->at < c->end && c->bytes[c->at] >= '0' && c->bytes[c->at] <= '9'; c->at++)
        if (!mem_mul(*out, 10, out) || !mem_add(*out, (size_t)(c->bytes[c->at] - '0'), out))
            return false;
    return c->at > begin;
}

/* (), (3,), (3, 4) */
static bool take_shape(struct cursor *c, struct npy_array *out)
{
    if (!take(c, '(')) return false;
    out->n_dims = 0;
    while (!take(c, ')')) {
        if (out->n_dims == NPY_DIMS_MAX || !take_number(c, &out->dims[out->n_dims++])) return false;
        if (!take(c, ',')) return take(c, ')') && out->n_dims > 1;
    }
    return true;
}

static int bad(const struct cursor *c, const char *what, struct err *e)
{
    return err_set(e, ERR_DATA, "byte %zu: %s", c->at, what);
}

static int read_type(struct cursor *c, struct npy_array *out, struct err *e)
{
    char name[WORD_MAX];
    if (!take_text(c, name)) return bad(c, "descr is no type of numbers", e);
    for (size_t k = 0; k < sizeof types / sizeof types[0]; k++)
        if (strcmp(types[k].name, name) == 0) {
            out->type = (enum npy_type)k;
            return 0;
        }
    return err_set(e, ERR_DATA, "byte %zu: type '%s', known are |u1, <i4, <i8, <f4 and <f8", c->at,
                   name);
}

static int read_entry(struct cursor *c, unsigned *seen, struct npy_array *out, struct err *e)
{
    char key[WORD_MAX];
    if (!take_text(c, key) || !take(c, ':')) return bad(c, "no entry of a header", e);
    unsigned which = 0;
    if (strcmp(key, "descr") == 0) {
        which = 1;
        if (read_type(c, out, e) != 0) return (int)e->code;
    } else if (strcmp(key, "fortran_order") == 0) {
        which = 2;
        if (!take_word(c, "False")) return bad(c, "must be in C order (fortran_order False)", e);
    } else if (strcmp(key, "shape") == 0) {
        which = 4;
        if (!take_shape(c, out)) return bad(c, "no shape", e);
    }
    if (which == 0 || (*seen & which) != 0) return bad(c, "an entry that is not known", e);
    *seen |= which;
    return 0;
}

static int read_header(struct cursor *c, struct npy_array *out, struct err *e)
{
    unsigned seen = 0;
    if (!take(c, '{')) return bad(c, "the header is no dictionary", e);
    while (!take(c, '}')) {
        if (read_entry(c, &seen, out, e) != 0) return (int)e->code;
        if (!take(c, ',') && (c->at == c->end || c->bytes[c->at] != '}'))
            return bad(c, "the header is cut off", e);
    }
    skip_blanks(c);
    if (seen != 7 || c->at != c->end) return bad(c, "descr, fortran_order or shape is missing", e);
    return 0;
}

int npy_parse(const uint8_t *bytes, size_t n, struct npy_array *out, struct err *e)
{
    struct npy_array a = { 0 };
    if (n < 12 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return err_set(e, ERR_DATA, "byte 0: is no .npy file");
    if (bytes[6] < 1 || bytes[6] > 3)
        return err_set(e, ERR_DATA, "byte 6: version %d, 1 to 3 are known", bytes[6]);
    const size_t begin = bytes[6] == 1 ? 10 : 12;
    size_t length = bytes[8] | (size_t)bytes[9] << 8;
    if (bytes[6] > 1) length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (length > n - begin) return err_set(e, ERR_DATA, "byte 8: the header is cut off");
    struct cursor c = { bytes, begin, begin + length };
    if (read_header(&c, &a, e) != 0) return (int)e->code;
    size_t size = types[a.type].bytes;
    a.count = 1;
    for (size_t i = 0; i < a.n_dims; i++)
        if (!mem_mul(a.count, a.dims[i], &a.count)) a.count = SIZE_MAX;
    if (!mem_mul(a.count, size, &size) || size != n - c.end)
        return err_set(e, ERR_DATA, "byte %zu: %zu bytes for %zu values of %zu bytes", c.end,
                       n - c.end, a.count, types[a.type].bytes);
    a.values = bytes + c.end;
    *out = a;
    return 0;
}

double npy_value(const struct npy_array *a, size_t i)
{
    const uint8_t *at = a->values + i * types[a->type].bytes;
    union {
        int32_t i32;
        int64_t i64;
        float f32;
        double f64;
    } v;
    memcpy(&v, at, types[a->type].bytes);
    switch (a->type) {
    case NPY_U8: return at[0];
    case NPY_I32: return v.i32;
    case NPY_I64: return (double)v.i64;
    case NPY_F32: return (double)v.f32;
    case NPY_F64: return v.f64;
    }
    return 0.0;
}

/* ---- writing --------------------------------------------------------------------------------- */
/* Magic, version 1, length of the text, the text filled up with blanks to the end of its line. */
static void make_head(char head[HEAD_BYTES], size_t rows, size_t columns)
{
    enum { MAGIC_BYTES = 10 };
    memset(head, ' ', HEAD_BYTES);
    memcpy(head, "\x93NUMPY\1\0\0", MAGIC_BYTES);
    head[8] = HEAD_BYTES - MAGIC_BYTES;
    const int n = snprintf(head + MAGIC_BYTES, HEAD_BYTES - MAGIC_BYTES,
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", rows,
                           columns);
    head[MAGIC_BYTES + n] = ' ';
    head[HEAD_BYTES - 1] = '\n';
}

/* 0, or errno. */
static int write_matrix(const char *path, const char *head, const float *values, size_t n)
{
    FILE *f = fopen(path, "wbe");
    if (f == NULL) return errno;
    int failed = 0;
    if (fwrite(head, 1, HEAD_BYTES, f) != HEAD_BYTES || fwrite(values, sizeof values[0], n, f) != n)
        failed = errno;
    if (fclose(f) != 0 && failed == 0) failed = errno;
    return failed;
}

int npy_write(const char *path, size_t rows, size_t columns, const float *values, struct err *e)
{
    char head[HEAD_BYTES];
    char *temporary = mem_printf("%s.part", path);
    if (temporary == NULL) return err_set(e, ERR_NOMEM, "%.150s", path);
    make_head(head, rows, columns);
    int failed = write_matrix(temporary, head, values, rows * columns);
    if (failed == 0 && rename(temporary, path) != 0) failed = errno;
    if (failed != 0) (void)unlink(temporary);
    mem_free(temporary);
    return failed == 0 ? 0 : err_errno(e, failed, "%.150s", path);
}
