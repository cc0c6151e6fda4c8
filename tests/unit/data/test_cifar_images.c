/* CIFAR binary files: exact values, order of files, archives, faults that name file and byte. Real
 * CIFAR-10 where it is. */
#include "worker/data/dataset.h"
#include "tests/unit/data/data_fixture.h"
#include "tests/unit/data/folder_fixture.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <zlib.h>

#define PIXELS 3072

/* n records; pixel k of record i is i + k + start, labels count up from `label`. */
static uint8_t *records(size_t n, size_t labels, uint8_t start, uint8_t label)
{
    uint8_t *b = mem_calloc(n, labels + PIXELS);
    for (size_t i = 0; i < n; i++) {
        uint8_t *r = b + i * (labels + PIXELS);
        if (labels == 2) r[0] = 19;
        r[labels - 1] = (uint8_t)(label + i);
        for (size_t k = 0; k < PIXELS; k++) r[labels + k] = (uint8_t)(i + k + start);
    }
    return b;
}

static void write_batch(const char *name, size_t n, size_t labels, uint8_t start, uint8_t label)
{
    uint8_t *b = records(n, labels, start, label);
    const size_t bytes = n * (labels + PIXELS), length = strlen(name);
    if (length > 3 && strcmp(name + length - 3, ".gz") == 0) {
        char path[160];
        (void)snprintf(path, sizeof path, "%s/%s", folder, name);
        gzFile f = gzopen(path, "wb");
        cr_assert(f != NULL && gzwrite(f, b, (unsigned)bytes) == (int)bytes && gzclose(f) == Z_OK);
    } else {
        folder_write(name, b, bytes);
    }
    mem_free(b);
}

static void expect_pixels(const struct dataset *d, enum dataset_part part, size_t i, size_t first)
{
    float x[PIXELS];
    d->ops->read(d, part, i, x);
    for (size_t k = 0; k < PIXELS; k++)
        cr_assert_eq(x[k], (float)(uint8_t)(first + k) / 255.0f, "sample %zu value %zu", i, k);
}

/* Goal: files in the order of their names, whatever is compressed or in a folder; planes are red,
 * green and blue; the digest follows the content. */
Test(cifar_images, records_of_all_files, .timeout = 10)
{
    struct dataset *d;
    struct err e = { 0 };
    folder_make();
    write_batch("data_batch_2.bin", 2, 1, 50, 3);
    write_batch("data_batch_1.bin.gz", 3, 1, 9, 0);
    write_batch("test_batch.bin", 1, 1, 77, 9);
    folder_write("batches.meta.txt", "airplane\n", 9);
    cr_assert_eq(cifar_open(&d, folder, "cifar10", &e), 0, "%s", e.text);
    cr_assert(d->count[DATASET_TRAIN] == 5 && d->count[DATASET_TEST] == 1 && d->classes == 10);
    cr_assert(d->c == 3 && d->h == 32 && d->w == 32 && d->t == 1);
    for (size_t i = 0; i < 3; i++) expect_pixels(d, DATASET_TRAIN, i, 9 + i);
    for (size_t i = 0; i < 2; i++) expect_pixels(d, DATASET_TRAIN, 3 + i, 50 + i);
    expect_pixels(d, DATASET_TEST, 0, 77);
    for (size_t i = 0; i < 5; i++) cr_assert_eq(d->ops->label(d, DATASET_TRAIN, i), i);
    uint8_t before[DIGEST_BYTES];
    memcpy(before, d->digest, sizeof before);
    dataset_close(d);
    write_batch("test_batch.bin", 1, 1, 78, 9);
    cr_assert_eq(cifar_open(&d, folder, "cifar10", &e), 0, "%s", e.text);
    cr_assert_arr_neq(before, d->digest, sizeof before);
    dataset_close(d);
    folder_remove();
    folder_make();
    write_batch("cifar-10-batches-bin/data_batch_1.bin", 3, 1, 9, 0);
    write_batch("cifar-10-batches-bin/test_batch.bin", 1, 1, 77, 200);
    cr_assert_eq(cifar_open(&d, folder, "my-photographs", &e), 0, "%s", e.text);
    cr_assert_eq(d->classes, 201);
    dataset_close(d);
    folder_remove();
}

/* Goal: CIFAR-100 has two labels; the fine one counts. */
Test(cifar_images, fine_labels_of_cifar100, .timeout = 10)
{
    struct dataset *d;
    struct err e = { 0 };
    folder_make();
    write_batch("train.bin", 4, 2, 5, 90);
    write_batch("test.bin", 2, 2, 6, 0);
    cr_assert_eq(cifar_open(&d, folder, "cifar100", &e), 0, "%s", e.text);
    cr_assert_eq(d->classes, 100);
    cr_assert_eq(d->ops->label(d, DATASET_TRAIN, 3), 93);
    expect_pixels(d, DATASET_TRAIN, 3, 8);
    dataset_close(d);
    folder_remove();
}

static void expect_fault(const char *words)
{
    struct dataset *d = NULL;
    struct err e = { 0 };
    cr_assert_eq(cifar_open(&d, folder, "cifar10", &e), ERR_DATA, "%s", e.text);
    cr_assert_not_null(strstr(e.text, words), "'%s' is not in: %s", words, e.text);
    folder_remove();
}

/* Goal: what is missing, cut off, twice there or no label is refused by file and byte. */
Test(cifar_images, faults_name_file_and_byte, .timeout = 10)
{
    uint8_t *b = records(2, 1, 0, 0);
    folder_make();
    write_batch("data_batch_1.bin", 2, 1, 0, 0);
    expect_fault("there is no test_batch.bin");
    folder_make();
    write_batch("test_batch.bin", 2, 1, 0, 0);
    folder_write("data_batch_1.bin", b, 2 * 3073 - 1);
    expect_fault("data_batch_1.bin: byte 3073: a record");
    folder_make();
    write_batch("data_batch_1.bin", 2, 1, 0, 9);
    expect_fault("data_batch_1.bin: byte 3073: label 10, the largest is 9");
    folder_make();
    write_batch("data_batch_1.bin", 2, 1, 0, 0);
    write_batch("data_batch_1.bin.gz", 2, 1, 0, 0);
    expect_fault("there is another data_batch_1.bin");
    folder_make();
    folder_write("data_batch_1.bin.gz", "\x1f\x8b\x08\0\0\0\0\0\0\3garbage", 17);
    expect_fault("data_batch_1.bin.gz: byte 0");
    mem_free(b);
}

/* Goal: any allocation may fail; then opening says so and leaves nothing behind. */
Test(cifar_images, memory_faults_are_reported, .timeout = 10)
{
    struct dataset *d;
    struct err e = { 0 };
    folder_make();
    write_batch("data_batch_1.bin", 40, 1, 0, 0);
    write_batch("test_batch.bin", 2, 1, 0, 0);
    int rc = ERR_NOMEM;
    size_t n = 1;
    for (; rc != 0 && n < 100; n++) {
        mem_fail_after(n);
        rc = cifar_open(&d, folder, "users", &e);
        mem_fail_after(0);
        cr_assert(rc == 0 || rc == ERR_NOMEM, "allocation %zu: %s", n, e.text);
    }
    cr_assert(rc == 0 && n > 4, "%zu", n);
    dataset_close(d);
    folder_remove();
}

/* Goal: the real files: the published first labels, balanced classes. */
Test(cifar_images, real_cifar10, .timeout = 60)
{
    static const uint32_t first[10] = { 6, 9, 9, 4, 1, 1, 2, 7, 8, 3 };
    const char *dir = getenv("SPIKED_TEST_DATA");
    if (dir == NULL || dir[0] == '\0') cr_skip("SPIKED_TEST_DATA is not set");
    struct dataset *d;
    struct err e = { 0 };
    float x[PIXELS];
    double sum[3] = { 0 };
    cr_assert_eq(open_named(&d, "cifar10", dir, &e), 0, "%s", e.text);
    cr_assert(d->count[DATASET_TRAIN] == 10000 && d->count[DATASET_TEST] == 2000);
    for (size_t i = 0; i < 10; i++) cr_assert_eq(d->ops->label(d, DATASET_TRAIN, i), first[i]);
    for (size_t i = 0; i < 2000; i++) {
        d->ops->read(d, DATASET_TRAIN, i, x);
        for (size_t k = 0; k < PIXELS; k++) sum[k / 1024] += (double)x[k];
    }
    static const double mean[3] = { 0.4914, 0.4822, 0.4465 }; /* of all 50,000 */
    for (int c = 0; c < 3; c++)
        cr_assert_float_eq(sum[c] / (2000 * 1024), mean[c], 0.01, "%g", sum[c] / (2000 * 1024));
    dataset_close(d);
}
