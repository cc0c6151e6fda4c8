/* NumPy arrays: the format, and users' folders of images, features and sequences; faults name the
 * file and the byte. */
#include "worker/data/npy_file.h"
#include "tests/unit/data/data_fixture.h"
#include "tests/unit/data/folder_fixture.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <math.h>

struct file {
    uint8_t at[2048];
    size_t n;
};

/* Version 1 with this header and these bytes. */
static struct file npy(const char *header, const void *values, size_t bytes)
{
    struct file f = { .n = 10 + strlen(header) + bytes };
    memcpy(f.at, "\x93NUMPY\1\0", 8);
    f.at[8] = (uint8_t)strlen(header);
    memcpy(f.at + 10, header, strlen(header));
    if (bytes > 0) memcpy(f.at + 10 + strlen(header), values, bytes);
    return f;
}

#define HEAD(type, shape) "{'descr': '" type "', 'fortran_order': False, 'shape': " shape ", }   \n"

/* Goal: each type gives its values; order of entries, quotes and blanks do not matter. */
Test(npy_file, types_and_headers)
{
    static const int32_t i32[3] = { -7, 0, 2147483647 };
    static const int64_t i64[3] = { -7, 0, 1 };
    static const float f32[3] = { 0.5f, -2.25f, 1e30f };
    static const double f64[3] = { 0.1, -2.25, 1e300 };
    struct npy_array a;
    struct err e = { 0 };
    struct file f = npy(HEAD("<i4", "(3,)"), i32, sizeof i32);
    cr_assert_eq(npy_parse(f.at, f.n, &a, &e), 0, "%s", e.text);
    for (size_t i = 0; i < 3; i++) cr_assert_eq(npy_value(&a, i), (double)i32[i]);
    f = npy(HEAD("<i8", "(3,)"), i64, sizeof i64);
    cr_assert_eq(npy_parse(f.at, f.n, &a, &e), 0, "%s", e.text);
    for (size_t i = 0; i < 3; i++) cr_assert_eq(npy_value(&a, i), (double)i64[i]);
    f = npy(HEAD("<f4", "(1, 3)"), f32, sizeof f32);
    cr_assert_eq(npy_parse(f.at, f.n, &a, &e), 0, "%s", e.text);
    for (size_t i = 0; i < 3; i++) cr_assert_eq(npy_value(&a, i), (double)f32[i]);
    f = npy("{\"shape\":(3, 1 ,),'descr':'<f8',  'fortran_order':False}", f64, sizeof f64);
    cr_assert_eq(npy_parse(f.at, f.n, &a, &e), 0, "%s", e.text);
    cr_assert(a.n_dims == 2 && a.dims[0] == 3 && a.dims[1] == 1 && a.count == 3);
    for (size_t i = 0; i < 3; i++) cr_assert_eq(npy_value(&a, i), f64[i]);
    f = npy(HEAD("|u1", "()"), "\xff", 1);
    cr_assert_eq(npy_parse(f.at, f.n, &a, &e), 0, "%s", e.text);
    cr_assert(a.n_dims == 0 && a.count == 1 && npy_value(&a, 0) == 255);
}

/* Goal: what npy_write wrote is read as it was; a folder that is not there is named. */
Test(npy_file, written_matrices)
{
    static const float values[6] = { 0.5f, -2.25f, 1e30f, 0.0f, -0.0f, 3e-40f };
    char path[256];
    struct npy_array a;
    struct err e = { 0 };
    struct file f = { 0 };
    folder_make();
    (void)snprintf(path, sizeof path, "%s/m.npy", folder);
    cr_assert_eq(npy_write(path, 2, 3, values, &e), 0, "%s", e.text);
    FILE *in = fopen(path, "rb");
    cr_assert_not_null(in);
    f.n = fread(f.at, 1, sizeof f.at, in);
    cr_assert_eq(fclose(in), 0);
    cr_assert_eq(f.n, 128 + sizeof values);
    cr_assert_eq(npy_parse(f.at, f.n, &a, &e), 0, "%s", e.text);
    cr_assert(a.type == NPY_F32 && a.n_dims == 2 && a.dims[0] == 2 && a.dims[1] == 3);
    cr_assert_eq(memcmp(a.values, values, sizeof values), 0);
    (void)snprintf(path, sizeof path, "%s/none/m.npy", folder);
    cr_assert_eq(npy_write(path, 2, 3, values, &e), ERR_IO);
    cr_assert_not_null(strstr(e.text, "none/m.npy"));
    folder_remove();
}

/* Goal: what is no header of ours, or does not fit its bytes, is refused at its byte. */
Test(npy_file, faults_name_the_byte)
{
    static const struct {
        const char *header, *words;
        size_t bytes;
    } cases[] = {
        { HEAD("<i4", "(3,)"), "11 bytes for 3 values of 4 bytes", 11 },
        { HEAD("<i4", "(3,)"), "13 bytes for 3 values", 13 },
        { HEAD(">i4", "(3,)"), "byte 25: type '>i4'", 12 },
        { HEAD("|O", "(3,)"), "type '|O'", 12 },
        { HEAD("<i4", "(3)"), "no shape", 12 },
        { HEAD("<i4", "(-3,)"), "no shape", 12 },
        { HEAD("<i4", "(99999999999999999999,)"), "no shape", 12 },
        { HEAD("<i4", "(4294967296, 4294967296, 3)"), "values of 4 bytes", 12 },
        { "{'descr': '<i4', 'fortran_order': True, 'shape': (3,)}", "C order", 12 },
        { "{'descr': '<i4', 'fortran_order': False}", "is missing", 12 },
        { "{'descr': '<i4', 'descr': '<i4', 'fortran_order': False, 'shape': (3,)}", "not known",
          12 },
        { "{'descr': '<i4', 'more': 1}", "byte 34: an entry that is not known", 12 },
        { "['descr']", "no dictionary", 12 },
        { "{'descr': '<i4'", "cut off", 0 },
    };
    static const uint8_t zeros[16];
    struct npy_array a;
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct file f = npy(cases[i].header, zeros, cases[i].bytes);
        cr_expect_eq(npy_parse(f.at, f.n, &a, &e), ERR_DATA, "%s", cases[i].header);
        cr_expect_not_null(strstr(e.text, cases[i].words), "'%s' is not in: %s", cases[i].words,
                           e.text);
    }
    struct file f = npy(HEAD("<i4", "(3,)"), zeros, 12);
    f.at[6] = 4;
    cr_expect_eq(npy_parse(f.at, f.n, &a, &e), ERR_DATA);
    f.at[6] = 1;
    f.at[9] = 2;
    cr_expect_eq(npy_parse(f.at, f.n, &a, &e), ERR_DATA);
    cr_expect_not_null(strstr(e.text, "byte 8: the header is cut off"), "%s", e.text);
    cr_expect_eq(npy_parse(f.at, 5, &a, &e), ERR_DATA);
}

/* ---- folders --------------------------------------------------------------------------------- */
static void write_npy(const char *name, const char *header, const void *values, size_t bytes)
{
    const struct file f = npy(header, values, bytes);
    folder_write(name, f.at, f.n);
}

static const uint8_t pixels[12] = { 0, 51, 102, 153, 204, 255, 1, 2, 3, 4, 5, 6 };
static const float floats[8] = { 0.5f, 1, 2, 3, -4, 5, 6, 7 };
static const int64_t classes[3] = { 2, 0, 1 };

static void write_images(void)
{
    folder_make();
    write_npy("train-x.npy", HEAD("|u1", "(3, 2, 2)"), pixels, 12);
    write_npy("train-y.npy", HEAD("<i8", "(3,)"), classes, 24);
    write_npy("test-x.npy", HEAD("|u1", "(1, 2, 2)"), pixels + 1, 4);
    write_npy("test-y.npy", HEAD("<i8", "(1,)"), classes, 8);
}

/* Opened the way a spec does it: the folder is a name of the data directory. */
static int open_user(struct dataset **d, size_t time_steps, struct err *e)
{
    const struct spec_frames none = { 0 };
    return open_steps(d, strrchr(folder, '/') + 1, time_steps, none, "/tmp", e);
}

/* Goal: bytes are pixels over 255, floats are themselves, five dimensions have a time. */
Test(npy_arrays, images_features_and_sequences)
{
    struct dataset *d;
    struct err e = { 0 };
    float x[4];
    write_images();
    cr_assert_eq(open_user(&d, 4, &e), 0, "%s", e.text);
    cr_assert(d->count[DATASET_TRAIN] == 3 && d->count[DATASET_TEST] == 1 && d->classes == 3);
    cr_assert(d->kind == SPEC_DATA_IMAGES && d->t == 1 && d->c == 1 && d->h == 2 && d->w == 2);
    d->ops->read(d, DATASET_TRAIN, 1, x);
    for (int i = 0; i < 4; i++) cr_assert_eq(x[i], (float)pixels[4 + i] / 255.0f);
    cr_assert_eq(d->ops->label(d, DATASET_TRAIN, 0), 2);
    dataset_close(d);
    write_npy("train-x.npy", HEAD("<f4", "(2, 2, 1, 2, 1)"), floats, 32);
    write_npy("train-y.npy", HEAD("<i8", "(2,)"), classes, 16);
    write_npy("test-x.npy", HEAD("<f4", "(1, 2, 1, 2, 1)"), floats, 16);
    cr_assert_eq(open_user(&d, 2, &e), 0, "%s", e.text);
    cr_assert(d->kind == SPEC_DATA_SEQUENCES && d->t == 2 && d->c == 1 && d->h == 2 && d->w == 1);
    d->ops->read(d, DATASET_TRAIN, 1, x);
    cr_assert_arr_eq(x, floats + 4, 4 * sizeof x[0]);
    dataset_close(d);
    cr_assert_eq(open_user(&d, 3, &e), ERR_SPEC);
    cr_assert_not_null(strstr(e.text, "/time_steps: 3, but train-x.npy has 2"), "%s", e.text);
    write_npy("train-x.npy", HEAD("<f4", "(2, 4)"), floats, 32);
    write_npy("test-x.npy", HEAD("<f4", "(1, 4)"), floats, 16);
    cr_assert_eq(open_user(&d, 4, &e), 0, "%s", e.text);
    cr_assert(d->t == 1 && d->c == 4 && d->h == 1 && d->w == 1);
    dataset_close(d);
    folder_remove();
}

/* Goal: samples of a sequence may end early, as two more arrays say; the digest knows, and other
 * data keep theirs. */
Test(npy_arrays, sequences_have_lengths)
{
    static const uint8_t first[2] = { 2, 1 }, other[2] = { 1, 1 };
    static const int64_t last[1] = { 2 };
    struct dataset *d;
    struct err e = { 0 };
    uint8_t digests[3][DIGEST_BYTES];
    write_images();
    write_npy("train-x.npy", HEAD("<f4", "(2, 2, 1, 2, 1)"), floats, 32);
    write_npy("train-y.npy", HEAD("<i8", "(2,)"), classes, 16);
    write_npy("test-x.npy", HEAD("<f4", "(1, 2, 1, 2, 1)"), floats, 16);
    for (int k = 0; k < 3; k++) {
        if (k > 0) write_npy("train-lengths.npy", HEAD("|u1", "(2,)"), k == 1 ? first : other, 2);
        if (k > 0) write_npy("test-lengths.npy", HEAD("<i8", "(1,)"), last, 8);
        cr_assert_eq(open_user(&d, 2, &e), 0, "%s", e.text);
        memcpy(digests[k], d->digest, DIGEST_BYTES);
        cr_assert_eq(d->own_lengths, k > 0);
        if (k == 1)
            cr_assert(d->ops->length(d, DATASET_TRAIN, 0) == 2 &&
                      d->ops->length(d, DATASET_TRAIN, 1) == 1 &&
                      d->ops->length(d, DATASET_TEST, 0) == 2);
        dataset_close(d);
    }
    cr_assert(memcmp(digests[0], digests[1], DIGEST_BYTES) != 0 &&
              memcmp(digests[1], digests[2], DIGEST_BYTES) != 0);
    write_npy("test-lengths.npy", HEAD("|u1", "(2,)"), first, 2);
    cr_assert_eq(open_user(&d, 2, &e), ERR_DATA);
    cr_assert_not_null(strstr(e.text, "test-lengths.npy: is not one length"), "%s", e.text);
    write_npy("test-lengths.npy", HEAD("<i8", "(1,)"), classes + 1, 8);
    cr_assert_eq(open_user(&d, 2, &e), ERR_DATA);
    cr_assert_not_null(strstr(e.text, "length 0 of sample 0 is none of 1 to 2"), "%s", e.text);
    folder_remove();
}

static void expect_fault(const char *name, const char *header, const void *values, size_t bytes,
                         const char *words)
{
    struct dataset *d = NULL;
    struct err e = { 0 };
    write_images();
    write_npy(name, header, values, bytes);
    cr_expect_eq(open_user(&d, 4, &e), ERR_DATA, "%s", words);
    cr_expect_not_null(strstr(e.text, words), "'%s' is not in: %s", words, e.text);
    folder_remove();
}

/* Goal: arrays that do not belong together are refused by name. */
Test(npy_arrays, faults_name_the_array)
{
    static const int64_t wrong[3] = { 2, -1, 3 };
    static const float nan[3] = { 1, 2, (float)NAN };
    expect_fault("test-x.npy", HEAD("|u1", "(1, 2, 3)"), pixels, 6, "test-x.npy: has another type");
    expect_fault("test-x.npy", HEAD("<f4", "(1, 2, 2)"), floats, 16, "test-x.npy: has another");
    expect_fault("train-y.npy", HEAD("<i8", "(2,)"), classes, 16, "train-y.npy: is not one class");
    expect_fault("train-y.npy", HEAD("<i8", "(3,)"), wrong, 24, "train-y.npy: class -1 of");
    expect_fault("test-y.npy", HEAD("<i8", "(1,)"), wrong + 2, 8, "test-y.npy: class 3 of");
    expect_fault("train-x.npy", HEAD("|u1", "(12,)"), pixels, 12, "train-x.npy: has 1 dimensions");
    expect_fault("train-x.npy", "{}", pixels, 12, "train-x.npy: byte 12: descr");
    expect_fault("train-x.npy.gz", HEAD("|u1", "(3, 2, 2)"), pixels, 12, "train-x.npy: is there");
    struct dataset *d;
    struct err e = { 0 };
    folder_make();
    write_npy("train-x.npy", HEAD("<f4", "(3, 1)"), nan, 12);
    write_npy("train-y.npy", HEAD("<i8", "(3,)"), classes, 24);
    write_npy("test-x.npy", HEAD("<f4", "(1, 1)"), nan, 4);
    cr_assert_eq(open_user(&d, 4, &e), ERR_DATA);
    cr_assert_not_null(strstr(e.text, "there is no test-y.npy"), "%s", e.text);
    write_npy("test-y.npy", HEAD("<i8", "(1,)"), classes, 8);
    cr_assert_eq(open_user(&d, 4, &e), ERR_DATA);
    cr_assert_not_null(strstr(e.text, "value 0 of sample 2 is not finite"), "%s", e.text);
    folder_remove();
}
