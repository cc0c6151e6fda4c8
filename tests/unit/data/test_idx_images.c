/* IDX files: exact values from good files, file and offset named for bad ones. */
#include "worker/data/dataset.h"

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
    x.labels[7] = COUNT - 1;
    write_all(&x);
    write_gz("train-labels-idx1-ubyte.gz", x.labels, sizeof x.labels - 1);
    expect_fault("", "3");
    x = good();
    memset(x.images + 4, 255, 12);
    write_all(&x);
    expect_fault("train-images", "is impossible");
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
