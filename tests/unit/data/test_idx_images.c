/* IDX files: exact values from good files, file and offset named for bad ones. */
#include "worker/data/dataset.h"
#include "tests/unit/data/data_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define SIDE 3
#define COUNT 4

static char folder[64];

static void write_gz(const char *name, const void *data, size_t n)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    gzFile f = gzopen(path, "wb");
    cr_assert(f != NULL && gzwrite(f, data, (unsigned)n) == (int)n && gzclose(f) == Z_OK);
}

struct idx {
    unsigned char images[16 + COUNT * SIDE * SIDE];
    unsigned char labels[8 + COUNT];
};

static struct idx good(void)
{
    struct idx x = { .images = { 0, 0, 8, 3, 0, 0, 0, COUNT, 0, 0, 0, SIDE, 0, 0, 0, SIDE },
                     .labels = { 0, 0, 8, 1, 0, 0, 0, COUNT, 0, 1, 2, 1 } };
    for (int i = 0; i < COUNT * SIDE * SIDE; i++) x.images[16 + i] = (unsigned char)(7 * i);
    return x;
}

static void write_all(const struct idx *x)
{
    (void)snprintf(folder, sizeof folder, "/tmp/spiked-idx-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    const struct idx other = good();
    write_gz("train-images-idx3-ubyte.gz", x->images, sizeof x->images);
    write_gz("train-labels-idx1-ubyte.gz", x->labels, sizeof x->labels);
    write_gz("t10k-images-idx3-ubyte.gz", other.images, sizeof other.images);
    write_gz("t10k-labels-idx1-ubyte.gz", other.labels, sizeof other.labels);
}

static void path_of(const char *name, char out[160])
{
    (void)snprintf(out, 160, "%s/%s", folder, name);
}

static void clean(void)
{
    static const char *const names[] = { "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                                         "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz" };
    for (int i = 0; i < 4; i++) {
        char path[160];
        path_of(names[i], path);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

/* Opening must fail with a text that holds both words. */
static void expect_fault(const char *file, const char *words)
{
    struct dataset *d = NULL;
    struct err e = { 0 };
    cr_assert_eq(idx_dataset_open(&d, folder, &e), ERR_DATA, "%s", e.text);
    cr_assert(strstr(e.text, file) != NULL && strstr(e.text, words) != NULL,
              "'%s' and '%s' are not in: %s", file, words, e.text);
    clean();
}

/* Goal: pixels are bytes over 255, labels are bytes, and the digest follows the content. */
Test(idx_images, good_files_give_exact_values)
{
    struct idx x = good();
    struct dataset *d;
    struct err e = { 0 };
    write_all(&x);
    cr_assert_eq(idx_dataset_open(&d, folder, &e), 0, "%s", e.text);
    cr_assert(d->count[DATASET_TRAIN] == COUNT && d->c == 1 && d->h == SIDE && d->w == SIDE &&
              d->classes == 3);
    float pixels[SIDE * SIDE];
    d->ops->read(d, DATASET_TRAIN, 2, pixels);
    for (int i = 0; i < SIDE * SIDE; i++)
        cr_assert_eq(pixels[i], (float)(unsigned char)(7 * (2 * SIDE * SIDE + i)) / 255.0f);
    cr_assert(d->ops->label(d, DATASET_TRAIN, 2) == 2 && d->ops->label(d, DATASET_TEST, 3) == 1);
    uint8_t before[DIGEST_BYTES];
    memcpy(before, d->digest, sizeof before);
    dataset_close(d);
    clean();
    x.images[20] ^= 1;
    write_all(&x);
    cr_assert_eq(idx_dataset_open(&d, folder, &e), 0);
    cr_assert(memcmp(before, d->digest, sizeof before) != 0,
              "the digest did not notice a changed pixel");
    dataset_close(d);
    clean();
}

/* Goal: a missing file is named. */
Test(idx_images, missing_file)
{
    const struct idx x = good();
    char path[160];
    write_all(&x);
    path_of("train-labels-idx1-ubyte.gz", path);
    (void)unlink(path);
    expect_fault("train-labels-idx1-ubyte", "can be read");
}

/* Goal: a file cut short is named with the byte where it ends, inside the values and inside gzip.
 */
Test(idx_images, cut_files)
{
    struct idx x = good();
    char path[160];
    write_all(&x);
    write_gz("train-images-idx3-ubyte.gz", x.images, 16 + 20);
    expect_fault("train-images-idx3-ubyte.gz", "ends at byte 36, 16 more were expected");
    write_all(&x);
    path_of("train-images-idx3-ubyte.gz", path);
    cr_assert_eq(truncate(path, 24), 0);
    expect_fault("train-images-idx3-ubyte.gz", "byte");
}

/* Goal: what the header says is checked: type, dimensions, sizes that disagree, bytes left over. */
Test(idx_images, headers_that_lie)
{
    struct idx x = good();
    x.images[2] = 13;
    write_all(&x);
    expect_fault("train-images", "byte 0");
    x = good();
    x.images[3] = 9;
    write_all(&x);
    expect_fault("train-images", "byte 3");
    x = good();
    x.images[7] = COUNT - 1;
    write_all(&x);
    expect_fault("train-images", "has data after byte 43");
    x = good();
    memset(x.images + 4, 255, 12);
    write_all(&x);
    expect_fault("train-images", "is impossible");
}

/* Goal: files that do not fit each other are named with the byte that says so. */
Test(idx_images, files_that_disagree)
{
    struct idx x = good();
    x.labels[7] = COUNT - 1;
    write_all(&x);
    write_gz("train-labels-idx1-ubyte.gz", x.labels, sizeof x.labels - 1);
    expect_fault("train-labels-idx1-ubyte", "byte 4: 3 labels for 4 images");
    x = good();
    write_all(&x);
    x.images[11] = SIDE - 1; /* test images of 2 x 3 */
    write_gz("t10k-images-idx3-ubyte.gz", x.images, 16 + COUNT * (SIDE - 1) * SIDE);
    expect_fault("t10k-images-idx3-ubyte", "byte 8");
    x = good();
    write_all(&x);
    x.images[3] = 2; /* one image of bytes without a number of images */
    write_gz("train-images-idx3-ubyte.gz", x.images, 12 + COUNT * SIDE);
    expect_fault("train-images-idx3-ubyte", "byte 3");
}

/* Goal: a test label that training never shows is named with its byte. */
Test(idx_images, label_out_of_range)
{
    struct idx x = good();
    write_all(&x);
    x.labels[8 + 2] = 7;
    write_gz("t10k-labels-idx1-ubyte.gz", x.labels, sizeof x.labels);
    expect_fault("t10k-labels-idx1-ubyte", "byte 10: label 7, training has 0 to 2");
}

/* Goal: the real files, when they are here, have the published sizes, and labels in balance. */
Test(idx_images, real_files, .timeout = 60)
{
    const char *dir = getenv("SPIKED_TEST_DATA");
    struct dataset *d;
    struct err e = { 0 };
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/fashion-mnist", dir != NULL ? dir : "");
    if (dir == NULL || dir[0] == '\0' || access(path, F_OK) != 0) {
        (void)printf("SKIPPED idx_images.real_files: no fashion-mnist below SPIKED_TEST_DATA\n");
        return;
    }
    size_t count[10] = { 0 };
    cr_assert_eq(open_named(&d, "fashion-mnist", dir, &e), 0, "%s", e.text);
    cr_assert(d->count[DATASET_TRAIN] == 60000 && d->count[DATASET_TEST] == 10000);
    cr_assert(d->c == 1 && d->h == 28 && d->w == 28 && d->classes == 10);
    for (size_t i = 0; i < 60000; i++) count[d->ops->label(d, DATASET_TRAIN, i)]++;
    for (int c = 0; c < 10; c++) cr_assert_eq(count[c], 6000, "class %d: %zu", c, count[c]);
    dataset_close(d);
}

/* Goal: one flipped bit inside the compressed data is noticed. */
Test(idx_images, corrupt_compressed_data)
{
    const struct idx x = good();
    char path[160];
    write_all(&x);
    path_of("train-images-idx3-ubyte.gz", path);
    FILE *f = fopen(path, "r+b");
    cr_assert(f != NULL && fseek(f, 30, SEEK_SET) == 0);
    const int byte = fgetc(f);
    cr_assert(fseek(f, 30, SEEK_SET) == 0 && fputc(byte ^ 0x10, f) != EOF && fclose(f) == 0);
    struct dataset *d = NULL;
    struct err e = { 0 };
    cr_assert_eq(idx_dataset_open(&d, folder, &e), ERR_DATA);
    cr_assert(strstr(e.text, "train-images-idx3-ubyte.gz") != NULL, "%s", e.text);
    clean();
}
