/* cifar_images: CIFAR-10, CIFAR-100 and users' images in their binary form, plain, .gz or in the
 * published archive. Opened on the main thread, read on any.
 *
 * A record is a label (CIFAR-100: the coarse, then the fine one, which is used) and 3072 bytes:
 * 32 x 32 red, then green, then blue, row by row. CIFAR-10 trains on data_batch_N.bin and tests on
 * test_batch*.bin, CIFAR-100 has train.bin and test.bin. */
#include "worker/data/dataset.h"

#include "common/mem.h"
#include "worker/data/file_walk.h"

#include <stdlib.h>
#include <string.h>

#define SIDE 32
#define CHANNELS 3
#define PIXELS (CHANNELS * SIDE * SIDE)
#define FILES_MAX 64
#define NAME_MAX_BYTES 64

struct batch {
    char name[NAME_MAX_BYTES]; /* without folders and .gz */
    enum dataset_part part;
    struct file_bytes bytes;
    size_t first; /* sample of the part */
};
struct cifar_dataset {
    struct dataset base;
    size_t labels; /* bytes before the pixels */
    size_t classes_max;
    struct batch batches[FILES_MAX]; /* by part and name */
    size_t n;
};

/* ---- names ----------------------------------------------------------------------------------- */
static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* The last part of a path without .gz; false when it does not end with .bin then. */
static bool batch_name(const char *path, char out[NAME_MAX_BYTES])
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    size_t n = strlen(name);
    if (n > 3 && strcmp(name + n - 3, ".gz") == 0) n -= 3;
    if (n < 5 || n >= NAME_MAX_BYTES || memcmp(name + n - 4, ".bin", 4) != 0) return false;
    memcpy(out, name, n);
    out[n] = '\0';
    return true;
}

static bool part_of(const struct cifar_dataset *d, const char *name, enum dataset_part *part)
{
    const bool fine = d->labels == 2;
    const bool train = fine ? strcmp(name, "train.bin") == 0 : begins(name, "data_batch_");
    const bool test = fine ? strcmp(name, "test.bin") == 0 : begins(name, "test_batch");
    *part = train ? DATASET_TRAIN : DATASET_TEST;
    return train || test;
}

/* ---- reading --------------------------------------------------------------------------------- */
static const uint8_t *record(const struct batch *b, size_t i, size_t labels)
{
    return b->bytes.at + i * (labels + PIXELS);
}

static int check_records(struct cifar_dataset *d, const struct batch *b, struct err *e)
{
    const size_t size = d->labels + PIXELS, n = b->bytes.count / size;
    if (n == 0 || b->bytes.count % size != 0)
        return err_set(e, ERR_DATA, "byte %zu: a record of %zu bytes is cut off", n * size, size);
    for (size_t i = 0; i < n; i++) {
        const size_t label = record(b, i, d->labels)[d->labels - 1];
        if (label >= d->classes_max)
            return err_set(e, ERR_DATA, "byte %zu: label %zu, the largest is %zu",
                           i * size + d->labels - 1, label, d->classes_max - 1);
        if (label >= d->base.classes) d->base.classes = label + 1;
    }
    return 0;
}

static int take_file(void *ctx, const char *path, struct file_walk_entry *entry, struct err *e)
{
    struct cifar_dataset *d = ctx;
    struct batch b = { 0 };
    if (!batch_name(path, b.name) || !part_of(d, b.name, &b.part)) return 0;
    if (d->n == FILES_MAX) return err_set(e, ERR_DATA, "more than %d files", FILES_MAX);
    for (size_t i = 0; i < d->n; i++)
        if (strcmp(d->batches[i].name, b.name) == 0)
            return err_set(e, ERR_DATA, "%.100s: there is another %s", path, b.name);
    int rc = file_walk_read(entry, &b.bytes, e);
    if (rc == 0) rc = check_records(d, &b, e);
    uint8_t *exact = rc == 0 ? mem_realloc_array(b.bytes.at, b.bytes.count, 1) : NULL;
    if (exact != NULL) b.bytes.at = exact;
    else if (rc == 0) rc = err_set(e, ERR_NOMEM, "%zu bytes", b.bytes.count);
    if (rc != 0) {
        file_bytes_deinit(&b.bytes);
        return err_wrap(e, "%.100s", path);
    }
    d->batches[d->n++] = b;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct batch *x = a, *y = b;
    if (x->part != y->part) return x->part < y->part ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Numbers samples through the files of a part, and takes the digest of all of them. */
static int settle(struct cifar_dataset *d, struct err *e)
{
    uint8_t all[FILES_MAX + 1][DIGEST_BYTES] = { 0 };
    const size_t size = d->labels + PIXELS;
    qsort(d->batches, d->n, sizeof d->batches[0], by_name);
    for (size_t i = 0; i < d->n; i++) {
        struct batch *b = &d->batches[i];
        b->first = d->base.count[b->part];
        d->base.count[b->part] += b->bytes.count / size;
        d->base.bytes += b->bytes.count;
        digest_bytes(b->bytes.at, b->bytes.count, all[i + 1]);
    }
    all[0][0] = (uint8_t)d->labels;
    digest_bytes(all, (d->n + 1) * DIGEST_BYTES, d->base.digest);
    for (int part = 0; part < DATASET_PARTS; part++)
        if (d->base.count[part] == 0)
            return err_set(e, ERR_DATA, "there is no %s",
                           d->labels == 2 ? (part == DATASET_TRAIN ? "train.bin" : "test.bin")
                           : part == DATASET_TRAIN ? "data_batch_1.bin"
                                                   : "test_batch.bin");
    return 0;
}

/* ---- the data set ---------------------------------------------------------------------------- */
static const uint8_t *find(const struct dataset *base, enum dataset_part part, size_t i)
{
    const struct cifar_dataset *d = (const struct cifar_dataset *)base;
    const struct batch *at = NULL;
    for (size_t k = 0; k < d->n; k++)
        if (d->batches[k].part == part && d->batches[k].first <= i) at = &d->batches[k];
    return record(at, i - at->first, d->labels);
}

static void cifar_read(const struct dataset *d, enum dataset_part part, size_t i, float *out)
{
    const uint8_t *from = find(d, part, i) + ((const struct cifar_dataset *)d)->labels;
    for (size_t k = 0; k < PIXELS; k++) out[k] = (float)from[k] / 255.0f;
}

static uint32_t cifar_label(const struct dataset *d, enum dataset_part part, size_t i)
{
    return find(d, part, i)[((const struct cifar_dataset *)d)->labels - 1];
}

static void cifar_close(struct dataset *base)
{
    struct cifar_dataset *d = (struct cifar_dataset *)base;
    for (size_t i = 0; i < d->n; i++) file_bytes_deinit(&d->batches[i].bytes);
    mem_free(d);
}

static const struct dataset_ops cifar_ops = { cifar_read, cifar_label, cifar_close, NULL };

int cifar_open(struct dataset **out, const char *folder, const char *name, struct err *e)
{
    const struct spec_dataset_info *info = spec_dataset_find(name);
    struct cifar_dataset *d = mem_calloc(1, sizeof *d);
    if (d == NULL) return err_set(e, ERR_NOMEM, "dataset");
    d->base = (struct dataset){ .ops = &cifar_ops, .t = 1, .c = CHANNELS, .h = SIDE, .w = SIDE };
    d->labels = strcmp(name, "cifar100") == 0 ? 2 : 1;
    d->classes_max = info != NULL ? (size_t)info->classes : 256;
    int rc = file_walk(folder, take_file, d, e);
    if (rc == 0) rc = settle(d, e);
    if (rc == 0 && info != NULL) d->base.classes = (size_t)info->classes;
    if (rc != 0) {
        (void)err_wrap(e, "%.100s", folder);
        cifar_close(&d->base);
        return rc;
    }
    *out = &d->base;
    return 0;
}
