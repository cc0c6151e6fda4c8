/* safetensors: what is written is read back; a file is taken on trust in nothing. */
#include "common/mem.h"
#include "worker/nets/safetensors.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const float weights[6] = { 1.0f, -2.5f, 3.0f, 4.0f, 0.0f, 1e-30f };
static const int64_t tracked = 42;

static size_t make_entries(struct safetensors_entry e[3])
{
    memset(e, 0, 3 * sizeof e[0]);
    e[0] = (struct safetensors_entry){ .name = "0.weight",
                                       .type = SAFETENSORS_F32,
                                       .dims = { 2, 3 },
                                       .n_dims = 2,
                                       .elements = 6,
                                       .data = weights };
    e[1] = (struct safetensors_entry){ .name = "1.num_batches_tracked", .type = SAFETENSORS_I64,
                                       .elements = 1, .data = &tracked };
    e[2] = (struct safetensors_entry){ .name = "empty", .type = SAFETENSORS_U8, .dims = { 0 },
                                       .n_dims = 1, .elements = 0, .data = weights };
    return 3;
}

static void temporary(char path[64])
{
    snprintf(path, 64, "/tmp/spiked-safetensors-%d", (int)getpid());
}

/* Goal: names, types, shapes, values and metadata survive a round trip; nothing else is left. */
Test(safetensors, round_trip)
{
    struct safetensors_entry e[3];
    char path[64], part[80];
    struct err err = { 0 };
    struct safetensors s;
    struct safetensors_meta meta[] = { { (char *)"step", (char *)"7 \"quoted\"" } };
    temporary(path);
    cr_assert_eq(safetensors_write(path, e, make_entries(e), meta, 1, &err), 0, "%s", err.text);
    snprintf(part, sizeof part, "%s.part", path);
    cr_assert_neq(access(part, F_OK), 0);
    cr_assert_eq(safetensors_read(path, &s, &err), 0, "%s", err.text);
    cr_assert_eq(s.count, 3);
    cr_assert_str_eq(safetensors_meta_find(&s, "step"), "7 \"quoted\"");
    cr_assert_not_null(safetensors_meta_find(&s, "data_sha256"));
    const struct safetensors_entry *w = safetensors_find(&s, "0.weight");
    cr_assert(w != NULL && w->n_dims == 2 && w->dims[1] == 3 && w->elements == 6);
    cr_assert_eq(memcmp(w->data, weights, sizeof weights), 0);
    const struct safetensors_entry *n = safetensors_find(&s, "1.num_batches_tracked");
    cr_assert(n != NULL && n->n_dims == 0 && memcmp(n->data, &tracked, 8) == 0);
    cr_assert_null(safetensors_find(&s, "nothing"));
    safetensors_deinit(&s);
    safetensors_deinit(&s);
    unlink(path);
}

static int parse(const char *header, size_t data_bytes, struct err *e)
{
    const size_t length = strlen(header);
    unsigned char *file = mem_alloc(8 + length + data_bytes);
    memset(file, 0, 8 + length + data_bytes);
    for (int i = 0; i < 8; i++) file[i] = (unsigned char)(length >> (8 * i));
    memcpy(file + 8, header, length);
    struct safetensors s = { 0 };
    int rc = safetensors_parse("file", file, 8 + length + data_bytes, &s, e);
    safetensors_deinit(&s);
    return rc;
}

/* Goal: every fault of a header is ERR_DATA with the tensor's name or the reason. */
Test(safetensors, faulty_headers_are_refused)
{
    static const struct {
        const char *header;
        size_t bytes;
        const char *text; /* NULL: fine */
    } cases[] = {
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, NULL },
        { "{}", 0, NULL },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, "after the last" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, "offsets" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "offsets" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "offsets" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, "hole" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
          4, "overlap" },
        { "{\"a\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,8]}}", 8, "shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4],\"data_offsets\":[0,8]}}",
          8, "shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
          "shape" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]}}",
          5, "odd byte" },
        { "{\"a\":7}", 0, "dtype" },
        { "[]", 0, "object" },
        { "{\"a\":", 0, "header" },
        { "{\"__metadata__\":{\"x\":1}}", 0, "metadata" },
        { "{\"__metadata__\":{\"data_sha256\":\"00\"}}", 0, "digest" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e = { 0 };
        const int rc = parse(cases[i].header, cases[i].bytes, &e);
        if (cases[i].text == NULL) {
            cr_assert_eq(rc, 0, "%s: %s", cases[i].header, e.text);
            continue;
        }
        cr_assert_eq(rc, (int)ERR_DATA, "%s: %s", cases[i].header, e.text);
        cr_assert_not_null(strstr(e.text, cases[i].text), "%s: %s", cases[i].header, e.text);
    }
}

/* Goal: a header length beyond the file, and files too short for one, are refused. */
Test(safetensors, truncated_files_are_refused)
{
    struct err e = { 0 };
    for (size_t bytes = 0; bytes < 12; bytes++) {
        unsigned char *file = mem_alloc(16);
        memset(file, 0xff, 16);
        struct safetensors s = { 0 };
        cr_assert_eq(safetensors_parse("file", file, bytes, &s, &e), (int)ERR_DATA);
    }
    struct safetensors s = { 0 };
    cr_assert_eq(safetensors_read("/nonexistent/file", &s, &e), (int)ERR_IO);
}

/* Goal: one changed byte of the data is noticed by the digest. */
Test(safetensors, damaged_data_is_noticed)
{
    struct safetensors_entry entries[3];
    char path[64];
    struct err e = { 0 };
    struct safetensors s = { 0 };
    temporary(path);
    cr_assert_eq(safetensors_write(path, entries, make_entries(entries), NULL, 0, &e), 0);
    FILE *f = fopen(path, "r+b");
    fseek(f, -9, SEEK_END);
    fputc(1, f);
    fclose(f);
    cr_assert_eq(safetensors_read(path, &s, &e), (int)ERR_DATA);
    cr_assert_not_null(strstr(e.text, "digest"), "%s", e.text);
    unlink(path);
}

/* Goal: a folder that does not exist is ERR_IO and leaves nothing behind. */
Test(safetensors, write_errors_are_reported)
{
    struct safetensors_entry entries[3];
    struct err e = { 0 };
    cr_assert_eq(safetensors_write("/nonexistent/x", entries, make_entries(entries), NULL, 0, &e),
                 (int)ERR_IO);
}
