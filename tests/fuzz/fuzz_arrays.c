/* fuzz_arrays: any bytes as the files of a CIFAR or NumPy data set. What is accepted can be read to
 * the last value, and labels are below the number of classes. The first byte chooses the format;
 * the file walk is played here. Run by libFuzzer. */
#include "common/mem.h"
#include "worker/data/cifar_images.c" /* the fuzzers are linked with common/ only */
#include "worker/data/npy_arrays.c"
#include "worker/data/npy_file.c"

#include <stdlib.h>

struct file_walk_entry {
    const uint8_t *at;
    size_t n;
};
static const uint8_t *input; /* files of the walk: 2 bytes of length, then the bytes */
static size_t input_bytes;
static bool numpy;

void file_bytes_deinit(struct file_bytes *b)
{
    mem_free(b->at);
    *b = (struct file_bytes){ 0 };
}

int file_walk_read(struct file_walk_entry *entry, struct file_bytes *out, struct err *e)
{
    out->at = mem_alloc(entry->n + 1);
    if (out->at == NULL) return err_set(e, ERR_NOMEM, "file");
    memcpy(out->at, entry->at, entry->n);
    out->count = entry->n;
    return 0;
}

int file_walk(const char *path, file_walk_fn *each, void *ctx, struct err *e)
{
    static const char *const cifar[4] = { "data_batch_1.bin", "x/data_batch_2.bin.gz",
                                          "test_batch.bin", "readme" };
    static const char *const arrays[4] = { "train-x.npy", "train-y.npy.gz", "test-x.npy",
                                           "test-y.npy" };
    size_t at = 0;
    (void)path;
    for (size_t k = 0; k < 4 && input_bytes - at >= 2; k++) {
        size_t n = input[at] | (size_t)input[at + 1] << 8;
        at += 2;
        if (n > input_bytes - at) n = input_bytes - at;
        struct file_walk_entry entry = { input + at, n };
        const int rc = each(ctx, numpy ? arrays[k] : cifar[k], &entry, e);
        if (rc != 0) return rc;
        at += n;
    }
    return 0;
}

static void check(struct dataset *d)
{
    const size_t n = d->t * d->c * d->h * d->w;
    float *x = mem_calloc(n, sizeof x[0]);
    for (int part = 0; part < DATASET_PARTS; part++) {
        if (d->count[part] == 0) abort();
        for (size_t i = 0; x != NULL && i < d->count[part]; i++) {
            d->ops->read(d, (enum dataset_part)part, i, x);
            for (size_t k = 0; k < n; k++)
                if (!isfinite(x[k])) abort();
            if (d->ops->label(d, (enum dataset_part)part, i) >= d->classes) abort();
        }
    }
    mem_free(x);
    d->ops->close(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dataset *d = NULL;
    struct err e = { 0 };
    if (size == 0) return 0;
    numpy = data[0] % 2 == 1;
    input = data + 1;
    input_bytes = size - 1;
    const int rc = numpy ? npy_dataset_open(&d, "folder", 2, &e)
                         : cifar_open(&d, "folder", data[0] % 4 == 2 ? "cifar100" : "cifar10", &e);
    if (rc == 0) check(d);
    return 0;
}
